"""Which family a deployment's model belongs to, asked by one function; and that every room heeds it."""

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.media import image_formula
from gateway.budget.tokens import encoding_for
from gateway.money.prices.table import PriceBook
from gateway.providers.anthropic import CLAUDE, MESSAGES_API
from gateway.providers.families import FAMILIES, family_of, reception, rules_of
from gateway.providers.family import OTHER, Family, bare
from gateway.providers.formulas import GeminiLevels, GeminiTiles
from gateway.providers.gemini import GEMINI, GENERATE_CONTENT
from gateway.providers.mistral import MISTRAL, TEMPLATES
from gateway.providers.openai import GPT
from gateway.providers.table import PROVIDERS, provider_of
from gateway.routing.deployment import facts_of
from gateway.wire.legality import CHAT, Rules
from tests.test_structure import nodes, sources, where

COMPARED = re.compile(r"""(?:==|!=|\bin) [(\[{]?["'][a-z]""")
NO_PRICES = PriceBook({})


@pytest.mark.parametrize(
    ("provider", "model", "family"),
    [
        ("openai", "gpt-5", GPT),
        ("azure", "GPT-4o-prod", GPT),
        ("azure", "mine", GPT),
        ("openai", "ft:gpt-4o-2024-08-06:acme::8xyz", GPT),
        ("bedrock", "openai.gpt-oss-120b-1:0", GPT),
        ("openrouter", "openai/o3", GPT),
        ("anthropic", "claude-sonnet-5", CLAUDE),
        ("anthropic", "something-new", CLAUDE),
        ("bedrock", "us.anthropic.claude-sonnet-5-v1:0", CLAUDE),
        ("openrouter", "anthropic/Claude-Sonnet-5", CLAUDE),
        ("openai", "claude-behind-somebody-elses-gateway", CLAUDE),
        ("demo", "anthropic/claude-opus-5", CLAUDE),
        ("hosted_vllm", "Gemini-x", GEMINI),
        ("gemini", "gemma-3-27b-it", GEMINI),
        ("litellm_proxy", "gemini/gemma-3-27b-it", GEMINI),
        ("vertex_ai", "gemma-3-27b-it", OTHER),
        ("databricks", "databricks-gemini-2-5-pro", GEMINI),
        ("hosted_vllm", "mistralai/Something", MISTRAL),
        ("hosted_vllm", "Voxtral-Mini-3B", MISTRAL),
        ("codestral", "codestral-latest", MISTRAL),
        ("mistral", "something-new", MISTRAL),
        ("groq", "llama-3.3-70b", OTHER),
        ("nobody", "knows", OTHER),
        # The name itself goes before the path.
        ("litellm_proxy", "claude/gpt-5", GPT),
    ],
)
def test_a_models_family_is_that_of_its_name_else_path_else_provider(provider: str, model: str, family: Family):
    assert family_of(provider, model) is family


@given(
    provider=st.sampled_from(["demo", "hosted_vllm", *sorted(PROVIDERS)]),
    model=st.sampled_from(
        ["gpt-5", "claude-opus-4-7", "gemini-2.5-pro", "gemini-3-pro", "mistralai/devstral", "openai/x"]
    ),
    data=st.data(),
)
def test_the_case_of_a_name_never_says_anything(provider: str, model: str, data: st.DataObject):
    written = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in model)
    assert family_of(provider, written) is family_of(provider, model)
    assert rules_of(provider, written) is rules_of(provider, model)
    assert reception(provider, written) == reception(provider, model)
    assert encoding_for(provider, written) == encoding_for(provider, model)
    assert image_formula(provider, written) == image_formula(provider, model)
    assert facts_of(provider, written, NO_PRICES).shared == facts_of(provider, model, NO_PRICES).shared


def test_no_two_families_own_a_name_that_is_listed():
    listed = [
        "gpt-5",
        "o1-mini",
        "codex-mini-latest",
        "claude-opus-5",
        "gemini-3-pro",
        "codestral-2501",
        "mixtral-8x7b",
    ]
    assert [sum(family.owns(bare(name)) for family in FAMILIES) for name in listed] == [1] * len(listed)


def test_every_room_heeds_the_family_of_a_model_that_an_engine_serves():
    gemini = facts_of("hosted_vllm", "Gemini-x", NO_PRICES)
    assert rules_of("hosted_vllm", "Gemini-x") is GENERATE_CONTENT
    assert isinstance(image_formula("hosted_vllm", "Gemini-x"), GeminiLevels)
    assert isinstance(image_formula("hosted_vllm", "Gemini-2.5-x"), GeminiTiles)
    assert not gemini.shared


def test_a_name_that_says_nothing_is_of_its_providers_family():
    assert encoding_for("azure", "mine") == ("o200k_base", False)
    assert image_formula("anthropic", "my-3-model") == image_formula("nobody", "knows")
    assert facts_of("gemini", "gemma-3-27b-it", NO_PRICES).shared


def test_no_room_asks_for_a_provider_by_its_name():
    places = [
        where(path, node)
        for path in sources("gateway")
        if "providers" not in path.parts and COMPARED.search(path.read_text(encoding="utf-8"))
        for node in nodes(path)
        if isinstance(node, ast.Compare) and names_a_provider(node)
    ]
    assert places == []


def names_a_provider(node: ast.Compare) -> bool:
    words = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
    return not words.isdisjoint(PROVIDERS)


def test_only_the_demo_provider_counts_as_we_do():
    assert [name for name in ("demo", *PROVIDERS) if provider_of(name).counts_as_we_do] == ["demo"]


@pytest.mark.parametrize(
    ("provider", "model", "rules"),
    [
        ("openai", "gpt-5", CHAT),
        ("openai", "claude-behind-somebody-elses-gateway", CHAT),
        ("demo", "claude-sonnet-5", CHAT),
        ("anthropic", "claude-sonnet-5", MESSAGES_API),
        ("bedrock", "eu.anthropic.claude-sonnet-5-v1:0", MESSAGES_API),
        ("vertex_ai", "claude-sonnet-5", MESSAGES_API),
        ("vertex_ai", "gemini-3-pro", GENERATE_CONTENT),
        ("gemini", "gemini-3-pro", GENERATE_CONTENT),
        ("mistral", "mistral-large", TEMPLATES),
        ("hosted_vllm", "mistralai/Devstral-2", TEMPLATES),
        ("hosted_vllm", "Qwen/Qwen3-32B", CHAT),
        # An API has rules of its own, whatever is said to be behind it.
        ("gemini", "claude-sonnet-5", GENERATE_CONTENT),
        ("mistral", "claude-sonnet-5", TEMPLATES),
        ("anthropic", "gpt-5", MESSAGES_API),
    ],
)
def test_the_rules_are_the_providers_or_the_model_familys(provider: str, model: str, rules: Rules):
    assert rules_of(provider, model) is rules

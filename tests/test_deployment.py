"""How entries of `model_list` become deployments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gateway.config import Config
from gateway.config.network import HERE, Network
from gateway.config.prompt_cache_rules import CachesFile
from gateway.money.prices.table import PriceBook
from gateway.packaged_data import price_table
from gateway.prompt_cache.rules import NOTHING
from gateway.routing.deployment import Deployment, Unservable, deployments, facts_of, provider_and_model

BOOK = PriceBook.read(price_table())


@dataclass
class Entry:
    """The part of a config's entry that is read here."""

    model_name: str
    params: Mapping[str, Any]
    info: Mapping[str, Any] = field(default_factory=dict)
    line: int = 7


@dataclass
class Models:
    models: tuple[Entry, ...]
    prompt_caches: CachesFile | None = None
    usual_keys: Mapping[str, str] = field(default_factory=dict)
    network: Network = HERE


AZURE = {"model": "azure/gpt-5", "api_base": "https://mine.openai.azure.com"}


def build(*entries: Entry) -> Mapping[str, tuple[Deployment, ...]]:
    return deployments(cast(Config, Models(entries)), BOOK)


def one(model: str, info: Mapping[str, Any] | None = None, **params: Any) -> Deployment:
    return build(Entry("asked", {"model": model, **params}, info or {}))["asked"][0]


@pytest.mark.parametrize(
    ("params", "provider", "model"),
    [
        ({"model": "openai/gpt-5"}, "openai", "gpt-5"),
        ({"model": "gpt-5"}, "openai", "gpt-5"),
        ({"model": "claude-sonnet-4-5"}, "anthropic", "claude-sonnet-4-5"),
        ({"model": "openrouter/meta-llama/llama-3"}, "openrouter", "meta-llama/llama-3"),
        ({"model": "meta-llama/llama-3", "custom_llm_provider": "hosted_vllm"}, "hosted_vllm", "meta-llama/llama-3"),
        ({"model": "hosted_vllm/m", "custom_llm_provider": "hosted_vllm"}, "hosted_vllm", "m"),
    ],
)
def test_the_provider_is_read_off_the_model_as_litellm_does(params: dict[str, str], provider: str, model: str):
    assert provider_and_model(params) == (provider, model)


@pytest.mark.parametrize(
    ("model", "params", "kind", "api_base"),
    [
        ("openai/gpt-5", {}, "direct", "https://api.openai.com/v1"),
        ("openai/gpt-5", {"api_base": "http://127.0.0.1:1/v1"}, "direct", "http://127.0.0.1:1/v1"),
        ("openai/gpt-5", {"base_url": "http://127.0.0.1:1/v1"}, "direct", "http://127.0.0.1:1/v1"),
        ("deepseek/deepseek-chat", {}, "direct", "https://api.deepseek.com/v1"),
        ("hosted_vllm/m", {"api_base": "http://127.0.0.1:1/v1"}, "direct", "http://127.0.0.1:1/v1"),
        ("mistral/mistral-large-latest", {}, "translated", None),
        ("mistral/mistral-large-latest", {"api_base": "http://127.0.0.1:1/v1"}, "direct", "http://127.0.0.1:1/v1"),
        ("anthropic/claude-sonnet-4-5", {"api_base": "http://127.0.0.1:1"}, "translated", "http://127.0.0.1:1"),
        ("gemini/gemini-2.5-flash", {}, "translated", None),
        ("demo/demo", {}, "demo", None),
    ],
)
def test_the_kind_follows_from_the_provider(model: str, params: dict[str, Any], kind: str, api_base: str | None):
    built = one(model, **params)
    assert (built.kind, built.api_base) == (kind, api_base)


def test_the_same_name_twice_is_two_deployments_with_names_of_their_own():
    twice = build(Entry("asked", {"model": "openai/gpt-5", "weight": 3}), Entry("asked", AZURE))
    assert [each.name for each in twice["asked"]] == ["asked#0:openai/gpt-5", "asked#1:azure/gpt-5"]
    assert [each.weight for each in twice["asked"]] == [3.0, 1.0]


def test_credentials_are_never_shown():
    built = one("openai/gpt-5", api_key="sk-secret", extra_headers={"x-token": "tok-secret"})
    assert built.api_key == "sk-secret"
    assert "secret" not in repr(built)


def test_what_is_not_ours_stays_in_params():
    built = one("bedrock/x", aws_region_name="eu-west-1", timeout="30", api_key="k")
    assert built.params == {"aws_region_name": "eu-west-1"}
    assert built.timeout == 30.0


@pytest.mark.parametrize(
    ("provider", "model", "window", "shared"),
    [
        ("openai", "gpt-5", 272_000, False),
        ("openai", "gpt-5-chat-latest", 128_000, True),
        ("openai", "gpt-4o", 128_000, True),
        ("openai", "o3", 200_000, True),
        ("anthropic", "claude-sonnet-4-5", 200_000, True),
        ("gemini", "gemini-2.5-flash", 1_048_576, False),
        ("hosted_vllm", "nobody-knows", None, True),
    ],
)
def test_input_and_output_share_the_window_where_the_provider_says_so(
    provider: str, model: str, window: int | None, shared: bool
):
    facts = facts_of(provider, model, BOOK)
    assert (facts.window, facts.shared) == (window, shared)


def test_the_config_overrides_the_table():
    assert one("hosted_vllm/m", {"max_input_tokens": 32_768}, api_base="http://127.0.0.1:1/v1").facts.window == 32_768


def test_a_demo_model_has_the_price_and_the_facts_of_its_namesake():
    built, named = one("demo/gpt-5"), one("openai/gpt-5")
    assert built.price is not None
    assert named.price is not None
    assert built.price.rates() == named.price.rates()
    assert (built.facts.window, built.facts.shared) == (272_000, False)
    assert one("demo/demo").price is not None


def test_everything_that_is_wrong_is_said_at_once_with_its_place():
    with pytest.raises(Unservable) as caught:
        build(
            Entry("a", {"model": "hosted_vllm/m"}, line=3),
            Entry("b", {"model": "openai/gpt-5", "timeout": "soon"}, line=8),
            Entry("c", {"model": "openai/gpt-5", "api_base": "api.example/v1"}, line=12),
            Entry("d", {"model": "openai/gpt-5"}, {"input_cost_per_token": "cheap"}, line=20),
            Entry("e", {"model": "openai/gpt-5", "weight": -1}, line=25),
            Entry("f", {"model": "openai/"}, line=30),
        )
    assert [(line, path[-1]) for line, path, _ in caught.value.complaints] == [
        (3, "api_base"),
        (8, "timeout"),
        (12, "api_base"),
        (20, "model_info"),
        (25, "weight"),
        (30, "model"),
    ]


def test_a_deployment_knows_its_prompt_cache_at_the_prices_that_it_pays():
    own_price = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 1e-6}
    assert one("anthropic/claude-opus-4-5").cache.rules == "anthropic"
    assert str(one("demo/anthropic", own_price).cache.read) == "0.5"
    assert one("groq/llama").cache is NOTHING


@pytest.mark.parametrize(
    ("api_base", "own"),
    [
        (None, True),
        ("https://api.openai.com/v1", True),
        ("https://api.openai.com/v1/", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://proxy.example/api.openai.com/v1", False),
        ("http://127.0.0.1:1/v1", False),
    ],
)
def test_an_address_is_the_providers_own_by_its_host(api_base: str | None, own: bool):
    more: dict[str, Any] = {} if api_base is None else {"api_base": api_base}
    assert one("openai/gpt-5", **more).is_providers_own is own


def test_a_server_of_somebodys_own_is_sent_no_marker_that_nobody_asked_for():
    ours = "http://127.0.0.1:1/v1"
    assert one("openai/gpt-5").cache.control == "key"
    assert one("openai/gpt-5", api_base="https://eu.api.openai.com/v1").cache.control == "key"
    assert one("openai/gpt-5", api_base="https://API.openai.com/v1/").cache.control == "key"
    assert one("openai/gpt-5", api_base="https://notapi.openai.com.example/v1").cache.control == "none"
    assert one("openai/gpt-5", api_base="https://myapi.openai.com/v1").cache.control == "none", "another host"
    assert one("openai/gpt-5", api_base=ours).cache.control == "none"
    assert one("openai/gpt-5", api_base=ours).cache.matching == "prefix"
    assert one("hosted_vllm/m", api_base=ours).cache.control == "affinity"
    said = CachesFile.model_validate({"models": [{"provider": ["openai"], "rules": "openai-5.6"}]})
    models = Models((Entry("asked", {"model": "openai/gpt-5", "api_base": ours}),), said)
    assert deployments(cast(Config, models), BOOK)["asked"][0].cache.control == "breakpoints"


def test_headers_of_clients_that_a_deployment_wants_are_read_and_credentials_refused():
    assert one("openai/gpt-5", forward_headers=["X-Team", "x-trace-*"]).forward_headers == ("x-team", "x-trace-*")
    assert one("openai/gpt-5").forward_headers == ()
    assert "forward_headers" not in one("openai/gpt-5", forward_headers=["x-team"]).params


@pytest.mark.parametrize("names", [["authorization"], ["X-Api-Key"], ["*"], ["a b"], [7], {"x": "y"}])
def test_headers_that_would_give_something_away_or_are_none_are_refused(names: Any):
    with pytest.raises(Unservable, match="header"):
        one("openai/gpt-5", forward_headers=names)


@pytest.mark.parametrize(
    ("model", "takes", "refuses"),
    [
        ("bedrock/anthropic.claude-sonnet-4-5", "context-1m-2025-08-07", "files-api-2025-04-14"),
        ("vertex_ai/claude-sonnet-4-5", "context-1m-2025-08-07", "files-api-2025-04-14"),
        ("azure_ai/claude-sonnet-4-5", "files-api-2025-04-14", "made-up-2030-01-01"),
    ],
)
def test_betas_of_claude_are_known_for_each_provider_that_serves_it(model: str, takes: str, refuses: str):
    address: dict[str, Any] = {"api_base": "https://made-up.example"} if model.startswith("azure_ai/") else {}
    betas = one(model, **address).betas
    assert betas is not None
    assert takes in betas
    assert refuses not in betas


def test_anthropic_itself_judges_its_betas_and_others_than_claude_have_none():
    assert one("anthropic/claude-sonnet-4-5").betas is None
    assert one("bedrock/meta.llama3-70b-instruct-v1:0").betas == frozenset()
    assert one("openai/gpt-5").betas == frozenset()


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ({"model": "fireworks_ai/qwen3"}, "accounts/fireworks/models/qwen3"),
        ({"model": "fireworks_ai/accounts/mine/models/q"}, "accounts/mine/models/q"),
        ({**AZURE, "model": "azure/o_series/my-o3"}, "my-o3"),
        ({"model": "huggingface/together/deepseek-ai/DeepSeek-R1"}, "deepseek-ai/DeepSeek-R1:together"),
        ({"model": "huggingface/deepseek-ai/DeepSeek-R1"}, "deepseek-ai/DeepSeek-R1"),
    ],
)
def test_a_model_is_called_what_its_provider_calls_it(params: dict[str, Any], sent: str):
    assert one(**params).model == sent


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"model": "azure/m"}, "https://NAME.openai.azure.com"),
        ({**AZURE, "tenant_id": "t", "client_id": "c", "client_secret": "s"}, "azure_ad_token"),
        ({"model": "bedrock/agent/A1/B2"}, "runs agents"),
        ({"model": "snowflake/llama"}, "account_id"),
        ({"model": "vllm/m"}, "no address of its own"),
    ],
)
def test_what_could_only_fail_at_its_first_request_is_refused(params: dict[str, Any], says: str):
    with pytest.raises(Unservable, match=says):
        build(Entry("asked", params))


@pytest.mark.parametrize(
    ("model", "params", "info", "told"),
    [
        ("openai/gpt-5", {}, {}, True),
        ("openai/gpt-4o", {}, {}, False),
        ("openai/never-heard-of", {}, {}, False),
        ("openai/never-heard-of", {"api_base": "http://10.0.0.1:8000/v1"}, {}, True),
        ("azure/mine", {"api_base": "https://mine.openai.azure.com"}, {}, False),
        ("azure/mine", {"api_base": "https://mine.openai.azure.com"}, {"base_model": "azure/gpt-5"}, True),
        ("gemini/never-heard-of", {}, {}, True),
        ("openrouter/never/heard-of", {}, {}, True),
    ],
)
def test_a_model_that_does_not_reason_is_not_told_how_much(
    model: str, params: dict[str, Any], info: dict[str, Any], told: bool
):
    assert one(model, info, api_key="k", **params).additions.chats.takes_effort is told

"""What is known of providers' prompt caches, from the shipped file and an operator's own."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.prompt_cache_rules import CachesFile, shipped_files, shipped_rules, unknown_rules
from gateway.config.yaml import read_yaml
from gateway.money.prices.table import PriceBook
from gateway.packaged_data import price_table
from gateway.prompt_cache.rules import NOTHING, book_of, facts_for, priced
from gateway.routing.upstreams.demo.anthropic import LEAST, anthropic_least

BOOK = book_of(shipped_rules())


def own(**said: Any) -> CachesFile:
    return CachesFile.model_validate(said)


@pytest.mark.parametrize(
    ("provider", "model", "rules", "least", "read", "writes"),
    [
        ("openai", "gpt-4o-mini", "openai", 1024, "0.5", {300: "1"}),
        ("openai", "gpt-4.1", "openai", 1024, "0.25", {86400: "1"}),
        ("openai", "o3-mini", "openai", 1024, "0.5", {300: "1"}),
        ("openai", "gpt-5-mini", "openai", 1024, "0.1", {86400: "1"}),
        ("openai", "gpt-5.5", "openai", 1024, "0.1", {86400: "1"}),
        ("openai", "gpt-5.6", "openai-5.6", 1024, "0.1", {1800: "1.25"}),
        ("openai", "gpt-6-sol", "openai-5.6", 1024, "0.1", {1800: "1.25"}),
        ("anthropic", "claude-opus-5", "anthropic", 512, "0.1", {300: "1.25", 3600: "2"}),
        ("anthropic", "claude-opus-5-5", "anthropic", 512, "0.05", {300: "1.25", 3600: "2"}),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic", 1024, "0.1", {300: "1.25", 3600: "2"}),
        ("anthropic", "claude-opus-4-7", "anthropic", 2048, "0.1", {300: "1.25", 3600: "2"}),
        ("vertex_ai", "claude-haiku-4-5@20251001", "anthropic", 4096, "0.1", {300: "1.25", 3600: "2"}),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock", 4096, "0.1", {300: "1.25", 3600: "2"}),
        ("bedrock", "anthropic.claude-sonnet-4-20250514-v1:0", "bedrock", 1024, "0.1", {300: "1.25"}),
        ("gemini", "gemini-2.5-flash", "gemini", 2048, "0.1", {86400: "1"}),
        ("gemini", "gemini-3.5-flash", "gemini", 4096, "0.1", {86400: "1"}),
        ("deepseek", "deepseek-chat", "deepseek", 0, "0.0333", {3600: "1"}),
        ("hosted_vllm", "llama", "engine", 16, "0", {86400: "1"}),
        ("demo", "gpt-5", "openai", 1024, "0.1", {86400: "1"}),
        ("demo", "openai", "openai", 1024, "0.1", {86400: "1"}),
        ("demo", "openai-5.6/two", "openai-5.6", 1024, "0.1", {1800: "1.25"}),
        ("demo", "anthropic", "anthropic", 1024, "0.1", {300: "1.25", 3600: "2"}),
        ("demo", "gemini", "gemini", 2048, "0.1", {86400: "1"}),
        ("demo", "gemini/gemini-3.5-flash", "gemini", 4096, "0.1", {86400: "1"}),
        ("demo", "anthropic/claude-opus-4-5", "anthropic", 4096, "0.1", {300: "1.25", 3600: "2"}),
        ("demo", "anthropic/claude-sonnet-5-5", "anthropic", 512, "0.1", {300: "1.25", 3600: "2"}),
        ("azure", "gpt-5", "openai", 1024, "0.1", {300: "1"}),
        ("demo", "vllm/a", "engine", 16, "0", {86400: "1"}),
    ],
)
def test_a_model_follows_the_rules_of_its_provider(
    provider: str, model: str, rules: str, least: int, read: str, writes: dict[int, str]
):
    facts = facts_for(provider, model, BOOK)
    assert (facts.rules, facts.least, str(facts.read)) == (rules, least, read)
    assert {lifetime: str(price) for lifetime, price in facts.writes.items()} == writes


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-3.5-turbo"),
        ("openai", "llama-3"),
        ("groq", "llama"),
        ("bedrock", "meta.llama3"),
        ("x", "claude"),
    ],
)
def test_of_the_unknown_nothing_is_assumed(provider: str, model: str):
    assert facts_for(provider, model, BOOK) is NOTHING
    assert (NOTHING.matching, NOTHING.control, NOTHING.most_markers) == ("none", "none", 0)


@pytest.mark.parametrize("name", [*(part for part, _ in LEAST), "opus-4-1", "sonnet-4-6", "sonnet-5", "haiku-4-5"])
def test_the_demo_provider_plays_claude_from_the_same_length_on(name: str):
    model = f"claude-{name}"
    assert facts_for("demo", f"anthropic/{model}", BOOK).least == anthropic_least(model)


def test_the_newest_claudes_bind_their_reasoning_and_no_older_one_does():
    binding = [
        model
        for model in ("claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-opus-5", "claude-opus-4-8")
        if facts_for("anthropic", model, BOOK).binds_reasoning
    ]
    assert binding == ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1"]


def test_every_fact_that_is_shipped_has_its_source_and_date():
    known = {entry.rules: facts for entry, facts in BOOK.models}
    assert known.keys() == shipped_rules().rules.keys()
    assert all(facts.source.startswith("https://") and facts.date for _, facts in BOOK.models)


def test_lifetimes_begin_with_the_shortest_and_every_cache_has_one():
    for _, facts in BOOK.models:
        assert list(facts.writes) == sorted(facts.writes)
        assert facts.writes


def test_what_is_shipped_is_packaged_and_says_nothing_twice():
    assert len(shipped_files()) >= 8
    assert all(read_yaml(file).problems == () for file in shipped_files())


def test_a_model_has_its_rules_in_one_file():
    books = [book_of(CachesFile.model_validate(read_yaml(file).data)) for file in shipped_files()]
    known = price_book_pairs()
    assert len(known) > 1000
    assert [pair for pair in known if sum(book.find(*pair)[0] is not NOTHING for book in books) > 1] == []


def price_book_pairs() -> list[tuple[str, str]]:
    table: dict[str, Any] = json.loads(price_table())
    owners = [(str(entry.get("litellm_provider")), key) for key, entry in table.items()]
    return [(owner.partition("-")[0], key.rpartition("/")[2]) for owner, key in owners]


@pytest.mark.parametrize(("provider", "model"), [("azure", "GPT-5-Prod"), ("vertex_ai", "Claude-Opus-5-5")])
def test_the_case_of_a_name_says_nothing_of_its_prompt_cache(provider: str, model: str):
    assert facts_for(provider, model, BOOK) == facts_for(provider, model.lower(), BOOK) != NOTHING


def test_an_operators_entries_and_facts_go_before_the_shipped_ones():
    said = own(
        rules={"anthropic": {"writes": {"5m": 1.25}}, "mine": {"like": "openai-5.6", "least": "2k"}},
        models=[{"provider": ["openai"], "model": ["gpt-5*"], "rules": "mine", "read": 0.2}],
    )
    book = book_of(shipped_rules(), said)
    assert dict(facts_for("anthropic", "claude-opus-5", book).writes) == {300: Decimal("1.25")}
    assert facts_for("anthropic", "claude-opus-5", book).least == 512
    mine = facts_for("openai", "gpt-5", book)
    assert (mine.rules, mine.matching, mine.least, mine.read) == ("mine", "breakpoints", 2000, Decimal("0.2"))
    assert book.find("openai", "gpt-5")[1] is True
    assert book.find("openai", "gpt-4o")[1] is False


def test_an_operator_may_say_that_nothing_is_known():
    book = book_of(shipped_rules(), own(models=[{"provider": ["openai"], "rules": "none"}]))
    assert facts_for("openai", "gpt-5", book) == NOTHING


def test_a_rule_set_that_nobody_has_is_found():
    said = own(rules={"a": {"like": "antropic"}}, models=[{"provider": ["x"], "rules": "b"}])
    assert [(path, name) for path, name, _ in unknown_rules(said)] == [
        (("rules", "a", "like"), "antropic"),
        (("models", 0, "rules"), "b"),
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"rules": {"a": {"leest": 1}}}, "Extra inputs"),
        ({"rules": {"a": {"writes": {"soon": 1}}}}, "is not a time"),
        ({"rules": {"a": {"writes": {}}}}, "mapping of lifetimes"),
        ({"rules": {"a": {"read": -1}}}, "not a multiple"),
        ({"rules": {"a": {"date": "yesterday"}}}, "is not a date"),
        ({"rules": {"a": {"like": "b"}, "b": {"like": "a"}}}, "in a circle: a → b → a"),
        ({"models": [{"model": ["x"], "rules": "a"}]}, "Field required"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], told: str):
    with pytest.raises(ValidationError, match=told):
        own(**said)


def test_what_a_deployment_pays_goes_before_the_multiples():
    prices = PriceBook.read(price_table())
    sonnet = facts_for("anthropic", "claude-sonnet-5", BOOK)
    dear = prices.price(
        "anthropic",
        "mine",
        {
            "input_cost_per_token": 4e-6,
            "output_cost_per_token": 1e-5,
            "cache_read_input_token_cost": 1e-6,
            "cache_creation_input_token_cost": 6e-6,
            "cache_creation_input_token_cost_above_1hr": 1e-5,
        },
    )
    paid = priced(sonnet, dear)
    assert (paid.read, dict(paid.writes)) == (Decimal("0.25"), {300: Decimal("1.5"), 3600: Decimal("2.5")})
    plain = prices.price("anthropic", "mine", {"input_cost_per_token": 4e-6, "output_cost_per_token": 1e-5})
    assert priced(sonnet, plain) == sonnet
    assert priced(sonnet, None) is sonnet


def test_behind_converse_an_hour_is_offered_where_it_has_a_price():
    names = ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "apac.anthropic.claude-haiku-4-5-20251001-v1:0")
    prices = PriceBook.read(price_table(), [("bedrock", name) for name in names])
    offered = [list(priced(facts_for("bedrock", n, BOOK), prices.price("bedrock", n)).writes) for n in names]
    assert offered == [[300, 3600], [300]]


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        *(("openai", model) for model in ("gpt-4o", "gpt-4.1", "gpt-5", "gpt-5.6", "gpt-6-sol", "o4-mini")),
        *(
            ("anthropic", model)
            for model in ("claude-opus-5", "claude-opus-5-5", "claude-sonnet-5", "claude-fable-5-1")
        ),
        ("gemini", "gemini-2.5-flash"),
    ],
)
def test_the_multiples_are_those_of_the_price_table(provider: str, model: str):
    facts = facts_for(provider, model, BOOK)
    paid = priced(facts, PriceBook.read(price_table(), [(provider, model)]).price(provider, model))
    assert (paid.read, dict(paid.writes)) == (facts.read, dict(facts.writes))

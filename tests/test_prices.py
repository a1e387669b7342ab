"""Prices: each class of usage at its own rate, exact to the nano-dollar.

Figures marked * are the providers' published ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import packaged_data
from gateway.money.prices.entries import PriceError, price_from
from gateway.money.prices.names import names_no_model, region_of, split
from gateway.money.prices.rates import Price, Rates
from gateway.money.prices.table import PriceBook
from gateway.wire.usage import Usage, usage_from_openai
from tests.timing import within


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook.read(packaged_data.price_table())


def priced(entry: dict[str, Any], region: str | None = None) -> Price:
    price = price_from("model", entry, region)
    assert price is not None
    return price


PLAIN = {"input_cost_per_token": "1e-6", "output_cost_per_token": "4e-6"}

# ---------------------------------------------------------------------------------------------------------- one class


@pytest.mark.parametrize(
    ("usage", "nanousd"),
    [
        (Usage(), 0),
        (Usage(prompt=1), 1_000),
        (Usage(completion=1), 5_000),
        (Usage(prompt=10, cached=4), 6_000 + 400),
        (Usage(prompt=10, cache_write=4), 6_000 + 5_000),
        (Usage(prompt=10, cache_write=4, cache_write_1h=4), 6_000 + 8_000),
        (Usage(prompt=10, cache_write=4, cache_write_1h=1), 6_000 + 3 * 1_250 + 2_000),
        (Usage(prompt=10, audio_prompt=4), 6_000 + 4 * 7_000),
        (Usage(prompt=10, image_prompt=4), 6_000 + 4 * 3_000),
        (Usage(prompt=10, cached=4, audio_prompt=4, cached_audio=4), 6_000 + 4 * 500),
        (Usage(completion=10, reasoning=4), 30_000 + 4 * 6_000),
        (Usage(completion=10, audio_completion=4), 30_000 + 4 * 9_000),
        (Usage(completion=10, image_completion=4), 30_000 + 4 * 8_000),
        (Usage(prompt=100, cached=20, cache_write=30, completion=1), 50_000 + 2_000 + 37_500 + 5_000),
    ],
)
def test_each_class_of_token_has_a_rate_of_its_own(usage: Usage, nanousd: int) -> None:
    price = priced(
        {
            "input_cost_per_token": 1e-6,
            "output_cost_per_token": 5e-6,
            "cache_read_input_token_cost": 1e-7,
            "cache_read_input_audio_token_cost": 5e-7,
            "cache_creation_input_token_cost": 1.25e-6,
            "cache_creation_input_token_cost_above_1hr": 2e-6,
            "output_cost_per_reasoning_token": 6e-6,
            "input_cost_per_audio_token": 7e-6,
            "output_cost_per_audio_token": 9e-6,
            "input_cost_per_image_token": 3e-6,
            "output_cost_per_image_token": 8e-6,
        }
    )
    assert price.cost(usage) == nanousd


def test_a_class_without_a_price_costs_what_it_is_made_of() -> None:
    rates = priced(PLAIN).rates()
    assert rates.cached == rates.cached_audio == rates.cache_write == rates.cache_write_1h == Decimal("1e-6")
    assert rates.audio_prompt == rates.image_prompt == Decimal("1e-6")
    assert rates.reasoning == rates.audio_completion == rates.image_completion == Decimal("4e-6")
    assert priced({**PLAIN, "cache_creation_input_token_cost": "3e-6"}).rates().cache_write_1h == Decimal("3e-6")


def test_a_price_of_zero_is_a_price_and_no_price_is_none() -> None:
    assert priced({"input_cost_per_token": 0, "output_cost_per_token": 0.0}).cost(Usage(10, 10)) == 0
    assert priced({**PLAIN, "cache_read_input_token_cost": 0}).cost(Usage(10, 0, cached=10)) == 0
    assert price_from("model", {}) is None
    assert price_from("model", {"input_cost_per_token": 1e-6}) is None
    assert price_from("model", {"output_cost_per_token": 1e-6}) is None


def test_a_fee_per_request_is_added_once() -> None:
    assert priced({**PLAIN, "input_cost_per_request": "0.005"}).cost(Usage(1)) == 5_000_000 + 1_000


# ------------------------------------------------------------------------------------------------------------ rounding


@pytest.mark.parametrize(("tokens", "nanousd"), [(1, 0), (3, 2), (5, 2), (7, 4), (2, 1), (1_000_001, 500_000)])
def test_half_a_nano_dollar_goes_to_the_even_one(tokens: int, nanousd: int) -> None:
    assert priced({"input_cost_per_token": "5e-10", "output_cost_per_token": 0}).cost(Usage(tokens)) == nanousd


def test_classes_are_summed_before_they_are_rounded() -> None:
    price = priced({"input_cost_per_token": "4e-10", "output_cost_per_token": "4e-10"})
    assert price.cost(Usage(1)) == price.cost(Usage(0, 1)) == 0
    assert price.cost(Usage(1, 1)) == 1


def test_prices_are_the_texts_of_the_table_not_their_floats(book: PriceBook) -> None:
    written: dict[str, Any] = json.loads(packaged_data.price_table(), parse_float=Decimal)
    for key, entry in written.items():
        price = price_from(key, book._entries[key])
        value = entry.get("input_cost_per_token")
        if price is not None and isinstance(value, Decimal) and "tiered_pricing" not in entry:
            assert price.rates().input == value
            assert Decimal(repr(float(value))) == value  # so an override read as a float is as exact


RATE = st.decimals(min_value=0, max_value=Decimal("0.01"), places=18)
TOKENS = st.integers(0, 10**12)


@given(rates=st.lists(RATE, min_size=11, max_size=11), tokens=st.lists(TOKENS, min_size=4, max_size=4))
def test_the_cost_is_always_the_exact_sum_rounded_once(rates: list[Decimal], tokens: list[int]) -> None:
    names = [*Rates.__dataclass_fields__]
    keys = dict(
        zip(
            names,
            [
                "input_cost_per_token",
                "output_cost_per_token",
                "cache_read_input_token_cost",
                "cache_read_input_audio_token_cost",
                "cache_creation_input_token_cost",
                "cache_creation_input_token_cost_above_1hr",
                "output_cost_per_reasoning_token",
                "input_cost_per_audio_token",
                "output_cost_per_audio_token",
                "input_cost_per_image_token",
                "output_cost_per_image_token",
            ],
            strict=True,
        )
    )
    price = priced({keys[name]: rate for name, rate in zip(names, rates, strict=True)})
    plain, cached, out, thought = tokens
    usage = Usage(prompt=plain + cached, cached=cached, completion=out + thought, reasoning=thought)
    by_name = dict(zip(names, map(Fraction, rates), strict=True))
    exact = plain * by_name["input"] + cached * by_name["cached"] + out * by_name["output"]
    exact += thought * by_name["reasoning"]
    assert price.cost(usage) == round(exact * 10**9)  # a Fraction rounds half to even


COUNTS = st.integers(0, 10**6)


@given(st.builds(Usage, *[COUNTS] * 11))
def test_no_token_is_ever_charged_twice_or_not_at_all(usage: Usage) -> None:
    price = priced({"input_cost_per_token": "1e-9", "output_cost_per_token": "1e-9"})
    assert price.cost(usage) == usage.prompt + usage.completion


# ---------------------------------------------------------------------------------------------------- steps and tiers

STEPPED = {
    "input_cost_per_token": 1e-6,
    "input_cost_per_token_above_200k_tokens": 2e-6,
    "cache_read_input_token_cost": 1e-7,
    "cache_read_input_token_cost_above_200k_tokens": 2e-7,
    "output_cost_per_token": 4e-6,
    "output_cost_per_token_above_200k_tokens": 6e-6,
}


def test_above_a_threshold_the_whole_request_is_at_the_higher_step() -> None:
    price = priced(STEPPED)
    assert price.cost(Usage(200_000, 10, cached=1_000)) == 199_000_000 + 100_000 + 40_000
    assert price.cost(Usage(200_001, 10, cached=1_000)) == 199_001 * 2_000 + 200_000 + 60_000


def test_xai_is_at_the_higher_step_from_the_threshold_on() -> None:
    price = priced({**STEPPED, "litellm_provider": "xai"})
    assert price.cost(Usage(199_999)) == 199_999_000
    assert price.cost(Usage(200_000)) == 400_000_000


def test_there_may_be_several_thresholds() -> None:
    price = priced(
        {**PLAIN, "input_cost_per_token_above_128k_tokens": 2e-6, "input_cost_per_token_above_500000_tokens": 3e-6}
    )
    assert [price.rates(tokens).input * 10**6 for tokens in (128_000, 128_001, 500_000, 500_001)] == [1, 2, 2, 3]
    assert price.rates(500_001).output == Decimal("4e-6")


def test_ranges_of_prompt_sizes_each_have_their_own_prices() -> None:
    price = priced(
        {
            "tiered_pricing": [
                {"range": [256_000, 1e6], "input_cost_per_token": 1.2e-6, "output_cost_per_token": 3.6e-6},
                {
                    "range": [0, 256_000.0],
                    "input_cost_per_token": 4e-7,
                    "output_cost_per_token": 1.2e-6,
                    "output_cost_per_reasoning_token": 4e-6,
                },
            ]
        }
    )
    assert price.cost(Usage(256_000, 10, reasoning=4)) == 256_000 * 400 + 6 * 1_200 + 4 * 4_000
    assert price.cost(Usage(256_001, 10, reasoning=4)) == 256_001 * 1_200 + 10 * 3_600
    assert price.cost(Usage(2_000_000)) == 2_000_000 * 1_200
    assert price.cost(Usage(0, 1)) == 1_200


TIERED = {
    **PLAIN,
    "cache_read_input_token_cost": 1e-7,
    "input_cost_per_token_priority": 2e-6,
    "output_cost_per_token_priority": 8e-6,
    "input_cost_per_token_flex": 5e-7,
    "output_cost_per_token_flex": 2e-6,
    "cache_read_input_token_cost_flex": 5e-8,
    "input_cost_per_token_batches": 4e-7,
    "output_cost_per_token_batches": 1e-6,
}


@pytest.mark.parametrize(
    ("tier", "nanousd"),
    [
        (None, 5_000 + 500 + 4_000),
        ("default", 5_000 + 500 + 4_000),
        ("auto", 5_000 + 500 + 4_000),
        ("standard", 5_000 + 500 + 4_000),
        ("scale", 5_000 + 500 + 4_000),
        ("priority", 10_000 + 500 + 8_000),
        ("flex", 2_500 + 250 + 2_000),
        ("batch", 2_000 + 500 + 1_000),
    ],
)
def test_a_service_tier_has_its_own_prices_and_the_plain_ones_where_it_names_none(
    tier: str | None, nanousd: int
) -> None:
    assert priced(TIERED).cost(Usage(10, 1, cached=5), tier) == nanousd


def test_reasoning_of_a_tier_costs_as_that_tiers_output_unless_priced_apart() -> None:
    entry = {**TIERED, "output_cost_per_reasoning_token": 4e-6}
    assert priced(entry).cost(Usage(0, 1, reasoning=1), "priority") == 8_000
    assert (
        priced({**entry, "output_cost_per_reasoning_token_priority": 9e-6}).cost(Usage(0, 1, reasoning=1), "priority")
        == 9_000
    )


def test_a_tier_and_a_threshold_meet() -> None:
    price = priced(
        {**STEPPED, "input_cost_per_token_priority": 3e-6, "input_cost_per_token_above_200k_tokens_priority": 5e-6}
    )
    assert price.rates(200_000, "priority").input == Decimal("3e-6")
    assert price.rates(200_001, "priority").input == Decimal("5e-6")
    assert price.rates(200_001, "priority").output == Decimal("6e-6")


def test_what_only_batches_price_above_a_threshold_is_no_step_of_the_others() -> None:
    price = priced({**TIERED, "input_cost_per_token_above_200k_tokens_batches": 9e-7})
    assert price.rates(300_000).input == Decimal("1e-6")
    assert price.rates(300_000, "batch").input == Decimal("9e-7")


def test_hours_may_have_prices_of_their_own() -> None:
    entry = {
        **PLAIN,
        "off_peak_pricing": {
            "input_cost_per_token": 5e-7,
            "windows": [
                {"hours_utc": ["22:00-01:00"], "weekdays": [1, 2, 3, 4, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        },
    }
    price = priced(entry)
    monday = 4 * 86_400.0  # 1970-01-05
    assert price.cost(Usage(10, 1), at=monday + 12 * 3600) == 14_000
    assert price.cost(Usage(10, 1), at=monday + 22 * 3600) == 9_000
    assert price.cost(Usage(10, 1), at=monday + 3599) == 9_000
    assert price.cost(Usage(10, 1), at=monday + 3600) == 14_000
    assert price.cost(Usage(10, 1), at=monday - 12 * 3600) == 9_000
    assert price.cost(Usage(10, 1)) == 14_000
    assert price.cost(Usage(10, 1, cached=10), at=monday - 1) == 9_000


def test_a_place_or_a_speed_may_cost_extra_on_everything() -> None:
    entry = {**PLAIN, "litellm_provider": "anthropic", "provider_specific_entry": {"us": 1.1, "fast": 2, "note": "x"}}
    with pytest.raises(PriceError, match="note"):
        priced(entry)
    del entry["provider_specific_entry"]["note"]  # type: ignore[attr-defined]
    assert priced(entry).cost(Usage(10, modifiers=("us",))) == 11_000
    assert priced(entry).cost(Usage(10, modifiers=("us", "fast"))) == 22_000
    assert priced(entry).cost(Usage(10, modifiers=("global", "standard"))) == 10_000
    regional = {**PLAIN, "regional_processing_uplift_multiplier_eu": 1.1}
    assert priced(regional, "eu").cost(Usage(10)) == 11_000
    assert priced(regional, "us").cost(Usage(10)) == priced(regional).cost(Usage(10)) == 10_000
    assert priced({**PLAIN, "regional_endpoint_uplift_multiplier": 1.1}, "us-east5").cost(Usage(10)) == 11_000


def test_a_region_is_read_from_openais_hosts_or_a_location() -> None:
    assert region_of("https://eu.api.openai.com/v1") == "eu"
    assert region_of("https://api.openai.com/v1") is None
    assert region_of("https://eu.api.openai.com.example.org/v1") is None
    assert region_of(None, "Europe-West1") == "europe-west1"
    assert region_of(None) is None


# ---------------------------------------------------------------------------------------------------------------- book


@pytest.mark.parametrize(
    ("provider", "model", "usage", "nanousd"),
    [
        ("openai", "gpt-5", Usage(2006, 300, cached=1920, reasoning=192), 86 * 1250 + 1920 * 125 + 300 * 10_000),  # *
        ("openai", "gpt-4o", Usage(1000, 100, cached=500), 500 * 2500 + 500 * 1250 + 100 * 10_000),  # *
        ("openai", "gpt-4o-mini", Usage(1001, 1), 150_150 + 600),  # *
        ("openai", "gpt-4.1", Usage(1000, 100, cached=1000), 1000 * 500 + 100 * 8_000),  # *
        ("azure", "gpt-5", Usage(1000, 100), 1000 * 1250 + 100 * 10_000),
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            Usage(10_000, 100, cached=5_000, cache_write=3_000, cache_write_1h=1_000),
            2_000 * 3_000 + 5_000 * 300 + 2_000 * 3_750 + 1_000 * 6_000 + 100 * 15_000,
        ),  # *
        ("gemini", "gemini-2.5-pro", Usage(200_000, 10), 200_000 * 1_250 + 100_000),  # *
        ("gemini", "gemini-2.5-pro", Usage(200_001, 10, cached=1), 200_000 * 2_500 + 250 + 150_000),  # *
        ("gemini", "gemini-2.5-flash", Usage(100, 10, audio_prompt=40), 60 * 300 + 40 * 1_000 + 25_000),  # *
        ("demo", "gpt-5", Usage(1000, 100), 1000 * 1250 + 100 * 10_000),
        ("demo", "gemini/gemini-2.5-pro", Usage(1000), 1000 * 1250),
        ("demo", "demo", Usage(1000, 10, cached=500), 500_000 + 50_000 + 40_000),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", Usage(1000), 3_300_000),  # *
    ],
)
def test_well_known_models_cost_what_their_makers_say(
    book: PriceBook, provider: str, model: str, usage: Usage, nanousd: int
) -> None:
    price = book.price(provider, model)
    assert price is not None
    assert price.cost(usage) == nanousd


def test_a_model_the_table_does_not_know_is_unpriced_never_free(book: PriceBook) -> None:
    assert book.price("openai", "no-such-model") is None
    assert book.price("hosted_vllm", "gpt-5") is None
    assert book.price("openai", "claude-sonnet-4-5-20250929") is None
    assert book.facts("openai", "no-such-model").max_input_tokens is None


@pytest.mark.parametrize(
    ("provider", "model", "billed"),
    [
        ("azure", "responses/gpt-5", "azure/gpt-5"),
        ("azure", "gpt5_series/gpt-5", "azure/gpt-5"),
        ("azure", "o_series/o3", "azure/o3"),
        ("openai", "responses/gpt-5", "gpt-5"),
        ("bedrock", "converse/anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (
            "bedrock",
            "invoke/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
            "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        ),
        (
            "bedrock",
            "converse/arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
    ],
)
def test_how_a_model_is_reached_does_not_change_what_is_billed(
    book: PriceBook, provider: str, model: str, billed: str
) -> None:
    for known in (book, PriceBook.read(packaged_data.price_table(), [(provider, model)])):
        price = known.price(provider, model)
        assert price is not None
        assert price.model == billed
        assert known.facts(provider, model).max_input_tokens is not None


def test_an_arn_with_an_id_in_place_of_a_model_is_priced_by_its_base_model_alone(book: PriceBook) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4"
    assert names_no_model(arn)
    assert names_no_model(f"converse/{arn}")
    assert not names_no_model("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0")
    assert book.price("bedrock", arn) is None
    named = book.price("bedrock", arn, {"base_model": "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"})
    assert named is not None
    assert named.rates().output == Decimal("1.5e-5")


@pytest.mark.parametrize("model", ["openai/gpt-5", "openai/gpt-5:nitro", "openai/gpt-5:free"])
def test_a_model_of_openrouters_has_its_makers_price_for_holds_alone(book: PriceBook, model: str) -> None:
    makers = book.price("openai", "gpt-5")
    assert makers is not None
    for known in (book, PriceBook.read(packaged_data.price_table(), [("openrouter", model)])):
        price = known.price("openrouter", model)
        assert price is not None
        assert (price.rates(), price.is_for_holds, makers.is_for_holds) == (makers.rates(), True, False)


def test_openrouters_names_for_makers_are_known(book: PriceBook) -> None:
    assert book.price("openrouter", "google/gemini-2.5-pro:free") is not None
    assert book.price("openrouter", "no/such-model:free") is None
    assert book.price("openrouter", "auto") is None


def test_model_info_replaces_the_tables_prices_key_by_key(book: PriceBook) -> None:
    changed = book.price("openai", "gpt-5", {"input_cost_per_token": 1.3e-6, "max_input_tokens": 1000, "mode": None})
    assert changed is not None
    assert changed.rates().input == Decimal("1.3e-6")
    assert changed.rates().cached == Decimal("1.25e-7")
    assert book.facts("openai", "gpt-5", {"max_input_tokens": 1000}).max_input_tokens == 1000
    own = book.price("hosted_vllm", "mine", {"input_cost_per_token": "1e-7", "output_cost_per_token": 0})
    assert own is not None
    assert own.cost(Usage(10, 10)) == 1_000


@pytest.mark.parametrize("bad", ["free", -1e-6, float("nan"), float("inf"), True, [1], "1e30"])
def test_an_override_that_is_no_amount_is_refused_by_its_name(book: PriceBook, bad: object) -> None:
    with pytest.raises(PriceError, match="input_cost_per_token"):
        book.price("openai", "gpt-5", {"input_cost_per_token": bad})


def test_a_base_model_says_under_which_name_a_deployment_is_billed(book: PriceBook) -> None:
    price = book.price("azure", "our-deployment", {"base_model": "azure/gpt-5"})
    assert price is not None
    assert price.model == "azure/gpt-5"
    assert book.facts("azure", "our-deployment", {"base_model": "azure/gpt-5"}).max_input_tokens == 272_000


def test_facts_are_the_tables(book: PriceBook) -> None:
    facts = book.facts("openai", "gpt-5")
    assert (facts.max_input_tokens, facts.max_output_tokens, facts.mode) == (272_000, 128_000, "chat")


def test_a_name_splits_into_provider_and_model() -> None:
    assert split("anthropic/claude-x") == ("anthropic", "claude-x")
    assert split("openrouter/a/b") == ("openrouter", "a/b")
    assert split("gpt-5") == ("openai", "gpt-5")
    assert split("gpt-5", "azure") == ("azure", "gpt-5")


def test_a_book_keeps_only_what_its_models_need_and_is_read_in_a_moment() -> None:
    table = packaged_data.price_table()
    with within(0.5):  # 20 ms
        book = PriceBook.read(table, [("openai", "gpt-5"), ("anthropic", "claude-sonnet-5")])
    assert len(book._entries) == 2
    assert book.price("openai", "gpt-5") is not None
    assert book.price("openai", "gpt-4o") is None


def test_reading_prices_never_imports_litellm() -> None:
    program = (
        "import sys; from gateway import packaged_data; from gateway.money.prices.table import PriceBook\n"
        "PriceBook.read(packaged_data.price_table(), [('openai', 'gpt-5')]); packaged_data.tokenizers_dir()\n"
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_every_price_in_the_table_can_be_built(book: PriceBook) -> None:
    built = [price_from(key, entry) for key, entry in book._entries.items() if entry.get("mode") == "chat"]
    assert len(built) > 1000
    assert sum(price is None for price in built) < 0.1 * len(built)


# ------------------------------------------------------------------------------------------------- an independent check

CHECKED_MODELS = [
    ("openai", "gpt-5"),
    ("openai", "gpt-4o"),
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-6-astra"),
    ("openai", "o3"),
    ("azure", "azure/gpt-5"),
    ("anthropic", "claude-sonnet-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("gemini", "gemini/gemini-2.5-pro"),
    ("gemini", "gemini/gemini-3-pro-preview"),
    ("bedrock_converse", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("dashscope", "dashscope/qwen-plus-2025-07-28"),
    ("minimax", "minimax/MiniMax-M3"),
]
CHECKED_USAGES: list[dict[str, Any]] = [
    {"prompt_tokens": 1234, "completion_tokens": 567},
    {"prompt_tokens": 123_457, "completion_tokens": 567, "prompt_tokens_details": {"cached_tokens": 1024}},
    {
        "prompt_tokens": 300_001,
        "completion_tokens": 1567,
        "prompt_tokens_details": {"cached_tokens": 100_096, "cache_creation_tokens": 5003},
        "completion_tokens_details": {"reasoning_tokens": 1001},
    },
    {"prompt_tokens": 600_000, "completion_tokens": 77, "completion_tokens_details": {"reasoning_tokens": 7}},
]
CHECK = """
import json, sys, warnings
warnings.simplefilter("ignore")
from litellm import cost_per_token
from litellm.types.utils import Usage
for provider, model, usage, tier in json.load(sys.stdin):
    counted = Usage(**usage)
    costs = cost_per_token(model=model, custom_llm_provider=provider, service_tier=tier, usage_object=counted)
    print(repr(sum(costs)))
"""


def test_litellms_own_arithmetic_agrees(book: PriceBook) -> None:
    """Beside ours, over the same table, written by others; in floats, hence the tolerance of one nano-dollar."""
    cases = [
        (provider, model, {**usage, "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]}, tier)
        for provider, model in CHECKED_MODELS
        for usage in CHECKED_USAGES
        for tier in (None, "priority", "flex")
        if model in book._entries
    ]
    assert len(cases) > 100
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run = [sys.executable, "-c", CHECK]
    done = subprocess.run(
        run, input=json.dumps(cases), env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    theirs = [Decimal(line) * 10**9 for line in done.stdout.splitlines()]
    for (_, model, wire, tier), expected in zip(cases, theirs, strict=True):
        price, usage = price_from(model, book._entries[model]), usage_from_openai(wire)
        assert price is not None
        assert usage is not None
        ours = price.cost(usage, tier)
        assert abs(ours - expected.quantize(Decimal(1), ROUND_HALF_EVEN)) <= 1, (model, wire, tier)


@pytest.mark.parametrize("mode", ["embedding", "moderation", "rerank"])
def test_models_that_write_nothing_need_no_price_for_what_they_write(mode: str) -> None:
    price = priced({"mode": mode, "input_cost_per_token": "2e-8"})
    assert price.cost(Usage(prompt=1_000)) == 20_000
    assert price_from("model", {"mode": "chat", "input_cost_per_token": "2e-8"}) is None


def test_a_reranking_costs_its_searches_beside_its_tokens(book: PriceBook) -> None:
    price = book.price("cohere", "rerank-v3.5")  # * $2 for a thousand searches
    assert price is not None
    assert price.cost(Usage(prompt=500, searches=3)) == 6_000_000
    assert price.cost(Usage(prompt=500, searches=1) + Usage(searches=1)) == 4_000_000
    assert priced({**PLAIN, "mode": "chat", "input_cost_per_query": "0.002"}).cost(Usage(searches=1)) == 0


def test_openais_text_completions_are_billed_by_openai(book: PriceBook) -> None:
    price = book.price("openai", "gpt-3.5-turbo-instruct")
    assert price is not None
    assert price.cost(Usage(prompt=2, completion=1)) == 5_000

"""Usage: every dialect read into one value, and what cannot be so put right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.money.prices.entries import price_from
from gateway.request import Usage
from gateway.wire.usage import billed_nanousd, found_in, fuller, mended, usage_from_openai
from tests.conftest import examples


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2)),
        (
            {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 192,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                },
            },
            Usage(2006, 300, cached=1920, reasoning=192),
        ),
        (  # DeepSeek
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            },
            Usage(100, 5, cached=64),
        ),
        (  # Anthropic through litellm: included, and named twice
            {
                "prompt_tokens": 1100,
                "completion_tokens": 5,
                "total_tokens": 1105,
                "prompt_tokens_details": {
                    "cached_tokens": 600,
                    "cache_creation_tokens": 400,
                    "cache_creation_token_details": {
                        "ephemeral_5m_input_tokens": 300,
                        "ephemeral_1h_input_tokens": 100,
                    },
                },
                "cache_creation_input_tokens": 400,
                "cache_read_input_tokens": 600,
            },
            Usage(1100, 5, cached=600, cache_write=400, cache_write_1h=100),
        ),
        (  # Anthropic's own wire: left out
            {
                "input_tokens": 100,
                "output_tokens": 5,
                "cache_creation_input_tokens": 400,
                "cache_read_input_tokens": 600,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 400},
                "inference_geo": "US",
                "speed": "fast",
            },
            Usage(1100, 5, cached=600, cache_write=400, cache_write_1h=400, modifiers=("us", "fast")),
        ),
        (  # Anthropic's own wire with a prompt larger than what was cached
            {
                "input_tokens": 1000,
                "output_tokens": 5,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 600,
            },
            Usage(1600, 5, cached=600),
        ),
        (  # OpenAI's other API
            {
                "input_tokens": 100,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 60},
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(100, 5, cached=60, reasoning=2),
        ),
        (  # an upstream that leaves cached tokens out, as its total tells
            {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 165, "cache_read_input_tokens": 60},
            Usage(160, 5, cached=60),
        ),
        (  # xAI: reasoning beside the completion, as the total tells
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "total_tokens": 319,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(10, 309, reasoning=300),
        ),
        (  # the same below the completion
            {
                "prompt_tokens": 10,
                "completion_tokens": 400,
                "total_tokens": 710,
                "completion_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(10, 700, reasoning=300),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"audio_tokens": 3, "image_tokens": 2},
            },
            Usage(9, 4, audio_prompt=3, image_prompt=2),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 5, "cached_tokens_details": {"audio_tokens": 2}},
                "completion_tokens_details": {"audio_tokens": 3, "image_tokens": 1},
            },
            Usage(9, 4, cached=5, cached_audio=2, audio_completion=3, image_completion=1),
        ),
        ({"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None}, Usage(9, 0)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(9, 0)),
        ({"completion_tokens": 4, "total_tokens": 9}, Usage(5, 4)),
        ({"prompt_tokens": 9.0, "completion_tokens": 4.0}, Usage(9, 4)),
        (  # Gemini's thinking shows only in its total
            {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 1000},
            Usage(9, 991, reasoning=987),
        ),
        (  # what is stated besides explains the total
            {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 20, "tool_use_prompt_tokens": 7},
            Usage(9, 4),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 10**8}, Usage(9, 4)),
        ({"prompt_tokens": 0, "completion_tokens": 4, "total_tokens": 13}, Usage(9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 13}, Usage(9, 4)),
        ({"prompt_tokens": "9", "completion_tokens": "4"}, Usage(9, 4)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": 1.5, "completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": float("nan"), "completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": 10**9, "completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": True, "completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": "9" * 5_000, "completion_tokens": 4}, Usage(0, 4)),
        ({"completion_tokens": 4}, Usage(0, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": -3}}, Usage(9, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": [1], "inference_geo": 5}, Usage(9, 4)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
    ],
)
def test_every_dialect_of_usage_is_read_as_openais(wire: dict[str, Any], usage: Usage) -> None:
    assert usage_from_openai(wire) == usage


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        "usage",
        5,
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": "many", "completion_tokens": "9" * 5_000},
        {"total_tokens": 9},
    ],
)
def test_usage_that_cannot_be_used_is_none_so_that_the_caller_estimates(garbage: object) -> None:
    assert usage_from_openai(garbage) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens"]), inner)
    ),
    max_leaves=4,
)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "prompt_tokens_details",
        "reasoning_tokens",
        "completion_tokens_details",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "speed",
    ]
)


@given(st.dictionaries(NAMES, JSON))
def test_any_usage_object_is_read_without_a_crash_and_parts_stay_within_their_wholes(wire: dict[str, Any]) -> None:
    usage = usage_from_openai(wire)
    price = price_from("model", {"input_cost_per_token": "1e-9", "output_cost_per_token": "1e-9"})
    if usage is not None:
        assert 0 <= usage.reasoning <= usage.completion
        assert usage.cached + usage.cache_write <= usage.prompt
        assert usage.cache_write_1h <= usage.cache_write
        assert price is not None
        assert price.cost(usage) >= 0


def test_a_prompt_smaller_than_what_was_cached_of_it_is_put_right_by_our_own_count() -> None:
    wire = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 600}}
    assert usage_from_openai(wire) == Usage(700, 5, cached=600)
    read = usage_from_openai(wire)
    assert read is not None
    assert read.contradicts
    assert usage_from_openai(wire, 690) == Usage(690, 5, cached=600, estimated=True)
    assert usage_from_openai(wire, 7) == Usage(100, 5, cached=100, estimated=True)
    explained = usage_from_openai({**wire, "total_tokens": 705}, 7)
    assert explained == Usage(700, 5, cached=600)


def test_the_larger_of_a_placeholder_and_our_own_count_stands_and_is_marked() -> None:
    said = Usage(100, 1)
    assert mended(said, None, 3) == Usage(100, 3, estimated=True)
    assert mended(Usage(0, 4), 8, None) == Usage(8, 4, estimated=True)
    assert mended(said, 90, 1) is said


USED = {"prompt_tokens": 9, "completion_tokens": 4}


@pytest.mark.parametrize(
    "fields",
    [
        {"usage": USED},
        {"usage": None, "x_groq": {"usage": USED}},
        {"choices": [{"usage": USED}]},
        {"choices": [{"delta": {"usage": USED}}]},
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0}, "choices": [{"usage": USED}]},
    ],
)
def test_usage_is_found_wherever_it_is_put(fields: dict[str, Any]) -> None:
    assert found_in(fields) == USED


def test_what_one_object_of_usage_leaves_at_nothing_the_other_says() -> None:
    begun, ended = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}, {"completion_tokens": 50}
    assert usage_from_openai(fuller(begun, ended)) == Usage(1000, 50)
    assert usage_from_openai(fuller(begun, {"prompt_tokens": 0, "completion_tokens": 1500})) == Usage(1000, 1500)
    assert usage_from_openai(fuller({**USED, "prompt_tokens": 12}, {**USED, "prompt_tokens": 11})) == Usage(12, 4)


def test_no_usage_is_found_where_there_is_none() -> None:
    assert found_in({"usage": None, "choices": [None, {"delta": {"content": "usage"}}], "x": [USED]}) is None


COUNTS = st.none() | st.integers(0, 2_000)


@settings(max_examples=examples(100))
@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_two_objects_of_usage_together_never_say_less_than_either(
    prompt: int | None, completion: int | None, later_prompt: int | None, later_completion: int | None
) -> None:
    one = {"prompt_tokens": prompt, "completion_tokens": completion}
    other = {"prompt_tokens": later_prompt, "completion_tokens": later_completion}
    both = usage_from_openai(fuller(one, other)) or Usage()
    for each in (one, other):
        read = usage_from_openai(each) or Usage()
        assert both.prompt + both.completion >= read.prompt + read.completion


def test_a_bill_is_in_dollars_and_of_ones_own_key_the_fee_and_the_providers_price() -> None:
    assert billed_nanousd({"cost": 0.0123}) == 12_300_000
    assert billed_nanousd({"cost": 5e-10}) == 0
    assert (
        billed_nanousd({"cost": 1, "is_byok": True, "cost_details": {"upstream_inference_cost": 2.5}}) == 3_500_000_000
    )
    for nothing in ({}, None, {"cost": "1"}, {"cost": float("nan")}, {"cost": float("inf")}, {"cost": -0.1}):
        assert billed_nanousd(nothing) is None

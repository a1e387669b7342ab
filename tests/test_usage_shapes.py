"""Usage in the shapes of Responses and Messages, mapped once into the form that is priced."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request import Usage
from gateway.wire.usage import billed_nanousd, usage_from_openai
from gateway.wire.usage_shapes import usage_of_messages, usage_of_responses

START = {
    "input_tokens": 100,
    "output_tokens": 1,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 400,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100},
    "service_tier": "standard",
    "inference_geo": "us",
}


def test_responses_are_mapped_member_by_member() -> None:
    usage = usage_of_responses(
        {
            "input_tokens": 2006,
            "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 192},
            "total_tokens": 2306,
            "cost": 0.5,
        }
    )
    assert usage_from_openai(usage) == Usage(2006, 300, cached=1024, cache_write=512, reasoning=192)
    assert billed_nanousd(usage) == 500_000_000


def test_an_answer_of_messages_includes_what_was_read_and_written_in_its_prompt() -> None:
    usage = usage_of_messages(START | {"output_tokens": 7})
    assert usage is not None
    assert (usage["prompt_tokens"], usage["total_tokens"], usage["service_tier"]) == (1100, 1107, "standard")
    read = usage_from_openai(usage)
    assert read == Usage(1100, 7, cached=600, cache_write=400, cache_write_1h=100, modifiers=("us",))


@pytest.mark.parametrize(
    "delta",
    [
        {"output_tokens": 7},
        {"output_tokens": 7, "input_tokens": 0, "cache_read_input_tokens": None},
        {**START, "output_tokens": 7},
    ],
)
def test_the_end_of_a_stream_says_more_than_its_beginning(delta: dict[str, Any]) -> None:
    read = usage_from_openai(usage_of_messages(START, delta))
    assert read == Usage(1100, 7, cached=600, cache_write=400, cache_write_1h=100, modifiers=("us",))


def test_a_prompt_that_only_the_end_of_a_stream_states_counts() -> None:
    usage = usage_of_messages({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 90, "output_tokens": 4})
    assert usage_from_openai(usage) == Usage(90, 4)


def test_the_pass_in_which_the_provider_shortened_a_conversation_is_billed() -> None:
    usage = usage_of_messages(
        {
            "input_tokens": 23_000,
            "output_tokens": 1_000,
            "iterations": [
                {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
                {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
            ],
        }
    )
    assert usage_from_openai(usage) == Usage(203_000, 4_500)


@pytest.mark.parametrize("garbage", [None, [], "usage", 5, {}, {"input_tokens": None}, {"total_tokens": 9}])
def test_usage_that_cannot_be_used_is_none(garbage: object) -> None:
    assert usage_of_responses(garbage) is None
    assert usage_of_messages(garbage) is None
    assert usage_of_messages(garbage, garbage) is None


JSON = st.recursive(
    st.none() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "input_tokens", "cached_tokens", "cache_creation"]), inner)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(["input_tokens", "output_tokens", "input_tokens_details", "cache_creation", "iterations"])


@given(st.dictionaries(NAMES, JSON), st.dictionaries(NAMES, JSON))
def test_any_usage_of_either_shape_is_mapped_without_a_crash(one: dict[str, Any], other: dict[str, Any]) -> None:
    for usage in (usage_of_responses(one), usage_of_messages(one), usage_of_messages(one, other)):
        assert usage is None or usage_from_openai(usage) is not None

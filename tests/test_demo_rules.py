"""What holds for the caches of all providers that the demo stands in for, whatever is sent and whenever."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.money.prices.table import PriceBook
from gateway.packaged_data import price_table
from gateway.request import Usage
from tests.conftest import examples
from tests.providers.cached import PRIMING, Provider, message, tool

RULES = ("demo", "openai", "openai-5.6", "anthropic", "gemini", "vllm")
WITH_MARKS = ("openai-5.6", "anthropic")


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and how long after the one before it came, in seconds."""

    branch: tuple[int, ...]
    marked: frozenset[int]
    hourly: bool
    tools: int
    gap: float


SENT = st.builds(
    Sent,
    branch=st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple),
    marked=st.frozensets(st.integers(0, 11), max_size=4),
    hourly=st.booleans(),
    tools=st.integers(0, 2),
    gap=st.sampled_from([0.0, 1.0, 299.0, 301.0, 1799.0, 1801.0, 3601.0, 90_000.0]),
)


def messages(sent: Sent, rules: str) -> list[dict[str, Any]]:
    """A path through a tree of messages; equal beginnings of paths are equal beginnings of prompts."""
    made = []
    for at, choice in enumerate(sent.branch):
        one = message(("system", "user", "assistant", "user")[min(at, 1 + at % 3)], 300 + 100 * choice, f"m{choice}")
        if at in sent.marked and rules == "anthropic":
            one["cache_control"] = {"type": "ephemeral", "ttl": "1h" if sent.hourly else "5m"}
        if at in sent.marked and rules == "openai-5.6":
            mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
            one["content"] = [{"type": "text", "text": one["content"], **mark}]
        made.append(one)
    return made


def tools(sent: Sent) -> dict[str, Any]:
    return {"tools": [tool(50, f"tool{sent.tools}")]} if sent.tools else {}


def shared(one: Sent, other: Sent) -> int:
    """The longest run of messages that two requests begin with; -1 where even their tools differ."""
    if one.tools != other.tools:
        return -1
    run = 0
    while run < min(len(one.branch), len(other.branch)) and one.branch[run] == other.branch[run]:
        run += 1
    return run


@pytest.mark.parametrize("rules", RULES)
@given(history=st.lists(SENT, min_size=1, max_size=6))
@settings(max_examples=examples(60))
async def test_a_request_reads_only_what_earlier_ones_share_and_no_token_is_charged_twice(
    rules: str, history: list[Sent]
):
    provider = Provider(f"demo/{rules}")
    for position, sent in enumerate(history):
        provider.now += sent.gap
        usage = await provider.usage(messages(sent, rules), **tools(sent))
        assert 0 <= usage.cache_write_1h <= usage.cache_write
        assert usage.cached + usage.cache_write <= usage.prompt - PRIMING
        longest = max((shared(sent, earlier) for earlier in history[:position]), default=-1)
        common = await Provider(f"demo/{rules}").usage(messages(sent, "")[: max(longest, 0)], **tools(sent))
        assert usage.cached <= (common.prompt - PRIMING if longest >= 0 else 0)


@pytest.mark.parametrize("rules", RULES)
@given(history=st.lists(SENT, min_size=1, max_size=4))
@settings(max_examples=examples(60))
async def test_what_was_read_or_written_is_always_read_by_the_same_request_right_after(rules: str, history: list[Sent]):
    provider = Provider(f"demo/{rules}")
    for sent in history:
        provider.now += sent.gap
        first = await provider.usage(messages(sent, rules), **tools(sent))
        again = await provider.usage(messages(sent, rules), **tools(sent))
        assert again.cached >= first.cached + first.cache_write
        assert again.cache_write == 0


@pytest.mark.parametrize("rules", RULES)
@given(sent=SENT)
@settings(max_examples=examples(30))
async def test_marks_never_change_what_a_prompt_counts_or_what_is_answered(rules: str, sent: Sent):
    plain = await Provider(f"demo/{rules}").usage(messages(sent, ""), **tools(sent))
    marked = await Provider(f"demo/{rules}").usage(messages(sent, rules), **tools(sent))
    assert (plain.prompt, plain.completion) == (marked.prompt, marked.completion)


@pytest.mark.parametrize(
    ("model", "usage", "nanousd"),
    [
        ("openai", Usage(10_000, 10, cached=4000), 6000 * 1000 + 4000 * 100 + 40_000),
        ("openai-5.6", Usage(10_000, 0, cached=4000, cache_write=5000), 1000 * 1000 + 4000 * 100 + 5000 * 1250),
        (
            "anthropic",
            Usage(10_000, 0, cached=4000, cache_write=5000, cache_write_1h=2000),
            1000 * 1000 + 4000 * 100 + 3000 * 1250 + 2000 * 2000,
        ),
        ("anthropic/no-such-model", Usage(1000, 0, cache_write=1000), 1000 * 1250),
        ("gemini", Usage(10_000, 0, cached=4000), 6000 * 1000 + 4000 * 100),
        ("vllm", Usage(10_000, 0, cached=4000), 6000 * 1000),
        ("anthropic/claude-sonnet-4-5", Usage(1000, 0, cache_write=1000), 1000 * 3750),
    ],
)
def test_reads_and_writes_are_priced_as_the_provider_prices_them(model: str, usage: Usage, nanousd: int):
    book = PriceBook.read(price_table(), [("demo", model)])
    price = book.price("demo", model)
    assert price is not None
    assert price.cost(usage) == nanousd

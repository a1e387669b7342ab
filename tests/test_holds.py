"""Answers that nothing limits under a hard limit: counted as they come, their hold raised ahead, and ended."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config.limits import Budget
from gateway.state.counters import AccountCharge, Balance, Look
from gateway.state.counters_disk import DiskCounters
from gateway.state.counting_owner import CountingOwner
from gateway.wire.chat.relay import DONE
from tests.passage import (
    NOW,
    USAGE,
    WHOLE_STREAM,
    Passed,
    Script,
    Setting,
    delta,
    deployment,
    fails,
    says,
    streams,
    usage_event,
)

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa "
"""Some ten tokens and more."""
LONG = tuple(delta(WORDS * 5) for _ in range(200))
"""An answer of more than ten thousand tokens: a hundred thousandths of a dollar each."""


def setting(folder: Path, dollars: float = 0.05, **more: Any) -> Setting:
    """A hard limit, and a model that may answer with 128,000 tokens, $1.28."""
    budget = Budget(max_budget=Decimal(str(dollars)), budget_duration="1w")
    return Setting(folder, budgets=[budget], deployments=[deployment(max_output=128_000, **more)])


def ask(**more: Any) -> bytes:
    return orjson.dumps({"model": "asked", "messages": [{"role": "user", "content": "go"}], **more})


def balance(passed: Passed) -> Balance:
    """The account of the budget once the request is over."""
    limits, config = passed.gateway.limits, passed.gateway.config
    assert limits is not None
    assert config.state.dir is not None
    [rule] = limits.everywhere
    bucket, first, _ = rule.span(NOW)
    store = DiskCounters(config.state.dir)
    charge = AccountCharge("$gateway|1w|UTC", "money", bucket, first, rule.hard)
    [found] = store.run([Look([charge], NOW)], CountingOwner(config.ledger.dir).source)
    store.close()
    assert isinstance(found, list)
    assert isinstance(found[0], Balance)
    return found[0]


async def test_a_whole_answer_is_asked_for_as_a_stream_and_gathered(tmp_path):
    script = Script(streams(*WHOLE_STREAM))
    passed = await setting(tmp_path)(ask(), script)
    sent = script.calls[0]
    assert (sent.stream, sent.fields["stream"]) == (True, True)
    assert sent.fields["stream_options"] == {"include_usage": True}
    assert passed.client.status == 200
    assert passed.client.fields["choices"][0]["message"]["content"] == "hello"
    assert passed.client.fields["object"] == "chat.completion"
    assert passed.client.fields["usage"] == USAGE
    assert passed.settled["completion_tokens"] == USAGE["completion_tokens"]
    assert balance(passed) == Balance(passed.settled["cost_nanousd"], 0, 0, 0)


async def test_where_much_is_free_a_request_leaves_as_it_came(tmp_path):
    script = Script(says())
    passed = await setting(tmp_path, 100.0)(ask(), script)
    assert (passed.client.status, script.calls[0].stream) == (200, False)
    assert "stream" not in script.calls[0].fields


async def test_a_limit_that_was_asked_for_is_held_whole(tmp_path):
    script = Script(says())
    passed = await setting(tmp_path)(ask(max_tokens=1_000), script)
    assert (passed.client.status, script.calls[0].stream) == (200, False)


async def test_a_long_answer_within_the_budget_comes_whole(tmp_path):
    usage = {"prompt_tokens": 3, "completion_tokens": 4_000, "total_tokens": 4_003}
    script = Script(streams(*LONG[:60], delta("", "stop"), usage_event(usage), DONE))
    passed = await setting(tmp_path, 0.08)(ask(), script)
    assert passed.client.status == 200
    assert passed.client.fields["choices"][0]["message"]["content"] == WORDS * 300
    assert passed.settled["status"] == "answered"
    assert balance(passed).holds == 0


@pytest.mark.parametrize("tools", [False, True])
async def test_an_answer_that_the_budget_does_not_pay_for_is_ended_and_booked(tmp_path, tools):
    more: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "f"}}]} if tools else {}
    script = Script(streams(*LONG, delta("", "stop"), usage_event(), DONE))
    passed = await setting(tmp_path)(ask(**more), script)
    assert passed.client.status == 429
    error = passed.client.error
    assert (error["type"], error["code"]) == ("budget_exceeded", "insufficient_quota")
    assert "ended this answer after about" in error["message"]
    assert passed.client.got["x-should-retry"] == "false"
    assert script.calls[0].reply is not None
    assert script.calls[0].reply.closed
    settled = passed.settled
    assert (settled["status"], settled["error"]) == ("failed", "insufficient_quota")
    assert 0.03e9 < settled["cost_nanousd"] <= 0.05e9
    assert balance(passed) == Balance(settled["cost_nanousd"], 0, 0, 0)


async def test_a_stream_ends_with_the_error(tmp_path):
    script = Script(streams(*LONG, delta("", "stop"), usage_event(), DONE))
    passed = await setting(tmp_path)(ask(stream=True), script)
    assert passed.client.status == 200
    last = passed.client.text.split(b"data: ")[-1]
    assert orjson.loads(last)["error"]["code"] == "insufficient_quota"
    assert (passed.settled["status"], passed.settled["error"]) == ("failed", "insufficient_quota")
    assert 0.03e9 < passed.settled["cost_nanousd"] <= 0.05e9
    assert balance(passed).holds == 0


@pytest.mark.parametrize("facts", [{"thinks_unasked": True}, {"streams": False}])
async def test_what_cannot_be_counted_is_held_at_its_highest_cost(tmp_path, facts):
    tools = [{"type": "function", "function": {"name": "f"}}]
    passed = await setting(tmp_path, **facts)(ask(tools=tools), Script())
    assert passed.client.status == 429
    assert "it may cost $1.28" in passed.client.error["message"]


async def test_a_request_that_wants_no_thinking_is_counted(tmp_path):
    script = Script(streams(*WHOLE_STREAM))
    passed = await setting(tmp_path, thinks_unasked=True)(ask(reasoning_effort="none"), script)
    assert (passed.client.status, script.calls[0].stream) == (200, True)
    refused = await setting(tmp_path)(ask(reasoning_effort="low"), Script())
    assert refused.client.status == 429


async def test_a_failed_call_that_was_paid_for_is_held_beside_the_next(tmp_path):
    cut = Script(streams(*LONG[:60]), says())
    two = [deployment(number=number, max_output=128_000) for number in (0, 1)]
    around = setting(tmp_path, 0.05)
    passed = await replace(around, deployments=two)(ask(), cut)
    assert len(cut.calls) == 1, "what is left does not pay for as much again"
    assert passed.client.status == 502
    assert 0.01e9 < passed.settled["cost_nanousd"] <= 0.05e9
    assert balance(passed).holds == 0
    again = Script(streams(*LONG[:30]), streams(*WHOLE_STREAM))
    passed = await replace(setting(tmp_path / "more", 0.2), deployments=two)(ask(), again)
    assert (passed.client.status, len(again.calls)) == (200, 2)


async def test_a_call_that_cost_nothing_is_followed_by_another_in_the_same_hold(tmp_path):
    two = [deployment(number=number, max_output=128_000) for number in (0, 1)]
    script = Script(fails(503), streams(*WHOLE_STREAM))
    passed = await replace(setting(tmp_path), deployments=two)(ask(), script)
    assert (passed.client.status, len(script.calls)) == (200, 2)

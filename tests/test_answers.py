"""What is made of what upstreams really answer: failures in good answers, usage that says nothing, silence."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.routing.upstreams.upstream import UpstreamError
from gateway.serving.client import COMMENT
from gateway.wire.chat.relay import DONE
from gateway.wire.sse import event
from tests.passage import (
    USAGE,
    WHOLE_STREAM,
    Act,
    Script,
    Setting,
    Stall,
    delta,
    deployment,
    fails,
    says,
    streams,
    usage_event,
)
from tests.talk import body, user

HELLO = [user("hello")]
COST = 100 * 1_000 + 20 * 10_000
TWO = (deployment(number=0), deployment(number=1))
ROLE = event(b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}')
BEAT = b": still here\n\n"
FILTERS = event(b'{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}')
PLACEHOLDER = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
RATE = {"error": {"message": "Rate limit exceeded", "code": 429, "metadata": {"raw": "of its own"}}}


@pytest.fixture
def gateway(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def whole(fields: Any, **headers: str) -> Act:
    return Act(parts=(json.dumps(fields).encode(),), headers=headers)


def said(fields: Any) -> bytes:
    return event(json.dumps(fields).encode())


# ---------------------------------------------------------------- a failure in a good answer

BEGINNINGS: list[tuple[bytes, ...]] = [(), (BEAT,), (b": half", b" a beat\n\n"), (ROLE,), (FILTERS, ROLE, BEAT)]


@pytest.mark.parametrize("before", BEGINNINGS)
@pytest.mark.parametrize(
    "failed",
    [
        RATE,
        {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}], **RATE},
        {"choices": [{"index": 0, "delta": {}, **RATE}]},
        {"object": "error", "message": "Rate limit exceeded", "type": "rate_limit_error", "code": None},
        {"error": "Rate limit exceeded", "code": "429"},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_any_output_is_a_failure_with_the_upstreams_words(gateway, before, failed, stream):
    act = streams(*before, said(failed), DONE)
    alone = await gateway(body(HELLO, stream=stream), Script(act))
    assert (alone.client.status, alone.client.error["message"][:19]) == (429, "Rate limit exceeded")
    assert (alone.settled["status"], alone.settled["cost_nanousd"]) == ("failed", 0)
    gateway = replace(gateway, deployments=TWO, folder=gateway.folder / "b")
    passed = await gateway(body(HELLO, stream=stream), Script(act, streams(*WHOLE_STREAM)))
    assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("answered", COST)
    assert b"error" not in passed.client.text
    assert passed.settled["attempts"][0]["status"] == 429


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        (RATE, 429, "Rate limit exceeded"),
        ({"error": {"type": "overloaded_error", "message": "busy"}}, 529, "busy"),
        ({"error": {"status": "UNAVAILABLE", "message": "busy"}}, 503, "busy"),
        ([{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}], 400, "bad"),
        ({"error": {"error": {"message": "wrapped", "code": 422}}}, 422, "wrapped"),
        ({"error": {"code": 1113, "detail": "no balance"}}, 502, "no balance"),
        ({"error": True, "message": "went wrong"}, 502, "went wrong"),
        ({"detail": "nobody home"}, 502, "nobody home"),
        ({"choices": [{"index": 0, "error": {"code": 503, "message": "gone"}, "finish_reason": "error"}]}, 503, "gone"),
        ({"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}, 502, "login fail"),
    ],
)
async def test_an_error_in_a_200_has_the_status_it_names_or_stands_for(gateway, fields, status, words):
    passed = await gateway(body(HELLO), Script(whole(fields)))
    assert (passed.client.status, passed.client.error["message"].startswith(words)) == (status, True)
    assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("failed", 0)


async def test_an_error_in_a_200_about_our_key_tells_nobody_the_key(gateway):
    passed = await gateway(body(HELLO), Script(whole({"error": {"code": 401, "message": "key sk-secret is wrong"}})))
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_authentication")
    assert b"sk-secret" not in passed.client.text


async def test_an_error_that_says_nothing_beside_an_answer_is_none(gateway):
    for error in (None, {}, {"code": 0, "message": ""}, ""):
        passed = await replace(gateway, folder=gateway.folder / repr(error)[:3])(body(HELLO), Script(says(error=error)))
        assert passed.settled["status"] == "answered"


async def test_an_error_after_output_is_passed_on_and_cannot_be_taken_back(gateway):
    passed = await replace(gateway, deployments=TWO)(
        body(HELLO, stream=True), Script(streams(delta("one"), said(RATE)), says())
    )
    assert len(passed.script.calls) == 1
    assert passed.client.text == delta("one") + said(RATE)
    assert (passed.settled["status"], passed.settled["error"]) == ("failed", "429")


async def test_an_error_in_a_choice_after_output_is_told_where_clients_look(gateway):
    failed = said({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", **RATE}]})
    passed = await gateway(body(HELLO, stream=True), Script(streams(delta("one"), failed, DONE)))
    last = json.loads(passed.client.text.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert last["error"]["message"].startswith("Rate limit exceeded")
    assert passed.settled["status"] == "failed"


async def test_a_stream_that_says_nothing_is_no_answer(gateway):
    for number, act in enumerate((streams(ROLE, DONE), streams(DONE), streams(BEAT), streams(ROLE))):
        setting = replace(gateway, deployments=TWO, folder=gateway.folder / str(number))
        passed = await setting(body(HELLO, stream=True), Script(act, streams(*WHOLE_STREAM)))
        assert (passed.settled["status"], len(passed.script.calls)) == ("answered", 2)


async def test_what_came_before_the_output_comes_with_it(gateway):
    passed = await gateway(body(HELLO, stream=True), Script(streams(ROLE, FILTERS, *WHOLE_STREAM)))
    assert passed.client.pieces[0] == ROLE + FILTERS + WHOLE_STREAM[0]


@pytest.mark.parametrize("chunk", [b"<html>busy</html>", b"", b"  \n", b"\xff\xfe", b"data", b"null", b"7", b"[]"])
@pytest.mark.parametrize("stream", [True, False])
async def test_any_other_bytes_are_no_answer(gateway, chunk, stream):
    passed = await gateway(body(HELLO, stream=stream), Script(Act(parts=(chunk,))))
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_garbage")


# ---------------------------------------------------------------- how a connection ended


@pytest.mark.parametrize("end", [UpstreamError("reset", "cut"), UpstreamError("timeout", "stalled"), None])
async def test_an_answer_that_is_complete_is_one_however_its_connection_ended(gateway, end):
    parts = (delta("hello"), delta("", "stop"), usage_event(), *([end] if end else []))
    passed = await gateway(body(HELLO, stream=True), Script(streams(*parts)))
    assert passed.client.text == delta("hello") + delta("", "stop") + DONE
    assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("answered", COST)


async def test_a_whole_answer_that_is_all_here_is_one_however_its_connection_ended(gateway):
    cut = says()
    passed = await gateway(body(HELLO), Script(replace(cut, parts=(*cut.parts, UpstreamError("reset", "cut")))))
    assert (passed.client.status, passed.settled["status"]) == (200, "answered")


async def test_a_stream_that_breaks_while_it_is_gathered_is_asked_of_another(gateway):
    cut = streams(delta("one two three"), UpstreamError("reset", "cut"))
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(cut, says()))
    assert passed.settled["status"] == "answered"
    assert passed.settled["cost_nanousd"] == COST + 8 * 1_000 + 3 * 10_000, "both were written"
    assert passed.settled["completion_tokens"] == 20 + 3


# ---------------------------------------------------------------- the books


@pytest.mark.parametrize("nothing", [None, []])
async def test_an_answer_without_choices_is_paid_for_by_what_it_says_it_used(gateway, nothing):
    passed = await gateway(body(HELLO), Script(whole({"id": "c", "choices": nothing, "usage": USAGE})))
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_garbage")
    row = passed.settled
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == ("failed", 100, 20)
    assert row["cost_nanousd"] == COST


async def test_what_a_failed_call_says_it_used_is_entered_beside_the_answer(gateway):
    failed = streams(ROLE, said({**RATE, "usage": {"prompt_tokens": 100, "completion_tokens": 0}}))
    passed = await replace(gateway, deployments=TWO)(body(HELLO, stream=True), Script(failed, streams(*WHOLE_STREAM)))
    assert (passed.settled["prompt_tokens"], passed.settled["cost_nanousd"]) == (200, 100_000 + COST)


async def test_zeros_beside_text_are_counted_and_marked(gateway):
    nought = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    row = (await gateway(body(HELLO), Script(says("one two three", usage=nought)))).settled
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (8, 3, True)


async def test_counts_as_text_are_counts(gateway):
    row = (await gateway(body(HELLO), Script(says(usage={"prompt_tokens": "100", "completion_tokens": "20"})))).settled
    assert (row["cost_nanousd"], "estimated" in row) == (COST, False)


async def test_a_placeholder_of_a_cut_stream_gives_way_to_a_larger_count(gateway):
    first = said({"choices": [{"index": 0, "delta": {"content": "one"}}], "usage": PLACEHOLDER})
    passed = await gateway(
        body(HELLO, stream=True), Script(streams(first, delta(" two three"), UpstreamError("reset", "cut")))
    )
    row = passed.settled
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (100, 3, True)


async def test_a_placeholder_that_nothing_follows_gives_way_to_a_larger_count(gateway):
    first = said({"choices": [{"index": 0, "delta": {"content": "one"}}], "usage": PLACEHOLDER})
    passed = await gateway(body(HELLO, stream=True), Script(streams(first, delta(" two three", "stop"), DONE)))
    assert (passed.settled["completion_tokens"], passed.settled["estimated"]) == (3, True)


@pytest.mark.parametrize(
    ("usage", "prompt", "cached"),
    [
        ({"prompt_tokens": 2, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5_000}}, 8, 8),
        ({"prompt_tokens": 2, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}, 8, 6),
        ({"prompt_tokens": 10**11, "completion_tokens": 4}, 8, 0),
        ({"prompt_tokens": -5, "completion_tokens": 4}, 8, 0),
    ],
)
async def test_absurd_figures_are_mended_and_marked(gateway, usage, prompt, cached):
    row = (await gateway(body(HELLO), Script(says(usage=usage)))).settled
    assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (prompt, cached, 4)
    assert row["estimated"] is True


async def test_all_that_a_model_writes_is_counted_where_it_does_not_say(gateway):
    message = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": [{"text": "one two"}]}, {"type": "text", "text": " three"}],
        "reasoning": " four five six",
    }
    row = (await gateway(body(HELLO), Script(whole({"choices": [{"index": 0, "message": message}]})))).settled
    assert row["completion_tokens"] >= 6


ROUTER = deployment(model="openrouter/x/y")


@pytest.mark.parametrize(
    ("said", "nanousd"),
    [
        ({"cost": 0.0123}, 12_300_000),
        ({"cost": 0}, 0),
        ({"cost": 0.0006, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0117}}, 12_300_000),
        ({"cost": 0.0006, "is_byok": True}, COST),
        ({"cost": 0.0123, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}, 12_300_000),
        ({"cost": {"total_cost": 1}}, COST),
        ({"cost": -1}, COST),
        ({"cost": 1e300}, COST),
        ({"cost": True}, COST),
    ],
)
async def test_openrouters_own_bill_is_what_is_entered(gateway, said, nanousd):
    setting = replace(gateway, deployments=(ROUTER,))
    assert (await setting(body(HELLO), Script(says(usage={**USAGE, **said})))).settled["cost_nanousd"] == nanousd


async def test_the_price_of_the_model_behind_a_variant_is_an_estimate_until_the_bill(gateway):
    variant = deployment(model="openrouter/x/y:free")
    assert variant.price is not None
    setting = replace(gateway, deployments=(replace(variant, price=replace(variant.price, is_for_holds=True)),))
    row = (await setting(body(HELLO), Script(says(usage={**USAGE, "cost": 0})))).settled
    assert (row["cost_nanousd"], "estimated" in row) == (0, False)
    row = (await replace(setting, folder=gateway.folder / "b")(body(HELLO), Script(says()))).settled
    assert (row["cost_nanousd"], row["estimated"]) == (COST, True)


async def test_a_cost_that_another_states_is_not_its_bill(gateway):
    stated = says(usage={**USAGE, "cost": 7})
    assert (await gateway(body(HELLO), Script(stated))).settled["cost_nanousd"] == COST
    by_address = replace(
        gateway,
        deployments=(deployment(api_base="https://openrouter.ai/api/v1"),),
        folder=gateway.folder / "b",
    )
    assert (await by_address(body(HELLO), Script(stated))).settled["cost_nanousd"] == 7 * 10**9


# ---------------------------------------------------------------- silence


async def test_the_client_of_a_silent_stream_gets_a_comment_and_then_its_answer(gateway):
    def slow(seconds: float) -> Script:
        class Slow(Script):
            async def send(self, *args: Any, **more: Any) -> Any:
                await asyncio.sleep(seconds)
                return await super().send(*args, **more)

        return Slow(streams(*WHOLE_STREAM))

    setting = replace(gateway, comment_seconds=0.05)
    passed = await setting(body(HELLO, stream=True), slow(0.18))
    assert passed.client.pieces[:2] == [COMMENT, COMMENT]
    assert passed.client.text.replace(COMMENT, b"") == b"".join(p for p in WHOLE_STREAM if p != usage_event())
    assert passed.client.got["x-accel-buffering"] == "no"
    assert passed.client.got["cache-control"] == "no-cache"
    assert passed.settled["status"] == "answered"


async def test_fallback_goes_on_after_a_comment_and_a_final_failure_is_an_event(gateway):
    silent = streams(ROLE, Stall())
    setting = replace(gateway, comment_seconds=0.02, deployments=TWO)

    class Impatient(Script):
        """Calls whose silence ends after a while, as a deployment's `timeout` ends it."""

        async def _silence(self, what: object) -> None:
            await asyncio.sleep(0.05)
            raise UpstreamError("timeout", "silence")

    passed = await setting(body(HELLO, stream=True), Impatient(silent, streams(*WHOLE_STREAM)))
    assert (passed.settled["status"], len(passed.script.calls)) == ("answered", 2)
    assert passed.client.text.startswith(COMMENT)
    assert ROLE not in passed.client.text
    setting = replace(setting, folder=gateway.folder / "b")
    passed = await setting(body(HELLO, stream=True), Impatient(silent, fails(500, "down", "it is down")))
    assert passed.client.status == 200
    last = json.loads(passed.client.text.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert last["error"]["code"] == "down"
    assert (passed.settled["status"], passed.settled["http_status"]) == ("failed", 500)


async def test_a_request_for_a_whole_answer_gets_no_comment(gateway):
    class Slow(Script):
        async def send(self, *args: Any, **more: Any) -> Any:
            await asyncio.sleep(0.05)
            return await super().send(*args, **more)

    passed = await replace(gateway, comment_seconds=0.01)(body(HELLO), Slow())
    assert passed.client.fields["choices"]


# ---------------------------------------------------------------- what others wrote


DEEP = json.loads("[" * 600 + "]" * 600)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "no", "code": DEEP, "type": DEEP, "param": DEEP, "more": DEEP},
        {"message": "no \ud83d", "code": "\ud83d", "more": 10**40},
        {"message": "no " * 100_000, "code": "x" * 100_000, "more": "y" * 1_000_000},
        {"message": DEEP, "code": 429},
    ],
)
@pytest.mark.parametrize("status", [200, 400])
async def test_no_error_of_an_upstream_is_too_much(gateway, error, status):
    act = replace(whole({"error": error}), status=status)
    passed = await gateway(body(HELLO), Script(act))
    assert passed.client.status in (400, 429, 502)
    assert passed.client.error["message"]
    assert len(passed.client.text) < 40_000
    assert passed.settled["status"] == "failed"


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "\x00\x1b[31m", "é😀", "x" * 100_000, "caf\udce9", ""])
async def test_no_header_of_an_upstream_is_too_much(gateway, value):
    act = replace(says(), headers={"x-request-id": value, "content-type": value, "retry-after": value})
    got = (await gateway(body(HELLO), Script(act))).client.got
    told = got.get("x-gateway-upstream-request-id", "")
    assert len(told) <= 1000
    assert all(32 <= ord(character) < 127 or ord(character) >= 160 for character in told)


async def test_no_id_or_reason_of_an_upstream_is_too_much(gateway):
    odd = {"id": DEEP, "created": 10**40, "model": "\ud83d", "choices": [{"index": {}, "delta": {"content": "hi"}}]}
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": DEEP}]}
    act = streams(said(odd), said(ended), usage_event(), DONE)
    for number, stream in enumerate((True, False)):
        passed = await replace(gateway, folder=gateway.folder / str(number))(body(HELLO, stream=stream), Script(act))
        assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("answered", COST)

"""One request from arrival to ledger entry: its four ends, and what each leaves in the books and with the client."""

import asyncio
import gc
import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget.tokens import LONG_BODY
from gateway.config import Team
from gateway.config.policy import Policy
from gateway.money import ledger as books
from gateway.money.amounts import usd
from gateway.prompt_cache.rules import CacheFacts
from gateway.request import Request
from gateway.routing.deployment import Deployment
from gateway.routing.loads import Loads
from gateway.routing.upstreams.upstream import UpstreamError
from gateway.serving.pipeline import answer
from gateway.serving.settle import USUAL_ANSWER
from gateway.wire.chat.relay import DONE
from gateway.wire.sse import event
from tests.caching_replay import facts_of
from tests.conftest import examples
from tests.passage import (
    NOW,
    USAGE,
    WHOLE_STREAM,
    Act,
    Caller,
    Leave,
    Passed,
    Script,
    Setting,
    Stall,
    breaks,
    cannot,
    delta,
    deployment,
    fails,
    key,
    new_id,
    policy,
    says,
    streams,
    usage_event,
)
from tests.talk import assistant, body, calls, loop, result, system, user, words

HELLO = [user("hello")]
COST = 100 * 1_000 + 20 * 10_000
"""Of USAGE, in nano-dollars."""

TIGHT = policy(
    "{name: tight, context_window: 2000, reserve: {output: 500, margin: 0}, "
    "fold: {keep_turns: 0, keep_tool_results: 0}}"
)
LONG = [system("be kind"), user("begin"), *loop(12, 90), user("and now?")]


@pytest.fixture
def gateway(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


# ---------------------------------------------------------------- the four ends: answered


async def test_an_answer_reaches_the_client_and_the_books(gateway):
    passed = await gateway(body(HELLO, model="asked"), Script(says("hi there")))
    client, row = passed.client, passed.settled
    assert client.status == 200
    assert client.fields["choices"][0]["message"]["content"] == "hi there"
    assert (row["status"], row["http_status"], "error" in row) == ("answered", 200, False)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_nanousd"]) == (100, 20, COST)
    assert row.keys().isdisjoint({"estimated", "stream"})
    assert (row["deployment"], row["model"]) == ("openai/gpt-4o", "asked")
    assert [opened["id"] for opened in passed.opened] == [row["id"]]


async def test_what_fits_reaches_the_upstream_byte_for_byte_but_for_the_name_of_its_model(gateway):
    raw = (
        rb'{ "temperature":1.10, "messages":[{"role":"user","content":"\u0041"}],"model":"asked", "zzz":{"a":1,"a":2} }'
    )
    passed = await gateway(raw)
    assert passed.script.calls[0].body == raw.replace(b"asked", b"gpt-4o")
    assert passed.settled["plan"] == "unchanged"


async def test_an_answer_keeps_its_bytes(gateway):
    raw = b'{ "choices" : [ {"x":1.10} ], "usage":{"prompt_tokens":1,"completion_tokens":1} }'
    assert (await gateway(body(HELLO), Script(Act(parts=(raw[:20], raw[20:]))))).client.text == raw


async def test_headers_say_what_was_done_and_what_it_cost(gateway):
    answered = replace(says(), headers={"content-type": "application/json", "x-request-id": "req_8a"})
    got = (await gateway(body(HELLO), Script(answered))).client.got
    assert got["x-request-id"].startswith("gw_")
    assert got["x-gateway-upstream-request-id"] == "req_8a"
    assert got["x-gateway-policy"] == str(Policy("default"))
    assert got["x-gateway-plan"] == "unchanged"
    assert got["x-gateway-cost-usd"] == "0.0003"
    assert got["content-length"].isdigit()


async def test_the_upstream_is_told_our_id(gateway):
    passed = await gateway(body(HELLO))
    assert passed.script.calls[0].request_id == passed.settled["id"] == passed.client.got["x-request-id"]


async def test_cached_and_reasoning_tokens_are_priced_and_entered(gateway):
    usage = USAGE | {
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    row = (await gateway(body(HELLO), Script(says(usage=usage)))).settled
    assert (row["cached_tokens"], row["reasoning_tokens"]) == (60, 5)
    assert row["cost_nanousd"] == 40 * 1_000 + 60 * 100 + 20 * 10_000


async def test_usage_that_is_missing_is_counted_and_marked_as_estimated(gateway):
    row = (await gateway(body(HELLO), Script(says("one two three", usage=None)))).settled
    assert row["estimated"] is True
    assert row["prompt_tokens"] == 3 + 4 + 1
    assert row["completion_tokens"] == 3
    assert row["cost_nanousd"] == 8 * 1_000 + 3 * 10_000


async def test_calls_in_an_answer_without_usage_are_counted_too(gateway):
    said = Act(parts=(json.dumps({"choices": [{"message": calls('c1 read {"path": "a.py"}')}, "junk"]}).encode(),))
    assert (await gateway(body(HELLO), Script(said))).settled["completion_tokens"] > 10


# ---------------------------------------------------------------- streams


async def test_a_stream_is_relayed_and_its_usage_held_back_from_a_client_that_did_not_ask(gateway):
    passed = await gateway(body(HELLO, stream=True), Script(streams(*WHOLE_STREAM)))
    assert passed.script.calls[0].fields["stream_options"] == {"include_usage": True}
    assert passed.client.text == b"".join(part for part in WHOLE_STREAM if part != usage_event())
    assert passed.client.got["content-type"] == "text/event-stream"
    assert "x-gateway-cost-usd" not in passed.client.got
    row = passed.settled
    assert (row["status"], row["stream"], row["cost_nanousd"], "estimated" in row) == ("answered", True, COST, False)


async def test_a_client_that_asks_for_usage_gets_it(gateway):
    raw = body(HELLO, stream=True, stream_options={"include_usage": True}, model="gpt-4o")
    passed = await replace(gateway, deployments=(deployment("gpt-4o"),))(raw, Script(streams(*WHOLE_STREAM)))
    assert passed.script.calls[0].body == raw
    assert passed.client.text == b"".join(WHOLE_STREAM)


async def test_events_reach_the_client_before_the_stream_is_over(gateway):
    passed = await gateway(body(HELLO, stream=True), Script(streams(*WHOLE_STREAM)))
    assert passed.client.pieces[0] == delta("hel")
    assert passed.client.pieces[-1].endswith(DONE)


async def test_a_stream_without_usage_is_counted_and_marked_as_estimated(gateway):
    row = (
        await gateway(body(HELLO, stream=True), Script(streams(delta("one two"), delta(" three", "stop"), DONE)))
    ).settled
    assert (row["status"], row["estimated"], row["completion_tokens"]) == ("answered", True, 3)


@pytest.mark.parametrize("cut", [UpstreamError("reset", "cut"), UpstreamError("timeout", "stalled"), None])
async def test_a_stream_that_is_cut_ends_with_an_error_event_and_is_entered_as_failed(gateway, cut):
    parts = (delta("one two"), delta(" three"), *([cut] if cut else []))
    passed = await gateway(body(HELLO, stream=True), Script(streams(*parts)))
    kind = cut.kind if cut else "reset"
    assert passed.client.status == 200
    last = passed.client.text.split(b"\n\n")[-2]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == f"upstream_{kind}"
    assert b"[DONE]" not in passed.client.text
    row = passed.settled
    assert (row["status"], row["error"], row["estimated"]) == ("failed", f"upstream_{kind}", True)
    assert (row["completion_tokens"], row["prompt_tokens"]) == (3, 8)


async def test_usage_that_came_before_the_cut_is_what_is_entered(gateway):
    passed = await gateway(
        body(HELLO, stream=True), Script(streams(delta("one"), usage_event(), UpstreamError("reset", "x")))
    )
    assert ("estimated" in passed.settled, passed.settled["cost_nanousd"]) == (False, COST)


async def test_an_error_event_of_the_upstream_is_passed_on_and_entered(gateway):
    error = event(b'{"error":{"message":"overloaded","code":"overloaded_error"}}')
    passed = await gateway(body(HELLO, stream=True), Script(streams(delta("one"), error)))
    assert passed.client.text == delta("one") + error
    assert (passed.settled["status"], passed.settled["error"]) == ("failed", "overloaded_error")


async def test_a_whole_answer_to_a_streamed_request_becomes_a_stream(gateway):
    passed = await gateway(body(HELLO, stream=True), Script(says("hi there")))
    assert passed.client.got["content-type"] == "text/event-stream"
    assert deltas(passed.client.text) == "hi there"
    assert passed.client.text.endswith(DONE)
    assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("answered", COST)


async def test_a_stream_to_a_request_for_a_whole_answer_is_gathered(gateway):
    passed = await gateway(body(HELLO), Script(streams(*WHOLE_STREAM)))
    assert passed.client.got["content-type"] == "application/json"
    assert passed.client.fields["choices"][0]["message"] == {"role": "assistant", "content": "hello"}
    assert passed.client.fields["usage"] == USAGE
    assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("answered", COST)


@pytest.mark.parametrize("content_type", ["TEXT/EVENT-STREAM", "text/plain; charset=utf-8", "application/json", None])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_an_answer_is_does_not_hang_on_its_content_type(gateway, content_type, stream):
    act = streams(*WHOLE_STREAM) if stream else says()
    headers = {} if content_type is None else {"content-type": content_type}
    passed = await gateway(body(HELLO, stream=stream), Script(replace(act, headers=headers)))
    assert (passed.client.status, passed.settled["status"], passed.settled["cost_nanousd"]) == (200, "answered", COST)


def deltas(text: bytes) -> str:
    """Join what a stream says."""
    chunks = [json.loads(one[6:]) for one in text.split(b"\n\n") if one.startswith(b"data: {")]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices") or ())


async def test_a_stream_that_ends_without_a_byte_is_no_answer(gateway):
    passed = await gateway(body(HELLO, stream=True), Script(streams()))
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_garbage")


# ---------------------------------------------------------------- refused


async def refused(gateway: Setting, raw: bytes, **headers: str) -> Passed:
    passed = await gateway(raw, headers=headers)
    assert not passed.script.calls, "a refusal never reaches the upstream"
    assert not passed.opened
    return passed


async def test_what_cannot_be_made_to_fit_is_refused_in_openais_words_and_entered(gateway):
    gateway = replace(gateway, policies=(TIGHT,))
    passed = await refused(gateway, body([user("a"), assistant("b"), user(words(3000))]))
    error = passed.client.error
    assert passed.client.status == 400
    assert (error["code"], error["type"], error["param"]) == (
        "context_length_exceeded",
        "invalid_request_error",
        "messages",
    )
    assert error["message"] == (
        "This model's maximum context length is 2000 tokens. However, you requested 3517 tokens (3017 prompt, 500 "
        "completion). Please reduce the length of the messages. Policy tight: input needs 3004, room 1497. "
        "The prompt may have 1500 tokens, 2000 less 500 kept for the answer. "
        f"[{passed.settled['id']}]"
    )
    assert error["gateway"] == {"component": "input", "tokens": 3004, "room": 1497, "at": "messages[2]"}
    row = passed.settled
    assert (row["status"], row["plan"], row["http_status"], row["error"]) == (
        "refused",
        "refused",
        400,
        "context_length_exceeded",
    )
    assert (row["cost_nanousd"], row["prompt_tokens"], row["tokens_before"]) == (0, 0, 3017)
    assert passed.client.got["x-gateway-plan"] == "refused; tokens=3017/3017; too_big=input"


async def test_nothing_holds_a_request_once_it_was_refused(gateway):
    raw = body([user("a"), assistant("b"), user(words(3000))])
    gc.disable()  # the collector comes seldom, and a body may have many megabytes
    try:
        await refused(replace(gateway, policies=(TIGHT,)), raw)
        assert not [one for one in gc.get_objects() if type(one) is Request and one.body is raw]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["max_completion_tokens", "max_tokens"])
async def test_an_answer_limit_that_leaves_no_room_is_named_with_the_highest_that_fits(gateway, name):
    gateway = replace(gateway, policies=(TIGHT,))
    passed = await refused(gateway, body([user("hello")], **{name: 128_000}))
    error = passed.client.error
    assert (passed.client.status, error["code"], error["param"]) == (400, "prompt_too_large_for_policy", name)
    assert error["message"] == (
        f"The window is 128000 tokens, and {name} keeps 128000 for the answer. What may not be cut takes 8: "
        "leading system text 3, newest message 5. A shorter conversation does not help. Lower "
        f"{name} to 127992 or less, or leave it out. [{passed.settled['id']}]"
    )
    told = {"component": "completion", "tokens": 128_000, "room": 127_992, "at": name}
    assert error["gateway"] == passed.settled["refusal"] == told
    assert passed.client.got["x-gateway-plan"] == "refused; tokens=8/8; too_big=completion"
    assert (await gateway(body([user("hello")], **{name: 127_992}))).client.status == 200


async def test_an_answer_limit_beyond_the_window_is_named_though_the_prompt_is_too_long(gateway):
    passed = await refused(
        replace(gateway, policies=(TIGHT,)), body([user(words(3000))], max_completion_tokens=200_000)
    )
    assert (passed.client.error["code"], passed.client.error["param"]) == (
        "prompt_too_large_for_policy",
        "max_completion_tokens",
    )
    assert "Lower max_completion_tokens, or leave it out." in passed.client.error["message"]


async def test_under_strict_a_refusal_names_the_share(gateway):
    strict = policy(
        "{name: firm, strict: true, context_window: 2000, reserve: {output: 0, margin: 0}, allocation: {system: 5%}}"
    )
    passed = await refused(replace(gateway, policies=(strict,)), body([system(words(300)), user("hello")]))
    assert (
        "The prompt may have 2000 tokens. Under strict, system may have 5.26% of that."
        in passed.client.error["message"]
    )


TOOL = {"type": "function", "function": {"name": "look", "description": words(900), "parameters": {"type": "object"}}}
OVERFLOW = re.compile(
    r"context.?(length|window|size|limit)|too long|reduce the length|exceed|maximum|token limit|too many tokens"
    r"|request.{0,3}(entity.)?too.large|longer than",
    re.IGNORECASE,
)
"""What opencode, pi, OpenClaw, OpenHands, Cline, LangChain and litellm look for; by it they compact and ask again."""


@pytest.mark.parametrize(
    ("messages", "more", "component", "param", "said"),
    [
        ([user("hi")], {"tools": [TOOL, TOOL]}, "tools", "tools", "Send fewer or shorter tools"),
        ([system(words(1800)), user("hi")], {}, "system", "messages", "Shorten the system text"),
        ([system(words(900)), user(words(700))], {}, "input", "messages", "Shorten the newest message"),
        ([*LONG[:-1], user(words(700))], {"tools": [TOOL]}, "input", "messages", "a window of 2135 tokens or more"),
        ([user("hi")], {"max_tokens": 128_000}, "completion", "max_tokens", "Lower max_tokens to"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_no_shorter_conversation_would_mend_is_not_refused_as_an_overflow(
    gateway, messages, more, component, param, said, stream
):
    passed = await refused(replace(gateway, policies=(TIGHT,)), body(messages, stream=stream, **more))
    error = passed.client.error
    assert (passed.client.status, error["code"], error["param"]) == (400, "prompt_too_large_for_policy", param)
    assert not OVERFLOW.search(passed.client.text.decode().replace("prompt_too_large_for_policy", ""))
    assert said in error["message"]
    assert error["gateway"]["component"] == component
    assert isinstance(error["gateway"]["tokens"], int | float)
    without_id = passed.client.text.decode().replace(passed.settled["id"], "")
    assert not re.search("429|500|502|503|504|524", without_id), "opencode asks again at these, wherever they stand"
    assert passed.client.got["x-should-retry"] == "false"
    assert passed.settled["error"] == "prompt_too_large_for_policy"


async def test_an_answer_limit_that_fits_behind_a_shorter_conversation_is_an_overflow(gateway):
    kept = policy("{name: kept, context_window: 2000, reserve: {output: 500, margin: 0}, ladder: {}}")
    talk = [user("a"), assistant(words(1100)), user("b")]
    passed = await refused(replace(gateway, policies=(kept,), deployments=(deployment(window=2000),)),
                           body(talk, max_tokens=1500))  # fmt: skip
    assert (passed.client.error["code"], passed.client.error["param"]) == ("context_length_exceeded", "max_tokens")


async def test_the_default_touches_only_what_would_fail(gateway):
    gateway = replace(gateway, deployments=(deployment(window=2000),))
    passed = await gateway(body([user("a"), assistant("b"), user(words(1900))], max_tokens=50))
    assert passed.client.got["x-gateway-plan"] == "unchanged"


async def test_an_answer_limit_above_the_usual_reserve_is_named_under_the_default_too(gateway):
    gateway = replace(gateway, deployments=(deployment(window=2000),))
    passed = await refused(gateway, body([user(words(1300))], max_tokens=800))
    assert "Lower max_tokens to 693 or less, or leave it out." in passed.client.error["message"]


async def test_under_strict_no_answer_limit_is_said_to_fit(gateway):
    strict = policy("{name: firm, strict: true, context_window: 2000, reserve: {output: 500, margin: 0}}")
    passed = await refused(replace(gateway, policies=(strict,)), body([user("hello")], max_tokens=128_000))
    assert passed.client.error["param"] == "max_tokens"
    assert "Lower max_tokens, or leave it out." in passed.client.error["message"]


async def test_an_answer_limit_is_not_blamed_for_a_prompt_that_is_too_long_without_it(gateway):
    passed = await refused(
        replace(gateway, policies=(TIGHT,)), body([user(words(3000))], max_completion_tokens=126_000)
    )
    assert (passed.client.error["param"], passed.client.error["gateway"]["component"]) == ("messages", "input")


async def test_what_came_illegal_and_is_over_is_refused_by_its_index(gateway):
    passed = await refused(
        replace(gateway, policies=(TIGHT,)), body([user("a"), user(words(3000)), result("nobody", "x")])
    )
    assert (passed.client.error["param"], passed.client.error["code"]) == ("messages[2]", None)
    assert "not legal when it came" in passed.client.error["message"]
    assert passed.settled["refusal"] == {"at": "messages[2]", "illegal": True}
    assert passed.settled["status"] == "refused"


async def test_what_came_illegal_and_fits_is_the_providers_to_judge(gateway):
    passed = await gateway(body([user("a"), result("nobody", "x")]), Script(fails(400, "bad", "tool must follow")))
    assert (passed.client.status, passed.client.error["code"]) == (400, "bad")


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [(b"{", 400, None), (body([user("x" * 2_000_000)]), 413, "request_too_large"), (body([]), 400, None)],
)
async def test_what_does_not_parse_is_refused_and_not_entered(gateway, raw, status, code):
    passed = await refused(gateway, raw)
    assert (passed.client.status, passed.client.error["code"]) == (status, code)
    assert passed.rows == []


KEYS = (
    key("sk-all", "all"),
    key("sk-one", "one", team="small", models=("asked",)),
    key("sk-old", "old", expires=datetime(2020, 1, 1, tzinfo=UTC)),
    key("sk-own", "own", team="small", policy="tight"),
)


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer sk-none"}, {"authorization": "bearer"}, {"x-api-key": ""}]
)
async def test_a_key_that_is_missing_or_unknown_gets_one_and_the_same_answer(gateway, headers):
    passed = await refused(replace(gateway, keys=KEYS), body(HELLO), **headers)
    error = passed.client.error
    assert (passed.client.status, error["code"]) == (401, "invalid_api_key")
    assert error["message"].partition(" [")[0] == (
        "No valid API key was given: it is missing or unknown. Send a key of this gateway as "
        "`Authorization: Bearer …` (or `x-api-key`, `api-key`); its operator issues them."
    )
    assert passed.rows == []


async def test_who_has_the_secret_of_a_key_is_told_that_it_has_expired(gateway):
    passed = await refused(replace(gateway, keys=KEYS), body(HELLO), authorization="Bearer sk-old")
    assert (passed.client.status, passed.client.error["code"]) == (401, "invalid_api_key")
    assert passed.client.error["message"].startswith("This API key has expired.")
    assert passed.rows == []


@pytest.mark.parametrize("headers", [{"authorization": "bearer sk-one"}, {"x-api-key": "sk-one"}])
async def test_a_key_is_shown_either_way(gateway, headers):
    passed = await replace(gateway, keys=KEYS)(body(HELLO), headers=headers)
    assert (passed.settled["key"], passed.settled["team"]) == ("one", "small")


@pytest.mark.parametrize("model", ["other", "nowhere"])
async def test_a_model_that_a_key_may_not_use_is_refused_whether_it_exists_or_not(gateway, model):
    gateway = replace(gateway, keys=KEYS, deployments=(deployment(), deployment("other")))
    passed = await refused(gateway, body(HELLO, model=model), authorization="Bearer sk-one")
    assert (passed.client.status, passed.client.error["code"]) == (403, "model_not_allowed")
    assert (passed.settled["status"], passed.settled["model"]) == ("refused", model)


async def test_an_unknown_model_is_refused(gateway):
    passed = await refused(gateway, body(HELLO, model="nowhere"))
    assert (passed.client.status, passed.client.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("fields", "headers", "status"),
    [
        ({"model": "other"}, {"authorization": "Bearer sk-one"}, 403),
        ({"model": "nowhere"}, {"authorization": "Bearer sk-all"}, 404),
        ({}, {"authorization": "Bearer sk-one", "x-gateway-profile": "noon"}, 400),
    ],
)
async def test_what_is_refused_before_anything_is_planned_has_no_plan_header(gateway, fields, headers, status):
    passed = await refused(replace(gateway, keys=KEYS), body(HELLO, **fields), **headers)
    assert passed.client.status == status
    assert "x-gateway-policy" in passed.client.got
    assert "x-gateway-plan" not in passed.client.got


async def test_a_ledger_that_cannot_be_written_refuses_before_the_upstream_is_called(gateway):
    moments = [NOW]
    script, client = Script(), Caller(body(HELLO), {})
    one = replace(gateway, now=lambda: moments[0]).gateway(script)
    shutil.rmtree(gateway.folder / "ledger")
    moments[0] += 86_400  # the next day's file cannot be opened
    (gateway.folder / "ledger").touch()
    try:
        await answer(one, client, new_id())
    finally:
        await one.upstreams.close()
        (gateway.folder / "ledger").unlink()
        (gateway.folder / "ledger").mkdir()
        one.ledger.close()
    assert (client.status, client.error["code"]) == (503, "ledger_unavailable")
    assert not script.calls
    (row,) = books.rows(gateway.folder / "ledger")
    assert (row["event"], row["status"], row["error"]) == ("settled", "failed", "ledger_unavailable"), "owed, and kept"


# ---------------------------------------------------------------- failed, and attempts before it


OTHER = deployment("other", "anthropic/claude-x")
TWO = (deployment(number=0), deployment(number=1, model="openai/gpt-4o-mini"))


@pytest.mark.parametrize(
    "act", [fails(429), fails(500), fails(503), breaks("connect"), breaks("timeout"), breaks("reset")]
)
async def test_what_another_deployment_may_do_better_goes_to_the_next_one(gateway, act):
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(act, says()))
    assert {called.deployment for called in passed.script.calls} == {one.name for one in TWO}
    row = passed.settled
    assert row["deployment"] == passed.script.calls[1].deployment.partition(":")[2]
    assert (len(passed.script.calls), passed.client.status, row["status"]) == (2, 200, "answered")
    assert [(one["status"], one["error"]) for one in row["attempts"]] == [
        (act.status if act.instead is None else None, "status" if act.instead is None else act.instead.kind),
        (200, None),
    ]
    is_unreached = act.instead is not None and act.instead.kind == "connect"
    assert [line["event"] for line in passed.log] == (["deployment rests"] if is_unreached else [])


@pytest.mark.parametrize("script", [Script(says()), Script(fails(500), says()), Script(fails(500), fails(503))])
async def test_no_deployment_counts_as_busy_when_its_request_is_over(gateway, script):
    passed = await replace(gateway, deployments=TWO)(body(HELLO), script)
    loads = [passed.gateway.loads.of(one.name, NOW) for one in TWO]
    assert [load.in_flight for load in loads] == [0, 0]
    assert sum(load.recent for load in loads) == len(script.calls)


async def test_no_deployment_counts_as_busy_when_its_client_has_left(gateway):
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(Act(instead=Leave())))
    assert [passed.gateway.loads.of(one.name, NOW).in_flight for one in TWO] == [0, 0]


async def test_where_there_is_no_choice_nothing_is_counted(gateway):
    passed = await gateway(body(HELLO), Script(says()))
    assert repr(passed.gateway.loads) == repr(Loads())


async def test_a_page_in_place_of_an_answer_was_written_by_no_model_so_another_is_asked(gateway):
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(Act(parts=(b"<html>",)), says()))
    assert passed.settled["status"] == "answered"
    assert passed.settled["attempts"][0]["error"] == "garbage"
    alone = await replace(gateway, folder=gateway.folder / "b")(body(HELLO), Script(Act(parts=(b"<html>",))))
    assert (alone.client.status, alone.client.error["code"], alone.settled["cost_nanousd"]) == (
        *(502, "upstream_garbage", 0),
    )


async def test_an_unreadable_object_may_have_been_an_answer_and_is_not_asked_for_again(gateway):
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(Act(parts=(b'{"choices": [',)), says()))
    assert len(passed.script.calls) == 1
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_garbage")


async def test_a_whole_answer_that_breaks_off_is_not_bought_twice(gateway):
    cut = Act(parts=(b'{"choices": [', UpstreamError("reset", "cut")))
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(cut, says()))
    assert len(passed.script.calls) == 1
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_reset")
    row = passed.settled
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (
        *("failed", 8, USUAL_ANSWER, True),
    )
    assert row["cost_nanousd"] == 8 * 1_000 + USUAL_ANSWER * 10_000


async def test_a_stream_that_breaks_before_its_first_byte_goes_to_the_next_one(gateway):
    acts = streams(UpstreamError("reset", "x")), streams(*WHOLE_STREAM)
    passed = await replace(gateway, deployments=TWO)(body(HELLO, stream=True), Script(*acts))
    assert passed.settled["status"] == "answered"
    assert len(passed.script.calls) == 2


async def test_what_the_upstream_judged_is_final(gateway):
    passed = await replace(gateway, deployments=TWO)(body(HELLO), Script(fails(422, "odd", "no such field")))
    assert len(passed.script.calls) == 1
    error = passed.client.error
    assert (passed.client.status, error["code"], error["type"]) == (422, "odd", "upstream_type")
    assert error["message"] == f"no such field [{passed.settled['id']}]"
    assert (passed.settled["status"], passed.settled["error"], passed.settled["cost_nanousd"]) == ("failed", "odd", 0)


@pytest.mark.parametrize("status", [401, 403])
async def test_our_own_credential_refused_is_our_502_without_the_upstreams_words(gateway, status):
    passed = await gateway(body(HELLO), Script(fails(status, "x", "key sk-secret is wrong")))
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_authentication")
    assert b"sk-secret" not in passed.client.text


@pytest.mark.parametrize(("kind", "status"), [("connect", 502), ("reset", 502), ("garbage", 502), ("timeout", 504)])
async def test_an_upstream_that_gives_no_answer_is_a_502_or_504(gateway, kind, status):
    passed = await gateway(body(HELLO), Script(breaks(kind)))
    assert (passed.client.status, passed.client.error["code"]) == (status, f"upstream_{kind}")
    assert (passed.settled["status"], passed.settled["http_status"], passed.settled["cost_nanousd"]) == (
        "failed",
        status,
        0,
    )


async def test_retry_after_of_the_upstream_reaches_the_client(gateway):
    passed = await gateway(body(HELLO), Script(fails(429, "rate_limit_exceeded", **{"retry-after": "7"})))
    assert (passed.client.status, passed.client.got["retry-after"]) == (429, "7")


def with_fallback(gateway: Setting, other: Deployment = OTHER) -> Setting:
    return replace(gateway, fallbacks={"asked": ("other",)}, deployments=(deployment(), other))


async def test_fallbacks_are_asked_when_the_whole_group_has_failed(gateway):
    passed = await with_fallback(gateway)(body(HELLO), Script(fails(500), says()))
    assert passed.script.calls[1].fields["model"] == "claude-x"
    assert passed.settled["deployment"] == "anthropic/claude-x"
    assert passed.settled["model"] == "asked"


async def test_a_fallback_with_a_smaller_window_gets_a_plan_of_its_own(gateway):
    gateway = with_fallback(gateway, deployment("other", "anthropic/claude-x", window=5200))
    passed = await gateway(body([*LONG, *LONG[2:]]), Script(fails(500), says()))
    first, second = (called.fields["messages"] for called in passed.script.calls)
    assert len(first) == len([*LONG, *LONG[2:]])
    assert second != first
    assert passed.settled["plan"] == "rewritten"
    assert passed.client.got["x-gateway-plan"].startswith("rewritten; tokens=")


async def test_a_fallback_that_cannot_take_the_request_is_passed_over(gateway):
    gateway = with_fallback(gateway, deployment("other", "anthropic/claude-x", window=600))
    passed = await gateway(body([user(words(600))]), Script(fails(500, "down")))
    assert len(passed.script.calls) == 1
    assert (passed.client.status, passed.client.error["code"]) == (500, "down")


async def test_a_deployment_that_cannot_serve_a_parameter_is_passed_over_and_does_not_rest(gateway):
    passed = await with_fallback(gateway)(body(HELLO, n=2), Script(cannot("n"), says()))
    assert (passed.client.status, passed.settled["deployment"]) == (200, "anthropic/claude-x")
    assert passed.settled["status"] == "answered"
    assert passed.gateway.health.resting(passed.gateway.monotonic()) == frozenset()


async def test_where_no_deployment_can_serve_a_parameter_the_client_is_told_which(gateway):
    passed = await with_fallback(gateway)(body(HELLO, n=2), Script(cannot("n")))
    assert (passed.client.status, passed.client.error["param"]) == (400, "n")
    assert passed.client.error["type"] == "invalid_request_error"
    assert passed.settled["status"] == "refused"


async def test_what_was_dropped_on_the_way_is_named(gateway):
    act = replace(says(), headers={"content-type": "application/json", "x-gateway-dropped": "seed, user"})
    assert (await gateway(body(HELLO), Script(act))).client.got["x-gateway-dropped"] == "seed, user"


# ---------------------------------------------------------------- too long all the same


def too_long_anthropic(counted: int, most: int) -> Act:
    return fails(400, None, f"prompt is too long: {counted} tokens > {most} maximum")


async def test_an_upstream_that_counts_more_gets_a_second_plan_scaled_to_its_count(gateway):
    gateway = replace(gateway, policies=(TIGHT,), deployments=(deployment(exact=False),))
    passed = await gateway(body(LONG), Script(too_long_anthropic(1800, 1500), says()))
    first, second = (called.fields["messages"] for called in passed.script.calls)
    assert len(json.dumps(second)) < len(json.dumps(first))
    row = passed.settled
    assert [(one["status"], one["error"]) for one in row["attempts"]] == [(400, "status"), (200, None)]
    assert (row["status"], row["plan"]) == ("answered", "rewritten")
    assert row["tokens_after"] <= 1500 / 1.2


async def test_an_upstream_that_says_only_too_long_gets_fifteen_percent_less(gateway):
    gateway = replace(gateway, policies=(TIGHT,), deployments=(deployment(exact=False),))
    passed = await gateway(body(LONG), Script(fails(400, "context_length_exceeded", "too long"), says()))
    assert len(passed.script.calls) == 2
    assert passed.settled["tokens_after"] <= 1500 * 0.85


async def test_it_is_sent_only_once_more_and_then_refused_in_our_wording(gateway):
    gateway = replace(gateway, policies=(TIGHT,), deployments=(deployment(exact=False),))
    passed = await gateway(body(LONG), Script(too_long_anthropic(1800, 1500)))
    assert len(passed.script.calls) == 2
    error = passed.client.error
    assert (passed.client.status, error["code"]) == (400, "context_length_exceeded")
    assert error["message"].startswith(
        "This model's maximum context length is 1500 tokens. However, you requested 2300 tokens "
        "(1800 prompt, 500 completion)."
    )
    assert (passed.settled["status"], passed.settled["error"]) == ("failed", "context_length_exceeded")
    assert len(passed.settled["attempts"]) == 2


async def test_where_nothing_is_left_to_cut_it_is_refused_in_our_wording_at_once(gateway):
    passed = await gateway(body([user(words(50))]), Script(too_long_anthropic(90, 60)))
    assert len(passed.script.calls) == 1
    assert passed.client.error["code"] == "context_length_exceeded"
    assert "maximum context length is 60 tokens" in passed.client.error["message"]


async def test_a_400_about_something_else_is_not_tried_again(gateway):
    gateway = replace(gateway, policies=(TIGHT,))
    passed = await gateway(body(LONG), Script(fails(400, "bad", "image too large")))
    assert len(passed.script.calls) == 1
    assert passed.client.error["code"] == "bad"


# ---------------------------------------------------------------- cancelled


async def test_a_client_that_leaves_before_its_request_is_complete_leaves_no_trace(gateway):
    passed = await gateway(body(HELLO), leaves="before")
    assert (passed.rows, passed.script.calls, passed.client.started) == ([], [], False)


async def test_a_client_that_leaves_early_is_entered_with_its_prompt_and_a_usual_answer(gateway):
    passed = await gateway(body(HELLO), Script(Act(instead=Leave())))
    row = passed.settled
    assert (row["status"], row["http_status"], row["error"]) == ("cancelled", 499, "client_gone")
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (8, USUAL_ANSWER, True)
    passed = await replace(gateway, folder=gateway.folder / "b")(
        body(HELLO, max_tokens=7, n=2), Script(Act(instead=Leave()))
    )
    assert (passed.settled["completion_tokens"], passed.settled["estimated"]) == (14, True)


TALK = [
    system("Be brief."),
    *[one for n in range(30) for one in (user(words(40, f"q{n}")), assistant("yes"))],
    user("?"),
]
FOLDS = policy(
    "{name: folds, context_window: 900, reserve: {output: 0, margin: 0}, ladder: {history: [drop_oldest]}, "
    "fold: {keep_turns: 0, keep_tool_results: 0}}"
)


async def test_a_server_of_somebodys_own_gets_the_key_that_prompt_caches_says_it_takes(gateway):
    declared = CacheFacts("p", "prefix", control="key", writes={300: Decimal(1)})
    at = "http://127.0.0.1:1/v1"
    passed = await replace(gateway, deployments=[deployment(cache=declared, api_base=at)])(
        body([system("Be brief. " * 300), user("one")])
    )
    assert passed.script.calls[-1].fields["prompt_cache_key"]


async def test_what_rewriting_saved_is_unknown_where_nobody_knows_how_the_cache_works(gateway):
    passed = await replace(gateway, policies=(FOLDS,))(body(TALK))
    assert passed.settled["plan"] == "rewritten"
    assert passed.settled["saved_unknown"] is True
    assert "saved_nanousd" not in passed.settled
    passed = await replace(gateway, folder=gateway.folder / "b")(body(HELLO))
    assert not {"saved_unknown", "saved_nanousd"} & passed.settled.keys(), "nothing was changed"


async def test_what_left_a_prompt_too_short_for_its_cache_is_saved_at_the_plain_price(gateway):
    cached = deployment(cache=CacheFacts("p", "prefix", least=20_000, writes={300: Decimal(1)}))
    row = (await replace(gateway, deployments=[cached], policies=(FOLDS,))(body(TALK))).settled
    assert row["miss"] == "below_minimum"
    assert row["saved_nanousd"] == (row["tokens_before"] - row["tokens_after"]) * 1_000


async def test_a_client_that_leaves_before_a_stream_began_is_entered_with_its_prompt_alone(gateway):
    row = (await gateway(body(HELLO, stream=True), Script(Act(instead=Leave())))).settled
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (8, 0, True)
    assert row["cost_nanousd"] == 8 * 1_000


async def test_a_client_that_leaves_before_its_request_was_taken_tells_nothing_of_caches(gateway):
    cached = deployment(cache=CacheFacts("p", "prefix", writes={300: Decimal(1)}))
    said = body([system("Be brief. " * 300), user("one")])
    passed = await replace(gateway, deployments=[cached])(said, Script(Act(instead=Leave())))
    assert passed.settled["error"] == "client_gone"
    caches = passed.gateway.prompt_caches
    assert not [*caches.updates.take(), *caches.observations.take_news(), *caches.groups.take_news()]
    passed = await replace(gateway, deployments=[cached], folder=gateway.folder / "b")(said)
    assert len(passed.gateway.prompt_caches.updates.take()) == 1


@pytest.mark.parametrize("leaves", [None, "while"])
async def test_a_system_text_is_compared_once_a_request(gateway, leaves):
    passed = await gateway(
        body([system("Be brief."), user("one")], stream=True), Script(streams(*WHOLE_STREAM)), leaves=leaves
    )
    assert passed.settled["status"] == ("answered" if leaves is None else "cancelled")
    assert sum(head.compared for head in passed.gateway.system_texts.take().values()) == 0


@pytest.mark.parametrize("content", [[{"type": ["text"], "text": "a"}], [{"type": {"a": 1}}], [[]], {"a": []}, 7, None])
@pytest.mark.parametrize("rules", ["openai-5.6", "anthropic", "vllm"])
async def test_what_no_cache_understands_is_passed_on_as_it_came(gateway, content, rules):
    cached = deployment(cache=facts_of(rules), kind="demo")
    listed = [system("Be brief. " * 600), {"role": "user", "content": content}, {"role": [], "content": content}]
    always = policy("name: a\nprompt_cache: {markers: always}\n")
    passed = await replace(gateway, deployments=[cached], policies=[always])(body(listed))
    assert passed.client.status == 200
    assert passed.received[1:] == listed[1:]


@pytest.mark.parametrize("how", ["while", None])
async def test_a_client_that_leaves_in_the_middle_of_a_stream_is_entered_with_what_it_got(gateway, how):
    rest = (delta(" three"), *WHOLE_STREAM)
    act = streams(delta("one two"), *rest) if how else streams(delta("one two"), Leave(), *rest)
    passed = await gateway(body(HELLO, stream=True), Script(act), leaves=how)
    row = passed.settled
    assert (row["status"], row["error"], row["estimated"]) == ("cancelled", "client_gone", True)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (8, 2)
    reply = passed.script.calls[0].reply
    assert reply is not None
    assert reply.closed, "the upstream is stopped"


async def test_a_client_that_leaves_when_all_is_said_is_entered_as_answered(gateway):
    script = Script(says())
    passed = await gateway(body(HELLO), script)
    passed.client.leave()
    await asyncio.sleep(0)
    assert passed.settled["status"] == "answered"
    assert not passed.client.gone


async def test_a_gateway_that_is_stopped_enters_what_was_under_way(gateway):
    script = Script(streams(delta("one two"), Stall()))
    task = asyncio.create_task(gateway(body(HELLO, stream=True), script))
    while not task.done() and (script.client is None or not script.client.pieces):
        await asyncio.sleep(0.01)
    assert script.client is not None
    watched = script.client._watching
    assert watched is not None
    watched.cancel()
    await task
    assert b'"code":"gateway_stopping"' in script.client.pieces[-1], "its client is told why"
    (row,) = [json.loads(line) for line in next((gateway.folder / "ledger").glob("*.jsonl")).read_bytes().splitlines()][
        1:
    ]
    assert (row["status"], row["error"], row["completion_tokens"]) == ("cancelled", "gateway_stopped", 2)


# ---------------------------------------------------------------- budget: what leaves


async def test_what_is_over_is_rewritten_and_every_place_tells_the_same(gateway):
    stubbing = policy(
        "{name: stubbing, context_window: 2000, reserve: {output: 500, margin: 0}, ladder: {tool_results: [stub]}, "
        "fold: {keep_turns: 0, keep_tool_results: 0}}"
    )
    passed = await replace(gateway, policies=(stubbing,))(body(LONG))
    row, header = passed.settled, passed.client.got["x-gateway-plan"]
    assert header.startswith(f"rewritten; tokens={row['tokens_before']}/{row['tokens_after']}; stub=")
    assert row["tokens_after"] <= 1500 < row["tokens_before"]
    assert row["plan"] == "rewritten"
    told = row["edited"]["stub"]
    assert told[3] == 3
    assert told[1] - told[2] == row["tokens_before"] - row["tokens_after"]
    assert row["components"]["history"][0] > row["components"]["history"][1]
    assert sum(sizes[1] for name, sizes in row["components"].items() if name != "room") == row["tokens_after"]
    assert passed.received[0] == LONG[0]
    assert passed.received[-1] == LONG[-1]


async def test_observe_tells_what_would_be_done_and_sends_the_original(gateway):
    raw = body(LONG, model="gpt-4o")
    gateway = replace(gateway, policies=(replace(TIGHT, mode="observe"),), deployments=(deployment("gpt-4o"),))
    passed = await gateway(raw)
    assert passed.script.calls[0].body == raw
    row = passed.settled
    assert passed.client.got["x-gateway-plan"].startswith(f"observed; tokens={row['tokens_before']}/")
    assert (row["plan"], row["tokens_after"]) == ("observed", row["tokens_before"])
    assert "edits" in row or "edited" in row


async def test_observe_sends_even_what_it_would_refuse(gateway):
    passed = await replace(gateway, policies=(replace(TIGHT, mode="observe"),))(body([user(words(3000))]))
    assert passed.client.status == 200
    assert passed.client.got["x-gateway-plan"] == "observed; tokens=3007/3007; too_big=input"
    assert passed.settled["plan"] == "observed"


async def test_off_does_not_even_count(gateway):
    passed = await replace(gateway, policies=(replace(TIGHT, mode="off"),))(body(LONG))
    assert passed.received == LONG
    assert passed.client.got["x-gateway-plan"] == "unchanged"
    assert passed.settled["counted"] == "bytes"


@pytest.mark.parametrize("mode", ["observe", "off"])
async def test_too_long_from_upstream_is_the_clients_to_hear_where_nothing_is_enforced(gateway, mode):
    gateway = replace(gateway, policies=(replace(TIGHT, mode=mode),))
    passed = await gateway(body(LONG), Script(too_long_anthropic(1800, 1500)))
    assert len(passed.script.calls) == 1
    assert passed.client.error["message"].startswith("prompt is too long: 1800 tokens > 1500 maximum")


async def test_what_bytes_prove_to_fit_is_entered_in_the_providers_tokens(gateway):
    row = (await gateway(body([system("s" * 300), *HELLO]))).settled
    assert row["counted"] == "bytes"
    assert row["tokens_before"] == row["tokens_after"] == row["prompt_tokens"] == 100
    room = row["components"].pop("room")
    assert (row["budget"], sum(room.values())) == (124_000, 124_000)
    assert sum(before for before, _ in row["components"].values()) == 100


# ---------------------------------------------------------------- policy, profile, user, tags


async def test_the_keys_own_policy_applies_else_its_teams_else_the_default(gateway):
    chat = policy("{name: chat}")
    gateway = replace(gateway, keys=KEYS, policies=(Policy("default"), TIGHT, chat), teams={"small": Team("chat")})
    names = {}
    for token in ("sk-all", "sk-one", "sk-own"):
        passed = await replace(gateway, folder=gateway.folder / token)(body(HELLO), headers={"x-api-key": token})
        names[token] = passed.settled["policy"].partition("@")[0]
    assert names == {"sk-all": "default", "sk-one": "chat", "sk-own": "tight"}


PROFILED = policy(
    """
name: profiled
profiles:
  coder: {when: "tools > 1 && system > 5", context_window: 64k}
  app: {when: "headers['x-app'] == 'mobile'", context_window: 16k}
  night: {context_window: 8k}
"""
)
TOOLS = [{"type": "function", "function": {"name": name}} for name in "ab"]


@pytest.mark.parametrize(
    ("fields", "headers", "profile"),
    [
        ({}, {}, None),
        ({"tools": TOOLS}, {}, "coder"),
        ({}, {"x-app": "mobile"}, "app"),
        ({"tools": TOOLS}, {"x-app": "mobile"}, "coder"),
        ({"tools": TOOLS}, {"x-gateway-profile": "night"}, "night"),
        ({"metadata": {"gateway_profile": "night"}}, {"x-app": "mobile"}, "night"),
    ],
)
async def test_a_profile_is_chosen_by_header_metadata_or_its_condition(gateway, fields, headers, profile):
    passed = await replace(gateway, policies=(PROFILED,))(body([system("be kind"), *HELLO], **fields), headers=headers)
    chosen = PROFILED if profile is None else PROFILED.with_profile(profile)
    assert passed.client.got["x-gateway-policy"] == passed.settled["policy"] == str(chosen)


async def test_a_profile_that_is_not_there_is_refused_by_name(gateway):
    passed = await refused(replace(gateway, policies=(PROFILED,)), body(HELLO), **{"x-gateway-profile": "noon"})
    assert passed.client.status == 400
    assert "no profile 'noon'; it has coder, app, night" in passed.client.error["message"]
    assert passed.settled["status"] == "refused"


@pytest.mark.parametrize(
    ("fields", "headers", "user_", "tags"),
    [
        ({}, {}, None, []),
        ({"user": "ann"}, {"x-gateway-user": "ben"}, "ann", []),
        ({}, {"x-gateway-user": "ben"}, "ben", []),
        ({"user": "u" * 999}, {}, "u" * 256, []),
        ({"metadata": {"tags": ["a", " b ", "a", 7, ""]}}, {"x-gateway-tags": "c"}, None, ["a", "b"]),
        ({"metadata": {"tags": "a,b"}}, {}, None, ["a", "b"]),
        ({}, {"x-gateway-tags": "c, d,,c"}, None, ["c", "d"]),
        ({}, {"x-gateway-tags": ",".join("abcdefghijklmno")}, None, list("abcdefghij")),
        ({"metadata": {"tags": {"a": 1}}}, {}, None, []),
    ],
)
async def test_user_and_tags_come_from_the_request_or_its_headers(gateway, fields, headers, user_, tags):
    passed = await gateway(body(HELLO, **fields), headers=headers)
    assert (passed.settled["user"], passed.settled["tags"]) == (user_, tags)
    assert (passed.opened[0]["user"], passed.opened[0]["tags"]) == (user_, tags)


# ---------------------------------------------------------------- what was missed

FORGETFUL = policy(
    "{name: forgetful, context_window: 2000, reserve: {output: 500, margin: 0}, recall: 0, "
    "ladder: {history: [drop_oldest]}, fold: {keep_turns: 0, keep_tool_results: 0, artifacts: 0}}"
)
ORDERED = [user("my order"), calls("c0 find {}"), result("c0", "order W-7300112, 99.50"), *LONG]


def cancels(**more: str) -> Act:
    message = calls('c1 cancel {"order": "W-7300112"}')
    return Act(parts=(json.dumps({"choices": [{"message": message}], "usage": USAGE, **more}).encode(),))


def forgetful(gateway: Setting, mode: Literal["off", "observe", "enforce"] = "enforce") -> Setting:
    return replace(gateway, policies=(replace(FORGETFUL, mode=mode),))


async def test_an_answer_that_uses_what_was_cut_is_entered_as_a_miss(gateway):
    passed = await forgetful(gateway)(body(ORDERED), Script(cancels()))
    assert passed.client.got["x-gateway-plan"].startswith("rewritten")
    assert (passed.settled["missed"], len(passed.settled["missed_values"])) == (1, 1)
    assert passed.settled["values_removed"] >= 2
    assert "7300112" not in json.dumps(passed.rows)


async def test_under_observe_it_is_what_would_have_been_missed(gateway):
    passed = await forgetful(gateway, "observe")(body(ORDERED), Script(cancels()))
    assert passed.received[2]["content"] == "order W-7300112, 99.50"
    assert (passed.settled["plan"], passed.settled["missed"]) == ("observed", 1)


@pytest.mark.parametrize("mode", ["enforce", "observe", "off"])
async def test_what_was_not_rewritten_has_nothing_to_miss(gateway, mode):
    listed = ORDERED if mode == "off" else ORDERED[:3] + ORDERED[-1:]
    row = (await forgetful(gateway, mode)(body(listed), Script(cancels()))).settled
    assert row["plan"] == "unchanged"
    assert row.keys().isdisjoint({"values_removed", "missed", "missed_values"})


@pytest.mark.parametrize("cut", [UpstreamError("reset", "cut"), Leave(), None])
async def test_what_a_stream_said_counts_however_it_ended(gateway, cut):
    parts = [delta("I cancel W-73"), delta("00112 now"), *([cut] if cut else [delta("", "stop"), DONE])]
    row = (await forgetful(gateway)(body(ORDERED, stream=True), Script(streams(*parts)))).settled
    assert row["status"] == {UpstreamError: "failed", Leave: "cancelled"}.get(type(cut), "answered")
    assert row["missed"] == 1


async def test_where_no_answer_came_nothing_was_missed(gateway):
    row = (await forgetful(gateway)(body(ORDERED), Script(fails(400, "bad")))).settled
    assert "missed" not in row


async def test_a_long_answer_is_looked_through_as_a_short_one_is(gateway):
    said = says("so it is " * 40_000 + "W-7300112")
    assert (await forgetful(gateway)(body(ORDERED), Script(said))).settled["missed"] == 1


async def test_a_long_request_is_looked_through_as_a_short_one_is(gateway):
    listed = [*ORDERED[:3], *loop(40, 400), user("and now?")]
    assert len(body(listed)) > LONG_BODY
    assert (await forgetful(gateway)(body(listed), Script(cancels()))).settled["missed"] == 1


async def test_the_fallback_that_answered_is_the_one_whose_cut_counts(gateway):
    """Only the second model's window is small: what its answer uses was cut for it alone."""
    roomy, small = deployment(), deployment("other", window=1500)
    gateway = replace(
        gateway,
        policies=(replace(FORGETFUL, context_window=None),),
        deployments=(roomy, small),
        fallbacks={"asked": ("other",)},
    )
    passed = await gateway(body(ORDERED), Script(fails(500), cancels()))
    assert passed.settled["status"] == "answered"
    assert passed.script.calls[-1].deployment == small.name
    assert passed.settled["missed"] == 1


# ---------------------------------------------------------------- money


async def test_a_model_without_a_price_is_refused(gateway):
    passed = await refused(replace(gateway, deployments=(deployment(price={}),)), body(HELLO))
    assert (passed.client.status, passed.client.error["code"]) == (403, "model_unpriced")


async def test_where_the_unpriced_is_allowed_it_is_entered_as_unpriced_and_never_as_free(gateway):
    gateway = replace(gateway, deployments=(deployment(price={}),), unpriced=True)
    passed = await gateway(body(HELLO))
    assert (passed.settled["cost_nanousd"], passed.settled["unpriced"]) == (None, True)
    assert passed.opened[0]["estimate_nanousd"] is None
    assert "x-gateway-cost-usd" not in passed.client.got


async def test_the_estimate_is_the_prompt_and_the_longest_answer_asked_for(gateway):
    raw = body(HELLO, max_tokens=500, n=3)
    row = (await gateway(raw)).opened[0]
    assert row["estimate_completion"] == 1500
    assert row["estimate_prompt"] == len(raw) // 4
    assert row["estimate_nanousd"] == row["estimate_prompt"] * 1_000 + 1500 * 10_000


async def test_the_estimate_is_never_for_more_than_the_model_can_say(gateway):
    gateway = replace(gateway, deployments=(deployment(max_output=100),))
    assert (await gateway(body(HELLO, max_tokens=500))).opened[0]["estimate_completion"] == 100


@pytest.mark.parametrize(
    ("nano", "dollars"),
    [(0, "0"), (1, "0.000000001"), (10**9, "1"), (12_300_000, "0.0123"), (10**12 + 5, "1000.000000005")],
)
def test_an_amount_is_written_in_dollars_exactly(nano, dollars):
    assert usd(nano) == dollars


# ---------------------------------------------------------------- always: one entry

ENDS = st.sampled_from(
    [
        says(),
        says(usage=None),
        streams(*WHOLE_STREAM),
        streams(delta("a")),
        streams(),
        fails(400),
        fails(429),
        fails(500),
        breaks("connect"),
        breaks("timeout"),
        too_long_anthropic(2000, 1500),
        Act(parts=(b"junk",)),
        Act(instead=Leave()),
        streams(delta("a"), Leave()),
        streams(UpstreamError("reset", "x")),
        Act(204, ()),
    ]
)


@settings(max_examples=examples(200))
@given(
    st.lists(ENDS, min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([HELLO, LONG, [user(words(3000))]]),
    st.sampled_from([None, "while"]),
)
def test_a_request_always_has_exactly_one_entry_and_its_client_one_answer(
    tmp_path_factory, acts, stream, listed, leaves
):
    gateway = Setting(tmp_path_factory.mktemp("one"), policies=(TIGHT,))
    passed = asyncio.run(with_fallback(gateway)(body(listed, stream=stream), Script(*acts), leaves=leaves))
    row = passed.settled
    assert len(passed.opened) <= 1
    assert row["status"] in {"answered", "refused", "failed", "cancelled"}
    assert row["cost_nanousd"] is not None
    assert passed.client.ended or row["status"] == "cancelled"
    if row["status"] == "answered":
        assert passed.client.status == row["http_status"] == 200

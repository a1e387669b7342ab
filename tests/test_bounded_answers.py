"""An answer of an upstream has a size at which it is cut, and what was written by then is entered."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.routing.attempts import Answer, Failure
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.routing.upstreams.upstream import ERROR_BYTES, UpstreamError
from gateway.wire.chat.relay import DONE
from tests.passage import Act, Script, Setting, delta, deployment, says, streams, usage_event
from tests.talk import body, user
from tests.upstream.raw import Call, playing, whole

HELLO = [user("hello")]
MOST = 100_000


@pytest.fixture
def gateway(tmp_path: Path) -> Setting:
    return Setting(tmp_path, max_answer=MOST)


async def test_a_whole_answer_within_the_bound_passes(gateway):
    passed = await gateway(body(HELLO), Script(says("x" * (MOST - 1_000))))
    assert passed.client.status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_whole_answer_over_the_bound_is_a_failure_that_was_paid_for(gateway, stream: bool):
    endless = Act(parts=[b'{"choices":[', *[b" " * 10_000] * 1_000])
    script = Script(endless, says())
    gateway.deployments = (deployment(number=0), deployment(number=1))
    passed = await gateway(body(HELLO, stream=stream), script)
    assert (passed.client.status, passed.client.error["code"]) == (502, "upstream_too_large")
    assert "max_answer" in passed.client.error["message"]
    assert passed.settled["status"] == "failed"
    assert passed.settled["cost_nanousd"] > 0
    assert len(script.calls) == 1  # as any answer that broke off once it had begun
    assert script.calls[0].reply is not None
    assert script.calls[0].reply.closed


async def test_a_stream_that_is_gathered_is_bounded_as_a_whole(gateway):
    passed = await gateway(body(HELLO), Script(streams(*[delta("word " * 100)] * 1_000)))
    assert passed.client.error["code"] == "upstream_too_large"
    assert passed.settled["cost_nanousd"] > 0


async def test_of_a_stream_only_single_events_are_bounded(gateway):
    pieces = [delta("word " * 20)] * 2_000
    passed = await gateway(body(HELLO, stream=True), Script(streams(*pieces, delta("", "stop"), usage_event(), DONE)))
    assert passed.client.text.endswith(DONE)
    assert len(passed.client.text) > 2 * MOST
    assert passed.settled["status"] == "answered"


async def test_an_event_without_end_is_cut_and_what_was_passed_on_is_counted(gateway):
    endless = [b'data: {"choices":[{"index":0,"delta":{"content":"', *[b"word " * 2_000] * 1_000]
    passed = await gateway(body(HELLO, stream=True), Script(streams(delta("Once"), *endless)))
    *_, last = passed.client.text.removesuffix(b"\n\n").split(b"\n\n")
    assert b"upstream_too_large" in last
    assert MOST - 15_000 < len(passed.client.text) < MOST + 15_000
    assert passed.settled["status"] == "failed"
    assert passed.settled["completion_tokens"] > MOST / 8


async def test_an_error_answer_is_read_only_as_far_as_anybody_looks(gateway):
    script = Script(Act(500, [b"x" * 100_000] * 1_000))
    passed = await gateway(body(HELLO), script)
    assert passed.client.status == 500
    assert len(passed.client.text) < ERROR_BYTES
    assert script.calls[0].reply is not None
    assert script.calls[0].reply.closed


# ---------------------------------------------------------------- over a socket, packed or not

ASK = {"model": "m", "messages": HELLO, "max_tokens": 10}
BOMB = gzip.compress(b'{"choices":[' + b" " * 20_000_000)
PACKED = b"content-encoding: gzip\r\n"


def target(kind: Any, url: str) -> Deployment:
    model = "openai/m" if kind == "direct" else "anthropic/claude-sonnet-4-5"
    return deployment(model=model, kind=kind, api_base=url, api_key="sk-1", timeout=5.0)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["direct", "translated"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("packed", [False, True])
async def test_what_comes_is_bounded_as_unpacked_and_in_every_kind_of_upstream(
    tmp_path: Path, kind: Any, stream: bool, packed: bool
):
    body_of_it = BOMB if packed else gzip.decompress(BOMB)

    async def play(call: Call) -> None:
        await call.send(whole(body_of_it, more=PACKED if packed else b""))

    async with playing(play) as (url, _):
        upstreams = Upstreams(len, most=MOST)
        if kind == "translated":
            await upstreams.translated.load()
        tracemalloc.start()
        try:
            outcome = await read(upstreams, target(kind, url), stream=stream)
            held = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await upstreams.close()
    assert outcome == "too_large"
    assert not packed or held < 5_000_000


@pytest.mark.long
async def test_a_packed_answer_that_nobody_asked_for_is_read():
    fields = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn"}
    usage = {"input_tokens": 1, "output_tokens": 1}
    said = json.dumps({**fields, "content": [{"type": "text", "text": "hi"}], "usage": usage}).encode()

    async def play(call: Call) -> None:
        await call.send(whole(gzip.compress(said), more=PACKED))

    async with playing(play) as (url, _):
        upstreams = Upstreams(len, most=MOST)
        try:
            asked = upstreams.call(target("translated", url), orjson.dumps(ASK), stream=False, request_id="gw_1")
            outcome = await asked
            assert isinstance(outcome, Answer), outcome
            assert b"hi" in b"".join([part async for part in outcome.reply.chunks()])
        finally:
            await upstreams.close()


async def read(upstreams: Upstreams, to: Deployment, *, stream: bool) -> str:
    """Make one call and say what became of it; a whole answer of a direct one is bounded where it is held."""
    outcome = await upstreams.call(to, orjson.dumps({**ASK, "stream": stream}), stream=stream, request_id="gw_1")
    if isinstance(outcome, Failure):
        return outcome.kind
    size = 0
    try:
        async for part in outcome.reply.chunks():
            assert len(part) <= 16 * 1024
            size += len(part)
            if size > MOST:
                await outcome.reply.close()
                return "too_large"
    except UpstreamError as error:
        return error.kind
    return "all of it"

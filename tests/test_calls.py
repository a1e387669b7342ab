"""What a client is spared of a deployment that is at fault, what it is told of its own, and what an operator hears."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import Reply
from gateway.serving.pipeline import answer
from gateway.serving.services import Gateway
from tests.passage import WHOLE_STREAM, Act, Caller, Script, Setting, deployment, fails, new_id, says, streams
from tests.talk import body, user

GOOD, BAD = deployment(number=0), deployment(number=1, model="openai/gpt-4o-mini")
KEY = fails(401, "invalid_api_key", "Incorrect API key provided: sk-abcdefghijkl")


class Each:
    """An upstream that does what each deployment is told to do, and keeps what came."""

    def __init__(self, *bad: Act, well_after: int | None = None) -> None:
        self.bad, self.good, self.well_after = Script(*bad), Script(says()), well_after
        self.along: list[dict[str, str]] = []

    async def send(
        self, deployment: Deployment, body: bytes, *, stream: bool, request_id: str, headers: Any = None
    ) -> Reply:
        self.along.append(dict(headers))
        is_bad = deployment.name == BAD.name and (self.well_after is None or len(self.bad.calls) < self.well_after)
        one = self.bad if is_bad else self.good
        return await one.send(deployment, body, stream=stream, request_id=request_id)

    async def close(self) -> None:
        return None


class Clock:
    """Seconds that pass when a test says so."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Talk:
    """Many requests through one gateway."""

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self.gateway, self.clock = gateway, clock
        self.log: list[Any] = []

    async def ask(self, said: str, headers: Mapping[str, str] | None = None, *, stream: bool = False) -> Caller:
        client = Caller(body([user(said)], **({"stream": True} if stream else {})), headers or {})
        with structlog.testing.capture_logs() as log:
            await asyncio.wait_for(answer(self.gateway, client, new_id()), 20)
        self.log += [(line["event"], line.get("deployment")) for line in log]
        return client


@asynccontextmanager
async def talking(folder: Path, upstream: Each, deployments: Sequence[Deployment] = (GOOD, BAD)) -> AsyncIterator[Talk]:
    clock = Clock()
    setting = Setting(folder, deployments=deployments, now=clock)
    gateway = replace(setting.gateway(upstream), monotonic=clock)  # type: ignore[arg-type]  # any upstream will do
    try:
        yield Talk(gateway, clock)
    finally:
        await gateway.upstreams.close()
        await gateway.sharing.close()
        gateway.ledger.close()


async def test_no_conversation_sees_the_bad_key_of_one_of_two_which_rests(tmp_path):
    upstream = Each(KEY)
    async with talking(tmp_path, upstream) as talk:
        for number in range(200):
            talk.clock.seconds += 0.01
            assert (await talk.ask(f"conversation {number}")).status == 200
    assert len(upstream.bad.calls) <= 4, "two that saw it, and a trial for each rest that went by"
    assert talk.log == [("deployment rests", BAD.name)]


async def test_one_that_is_mended_is_asked_again_and_told_to_be_well_once(tmp_path):
    upstream = Each(KEY, well_after=3)
    async with talking(tmp_path, upstream) as talk:
        for number in range(60):
            talk.clock.seconds += 0.2
            assert (await talk.ask(f"conversation {number}")).status == 200
    assert talk.log == [("deployment rests", BAD.name), ("deployment is well again", BAD.name)]


@pytest.mark.parametrize("act", [KEY, fails(402), fails(404, "model_not_found"), fails(429, "insufficient_quota")])
async def test_what_lasts_is_asked_once_each_rest_where_nobody_else_is_left(tmp_path, act):
    upstream = Each(act)
    async with talking(tmp_path, upstream, [BAD]) as talk:
        told = [await talk.ask(f"conversation {number}") for number in range(5)]
        assert len(upstream.bad.calls) == 5, "it may have been a moment's"
        for calls, wait in ((10, 1.1), (11, 2.1), (12, 4.1), (13, 8.1)):
            talk.clock.seconds += wait
            told += [await talk.ask(f"conversation {number}") for number in range(5)]
            assert len(upstream.bad.calls) == calls
        assert len({(one.status, one.error["code"]) for one in told}) == 1
        assert {one.got.get("x-should-retry") for one in told} == {"false"}
    assert talk.log == [("upstream failed", BAD.name), ("deployment rests", BAD.name)]


@pytest.mark.parametrize("act", [fails(500), fails(503), fails(429), Act(403, (b"<html>",)), fails(400)])
async def test_what_may_pass_is_asked_every_time_where_nobody_else_is_left(tmp_path, act):
    upstream = Each(act)
    async with talking(tmp_path, upstream, [BAD]) as talk:
        for number in range(6):
            await talk.ask(f"conversation {number}")
    assert len(upstream.bad.calls) == 6


async def test_the_same_conversation_may_fail_as_often_as_it_likes_and_rests_nobody(tmp_path):
    upstream = Each(fails(500))
    async with talking(tmp_path, upstream, [BAD]) as talk:
        for _ in range(5):
            await talk.ask("the same")
        assert talk.gateway.health.resting(talk.clock()) == frozenset()


@pytest.mark.parametrize("act", [fails(402, None, "You requested up to 64000 tokens, but can only afford 9"),
                                 fails(413, "rate_limit_exceeded")])  # fmt: skip
async def test_a_request_that_is_too_much_for_one_account_goes_to_another_and_rests_nobody(tmp_path, act):
    upstream = Each(act)
    async with talking(tmp_path, upstream) as talk:
        for number in range(30):
            assert (await talk.ask(f"conversation {number}")).status == 200
    assert len(upstream.bad.calls) > 5
    assert talk.log == []


async def test_a_fault_of_the_request_goes_to_the_client_once_and_says_not_to_ask_again(tmp_path):
    flagged = {"error": {"message": "flagged", "code": 403, "metadata": {"reasons": ["violence"]}}}
    for act in (fails(400), fails(422), Act(403, (json.dumps(flagged).encode(),))):
        upstream = Each(act)
        async with talking(tmp_path / str(act.status), upstream, [BAD, GOOD]) as talk:
            told = await talk.ask("conversation 3")
            while not upstream.bad.calls:
                told = await talk.ask(f"conversation {len(upstream.good.calls) + 10}")
            assert (told.status, told.got["x-should-retry"]) == (act.status, "false")
            assert (len(upstream.bad.calls), talk.log) == (1, [])


async def test_what_an_upstream_says_of_waiting_and_of_its_limits_comes_back(tmp_path):
    limits = {"retry-after": "7", "retry-after-ms": "6500", "x-ratelimit-remaining-tokens": "0", "x-request-id": "req"}
    async with talking(tmp_path / "a", Each(fails(429, **limits)), [BAD]) as talk:
        told = await talk.ask("hello")
    assert told.status == 429
    assert {name: told.got.get(name) for name in ("retry-after", "retry-after-ms", "x-should-retry")} == {
        "retry-after": "7",
        "retry-after-ms": "6500",
        "x-should-retry": None,
    }
    assert told.got["x-gateway-upstream-ratelimit-remaining-tokens"] == "0"
    assert told.got["x-gateway-upstream-request-id"] == "req"
    strange = {"retry-after": "Thu, 01 Jan 99999 00:00:00 GMT", "x-request-id": "\x01" * 3000}
    async with talking(tmp_path / "b", Each(fails(429, **strange)), [BAD]) as talk:
        told = await talk.ask("hello")
    assert (told.status, told.got.get("retry-after")) == (429, None)
    assert set(told.got["x-gateway-upstream-request-id"]) == {"?"}


async def test_an_answer_says_how_long_it_took_and_what_is_left(tmp_path):
    act = streams(*WHOLE_STREAM, **{"openai-processing-ms": "12", "x-ratelimit-remaining-tokens": "9"})
    async with talking(tmp_path, Each(act), [BAD]) as talk:
        got = (await talk.ask("hello", stream=True)).got
    assert (got["openai-processing-ms"], got["x-gateway-upstream-ratelimit-remaining-tokens"]) == ("12", "9")
    assert (got["cache-control"], got["x-accel-buffering"]) == ("no-cache", "no")


async def test_headers_go_along_and_the_idempotency_key_with_the_first_attempt(tmp_path):
    upstream = Each(fails(500))
    async with talking(tmp_path, upstream, [replace(BAD, weight=1e9), replace(GOOD, weight=1e-9)]) as talk:
        sent = {"idempotency-key": "once", "x-client-request-id": "mine", "anthropic-beta": "a-1, b-2", "cookie": "c"}
        told = await talk.ask("hello", sent)
    assert upstream.along == [
        {"idempotency-key": "once", "x-client-request-id": "mine"},
        {"x-client-request-id": "mine"},
    ]
    assert told.got["x-gateway-dropped"] == "anthropic-beta: a-1, b-2"

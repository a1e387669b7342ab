"""Prefixes kept warm: requests through a whole gateway to the demo provider, on a clock of the tests.

The provider's own rules say what is read and what is charged; it knows nothing of what the gateway expects.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from gateway import config
from gateway.keep_warm.schedule import LONGEST_SLEEP, MOST_FAILURES, MOST_PREFIXES, WarmUps
from gateway.money import ledger as books
from gateway.money.prices.entries import price_from
from gateway.prompt_cache.rules import CacheFacts
from gateway.prompt_cache.sharing import share_prompt_caches
from gateway.reports.spend import spend_report
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.routing.upstreams.demo import Demo
from gateway.routing.upstreams.upstream import Reply, WholeReply
from gateway.serving.services import Gateway
from gateway.serving.warm_up_calls import send_warm_up
from gateway.state import State, StateUnavailable, open_state
from gateway.wire.usage import usage_from_openai
from tests.caching_replay import PRICE, PRICES, Clock, Replay, facts_of
from tests.load.recorded import Body
from tests.passage import COUNTERS, policy
from tests.sharing import sharing, store
from tests.talk import Wire, system, user, words

MINUTE = 60.0
TEXT = "You are the support agent.\n" + words(4000)
NAMED = "prompt_cache: {warm: ['You are the support agent*']}"
SIX_TO_EIGHT = [random.Random(7).uniform(6, 8) * MINUTE for _ in range(20)]
TOOL = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
MARK = {"cache_control": {"type": "ephemeral"}}


def asked(number: int, text: str = TEXT, mark: Mapping[str, Any] | None = None, **more: Any) -> Body:
    """The first request of a conversation of its own."""
    listed: list[Wire] = [system(text, **(mark or {})), user(f"Question {number}")]
    return {"messages": listed, **more}


class Watched:
    """The demo provider, and what it charged for calls that were not streamed; it fails, or waits, where told to."""

    def __init__(self, clock: Clock) -> None:
        self._demo = Demo(COUNTERS.for_encoding("o200k_base").count, clock)
        self.fails = self.breaks = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.bodies: list[dict[str, Any]] = []
        self.charged_nanousd = 0

    async def send(
        self, deployment: Deployment, body: bytes, *, stream: bool, request_id: str, headers: Any = None
    ) -> Reply:
        fields = orjson.loads(body)
        self.bodies.append(fields)
        if is_warm_up(fields):
            await self.gate.wait()
            if self.breaks:
                raise RuntimeError("a fault of ours")
            if self.fails:
                return WholeReply(500, {"content-type": "application/json"}, (b'{"error":{"message":"no"}}',))
        reply = await self._demo.send(deployment, body, stream=stream, request_id=request_id)
        if stream:
            return reply
        whole = await reply.read()
        usage, price = usage_from_openai(orjson.loads(whole).get("usage")), _price(deployment)
        assert usage is not None
        self.charged_nanousd += price.cost(usage)
        return WholeReply(reply.status, reply.headers, (whole,))

    async def close(self) -> None:
        await self._demo.close()


def _price(deployment: Deployment) -> Any:
    return price_from("demo", {**PRICE, **PRICES.get(deployment.model, {})})


def is_warm_up(fields: Mapping[str, Any]) -> bool:
    return bool(fields["messages"][-1]["content"] == ".")


@dataclass(slots=True)
class Line:
    """A gateway that keeps prefixes warm, and the time that passes between requests."""

    replay: Replay
    gateway: Gateway
    provider: Watched
    warm: WarmUps

    async def send(self, body: Body) -> None:
        client = await self.replay.send(body)
        assert client.status == 200, client.text

    async def wait(self, seconds: float) -> None:
        """Let time pass; what is due is done when it is."""
        clock, end = self.replay.clock, self.replay.clock.at + seconds
        while clock.at < end:
            clock.at = min(end, clock.at + await self.warm.turn())

    async def play(self, gaps: Sequence[float], ask: Callable[[int], Body] = asked) -> None:
        """Send a request after each gap."""
        for number, gap in enumerate(gaps):
            await self.wait(gap)
            await self.send(ask(number))

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Rows of what has ended, of one kind."""
        rows = books.rows(self.gateway.config.ledger.dir)
        return [row for row in rows if row["event"] == "settled" and row["kind"] == kind]

    @property
    def sent(self) -> int:
        """Warm-ups that the provider was sent."""
        return sum(map(is_warm_up, self.provider.bodies))


@asynccontextmanager
async def line(
    folder: Path,
    rules: str = "anthropic",
    under: str = NAMED,
    *,
    facts: CacheFacts | None = None,
    clock: Clock | None = None,
    provider: Watched | None = None,
    opens: Callable[[], State] | None = None,
    name: str = "a",
) -> AsyncIterator[Line]:
    clock = clock or Clock()
    overrides = {} if facts is None else {rules: facts}
    replay = Replay(folder, [rules], [policy(f"name: p\n{under}\n")], overrides, clock)
    provider = provider or Watched(clock)
    gateway = replace(replay.open(), upstreams=Upstreams(len, {"demo": provider}), monotonic=clock)
    log = structlog.get_logger("gateway")
    way = gateway.sharing.store if opens is None else store(opens)
    warm = WarmUps(gateway.prompt_caches, way, log, clock, name)
    gateway = replay.gateway = replace(gateway, warm_ups=warm)
    warm.set_sender(partial(send_warm_up, gateway))
    try:
        yield Line(replay, gateway, provider, warm)
    finally:
        await warm.close()
        await way.close()
        await gateway.sharing.close()
        gateway.ledger.close()


def saving(one: Line) -> dict[str, Any]:
    found = spend_report(one.gateway.config.ledger.dir, saving=True).saving
    assert found is not None
    total: dict[str, Any] = found["total"]
    return total


def clocked(number: int) -> Body:
    return asked(number, f"You are the support agent.\nCurrent time: 12:{number:02}\n{words(4000)}")


VOLATILE = "volatile: ['Current time: .*']"
IN_MEMORY = replace(facts_of("openai"), writes={600: Decimal(1)})
"""OpenAI's cache as `prompt_cache_retention: in_memory` asks for it."""
TRAFFIC: dict[str, tuple[str, CacheFacts | None, float, Callable[[int], Body]]] = {
    "anthropic, marked by the client": ("anthropic", None, 1.0, partial(asked, mark=MARK, tools=[TOOL])),
    "anthropic, marked by us": ("anthropic", None, 1.0, asked),
    "anthropic, with a clock": ("anthropic", None, 1.0, clocked),
    "openai": ("openai", IN_MEMORY, 1.8, partial(asked, prompt_cache_retention="in_memory")),
    "openai-5.6": ("openai-5.6", None, 5.0, partial(asked, tools=[TOOL])),
}
"""Rules, facts, how much longer the gaps are than six to eight minutes, and what is asked."""


def mixed(seed: int) -> list[tuple[float, Body]]:
    """Conversations of three prompts that go on and begin, with pauses of seconds to an hour before each request."""
    draw = random.Random(seed)
    talks: list[list[Wire]] = []
    out: list[tuple[float, Body]] = []
    for number in range(60):
        if not talks or draw.random() < 0.5:
            talks.append([system(f"You are the support agent.\nNumber {draw.randrange(3)}. {words(1500)}")])
        talk = draw.choice(talks[-3:])
        talk.append(user(f"Question {number}"))
        out.append((draw.choice([2.0, 40.0, 270.0, 400.0, 500.0, 1200.0, 3700.0]), {"messages": list(talk)}))
        talk.append({"role": "assistant", "content": words(draw.randrange(400))})
    return out


@pytest.mark.long
@pytest.mark.parametrize("name", TRAFFIC)
async def test_it_makes_the_bill_lower_by_what_the_report_says(tmp_path: Path, name: str):
    rules, facts, longer, ask = TRAFFIC[name]
    gaps = [longer * gap for gap in SIX_TO_EIGHT]
    bills: list[int] = []
    savings: list[int] = []
    named = f"{NAMED[:-1]}, {VOLATILE}}}"
    for under in (named, f"prompt_cache: {{{VOLATILE}}}", "mode: 'off'"):
        async with line(tmp_path / str(len(bills)), rules, under, facts=facts) as one:
            await one.play(gaps, ask)
            found = saving(one)
            assert found["requests"] == len(gaps)
            assert found["cost_nanousd"] == one.provider.charged_nanousd
            assert len(one.told("warm_up")) == one.sent
            assert len({body.get("prompt_cache_key") for body in one.provider.bodies}) == 1
            bills.append(found["cost_nanousd"])
            savings.append(found["saved_nanousd"])
            if under == named:
                assert found["warm_ups_nanousd"] == sum(row["cost_nanousd"] for row in one.told("warm_up")) > 0
                assert all(row["cached_tokens"] > 3900 for row in one.told("request")[5:])
    warm, cold, off = bills
    print(f"{name}: {warm / cold:.3f} of what it costs without; {warm / off:.3f} of the originals")
    assert warm < 0.6 * cold
    assert savings == [off - warm, off - cold, 0]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("markers", ["on_reuse", "always"])
@pytest.mark.parametrize("rules", ["anthropic", "openai", "openai-5.6"])
async def test_whatever_the_traffic_the_report_says_what_two_bills_differ_by(
    tmp_path: Path, rules: str, markers: str, seed: int
):
    facts = IN_MEMORY if rules == "openai" else None
    more = {"prompt_cache_retention": "in_memory"} if rules == "openai" else {}
    totals: list[dict[str, Any]] = []
    for under in (f"{NAMED[:-1]}, markers: {markers}}}", "mode: 'off'"):
        async with line(tmp_path / str(len(totals)), rules, under, facts=facts) as one:
            for gap, body in mixed(seed):
                await one.wait(gap)
                await one.send(body | more)
            totals.append(saving(one))
            assert totals[-1]["cost_nanousd"] == one.provider.charged_nanousd
    warm, off = totals
    print(rules, markers, seed, f"{warm['warm_ups_nanousd'] / off['cost_nanousd']:.3f}")
    assert warm["saved_nanousd"] == off["cost_nanousd"] - warm["cost_nanousd"]


async def test_traffic_that_turns_costs_no_more_than_a_write_and_a_twentieth_for_each_gap(
    tmp_path: Path,
):
    in_vain = [280.0] * 40  # read again at 240, and asked for before it would have expired
    bills: list[tuple[int, int]] = []
    for under in (NAMED, "prompt_cache: {}"):
        async with line(tmp_path / str(len(bills)), under=under) as one:
            await one.play([7 * MINUTE] * 4 + in_vain, partial(asked, mark=MARK))
            bills.append((one.provider.charged_nanousd, one.sent))
    (warm, sent), (cold, _) = bills
    write = 4000 * 1150
    assert sent > 3
    assert warm - cold < write + len(in_vain) * write / 20


async def test_a_warm_up_is_booked_to_the_team_and_key_of_the_last_request_and_to_no_user(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:8], partial(asked, user="ann"))
        row = one.told("warm_up")[0]
        assert (row["status"], row["user"], row["model"], row["policy"][:2]) == ("answered", None, "anthropic", "p@")
        assert (row["team"], row["key"]) == (one.told("request")[0]["team"], one.told("request")[0]["key"])
        assert row["cached_tokens"] > 4000
        assert "saved_nanousd" not in row
        assert sum(line["event"] == "opened" and line["id"] == row["id"] for line in books.rows(tmp_path / "ledger"))


async def test_what_is_sent_is_the_head_byte_for_byte_and_next_to_nothing(tmp_path: Path):
    ask = partial(asked, mark=MARK, tools=[TOOL], temperature=1, stream=True, user="ann", n=1)
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:8], ask)
        came, left = one.provider.bodies[0], next(filter(is_warm_up, one.provider.bodies))
        assert left["messages"] == [came["messages"][0], user(".")]
        assert left["max_completion_tokens"] == 16
        assert set(left) == {"model", "messages", "tools", "max_completion_tokens"}
        assert [{key: part for key, part in tool.items() if key != "cache_control"} for tool in left["tools"]] == [TOOL]


async def test_the_answer_is_limited_by_the_member_that_requests_limit_theirs_by(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:8], partial(asked, mark=MARK, max_tokens=500))
        left = next(filter(is_warm_up, one.provider.bodies))
        assert (left["max_tokens"], "max_completion_tokens" in left) == (16, False)


@pytest.mark.parametrize(("ttl", "minutes"), [("5m", 7), ("1h", 70)])
async def test_the_head_keeps_the_lifetime_it_was_written_for(tmp_path: Path, ttl: str, minutes: float):
    under = f"prompt_cache: {{warm: ['You*'], markers: always, ttl: {ttl}}}"
    async with line(tmp_path, under=under) as one:
        await one.play([minutes * MINUTE] * 10)
        marks = {orjson.dumps(body["messages"][0]["cache_control"]) for body in one.provider.bodies}
        assert len(marks) == 1
        assert one.sent == 6, "one for each gap once three are known"
        assert all(row.get("cache_write_tokens", 0) == 0 for row in one.told("warm_up"))


async def test_declared_volatile_text_moves_as_it_does_in_requests(tmp_path: Path):
    under = "prompt_cache: {warm: ['You*'], markers: always, ttl: 5m, volatile: ['Current time: .*']}"

    def ask(number: int) -> Body:
        return asked(number, f"You help.\nCurrent time: 12:{number:02}\n{words(4000)}")

    async with line(tmp_path, under=under) as one:
        await one.play(SIX_TO_EIGHT, ask)
        assert all(row["cached_tokens"] > 4000 for row in one.told("request")[5:])
        assert {row["cached_tokens"] > 4000 for row in one.told("warm_up")} == {True}


@pytest.mark.long
async def test_with_gaps_of_hours_it_stops_by_itself(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:10])
        sent = one.sent
        await one.wait(86_400)
        assert one.sent - sent <= 2
        await one.play([5 * 3600.0] * 80)
        assert one.sent - sent < 40
        before = one.sent
        await one.play([5 * 3600.0] * 20)
        assert one.sent == before, "of the newest 64 gaps none is one that a re-read could end"


async def test_where_requests_come_in_time_nothing_is_sent(tmp_path: Path):
    async with line(tmp_path, under="prompt_cache: {warm: ['You*'], markers: always}") as one:
        await one.play([3.5 * MINUTE] * 30)
        assert one.sent == 0


@pytest.mark.parametrize(
    ("under", "text"),
    [
        ("prompt_cache: {markers: always}", TEXT),
        ("prompt_cache: {warm: ['You are the sales agent*'], markers: always}", TEXT),
        ("mode: observe\nprompt_cache: {warm: ['You*']}", TEXT),
        ("mode: 'off'\nprompt_cache: {warm: ['You*']}", TEXT),
    ],
)
async def test_what_is_not_named_is_left_alone(tmp_path: Path, under: str, text: str):
    async with line(tmp_path, under=under) as one:
        await one.play(SIX_TO_EIGHT, partial(asked, text=text, mark=MARK))
        assert (one.sent, len(one.warm)) == (0, 0)


async def test_a_prefix_that_is_too_short_to_be_cached_is_never_read(tmp_path: Path):
    async with line(tmp_path, under="prompt_cache: {warm: ['You*'], markers: always}") as one:
        await one.play(SIX_TO_EIGHT, lambda number: {"messages": [system(f"You {words(900)}"), user(words(900))]})
        assert one.sent == 0


async def test_a_cache_that_reading_does_not_refresh_cannot_be_kept_warm(tmp_path: Path):
    async with line(tmp_path, "gemini") as one:
        await one.play([86_500.0] * 8)
        assert (one.sent, len(one.warm)) == (0, 0)


async def test_a_provider_that_reads_nothing_is_let_go_for_good(tmp_path: Path):
    believed = replace(facts_of("openai"), writes={86_400: Decimal(1)})
    async with line(tmp_path, "openai", facts=believed) as one:
        await one.play([86_500.0] * 12, partial(asked, prompt_cache_retention="in_memory"))
        assert one.sent == MOST_FAILURES
        assert all(row["miss"] == "provider_did_not" for row in one.told("warm_up"))


async def test_an_upstream_that_fails_three_times_is_let_go_until_a_request_comes(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:6])
        one.provider.fails, before = True, one.sent
        with capture_logs() as log:
            await one.wait(30 * MINUTE)
        assert one.sent - before == MOST_FAILURES
        assert {row["status"] for row in one.told("warm_up")[-MOST_FAILURES:]} == {"failed"}
        assert [entry["event"] for entry in log if entry["event"].startswith("warm-up failed")] == [
            *["warm-up failed"] * (MOST_FAILURES - 1),
            "warm-up failed, prefix let go",
        ]
        assert "You are" not in str(log)
        one.provider.fails = False
        await one.play(SIX_TO_EIGHT[:3])
        assert one.told("warm_up")[-1]["status"] == "answered"


async def test_a_fault_of_ours_costs_the_warm_ups_of_one_prefix_until_a_request_comes(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:6])
        one.provider.breaks, before = True, one.sent
        with capture_logs() as log:
            await one.wait(30 * MINUTE)
        assert one.sent - before == MOST_FAILURES == sum(entry["log_level"] == "error" for entry in log)
        assert {row["error"] for row in one.told("warm_up")[-MOST_FAILURES:]} == {"internal_error"}


@pytest.mark.long
async def test_of_two_workers_on_one_state_one_sends(tmp_path: Path):
    clock, state = Clock(), partial(open_state, config.StateSettings(dir=tmp_path / "state"))
    provider = Watched(clock)
    async with (
        line(tmp_path / "a", clock=clock, provider=provider, opens=state) as first,
        line(tmp_path / "b", clock=clock, provider=provider, opens=state, name="b") as second,
    ):
        shared = [sharing(state) for _ in "ab"]
        for name, shares, one in zip("ab", shared, (first, second), strict=True):
            share_prompt_caches(shares, one.gateway.prompt_caches, clock, name)
        for number in range(12):
            for _ in range(int(7 * MINUTE / 5)):
                await asyncio.gather(first.warm.turn(), second.warm.turn())
                for shares in shared:
                    await shares.exchange()
                clock.at += 5.0
            for worker in (first, second):
                await worker.send(asked(number))
        rows = [*first.told("warm_up"), *second.told("warm_up")]
        assert len(rows) == first.sent == 12 - 4, "once in each gap from the fifth on"
        assert all(row["cached_tokens"] > 4000 for row in second.told("request")[5:])
        for shares in shared:
            await shares.close()


async def test_while_the_state_is_down_nothing_is_sent(tmp_path: Path):
    def opens() -> State:
        raise StateUnavailable("scripted")

    async with line(tmp_path, opens=opens) as one:
        await one.play(SIX_TO_EIGHT)
        assert one.sent == 0


async def test_a_request_never_waits_for_a_warm_up(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:6])
        one.provider.gate.clear()
        one.replay.clock.at += 4.5 * MINUTE
        turn = asyncio.create_task(one.warm.turn())
        while not one.sent > 2:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(one.send(asked(99)), 5)
        assert not turn.done()
        one.provider.gate.set()
        await turn


async def test_a_stop_ends_what_is_under_way_and_enters_it(tmp_path: Path):
    async with line(tmp_path) as one:
        await one.play(SIX_TO_EIGHT[:6])
        one.provider.gate.clear()
        one.replay.clock.at += 4.5 * MINUTE
        before = one.sent
        one.warm.open()
        while one.sent == before:
            await asyncio.sleep(0.001)
    assert [row["status"] for row in one.told("warm_up")][-1] == "cancelled"


async def test_it_sleeps_until_the_next_is_due_and_never_long(tmp_path: Path):
    under = "prompt_cache: {warm: ['You*'], markers: always, ttl: 5m, every: 1m}"
    async with line(tmp_path, under=under) as one:
        assert await one.warm.turn() == LONGEST_SLEEP
        await one.play([2.0] * 3)
        one.replay.clock.at += 145.0
        assert await one.warm.turn() == pytest.approx(5.0)


@pytest.mark.long
async def test_the_longest_unused_of_too_many_prefixes_goes_first(tmp_path: Path):
    async with line(tmp_path, "openai") as one:
        for number in range(MOST_PREFIXES + 5):
            await one.send(asked(number, f"You are number {number}. {words(1200)}", prompt_cache_key="all"))
        assert len(one.warm) == 0, "none of them is named"
    async with line(tmp_path, "openai", "prompt_cache: {warm: ['You are number*']}") as one:
        for number in range(MOST_PREFIXES + 5):
            await one.send(asked(number, f"You are number {number}. {words(1200)}"))
        assert len(one.warm) == MOST_PREFIXES

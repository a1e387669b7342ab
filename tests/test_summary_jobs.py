"""Summaries over real sockets: they enter at the fold after they were written, stay as they are, and cost nobody time.

What the writing model does stands in each policy's prompt, where the scripted provider reads it.
"""

import asyncio
import json
import shutil
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway import config
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Summarize
from gateway.rewriting import ours
from gateway.rewriting.folds.summarize import Event, Segment, SummaryFacts
from gateway.rewriting.plan import Plan, Refusal
from gateway.state import StateUnavailable, open_state
from gateway.state.disk import DiskState
from gateway.summaries.jobs import (
    CONFIRM_SECONDS,
    DOWN_SECONDS,
    MOST_FAILURES,
    REST_SECONDS,
    InlineWait,
    Job,
    NoSummary,
    SummaryJobs,
)
from gateway.summaries.store import DECISIONS
from tests import redis_server
from tests.contract.running import (
    Gateway,
    Upstream,
    eventually,
    model,
    running_gateway,
    running_upstream,
    wait_for,
    write_setup,
)
from tests.sharing import at, store
from tests.upstream.script import mark

PARTS = ", ".join(f"{turn}-{number}" for turn in range(2) for number in range(9))
TEXT = f"The plan was gone through part by part, beginning with parts {PARTS}; the questions about them are settled."
WOOD = "The workshop chooses its wood in winter, ages it for years and joins it by hand, as each answer says."
SCRIPTS: dict[str, dict[str, Any]] = {
    "good": {"text": TEXT},
    "slow": {"text": TEXT, "delay": 2.5},
    "failing": {"status": 500},
    "nonsense": {"garbage": True},
    "empty": {"text": " "},
    "longer": {"words": 9000},
    "refusing": {"text": "I'm sorry, but I can't help with that."},
    "talking": {"text": f"Sure! {TEXT}"},
    "thinking": {"text": f"<think>Let me see.</think>{TEXT}"},
    "foreign": {"text": f"Der Plan wurde Teil für Teil besprochen, und die Fragen sind mit {PARTS} nicht mehr offen."},
}
WAITING: dict[str, dict[str, Any]] = {
    "waiting": {"text": TEXT, "delay": 0.3},
    "late": {"text": TEXT, "delay": 5},
    "parted": {"text": WOOD},
}
"""Writers of policies under which requests wait."""


def policies(folder: Path) -> dict[str, dict[str, Any]]:
    """One policy for each way the writer may behave, and one without summaries; all else is the same."""
    bare = {"context_window": 6000, "reserve": {"output": 0, "margin": 0}}
    out: dict[str, dict[str, Any]] = {"plain": {"name": "plain", **bare}}
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    for name, script in (SCRIPTS | WAITING).items():
        (folder / "policies" / f"{name}.txt").write_text(f"Sum this up. {unread(f'sum-{name}', script)}")
        told = {
            "enabled": True,
            "model": "small-writer" if name == "parted" else "writer",
            "timeout": "1s" if name in ("slow", "late") else "5s",
            "prompt": f"{name}.txt",
            "run": "inline" if name in WAITING else "background",
        }
        out[name] = {"name": name, **bare, "summarize": told}
    return out


def unread(id: str, script: dict[str, Any]) -> str:
    """Write the instruction so that its text is no part of the prompt: a writer that gives that back is refused."""
    said = mark(id=id, **script)
    text = json.dumps(script.get("text", ""))[1:-1]
    return (
        said.replace(text, "".join(f"\\u{ord(char):04x}" for char in json.loads(f'"{text}"'))) if text.strip() else said
    )


def setup(folder: Path, upstream: Upstream, state: dict[str, str]) -> Path:
    named = policies(folder)
    settings = {
        "server": {"host": "127.0.0.1", "port": 0, "max_body": "4MB"},
        "model_list": [
            model("gpt-5", "gpt-5", upstream.url),
            model("writer", "gpt-5-mini", upstream.url),
            model("small-writer", "gpt-5-mini", upstream.url) | {"model_info": {"max_input_tokens": 2400}},
        ],
        "teams": {name: {"policy": name} for name in named},
        "keys": [{"name": n, "sha256": sha256(f"sk-{n}".encode()).hexdigest(), "team": n} for n in named],
        "policies": "policies",
        "default_policy": "plain",
        "state": {"timeout": "2s", **state},
        "ledger": {"dir": "ledger"},
    }
    return write_setup(folder, settings, named)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, upstream: Upstream) -> Iterator[Gateway]:
    with running_gateway(setup(tmp_path, upstream, {"dir": "state"})) as running:
        yield running


# ---------------------------------------------------------------- a conversation that grows


def said(turn: int) -> list[dict[str, str]]:
    words = " ".join(f"part {turn}-{number} of the plan," for number in range(40))
    return [
        {"role": "user", "content": f"Question {turn}: {words}"},
        {"role": "assistant", "content": f"Gone through, the questions about them settled: {words}"},
    ]


def said_of_wood(turn: int) -> list[dict[str, str]]:
    asked = f"Question {turn}: how does the workshop choose its wood, how does it age, and how is it joined? " * 8
    answer = f"Answer {turn}: the wood is chosen in winter, aged for years and joined by hand in the workshop. " * 8
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def body(id: str, turns: int, says: Callable[[int], list[dict[str, str]]] = said) -> bytes:
    """The request of one turn. Its id is told in metadata, which no summary ever sees."""
    messages = [message for turn in range(turns) for message in says(turn)]
    messages += [{"role": "user", "content": f"Question {turns}: go on."}]
    return json.dumps({"model": "gpt-5", "messages": messages, "metadata": {"id": id}, "user": "ann"}).encode()


def ask(gateway: Gateway, team: str, request: bytes) -> float:
    """Send a request and insist on its being served; the seconds it took."""
    sent = urllib.request.Request(
        f"{gateway.url}/chat/completions",
        request,
        {"authorization": f"Bearer sk-{team}", "content-type": "application/json"},
    )
    started = time.perf_counter()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=30) as answer:
        assert answer.status == 200
        assert json.loads(answer.read())["choices"]
    return time.perf_counter() - started


def messages(upstream: Upstream, id: str, call: int = 0) -> list[str]:
    return [message["content"] for message in json.loads(upstream.received(id, call))["messages"]]


def is_summary(text: str) -> bool:
    return ours.SUMMARY in text.partition("\n")[0]


def summaries(gateway: Gateway) -> list[dict[str, Any]]:
    return [row for row in gateway.rows() if row["event"] == "settled" and row["kind"] == "summary"]


def is_writing(gateway: Gateway) -> bool:
    rows = [row for row in gateway.rows() if row.get("kind") == "summary"]
    return sum(1 if row["event"] == "opened" else -1 for row in rows) > 0


def grown(gateway: Gateway, upstream: Upstream, name: str, *, team: str = "good", most: int = 60) -> int:
    """Let a conversation grow until a summary stands in it; the number of turns it has then."""
    for turns in range(1, most):
        ask(gateway, team, body(f"{name}-{turns}", turns))
        if any(map(is_summary, messages(upstream, f"{name}-{turns}"))):
            return turns
        if is_writing(gateway):
            wait_for(lambda: not is_writing(gateway), what="a summary's entry")
            time.sleep(0.05)  # its text is kept right after its entry
    raise AssertionError(f"no summary entered within {most} turns:\n{gateway.program.log}")


# ---------------------------------------------------------------- what is promised


def test_a_summary_enters_at_a_later_fold_and_is_booked_like_any_request(gateway: Gateway, upstream: Upstream) -> None:
    turns = grown(gateway, upstream, "enters")
    for more in range(turns, turns + 3):
        ask(gateway, "good", body(f"enters-{more}", more))
        stands = messages(upstream, f"enters-{more}")
        at = next(index for index, text in enumerate(stands) if is_summary(text))
        assert stands[at].endswith(f'"{TEXT}"')
        assert at > 0, "behind what stands for the same messages"
    row = summaries(gateway)[0]
    assert (row["status"], row["team"], row["user"], row["model"]) == ("answered", "good", "ann", "writer")
    assert row["policy"].startswith("good@")
    assert row["cost_nanousd"] > 0
    assert sum(one["event"] == "opened" and one["id"] == row["id"] for one in gateway.rows()) == 1
    books = b"".join(file.read_bytes() for file in gateway.ledger.iterdir())
    assert b"part by part" not in books
    assert b"part by part" not in gateway.program.log.encode()
    asked = json.loads(upstream.received("sum-good"))
    assert asked["max_completion_tokens"] >= 40
    assert "part 0-0 of the plan" in asked["messages"][-1]["content"]


@contextmanager
def shared(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """The state as a config names it: a folder, or a real Redis."""
    if kind == "disk":
        yield {"dir": "state"}
    else:
        with redis_server.running(folder) as url:
            yield {"redis": url}


@pytest.mark.parametrize("kind", ["disk", "redis"])
def test_what_entered_is_the_same_bytes_in_another_process_and_after_a_restart(
    kind: str, tmp_path: Path, upstream: Upstream
) -> None:
    (tmp_path / "redis").mkdir()
    with shared(kind, tmp_path / "redis") as state:
        path = setup(tmp_path, upstream, state)
        with running_gateway(path) as first:
            turns = grown(first, upstream, kind)
            asked = [(f"{kind}-{number}", number) for number in range(turns - 4, turns + 1)]
            with running_gateway(path) as second:
                for id, number in reversed(asked):
                    ask(second, "good", body(id, number))
        with running_gateway(path) as restarted:
            for id, number in asked:
                ask(restarted, "good", body(id, number))
    for id, _ in asked:
        assert len({upstream.received(id, call) for call in range(3)}) == 1
    assert any(map(is_summary, messages(upstream, asked[-1][0])))


def test_with_an_empty_state_a_request_leaves_as_without_summaries(tmp_path: Path, upstream: Upstream) -> None:
    with running_gateway(setup(tmp_path, upstream, {"dir": "state"})) as running:
        ask(running, "good", body("empty", 45))
        ask(running, "plain", body("empty", 45))
    assert upstream.received("empty", 0) == upstream.received("empty", 1)


def test_a_state_that_is_down_costs_the_summaries_only_and_the_books_say_so(tmp_path: Path, upstream: Upstream) -> None:
    path = setup(tmp_path, upstream, {"redis": "redis://127.0.0.1:1/0"})
    with running_gateway(path) as running:
        ask(running, "good", body("down", 45))
        ask(running, "plain", body("down", 45))
        assert upstream.received("down", 0) == upstream.received("down", 1)
        rows = [row for row in running.rows() if row["event"] == "settled"]
    assert all(row["decision_lost"] for row in rows), "folds may have been decided as well"
    assert all(row["kind"] == "request" for row in rows)


LATER_SECONDS = 0.02


@pytest.mark.parametrize("fault", [name for name in SCRIPTS if name != "good"])
def test_whatever_the_writer_does_requests_are_served_as_without_and_no_later(
    fault: str, gateway: Gateway, upstream: Upstream
) -> None:
    took: dict[str, list[float]] = {fault: [], "plain": []}
    for turns in range(1, 36):
        for call, team in enumerate((fault, "plain")):
            took[team].append(ask(gateway, team, body(f"{fault}-{turns}", turns)))
            assert call < 1 or upstream.received(f"{fault}-{turns}", 0) == upstream.received(f"{fault}-{turns}", 1)
    assert statistics.median(took[fault]) < statistics.median(took["plain"]) + LATER_SECONDS
    failed = wait_for(lambda: summaries(gateway), 20, "the entry of a summary that failed")
    assert failed[0]["status"] == ("failed" if fault in {"slow", "failing", "nonsense"} else "answered")
    assert "summary failed" in wait_for(lambda: gateway.program.log if "summary failed" in gateway.program.log else "")
    for index, row in enumerate(failed):
        assert row["team"] == fault, index


def test_a_summary_stands_through_every_later_fold(gateway: Gateway, upstream: Upstream) -> None:
    turns = grown(gateway, upstream, "stays")
    for more in range(turns, turns + 24, 2):
        ask(gateway, "good", body(f"stays-{more}", more))
        assert any(map(is_summary, messages(upstream, f"stays-{more}"))), more


def test_where_requests_wait_already_the_first_fold_has_a_summary(gateway: Gateway, upstream: Upstream) -> None:
    for turns in range(1, 30):
        took = ask(gateway, "waiting", body(f"waiting-{turns}", turns))
        stands = messages(upstream, f"waiting-{turns}")
        if len(stands) < 2 * turns + 1:
            break
    assert any(map(is_summary, stands)), "at the first fold"
    assert took > 0.3
    assert ask(gateway, "waiting", body(f"waiting-{turns}", turns)) < took
    assert upstream.received(f"waiting-{turns}", 0) == upstream.received(f"waiting-{turns}", 1)
    assert [row["status"] for row in summaries(gateway)] == ["answered"]


def test_that_a_summary_did_not_come_in_time_is_decided_for_all(tmp_path: Path, upstream: Upstream) -> None:
    path = setup(tmp_path, upstream, {"dir": "state"})
    with running_gateway(path) as first:
        took = ask(first, "late", body("late", 45))
        assert 1 < took < 5
        with running_gateway(path) as second:
            assert ask(second, "late", body("late", 45)) < 1
        ask(first, "plain", body("late", 45))
    assert len({upstream.received("late", call) for call in range(3)}) == 1
    assert not any(map(is_summary, messages(upstream, "late")))


def test_a_source_longer_than_the_writers_window_is_read_in_parts_each_in_the_books(
    gateway: Gateway, upstream: Upstream
) -> None:
    ask(gateway, "parted", body("parted", 45, said_of_wood))
    rows = summaries(gateway)
    calls = [json.loads(upstream.received("sum-parted", call)) for call in range(len(rows))]
    assert len(rows) > 2
    assert len({row["id"] for row in rows}) == len(rows)
    assert any("Answer 0: the wood is chosen" in call["messages"][-1]["content"] for call in calls)
    assert calls[-1]["messages"][-1]["content"].count(WOOD) == len(rows) - 1
    assert any(map(is_summary, messages(upstream, "parted")))


def test_a_stop_ends_what_is_being_written_and_enters_it(tmp_path: Path, upstream: Upstream) -> None:
    path = setup(tmp_path, upstream, {"dir": "state"})
    with running_gateway(path) as running:
        ask(running, "slow", body("stopped", 45))
        wait_for(lambda: [row for row in running.rows() if row.get("kind") == "summary"], what="a summary begun")
        running.program.stop()
        assert [row["status"] for row in summaries(running)] == ["cancelled"]
        assert not running.program.tracebacks


# ---------------------------------------------------------------- one process's share, without a gateway around it


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Writer:
    """Writes what it is told to, and keeps which segments it was asked for."""

    def __init__(self, text: str | None = TEXT) -> None:
        self.text, self.asked = text, list[str]()
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def __call__(self, job: Job) -> str:
        self.asked.append(job.segment.key)
        await self.may_go.wait()
        if self.text is None:
            raise NoSummary("scripted")
        return self.text


@asynccontextmanager
async def worker(folder: Path, writer: Writer, clock: Clock) -> AsyncIterator[SummaryJobs]:
    way = store(at(folder))
    made = SummaryJobs(way, structlog.get_logger(), clock, clock)
    made.set_writer(writer)
    try:
        yield made
    finally:
        await made.close()
        await way.close()


def job(key: str) -> Job:
    policy = Policy("p", summarize=Summarize(enabled=True))
    return Job(Segment(key, (0,), 1000, 100), (), "writer", policy, Counter("o200k_base"), "bot", "team", None)


async def done(summaries: SummaryJobs) -> None:
    await eventually(lambda: not summaries._jobs, what="the jobs")


async def settled(summaries: SummaryJobs, *candidates: str, waiting: InlineWait | None = None) -> tuple[str, ...]:
    """Settle a plan with one fold, which takes in all that is there; the decision that it came to."""

    async def planning(facts: SummaryFacts) -> Plan | Refusal:
        decided = facts.decisions.get("p")
        found = [(key, text) for key in candidates if (text := facts.texts.get(key)) is not None]
        entered = tuple(pair for pair in found if decided is None or pair[0] in decided)
        wanted = tuple(job(key).segment for key in candidates if facts.texts.get(key) is None)
        return Plan({}, {}, {}, events=(Event("p", candidates, entered),), wanted=wanted)

    plan, lost = await summaries.plan_with_state(planning, "writer", waiting)
    assert isinstance(plan, Plan)
    assert not lost
    return plan.events[0].decision


async def test_one_segment_is_written_once_whoever_asks_how_often(tmp_path: Path) -> None:
    clock, here, there = Clock(), Writer(), Writer()
    here.may_go.clear()
    async with worker(tmp_path, here, clock) as first, worker(tmp_path, there, clock) as second:
        first.ask(job("a"))
        first.ask(job("a"))
        await eventually(lambda: here.asked)
        second.ask(job("a"))
        await done(second)
        here.may_go.set()
        await done(first)
        clock.at += DOWN_SECONDS
        second.ask(job("a"))
        await done(second)
        assert (here.asked, there.asked) == (["a"], [])
        assert await settled(second, "a") == ("a",)


async def test_a_job_whose_process_died_is_done_by_another_once_its_lease_is_over(tmp_path: Path) -> None:
    clock, dead, alive = Clock(), Writer(), Writer()
    async with worker(tmp_path, dead, clock) as first, worker(tmp_path, alive, clock) as second:
        assert await first._store.run(partial(first._take, "a", 8.0)) == "ours"
        clock.at += 60
        second.ask(job("a"))
        await done(second)
        assert not alive.asked
        clock.at += 60
        second.ask(job("a"))
        await done(second)
        assert alive.asked == ["a"]


async def test_three_failures_in_a_row_switch_it_off_for_a_while(tmp_path: Path) -> None:
    clock, writer = Clock(), Writer(None)
    with capture_logs() as log:
        async with worker(tmp_path, writer, clock) as summaries:
            for number in range(6):
                summaries.ask(job(f"{number}"))
                await done(summaries)
            assert len(writer.asked) == MOST_FAILURES
            clock.at += REST_SECONDS
            writer.text = TEXT
            for number in range(6):
                summaries.ask(job(f"{number}"))
                await done(summaries)
            assert len(writer.asked) == MOST_FAILURES + 6
    assert sum(line["event"] == "no summaries for a while" for line in log) == 1


async def test_a_segment_that_failed_is_left_alone_by_everybody(tmp_path: Path) -> None:
    clock, failing, other = Clock(), Writer(None), Writer()
    async with worker(tmp_path, failing, clock) as first, worker(tmp_path, other, clock) as second:
        first.ask(job("a"))
        await done(first)
        for summaries in (first, second):
            summaries.ask(job("a"))
            await done(summaries)
        assert (failing.asked, other.asked) == (["a"], [])


async def test_what_a_fold_took_in_is_decided_once_for_all(tmp_path: Path) -> None:
    clock, writer = Clock(), Writer()
    async with worker(tmp_path, writer, clock) as first, worker(tmp_path, writer, clock) as second:
        first.ask(job("a"))
        await done(first)
        assert await settled(second, "a", "b") == ("a",)
        first.ask(job("b"))
        await done(first)
        assert await settled(first, "a", "b") == ("a",)
    async with worker(tmp_path, writer, clock) as later:
        assert await settled(later, "a", "b") == ("a",)


async def test_a_fold_that_found_nothing_stays_without_though_the_summary_comes_later(tmp_path: Path) -> None:
    clock, writer = Clock(), Writer()
    async with worker(tmp_path, writer, clock) as first, worker(tmp_path, writer, clock) as second:
        assert await settled(first, "a") == ()
        first.ask(job("a"))
        await done(first)
        assert await settled(second, "a") == ()
        assert await settled(first, "a") == ()


async def test_of_two_who_decide_at_once_the_first_to_record_it_is_followed(tmp_path: Path) -> None:
    clock, writer = Clock(), Writer()
    async with worker(tmp_path, writer, clock) as first, worker(tmp_path, writer, clock) as second:
        first.ask(job("a"))
        await done(first)
        decided = await asyncio.gather(*(settled(one, "a") for one in (first, second, first, second)))
        assert len(set(decided)) == 1


class Overtaken(DiskState):
    """A state in which another process decides right before this one would."""

    def put_first(self, values: Sequence[tuple[str, bytes]], expires_seconds: float) -> list[bytes]:
        """Put values, once the other has written its summary and decided that it enters."""
        if values[0][0] == "decision/p":
            self.put("summary/a", TEXT.encode())
            self.put("decision/p", b"a")
        return super().put_first(values, expires_seconds)


async def test_who_is_overtaken_takes_in_what_the_other_decided_on(tmp_path: Path) -> None:
    clock = Clock()
    way = store(lambda: Overtaken(tmp_path))
    summaries = SummaryJobs(way, structlog.get_logger(), clock, clock)
    assert await settled(summaries, "a") == ("a",)
    await summaries.close()
    await way.close()


async def test_a_request_that_waits_takes_in_what_another_process_writes(tmp_path: Path) -> None:
    here, there, time = Writer(), Writer(), asyncio.get_running_loop().time
    here.may_go.clear()
    ways = [store(at(tmp_path)) for _ in range(2)]
    first, second = (SummaryJobs(way, structlog.get_logger(), time, time) for way in ways)
    first.set_writer(here)
    second.set_writer(there)
    first.ask(job("a"))
    await eventually(lambda: here.asked)
    asyncio.get_running_loop().call_later(0.3, here.may_go.set)
    waiting = InlineWait(lambda segment: job(segment.key), 5.0)
    assert await settled(second, "a", waiting=waiting) == ("a",)
    assert there.asked == []
    for made in (first, second):
        await made.close()
    for way in ways:
        await way.close()


async def test_nobody_waits_for_what_failed_a_moment_ago(tmp_path: Path) -> None:
    time = asyncio.get_running_loop().time
    async with worker(tmp_path, Writer(None), Clock()) as failing:
        failing.ask(job("a"))
        await done(failing)
    way = store(at(tmp_path))
    other = SummaryJobs(way, structlog.get_logger(), Clock(), time)
    other.set_writer(Writer())
    started = time()
    assert await settled(other, "a", waiting=InlineWait(lambda segment: job(segment.key), 5.0)) == ()
    assert time() - started < 2
    await other.close()
    await way.close()


async def test_a_state_that_does_not_answer_is_left_alone_for_a_while() -> None:
    opened = 0

    def opens() -> Any:
        nonlocal opened
        opened += 1
        raise StateUnavailable("scripted")

    async def planning(facts: SummaryFacts) -> Plan | Refusal:
        return Plan({}, {}, {}, events=(Event("p", ("a",), ()),))

    way = store(opens, rest_seconds=0.3)
    summaries = SummaryJobs(way, structlog.get_logger(), Clock(), Clock())
    for _ in range(3):
        assert (await summaries.plan_with_state(planning, "writer"))[1]
    assert opened == 1
    await eventually(lambda: opened > 1, 5, "a look at it, behind the requests")
    await summaries.close()
    await way.close()


async def test_what_is_remembered_needs_no_state(tmp_path: Path) -> None:
    is_up = True

    class GoesDown(DiskState):
        def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
            if not is_up:
                raise StateUnavailable("scripted")
            return super().get_many(keys)

    way, clock = store(lambda: GoesDown(tmp_path)), Clock()
    summaries = SummaryJobs(way, structlog.get_logger(), clock, clock)
    summaries.set_writer(Writer())
    summaries.ask(job("a"))
    await done(summaries)
    assert await settled(summaries, "a", "b") == ("a",)
    is_up = False
    assert await settled(summaries, "a", "b") == ("a",), "and not lost"
    await summaries.close()
    await way.close()


async def test_a_state_that_was_emptied_gets_back_what_a_process_remembers(tmp_path: Path) -> None:
    clock = Clock()
    async with worker(tmp_path, Writer(), clock) as first:
        first.ask(job("a"))
        await done(first)
        assert await settled(first, "a", "b") == ("a",)
        shutil.rmtree(tmp_path)
        await settled(first, "a", "b")
        await eventually(lambda: not first._confirming, 5)
    async with worker(tmp_path, Writer(), clock) as second:
        assert await settled(second, "a", "b") == ("a",)


async def test_where_another_process_decided_otherwise_all_come_to_the_same(tmp_path: Path) -> None:
    clock, state = Clock(), open_state(config.StateSettings(dir=tmp_path))
    async with worker(tmp_path, Writer(), clock) as summaries:
        summaries.ask(job("a"))
        await done(summaries)
        assert await settled(summaries, "a") == ("a",)
        state.put("decision/p", DECISIONS.write(()))
        clock.at += CONFIRM_SECONDS
        await settled(summaries, "a")
        await eventually(lambda: not summaries._confirming, 5)
        assert await settled(summaries, "a") == ()
    state.close()


@pytest.mark.parametrize("raw", [b"\xff\xfe", b'{"v":2,"is":["a"]}', b'{"v":1,"is":7}', b"not; names"])
async def test_a_decision_that_is_not_understood_is_made_anew(tmp_path: Path, raw: bytes) -> None:
    state, clock = open_state(config.StateSettings(dir=tmp_path)), Clock()
    state.put("decision/p", raw)
    state.put("summary/b", raw.replace(b"n", b"\0"))
    async with worker(tmp_path, Writer(), clock) as summaries:
        summaries.ask(job("a"))
        await done(summaries)
        assert await settled(summaries, "a", "b") == ("a",)
    assert DECISIONS.read(state.get("decision/p") or b"") == ("a",)
    state.close()

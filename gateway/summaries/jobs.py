"""Summaries between requests: the summaries and decisions in the shared state, and the jobs that write summaries.

A request waits for no summary; with `run: inline` it waits for one, no longer than the policy allows. The decision of a
fold is recorded in the state before anything is sent, and never changed, so that every process sends the same bytes.
This process remembers decisions. It does not ask for them again, but compares them with the state from time to time,
after a request. If the state is empty or down, there are no other summaries, as if the policy had none. Contents stay
in the state, under hashes. The ledger and the log hold none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.budget.tokens import Counter
from gateway.config.policy import Policy
from gateway.conversation import Message
from gateway.memory import USUAL, Memory
from gateway.rewriting.folds.summarize import Event, Segment, SummaryFacts
from gateway.rewriting.plan import Plan, Refusal
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec
from gateway.state.store import Patience, Store
from gateway.summaries.store import (
    DECISIONS,
    LEASES,
    TEXTS,
    EmptyIfUnknown,
    Knowledge,
    Lease,
    Snapshot,
    StateValue,
    decision_key,
    lease_key,
    read_value,
    text_key,
)

MOST_ROUNDS: Final = 64
"""The most plans for one request. Each but the last one found a value that one more fold needs. There is one plan, or
two if a fold is due, unless a process sees a long conversation for the first time.
"""
MOST_JOBS: Final = 4
"""Summaries written at a time, by one process."""
MOST_WAITING: Final = 64
"""Jobs that may wait for that. Further ones are asked for again by a later request."""
KEEP_SECONDS: Final = 90 * 86_400.0
"""The time for which summaries and decisions are kept."""
LEASE_SECONDS: Final = 60.0
"""Time beyond the policy's timeout, after which another process may do the job of one that died."""
REST_SECONDS: Final = 300.0
"""The pause for a segment whose summary failed, and for all summaries after `MOST_FAILURES`."""
MOST_FAILURES: Final = 3
"""In a row, of one policy and model."""
DOWN_SECONDS: Final = 5.0
"""The pause for a segment that another process writes, or while the state does not answer."""
CONFIRM_SECONDS: Final = 60.0
"""The time between two comparisons of remembered values with the state. A state that was emptied gets them back."""
RELEASE_SECONDS: Final = 0.5
"""The time that the end of the program waits to release the leases of cancelled jobs."""
_MOST_KEPT: Final = 1000
POLL_SECONDS: Final = 0.1
"""The time between two questions of a waiting request for a summary that another process writes."""

V = TypeVar("V")
Planning = Callable[[SummaryFacts], Awaitable[Plan | Refusal]]
PlanningWithout = Callable[[None], Awaitable[Plan | Refusal]]


@dataclass(frozen=True, slots=True)
class Job:
    """A summary to be written, and the owner of its cost."""

    segment: Segment
    messages: tuple[Message, ...]
    """The originals."""
    model: str
    policy: Policy
    counter: Counter
    """Counts as the request's budget does."""
    key: str
    team: str
    user: str | None
    tags: Sequence[str] = ()

    @property
    def breaker_key(self) -> tuple[str, str]:
        return str(self.policy), self.model


class NoSummary(Exception):
    """The model wrote no usable summary. The message says why, and holds nothing of its text."""


Write = Callable[[Job], Awaitable[str]]
"""Writes a summary. Raises NoSummary."""


@dataclass(frozen=True, slots=True)
class InlineWait:
    """The wait of a request for the summary of the messages that its own fold leaves out."""

    job: Callable[[Segment], Job]
    seconds: float
    """At most, for all summaries of this request."""


@dataclass(slots=True)
class _Breaker:
    """Failures in a row of one policy and model."""

    failures: int = 0
    rests_until: float = 0.0


class NoSummaries:
    """The summary jobs of a process that has none: nobody waits for a summary, and no request is planned with one."""

    def set_writer(self, write: Write) -> None:
        pass

    async def close(self) -> None:
        pass

    def patience(self) -> Patience:
        return Patience(0.0)

    async def plan_with_state(
        self, planning: PlanningWithout, model: str, waiting: InlineWait | None = None, patience: Patience | None = None
    ) -> tuple[Plan | Refusal, bool]:
        return await planning(None), False

    def ask(self, job: Job) -> None:
        pass


NO_SUMMARIES: Final = NoSummaries()


class SummaryJobs:
    """The summary jobs of one process."""

    def __init__(
        self,
        store: Store,
        log: FilteringBoundLogger,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        most_bytes: int = USUAL.bytes_for("summaries"),
    ) -> None:
        """Create the jobs. `now` is in Unix seconds, which machines share."""
        self._store, self._log, self._now, self._monotonic = store, log, now, monotonic
        self._write: Write | None = None
        self._texts: Memory[str, str] = Memory(2 * most_bytes // 3)
        self._decisions: Memory[str, tuple[str, ...]] = Memory(most_bytes // 3)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MOST_JOBS)
        self._left_alone: dict[str, float] = {}
        self._elsewhere: dict[str, float] = {}
        """Segments whose summary another process writes, with the time until which that is believed."""
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._cut: list[str] = []
        """Segments whose job was cancelled at the end."""
        self._confirmed: dict[str, float] = {}
        """Name → the time until which its remembered value need not be compared with the state."""
        self._confirming: set[asyncio.Task[None]] = set()

    def set_writer(self, write: Write) -> None:
        """Set the function that writes summaries. Before that, none are written."""
        self._write = write

    async def close(self) -> None:
        """Cancel the jobs under way, wait for their ledger entries, and release their leases."""
        self._write = None
        jobs = [*self._jobs.values(), *self._confirming]
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)
        if self._cut:
            with contextlib.suppress(StateUnavailable, TimeoutError):
                await asyncio.wait_for(self._store.run(self._give_back), RELEASE_SECONDS)

    # ------------------------------------------------------------ planning with what is known

    def patience(self) -> Patience:
        """Return the time that one request waits for the state, in all."""
        return self._store.patience()

    async def plan_with_state(
        self, planning: Planning, model: str, waiting: InlineWait | None = None, patience: Patience | None = None
    ) -> tuple[Plan | Refusal, bool]:
        """Plan with the known summaries and record the decisions. Return the plan, and True if the state was
        unavailable.

        Remembered values are used without asking the state. So a conversation asks the state when it folds, not at each
        request. With `waiting`, a fold without a decision waits once for its summary. Then it is decided, with or
        without the summary.
        """
        knowledge, patience = Knowledge(Snapshot(self._texts), Snapshot(self._decisions)), patience or self.patience()
        try:
            plan = await self._plan_until_recorded(planning, model, waiting, patience, knowledge)
        except StateUnavailable:
            return await planning(SummaryFacts(knowledge.texts, EmptyIfUnknown(knowledge.decisions), model)), True
        self._confirm(knowledge.from_memory())
        return plan, False

    async def _plan_until_recorded(
        self, planning: Planning, model: str, waiting: InlineWait | None, patience: Patience, knowledge: Knowledge
    ) -> Plan | Refusal:
        """Plan until the plan agrees with all known and recorded decisions. Raises StateUnavailable."""
        facts = SummaryFacts(knowledge.texts, knowledge.decisions, model)
        for _ in range(MOST_ROUNDS):
            plan = await planning(facts)
            if not isinstance(plan, Plan) or not plan.events:
                return plan
            missing = knowledge.missing(plan.events)
            if missing and knowledge.take(await self._store.soon(partial(self._get, missing), patience)):
                continue
            undecided = knowledge.undecided(plan.events)
            if waiting is not None and (segment := _due(undecided, plan.wanted)) is not None:
                text = await self._await_summary(waiting.job(segment), waiting.seconds)
                waiting = None
                if text is not None and knowledge.texts.take(segment.key, text, 2 * len(text)):
                    continue
            if undecided:
                knowledge.take(await self._store.soon(partial(self._record, undecided), patience))
            if all(knowledge.decisions.get(event.prefix) == event.decision for event in plan.events):
                return plan
            if not undecided and not knowledge.missing(plan.events):
                return plan
        raise StateUnavailable("what is decided changes faster than it can be planned with")

    async def _await_summary(self, job: Job, seconds: float) -> str | None:
        """Have a summary written and wait for it; None if it did not come in time. Raises StateUnavailable."""
        key, until = job.segment.key, self._monotonic() + seconds
        self.ask(job)
        while (left := until - self._monotonic()) > 0:
            if (task := self._jobs.get(key)) is not None:
                await asyncio.wait([task], timeout=left)
            if (text := self._texts.get(key)) is not None:
                return text
            if self._elsewhere.get(key, 0.0) <= self._monotonic():
                return None
            await asyncio.sleep(min(left, POLL_SECONDS))
            with contextlib.suppress(TimeoutError):
                [one] = await asyncio.wait_for(self._store.run(partial(self._get, [text_key(key)])), max(left, 0.001))
                if one.text is not None:
                    return one.text
        return None

    # ------------------------------------------------------------ comparing with the state, behind the request

    def _confirm(self, from_memory: Sequence[StateValue]) -> None:
        """Compare the remembered values of a plan with the state, unless they were compared a moment ago."""
        now = self._monotonic()
        due = [one for one in from_memory if self._confirmed.get(one.name, 0.0) <= now]
        if not due or self._store.is_down:
            return
        self._confirmed = _pruned(self._confirmed, now)
        self._confirmed |= {one.name: now + CONFIRM_SECONDS for one in due}
        task = asyncio.get_running_loop().create_task(self._compare(due))
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)

    async def _compare(self, due: Sequence[StateValue]) -> None:
        with contextlib.suppress(StateUnavailable):
            others = Knowledge(Snapshot(self._texts), Snapshot(self._decisions))
            others.take(await self._store.run(partial(self._compared, due)))

    # ------------------------------------------------------------ jobs

    def ask(self, job: Job) -> None:
        """Start a job for a summary in the background, unless it exists, is under way, or pauses."""
        key, now = job.segment.key, self._monotonic()
        if self._write is None or key in self._jobs or len(self._jobs) >= MOST_WAITING + MOST_JOBS:
            return
        if self._texts.get(key) is not None or now < self._left_alone.get(key, 0.0) or self._store.is_down:
            return
        breaker = self._breakers.get(job.breaker_key)
        if breaker is not None and now < breaker.rests_until:
            return
        task = asyncio.get_running_loop().create_task(self._do(job, self._write))
        self._jobs[key] = task
        task.add_done_callback(partial(self._done, key))

    def _done(self, key: str, task: asyncio.Task[None]) -> None:
        """Forget a job. Nobody waits for it, so an unhandled fault goes to the log."""
        self._jobs.pop(key, None)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._leave_alone(key, REST_SECONDS)
            self._log.error("summary failed", exc_info=fault)

    async def _do(self, job: Job, write: Write) -> None:
        key = job.segment.key
        async with self._slots:
            if self._monotonic() < self._breaker(job).rests_until:
                return
            try:
                whose = await self._store.run(partial(self._take, key, job.policy.summarize.timeout))
                if whose != "ours":
                    self._leave_alone(key, DOWN_SECONDS)
                    if whose == "others":
                        self._elsewhere = _pruned(self._elsewhere, self._monotonic())
                        self._elsewhere[key] = self._monotonic() + job.policy.summarize.timeout
                    return
                text = await self._store.run(partial(self._keep, key, await write(job)))
                self._texts.put(key, text, 2 * len(text))
                self._breaker(job).failures = 0
            except asyncio.CancelledError:
                self._cut.append(key)
                raise
            except NoSummary as error:
                self._leave_alone(key, REST_SECONDS)
                self._failed(job, str(error))
                await self._rest(key)
            except StateUnavailable:
                self._leave_alone(key, DOWN_SECONDS)

    async def _rest(self, key: str) -> None:
        """Keep other processes from a segment that has just failed."""
        lease = LEASES.write(self._lease(REST_SECONDS, rests=True))
        with contextlib.suppress(StateUnavailable):
            await self._store.run(lambda state: state.put(lease_key(key), lease, REST_SECONDS))

    def _breaker(self, job: Job) -> _Breaker:
        return self._breakers.setdefault(job.breaker_key, _Breaker())

    def _failed(self, job: Job, reason: str) -> None:
        breaker = self._breaker(job)
        breaker.failures += 1
        self._log.warning("summary failed", policy=str(job.policy), model=job.model, reason=reason)
        if breaker.failures >= MOST_FAILURES:
            breaker.rests_until = self._monotonic() + REST_SECONDS
            self._log.warning(
                "no summaries for a while",
                policy=str(job.policy),
                model=job.model,
                failures=breaker.failures,
                seconds=REST_SECONDS,
            )

    def _leave_alone(self, key: str, seconds: float) -> None:
        now = self._monotonic()
        self._left_alone = _pruned(self._left_alone, now)
        self._left_alone[key] = now + seconds

    # ------------------------------------------------------------ in a thread

    def _get(self, names: Sequence[str], state: State) -> list[StateValue]:
        return [read_value(self._store, name, raw) for name, raw in zip(names, state.get_many(names), strict=True)]

    def _record(self, events: Sequence[Event], state: State) -> list[StateValue]:
        """Record decisions, up to the first that another process made differently. Return the recorded ones."""
        mine = [(decision_key(event.prefix), event.decision) for event in events]
        stored = self._first(state, DECISIONS, mine)
        return [StateValue(name, decision=decision) for (name, _), decision in zip(mine, stored, strict=False)]

    def _compared(self, remembered: Sequence[StateValue], state: State) -> list[StateValue]:
        """Put back the values that the state has lost. Return those that differ there."""
        current = self._get([one.name for one in remembered], state)
        for ours, theirs in zip(remembered, current, strict=True):
            if ours.text is not None and theirs.text is None:
                self._first(state, TEXTS, [(ours.name, ours.text)])
            elif ours.decision is not None and theirs.decision is None:
                self._first(state, DECISIONS, [(ours.name, ours.decision)])
        stored = [theirs for theirs in current if theirs.text is not None or theirs.decision is not None]
        return [theirs for theirs in stored if theirs not in remembered]

    def _keep(self, key: str, text: str, state: State) -> str:
        """Keep a summary, unless there is one. Return the one that is kept."""
        [stored] = self._first(state, TEXTS, [(text_key(key), text)])
        state.update(lease_key(key), _none)
        return stored

    def _give_back(self, state: State) -> None:
        """Release the segments of cancelled jobs."""
        for key in self._cut:
            state.update(lease_key(key), _none)

    def _lease(self, seconds: float, *, rests: bool = False) -> Lease:
        return Lease(self._now() + seconds, os.urandom(8).hex(), rests)

    def _first(self, state: State, codec: Codec[V], values: Sequence[tuple[str, V]]) -> list[V]:
        """Put each value unless a readable one is there, up to the first that differs. Return the values that are
        there.
        """
        mine = [(name, codec.write(value)) for name, value in values]
        out: list[V] = []
        for (name, value), (_, written), raw in zip(values, mine, state.put_first(mine, KEEP_SECONDS), strict=False):
            held = value if raw == written else self._store.understood(codec, raw)
            if held is None:
                state.put(name, written, KEEP_SECONDS)
            out.append(value if held is None else held)
        return out

    def _take(self, key: str, timeout_seconds: float, state: State) -> Literal["ours", "others", "done", "resting"]:
        """Take the job of a segment, unless it is done, another process's, or failed a moment ago."""
        [held] = self._get([text_key(key)], state)
        if held.text is not None:
            self._texts.put(key, held.text, 2 * len(held.text))
            return "done"
        seconds, now = timeout_seconds + LEASE_SECONDS, self._now()
        name, mine = lease_key(key), self._lease(seconds)

        def taken(held: Lease | None) -> Lease:
            return held if held is not None and held.until > now else mine

        stored, written = self._store.updated(state, name, LEASES, taken)
        if stored != mine:
            return "resting" if stored.rests else "others"
        state.put(name, written, seconds)  # in a step of its own: another's lease keeps the time that it has
        return "ours"


def _none(_held: bytes | None) -> None:
    return None


def _due(undecided: Sequence[Event], wanted: Sequence[Segment]) -> Segment | None:
    """Find the segment that an undecided fold waits for: the last of the wanted ones."""
    offered = {key for event in undecided for key in event.candidates}
    return next((segment for segment in reversed(wanted) if segment.key in offered), None)


def _pruned(by_key: dict[str, float], now: float) -> dict[str, float]:
    """Remove expired keys, once there are many."""
    return by_key if len(by_key) < _MOST_KEPT else {key: until for key, until in by_key.items() if until > now}

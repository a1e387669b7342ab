"""Summaries between requests: what the shared state knows of them, and the jobs that have them written.

A request waits for no summary, or, with `run: inline`, for one and no longer than the policy says. What a fold decided
is recorded in the state before anything is sent, so that every process comes to the same bytes, and is never decided
again: so what this process remembers is not asked for, and only compared with the state now and then, behind the
request. A state that is empty or down means no summaries but those, as if the policy had none. Contents stay in the
state, under hashes; the books and the log hold none.
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
from gateway.rewriting.folds.summarize import Event, Facts, Segment
from gateway.rewriting.plan import Plan, Refusal
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec
from gateway.state.store import Patience, Store
from gateway.summaries.store import (
    DECISIONS,
    LEASES,
    TEXTS,
    Found,
    Knowledge,
    Lease,
    OrNothing,
    Seen,
    decision_key,
    lease_key,
    read_found,
    text_key,
)

MOST_ROUNDS: Final = 64
"""Plans made for one request at most: each but the last learned what one more fold must know. It is one, or two where a
fold is due, unless a process sees a long conversation for the first time."""
MOST_JOBS: Final = 4
"""Summaries written at a time, by one process."""
MOST_WAITING: Final = 64
"""Jobs that may wait for that; what is more is asked for again by a later request."""
KEEP_SECONDS: Final = 90 * 86_400.0
"""How long summaries and decisions are kept."""
LEASE_SECONDS: Final = 60.0
"""Beyond the policy's timeout: after it, a job whose process died may be done by another."""
REST_SECONDS: Final = 300.0
"""How long a segment whose summary failed is left alone, and how long nothing is asked for after `MOST_FAILURES`."""
MOST_FAILURES: Final = 3
"""In a row, of one policy and model."""
DOWN_SECONDS: Final = 5.0
"""How long a segment is left alone that somebody else writes, or while the state does not answer."""
CONFIRM_SECONDS: Final = 60.0
"""How often what is remembered is compared with the state: one that was emptied gets it back."""
RELEASE_SECONDS: Final = 0.5
"""How long the end of the program waits for jobs that it cut to be given back."""
_MOST_KEPT: Final = 1000
POLL_SECONDS: Final = 0.1
"""How often a request that waits asks the state for a summary that another process writes."""

V = TypeVar("V")
Planning = Callable[[Facts], Awaitable[Plan | Refusal]]


@dataclass(frozen=True, slots=True)
class Job:
    """A summary to be written, and whom it is booked to."""

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
    def purse(self) -> tuple[str, str]:
        return str(self.policy), self.model


class NoSummary(Exception):
    """The model wrote none that may stand; the message says why, and holds nothing of what it wrote."""


Write = Callable[[Job], Awaitable[str]]
"""Has a summary written. Raises NoSummary."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for the summary of what its own fold leaves out."""

    job: Callable[[Segment], Job]
    seconds: float
    """At most, for all that is written for this request."""


@dataclass(slots=True)
class _Breaker:
    """Failures in a row of one policy and model."""

    failures: int = 0
    rests_until: float = 0.0


class Summaries:
    """One process's share of the summaries."""

    def __init__(
        self,
        store: Store,
        log: FilteringBoundLogger,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        most_bytes: int = USUAL.bytes_for("summaries"),
    ) -> None:
        """Take the way to the state; `now` is Unix seconds, which machines share."""
        self._store, self._log, self._now, self._monotonic = store, log, now, monotonic
        self._write: Write | None = None
        self._texts: Memory[str, str] = Memory(2 * most_bytes // 3)
        self._decisions: Memory[str, tuple[str, ...]] = Memory(most_bytes // 3)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MOST_JOBS)
        self._left_alone: dict[str, float] = {}
        self._elsewhere: dict[str, float] = {}
        """Segments whose summary another process writes, and until when that is believed."""
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._cut: list[str] = []
        """Segments whose job was cut at the end."""
        self._confirmed: dict[str, float] = {}
        """Until when what is remembered under a name need not be compared with the state."""
        self._confirming: set[asyncio.Task[None]] = set()

    def written_by(self, write: Write) -> None:
        """Say who writes; before, none are asked for."""
        self._write = write

    async def close(self) -> None:
        """Cut the jobs that are under way, wait for their entries, and give back what nobody writes now."""
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
        """Return how long one request waits for the state, in all."""
        return self._store.patience()

    async def settled(
        self, planning: Planning, model: str, waiting: Waiting | None = None, patience: Patience | None = None
    ) -> tuple[Plan | Refusal, bool]:
        """Plan with what is known, and record what was decided; whether the state could not be asked or told.

        What this process remembers is planned with as it stands, so that a conversation asks the state where it folds
        and not at each request. With `waiting`, a fold that nobody decided on yet waits for its summary once; then it
        is decided with or without.
        """
        known, patience = Knowledge(Seen(self._texts), Seen(self._decisions)), patience or self.patience()
        try:
            found = await self._planned(planning, model, waiting, patience, known)
        except StateUnavailable:
            return await planning(Facts(known.texts, OrNothing(known.decisions), model)), True
        self._confirm(known.recalled())
        return found, False

    async def _planned(
        self, planning: Planning, model: str, waiting: Waiting | None, patience: Patience, known: Knowledge
    ) -> Plan | Refusal:
        """Plan until the plan is that of what is known and recorded. Raises StateUnavailable."""
        facts = Facts(known.texts, known.decisions, model)
        for _ in range(MOST_ROUNDS):
            found = await planning(facts)
            if not isinstance(found, Plan) or not found.events:
                return found
            unread = known.unread(found.events)
            if unread and known.take(await self._store.soon(partial(self._get, unread), patience)):
                continue
            undecided = known.undecided(found.events)
            if waiting is not None and (segment := _due(undecided, found.wanted)) is not None:
                text = await self._awaited(waiting.job(segment), waiting.seconds)
                waiting = None
                if text is not None and known.texts.take(segment.key, text, 2 * len(text)):
                    continue
            if undecided:
                known.take(await self._store.soon(partial(self._record, undecided), patience))
            if all(known.decisions.get(event.prefix) == event.decision for event in found.events):
                return found
            if not undecided and not known.unread(found.events):
                return found
        raise StateUnavailable("what is decided changes faster than it can be planned with")

    async def _awaited(self, job: Job, seconds: float) -> str | None:
        """Have a summary written and wait for it; None where none came in time. Raises StateUnavailable."""
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

    def _confirm(self, recalled: Sequence[Found]) -> None:
        """Compare what was planned with from memory with the state, what was compared a moment ago aside."""
        now = self._monotonic()
        due = [one for one in recalled if self._confirmed.get(one.name, 0.0) <= now]
        if not due or self._store.is_down:
            return
        self._confirmed = _pruned(self._confirmed, now)
        self._confirmed |= {one.name: now + CONFIRM_SECONDS for one in due}
        task = asyncio.get_running_loop().create_task(self._compare(due))
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)

    async def _compare(self, due: Sequence[Found]) -> None:
        with contextlib.suppress(StateUnavailable):
            others = Knowledge(Seen(self._texts), Seen(self._decisions))
            others.take(await self._store.run(partial(self._compared, due)))

    # ------------------------------------------------------------ jobs

    def ask(self, job: Job) -> None:
        """Have a summary written, in the background, unless it is there, under way, or left alone for now."""
        key, now = job.segment.key, self._monotonic()
        if self._write is None or key in self._jobs or len(self._jobs) >= MOST_WAITING + MOST_JOBS:
            return
        if self._texts.get(key) is not None or now < self._left_alone.get(key, 0.0) or self._store.is_down:
            return
        breaker = self._breakers.get(job.purse)
        if breaker is not None and now < breaker.rests_until:
            return
        task = asyncio.get_running_loop().create_task(self._do(job, self._write))
        self._jobs[key] = task
        task.add_done_callback(partial(self._done, key))

    def _done(self, key: str, task: asyncio.Task[None]) -> None:
        """Forget a job; nobody waits for it, so the log gets what it could not handle."""
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
        """Keep others from what has just failed."""
        lease = LEASES.write(self._lease(REST_SECONDS, rests=True))
        with contextlib.suppress(StateUnavailable):
            await self._store.run(lambda state: state.put(lease_key(key), lease, REST_SECONDS))

    def _breaker(self, job: Job) -> _Breaker:
        return self._breakers.setdefault(job.purse, _Breaker())

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

    def _get(self, names: Sequence[str], state: State) -> list[Found]:
        return [read_found(self._store, name, raw) for name, raw in zip(names, state.get_many(names), strict=True)]

    def _record(self, events: Sequence[Event], state: State) -> list[Found]:
        """Record decisions, up to the first that somebody made otherwise; return what stands."""
        mine = [(decision_key(event.prefix), event.decision) for event in events]
        stand = self._first(state, DECISIONS, mine)
        return [Found(name, decision=decision) for (name, _), decision in zip(mine, stand, strict=False)]

    def _compared(self, remembered: Sequence[Found], state: State) -> list[Found]:
        """Put back what the state has lost; return what stands otherwise there."""
        found = self._get([one.name for one in remembered], state)
        for ours, theirs in zip(remembered, found, strict=True):
            if ours.text is not None and theirs.text is None:
                self._first(state, TEXTS, [(ours.name, ours.text)])
            elif ours.decision is not None and theirs.decision is None:
                self._first(state, DECISIONS, [(ours.name, ours.decision)])
        stand = [theirs for theirs in found if theirs.text is not None or theirs.decision is not None]
        return [theirs for theirs in stand if theirs not in remembered]

    def _keep(self, key: str, text: str, state: State) -> str:
        """Keep a summary, unless somebody has kept one; return the one that stands."""
        [stands] = self._first(state, TEXTS, [(text_key(key), text)])
        state.update(lease_key(key), _none)
        return stands

    def _give_back(self, state: State) -> None:
        """Give back the segments whose jobs were cut."""
        for key in self._cut:
            state.update(lease_key(key), _none)

    def _lease(self, seconds: float, *, rests: bool = False) -> Lease:
        return Lease(self._now() + seconds, os.urandom(8).hex(), rests)

    def _first(self, state: State, codec: Codec[V], values: Sequence[tuple[str, V]]) -> list[V]:
        """Put each value where none that is understood is, up to the first that is another; return what stands."""
        mine = [(name, codec.write(value)) for name, value in values]
        out: list[V] = []
        for (name, value), (_, written), raw in zip(values, mine, state.put_first(mine, KEEP_SECONDS), strict=False):
            held = value if raw == written else self._store.understood(codec, raw)
            if held is None:
                state.put(name, written, KEEP_SECONDS)
            out.append(value if held is None else held)
        return out

    def _take(self, key: str, timeout_seconds: float, state: State) -> Literal["ours", "others", "done", "resting"]:
        """Take the job of a segment, unless it is done, somebody else's, or failed a while ago."""
        [held] = self._get([text_key(key)], state)
        if held.text is not None:
            self._texts.put(key, held.text, 2 * len(held.text))
            return "done"
        seconds, now = timeout_seconds + LEASE_SECONDS, self._now()
        name, mine = lease_key(key), self._lease(seconds)

        def taken(held: Lease | None) -> Lease:
            return held if held is not None and held.until > now else mine

        stands, written = self._store.updated(state, name, LEASES, taken)
        if stands != mine:
            return "resting" if stands.rests else "others"
        state.put(name, written, seconds)  # in a step of its own: another's lease keeps the time that it has
        return "ours"


def _none(_held: bytes | None) -> None:
    return None


def _due(undecided: Sequence[Event], wanted: Sequence[Segment]) -> Segment | None:
    """Find the segment that a fold which nobody decided on yet waits for: the last of those that are wanted."""
    offered = {key for event in undecided for key in event.candidates}
    return next((segment for segment in reversed(wanted) if segment.key in offered), None)


def _pruned(by_key: dict[str, float], now: float) -> dict[str, float]:
    """Leave out what is over, once there is much of it."""
    return by_key if len(by_key) < _MOST_KEPT else {key: until for key, until in by_key.items() if until > now}

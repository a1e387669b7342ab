"""Summaries between requests: what the shared state knows of them, and the jobs that have them written.

A request waits for no summary, or, with `run: inline`, for one and no longer than the policy says. What it needs to
know is read from the state, in one step where nothing is new, and what a fold decided is recorded there before anything
is sent, so that every process comes to the same bytes. A state that is empty or down means no summaries, as if the
policy had none. Contents stay in the state, under hashes; the books and the log hold none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Literal, TypeVar

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.budget.tokens import Counter
from gateway.conversation import Message
from gateway.memory import Memory
from gateway.policy import Policy
from gateway.rewriting.plan import Plan, Refusal
from gateway.rewriting.summarize import Event, Facts, Segment
from gateway.state import State, StateUnavailable

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
"""How long a state that did not answer is not asked again."""
_MOST_KEPT: Final = 1000
POLL_SECONDS: Final = 0.1
"""How often a request that waits asks the state for a summary that another process writes."""
_TEXTS_BYTES, _DECISIONS_BYTES = 8 * 2**20, 4 * 2**20

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


class _Seen(Generic[V]):
    """What one request is planned with, by key: as the state said, else as this process remembered it.

    It holds what it once told, whatever other requests learn meanwhile.
    """

    def __init__(self, remembered: Memory[str, V]) -> None:
        self._remembered = remembered
        self._told: dict[str, V | None] = {}
        self.read: set[str] = set()

    def get(self, key: str, /) -> V | None:
        if key not in self._told:
            self._told[key] = self._remembered.get(key)
        return self._told[key]

    def take(self, key: str, value: V | None, size: int) -> bool:
        """Take in what the state says; whether that is something else than was told."""
        is_new = self._told.get(key) != value
        self._told[key] = value
        self.read.add(key)
        if value is not None:
            self._remembered.put(key, value, size)
        return is_new


@dataclass(slots=True)
class _Breaker:
    """Failures in a row of one policy and model."""

    failures: int = 0
    rests_until: float = 0.0


@dataclass(slots=True)
class _Request:
    """What is read from the state for one request."""

    texts: _Seen[str]
    decisions: _Seen[tuple[str, ...]]

    def unread(self, events: Sequence[Event]) -> list[str]:
        texts = (key for event in events for key in event.candidates if key not in self.texts.read)
        prefixes = (event.prefix for event in events if event.prefix not in self.decisions.read)
        return list(dict.fromkeys([*map(_text_key, texts), *map(_decision_key, prefixes)]))

    def take(self, found: Iterable[tuple[str, bytes | None]]) -> bool:
        """Take in values of the state; whether any of them is news."""
        news = False
        for name, raw in found:
            kind, _, key = name.rpartition("/")
            if kind == _TEXT:
                text = None if raw is None else raw.decode(errors="replace")
                news |= self.texts.take(key, text, 2 * len(text or ""))
            else:
                decided = None if raw is None else tuple(filter(None, raw.decode(errors="replace").split(" ")))
                news |= self.decisions.take(key, decided, len(raw or b""))
                # Whoever decided had these texts: what was not there a moment ago is asked for once more.
                self.texts.read -= {name for name in decided or () if self.texts.get(name) is None}
        return news

    def undecided(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if self.decisions.get(event.prefix) is None]


class Summaries:
    """One process's share of the summaries. The state is opened when it is first needed."""

    def __init__(
        self,
        opens: Callable[[], State],
        log: FilteringBoundLogger,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Take how the state is opened, raising StateUnavailable; `now` is Unix seconds, which machines share."""
        self._opens, self._log, self._now, self._monotonic = opens, log, now, monotonic
        self._write: Write | None = None
        self._state: State | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="summaries")
        self._texts: Memory[str, str] = Memory(_TEXTS_BYTES)
        self._decisions: Memory[str, tuple[str, ...]] = Memory(_DECISIONS_BYTES)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MOST_JOBS)
        self._left_alone: dict[str, float] = {}
        self._elsewhere: dict[str, float] = {}
        """Segments whose summary another process writes, and until when that is believed."""
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._down_until = 0.0
        self._is_down = False

    def written_by(self, write: Write) -> None:
        """Say who writes; before, none are asked for."""
        self._write = write

    async def close(self) -> None:
        """Cut the jobs that are under way, wait for their entries, and let go of the state."""
        self._write = None
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)
        if self._state is not None:
            self._thread.submit(self._state.close)
        await asyncio.to_thread(self._thread.shutdown)

    # ------------------------------------------------------------ planning with what is known

    async def settled(
        self, planning: Planning, model: str, waiting: Waiting | None = None
    ) -> tuple[Plan | Refusal, bool]:
        """Plan with what the state knows, and record there what was decided; whether that was lost.

        What this process remembers is tried first and then compared with the state, so that most requests are planned
        once and read the state once. With `waiting`, a fold that nobody decided on yet waits for its summary once; then
        it is decided with or without.
        """
        known = _Request(_Seen(self._texts), _Seen(self._decisions))
        facts = Facts(known.texts, known.decisions, model)
        for _ in range(MOST_ROUNDS):
            found = await planning(facts)
            if not isinstance(found, Plan) or not found.events:
                return found, False
            try:
                unread = known.unread(found.events)
                if unread and known.take(await self._in_thread(self._get, unread)):
                    continue
                undecided = known.undecided(found.events)
                if waiting is not None and (segment := _due(undecided, found.wanted)) is not None:
                    text = await self._awaited(waiting.job(segment), waiting.seconds)
                    waiting = None
                    if text is not None and known.texts.take(segment.key, text, 2 * len(text)):
                        continue
                if undecided:
                    known.take(await self._in_thread(self._record, undecided))
                if all(known.decisions.get(event.prefix) == event.decision for event in found.events):
                    return found, False
                if not undecided and not known.unread(found.events):
                    return found, False
            except StateUnavailable as error:
                self._tell_unavailable(error)
                break
        return await planning(Facts(model=model)), True

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
            [(_, raw)] = await self._in_thread(self._get, [_text_key(key)])
            if raw is not None:
                return raw.decode(errors="replace")
        return None

    # ------------------------------------------------------------ jobs

    def ask(self, job: Job) -> None:
        """Have a summary written, in the background, unless it is there, under way, or left alone for now."""
        key, now = job.segment.key, self._monotonic()
        if self._write is None or key in self._jobs or len(self._jobs) >= MOST_WAITING + MOST_JOBS:
            return
        if self._texts.get(key) is not None or now < self._left_alone.get(key, 0.0) or now < self._down_until:
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
                whose = await self._in_thread(self._take, key, job.policy.summarize.timeout)
                if whose != "ours":
                    self._leave_alone(key, DOWN_SECONDS)
                    if whose == "others":
                        self._elsewhere = _pruned(self._elsewhere, self._monotonic())
                        self._elsewhere[key] = self._monotonic() + job.policy.summarize.timeout
                    return
                text = await self._in_thread(self._keep, key, await write(job))
                self._texts.put(key, text, 2 * len(text))
                self._breaker(job).failures = 0
            except asyncio.CancelledError:
                await self._in_thread(self._lease, key, 0.0)
                raise
            except NoSummary as error:
                self._leave_alone(key, REST_SECONDS)
                self._failed(job, str(error))
                await self._rest(key)
            except StateUnavailable as error:
                self._leave_alone(key, DOWN_SECONDS)
                self._tell_unavailable(error)

    async def _rest(self, key: str) -> None:
        """Keep others from what has just failed."""
        try:
            await self._in_thread(self._lease, key, REST_SECONDS)
        except StateUnavailable as error:
            self._tell_unavailable(error)

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

    # ------------------------------------------------------------ in the thread

    async def _in_thread(self, work: Callable[..., V], *arguments: object) -> V:
        if self._monotonic() < self._down_until:
            raise StateUnavailable("it did not answer a moment ago")
        done = await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        if self._is_down:
            self._is_down = False
            self._log.info("state available again")
        return done

    def _opened(self) -> State:
        if self._state is None:
            self._state = self._opens()
        return self._state

    def _get(self, names: Sequence[str]) -> list[tuple[str, bytes | None]]:
        state = self._opened()
        return [(name, state.get(name)) for name in names]

    def _record(self, events: Sequence[Event]) -> list[tuple[str, bytes | None]]:
        """Record decisions, up to the first that somebody made otherwise; return what stands."""
        out: list[tuple[str, bytes | None]] = []
        for event in events:
            name, mine = _decision_key(event.prefix), " ".join(event.decision).encode() or b" "
            stands = self._first(name, mine)
            out.append((name, stands))
            if stands != mine:
                break
        return out

    def _keep(self, key: str, text: str) -> str:
        """Keep a summary, unless somebody has kept one; return the one that stands."""
        stands = self._first(_text_key(key), text.encode())
        self._lease(key, 0.0)
        return stands.decode(errors="replace")

    def _lease(self, key: str, seconds: float) -> None:
        """Let a segment rest for some time, or give it back."""
        if seconds:
            self._opened().put(_lease_key(key), self._lease_of(seconds, rests=True), seconds)
        else:
            self._opened().update(_lease_key(key), _none)

    def _lease_of(self, seconds: float, *, rests: bool = False) -> bytes:
        return orjson.dumps({"until": self._now() + seconds, "by": os.urandom(8).hex(), "rests": rests})

    def _first(self, name: str, value: bytes) -> bytes:
        """Put a value where none is; return the one that stands."""
        state = self._opened()
        stands = state.update(name, lambda held: value if held is None else held) or value
        if stands == value:
            state.put(name, value, KEEP_SECONDS)  # again, because a step that changes gives nothing a time to expire
        return stands

    def _take(self, key: str, timeout_seconds: float) -> Literal["ours", "others", "done", "resting"]:
        """Take the job of a segment, unless it is done, somebody else's, or failed a while ago."""
        state, now = self._opened(), self._now()
        held = state.get(_text_key(key))
        if held is not None:
            text = held.decode(errors="replace")
            self._texts.put(key, text, 2 * len(text))
            return "done"
        name, seconds = _lease_key(key), timeout_seconds + LEASE_SECONDS
        mine = self._lease_of(seconds)
        stands = state.update(name, lambda lease: lease if lease is not None and _until(lease)[0] > now else mine)
        if stands != mine:
            return "resting" if stands is not None and _until(stands)[1] else "others"
        state.put(name, mine, seconds)
        return "ours"

    # ------------------------------------------------------------ the log: once when it goes, once when it comes back

    def _tell_unavailable(self, error: StateUnavailable) -> None:
        now = self._monotonic()
        if now >= self._down_until:
            self._down_until = now + DOWN_SECONDS
        if not self._is_down:
            self._is_down = True
            self._log.warning("state unavailable, requests are planned without summaries", reason=str(error))


_TEXT, _DECISION, _LEASE = "summary", "decision", "summarising"


def _text_key(key: str) -> str:
    return f"{_TEXT}/{key}"


def _decision_key(prefix: str) -> str:
    return f"{_DECISION}/{prefix}"


def _lease_key(key: str) -> str:
    return f"{_LEASE}/{key}"


def _none(_held: bytes | None) -> None:
    return None


def _until(lease: bytes) -> tuple[float, bool]:
    """Read when a lease is over, and whether it is a rest; one that nobody can read is over."""
    try:
        read = orjson.loads(lease)
        until, rests = read["until"], read.get("rests") is True
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0, False
    return (until if isinstance(until, int | float) else 0.0), rests


def _due(undecided: Sequence[Event], wanted: Sequence[Segment]) -> Segment | None:
    """Find the segment that a fold which nobody decided on yet waits for: the last of those that are wanted."""
    offered = {key for event in undecided for key in event.candidates}
    return next((segment for segment in reversed(wanted) if segment.key in offered), None)


def _pruned(by_key: dict[str, float], now: float) -> dict[str, float]:
    """Leave out what is over, once there is much of it."""
    return by_key if len(by_key) < _MOST_KEPT else {key: until for key, until in by_key.items() if until > now}

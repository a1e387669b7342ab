"""One process's way to the state: no caller is ever held up by it, and the log is told once.

Two kinds of callers ask. Exchanges *between* requests may take their time (`run`). Planning waits a few milliseconds
for all that it asks (`soon`). Three answers that took longer within ten seconds count as a state that is down: no
planning waits for it again until a look at it, in the background, was answered in time. A state that fails rests for
all.

Threads ask, for the doors block. They are daemons: one that hangs neither holds up another nor the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec, Unreadable

TIMEOUT_SECONDS: Final = 0.05
"""Seconds that planning one request waits for the state, in all; `state.timeout` of the configuration."""
MOST_SLOW: Final = 3
SLOW_WITHIN_SECONDS: Final = 10.0
REST_SECONDS: Final = 1.0
"""Seconds that a state that is down is left alone before it is looked at again. A state that goes and comes back again
and again is left alone longer each time, up to `WELL_SECONDS`, so that the log does not fill with it."""
WELL_SECONDS: Final = 60.0
CLOSE_SECONDS: Final = 0.5
"""Seconds that the end of the program waits for threads that let go of the state."""
_STEPS: Final = 5
"""In which a timeout is waited for. One that took longer than it was to did so for this process had other work. The
state is not to blame for that, but the request waits, so half of it counts."""
_MOST_THREADS: Final = 4
"""Of either kind; each is started where all others are busy."""

V = TypeVar("V")


class Patience:
    """The time that one request may still wait for the state. Only waiting uses it up, not the planning in between."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"Patience({self.seconds * 1000:.0f} ms)"


class Store:
    """One for a process. The state is opened when it is first needed."""

    def __init__(
        self,
        opens: Callable[[], State],
        log: FilteringBoundLogger,
        timeout_seconds: float = TIMEOUT_SECONDS,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        """Take how the state is opened, raising `StateUnavailable`."""
        self._opens, self._log, self._timeout, self._rest = opens, log, timeout_seconds, rest_seconds
        self._state: State | None = None
        self._opening = Lock()
        self._background, self._planning = (
            _Threads(name, self._opened, self._let_go) for name in ("state", "state-planning")
        )
        self._slow: deque[float] = deque(maxlen=MOST_SLOW)
        self._failed: str | None = None
        """Why nobody is to ask; None where it works."""
        self._is_slow = False
        self._looking: asyncio.Task[None] | None = None
        self._pause, self._well_since = rest_seconds, float("-inf")
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"Store({'down' if self._failed else 'slow' if self._is_slow else 'up'})"

    @property
    def is_down(self) -> bool:
        return self._failed is not None

    @property
    def is_up(self) -> bool:
        """Whether planning asks it: it neither failed nor was slow a moment ago."""
        return self._failed is None and not self._is_slow

    def patience(self) -> Patience:
        """Return what one request has, for all that it asks `soon`."""
        return Patience(self._timeout)

    async def run(self, work: Callable[[State], V]) -> V:
        """Do something with the state, however long it takes. Raises `StateUnavailable`."""
        self._refuse_while_down()
        return await self._answer(asyncio.wrap_future(self._background.submit(work)))

    async def soon(self, work: Callable[[State], V], patience: Patience) -> V:
        """Do something with the state, within what is left of a request's patience. Raises `StateUnavailable`."""
        self._refuse_while_down()
        if self._is_slow:
            raise StateUnavailable("it was slow a moment ago")
        if patience.seconds <= 0:
            raise StateUnavailable("this request has waited for it long enough")
        asked = self._planning.submit(work)
        answer = asyncio.wrap_future(asked)
        while patience.seconds > 0 and not asked.done():
            began, step = monotonic(), min(patience.seconds, self._timeout / _STEPS)
            await asyncio.wait([answer], timeout=step)
            took = monotonic() - began
            patience.seconds -= max(min(step, took), took / 2)
        if not asked.done():
            answer.cancel()
            self._note_slow(monotonic())
            raise StateUnavailable(f"no answer within {self._timeout * 1000:.0f} ms")
        return await self._answer(answer)

    async def close(self) -> None:
        """Let go of the state, as far as nobody hangs in it."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        ended = [asyncio.wrap_future(one) for threads in (self._background, self._planning) for one in threads.end()]
        if ended:
            await asyncio.wait(ended, timeout=CLOSE_SECONDS)
            for one in ended:
                one.cancel()

    def understood(self, codec: Codec[V], raw: bytes | None) -> V | None:
        """Read a value; one that is not understood counts as none, and the log hears of each kind once."""
        if raw is None:
            return None
        try:
            return codec.read(raw)
        except Unreadable as error:
            if codec.kind not in self._told:
                self._told.add(codec.kind)
                self._log.warning("state not understood, begun anew", kind=codec.kind, reason=str(error))
            return None

    def updated(
        self, state: State, key: str, codec: Codec[V], change: Callable[[V | None], V], seconds: float | None = None
    ) -> tuple[V, bytes]:
        """Change a value in one step; return what it is then, and as what it lies there. In a thread.

        A value that is not understood counts as none. `change` may be called more than once.
        """
        made: list[tuple[V, bytes]] = []

        def on_bytes(raw: bytes | None) -> bytes:
            value = change(self.understood(codec, raw))
            made.append((value, codec.write(value)))
            return made[-1][1]

        state.update(key, on_bytes, seconds)
        return made[-1]

    # ------------------------------------------------------------ up, slow or down

    def _refuse_while_down(self) -> None:
        if self._failed is not None:
            raise StateUnavailable(self._failed)

    async def _answer(self, answer: asyncio.Future[V]) -> V:
        try:
            return await answer
        except StateUnavailable as error:
            if self._failed is None:
                self._failed = str(error)
                self._log.warning("state unavailable, requests go on without", reason=self._failed)
            self._look()
            raise

    def _note_slow(self, now: float) -> None:
        self._slow.append(now)
        if not self._is_slow and len(self._slow) == MOST_SLOW and now - self._slow[0] <= SLOW_WITHIN_SECONDS:
            self._is_slow = True
            told = (
                f"{MOST_SLOW} answers took longer than {self._timeout * 1000:.0f} ms within {SLOW_WITHIN_SECONDS:g} s"
            )
            self._log.warning("state unavailable, requests are planned without", reason=told)
            self._look()

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            is_new = monotonic() - self._well_since > WELL_SECONDS
            self._pause = self._rest if is_new else min(2 * self._pause, WELL_SECONDS)
            self._looking = asyncio.get_running_loop().create_task(self._until_it_is_well())

    async def _until_it_is_well(self) -> None:
        while self._failed is not None or self._is_slow:
            await asyncio.sleep(self._pause)
            took = 0.0
            for _ in range(2):  # the first may have to connect
                began = monotonic()
                look = asyncio.wrap_future(self._background.submit(_look_at))
                [fault] = await asyncio.gather(look, return_exceptions=True)
                took = monotonic() - began
            if fault is not None:
                continue
            was_down, self._failed = self._failed is not None, None
            was_slow, self._is_slow = self._is_slow, self._is_slow and took > self._timeout
            if not self._is_slow and (was_down or was_slow):
                self._slow.clear()
                self._well_since = monotonic()
                self._log.info("state available again")

    # ------------------------------------------------------------ in the threads

    def _opened(self) -> State:
        with self._opening:
            if self._state is None:
                self._state = self._opens()
            return self._state

    def _let_go(self) -> None:
        if self._state is not None:
            self._state.close()


def _look_at(state: State) -> None:
    state.get("look")


Work = tuple[Future[Any], Callable[[State], Any]]


class _Threads:
    """Daemon threads that work off one queue."""

    def __init__(self, name: str, opened: Callable[[], State], let_go: Callable[[], None]) -> None:
        self._name, self._opened, self._let_go = name, opened, let_go
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._ended: list[Future[None]] = []
        self._open = 0
        """Asked and not answered."""
        self._lock = Lock()

    def submit(self, work: Callable[[State], V]) -> Future[V]:
        """Have something done with the state; cancelled before it began, it is not done at all."""
        future: Future[V] = Future()
        with self._lock:
            self._open += 1
            is_short = self._open > len(self._ended) < _MOST_THREADS
        if is_short:
            ended: Future[None] = Future()
            self._ended.append(ended)
            Thread(target=self._run, args=(ended,), name=self._name, daemon=True).start()
        self._queue.put((future, work))
        return future

    def end(self) -> list[Future[None]]:
        """Have each thread let go of the state and end; what is returned is done as each has."""
        ended, self._ended = self._ended, []
        for _ in ended:
            self._queue.put(None)
        return ended

    def _run(self, ended: Future[None]) -> None:
        while (asked := self._queue.get()) is not None:
            future, work = asked
            tell = self._done(future, work) if future.set_running_or_notify_cancel() else None
            with self._lock:
                self._open -= 1
            if tell is not None:
                tell()
        with contextlib.suppress(StateUnavailable):  # it is let go of either way
            self._let_go()
        if ended.set_running_or_notify_cancel():
            ended.set_result(None)

    def _done(self, future: Future[V], work: Callable[[State], V]) -> Callable[[], None]:
        """Do it, and return what tells how it went."""
        try:
            return partial(future.set_result, work(self._opened()))
        except BaseException as error:  # noqa: BLE001  # the outermost of its thread: whoever waits for it gets it
            return partial(future.set_exception, error)

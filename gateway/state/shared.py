"""Values that processes keep together through the state: each tells its news once a second, and hears the sum.

One exchange does it for all of them, between requests and never at their cost. While the state is down, news wait with
whoever had them. A value that is not understood is begun anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec
from gateway.state.store import Store

EVERY_SECONDS: Final = 1.0
START_SECONDS: Final = 0.5
"""Seconds that a start waits for the news of others; it goes on hearing while it serves."""
CLOSE_SECONDS: Final = 1.0
"""Seconds that the end of the program waits for its last news to be told."""

_MOST_FAULTS: Final = 20

V = TypeVar("V")
N = TypeVar("N")


class Untold(Generic[N]):
    """Pieces of news that wait to be told: the newest, as many as there is room for."""

    def __init__(self, most: int) -> None:
        self._waiting: deque[N] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, one: N) -> None:
        self._waiting.append(one)

    def take(self) -> Sequence[N]:
        """Hand over all of them."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    def give_back(self, taken: Sequence[N]) -> None:
        """Take back what could not be told: it is older than what came meanwhile."""
        self._waiting = deque([*taken, *self._waiting], self._waiting.maxlen)


@dataclass(frozen=True, slots=True)
class Shared(Generic[V, N]):
    """One value that processes keep together. Methods that name a thread run there, and touch nothing else."""

    key: str
    codec: Codec[V]
    empty: Callable[[], V]
    """The value to begin with. In a thread."""
    add: Callable[[V, N], V]
    """Add one process's news to the value. In a thread, and perhaps more than once."""
    take_news: Callable[[], N]
    """Hand over what there is to tell; nothing where it is empty."""
    give_back: Callable[[N], None]
    """Take back what could not be told."""
    adopt: Callable[[V], None]
    """Take in the value, which is never changed by anybody."""
    hears: bool = True
    """Whether the value is read where there is nothing to tell."""


@dataclass(slots=True)
class Sharing:
    """Exchanges one process's values. Closes the store with it."""

    store: Store
    log: FilteringBoundLogger = field(repr=False)
    every_seconds: float = EVERY_SECONDS
    _shared: dict[str, Shared[Any, Any]] = field(default_factory=dict)
    _raw: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    """By key: what the state held when it was last asked."""
    _faults: set[str] = field(default_factory=set, repr=False)
    _closing: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _heard: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _keeping: asyncio.Task[None] | None = field(default=None, repr=False)

    def add(self, shared: Shared[V, N]) -> None:
        """Share a value from now on."""
        self._shared[shared.key] = shared

    def __contains__(self, key: str) -> bool:
        return key in self._shared

    async def open(self) -> None:
        """Hear what there is, as far as that is told at once, and go on exchanging until closed."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), START_SECONDS)

    async def close(self) -> None:
        """Tell the rest, as far as that is heard at once, and let go of the state."""
        self._closing.set()
        last = self._keeping or asyncio.get_running_loop().create_task(self.exchange(hear=False))
        await asyncio.wait([last], timeout=CLOSE_SECONDS)
        last.cancel()
        await self.store.close()

    async def exchange(self, *, hear: bool = True) -> None:
        """Tell what is new here, and hear what is new elsewhere."""
        if self.store.is_down:
            return
        told, heard = [], []
        for shared in self._shared.values():
            news = shared.take_news()
            if news:
                told.append((shared, news))
            elif hear and shared.hears:
                heard.append(shared)
        turns = [*(self._tell(shared, news) for shared, news in told), *([self._hear(heard)] if heard else [])]
        for fault in await asyncio.gather(*turns, return_exceptions=True):
            if isinstance(fault, Exception):
                self._told(fault)

    async def _tell(self, shared: Shared[V, N], news: N) -> None:
        """Add one process's news to a value."""
        try:
            value, raw = await self.store.run(partial(self._added, shared, news))
        except StateUnavailable:
            shared.give_back(news)
        else:
            self._raw[shared.key] = raw
            shared.adopt(value)

    async def _hear(self, shared: Sequence[Shared[Any, Any]]) -> None:
        """Take in those of several values that are others than they were."""
        with contextlib.suppress(StateUnavailable):
            for one, value in await self.store.run(partial(self._heard_of, shared)):
                one.adopt(value)

    async def _keep(self) -> None:
        while not self._closing.is_set():
            [fault] = await asyncio.gather(self.exchange(), return_exceptions=True)
            if isinstance(fault, Exception):
                self._told(fault)
            self._heard.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self.every_seconds)
        await self.exchange(hear=False)

    def _told(self, fault: Exception) -> None:
        """Tell of a fault of ours, once of each kind; the news that it was about are gone, and all else goes on."""
        kind = repr(fault)[:200]
        if kind not in self._faults and len(self._faults) < _MOST_FAULTS:
            self._faults.add(kind)
            self.log.error("exchange through the state failed", exc_info=fault)

    # ------------------------------------------------------------ in a thread

    def _heard_of(self, shared: Sequence[Shared[Any, Any]], state: State) -> list[tuple[Shared[Any, Any], Any]]:
        """Read several values in one step; return those that are understood, and new."""
        out = []
        for one, raw in zip(shared, state.get_many([one.key for one in shared]), strict=True):
            if raw != self._raw.get(one.key):
                self._raw[one.key] = raw
                value = self.store.understood(one.codec, raw)
                if value is not None:
                    out.append((one, value))
        return out

    def _added(self, shared: Shared[V, N], news: N, state: State) -> tuple[V, bytes]:
        """Add news to a value; return what it is now, and its bytes."""

        def added(held: V | None) -> V:
            return shared.add(shared.empty() if held is None else held, news)

        return self.store.updated(state, shared.key, shared.codec, added)

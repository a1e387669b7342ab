"""The order in which requests are read and planned, and bodies received: fair by key, small before large.

`chosen` decides; the rest waits on the event loop of one worker, and nobody else calls it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from gateway.wire import errors

MOST_PASSES: Final = 8
"""The number of times that smaller requests of the same key go before one that came earlier."""
MOST_KEYS: Final = 10_000
"""Keys whose last turn is remembered."""


@dataclass(slots=True, eq=False)
class Waits:
    """One request that waits."""

    key: str
    size: int
    passes: int = field(default=0, init=False)
    """The number of times that a later one of its key went first."""


@dataclass(slots=True, eq=False)
class Ticket(Waits):
    """One that waits on the event loop."""

    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future(), repr=False)


W = TypeVar("W", bound=Waits)


def chosen(waiting: Sequence[W], running: Mapping[str, int], latest: Mapping[str, int], most: int) -> W | None:
    """Choose the next of those that wait, in the order they came; None where all keys have as many turns as they may.

    Those of its key that came before it are passed by once more.

    `running` are turns under way by key, at most `most` each; `latest` is when each key had its last turn. The key with
    the fewest turns is next, then the one whose last turn is longest ago; of its requests the smallest, unless smaller
    ones went before an earlier one too often.
    """
    first: dict[str, W] = {}
    for one in waiting:
        known = first.get(one.key)
        if known is None or (known.passes < MOST_PASSES and one.size < known.size):
            first[one.key] = one
    able = [key for key in first if running.get(key, 0) < most]
    key = min(able, key=lambda key: (running.get(key, 0), latest.get(key, -1)), default=None)
    if key is None:
        return None
    for earlier in waiting:
        if earlier is first[key]:
            break
        earlier.passes += earlier.key == key
    return first[key]


class Schedule(Generic[W]):
    """Requests that wait and requests under way, by key. It decides and waits for nobody: its user guards it."""

    def __init__(self, slots: int, most_of_one: int) -> None:
        """Take how many are served at a time, and how many of one key."""
        self._slots, self._most = slots, most_of_one
        self.waiting: list[W] = []
        self._running: Counter[str] = Counter()
        self._latest: dict[str, int] = {}
        self._given = 0

    def start(self) -> W | None:
        """Take the next one out of those that wait, as under way; None where nobody may go on."""
        one = chosen(self.waiting, self._running, self._latest, self._most) if self._has_slot else None
        if one is not None:
            self.waiting.remove(one)
            self._given += 1
            self._latest[one.key] = self._given
            if len(self._latest) > MOST_KEYS:
                self._latest.clear()
            self._running[one.key] += 1
        return one

    def end(self, key: str) -> None:
        """Give back a turn of a key."""
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]

    def forget_when_idle(self) -> None:
        """Forget whose turn was when, once nobody waits or is under way."""
        if not self.waiting and not self._running:
            self._latest.clear()

    @property
    def _has_slot(self) -> bool:
        return self._running.total() < self._slots


class Turns:
    """Turns at what can serve a few requests at a time."""

    def __init__(self, slots: int, most_of_one: int) -> None:
        """Take how many are served at a time, and how many of one key."""
        self._schedule: Schedule[Ticket] = Schedule(slots, most_of_one)

    @asynccontextmanager
    async def turn(self, key: str, size: int) -> AsyncIterator[None]:
        """Wait for a turn, and have it for as long as the block runs."""
        ticket, waiting = Ticket(key, size), self._schedule.waiting
        waiting.append(ticket)
        self._give()
        try:
            await ticket.turn
            yield
        finally:
            if ticket.turn.done() and not ticket.turn.cancelled():
                self._schedule.end(key)
            elif ticket in waiting:
                waiting.remove(ticket)
            self._give()

    def _give(self) -> None:
        while (ticket := self._schedule.start()) is not None:
            if ticket.turn.done():  # it was cancelled, and has not come to leave yet
                self._schedule.end(ticket.key)
            else:
                ticket.turn.set_result(None)
        self._schedule.forget_when_idle()


class LargeBodyRoom:
    """Room for large bodies that are received, or wait to be planned; bounded in sum, and for each key.

    A key leaves room for one body of the largest size, so that others come in while it has all that it may.
    """

    def __init__(self, room: int, largest: int, patience_seconds: float) -> None:
        self._room, self._largest, self._patience = max(room, 2 * largest), largest, patience_seconds
        self._held: Counter[str] = Counter()
        self._waiting: list[Ticket] = []

    @property
    def held(self) -> int:
        """Return the bytes that are promised."""
        return self._held.total()

    def _fits(self, key: str, size: int) -> bool:
        return self.held + size <= self._room and self._held[key] + size <= self._room - self._largest

    async def enter(self, key: str, size: int) -> None:
        """Wait for room for so many bytes. Raises GatewayError (503)."""
        if self._fits(key, size) and not any(one.key == key for one in self._waiting):
            self._held[key] += size
            return
        ticket = Ticket(key, size)
        self._waiting.append(ticket)
        try:
            async with asyncio.timeout(self._patience):
                await ticket.turn
        except TimeoutError:
            if ticket not in self._waiting:
                self.leave(key, size)
            raise errors.no_room() from None
        except asyncio.CancelledError:
            if ticket not in self._waiting:
                self.leave(key, size)
            raise
        finally:
            if ticket in self._waiting:
                self._waiting.remove(ticket)

    def leave(self, key: str, size: int) -> None:
        """Give room back."""
        self._held[key] -= size
        if not self._held[key]:
            del self._held[key]
        while (ticket := self._next()) is not None:
            self._waiting.remove(ticket)
            self._held[ticket.key] += ticket.size
            ticket.turn.set_result(None)

    def _next(self) -> Ticket | None:
        """Return who comes in next: of each key the one that came first, of those the one whose key holds least."""
        first: dict[str, Ticket] = {}
        for one in self._waiting:
            if not one.turn.done():
                first.setdefault(one.key, one)
        able = [one for one in first.values() if self._fits(one.key, one.size)]
        return min(able, key=lambda one: self._held[one.key], default=None)


class Place:
    """The room that one request has at the door."""

    __slots__ = ("_door", "_held", "_key", "free")

    def __init__(self, door: LargeBodyRoom, key: str, free: int) -> None:
        """Take how many bytes need no room."""
        self._door, self._key, self._held, self.free = door, key, 0, free

    async def take(self, size: int) -> None:
        """Wait for room for so many bytes in all. Raises GatewayError (503)."""
        if not self._held:
            await self._door.enter(self._key, size)
            self._held = size

    def keep(self, size: int) -> None:
        """Give back what is over so many bytes, 0 for all of it."""
        over = self._held - size
        if over > 0:
            self._held = size
            self._door.leave(self._key, over)

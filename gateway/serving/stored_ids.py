"""Ids of what providers keep for clients: responses, their items, conversations. Remembered with their owner.

An id belongs to the team and key that made it, and to the deployment that has it. A process remembers its own at once,
and tells the state in the background, in lots; another process looks there. Both are bounded: what is forgotten does
not exist any more, for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from gateway.memory import USUAL, Memory
from gateway.state import State, StateUnavailable
from gateway.state.codec import Codec, text
from gateway.state.store import Store

KEEP_SECONDS: Final = 30 * 86_400.0
"""Seconds that an id is remembered after the last one of its drawer: responses are kept for 30 days
(platform.openai.com/docs/guides/your-data)."""
DRAWERS: Final = 4096
MOST_IN_DRAWER: Final = 250
"""Ids of one drawer; the oldest goes. A million in all, of a hundred bytes each."""
LONGEST_ID: Final = 200
MOST_WAITING: Final = 50_000
"""Ids that wait for a state that is down."""
TELL_SECONDS: Final = 0.1
_HELD_BYTES: Final = 600


@dataclass(frozen=True, slots=True)
class Holding:
    """The owner of an id, and who has what it names."""

    team: str
    key: str
    model: str
    """The name of the model that was asked."""
    deployment: str


Drawer = Mapping[str, Holding]


def _to_json(drawer: Drawer) -> Any:
    return [[one, held.team, held.key, held.model, held.deployment] for one, held in drawer.items()]


def _from_json(read: Any) -> Drawer:
    return {text(one, LONGEST_ID): Holding(*map(text, held)) for one, *held in read}


_CODEC: Final[Codec[Drawer]] = Codec("stored ids", 1, _to_json, _from_json)


@dataclass(slots=True)
class StoredIds:
    """The ids that this process knows, and the way to those of others. None is looked up without a store."""

    store: Store | None = None
    _known: Memory[str, Holding] = field(default_factory=lambda: Memory(USUAL.bytes_for("placements")))
    _waiting: dict[str, Holding] = field(default_factory=dict)
    _telling: asyncio.Task[None] | None = None

    def note(self, ids: Iterable[str], holding: Holding) -> None:
        """Remember ids that were given out."""
        for one in ids:
            if len(one) <= LONGEST_ID and self._known.get(one) is None:
                self._known.put(one, holding, _HELD_BYTES)
                self._tell_of(one, holding)

    async def holder(self, one: str) -> Holding | None:
        """Return who owns an id and who has it; None for one that nobody was given."""
        found = self._known.get(one)
        if found is not None or self.store is None or len(one) > LONGEST_ID:
            return found
        try:
            raw = await self.store.run(partial(_drawer, _place(one)))
        except StateUnavailable:
            return None
        found = (self.store.understood(_CODEC, raw) or {}).get(one)
        if found is not None:
            self._known.put(one, found, _HELD_BYTES)
        return found

    async def close(self) -> None:
        """Tell the state the rest."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=1.0)

    def _tell_of(self, one: str, holding: Holding) -> None:
        if self.store is None or len(self._waiting) >= MOST_WAITING:
            return
        self._waiting[one] = holding
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        while self._waiting and self.store is not None:
            await asyncio.sleep(TELL_SECONDS)
            waiting, self._waiting = self._waiting, {}
            try:
                await self.store.run(partial(_told, self.store, waiting))
            except StateUnavailable:
                self._waiting = {**waiting, **self._waiting}
                return


def _place(one: str) -> str:
    number = int.from_bytes(blake2b(one.encode(errors="surrogatepass"), digest_size=4).digest(), "big")
    return f"stored_ids/{number % DRAWERS:03x}"


def _drawer(place: str, state: State) -> bytes | None:
    return state.get(place)


def _told(store: Store, waiting: Mapping[str, Holding], state: State) -> None:
    """Put ids into their drawers. In a thread."""
    by_place: dict[str, dict[str, Holding]] = {}
    for one, holding in waiting.items():
        by_place.setdefault(_place(one), {})[one] = holding
    for place, new in by_place.items():
        store.updated(state, place, _CODEC, partial(_with, new), KEEP_SECONDS)


def _with(new: Drawer, held: Drawer | None) -> Drawer:
    """Add ids; one that has an owner keeps it."""
    added = {one: holding for one, holding in new.items() if held is None or one not in held}
    return dict([*(held or {}).items(), *added.items()][-MOST_IN_DRAWER:])

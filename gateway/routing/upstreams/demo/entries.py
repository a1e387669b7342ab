"""The entries of a prompt cache: prefixes by their hash, each for its lifetime, within a bounded room."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MOST_PREFIXES: Final = 65_536


@dataclass(frozen=True, slots=True)
class CachedPrompt:
    """One prefix that is kept."""

    link: bytes
    since: float
    """Start of the request that wrote it or, where reads renew it, used it last; seconds."""
    lifetime: float = math.inf
    """Seconds."""
    weight: int = 1
    """The part of the room that it takes."""


class Entries:
    """The prefixes of one deployment. Beyond the room, those unused for longest are forgotten first."""

    def __init__(self, room: int = MOST_PREFIXES, *, renews: bool = True) -> None:
        """`renews`: a read begins the lifetime anew."""
        self._room = room
        self._renews = renews
        self._taken = 0
        self._by_link: OrderedDict[bytes, CachedPrompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_link)

    def holds(self, link: bytes, now: float) -> bool:
        """Say whether the prefix can be read."""
        entry = self._by_link.get(link)
        return entry is not None and now - entry.since < entry.lifetime

    def use(self, link: bytes, now: float) -> None:
        """Note that a prefix that is held was read."""
        entry = self._by_link[link]
        if self._renews and now > entry.since:
            self._by_link[link] = CachedPrompt(link, now, entry.lifetime, entry.weight)
        self._by_link.move_to_end(link)

    def keep(self, entries: Iterable[CachedPrompt]) -> None:
        """Write prefixes, in this order. One that is alive keeps its lifetime, as nothing was paid for another."""
        for entry in entries:
            if self.holds(entry.link, entry.since):
                self.use(entry.link, entry.since)
                continue
            known = self._by_link.pop(entry.link, None)
            self._taken += entry.weight - (known.weight if known else 0)
            self._by_link[entry.link] = entry
        while self._taken > self._room and self._by_link:
            self._taken -= self._by_link.popitem(last=False)[1].weight

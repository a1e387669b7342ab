"""A prefix of a conversation, and the room that its rules leave it. Nothing here depends on folds. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from gateway.rewriting.folds.outline import Outline
from gateway.rewriting.folds.values import FoldRules
from gateway.rewriting.ladder import Ladders


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first units of a conversation, as a request of its own."""

    outline: Outline
    rules: FoldRules
    ladders: Ladders
    units: int
    width: int | None = None
    """Tokens that are taken for all the room there is, where a prefix that fits is folded."""

    @property
    def last(self) -> int:
        """The number of the last unit; -1 where there is none."""
        return self.units - 1

    @property
    def upto(self) -> int:
        """Messages in the prefix."""
        return self.outline.voiced.anatomy.units[self.units - 1].after if self.units else 0

    @property
    def as_it_came(self) -> int:
        """Tokens before any fold."""
        return self.outline.fixed + self.outline.sums[self.units]

    # ------------------------------------------------------------ who speaks

    @property
    def user(self) -> int | None:
        """The last unit that is a user message, whoever speaks in it."""
        users = self.outline.users
        before = bisect_left(users, self.units)
        return users[before - 1] if before else None

    @property
    def turns(self) -> tuple[int, ...]:
        """Units in which people speak."""
        turns = self.outline.turns
        return turns[: bisect_left(turns, self.units)]

    @property
    def turn(self) -> int | None:
        """The unit in which a person spoke last."""
        turns = self.outline.turns
        before = bisect_left(turns, self.units)
        return turns[before - 1] if before else None

    @property
    def results(self) -> tuple[int, ...]:
        """Units with results."""
        results = self.outline.results
        return results[: bisect_left(results, self.units)]

    @property
    def has_documents(self) -> bool:
        """Whether a person sent documents."""
        numbers = self.outline.documents.numbers
        return bool(numbers) and numbers[0] < self.units

    # ------------------------------------------------------------ the room

    @property
    def whole_room(self) -> int:
        """Tokens beside tools and leading system text."""
        return max(0, self.rules.budget - self.outline.fixed)

    @property
    def room(self) -> int:
        """Tokens that history and input share: less what is set aside for documents, once there were some."""
        room = self.whole_room - (self.rules.documents if self.has_documents else 0)
        return max(0, room if self.width is None else min(room, self.width))

    @property
    def clear(self) -> int:
        """Tokens that a fold frees at least, and that a conversation grows by at least between two."""
        return int(self.rules.clear_at_least * self.room)

    @property
    def newest_bend(self) -> bool:
        """Whether results that nobody has spoken to yet can be shortened (newest.py)."""
        return "crush" in self.ladders.input and self.rules.ceilings is None

"""The lists of one conversation between its folds: the notes that stand, and what a later list may still say. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gateway.rewriting.folds.values import FoldMessage
from gateway.rewriting.history.placed_snippets import PlacedSnippet
from gateway.rewriting.history.value_places import ValuePlaces


@dataclass(frozen=True, slots=True)
class ListState:
    """Everything that lists have decided at one prefix. Numbers are messages."""

    kept: tuple[FoldMessage, ...] = ()
    """The notes and lists that stand."""
    unread: tuple[int, ...] = ()
    """Messages that are gone and were not read for a list yet, in the order in which they went."""
    pool: tuple[PlacedSnippet, ...] = ()
    """Pieces of messages that are gone which a list may still say."""
    seen: ValuePlaces = field(default_factory=ValuePlaces)
    """Places of the values of messages before `seen_upto` that stand or may be listed. A copy is what changes."""
    seen_upto: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of the notes and lists that stand."""
        return sum([line.tokens for line in self.kept])

    def left_out(self, messages: Iterable[int]) -> ListState:
        """Take in messages that go."""
        return replace(self, unread=(*self.unread, *messages))

    def taken_back(self) -> ListState:
        """Take out all notes and lists, so that one is written for everything."""
        return replace(self, kept=())

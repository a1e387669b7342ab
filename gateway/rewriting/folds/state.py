"""The decisions of a conversation's folds up to a prefix, as a frozen value. What came since stands as it came. Pure.

A state is what a process remembers of a walk (walk.py). A fold makes the next one in a draft of its own (draft.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from gateway.rewriting.folds.list_state import ListState
from gateway.rewriting.folds.summary_state import SummaryState
from gateway.rewriting.folds.values import FoldMessage, as_kept
from gateway.rewriting.ladder import Shortened

PIECE_BYTES, VALUE_BYTES, UNIT_BYTES = 100, 200, 100
"""Bytes of a piece, a value and a unit in a state, about."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The messages that folds shortened or left out. Numbers are units unless they are called messages."""

    shortened: Mapping[int, Shortened]
    """By message."""
    settled: AbstractSet[int]
    """Results that every light remedy was tried on: their text does not move any more. Messages."""
    pointers: Mapping[int, tuple[int, ...]]
    """By message, a result: older ones that were replaced by a pointer to it."""
    gone: Mapping[int, str]
    """Units that are left out, and by which remedy."""
    gone_messages: Mapping[int, str]
    tokens: Mapping[int, int]
    """Of each unit that does not take what it came with."""
    documents: Mapping[int, int]
    """By message: tokens of the documents that a person sent in it, where they are fewer than came."""
    saved: int
    """Tokens that all of it takes less than it came with."""
    examples_saved: int
    documents_saved: int


NO_CUTS = Cuts({}, frozenset(), {}, {}, {}, {}, {}, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class LastFold:
    """The last prefix that folded."""

    tokens: int
    """Of the prefix as it came."""
    with_documents: bool
    messages: int
    """No reasoning before this one is bound to what was sent any more."""


@dataclass(frozen=True, slots=True)
class FoldState:
    """Everything that the folds of a conversation have decided."""

    cuts: Cuts = NO_CUTS
    lists: ListState = field(default_factory=ListState)
    summaries: SummaryState = field(default_factory=SummaryState)
    last: LastFold | None = None
    forced: bool = False
    """Whether the last fold came sooner than it should, or freed less."""

    @property
    def saved(self) -> int:
        """Tokens that a prefix takes less than it came with, lines of ours counted in."""
        return self.cuts.saved - self.lists.tokens - self.summaries.tokens

    @property
    def lines(self) -> tuple[FoldMessage, ...]:
        """Our messages in the conversation."""
        return (*self.lists.kept, *map(as_kept, self.summaries.standing))

    @property
    def size_bytes(self) -> int:
        cuts, lists = self.cuts, self.lists
        texts = sum([2 * len(short.text) for short in cuts.shortened.values()])
        texts += sum([2 * len(line.text) for line in self.lines])
        units = len(cuts.tokens) + len(cuts.gone_messages) + len(cuts.settled)
        return UNIT_BYTES * units + PIECE_BYTES * len(lists.pool) + VALUE_BYTES * len(lists.seen) + texts

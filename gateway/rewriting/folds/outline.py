"""A conversation unit by unit as it came: the sizes of every prefix, and the units in which people speak. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from gateway.budget.components import Anatomy
from gateway.rewriting.folds.voiced import Voiced

MOVED_STEP = 64
"""Tokens."""


@dataclass(frozen=True, slots=True)
class UnitSums:
    """Units of one kind, in order, with the tokens of the first none, one, two … of them."""

    numbers: tuple[int, ...]
    sums: tuple[int, ...]

    def tokens(self, units: int) -> int:
        """Sum up those among the first so many units of the conversation."""
        return self.sums[bisect_left(self.numbers, units)]


@dataclass(frozen=True)
class Outline:
    """The facts of a conversation that no fold changes, each read once. Numbers are units unless called messages."""

    voiced: Voiced

    @cached_property
    def moved(self) -> int:
        """Tokens of the text that changes with each request, rounded up."""
        return self.voiced.anatomy.moved_tokens + spare(self.voiced.anatomy)

    @cached_property
    def fixed(self) -> int:
        """Tokens of tools, leading system text and moved text."""
        return self.voiced.anatomy.tools_tokens + self.voiced.anatomy.system_tokens + self.moved

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of each unit."""
        upto = _sums(self.voiced.anatomy.tokens)
        return tuple([upto[unit.after] - upto[unit.first] for unit in self.voiced.anatomy.units])

    @cached_property
    def sums(self) -> tuple[int, ...]:
        """Tokens of the first none, one, two … units."""
        return _sums(self.tokens)

    # ------------------------------------------------------------ who speaks

    @cached_property
    def turns(self) -> tuple[int, ...]:
        """Units in which people speak."""
        voices, units = self.voiced.voices, self.voiced.anatomy.units
        spoken = [n for n, part in enumerate(self.voiced.parts) if part in _SPOKEN]
        return tuple([n for n in spoken if voices[units[n].first] == "said"])

    @cached_property
    def users(self) -> tuple[int, ...]:
        """User messages, whoever speaks in them, but examples."""
        messages, parts = self.voiced.anatomy.conversation.messages, self.voiced.parts
        asks = [n for n, unit in enumerate(self.voiced.anatomy.units) if messages[unit.first].role == "user"]
        return tuple([n for n in asks if parts[n] != "example"])

    @cached_property
    def results(self) -> tuple[int, ...]:
        """Units with results."""
        voices, units = self.voiced.voices, self.voiced.anatomy.units
        return tuple([n for n, unit in enumerate(units) if "result" in voices[unit.first : unit.after]])

    @cached_property
    def examples(self) -> UnitSums:
        numbers = tuple([n for n, part in enumerate(self.voiced.parts) if part == "example"])
        return UnitSums(numbers, _sums([self.tokens[n] for n in numbers]))

    # ------------------------------------------------------------ documents

    @cached_property
    def documents(self) -> UnitSums:
        """Units that a person sent with documents in them, and the documents' tokens."""
        units, tokens, parts = self.voiced.anatomy.units, self.voiced.documents, self.voiced.parts
        numbers = [n for n, unit in enumerate(units) if tokens[unit.first] and parts[n] != "example"]
        return UnitSums(tuple(numbers), _sums([tokens[units[n].first] for n in numbers]))

    @cached_property
    def document_tokens(self) -> Mapping[int, int]:
        """The same by message."""
        firsts = [self.voiced.anatomy.units[n].first for n in self.documents.numbers]
        return {first: self.voiced.documents[first] for first in firsts}

    @cached_property
    def retrieved(self) -> tuple[tuple[int, int], ...]:
        """Units and messages of results that are documents."""
        units, component = self.voiced.anatomy.units, self.voiced.anatomy.component
        return tuple([(n, index) for n in self.results for index in units[n] if component[index] == "documents"])


_SPOKEN = frozenset(("said", "task", "shot"))


def _sums(tokens: Iterable[int]) -> tuple[int, ...]:
    return tuple(accumulate(tokens, initial=0))


def spare(anatomy: Anatomy) -> int:
    """Return the tokens that are kept free besides for text that changes with each request: what it takes is rounded
    up, so that a longer date does not move the grid.
    """
    return -anatomy.moved_tokens % MOVED_STEP

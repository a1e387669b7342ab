"""A conversation unit by unit as it came: the sizes of every prefix, and the units in which people speak. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Outline:
    """The facts of a conversation that no fold changes. Numbers are units unless they are called messages."""

    voiced: Voiced
    moved: int
    """Tokens of the text that changes with each request, rounded up."""
    fixed: int
    """Tokens of tools, leading system text and moved text."""
    tokens: tuple[int, ...]
    """Of each unit."""
    sums: tuple[int, ...]
    """Tokens of the first none, one, two … units."""
    turns: tuple[int, ...]
    """Units in which people speak."""
    users: tuple[int, ...]
    """User messages, whoever speaks in them."""
    results: tuple[int, ...]
    examples: UnitSums
    documents: UnitSums
    """Units that a person sent with documents in them, and the documents' tokens."""
    document_tokens: Mapping[int, int]
    """The same by message."""
    retrieved: tuple[tuple[int, int], ...]
    """Units and messages of results that are documents."""


def outline_of(voiced: Voiced) -> Outline:
    """Read a conversation once."""
    anatomy, parts, voices = voiced.anatomy, voiced.parts, voiced.voices
    messages, units, component = anatomy.conversation.messages, anatomy.units, anatomy.component
    firsts = [unit.first for unit in units]
    tokens = tuple([sum(anatomy.tokens[unit.first : unit.after]) for unit in units])
    results = tuple([n for n, unit in enumerate(units) if "result" in voices[unit.first : unit.after]])
    is_example = [part == "example" for part in parts]
    examples = [n for n, it_is in enumerate(is_example) if it_is]
    held = [n for n, first in enumerate(firsts) if voiced.documents[first] and not is_example[n]]
    document_tokens = {firsts[n]: voiced.documents[firsts[n]] for n in held}
    moved = anatomy.moved_tokens + spare(anatomy)
    return Outline(
        voiced=voiced,
        moved=moved,
        fixed=anatomy.tools_tokens + anatomy.system_tokens + moved,
        tokens=tokens,
        sums=_sums(tokens),
        turns=tuple([n for n, part in enumerate(parts) if part in _SPOKEN and voices[firsts[n]] == "said"]),
        users=tuple([n for n, first in enumerate(firsts) if messages[first].role == "user" and not is_example[n]]),
        results=results,
        examples=UnitSums(tuple(examples), _sums([tokens[n] for n in examples])),
        documents=UnitSums(tuple(held), _sums([*document_tokens.values()])),
        document_tokens=document_tokens,
        retrieved=tuple([(n, index) for n in results for index in units[n] if component[index] == "documents"]),
    )


_SPOKEN = frozenset(("said", "task", "shot"))


def _sums(tokens: tuple[int, ...] | list[int]) -> tuple[int, ...]:
    return tuple(accumulate(tokens, initial=0))


def spare(anatomy: Anatomy) -> int:
    """Return the tokens that are kept free besides for text that changes with each request: what it takes is rounded
    up, so that a longer date does not move the grid.
    """
    return -anatomy.moved_tokens % MOVED_STEP

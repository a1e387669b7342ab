"""Snippets with their place in a conversation: the message that each stands in, and its speaker.

What a newer reading of the same thing says anew is left out (`current`). speakers.py names the speakers, ranking.py
orders the pieces, artifacts.py chooses among them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gateway.rewriting.history.snippets import PRESERVED, Snippet


@dataclass(frozen=True, slots=True)
class PlacedSnippet:
    """A snippet, and where in the conversation it stands."""

    at: int
    """Index of its message."""
    place: int
    """Its number in the message."""
    who: str
    """Its speaker: a name, the tool of a result and the file it was called with, else the role."""
    said: Snippet
    speaker: str = ""
    """The role of its message."""


def pieces_of(at: int, who: str, snippets: Iterable[Snippet], speaker: str = "") -> Iterator[PlacedSnippet]:
    """Give what a message was read into its place."""
    return (PlacedSnippet(at, place, who, said, speaker) for place, said in enumerate(snippets))


def current(pieces: Iterable[PlacedSnippet], newer: Callable[[int], Iterable[Snippet]]) -> Iterator[PlacedSnippet]:
    """Leave out what a newer reading says anew: the same call, answered in the same shape. `newer` gives its pieces."""
    shapes: dict[int, frozenset[tuple[object, ...]]] = {}
    for piece in pieces:
        found = shapes.get(piece.at)
        if found is None:
            found = shapes[piece.at] = frozenset(map(_shape_of, newer(piece.at)))
        if not found or piece.said.worth >= PRESERVED or _shape_of(piece.said) not in found:
            yield piece


_DIGITS = re.compile(r"\d+")


def _shape_of(said: Snippet) -> tuple[object, ...]:
    """Tell what a piece is about, without its readings."""
    if said.kind == "row":
        is_one_of_many = len(said.cells) > 1 and said.names[0] not in ("", "status", "state")
        return (said.title, said.names, said.cells[0] if is_one_of_many and not said.cells[0].isdigit() else "")
    return (said.kind, _DIGITS.sub("#", said.text))


def said_by(pieces: Iterable[PlacedSnippet]) -> frozenset[str]:
    """List the values and the sentences of pieces: what a conversation is remembered by."""
    held = {value for piece in pieces for value in piece.said.values}
    return frozenset(held | {piece.said.text for piece in pieces if piece.said.kind != "row"})

"""The reading of messages into snippets, remembered, with the sentences that a policy preserves in front.

message_snippets.py reads a message, preserved_sentences.py finds what is preserved.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import cast

from gateway.conversation import Message
from gateway.memory import Memory
from gateway.rewriting.history.message_snippets import snippets
from gateway.rewriting.history.preserved_sentences import preserved
from gateway.rewriting.history.snippets import PRESERVED, Snippet

_LARGE_CHARS = 64_000
"""Characters from which on a text's pieces may be more than the memory takes."""


class Reader:
    """Reads messages into snippets, and remembers them; sentences that `preserve` names come before everything."""

    def __init__(self, memory: Memory[Hashable, tuple[object, ...]], preserve: tuple[str, ...] = ()) -> None:
        self._memory, self._preserve = memory, preserve
        self._large: dict[Hashable, tuple[object, ...]] = {}
        """Results that the memory may be too small for; they are asked for several times in one walk."""

    def snippets(self, message: Message) -> tuple[Snippet, ...]:
        key = (message.role, message.text, message.calls, len(message.media), self._preserve)
        found = self._memory.get(key)
        if found is None:
            found = self._large.get(key)
        if found is None:
            pieces = _with_preserved(snippets(message), tuple(preserved(message.text, self._preserve)))
            found = pieces
            size = 200 * len(pieces) + 2 * len(message.text) + sum(len(piece.body) for piece in pieces)
            self._memory.put(key, found, size)
            if len(message.text) > _LARGE_CHARS:
                self._large[key] = found
        return cast("tuple[Snippet, ...]", found)

    def values(self, message: Message) -> Iterator[str]:
        """Yield what a message holds: its values, and its sentences and lines."""
        for piece in self.snippets(message):
            yield from piece.values
            if piece.kind != "row":
                yield piece.text


def _with_preserved(pieces: tuple[Snippet, ...], kept: tuple[Snippet, ...]) -> tuple[Snippet, ...]:
    """Mark the pieces that a policy preserves; those that are cut otherwise come first."""
    if not kept:
        return pieces
    by_text = {piece.text: piece for piece in kept}
    marked = [piece if piece.text not in by_text else replace(piece, worth=PRESERVED) for piece in pieces]
    there = {piece.text for piece in marked if piece.worth >= PRESERVED}
    return (*[piece for piece in kept if piece.text not in there], *marked)

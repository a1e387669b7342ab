"""A process's memory of texts that it worked on, so that a known text is never read twice. Bounded in bytes.

Nothing that is sent depends on it: what is not remembered is worked out again, to the same end.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Any

from gateway.conversation import Message
from gateway.memory import USUAL, Memory
from gateway.rewriting import volatile
from gateway.rewriting.documents import relevance
from gateway.rewriting.documents.recognition import Found
from gateway.rewriting.voices import Voice


class Known:
    """Everything that planning remembers. Handed in, one for a process."""

    __slots__ = (
        "asks", "documents", "extracted", "found", "newest", "recalled", "said", "shortened", "snippets", "values",
        "voices", "volatile", "walks",
    )  # fmt: skip

    def __init__(self, most_bytes: int = USUAL.bytes_for("planning")) -> None:
        part = most_bytes // 92
        self.shortened: Memory[tuple[str, str], str] = Memory(6 * part)
        """(remedy, text) → what the remedy makes of it."""
        self.newest: Memory[Hashable, tuple[str, str]] = Memory(2 * part)
        """The newest results that did not fit: by all that decides it, the remedy and what it makes of the text."""
        self.snippets: Memory[Hashable, tuple[object, ...]] = Memory(16 * part)
        self.recalled = relevance.ReadingMemory(14 * part)
        self.extracted = relevance.ReadingMemory(14 * part)
        """Apart from `recalled`: the same text is cut into other passages."""
        self.asks: Memory[tuple[int, int], float] = Memory(part)
        """The degree to which messages sounded like questions about earlier ones (warrant.py)."""
        self.said: Memory[Message, int] = Memory(7 * part)
        """The content of a message, as a hash that is good for one process."""
        self.walks: Memory[int, Any] = Memory(14 * part)
        """States of walks over conversations (folds/walk.py), by the content of the prefix."""
        self.voices: Memory[Message, Voice] = Memory(2 * part)
        """The speakers of messages (voices.py)."""
        self.documents: Memory[tuple[Message, tuple[str, ...]], int] = Memory(part)
        """Tokens of the documents in messages, by the tags that were looked for."""
        self.found: Found = Memory(4 * part)
        """The places of documents in texts."""
        self.values: Memory[Hashable, array[int]] = Memory(4 * part)
        """The values of texts that rewrites touched (retention.py)."""
        self.volatile = volatile.SystemTextMemory(7 * part)
        """System texts, and what of them is declared volatile."""

    @property
    def held_bytes(self) -> int:
        """The bytes of what is remembered by message and text, about; readings of documents count their own."""
        kept = [getattr(self, name) for name in self.__slots__]
        return sum(one.held_bytes for one in kept if isinstance(one, Memory))

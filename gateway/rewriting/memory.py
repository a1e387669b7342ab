"""A process's memory of texts that it worked on, so that a known text is never read twice. Bounded in bytes.

Nothing that is sent depends on it: what is not remembered is worked out again, to the same end.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from gateway.conversation import Message
from gateway.memory import Memory
from gateway.rewriting import volatile
from gateway.rewriting.documents import relevance
from gateway.rewriting.documents.recognition import Found
from gateway.rewriting.voices import Voice


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that planning remembers. Handed in, one for a process."""

    shortened: Memory[tuple[str, str], str] = field(default_factory=lambda: Memory(8 * 2**20))
    """(remedy, text) → what the remedy makes of it."""
    snippets: Memory[Hashable, tuple[object, ...]] = field(default_factory=lambda: Memory(16 * 2**20))
    recalled: relevance.Memory = field(default_factory=relevance.Memory)
    asks: Memory[tuple[int, int], float] = field(default_factory=lambda: Memory(2**20))
    """The degree to which messages sounded like questions about earlier ones (recall.py)."""
    extracted: relevance.Memory = field(default_factory=relevance.Memory)
    """Apart from `recalled`: the same text is cut into other passages."""
    said: Memory[Message, int] = field(default_factory=lambda: Memory(8 * 2**20))
    """The content of a message, as a hash that is good for one process."""
    walks: Memory[int, Any] = field(default_factory=lambda: Memory(16 * 2**20))
    """States of walks over conversations (folds.py), by the content of the prefix."""
    voices: Memory[Message, Voice] = field(default_factory=lambda: Memory(2 * 2**20))
    """The speakers of messages (voices.py)."""
    documents: Memory[tuple[Message, tuple[str, ...]], int] = field(default_factory=lambda: Memory(2**20))
    """Tokens of the documents in messages, by the tags that were looked for."""
    found: Found = field(default_factory=lambda: Memory(4 * 2**20))
    """The places of documents in texts."""
    values: Memory[Hashable, array[int]] = field(default_factory=lambda: Memory(4 * 2**20))
    """The values of texts that rewrites touched (retention.py)."""
    volatile: volatile.Memo = field(default_factory=volatile.Memo)
    """System texts, and what of them is declared volatile."""

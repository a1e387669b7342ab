"""The memory of what was read, by its bytes. Pure."""

from __future__ import annotations

from typing import Any

from gateway.memory import USUAL, Memory

_ENTRY_BYTES = 900
"""Bytes of one entry of the memo besides its bytes and text: objects, and its place in the dictionary."""


class Memo(Memory[bytes, Any]):
    """Values read from bytes, by those bytes, so that known text is never read twice.

    What chat reads of a message has the message's own bytes as its key. Any other key begins with a word, as no JSON
    does: the same bytes are something else in another shape.
    """

    def __init__(self, most_bytes: int = USUAL.bytes_for("parsed requests")) -> None:
        super().__init__(most_bytes)

    def keep(self, raw: bytes, read: Any, size: int) -> None:
        """Keep a value read from these bytes; `size` is its own, in bytes."""
        self.put(raw, read, len(raw) + size + _ENTRY_BYTES)

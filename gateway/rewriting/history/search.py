"""One search of folded messages for a question: read once, for its worth (warrant.py) and its excerpts (recall.py)."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.rewriting.documents.relevance import ReadingMemory
from gateway.rewriting.history import recall, warrant
from gateway.rewriting.history.folded_messages import FoldedMessage
from gateway.rewriting.history.question import asked_terms, view_of


class Search:
    """A question, and the folded messages as they bear on it.

    `memory` is what the process remembers of texts; without one everything is read anew, to the same end.
    """

    def __init__(self, question: str, folded: Sequence[FoldedMessage], memory: ReadingMemory | None = None) -> None:
        self._question = question
        self._view = view_of(question, folded, ReadingMemory() if memory is None else memory)
        self._wanted = asked_terms(question, self._view)

    def warranted(self, room: int, standing: Sequence[str] = (), before: Sequence[str] = ()) -> int:
        """Say how many tokens of excerpts, up to `room`, the relevance of what is folded is worth."""
        return warrant.warranted(self._question, self._view, self._wanted, room, standing, before)

    def excerpts(self, room: int, count: recall.Count, standing: Sequence[str] = ()) -> str | None:
        """Write the body of the message that stands right before the final unit: at most `room` tokens, or None."""
        return recall.excerpts(self._view, self._wanted, room, count, standing)

"""The messages that are not in a request any more, or not whole, and the parts that each is searched by. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple


class FoldedMessage(NamedTuple):
    """A message that is not in the request any more, or not whole."""

    at: int
    """Its index in the conversation."""
    tool: str | None
    role: str
    text: str
    name: str | None = None
    media: tuple[str, ...] = ()
    """The kinds of its parts that are no text."""
    documents: tuple[tuple[int, int], ...] = ()
    """The places of documents in its text: each is weighed by itself, and the words around them stay folded."""
    place: str | None = None
    """Its place in the request, where that is more than its index."""


class FoldedPart(NamedTuple):
    """A text that is weighed by itself: a message, a document in one, or the words around the documents."""

    message: FoldedMessage
    text: str
    kind: Literal["said", "document", "around"] = "said"


def parts_of(message: FoldedMessage) -> Iterator[FoldedPart]:
    """Take a message apart into its documents and what is said around them."""
    if not message.documents:
        yield FoldedPart(message, message.text)
        return
    at, around = 0, []
    for start, end in message.documents:
        around.append(message.text[at:start])
        at = end
    around.append(message.text[at:])
    yield FoldedPart(message, "\n".join([text.strip() for text in around if text.strip()]), "around")
    for start, end in message.documents:
        yield FoldedPart(message, message.text[start:end], "document")

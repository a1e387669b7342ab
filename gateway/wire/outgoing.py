"""What a deployment's requests hold beyond the client's. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.wire.foreign import Reception
from gateway.wire.lexical import object_spans, splice


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The form in which a deployment takes chats that are made of another shape's requests."""

    is_claude: bool = False
    """Whether litellm writes them for Claude: `thinking` and `top_k` go along, and media inside results."""
    takes_markers: bool = False
    """Whether `cache_control` is taken."""
    limit: str = "max_tokens"
    """The name of the answer limit."""
    most_answer: int | None = None
    """The longest answer that its model gives; one that asks for more would be refused."""


USUAL: Final = ChatForm()


@dataclass(frozen=True, slots=True)
class Additions:
    """Members that one deployment's requests hold beyond the client's, and those that they do not hold."""

    defaults: tuple[tuple[str, bytes], ...] = ()
    """Members, as JSON, where the client does not send them, or sends null."""
    left_out: frozenset[str] = frozenset()
    """Members that do not leave."""
    usage: bool = True
    """Whether a stream is asked for its usage event; otherwise the client does not ask for it either."""
    takes: Reception | None = None
    """The parts of other providers' answers that are taken; None for everything."""
    answer_limit: int | None = None
    """The answer limit, where neither the client nor `defaults` name one."""
    chats: ChatForm = USUAL


PLAIN = Additions()

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The members that limit an answer, in whatever shape."""


def with_ceiling(body: bytes, most: int, usual: str) -> bytes:
    """Return a body whose answer limits are at most this; where it has none, `usual` is put in."""
    spans = object_spans(body)
    edits = []
    for name in _LIMITS:
        if name in spans:
            start, end = spans[name]
            written = body[start:end]
            if not written.isdigit() or int(written) > most:
                edits.append((start, end, b"%d" % most))
    if not any(name in spans for name in _LIMITS):
        end = body.rindex(b"}")
        edits.append((end, end, b',"%s":%d' % (usual.encode(), most)))
    return splice(body, edits)

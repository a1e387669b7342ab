"""What a deployment's requests hold beyond the client's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.wire.foreign import Reception
from gateway.wire.lexical import cuts, object_spans, splice, value


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The form in which a deployment takes chats that are made of another shape's requests."""

    is_claude: bool = False
    """Whether litellm writes them for Claude: `thinking` and `top_k` go along, and media inside results."""
    takes_markers: bool = False
    """Whether `cache_control` is taken."""
    limit: str = "max_tokens"
    """The name of the answer limit."""
    takes_effort: bool = True
    """Whether it may be told how much to reason."""
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


def as_streamed(body: bytes, *, asks_usage: bool) -> bytes:
    """Return a body that asks for a stream, and, in a chat, for its usage."""
    spans = object_spans(body)
    wanted = {"stream": b"true"} | ({"stream_options": b'{"include_usage":true}'} if asks_usage else {})
    edits = [(*spans[name], value) for name, value in wanted.items() if name in spans]
    end = body.rindex(b"}")
    added = b"".join([b',"%s":%b' % (name.encode(), value) for name, value in wanted.items() if name not in spans])
    return splice(body, [*edits, (end, end, added)])


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


def with_other_members(body: bytes, taken_out: frozenset[str], put_in: Mapping[str, Any]) -> bytes:
    """Return a body without some members, and with others where it says nothing of them; all else keeps its bytes."""
    spans = object_spans(body)
    written = b"".join(
        b",%b:%b" % (orjson.dumps(name), orjson.dumps(value)) for name, value in put_in.items() if name not in spans
    )
    end = body.rindex(b"}")
    edits = cuts(body, spans, taken_out & spans.keys())
    if written and spans.keys() <= taken_out:
        written = written[1:]
    return splice(body, [*edits, (end, end, written)])


_EDITS: Final = "context_management"


def with_edits_of(body: bytes, types: frozenset[str]) -> bytes:
    """Return a body whose context edits are of these types alone; without any, the member goes."""
    if _EDITS.encode() not in body or _EDITS not in (spans := object_spans(body)):
        return body
    said = value(body[slice(*spans[_EDITS])])
    listed = said.get("edits") if isinstance(said, dict) else None
    edits = listed if isinstance(listed, list) else []
    left = [one for one in edits if isinstance(one, dict) and one.get("type") in types]
    if len(left) == len(edits) and edits:
        return body
    if not left:
        return splice(body, cuts(body, spans, {_EDITS}))
    return splice(body, [(*spans[_EDITS], orjson.dumps({**said, "edits": left}))])

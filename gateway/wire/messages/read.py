"""Messages read: bytes in, values out.

A request is read once. Everything we do not act on rides along in the original bytes. Source of the shape:
https://platform.claude.com/docs/en/api/messages/create

A message of the wire is one of ours, but for one with results: each of those is a message, wherever it stands, and so
is each run of other blocks beside them. A system text of several blocks is as many messages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from gateway.conversation import Conversation, Message
from gateway.request import NO_CACHING, Caching, Request
from gateway.wire.chat.cache_marks import marker_of
from gateway.wire.chat.read import MOST_PARTS, MOST_THINKING
from gateway.wire.errors import invalid_request
from gateway.wire.lexical import DuplicateKey, NotJSON, Span, array_spans, object_spans, value
from gateway.wire.members import listed_messages, ours_in_metadata, positive, read_members, wants_thinking
from gateway.wire.memo import Memo
from gateway.wire.messages.blocks import RESULT, result_message, said_message
from gateway.wire.messages.clearing import MEMBER, clearing_of
from gateway.wire.messages.definitions import NO_DEFINITIONS, Definitions, read_definitions

NAME: Final = "messages"

_SEPARATE: Final = frozenset({"messages", "system", "tools"})
"""Members read by their own rule."""
_READ: Final = frozenset(
    {"model", "stream", "max_tokens", "metadata", "service_tier", "thinking", "cache_control", "output_config",
     "output_format", MEMBER}
)  # fmt: skip
"""Members whose value matters to us; all others are proven to be JSON, and ride along unread."""
_DEFINING: Final = frozenset({"tools", "output_config", "output_format"})
_CACHING: Final = frozenset({"tools", "cache_control"})


class MessagePlaces(NamedTuple):
    """The places in the body that its writer needs: its `Request.original`."""

    spans: Mapping[str, Span]
    """Of the values of top-level members."""
    wire: tuple[Span, ...]
    """Of the messages of the wire."""
    messages: tuple[Span, ...]
    """Of each message of ours: a string, or blocks from the first to the last."""
    owners: tuple[int, ...]
    """The message of the wire that each of ours stands in; -1 for the system text."""
    tools_end: int | None = None
    """For a cache marker behind the tools; None where none can stand."""
    ours: tuple[tuple[int, int, bytes], ...] = ()
    """Splices that take what is said to us alone out of members of the body."""
    gone: frozenset[str] = frozenset()
    """Members that hold nothing else, and leave no more."""

    def extent(self, first: int, after: int) -> int:
        """Return the bytes from the beginning of one message to the end of another."""
        return max(0, self.messages[after - 1].end - self.messages[first].start)


class _Piece(NamedTuple):
    """A message of ours, and where it stands among the bytes of a message of the wire."""

    message: Message
    start: int
    end: int
    block: int
    """The number of its first block; -1 where it is all of the message."""


def parse(body: bytes, memo: Memo) -> Request:
    """Read a request body.

    Raises GatewayError (400, naming what and where) for what is not JSON, not an object, has no list of messages,
    names a key twice at the top level or in a message, or nests too deeply.
    """
    spans, fields = read_members(body, _READ, _SEPARATE)
    model, stream = fields.get("model"), fields.get("stream")
    if not isinstance(model, str) or not model:
        raise invalid_request("`model` must be the name of a model, as a string.", "model")
    if not isinstance(stream, bool | None):
        raise invalid_request("`stream` must be true or false; servers read anything else as they like.", "stream")
    read = _Reader(body, memo)
    if "system" in spans:
        read.add_system(spans["system"])
    wire = read.add_messages(spans)
    definitions = NO_DEFINITIONS if _DEFINING.isdisjoint(spans) else read_definitions(body, spans, fields, memo)
    metadata, tier = fields.get("metadata"), fields.get("service_tier")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    ours, gone = ours_in_metadata(body, spans, metadata)
    messages = tuple(read.messages)
    return Request(
        shape=NAME,
        body=body,
        original=MessagePlaces(
            spans, wire, tuple(read.spans), tuple(read.owners), _tools_end(spans, definitions), ours, gone
        ),
        model=model,
        conversation=Conversation(
            messages, definitions.texts, definitions.tools, None, definitions.unmarked, tuple(read.places)
        ),
        most_tokens=len(body) + len(messages) + definitions.grown,
        stream=stream is True,
        asks_usage=True,
        answer_limit=positive(fields.get("max_tokens")),
        limited_by="max_tokens",
        thinking=_thinking(fields.get("thinking")),
        user=user if isinstance(user, str) and user else None,
        metadata=metadata if isinstance(metadata, dict) else {},
        choices=1,
        service_tier=tier if isinstance(tier, str) else None,
        tools_size=definitions.size,
        may_select="tools" in spans,
        caching=NO_CACHING if _CACHING.isdisjoint(spans) else _caching(fields, definitions),
        has_stream_options=True,
        left_from_chats=(MEMBER,) if fields.get(MEMBER) else (),
        clearing=clearing_of(fields.get(MEMBER)),
        reasons=wants_thinking(fields),
    )


def _tools_end(spans: Mapping[str, Span], definitions: Definitions) -> int | None:
    return None if definitions.end is None else spans["tools"].start + definitions.end


def _caching(fields: Mapping[str, Any], definitions: Definitions) -> Caching:
    return Caching(
        tool_markers=definitions.markers,
        may_mark_tools=definitions.end is not None,
        end_marker=marker_of("control", fields.get("cache_control")),
    )


def _thinking(said: Any) -> int:
    """Read a budget for thinking; what is beyond any model is none, and so is one that the model chooses itself."""
    budget = positive(said.get("budget_tokens")) if isinstance(said, dict) and said.get("type") == "enabled" else None
    return budget if budget is not None and budget <= MOST_THINKING else 0


class _Reader:
    """The messages of a request, as they are read."""

    __slots__ = ("_body", "_memo", "messages", "owners", "places", "spans")

    def __init__(self, body: bytes, memo: Memo) -> None:
        self._body, self._memo = body, memo
        self.messages: list[Message] = []
        self.spans: list[Span] = []
        self.owners: list[int] = []
        self.places: list[str] = []

    def add_system(self, within: Span) -> None:
        """Read the system text: a string, or blocks."""
        body = self._body
        if body[within.start : within.start + 1] not in (b'"', b"["):
            if body[slice(*within)] == b"null":
                return
            raise invalid_request("`system` must be a text, or a list of blocks.", "system")
        try:
            if body[within.start : within.start + 1] == b'"':
                self._add(self._remembered(b"system", body[slice(*within)], _system_text), within, -1, "system")
                return
            for number, span in enumerate(array_spans(body, within)):
                read = self._remembered(b"system", body[slice(*span)], _system_block)
                self._add(read, span, -1, f"system[{number}]")
        except NotJSON as error:
            raise invalid_request(f"`system` is not valid JSON: {error}.", "system") from None

    def _remembered(self, kind: bytes, raw: bytes, read: Any) -> Message:
        key = kind + raw
        message: Message | None = self._memo.get(key)
        if message is None:
            message = read(raw)
            self._memo.keep(key, message, sys.getsizeof(message.text))
        return message

    def add_messages(self, spans: Mapping[str, Span]) -> tuple[Span, ...]:
        """Read the messages of the wire, and return where they stand."""
        found, body, get = listed_messages(self._body, spans), self._body, self._memo.get
        messages, spans_of, owners, places, new = self.messages, self.spans, self.owners, self.places, tuple.__new__
        named = message_places(len(found))
        for number, (start, end) in enumerate(found):
            key = b"messages" + body[start:end]
            pieces = get(key)
            if pieces is None:
                pieces = _pieces(body[start:end], number)
                self._memo.keep(key, pieces, sum(map(_held_bytes, pieces)))
            for message, at, after, block in pieces:
                messages.append(message)
                spans_of.append(new(Span, (start + at, start + after)))
                owners.append(number)
                places.append(named[number] if block < 0 else f"{named[number]}.content[{block}]")
        return tuple(found)

    def _add(self, message: Message, span: Span, owner: int, place: str) -> None:
        self.messages.append(message)
        self.spans.append(span)
        self.owners.append(owner)
        self.places.append(place)


@lru_cache(maxsize=256)
def message_places(count: int) -> tuple[str, ...]:
    """Name so many messages of the wire for people."""
    return tuple([f"messages[{number}]" for number in range(count)])


def _system_text(raw: bytes) -> Message:
    return Message("system", value(raw))


def _system_block(raw: bytes) -> Message:
    return said_message("system", [value(raw)])


def _pieces(raw: bytes, index: int) -> tuple[_Piece, ...]:
    """Read one message of the wire."""
    where = f"messages[{index}]"
    try:
        if raw[:1] != b"{":
            raise invalid_request(f"`{where}` must be an object with a role.", where)
        spans, fields = object_spans(raw), value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{where}` is not valid JSON: {error}.", where) from None
    except DuplicateKey as error:
        raise invalid_request(f"`{where}` names the key {error.key!r} twice; send it once.", where) from None
    role, content = fields.get("role"), fields.get("content")
    role = role if isinstance(role, str) else ""
    if isinstance(content, list) and content:
        if len(content) > MOST_PARTS:
            said = f"`{where}` holds {len(content):,} blocks; no more than {MOST_PARTS:,} are read."
            raise invalid_request(said, where)
        places = array_spans(raw, spans["content"])
        _refuse_repeated(raw, places, content, where)
        return tuple(_runs(role, content, places))
    start, end = spans.get("content", Span(0, len(raw)))
    if isinstance(content, str):
        return (_Piece(Message(role, content), start, end, -1),)
    form = "missing" if "content" not in fields else "null" if content is None else "other"
    return (_Piece(Message(role, content=form), start, end, -1),)  # type: ignore[arg-type]  # literals


def _refuse_repeated(raw: bytes, spans: Sequence[Span], content: Sequence[Any], where: str) -> None:
    """Refuse a block that names a key twice: two readers of it may each believe another value."""
    for number, (span, block) in enumerate(zip(spans, content, strict=True)):
        if isinstance(block, dict):
            try:
                object_spans(raw[slice(*span)])
            except DuplicateKey as error:
                place = f"{where}.content[{number}]"
                raise invalid_request(f"`{place}` names the key {error.key!r} twice; send it once.", place) from None


def _runs(role: str, content: Sequence[Any], spans: Sequence[Span]) -> Iterator[_Piece]:
    """Yield a message for each result of a user's message, and one for each run of other blocks."""
    if role != "user" or not any(map(_is_result, content)):
        yield _Piece(said_message(role, content), spans[0].start, spans[-1].end, -1)
        return
    for is_result, run in groupby(range(len(content)), key=lambda at: _is_result(content[at])):
        blocks = list(run)
        if is_result:
            yield from (_Piece(result_message(content[at]), *spans[at], at) for at in blocks)
        else:
            first, last = blocks[0], blocks[-1]
            said = said_message(role, content[first : last + 1])
            yield _Piece(said, spans[first].start, spans[last].end, first)


def _is_result(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == RESULT


def _held_bytes(piece: _Piece) -> int:
    message = piece.message
    parts = message.parts if len(message.parts) > 1 else ()
    return sum(map(sys.getsizeof, (message.text, *filter(None, parts), *(one.data for one in message.media))))

"""Responses read: bytes in, values out. A request is read once; all else rides along in the original bytes.

Source of the shape: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from gateway.conversation import Conversation, Marker, Message
from gateway.request import Caching, Request
from gateway.wire.chat.read import MOST_PARTS
from gateway.wire.errors import invalid_request
from gateway.wire.lexical import DuplicateKey, NotJSON, Span, object_spans, value
from gateway.wire.members import elements, ours_in_metadata, positive, read_members, wants_thinking
from gateway.wire.memo import Memo
from gateway.wire.responses.items import HARMLESS, UNSEEN, both, item_kind, item_message, joined_marks

NAME: Final = "responses"

_SEPARATE: Final = frozenset({"input", "instructions", "tools"})
_READ: Final = frozenset(
    {
        *("model", "stream", "max_output_tokens", "user", "safety_identifier", "metadata", "text"),
        *("service_tier", "prompt_cache_options", "store", "background", "reasoning"),
        *("previous_response_id", "conversation", "prompt"),
    }
)
"""Members whose value matters to us; all others are proven to be JSON, and ride along unread."""
ELSEWHERE: Final = ("previous_response_id", "conversation", "prompt")
"""Members by which a request names words that the provider holds."""
_ITEM: Final = b"responses "
_TOOLS: Final = b"responses tools "
_INSTRUCTIONS: Final = b"responses instructions "


class ResponsePlaces(NamedTuple):
    """The places in the body that its writer needs: the `Request.original` of this shape."""

    spans: Mapping[str, Span]
    """Of the values of top-level members."""
    messages: tuple[Span, ...]
    """The string of the instructions, if there are any; then the string of the input, or its items."""
    instructions: int = 0
    """The number of messages that are instructions: one, or none."""
    is_text: bool = False
    """True if the input is a string."""
    background: bool = False
    """True if the answer is to be written whether or not anybody waits for it."""
    ours: tuple[tuple[int, int, bytes], ...] = ()
    """Splices that take what is said to us alone out of members of the body."""
    gone: frozenset[str] = frozenset()
    """Members that hold nothing else, and leave no more."""

    def extent(self, first: int, after: int) -> int:
        """Return the bytes of some messages; instructions may stand anywhere."""
        if first < self.instructions:
            return sum([end - start for start, end in self.messages[first:after]])
        return self.messages[after - 1].end - self.messages[first].start


class _Input(NamedTuple):
    """The messages of a request and their places."""

    spans: tuple[Span, ...]
    messages: tuple[Message, ...]
    places: tuple[str, ...]
    is_text: bool
    references: tuple[str, ...]
    """Ids of items that the provider holds, and the request only names."""


class _Tools(NamedTuple):
    """The tools of a request: as counted, their number, by how much longer they are, and if a marker may follow."""

    text: str = ""
    number: int = 0
    grown: int = 0
    may_mark: bool = False
    left_from_chats: tuple[str, ...] = ()
    """Those that no chat has, and that a model does without."""


_NO_TOOLS: Final = _Tools()
_PROVIDERS_OWN: Final = ("context_management",)
"""Members by which the provider is told to shorten the input by itself, which no chat has
(platform.openai.com/docs/guides/compaction)."""


def parse(body: bytes, memo: Memo) -> Request:
    """Read a request body. Raises GatewayError (400, naming what and where) for what is no request."""
    spans, fields = read_members(body, _READ, _SEPARATE)
    model, stream = fields.get("model"), fields.get("stream")
    if not isinstance(model, str) or not model:
        raise invalid_request("`model` must be the name of a model, as a string.", "model")
    if not isinstance(stream, bool | None):
        raise invalid_request("`stream` must be true or false; servers read anything else as they like.", "stream")
    told = _instructions(body, spans, memo)
    read = _input(body, spans, memo, elsewhere=any(fields.get(name) for name in ELSEWHERE))
    tools = _tools(body, spans, memo) if "tools" in spans else _NO_TOOLS
    schema, word = _form(fields.get("text"))
    metadata, tier = fields.get("metadata"), fields.get("service_tier")
    ours, gone = ours_in_metadata(body, spans, metadata)
    messages = (*told[0], *read.messages)
    elsewhere = next((name for name in ELSEWHERE if fields.get(name)), UNSEEN if read.references else None)
    definitions = tuple([text for text in (tools.text, schema) if text])
    return Request(
        shape=NAME,
        body=body,
        original=ResponsePlaces(
            spans, (*told[1], *read.spans), len(told[0]), read.is_text, fields.get("background") is True, ours, gone
        ),
        model=model,
        conversation=Conversation(
            messages, definitions, tools.number, word, places=(*told[2], *read.places), elsewhere=elsewhere
        ),
        most_tokens=len(body) + len(messages) + tools.grown + len(schema),
        stream=stream is True,
        asks_usage=True,
        answer_limit=positive(fields.get("max_output_tokens")),
        limited_by="max_output_tokens",
        thinking=0,
        user=_string(fields.get("user")) or _string(fields.get("safety_identifier")),
        metadata=metadata if isinstance(metadata, dict) else {},
        choices=1,
        service_tier=tier if isinstance(tier, str) else None,
        tools_size=spans["tools"].end - spans["tools"].start if "tools" in spans else 0,
        may_select="tools" in spans,
        caching=_caching(spans, fields, tools),
        has_stream_options="stream_options" in spans,
        left_from_chats=(*tools.left_from_chats, *(name for name in _PROVIDERS_OWN if name in spans)),
        keeps_answer=fields.get("store") is not False,
        reasons=wants_thinking(fields),
        is_countable=fields.get("background") is not True,
        named=_named(fields, read.references),
    )


def _named(fields: Mapping[str, Any], references: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """List the ids that the request builds on."""
    found = [("previous_response_id", fields.get("previous_response_id")), ("conversation", fields.get("conversation"))]
    ids = [(member, held.get("id") if isinstance(held, dict) else held) for member, held in found]
    named = [(member, held) for member, held in ids if isinstance(held, str) and held]
    return (*named, *((UNSEEN, one) for one in dict.fromkeys(references)))


def _caching(spans: Mapping[str, Span], fields: Mapping[str, Any], tools: _Tools) -> Caching:
    options = fields.get("prompt_cache_options")
    explicit = isinstance(options, dict) and options.get("mode") == "explicit"
    markers: tuple[Marker, ...] = ()
    return Caching(markers, tools.may_mark, None, explicit, "prompt_cache_key" in spans)


def _instructions(
    body: bytes, spans: Mapping[str, Span], memo: Memo
) -> tuple[tuple[Message, ...], tuple[Span, ...], tuple[str, ...]]:
    within = spans.get("instructions")
    raw = b"null" if within is None else body[slice(*within)]
    if within is None or raw in (b"null", b'""'):
        return (), (), ()
    if raw[:1] != b'"':
        raise invalid_request("`instructions` must be a string.", "instructions")
    known_as = _INSTRUCTIONS + raw
    message: Message | None = memo.get(known_as)
    if message is None:
        message = Message("system", _text(raw, "instructions"), content="text")
        memo.keep(known_as, message, _held_bytes(message))
    return (message,), (within,), ("instructions",)


def _text(raw: bytes, member: str) -> str:
    try:
        text: str = value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{member}` is not valid JSON: {error}.", member) from None
    return text


def _form(text: Any) -> tuple[str, str | None]:
    """Return the schema that the answer is to have, as it counts, and a word that must be said where there is none."""
    wanted = text.get("format") if isinstance(text, dict) else None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    return orjson.dumps(wanted).decode() if kind == "json_schema" else "", "json" if kind == "json_object" else None


# ---------------------------------------------------------------- input


def _input(body: bytes, spans: Mapping[str, Span], memo: Memo, *, elsewhere: bool) -> _Input:
    within = spans.get("input")
    first = b"n" if within is None else body[within.start : within.start + 1]
    if within is None or first == b"n":
        if elsewhere:
            return _Input((), (), (), is_text=False, references=())
        raise invalid_request("`input` is missing; send a string, or a list of items.", "input")
    if first == b'"':
        return _Input((within,), (_text_message(body[slice(*within)], memo),), ("input",), is_text=True, references=())
    if first != b"[":
        raise invalid_request("`input` must be a string or a list of items.", "input")
    return _items(body, elements(body, within, "input", "item", may_be_empty=elsewhere), memo)


def _text_message(raw: bytes, memo: Memo) -> Message:
    known = memo.get(_ITEM + raw)
    if known is None:
        known = both(Message("user", value(raw), content="text"))
        memo.keep(_ITEM + raw, known, _held_bytes(known[0]))
    message: Message = known[0]
    return message


def _items(body: bytes, found: list[Span], memo: Memo) -> _Input:
    get, pairs = memo.get, []
    references: list[str] = []
    for index, (start, end) in enumerate(found):
        key = _ITEM + body[start:end]
        pair = get(key)
        if pair is None:
            pair = _item(body[start:end], index)
            memo.keep(key, pair, _held_bytes(pair[0]) + 200)
        if len(pair) > 2:
            references.append(pair[2])
        pairs.append(pair)
    marks = joined_marks([pair[0] for pair in pairs])
    messages = tuple([pair[1] if mark else pair[0] for pair, mark in zip(pairs, marks, strict=True)])
    return _Input(tuple(found), messages, item_places(len(found)), is_text=False, references=tuple(references))


@lru_cache(maxsize=256)
def item_places(count: int) -> tuple[str, ...]:
    """Name so many items for people."""
    return tuple([f"input[{index}]" for index in range(count)])


def _item(raw: bytes, index: int) -> tuple[Any, ...]:
    """Read an item, as a pair; of one that only names another, its id stands behind them."""
    where = f"input[{index}]"
    try:
        if raw[:1] != b"{":
            raise invalid_request(f"`{where}` must be an object, an item.", where)
        object_spans(raw)
        fields = value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{where}` is not valid JSON: {error}.", where) from None
    except DuplicateKey as error:
        raise invalid_request(f"`{where}` names the key {error.key!r} twice; send it once.", where) from None
    message = item_message(fields)
    if len(message.parts) > MOST_PARTS:
        said = f"`{where}` holds {len(message.parts):,} parts; no more than {MOST_PARTS:,} are read."
        raise invalid_request(said, where)
    pair = both(message)
    return (*pair, str(fields.get("id") or "")) if item_kind(fields) == UNSEEN else pair


def _held_bytes(message: Message) -> int:
    parts = message.parts if len(message.parts) > 1 else ()
    return sum(map(sys.getsizeof, (message.text, *parts, *(one.data for one in message.media))))


# ---------------------------------------------------------------- tools


def _tools(body: bytes, spans: Mapping[str, Span], memo: Memo) -> _Tools:
    raw = body[slice(*spans["tools"])]
    known_as = _TOOLS + raw
    read: _Tools | None = memo.get(known_as)
    if read is None:
        try:
            listed = value(raw)
        except NotJSON as error:
            raise invalid_request(f"`tools` is not valid JSON: {error}.", "tools") from None
        if not isinstance(listed, list) or not listed:
            return _NO_TOOLS
        written = orjson.dumps([_counted(tool) for tool in listed])
        last = listed[-1]
        may_mark = isinstance(last, dict) and last.get("type") == "function"
        kinds = [tool.get("type") if isinstance(tool, dict) else None for tool in listed]
        left = tuple([f"tools[{number}] ({kind})" for number, kind in enumerate(kinds) if kind in HARMLESS])
        read = _Tools(written.decode(), len(listed), max(0, len(written) - len(raw)), may_mark, left)
        memo.keep(known_as, read, sys.getsizeof(read.text))
    return read


def _counted(tool: Any) -> Any:
    """Return a tool as it counts: a function as in a chat, since the model sees the same of both."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {name: held for name, held in tool.items() if name != "type"}}


def _string(held: Any) -> str | None:
    return held if isinstance(held, str) and held else None

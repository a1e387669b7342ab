"""Chat completions read: bytes in, values out.

A request is read once. Everything we do not act on rides along in the original bytes. Source of the shape:
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from gateway.conversation import Call, Conversation, Media, Message, joined_text
from gateway.request import NO_CACHING, Caching, Request
from gateway.wire.chat.cache_marks import (
    ToolMarks,
    is_marked,
    marker_of,
    markers_of,
    marks_of_tools,
    unmarked_definition,
)
from gateway.wire.chat.reasoning import MEMBERS, reasons
from gateway.wire.errors import invalid_request
from gateway.wire.foreign import kinds_in
from gateway.wire.lexical import DuplicateKey, NotJSON, Span, object_spans, value
from gateway.wire.media import media_of
from gateway.wire.members import MOST_CHOICES, listed_messages, ours_in_metadata, positive, read_members, wants_thinking
from gateway.wire.memo import Memo

NAME: Final = "chat"

_SEPARATE = frozenset({"messages", "tools", "functions"})
"""Members read by their own rule."""
_READ = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "user",
        "metadata",
        "n",
        "service_tier",
        "response_format",
        *("thinking", "reasoning", "reasoning_effort", "modalities"),
        "prompt_cache_options",
        "cache_control",
    }
)
"""Members whose value matters to us; all others are proven to be JSON, and ride along unread."""


_CACHING = frozenset({"tools", "cache_control", "prompt_cache_options", "prompt_cache_key"})
"""Members that may say something of prompt caches."""

MOST_THINKING = 1_000_000
"""Tokens beyond which a budget for thinking is believed of no model."""

MOST_PARTS = 10_000
"""Parts of one content, and calls of one message."""


_LONG_NUMBER = re.compile(rb"[\d.eE+-]{300}")
"""In definitions: a number that does not read as itself, so that only the bytes as they came can be counted."""


class ChatPlaces(NamedTuple):
    """The places in the body of a chat request that its writer needs: its `Request.original`."""

    spans: Mapping[str, Span]
    """Of the values of top-level members."""
    messages: tuple[Span, ...]
    tools_end: int | None = None
    """For a cache marker behind the tools; None where none can stand."""
    ours: tuple[tuple[int, int, bytes], ...] = ()
    """Splices that take what is said to us alone out of members of the body."""
    gone: frozenset[str] = frozenset()
    """Members that hold nothing else, and leave no more."""

    def extent(self, first: int, after: int) -> int:
        """Return the bytes from the beginning of one message to the end of another."""
        return self.messages[after - 1].end - self.messages[first].start


def parse(body: bytes, memo: Memo) -> Request:
    """Read a request body.

    Raises GatewayError (400, naming what and where) for what is not JSON, not an object, has no list of messages,
    names a key twice at the top level or in a message, or nests too deeply.
    """
    spans, fields = read_members(body, _READ, _SEPARATE)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request("`model` must be the name of a model, as a string.", "model")
    message_spans, messages = _messages(body, spans, memo)
    definitions = _NO_DEFINITIONS if _DEFINING.isdisjoint(spans) else _definitions(body, spans, fields, memo)
    word = _required_word(fields.get("response_format"))
    stream = fields.get("stream")
    if not isinstance(stream, bool | None):
        raise invalid_request("`stream` must be true or false; servers read anything else as they like.", "stream")
    metadata = fields.get("metadata")
    user = fields.get("user")
    options = fields.get("stream_options")
    tier = fields.get("service_tier")
    limited_by = "max_completion_tokens" if positive(fields.get("max_completion_tokens")) else "max_tokens"
    tools_end = definitions.marks.end
    tools_end = None if tools_end is None else spans["tools"].start + tools_end
    ours, gone = ours_in_metadata(body, spans, metadata)
    return Request(
        shape=NAME,
        body=body,
        original=ChatPlaces(spans, message_spans, tools_end, ours, gone),
        model=model,
        conversation=Conversation(messages, definitions.texts, definitions.tools, word, definitions.unmarked),
        most_tokens=len(body) + len(messages) + definitions.grown,
        stream=stream is True,
        asks_usage=isinstance(options, dict) and options.get("include_usage") is True,
        answer_limit=positive(fields.get(limited_by)),
        limited_by=limited_by,
        thinking=_thinking(fields.get("thinking")),
        user=_string(user) or None,
        metadata=metadata if isinstance(metadata, dict) else {},
        choices=min(positive(fields.get("n")) or 1, MOST_CHOICES),
        service_tier=_string(tier),
        tools_size=definitions.size,
        may_select="tools" in spans,
        caching=NO_CACHING if _CACHING.isdisjoint(spans) else _caching(spans, fields, definitions.marks),
        has_stream_options="stream_options" in spans,
        reasons=wants_thinking(fields),
        is_countable=fields.get("modalities") in (None, ["text"]),
    )


def _caching(spans: Mapping[str, Span], fields: Mapping[str, Any], tools: ToolMarks) -> Caching:
    """Read what the client says of the provider's prompt cache."""
    return Caching(
        tool_markers=tools.markers,
        may_mark_tools=tools.end is not None,
        end_marker=marker_of("control", fields.get("cache_control")),
        forbids_breakpoints=_is_explicit(fields.get("prompt_cache_options")),
        has_key="prompt_cache_key" in spans,
    )


def _is_explicit(cache_options: Any) -> bool:
    """Whether the client sets all breakpoints itself (developers.openai.com/api/docs/guides/prompt-caching)."""
    return isinstance(cache_options, dict) and cache_options.get("mode") == "explicit"


def _required_word(response_format: Any) -> str | None:
    """Name the word that an answer in this form must be asked for with."""
    return "json" if isinstance(response_format, dict) and response_format.get("type") == "json_object" else None


def _thinking(said: Any) -> int:
    """Read a budget for thinking, as Anthropic's API has it; what is beyond any model is none."""
    budget = positive(said.get("budget_tokens")) if isinstance(said, dict) and said.get("type") != "disabled" else None
    return budget if budget is not None and budget <= MOST_THINKING else 0


# ---------------------------------------------------------------- messages and tools


def _messages(body: bytes, spans: Mapping[str, Span], memo: Memo) -> tuple[tuple[Span, ...], tuple[Message, ...]]:
    found = listed_messages(body, spans)
    get = memo.get
    messages: list[Message] = []
    for index, (start, end) in enumerate(found):
        raw = body[start:end]
        message = get(raw)
        if message is None:
            message = _message(raw, index)
            memo.keep(raw, message, _held_bytes(message))
        messages.append(message)
    return tuple(found), tuple(messages)


def _held_bytes(message: Message) -> int:
    """Say what a message that was read holds: its text, and beside it that of its parts where there are several."""
    parts = message.parts if len(message.parts) > 1 else ()
    return sum(map(sys.getsizeof, (message.text, *parts, *(one.data for one in message.media))))


def _message(raw: bytes, index: int) -> Message:
    where = f"messages[{index}]"
    try:
        if raw[:1] != b"{":
            raise invalid_request(f"`{where}` must be an object with a role.", where)
        object_spans(raw)
        fields = value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{where}` is not valid JSON: {error}.", where) from None
    except DuplicateKey as error:
        raise invalid_request(f"`{where}` names the key {error.key!r} twice; send it once.", where) from None
    message = message_of(fields)
    most = max(len(message.parts), len(message.calls))
    if most > MOST_PARTS:
        raise invalid_request(f"`{where}` holds {most:,} parts or calls; no more than {MOST_PARTS:,} are read.", where)
    return message


def message_of(fields: Mapping[str, Any]) -> Message:
    """Read one message of the wire. Total: what has an unexpected shape is marked, and judged where it matters."""
    content = fields.get("content")
    text, shape = "", "other"
    media: tuple[Media, ...] = ()
    parts: tuple[str | None, ...] = ()
    if isinstance(content, str):
        text, shape = content, "text"
    elif isinstance(content, list):
        parts = tuple([_text(part) if isinstance(part, dict) else None for part in content])
        text = joined_text(parts)
        media = tuple([one for number, part in enumerate(content) if (one := media_of(part, number)) is not None])
        known = sum([isinstance(part, dict) and isinstance(part.get("text"), str) for part in content])
        known += sum([not one.is_foreign for one in media])
        shape = "parts" if known == len(content) else "other"  # a new text would take the place of what nobody knows
    elif content is None:
        shape = "null" if "content" in fields else "missing"
    role, name, call_id = fields.get("role"), fields.get("name"), fields.get("tool_call_id")
    calls, thinks = fields.get("tool_calls"), role == "assistant" and reasons(fields)
    return Message(
        role=_string(role) or "",
        text=text,
        parts=parts,
        name=_string(name) or None,
        calls=_calls(calls, fields.get("function_call")),
        call_id=_string(call_id),
        media=media,
        content=shape,  # type: ignore[arg-type]  # one of the literals above
        empty_calls=calls == [],
        speaks_otherwise=bool(
            fields.get("refusal") or fields.get("audio") or (thinks and any(fields.get(name) for name in MEMBERS[1:]))
        ),
        reasons=thinks,
        markers=markers_of(fields) if is_marked(fields) else (),
        foreign=kinds_in(fields) if role == "assistant" else (),
    )


def _text(part: Mapping[str, Any]) -> str:
    return _string(part.get("text")) or ""


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _calls(calls: Any, legacy: Any) -> tuple[Call, ...]:
    listed = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    out = [_call(call.get("id"), call.get("function") or call.get("custom")) for call in listed]
    if isinstance(legacy, dict):
        out.append(_call("", legacy))
    return tuple(out)


def _call(call_id: Any, function: Any) -> Call:
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments") or function.get("input")
    return Call(_string(call_id) or "", _string(function.get("name")) or "", _string(arguments) or "")


class _Definitions(NamedTuple):
    """The tools, functions and the response schema of a request."""

    texts: tuple[str, ...]
    """Each as the minified JSON that counts."""
    tools: int
    """The number of tools."""
    size: int
    """Bytes of `tools` and `functions` as they came."""
    grown: int
    """Bytes by which they are longer than in the body at most: a number may be written shorter than we write it."""
    marks: ToolMarks
    unmarked: tuple[str, ...] | None
    """Without cache markers, where there are any."""


_DEFINING = frozenset({"tools", "functions", "response_format"})
_NO_DEFINITIONS = _Definitions((), 0, 0, 0, ToolMarks(), None)


def _definitions(body: bytes, spans: Mapping[str, Span], fields: Mapping[str, Any], memo: Memo) -> _Definitions:
    out: list[str] = []
    unmarked: list[str] = []
    tools = grown = size = 0
    marks = ToolMarks()
    for key in ("tools", "functions"):
        if key in spans:
            raw = body[spans[key].start : spans[key].end]
            size += len(raw)
            known_as = key.encode() + raw  # no JSON starts so: a message of the same bytes is something else
            read = memo.get(known_as)
            if read is None:
                text, count, more = _minified(raw, key)
                found = marks_of_tools(raw) if key == "tools" else marks
                read = text, count, more, found, unmarked_definition(text)
                memo.keep(known_as, read, sys.getsizeof(text) + (0 if read[4] is text else sys.getsizeof(read[4])))
            text, count, more, found, plain = read
            if key == "tools":
                marks = found
            tools += count
            grown += more
            if text:
                out.append(text)
                unmarked.append(plain)
    response_format = fields.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        schema = orjson.dumps(response_format.get("json_schema"))
        grown += len(schema)
        out.append(schema.decode())
        unmarked.append(unmarked_definition(out[-1]))
    return _Definitions(tuple(out), tools, size, grown, marks, None if unmarked == out else tuple(unmarked))


def _minified(raw: bytes, key: str) -> tuple[str, int, int]:
    try:
        read = value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{key}` is not valid JSON: {error}.", key) from None
    if not isinstance(read, list) or not read:
        return "", 0, 0
    written = raw if _LONG_NUMBER.search(raw) else orjson.dumps(read)
    return written.decode(), len(read), max(0, len(written) - len(raw))

"""Marks for the provider's prompt cache, spliced into the bytes of a request. Nothing else of the request is written.

Three forms, each as the provider reads it:

- `cache_control` (Anthropic; Bedrock and Vertex behind litellm): a member of the message where its content is a string
  or it is a tool's result, of the last part where it has parts, and of the last tool. litellm carries each of them over
  to the right block (`convert_to_anthropic_tool_result`, `anthropic_messages_pt`, `translate_system_message` and
  `_map_tool_helper` of the installed version; held to it by tests/test_cache_marks.py).
- `prompt_cache_breakpoint` (OpenAI from GPT-5.6): a member of the last part; a content that is a string becomes one
  part (developers.openai.com/api/docs/guides/prompt-caching#prompt-cache-breakpoints).
- `prompt_cache_key` and `prompt_cache_options`: members of the request, added where the caller has none.

Marked are messages of the system, the user and tools: OpenAI takes no breakpoint on an assistant's, and an assistant's
text is moved behind its reasoning on the way to Claude, where a marker would stand elsewhere than it was put.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from gateway.conversation import SYSTEM_ROLES, Changes
from gateway.wire.lexical import Span, array_spans, object_spans, splice, value

Edit = tuple[int, int, bytes]
Member = Literal["cache_control", "prompt_cache_breakpoint"]

MARKED_ROLES: Final = SYSTEM_ROLES | {"user", "tool"}
HOUR: Final = 3600
"""In seconds: the lifetime that Anthropic's `ttl` must name."""

_OPENAIS: Final = "prompt_cache_breakpoint"
_MARKED_PARTS: Final = ("text", "image_url", "file")
_BREAKPOINT: Final = b'"prompt_cache_breakpoint":{"mode":"explicit"}'
_CONTROL: Final = b'"cache_control":{"type":"ephemeral"}'
_CONTROL_HOUR: Final = b'"cache_control":{"type":"ephemeral","ttl":"1h"}'


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks that a request is to carry."""

    member: Member = "cache_control"
    places: Mapping[int, int] = field(default_factory=dict)
    """Messages of the request as it is sent (n: after the first n; 0: after the tools) → lifetime in seconds."""
    key: str | None = None
    """`prompt_cache_key`, where the caller gives none."""


def sent_messages(changes: Changes | None, count: int) -> Sequence[int]:
    """List the messages as they are sent, each by the index it had when it came; our n-th one, from 0 on, is -1 - n."""
    if changes is None:
        return range(count)
    ours: dict[int, list[int]] = {}
    for number, one in enumerate(changes.inserted):
        ours.setdefault(one.before, []).append(-1 - number)
    out: list[int] = []
    for index in range(count):
        out += ours.get(index, ())
        if index not in changes.dropped:
            out.append(index)
    return out


def by_message(changes: Changes | None, count: int, marks: Marks) -> dict[int, bytes]:
    """Give the marker of each message that gets one, named as in `sent_messages`."""
    sent = sent_messages(changes, count)
    return {
        sent[link - 1]: _marker(marks.member, lifetime)
        for link, lifetime in marks.places.items()
        if 0 < link <= len(sent)
    }


def _marker(member: Member, lifetime: int) -> bytes:
    if member == "prompt_cache_breakpoint":
        return _BREAKPOINT
    return _CONTROL_HOUR if lifetime >= HOUR else _CONTROL


def is_marked(fields: Mapping[str, Any]) -> bool:
    """Whether a message that came carries a cache marker anywhere."""
    if "cache_control" in fields:
        return True
    content, calls = fields.get("content"), fields.get("tool_calls")
    return (isinstance(content, list) and _any_marked(content)) or (isinstance(calls, list) and _any_marked(calls))


def is_marked_tool(tool: Mapping[str, Any]) -> bool:
    """Whether a tool that came carries a cache marker."""
    function = tool.get("function")
    return "cache_control" in tool or (isinstance(function, dict) and "cache_control" in function)


def _any_marked(listed: Sequence[Any]) -> bool:
    return any(isinstance(one, dict) and ("cache_control" in one or _OPENAIS in one) for one in listed)


def marked(raw: bytes, marker: bytes) -> bytes:
    """Return a message with the marker at its end; as it is where it cannot carry one."""
    return splice(raw, message_edits(raw, marker))


def may_carry(raw: bytes, member: Member) -> bool:
    """Whether a message can be marked: its end says something, in a shape that is known, and has no marker yet."""
    return bool(message_edits(raw, _marker(member, 0)))


def message_edits(raw: bytes, marker: bytes) -> list[Edit]:
    """Turn a marker into splices of the bytes of one message; none where it cannot carry it."""
    spans = object_spans(raw)
    role = value(_bytes(raw, spans.get("role")))
    member: Member = "cache_control" if marker.startswith(b'"cache_control"') else "prompt_cache_breakpoint"
    content = spans.get("content")
    if role not in MARKED_ROLES or content is None or member in spans:
        return []
    if raw[content.start : content.start + 1] == b'"':
        return _text_edits(raw, content, marker, member)
    if raw[content.start : content.start + 1] != b"[":
        return []
    end = _end_of_parts(raw, content, member)
    if end is None:
        return []
    at = raw.rindex(b"}") if role == "tool" and member == "cache_control" else end
    return [(at, at, b"," + marker)]


def _text_edits(raw: bytes, content: Span, marker: bytes, member: Member) -> list[Edit]:
    if not value(raw[content.start : content.end]).strip():
        return []
    if member == "cache_control":
        end = raw.rindex(b"}")
        return [(end, end, b"," + marker)]
    start, end = content
    return [(start, start, b'[{"type":"text","text":'), (end, end, b"," + marker + b"}]")]


def _end_of_parts(raw: bytes, content: Span, member: Member) -> int | None:
    """Find where the members of the last part end; None where that part cannot carry a marker."""
    parts = array_spans(raw, content)
    read = value(raw[content.start : content.end])
    if not read or not all(isinstance(part, dict) and part.get("type") in _MARKED_PARTS for part in read):
        return None
    last = read[-1]
    if member in last or (last["type"] == "text" and not _says_something(last.get("text"))):
        return None
    return raw.rindex(b"}", parts[-1].start, parts[-1].end)


def _says_something(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def end_of_tools(tools: bytes) -> int | None:
    """Find where a marker behind the last tool is written; None where there is no function, or it has one."""
    if tools[:1] != b"[":
        return None
    found = array_spans(tools, Span(0, len(tools)))
    last = value(tools[found[-1].start : found[-1].end]) if found else None
    if not isinstance(last, dict) or last.get("type") != "function" or "cache_control" in last:
        return None
    function = last.get("function")
    if not isinstance(function, dict) or "cache_control" in function:
        return None
    return tools.rindex(b"}", found[-1].start, found[-1].end)


def request_edits(body: bytes, spans: Mapping[str, Span], tools_end: int | None, marks: Marks) -> Iterator[Edit]:
    """Yield what is said outside of messages: the tools' marker and the key."""
    if 0 in marks.places and marks.member == "cache_control" and tools_end is not None:
        yield tools_end, tools_end, b"," + _marker(marks.member, marks.places[0])
    if marks.key is not None and "prompt_cache_key" not in spans:
        end = body.rindex(b"}")
        yield end, end, b',"prompt_cache_key":' + orjson.dumps(marks.key)


def _bytes(raw: bytes, span: Span | None) -> bytes:
    return b"null" if span is None else raw[span.start : span.end]

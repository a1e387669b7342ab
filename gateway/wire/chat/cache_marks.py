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
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from gateway.conversation import SYSTEM_ROLES, Changes, Marker, MarkerForm, sent_messages
from gateway.request import Marks
from gateway.wire.lexical import Span, array_spans, object_spans, splice, value

Edit = tuple[int, int, bytes]
Member = Literal["cache_control", "prompt_cache_breakpoint"]

MARKED_ROLES: Final = SYSTEM_ROLES | {"user", "tool"}
HOUR: Final = 3600
"""In seconds: the lifetime that Anthropic's `ttl` must name."""

_MEMBERS: Final[Mapping[MarkerForm, Member]] = {
    "control": "cache_control",
    "breakpoint": "prompt_cache_breakpoint",
}
_WRITTEN: Final = frozenset(_MEMBERS.values())
_OPENAIS: Final = "prompt_cache_breakpoint"
_MARKED_PARTS: Final = ("text", "image_url", "file")
_BREAKPOINT: Final = b'"prompt_cache_breakpoint":{"mode":"explicit"}'
_CONTROL: Final = b'"cache_control":{"type":"ephemeral"}'
_CONTROL_HOUR: Final = b'"cache_control":{"type":"ephemeral","ttl":"1h"}'


@dataclass(frozen=True, slots=True)
class ToolMarks:
    """The cache markers of the tools of a request."""

    markers: tuple[Marker, ...] = ()
    end: int | None = None
    """The place among the bytes of `tools` for a marker behind the last one; None where none can stand."""


def unmarked_definition(definition: str) -> str:
    """Return tools as minified JSON without their cache markers; the same object where they have none."""
    if not any(mark in definition for mark in _MEMBERS.values()):
        return definition
    return orjson.dumps(unmarked(value(definition.encode()))).decode()


def unmarked(read: Any) -> Any:
    """Remove the markers of a message or of definitions, wherever a provider reads them: beside a part or a tool."""
    if isinstance(read, Mapping):
        fields = {key: part for key, part in read.items() if key not in _WRITTEN}
        content = fields.get("content")
        if isinstance(content, list):
            fields["content"] = [unmarked(part) for part in content]
        function = fields.get("function")
        if isinstance(function, Mapping):
            fields["function"] = {key: part for key, part in function.items() if key not in _WRITTEN}
        return fields
    return [unmarked(part) for part in read] if isinstance(read, list) else read


def by_message(changes: Changes | None, count: int, marks: Marks) -> dict[int, bytes]:
    """Give the marker of each message that gets one, named as in `sent_messages`."""
    sent = sent_messages(changes, count)
    return {
        sent[link - 1]: _marker(marks.form, lifetime)
        for link, lifetime in marks.places.items()
        if 0 < link <= len(sent)
    }


def _marker(form: MarkerForm, lifetime: int) -> bytes:
    if form == "breakpoint":
        return _BREAKPOINT
    return _CONTROL_HOUR if lifetime >= HOUR else _CONTROL


def is_marked(fields: Mapping[str, Any]) -> bool:
    """Whether a message that came carries a cache marker anywhere."""
    if "cache_control" in fields:
        return True
    content, calls = fields.get("content"), fields.get("tool_calls")
    return (isinstance(content, list) and _any_marked(content)) or (isinstance(calls, list) and _any_marked(calls))


def marker_of(form: MarkerForm, written: Any, *, whole: bool = True) -> Marker | None:
    """Read a marker; what is no object is none."""
    if not isinstance(written, dict):
        return None
    ttl = written.get("ttl")
    return Marker(form, ttl if isinstance(ttl, str) else None, whole)


def markers_of(fields: Mapping[str, Any]) -> tuple[Marker, ...]:
    """List the markers of a message that came, of both forms."""
    return tuple(
        [
            marker
            for form, member in _MEMBERS.items()
            for written, whole in _written(fields, member)
            if (marker := marker_of(form, written, whole=whole)) is not None
        ]
    )


def _written(fields: Mapping[str, Any], member: Member) -> Iterator[tuple[Any, bool]]:
    """Yield what may be markers of a message, each with True if it stands at the message's end."""
    content, calls = fields.get("content"), fields.get("tool_calls")
    parts = content if isinstance(content, list) else []
    calls_listed = calls if isinstance(calls, list) else []
    if member == "cache_control" and (fields.get("role") == "tool" or not parts):
        yield fields.get(member), not calls_listed
    for rest, last in ((parts, not calls_listed), (calls_listed, True)):
        for number, part in enumerate(rest):
            if isinstance(part, dict):
                yield part.get(member), last and number == len(rest) - 1


def is_marked_tool(tool: Mapping[str, Any]) -> bool:
    """Whether a tool that came carries a cache marker."""
    function = tool.get("function")
    return "cache_control" in tool or (isinstance(function, dict) and "cache_control" in function)


def marks_of_tools(raw: bytes) -> ToolMarks:
    """Read the markers of tools. Most have none, which their bytes tell."""
    end = end_of_tools(raw)
    if b'"cache_control"' not in raw:
        return ToolMarks((), end)
    read = value(raw)
    tools = read if isinstance(read, list) else []
    found = [marker_of("control", _of_tool(tool), whole=at == len(tools) - 1) for at, tool in enumerate(tools)]
    return ToolMarks(tuple([marker for marker in found if marker is not None]), end)


def _of_tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return None
    function = tool.get("function")
    return tool.get("cache_control") or (function.get("cache_control") if isinstance(function, dict) else None)


def _any_marked(listed: Sequence[Any]) -> bool:
    return any(isinstance(one, dict) and ("cache_control" in one or _OPENAIS in one) for one in listed)


def marked(raw: bytes, marker: bytes) -> bytes:
    """Return a message with the marker at its end; as it is where it cannot carry one."""
    return splice(raw, message_edits(raw, marker))


def may_carry(raw: bytes, form: MarkerForm) -> bool:
    """Whether a message can be marked: its end says something, in a shape that is known, and has no marker yet."""
    return bool(message_edits(raw, _marker(form, 0)))


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
    if 0 in marks.places and marks.form == "control" and tools_end is not None:
        yield tools_end, tools_end, b"," + _marker(marks.form, marks.places[0])
    if marks.key is not None and "prompt_cache_key" not in spans:
        end = body.rindex(b"}")
        yield end, end, b',"prompt_cache_key":' + orjson.dumps(marks.key)


def _bytes(raw: bytes, span: Span | None) -> bytes:
    return b"null" if span is None else raw[span.start : span.end]

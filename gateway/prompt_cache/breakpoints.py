"""The breakpoints of a request without our markers: the caller's, and those that the provider sets itself. Pure.

Our own are decided in `markers.py` and written into the request by `gateway/wire/cache_marks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.conversation import RESULT_ROLES, Changes, Message, leading_system
from gateway.prompt_cache.rules import CacheFacts
from gateway.wire.cache_marks import sent_messages
from gateway.wire.chat import ChatRequest, message_left
from gateway.wire.lexical import value

_TTL: Final = {"5m": 300, "30m": 1800, "1h": 3600, "12h": 43200}

MOST_EARLIER_BREAKPOINTS: Final = 21
"""The most breakpoints of its own that a provider looks at, the present one included."""


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A place up to which a provider keeps a prompt."""

    link: int
    """Index into `Chain.links` of the request as it is sent: 0 is the tools, n the first n messages."""
    lifetime: int
    """In seconds."""
    ours: bool
    """False: it is the caller's, or the provider's own."""
    whole: bool = True
    """False: it stands inside the last message of the link, at a part that is not the last; or at a tool that is not
    the last.
    """
    automatic: bool = False
    """True if the provider sets it itself. Of OpenAI's, only this one finds entries before it."""


def callers(request: ChatRequest, facts: CacheFacts, changes: Changes | None = None) -> tuple[Breakpoint, ...]:
    """List the breakpoints of the request without ours, as it is sent under these changes, in order."""
    if facts.matching != "breakpoints":
        return ()
    member = "prompt_cache_breakpoint" if facts.marks_itself else "cache_control"
    breakpoints = list(_in_request(request, facts, changes, member))
    if facts.marks_itself and not _is_explicit(request):
        breakpoints += _by_the_provider(request, facts, changes)
    return tuple(sorted(breakpoints, key=lambda point: (point.link, point.whole)))


def _in_request(request: ChatRequest, facts: CacheFacts, changes: Changes | None, member: str) -> Iterator[Breakpoint]:
    at = [index for index, message in enumerate(request.conversation.messages) if message.is_marked]
    if at:
        link_of = {index: link for link, index in enumerate(sent_messages(changes, len(request.message_spans)), 1)}
        for index in at:
            fields = value(bytes_sent(request, index, changes)) if index in link_of else {}
            for marker, whole in _of_message(fields, member):
                yield Breakpoint(link_of[index], _lifetime(marker, facts), ours=False, whole=whole)
    if member != "cache_control":
        return
    tools = _member(request, "tools") if request.marks_tools else None
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if (marker := _of_tool(tool)) is not None:
            yield Breakpoint(0, _lifetime(marker, facts), ours=False, whole=number == len(tools or ()) - 1)
    if facts.control == "cache_control" and isinstance(marker := _member(request, member), dict):
        last = len(sent_messages(changes, len(request.message_spans)))
        yield Breakpoint(last, _lifetime(marker, facts), ours=False)


def bytes_sent(request: ChatRequest, index: int, changes: Changes | None) -> bytes:
    """Return the bytes of a message as it is sent."""
    start, end = request.message_spans[index]
    raw = request.body[start:end]
    return message_left(raw, changes, index) if changes is not None and index in changes.changed else raw


def _of_message(fields: Mapping[str, Any], member: str) -> Iterator[tuple[Any, bool]]:
    """Yield the markers of a message, each with True if it stands at the message's end."""
    content, calls = fields.get("content"), fields.get("tool_calls")
    parts = content if isinstance(content, list) else []
    calls_listed = calls if isinstance(calls, list) else []
    own = fields.get(member)
    if isinstance(own, dict) and member == "cache_control" and (fields.get("role") == "tool" or not parts):
        yield own, not calls_listed
    for rest, last in ((parts, not calls_listed), (calls_listed, True)):
        for number, part in enumerate(rest):
            if isinstance(part, dict) and isinstance(part.get(member), dict):
                yield part[member], last and number == len(rest) - 1


def _of_tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return None
    function = tool.get("function")
    marker = tool.get("cache_control") or (function.get("cache_control") if isinstance(function, dict) else None)
    return marker if isinstance(marker, dict) else None


def _by_the_provider(request: ChatRequest, facts: CacheFacts, changes: Changes | None) -> list[Breakpoint]:
    messages = request.conversation.messages
    sent = sent_messages(changes, len(messages))
    for link in range(len(sent), 0, -1):
        index = sent[link - 1]
        if index < 0 or messages[index].role in ("user", "tool"):
            return [Breakpoint(link, min(facts.writes), ours=False, automatic=True)]
    head = leading_system(messages)
    return [Breakpoint(head, min(facts.writes), ours=False, automatic=True)] if head else []


def _is_explicit(request: ChatRequest) -> bool:
    options = _member(request, "prompt_cache_options")
    return isinstance(options, dict) and options.get("mode") == "explicit"


def _member(request: ChatRequest, name: str) -> Any:
    span = request.spans.get(name)
    return None if span is None else value(request.body[span.start : span.end])


def _lifetime(marker: Mapping[str, Any], facts: CacheFacts) -> int:
    ttl = marker.get("ttl")
    return _TTL.get(ttl, min(facts.writes)) if isinstance(ttl, str) else min(facts.writes)


# ---------------------------------------------------------------- earlier ones


def earlier_links(request: ChatRequest, changes: Changes | None, facts: CacheFacts) -> Sequence[int]:
    """List the links at which OpenAI looks for earlier breakpoints of its own. The caller may switch them off."""
    span = request.spans.get("prompt_cache_options")
    if not facts.marks_itself or (span is not None and b'"explicit"' in request.body[span.start : span.end]):
        return ()
    original = request.conversation.messages
    return earlier_breakpoints(original if changes is None else changes.applied(original), leading_system(original))


def earlier_breakpoints(messages: Sequence[Message], head: int) -> list[int]:
    """List the links at which a provider may have set breakpoints of its own earlier.

    OpenAI sets them at the end of a user's message, at the last of several results, and at the end of the leading
    system text. It looks at up to 20 before the present one (developers.openai.com/api/docs/guides/prompt-caching).
    """
    ends: list[int] = [head] if head else []
    following = ""
    for link in range(len(messages), head, -1):
        role = messages[link - 1].role
        if role == "user" or (role in RESULT_ROLES and following not in RESULT_ROLES):
            ends.append(link)
            if len(ends) > MOST_EARLIER_BREAKPOINTS:
                break
        following = role
    return ends

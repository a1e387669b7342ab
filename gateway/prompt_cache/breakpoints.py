"""The breakpoints of a request without our markers: the caller's, and those that the provider sets itself. Pure.

Our own are decided in `markers.py` and written into the request by its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.conversation import RESULT_ROLES, Changes, Marker, MarkerForm, Message, leading_system, sent_messages
from gateway.prompt_cache.rules import CacheFacts
from gateway.request import Request
from gateway.wire.shape import shape_of

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


def callers(request: Request, facts: CacheFacts, changes: Changes | None = None) -> tuple[Breakpoint, ...]:
    """List the breakpoints of the request without ours, as it is sent under these changes, in order."""
    if facts.matching != "breakpoints":
        return ()
    breakpoints = list(_in_request(request, facts, changes, marker_form(facts)))
    if facts.marks_itself and not request.caching.forbids_breakpoints:
        breakpoints += _by_the_provider(request, facts, changes)
    return tuple(sorted(breakpoints, key=lambda point: (point.link, point.whole)))


def marker_form(facts: CacheFacts) -> MarkerForm:
    """Return the form of the markers that a provider reads."""
    return "breakpoint" if facts.marks_itself else "control"


def _in_request(request: Request, facts: CacheFacts, changes: Changes | None, form: MarkerForm) -> Iterator[Breakpoint]:
    messages = request.conversation.messages
    at = [index for index, message in enumerate(messages) if message.markers]
    if at:
        shape = shape_of(request)
        link_of = {index: link for link, index in enumerate(sent_messages(changes, len(messages)), 1)}
        for index in at:
            for marker in shape.markers(request, index, changes) if index in link_of else ():
                if marker.form == form:
                    yield Breakpoint(link_of[index], _lifetime(marker, facts), ours=False, whole=marker.whole)
    if form != "control":
        return
    for marker in request.caching.tool_markers:
        yield Breakpoint(0, _lifetime(marker, facts), ours=False, whole=marker.whole)
    if facts.takes_end_marker and request.caching.end_marker is not None:
        last = len(sent_messages(changes, len(messages)))
        yield Breakpoint(last, _lifetime(request.caching.end_marker, facts), ours=False)


def _by_the_provider(request: Request, facts: CacheFacts, changes: Changes | None) -> list[Breakpoint]:
    messages = request.conversation.messages
    sent = sent_messages(changes, len(messages))
    for link in range(len(sent), 0, -1):
        index = sent[link - 1]
        if index < 0 or messages[index].role in ("user", "tool"):
            return [Breakpoint(link, min(facts.writes), ours=False, automatic=True)]
    head = leading_system(messages)
    return [Breakpoint(head, min(facts.writes), ours=False, automatic=True)] if head else []


def _lifetime(marker: Marker, facts: CacheFacts) -> int:
    shortest = min(facts.writes)
    return shortest if marker.ttl is None else _TTL.get(marker.ttl, shortest)


# ---------------------------------------------------------------- earlier ones


def earlier_links(request: Request, changes: Changes | None, facts: CacheFacts) -> Sequence[int]:
    """List the links at which OpenAI looks for earlier breakpoints of its own. The caller may switch them off."""
    if not facts.marks_itself or request.caching.forbids_breakpoints:
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

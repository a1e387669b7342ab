"""Where the breakpoints of a provider's prompt cache stand in a request: the caller's, and ours beside them.

A provider reads what an earlier request wrote at a breakpoint, if a breakpoint of this request stands there or at most
so many blocks behind it. So there is one at the end, which writes what is new and finds the one before it; one at each
of the ends that other requests share (tools, system text, the frozen part of a folded conversation); and, where the
newest entry is too far behind the end, one between. The caller's own win and count. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from gateway.conversation import SYSTEM_ROLES, Changes, leading_system
from gateway.prompt_cache.rules import CacheFacts
from gateway.wire.cache_marks import MARKED_ROLES, Marks, in_order, may_carry
from gateway.wire.chat import ChatRequest, message_left
from gateway.wire.lexical import value

if TYPE_CHECKING:
    from gateway.prompt_cache.prefixes import Chain

REQUESTS_PER_KEY: Final = 15
"""A minute, for one prefix and key; beyond them OpenAI spreads requests over machines that do not know the prefix
(developers.openai.com/api/docs/guides/prompt-caching).
"""
MOST_SHARDS: Final = 1024
RATES_OF_KEYS: Final = tuple([REQUESTS_PER_KEY << doubled for doubled in range(MOST_SHARDS.bit_length())])
"""Requests a minute, one for each number of keys that a prefix group may have."""
MOST_STEPS: Final = 20
"""Messages before the end that are tried where the last ones cannot carry a marker."""

_TTL: Final = {"5m": 300, "30m": 1800, "1h": 3600, "12h": 43200}


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A place up to which a provider keeps a prompt."""

    link: int
    """Index into `Chain.links` of the request as it is sent: 0 is the tools, n the first n messages."""
    lifetime: int
    """In seconds."""
    ours: bool
    """False: the caller's, or one that the provider sets itself."""
    whole: bool = True
    """False: it stands inside of what the link covers last, at a part of a message or a tool that is not the last."""
    automatic: bool = False
    """Whether the provider sets it itself. Of OpenAI's, it is the only one that finds entries behind itself."""


# ---------------------------------------------------------------- the caller's


def callers(request: ChatRequest, facts: CacheFacts, changes: Changes | None = None) -> tuple[Breakpoint, ...]:
    """List the breakpoints that the request has without us, as it is sent under these changes, in order."""
    if facts.matching != "breakpoints":
        return ()
    member = "prompt_cache_breakpoint" if facts.marks_itself else "cache_control"
    found = list(_written(request, facts, changes, member))
    if facts.marks_itself and not _is_explicit(request):
        found += _by_the_provider(request, facts, changes)
    return tuple(sorted(found, key=lambda one: (one.link, one.whole)))


def _written(request: ChatRequest, facts: CacheFacts, changes: Changes | None, member: str) -> Iterator[Breakpoint]:
    at = [index for index, message in enumerate(request.conversation.messages) if message.is_marked]
    if at:
        link_of = {index: link for link, index in enumerate(in_order(changes, len(request.message_spans)), 1)}
        for index in at:
            fields = value(_sent(request, index, changes)) if index in link_of else {}
            for marker, whole in _of_message(fields, member):
                yield Breakpoint(link_of[index], _lifetime(marker, facts), ours=False, whole=whole)
    if member != "cache_control":
        return
    tools = _member(request, "tools") if request.marks_tools else None
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if (marker := _of_tool(tool)) is not None:
            yield Breakpoint(0, _lifetime(marker, facts), ours=False, whole=number == len(tools or ()) - 1)
    if facts.control == "cache_control" and isinstance(marker := _member(request, member), dict):
        last = len(in_order(changes, len(request.message_spans)))
        yield Breakpoint(last, _lifetime(marker, facts), ours=False)


def _sent(request: ChatRequest, index: int, changes: Changes | None) -> bytes:
    """Return the bytes of a message as it is sent."""
    start, end = request.message_spans[index]
    raw = request.body[start:end]
    return message_left(raw, changes, index) if changes is not None and index in changes.changed else raw


def _of_message(fields: Mapping[str, Any], member: str) -> Iterator[tuple[Any, bool]]:
    """Yield the markers of a message, each with whether it stands at the message's end."""
    content, calls = fields.get("content"), fields.get("tool_calls")
    parts = content if isinstance(content, list) else []
    asked = calls if isinstance(calls, list) else []
    own = fields.get(member)
    if isinstance(own, dict) and member == "cache_control" and (fields.get("role") == "tool" or not parts):
        yield own, not asked
    for rest, last in ((parts, not asked), (asked, True)):
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
    sent = in_order(changes, len(messages))
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
    said = marker.get("ttl")
    return _TTL.get(said, min(facts.writes)) if isinstance(said, str) else min(facts.writes)


# ---------------------------------------------------------------- ours


def markable(request: ChatRequest, facts: CacheFacts, changes: Changes | None = None) -> Callable[[int], bool]:
    """Return a function that says of a link whether a marker of ours may stand at its end."""
    messages = request.conversation.messages
    sent = in_order(changes, len(messages))
    head = leading_system(messages)
    member: Any = "prompt_cache_breakpoint" if facts.marks_itself else "cache_control"

    def may(link: int) -> bool:
        if link == 0:
            return member == "cache_control" and request.tools_end is not None
        index = sent[link - 1]
        if index < 0:
            return changes is not None and bool(changes.inserted[-1 - index].text.strip())
        message = messages[index]
        if message.role not in MARKED_ROLES or (message.role in SYSTEM_ROLES and index >= head):
            return False  # system text further down is moved to the head on the way to Claude
        if changes is not None and index in changes.texts:
            return bool(changes.texts[index].strip())
        if message.content == "text":
            return bool(message.text.strip())
        return message.content == "parts" and may_carry(_sent(request, index, changes), member)

    return may


def place(
    chain: Chain,
    facts: CacheFacts,
    callers: Sequence[Breakpoint],
    head: int,
    frozen: int | None,
    known: Iterable[int],
    lifetime: int,
    may: Callable[[int], bool],
    steady: int | None = None,
) -> tuple[Breakpoint, ...]:
    """Return the breakpoints of a request, in order: the caller's, and ours at the best places that are left.

    `head`: number of leading system messages. `frozen`: the link at the end of the last fold. `known`: links believed
    to be cached, the deepest first. `lifetime`: in seconds, what is asked for; it gives way to the rule that none
    stands behind a shorter one. `may`: whether a link can be marked. `steady`: the last link that the next request will
    still have, where what stands behind it (excerpts, moved text) is for this one alone.
    """
    out = list(callers)
    if facts.control not in ("cache_control", "cache_point", "breakpoints") or not facts.writes:
        return tuple(out)
    taken = {one.link for one in callers if one.whole}
    end = min(len(chain.links) - 1, steady if steady is not None else len(chain.links))
    latest = _nearest(end, may)
    bridge = _bridge(chain, facts, callers, latest, known, end, may)
    for link in (bridge, latest, head or None, frozen, 0):
        if len(out) >= facts.most_markers:
            break
        if link is None or link in taken or link > end or not may(link):
            continue
        lives = _lives(link, lifetime, facts, callers)
        if lives is not None:
            taken.add(link)
            out.append(Breakpoint(link, lives, ours=True))
    return tuple(sorted(out, key=lambda one: (one.link, one.whole)))


def _nearest(end: int, may: Callable[[int], bool]) -> int | None:
    """Find the last link that can be marked, not far from the end."""
    return next((link for link in range(end, max(0, end - MOST_STEPS), -1) if may(link)), None)


def _bridge(
    chain: Chain,
    facts: CacheFacts,
    callers: Sequence[Breakpoint],
    latest: int | None,
    known: Iterable[int],
    end: int,
    may: Callable[[int], bool],
) -> int | None:
    """Find the place from which the newest entry is still seen, where no marker that stands sees it."""
    newest = next((link for link in known if link <= end), None) if facts.look_back else None
    if newest is None:
        return None
    standing = [one.link for one in callers if one.automatic or not facts.marks_itself]
    if not facts.marks_itself and latest is not None:
        standing.append(latest)

    def sees(link: int) -> bool:
        return link >= newest and chain.blocks[link] - chain.blocks[newest] < facts.look_back

    if any(map(sees, standing)) or any(one.link == newest for one in callers):
        return None
    if facts.marks_itself:
        return newest
    within = range(newest, bisect_right(chain.blocks, chain.blocks[newest] + facts.look_back - 1))
    return next((link for link in reversed(within) if link <= end and may(link)), None)


def _lives(link: int, wanted: int, facts: CacheFacts, callers: Sequence[Breakpoint]) -> int | None:
    """Choose a lifetime that is no longer than those before it and no shorter than those behind it.

    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
    (github.com/vellum-ai/vellum-assistant/pull/22191); OpenAI has no such rule.
    """
    offered = list(facts.writes)
    if not facts.marks_itself:
        most = min((one.lifetime for one in callers if one.link <= link), default=max(offered))
        least = max((one.lifetime for one in callers if one.link > link), default=0)
        offered = [lifetime for lifetime in offered if least <= lifetime <= most]
    return min(offered, key=lambda lifetime: (abs(lifetime - wanted), lifetime), default=None)


def marks_of(breakpoints: Sequence[Breakpoint], facts: CacheFacts, key: str | None = None) -> Marks | None:
    """Return what is to be spliced into the request; None where that is nothing."""
    places = {one.link: one.lifetime for one in breakpoints if one.ours}
    key = key if facts.control in ("key", "breakpoints") else None
    if not places and key is None:
        return None
    return Marks("prompt_cache_breakpoint" if facts.marks_itself else "cache_control", places, key)


def key_of(group: int, per_minute: float, conversation: int) -> str:
    """Return the `prompt_cache_key` of a prefix group: the same in every worker, and short.

    A group with more requests a minute than one key serves has several, a power of two, so that growing splits keys in
    two and moves nothing else; a conversation (any number that stays with it) keeps to one of them.
    """
    shards = 1
    while shards * REQUESTS_PER_KEY < per_minute and shards < MOST_SHARDS:
        shards *= 2
    key = blake2b(group.to_bytes(8, "big"), digest_size=8, person=b"gateway-group").hexdigest()
    if shards == 1:
        return key
    drawn = blake2b(conversation.to_bytes(8, "big"), digest_size=8, person=b"gateway-shard").digest()
    number = int.from_bytes(drawn, "big") % shards
    return f"{key}-{number}" if number else key

"""The decision on our cache markers: how far a request is marked, for how long, and at which messages. Pure.

Each step of a marker has one module:

- `breakpoints.py` reads the markers of the caller, and derives the breakpoints that the provider sets itself.
- This module decides on ours beside them.
- `gateway/serving/prompt_cache_use.py` gathers the inputs of the decision for one request.
- The shape of the request writes them into it, for chat `gateway/wire/chat/cache_marks.py`. No other module does.

A provider reads an entry of an earlier request if a breakpoint of this request stands at the same place, or a limited
number of blocks behind it. So one marker stands at the end: it writes the new messages, and from there the previous
entry is found. One stands at each end that requests share: tools, system text, the fold of a conversation. If the
newest entry is too far from the end, one stands between. The caller's own markers come first, and count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.conversation import SYSTEM_ROLES, Changes, leading_system, sent_messages
from gateway.prompt_cache import economics
from gateway.prompt_cache.breakpoints import Breakpoint, marker_form
from gateway.prompt_cache.economics import head_pays, tail_pays
from gateway.prompt_cache.rules import CacheFacts
from gateway.prompt_cache.usage_patterns import GroupHistory, Habits, Stage
from gateway.request import Marks, Request
from gateway.wire.shape import shape_of

if TYPE_CHECKING:
    from gateway.prompt_cache.prefixes import Chain

MOST_STEPS: Final = 20
"""The most messages before the end that are tried, if the last ones cannot carry a marker."""

MarkUpTo = Literal["nothing", "head", "all"]
"""No marker of ours; up to the end of tools and leading system text; up to the newest message."""


# ---------------------------------------------------------------- how far, and for how long


@dataclass(frozen=True, slots=True)
class MarkingInputs:
    """The facts about a conversation by which its next request is marked."""

    habits: Habits
    """The habits of its kind so far, without this request."""
    history: GroupHistory
    """The history of the conversations with this head."""
    stage: Stage
    sights: int
    """The number of conversations that began with this head, this one included."""


def mark_up_to(
    markers: Literal["off", "on_reuse", "always"], inputs: MarkingInputs, facts: CacheFacts, lifetime: int
) -> MarkUpTo:
    """Decide how far to mark. `lifetime` is that of the markers, in seconds."""
    if markers == "always":
        return "all"
    if markers == "off":
        return "nothing"
    if tail_pays(inputs.habits, facts, inputs.stage, lifetime, inputs.history):
        return "all"
    return (
        "head" if head_pays(inputs.habits, facts, inputs.stage, inputs.sights, lifetime, inputs.history) else "nothing"
    )


def lifetime_of(
    ttl: Literal["auto", "5m", "1h"], habits: Habits, facts: CacheFacts, current: int | None, now: float
) -> int:
    """Choose a lifetime in seconds. A conversation with a cached prefix keeps its lifetime, `current`."""
    if ttl == "auto":
        if current is not None and current in facts.writes:
            return current
        return economics.lifetime(habits, facts, now)
    wanted = 300 if ttl == "5m" else 3600
    return min(facts.writes, key=lambda offered: (abs(offered - wanted), offered))


# ---------------------------------------------------------------- at which messages


@dataclass(frozen=True, slots=True)
class StableEnds:
    """The links up to which a rewritten request will agree with the next one of its conversation."""

    fold_end: int | None = None
    """The end of the last fold. Everything before it stays."""
    stable_end: int | None = None
    """The last link before a message inserted for this request alone; None if there is no such message."""


def find_stable_ends(changes: Changes | None, messages: int) -> StableEnds:
    """Find the stable ends of a request of so many messages."""
    if changes is None or not changes.inserted:
        return StableEnds()
    fold_end = stable_end = None
    for place, index in enumerate(sent_messages(changes, messages)):
        if index >= 0:
            continue
        if changes.inserted[-1 - index].is_passing:
            stable_end = place if stable_end is None else stable_end
        else:
            fold_end = place + 1
    return StableEnds(fold_end, stable_end)


def markable(request: Request, facts: CacheFacts, changes: Changes | None = None) -> Callable[[int], bool]:
    """Return a function that checks whether a marker of ours may stand at the end of a link."""
    messages = request.conversation.messages
    sent = sent_messages(changes, len(messages))
    head = leading_system(messages)
    form, shape = marker_form(facts), shape_of(request)

    def may_mark(link: int) -> bool:
        if link == 0:
            return form == "control" and request.caching.may_mark_tools
        index = sent[link - 1]
        if index < 0:
            return changes is not None and bool(changes.inserted[-1 - index].text.strip())
        if messages[index].role in SYSTEM_ROLES and index >= head:
            return False  # system text further down is moved to the head on the way to Claude
        return shape.may_mark(request, index, form, changes)

    return may_mark


def place_markers(
    chain: Chain,
    facts: CacheFacts,
    callers: Sequence[Breakpoint],
    head: int,
    fold_end: int | None,
    cached: Iterable[int],
    lifetime: int,
    may_mark: Callable[[int], bool],
    stable_end: int | None = None,
) -> tuple[Breakpoint, ...]:
    """Return all breakpoints of a request in order: the caller's, and ours at the best of the remaining places.

    `head`: the number of leading system messages. `fold_end`: the link at the end of the last fold. `cached`: the links
    believed to be cached, the deepest first. `lifetime`: the wanted one, in seconds. The result may have another,
    because no marker may stand behind one of a shorter lifetime. `may_mark`: checks whether a link can be marked.
    `stable_end`: the last link that the next request will still have. Messages behind it (excerpts, moved text) are for
    this request alone.
    """
    out = list(callers)
    if not facts.takes_markers or not facts.writes:
        return tuple(out)
    used = {point.link for point in callers if point.whole}
    end = min(len(chain.links) - 1, stable_end if stable_end is not None else len(chain.links))
    latest = _last_markable(end, may_mark)
    bridge = _bridging_link(chain, facts, callers, latest, cached, end, may_mark)
    for link in (bridge, latest, head or None, fold_end, 0):
        if len(out) >= facts.most_markers:
            break
        if link is None or link in used or link > end or not may_mark(link):
            continue
        allowed = _allowed_lifetime(link, lifetime, facts, callers)
        if allowed is not None:
            used.add(link)
            out.append(Breakpoint(link, allowed, ours=True))
    return tuple(sorted(out, key=lambda point: (point.link, point.whole)))


def _last_markable(end: int, may_mark: Callable[[int], bool]) -> int | None:
    """Find the last link that can be marked, not far from the end."""
    return next((link for link in range(end, max(0, end - MOST_STEPS), -1) if may_mark(link)), None)


def _bridging_link(
    chain: Chain,
    facts: CacheFacts,
    callers: Sequence[Breakpoint],
    latest: int | None,
    cached: Iterable[int],
    end: int,
    may_mark: Callable[[int], bool],
) -> int | None:
    """Find a place from which the newest entry is still within reach, if no other marker reaches it."""
    newest = next((link for link in cached if link <= end), None) if facts.look_back else None
    if newest is None:
        return None
    others = [point.link for point in callers if point.automatic or not facts.marks_itself]
    if not facts.marks_itself and latest is not None:
        others.append(latest)

    def reaches(link: int) -> bool:
        return link >= newest and chain.blocks[link] - chain.blocks[newest] < facts.look_back

    if any(map(reaches, others)) or any(point.link == newest for point in callers):
        return None
    if facts.marks_itself:
        return newest
    within = range(newest, bisect_right(chain.blocks, chain.blocks[newest] + facts.look_back - 1))
    return next((link for link in reversed(within) if link <= end and may_mark(link)), None)


def _allowed_lifetime(link: int, wanted: int, facts: CacheFacts, callers: Sequence[Breakpoint]) -> int | None:
    """Choose a lifetime that is not longer than those before the link and not shorter than those behind it.

    "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
    (github.com/vellum-ai/vellum-assistant/pull/22191). OpenAI has no such rule.
    """
    offered = list(facts.writes)
    if not facts.marks_itself:
        most = min((point.lifetime for point in callers if point.link <= link), default=max(offered))
        least = max((point.lifetime for point in callers if point.link > link), default=0)
        offered = [lifetime for lifetime in offered if least <= lifetime <= most]
    return min(offered, key=lambda lifetime: (abs(lifetime - wanted), lifetime), default=None)


def marks_of(breakpoints: Sequence[Breakpoint], facts: CacheFacts, key: str | None = None) -> Marks | None:
    """Return the markers and the key to write into the request; None if there are none."""
    places = {point.link: point.lifetime for point in breakpoints if point.ours}
    key = key if facts.control in ("key", "breakpoints") else None
    if not places and key is None:
        return None
    return Marks(marker_form(facts), places, key)

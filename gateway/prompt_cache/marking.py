"""How far a request is worth marking for the provider's prompt cache, and for how long. Pure: time is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.conversation import Changes
from gateway.prompt_cache import economics
from gateway.prompt_cache.economics import head_pays, tail_pays
from gateway.prompt_cache.rules import CacheFacts
from gateway.prompt_cache.usage_patterns import Habits, Own, Stage
from gateway.wire.cache_marks import in_order

Reach = Literal["nothing", "head", "all"]
"""No marker of ours; up to the end of tools and leading system text; up to the newest message."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a conversation stands when a request of it is about to leave."""

    habits: Habits
    """Of the requests of its kind so far, this one not counted."""
    own: Own
    """What conversations with this head did."""
    stage: Stage
    sights: int
    """Conversations that were seen to begin with this head, this one included."""


def reach(markers: Literal["off", "on_reuse", "always"], one: Standing, facts: CacheFacts, lifetime: int) -> Reach:
    """Decide how far to mark; `lifetime` is that of the markers, in seconds."""
    if markers == "always":
        return "all"
    if markers == "off":
        return "nothing"
    if tail_pays(one.habits, facts, one.stage, lifetime, one.own):
        return "all"
    return "head" if head_pays(one.habits, facts, one.stage, one.sights, lifetime, one.own) else "nothing"


def lifetime_of(
    ttl: Literal["auto", "5m", "1h"], habits: Habits, facts: CacheFacts, alive: int | None, now: float
) -> int:
    """Choose a lifetime in seconds. A conversation whose beginning is alive keeps what it has: `alive`."""
    if ttl == "auto":
        if alive is not None and alive in facts.writes:
            return alive
        return economics.lifetime(habits, facts, now)
    wanted = 300 if ttl == "5m" else 3600
    return min(facts.writes, key=lambda offered: (abs(offered - wanted), offered))


@dataclass(frozen=True, slots=True)
class Ends:
    """Links of a rewritten request that tell where its next one will agree with it."""

    frozen: int | None = None
    """The end of the last fold: everything up to there stays."""
    steady: int | None = None
    """The last link before a message of ours that is for this request alone; None where there is none."""


def ends_of(changes: Changes | None, messages: int) -> Ends:
    """Find them in a request of so many messages."""
    if changes is None or not changes.inserted:
        return Ends()
    frozen = steady = None
    for place, index in enumerate(in_order(changes, messages)):
        if index >= 0:
            continue
        if changes.inserted[-1 - index].is_passing:
            steady = place if steady is None else steady
        else:
            frozen = place + 1
    return Ends(frozen, steady)

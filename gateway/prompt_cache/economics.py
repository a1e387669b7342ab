"""The expected cost of a marker, a lifetime and a fold, by the habits of conversations of the same kind. Pure.

r and w are the prices of a token read from the cache and of a token written to it, as multiples of the plain price. A
marker costs w - 1 for each token now. It saves up to w - r at the next request, if that comes in time. A fold under a
warm cache buys the text behind the first changed byte again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import inf
from typing import Final, Protocol

from gateway.prompt_cache.usage_patterns import (
    KNOWN,
    NO_HISTORY,
    TURNS,
    GroupHistory,
    Habits,
    Stage,
    head_stage,
    turn_stage,
)

EARLY_TOKENS: Final = 10_000.0
"""The weight, in tokens, of the expectation that a prompt is sent again in time, before any observation."""
LEAST_SAVED: Final = 0.05
"""The least share of the remaining cost that a voluntary fold must save. Expectations are not more precise."""
LEAST_FREED: Final = 0.1
"""The least share of a prompt that a voluntary fold must remove."""
USUAL_GROWTH: Final = 200.0
"""Tokens that a request adds, until the conversation shows how many."""
LONG_TURNS: Final = 20.0
"""A number of further requests that any conversation may have. A fold must also pay for one this long."""
MOST_TURNS: Final = 500.0
"""The most further requests that are ever expected."""


class Prices(Protocol):
    """The prices of a provider's cache. `CacheFacts` has them."""

    @property
    def read(self) -> Decimal: ...

    @property
    def writes(self) -> Mapping[int, Decimal]:
        """Lifetime in seconds → price."""


# ---------------------------------------------------------------- markers: on_reuse


def tail_pays(
    habits: Habits, prices: Prices, stage: Stage, lifetime_seconds: int, history: GroupHistory = NO_HISTORY
) -> bool:
    """Check whether to mark the newest message: is the conversation expected to continue often enough to pay for the
    write?

    The habits are those before this request. `history` is that of its head, and counts at first turns.
    """
    again = _goes_on(habits, stage, lifetime_seconds, history)
    then = habits.share(min(TURNS - 1, max(KNOWN, stage) + 1), lifetime_seconds)
    return _pays(prices, lifetime_seconds, again, then)


def head_pays(
    habits: Habits, prices: Prices, stage: Stage, sights: int, lifetime_seconds: int, history: GroupHistory = NO_HISTORY
) -> bool:
    """Check whether to mark the end of the prefix that conversations share, if the tail does not pay.

    The prefix is the tools and the system text, or the part of a first request that agrees with an earlier one. This
    conversation or another one may read it. `sights` counts the first requests that began with it, this one included.
    """
    goes_on = _goes_on(habits, stage, lifetime_seconds, history)
    seen_again = habits.share(head_stage(sights), lifetime_seconds)
    then = habits.share(head_stage(sights + 1), lifetime_seconds)
    return _pays(prices, lifetime_seconds, 1 - (1 - goes_on) * (1 - seen_again), then)


def _goes_on(habits: Habits, stage: Stage, lifetime_seconds: int, history: GroupHistory) -> float:
    share = habits.share(stage, lifetime_seconds)
    return history.share(share) if stage == KNOWN else share


def _pays(prices: Prices, lifetime_seconds: int, again: float, then: float) -> bool:
    """Compare a write now with waiting: the next request would write instead of read, or pay the plain price ever
    after.
    """
    read, write = float(prices.read), float(prices.writes[lifetime_seconds])
    return write - 1 < again * min(write - read, (1 - read) / (1 - min(then, 0.999)))


# ---------------------------------------------------------------- ttl: auto


def lifetime(habits: Habits, prices: Prices, now: float) -> int:
    """Choose the lifetime in seconds that would have been cheapest so far; the shortest without observations.

    A conversation keeps its lifetime while its prefix is cached, and chooses anew when it has to write everything
    again.
    """
    read = float(prices.read)

    def cost(seconds: int) -> float:
        write = float(prices.writes[seconds])
        in_time, late, fresh = habits.sent_again(seconds, now)
        return read * in_time + write * (late + fresh)

    return min(sorted(prices.writes), key=cost)


# ---------------------------------------------------------------- folds


def expected_turns(habits: Habits, turn: int) -> float:
    """Return the expected number of further requests of a conversation after its n-th, however long they take."""
    last = habits.share(TURNS - 1, inf)
    left, here = last / (1 - last), turn_stage(turn)
    for stage in range(TURNS - 2, here - 1, -1):
        after = 1 << (stage - 1)  # the last turn of this stage
        turns = after - turn + 1 if stage == here else after - (after >> 1)
        share = habits.share(stage, inf)
        left = share * (1 - share**turns) / (1 - share) + share**turns * left
    return min(MOST_TURNS, left)


@dataclass(frozen=True, slots=True)
class Option:
    """The size of one legal plan for a request, in tokens."""

    sent: int
    """The prompt as it would be sent now."""
    warm: int
    """The prefix of it that the cache is believed to hold."""
    lasts: float = inf
    """Requests after this one until the next fold is due, at the observed growth; infinite if none will be."""
    rebought: int = 0
    """Tokens that the next fold, and each later one, will write again."""
    besides: float = 0.0
    """Further cost of the plan, in plain input tokens: a summary."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The expectation of a conversation's remaining requests. Prices are multiples of the plain input price."""

    read: float
    write: float
    again: float
    """The price of a token that is sent again a turn later: read if the gap is short enough, else written."""
    turns: float
    """Requests after this one. Conversations end at a constant rate, so the same number is expected after each of them.
    """
    growth: float
    """Tokens that a request adds."""
    least: int = 0
    """Tokens of a prompt below which nothing is cached."""


def outlook(
    habits: Habits, prices: Prices, lifetime_seconds: int, turn: int, growth: float, now: float, least: int = 0
) -> Outlook:
    """Return the outlook of a conversation after its n-th request, with so many tokens of growth at each."""
    read, write = float(prices.read), float(prices.writes[lifetime_seconds])
    in_time, late, _ = habits.sent_again(lifetime_seconds, now)
    in_time_share = (in_time + EARLY_TOKENS) / (in_time + late + EARLY_TOKENS)
    return Outlook(
        read, write, in_time_share * read + (1 - in_time_share) * write, expected_turns(habits, turn), growth, least
    )


def expected_cost(option: Option, outlook: Outlook) -> float:
    """Return the expected cost of a conversation from this request on, in plain input tokens.

    A prompt grows between two folds, and shrinks back at each. The cost of new text is the same under every plan, and
    is left out.
    """
    goes_on = outlook.turns / (1 + outlook.turns)
    reaches_fold: float = goes_on ** max(1.0, option.lasts)
    folds = reaches_fold / (1 - reaches_fold)
    grown = _grown(goes_on, max(1.0, option.lasts)) / (1 - reaches_fold)
    short = max(0, outlook.least - option.sent)
    plain = min(outlook.turns, short / max(outlook.growth, 1.0))  # requests until it is long enough to be cached
    write = 1.0 if short else outlook.write
    now = option.warm * outlook.read + (option.sent - option.warm) * write + option.besides
    later = outlook.again * (outlook.turns * option.sent + outlook.growth * grown)
    later += max(0.0, 1.0 - outlook.again) * plain * option.sent
    return now + later + folds * ((outlook.write - outlook.again) * option.rebought + option.besides)


def _grown(goes_on: float, lasts: float) -> float:
    """Sum i·s^(i+1) for i below `lasts`: the steps by which the prompts between two folds have grown, if they are
    reached.
    """
    steps: float = (goes_on / (1 - goes_on)) ** 2
    if lasts == inf:
        return steps
    reached: float = goes_on ** (lasts - 1)
    return steps * (1 - lasts * reached + (lasts - 1) * reached * goes_on)


def fold_pays(fold: Option, instead: Option, outlook: Outlook) -> bool:
    """Check whether a voluntary fold is cheaper than no fold (`fold: {when: cheaper}`), by enough to leave text out.

    It must be cheaper if this conversation lasts half as long as expected, and also if it lasts very long.
    """
    if fold.sent > (1 - LEAST_FREED) * instead.sent:
        return False
    looks = [replace(outlook, turns=turns) for turns in (outlook.turns / 2, max(outlook.turns, LONG_TURNS))]
    return all(expected_cost(fold, look) < (1 - LEAST_SAVED) * expected_cost(instead, look) for look in looks)

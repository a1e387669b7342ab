"""What a marker, a lifetime and a fold are expected to cost, by what conversations of this kind have done so far.

With r and w the prices of a token that is read from the cache and of one that is written to it, as multiples of the
plain price: a marker costs w - 1 a token now and saves up to w - r at the next request, if that comes in time; a fold
under a warm cache re-buys what stands behind the first changed byte. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from math import inf
from typing import Final, Protocol

from gateway.prompt_cache.usage_patterns import KNOWN, NO_OWN, TURNS, Habits, Own, Stage, head_stage, turn_stage

EARLY_TOKENS: Final = 10_000.0
"""What the expectation is worth that a prompt is sent again in time, before anything was seen."""
LEAST_SAVED: Final = 0.05
"""What a fold that nothing forces is to save of what the rest of the conversation costs: expectations are no better."""
LEAST_FREED: Final = 0.1
"""Of a prompt, what such a fold is to take away at least."""
USUAL_GROWTH: Final = 200.0
"""Tokens that a request adds, before a conversation has shown how many."""
LONG_TURNS: Final = 20.0
"""Requests that a conversation may always have before it: what is cheaper only where it ends soon may turn out dear."""
MOST_TURNS: Final = 500.0
"""Of what a conversation is expected to last still."""


class Prices(Protocol):
    """What of a provider's cache decides here; the whole is `CacheFacts`."""

    @property
    def read(self) -> Decimal: ...

    @property
    def writes(self) -> Mapping[int, Decimal]:
        """Lifetime in seconds → price."""


# ---------------------------------------------------------------- markers: on_reuse


def tail_pays(habits: Habits, prices: Prices, stage: Stage, lifetime_seconds: int, own: Own = NO_OWN) -> bool:
    """Say whether to mark a conversation's newest message: will it go on, often enough to pay for the write?

    By what was known before this request, which is not counted yet. `own` is that of its head; it tells in first turns.
    """
    again = _goes_on(habits, stage, lifetime_seconds, own)
    then = habits.share(min(TURNS - 1, max(KNOWN, stage) + 1), lifetime_seconds)
    return _pays(prices, lifetime_seconds, again, then)


def head_pays(
    habits: Habits, prices: Prices, stage: Stage, sights: int, lifetime_seconds: int, own: Own = NO_OWN
) -> bool:
    """Say whether to mark the end of a beginning that conversations share, once the tail is not worth it.

    That is the tools, the system text, or as far as a first request agrees with one seen before. `sights` counts the
    first requests that began with it, this one included. It is read again by this conversation or by another.
    """
    goes_on = _goes_on(habits, stage, lifetime_seconds, own)
    seen_again = habits.share(head_stage(sights), lifetime_seconds)
    then = habits.share(head_stage(sights + 1), lifetime_seconds)
    return _pays(prices, lifetime_seconds, 1 - (1 - goes_on) * (1 - seen_again), then)


def _goes_on(habits: Habits, stage: Stage, lifetime_seconds: int, own: Own) -> float:
    share = habits.share(stage, lifetime_seconds)
    return own.share(share) if stage == KNOWN else share


def _pays(prices: Prices, lifetime_seconds: int, again: float, then: float) -> bool:
    """Compare writing now with waiting: the next request would write instead of read, or pay plainly ever after."""
    read, write = float(prices.read), float(prices.writes[lifetime_seconds])
    return write - 1 < again * min(write - read, (1 - read) / (1 - min(then, 0.999)))


# ---------------------------------------------------------------- ttl: auto


def lifetime(habits: Habits, prices: Prices, now: float) -> int:
    """Choose for how long to write, in seconds: what would have been cheapest so far. The shortest, at the beginning.

    A conversation keeps what it began with while that is alive; it chooses anew once it has to write everything anew.
    """
    read = float(prices.read)

    def cost(seconds: int) -> float:
        write = float(prices.writes[seconds])
        in_time, late, fresh = habits.sent_again(seconds, now)
        return read * in_time + write * (late + fresh)

    return min(sorted(prices.writes), key=cost)


# ---------------------------------------------------------------- folds


def expected_turns(habits: Habits, turn: int) -> float:
    """Expect how many more requests a conversation sends after its n-th, however long it takes to."""
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
    """One legal plan for a request, as far as its price goes. Tokens."""

    sent: int
    """Of the prompt as it would leave now."""
    warm: int
    """Of those at its beginning, what the cache is believed to hold."""
    lasts: float = inf
    """Requests after this one until the next fold is due, at the growth seen; infinite where none will be."""
    rebought: int = 0
    """What that fold will have to write again, and every one after it."""
    besides: float = 0.0
    """What else the plan costs, in plain input tokens: a summary."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the rest of a conversation is expected to be. Prices are multiples of the plain input price."""

    read: float
    write: float
    again: float
    """Of a token that is sent again a turn later: read where the gap is short enough, else written."""
    turns: float
    """Requests after this one. Conversations end at a steady rate, so that as many are expected after each of them."""
    growth: float
    """Tokens that a request adds."""
    least: int = 0
    """Tokens of a prompt below which nothing is cached."""


def outlook(
    habits: Habits, prices: Prices, lifetime_seconds: int, turn: int, growth: float, now: float, least: int = 0
) -> Outlook:
    """Say what to expect of a conversation after its n-th request, which grows by so many tokens at each."""
    read, write = float(prices.read), float(prices.writes[lifetime_seconds])
    in_time, late, _ = habits.sent_again(lifetime_seconds, now)
    kept = (in_time + EARLY_TOKENS) / (in_time + late + EARLY_TOKENS)
    return Outlook(read, write, kept * read + (1 - kept) * write, expected_turns(habits, turn), growth, least)


def expected_cost(option: Option, outlook: Outlook) -> float:
    """Expect what the rest of a conversation costs, this request included, in plain input tokens.

    Between two folds a prompt grows; at each it falls back to what it was. What is new costs the same under every plan,
    and is left out.
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
    """Sum i·s^(i+1) for i below `lasts`: by how many steps the prompts between two folds have grown, if reached."""
    steps: float = (goes_on / (1 - goes_on)) ** 2
    if lasts == inf:
        return steps
    reached: float = goes_on ** (lasts - 1)
    return steps * (1 - lasts * reached + (lasts - 1) * reached * goes_on)


def pays(fold: Option, instead: Option, outlook: Outlook) -> bool:
    """Say whether a fold that nothing forces is cheaper than going on as before (`fold: {when: cheaper}`), by enough
    to leave something out for: if this one goes on for half as long as such conversations do, and if for very long.
    """
    if fold.sent > (1 - LEAST_FREED) * instead.sent:
        return False
    looks = [replace(outlook, turns=turns) for turns in (outlook.turns / 2, max(outlook.turns, LONG_TURNS))]
    return all(expected_cost(fold, look) < (1 - LEAST_SAVED) * expected_cost(instead, look) for look in looks)

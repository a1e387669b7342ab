"""Whether a prefix is worth being read again, for nobody, so that it is still cached when the next request comes. Pure.

With r and w the prices of a token that is read from the cache and of one that is written to it, as multiples of the
plain price: each re-read costs r and a little, and saves w - r if the next request comes when the prefix would have
expired and has not, thanks to it (`economics.py`). How likely that is, the gaps between requests say: those that
were longer than the present one is already. Where one re-read does not reach, the next one may, so several in a row are
looked at: they pay once any number of them is expected to cost less than it saves. When no gap is known that was
longer, it is over, and so it ends by itself when traffic does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

MOST_GAPS: Final = 64
"""Of a prefix, as many are kept: the newest."""
LEAST_GAPS: Final = 3
"""Before so many are known nothing is read again."""
FIVE_MINUTES: Final = 300.0
"""The lifetime that `every` speaks of: the shortest that a provider has."""
FORGIVEN: Final = 0.05
"""Of what one write costs more than a read: how much of what re-reads have cost in vain is forgotten with each gap."""
LEAST_BEFORE: Final = 30.0
"""Seconds before its end at the latest: the call takes some, and clocks differ."""


def interval(every_seconds: float, lifetime_seconds: float) -> float:
    """Say after how many seconds without a request what is kept for so long is read again.

    What is kept for five minutes: `every`. What is kept longer is read as long before its end as that would be (a
    minute for `every: 4m`): sooner would only be oftener.
    """
    before = max(LEAST_BEFORE, FIVE_MINUTES - every_seconds)
    return max(lifetime_seconds / 2, lifetime_seconds - before)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What it takes to keep a prefix. Prices are in plain input tokens for each of its tokens."""

    lifetime: float
    """For how many seconds it is written, and kept by a re-read."""
    interval: float
    """Seconds between two re-reads."""
    read: float
    """By a request."""
    write: float
    reread: float
    """A re-read, with all that it pays for besides: an answer that nobody reads, and what falls short of a step."""

    @property
    def saves(self) -> float:
        """What a request saves that reads instead of writing."""
        return self.write - self.read

    def is_lost(self, balance: float) -> bool:
        """Whether one more re-read in vain would make them lose more than a write."""
        return balance - self.reread < -self.saves


def pays(
    gaps: Sequence[float], keeping: Keeping, waited_seconds: float, left_seconds: float, balance: float = 0.0
) -> bool:
    """Say whether to read a prefix again now, so many seconds after its last request and before it expires.

    `gaps`: seconds between its requests so far. `balance`: what re-reads have saved so far, less what they cost: where
    they have lost more than a write, the gaps have promised too much.
    """
    if len(gaps) < LEAST_GAPS or keeping.is_lost(balance):
        return False
    return _gained(gaps, keeping, waited_seconds, left_seconds) > 0


def is_worth_writing(gaps: Sequence[float], keeping: Keeping, balance: float = 0.0) -> bool:
    """Say whether to write a prefix that is sent now, where it will be read again as long as that pays, and costs the
    plain price unless it is written.
    """
    if len(gaps) < LEAST_GAPS:
        return False
    alone, gained = sum(keeping.read if gap < keeping.lifetime else keeping.write for gap in gaps), 0.0
    if not keeping.is_lost(balance):
        gained = _gained(gaps, keeping, keeping.interval, keeping.lifetime - keeping.interval)
    return alone - gained < len(gaps)


def _gained(gaps: Sequence[float], keeping: Keeping, waited: float, left: float) -> float:
    """Add up over all gaps that may still come what the best number of re-reads saves, less what they cost.

    One that never ends is added to those that are known: of n gaps the next one is as likely as any to be the longest.
    """
    longer = [*(gap for gap in gaps if gap > waited), inf]
    saves = keeping.saves
    best = spent = saved = 0.0
    at, expires = waited, waited + left
    while spent < saves * len(longer) and (open_still := sum(gap > at for gap in longer)) > 1:
        spent += keeping.reread * open_still
        kept = at + keeping.lifetime
        saved += saves * sum(expires <= gap < kept for gap in longer)
        best = max(best, saved - spent)
        at, expires = at + keeping.interval, kept
    return best

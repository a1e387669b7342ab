"""The decision to read a prefix again, so that it is still cached at the next request. Pure.

r and w are the prices of a token read from the cache and of a token written to it, as multiples of the plain price.
Each re-read costs r and a little more. It saves w - r if the next request comes after the prefix would have expired,
and still finds it. The past gaps between requests give the probability: those that are longer than the present gap. If
one re-read is too early, the next one may not be. So several in a row are considered, and they pay if any number of
them is expected to cost less than it saves. If no known gap is longer, the traffic is over, and the re-reads end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

MOST_GAPS: Final = 64
"""The number of gaps kept for a prefix, the newest."""
LEAST_GAPS: Final = 3
"""The least number of known gaps for a re-read."""
FIVE_MINUTES: Final = 300.0
"""The lifetime that `every` refers to: the shortest of any provider."""
FORGIVEN: Final = 0.05
"""The share of the saving by which a negative balance is forgiven at each gap."""
LEAST_BEFORE: Final = 30.0
"""The least time before the expiry at which a re-read starts, in seconds. The call takes time, and clocks differ."""


def reread_interval(every_seconds: float, lifetime_seconds: float) -> float:
    """Return the seconds without a request after which a prefix of this lifetime is read again.

    For a lifetime of five minutes it is `every`. A longer lifetime ends with the same rest (a minute for `every: 4m`);
    an earlier re-read would only be more frequent.
    """
    before = max(LEAST_BEFORE, FIVE_MINUTES - every_seconds)
    return max(lifetime_seconds / 2, lifetime_seconds - before)


@dataclass(frozen=True, slots=True)
class KeepWarmTerms:
    """The lifetime and prices of a prefix to keep warm. Prices are in plain input tokens for each of its tokens."""

    lifetime: float
    """Seconds for which a write or a re-read keeps it."""
    reread_interval: float
    """Seconds between two re-reads."""
    read: float
    """The price for a request."""
    write: float
    reread: float
    """The price of a re-read with its extra cost: a short answer, and the tokens below a step."""

    @property
    def saving(self) -> float:
        """Return the saving of a request that reads instead of writing."""
        return self.write - self.read

    def is_lost(self, balance: float) -> bool:
        """Check whether one more re-read in vain would make the loss larger than a write."""
        return balance - self.reread < -self.saving


def reread_pays(
    gaps: Sequence[float], terms: KeepWarmTerms, waited_seconds: float, left_seconds: float, balance: float = 0.0
) -> bool:
    """Check whether to read a prefix again now, so many seconds after its last request and before it expires.

    `gaps`: seconds between its requests so far. `balance`: the saving of the re-reads so far less their cost. If they
    have lost more than a write, the gaps have promised too much.
    """
    if len(gaps) < LEAST_GAPS or terms.is_lost(balance):
        return False
    return _net_saving(gaps, terms, waited_seconds, left_seconds) > 0


def write_pays(gaps: Sequence[float], terms: KeepWarmTerms, balance: float = 0.0) -> bool:
    """Check whether to write a prefix that is sent now, if re-reads will keep it as long as they pay.

    Without the write its tokens have the plain price.
    """
    if len(gaps) < LEAST_GAPS:
        return False
    alone, gained = sum(terms.read if gap < terms.lifetime else terms.write for gap in gaps), 0.0
    if not terms.is_lost(balance):
        gained = _net_saving(gaps, terms, terms.reread_interval, terms.lifetime - terms.reread_interval)
    return alone - gained < len(gaps)


def _net_saving(gaps: Sequence[float], terms: KeepWarmTerms, waited_seconds: float, left_seconds: float) -> float:
    """Return the saving of the best number of re-reads less their cost, summed over all gaps that may still come.

    One endless gap is added to the known ones: of n gaps, the next one is as likely as any to be the longest.
    """
    longer = [*(gap for gap in gaps if gap > waited_seconds), inf]
    saving = terms.saving
    best = spent = saved = 0.0
    at, expires = waited_seconds, waited_seconds + left_seconds
    while spent < saving * len(longer) and (open_still := sum(gap > at for gap in longer)) > 1:
        spent += terms.reread * open_still
        expiry = at + terms.lifetime
        saved += saving * sum(expires <= gap < expiry for gap in longer)
        best = max(best, saved - spent)
        at, expires = at + terms.reread_interval, expiry
    return best

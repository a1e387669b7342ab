"""Whether a prefix is worth being read again, for nobody, so that it is still cached when the next request comes. Pure.

With r and w the prices of a token that is read from the cache and of one that is written to it, as multiples of the
plain price: each re-read costs r, and saves w - r if the next request comes when the prefix would have expired and has
not, thanks to it (DESIGN §6, economics). How likely that is, the gaps between requests say: those that were longer than
the present one is already. Where one re-read does not reach, the next one may, so several in a row are looked at: they
pay once any number of them is expected to cost less than it saves. When no gap is known that was longer, it is over,
and so it ends by itself when traffic does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST_GAPS: Final = 64
"""Of a prefix, as many are kept: the newest."""
LEAST_GAPS: Final = 3
"""Before so many are known nothing is read again."""
FIVE_MINUTES: Final = 300.0
"""The lifetime that `every` speaks of: the shortest that a provider has."""
LEAST_BEFORE: Final = 30.0
"""Seconds before its end at the latest: the call takes some, and clocks differ."""


def interval(every_seconds: float, lifetime_seconds: float) -> float:
    """Say after how many seconds without a request what is kept for so long is read again.

    What is kept for five minutes: `every`. What is kept longer is read as long before its end as that would be (a
    minute for `every: 4m`): sooner would only be oftener.
    """
    before = max(LEAST_BEFORE, FIVE_MINUTES - every_seconds)
    return max(lifetime_seconds / 2, lifetime_seconds - before)


def pays(
    gaps: Sequence[float],
    waited_seconds: float,
    left_seconds: float,
    lifetime_seconds: float,
    interval_seconds: float,
    costs: float,
    saves: float,
) -> bool:
    """Say whether to read a prefix again now, so many seconds after its last request and before it expires.

    `gaps`: seconds between its requests so far. `lifetime_seconds`: for how long a re-read keeps it. `costs`: one
    re-read, its short answer included; `saves`: a read in place of a write; both in the same unit.
    """
    longer = [gap for gap in gaps if gap > waited_seconds]
    if len(gaps) < LEAST_GAPS or not longer:
        return False
    spent = saved = 0.0
    at, expires = waited_seconds, waited_seconds + left_seconds
    while spent < saves * len(longer):
        spent += costs * sum(gap > at for gap in longer)
        kept = at + lifetime_seconds
        saved += saves * sum(expires <= gap < kept for gap in longer)
        if saved > spent:
            return True
        at, expires = at + interval_seconds, kept
        if not any(gap > at for gap in longer):
            return False
    return False

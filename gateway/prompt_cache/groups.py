"""Prefix groups: who begins with the same tools and system text, by content, and what their conversations did.

Pure, and bounded in bytes: most groups are seen once, so one that was takes no more than its place in a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.memory import USUAL
from gateway.prompt_cache.contents import Generations
from gateway.prompt_cache.usage_patterns import NO_OWN, Own

_GROUP_BYTES = 176
"""What a group takes beyond its place, once it was seen again."""

_TIME_BYTES = 24

Counts = tuple[float, float, float]
"""First requests of conversations, and of those the ones that count in `Own`: begun, and gone on."""


class Groups:
    """What was seen of each group. A group is a number (`prefix.group_of`)."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("prefix groups")) -> None:
        self._groups: Generations[int, tuple[int, Own] | None] = Generations(6 * most_bytes // 7)
        self._last: Generations[int, float] = Generations(most_bytes // 7)
        self._news: dict[int, Counts] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def sights(self, group: int) -> int:
        """Count the conversations that were seen to begin like this."""
        return self._found(group)[0]

    def own(self, group: int) -> Own:
        """Return how many of them went on."""
        return self._found(group)[1]

    def begun(self, group: int, now: float) -> float | None:
        """Count the first request of a conversation; return when the one before it was seen here."""
        sights, own = self._found(group)
        last = self._last.get(group)
        self._last.put(group, now, _TIME_BYTES)
        self._keep(group, sights + 1, own.plus(1.0, 0.0))
        self._tell(group, 1.0, 1.0, 0.0)
        return last

    def went_on(self, group: int) -> None:
        """Count a conversation that sent its second request."""
        sights, own = self._found(group)
        self._keep(group, sights, own.plus(0.0, 1.0))
        self._tell(group, 0.0, 0.0, 1.0)

    def take_news(self) -> dict[int, Counts]:
        """Return what was counted since this was last asked, for those who share it."""
        news, self._news = self._news, {}
        return news

    def give_back(self, news: Mapping[int, Counts]) -> None:
        """Take back what could not be shared."""
        for group, counts in news.items():
            self._tell(group, *counts)

    def adopt(self, shared: Mapping[int, Counts]) -> None:
        """Take over what all workers have counted together; what was counted here since then comes on top."""
        for group, (sights, begun, went_on) in shared.items():
            more = self._news.get(group, (0.0, 0.0, 0.0))
            self._keep(group, int(sights + more[0]), Own(begun + more[1], went_on + more[2]))

    def _found(self, group: int) -> tuple[int, Own]:
        if group not in self._groups:
            return 0, NO_OWN
        return self._groups.get(group) or (1, _SEEN_ONCE)

    def _keep(self, group: int, sights: int, own: Own) -> None:
        seen_once = sights == 1 and own == _SEEN_ONCE
        self._groups.put(group, None if seen_once else (sights, own), 0 if seen_once else _GROUP_BYTES)

    def _tell(self, group: int, *counts: float) -> None:
        before = self._news.get(group, (0.0, 0.0, 0.0))
        self._news[group] = (before[0] + counts[0], before[1] + counts[1], before[2] + counts[2])
        if len(self._news) > MOST_NEWS:
            del self._news[next(iter(self._news))]


_SEEN_ONCE = Own(1.0, 0.0)

MOST_NEWS = 10_000
"""Groups whose counts wait to be shared; the oldest go first."""

"""Prefix groups: conversations that begin with the same tools and system text, and the counts of them.

Pure, and bounded in bytes. Most groups have one conversation, so such a group takes only its place in a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.memory import USUAL
from gateway.prompt_cache.generations import Generations
from gateway.prompt_cache.usage_patterns import NO_HISTORY, GroupHistory

_GROUP_BYTES = 176
"""The size of a group with several conversations, beyond its place."""

_TIME_BYTES = 24

Counts = tuple[float, float, float]
"""First requests of conversations; those counted in `GroupHistory` as started; those counted as continued."""


class PrefixGroups:
    """The counts of each group. A group is a number (`prefixes.prefix_group`)."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("prefix groups")) -> None:
        self._groups: Generations[int, tuple[int, GroupHistory] | None] = Generations(6 * most_bytes // 7)
        self._last: Generations[int, float] = Generations(most_bytes // 7)
        self._news: dict[int, Counts] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def sights(self, group: int) -> int:
        """Return the number of conversations that began like this."""
        return self._entry(group)[0]

    def history(self, group: int) -> GroupHistory:
        """Return the history of the group's conversations."""
        return self._entry(group)[1]

    def note_start(self, group: int, now: float) -> float | None:
        """Count the first request of a conversation. Return the time of the one before it, if this process saw it."""
        sights, history = self._entry(group)
        last = self._last.get(group)
        self._last.put(group, now, _TIME_BYTES)
        self._put(group, sights + 1, history.plus(1.0, 0.0))
        self._add_news(group, 1.0, 1.0, 0.0)
        return last

    def note_continuation(self, group: int) -> None:
        """Count a conversation that sent its second request."""
        sights, history = self._entry(group)
        self._put(group, sights, history.plus(0.0, 1.0))
        self._add_news(group, 0.0, 0.0, 1.0)

    def take_news(self) -> dict[int, Counts]:
        """Return the counts since the last call, for the exchange."""
        news, self._news = self._news, {}
        return news

    def give_back(self, news: Mapping[int, Counts]) -> None:
        """Take back counts that could not be exchanged."""
        for group, counts in news.items():
            self._add_news(group, *counts)

    def adopt(self, shared: Mapping[int, Counts]) -> None:
        """Replace the counts by the sum of all workers, plus the counts made here since then."""
        for group, (sights, note_start, note_continuation) in shared.items():
            more = self._news.get(group, (0.0, 0.0, 0.0))
            self._put(group, int(sights + more[0]), GroupHistory(note_start + more[1], note_continuation + more[2]))

    def _entry(self, group: int) -> tuple[int, GroupHistory]:
        if group not in self._groups:
            return 0, NO_HISTORY
        return self._groups.get(group) or (1, _SEEN_ONCE)

    def _put(self, group: int, sights: int, history: GroupHistory) -> None:
        seen_once = sights == 1 and history == _SEEN_ONCE
        self._groups.put(group, None if seen_once else (sights, history), 0 if seen_once else _GROUP_BYTES)

    def _add_news(self, group: int, *counts: float) -> None:
        before = self._news.get(group, (0.0, 0.0, 0.0))
        self._news[group] = (before[0] + counts[0], before[1] + counts[1], before[2] + counts[2])
        if len(self._news) > MOST_NEWS:
            del self._news[next(iter(self._news))]


_SEEN_ONCE = GroupHistory(1.0, 0.0)

MOST_NEWS = 10_000
"""The most groups whose counts wait for the exchange. The oldest are dropped first."""

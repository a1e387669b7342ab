"""The habits that this process observes, and their exchange with other processes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.prompt_cache.usage_patterns import (
    NOTHING_KNOWN,
    Habits,
    PreviousRequest,
    Stage,
    end_waiting,
    request_habits,
    sum_habits,
)
from gateway.state.shared import Untold

MOST_NEWS: Final = 2000
"""The most observations that wait for the exchange with other processes. The oldest are dropped first."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The contribution of one answered request to the habits of its kind."""

    kind: str
    stage: int
    now: float
    previous: PreviousRequest | None
    tokens: int
    head: tuple[Stage, PreviousRequest | None] | None = None
    """For a first request: the stage of its head, and the previous request with the same head."""

    def delta(self) -> Habits:
        """Return the contribution as habits, which can be added."""
        out = request_habits(self.stage, self.now, self.previous, self.tokens)
        return out if self.head is None else out + request_habits(self.head[0], self.now, self.head[1])


class Observations:
    """The habits of each kind of conversation: those of all processes at the last exchange, and this process's since
    then.
    """

    def __init__(self) -> None:
        self._news: Untold[Observation] = Untold(MOST_NEWS)
        self._exchanged: dict[str, Habits] = {}
        """Kind → the habits of all processes, at the last exchange."""
        self._in_exchange: dict[str, Habits] = {}
        """Kind → the habits that are being exchanged now."""
        self._since: dict[str, Habits] = {}
        """Kind → the habits observed here since then, for the kinds whose markers depend on them."""

    def habits(self, kind: str) -> Habits:
        """Return the habits of a kind of conversation."""
        parts = (self._in_exchange.get(kind), self._since.get(kind))
        return sum_habits([part for part in parts if part is not None], self._exchanged.get(kind, NOTHING_KNOWN))

    def add(self, observation: Observation, *, decides: bool) -> None:
        """Queue an observation for the next exchange. If it `decides` about markers, count it at once too."""
        self._news.append(observation)
        if decides:
            kind = observation.kind
            since = self._since.get(kind, NOTHING_KNOWN) + observation.delta()
            self._since[kind] = end_waiting(since, observation.now)

    def take_news(self) -> Sequence[Observation]:
        """Return the observations since the last call."""
        self._in_exchange, self._since = self._since, {}
        return self._news.take()

    def give_back(self, news: Sequence[Observation]) -> None:
        """Take back observations that could not be exchanged."""
        self._news.give_back(news)
        for kind, habits in self._in_exchange.items():
            self._since[kind] = habits + self._since.get(kind, NOTHING_KNOWN)
        self._in_exchange = {}

    def adopt(self, habits: Mapping[str, Habits]) -> None:
        """Replace the exchanged habits by the sum of all processes."""
        self._exchanged.update(habits)
        self._in_exchange = {}

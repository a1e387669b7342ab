"""The habits that this process has observed, and the exchange of them with other processes. Pure."""

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
"""Requests that wait to be told to other processes; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one answered request adds to the habits of its kind."""

    kind: str
    stage: int
    now: float
    previous: PreviousRequest | None
    tokens: int
    head: tuple[Stage, PreviousRequest | None] | None = None
    """Of a first request: how often its head was seen, and when last."""

    def delta(self) -> Habits:
        """Return what it adds."""
        out = request_habits(self.stage, self.now, self.previous, self.tokens)
        return out if self.head is None else out + request_habits(self.head[0], self.now, self.head[1])


class Observations:
    """The habits of each kind of conversation: all processes' of the last exchange, and this process's since."""

    def __init__(self) -> None:
        self._news: Untold[Observation] = Untold(MOST_NEWS)
        self._exchanged: dict[str, Habits] = {}
        """Kind → the habits of all processes, as of the last exchange."""
        self._in_exchange: dict[str, Habits] = {}
        """Kind → the habits that are being exchanged now."""
        self._since: dict[str, Habits] = {}
        """Kind → the habits observed here since, for the kinds whose markers depend on them."""

    def habits(self, kind: str) -> Habits:
        """Return the habits of a kind of conversation."""
        parts = (self._in_exchange.get(kind), self._since.get(kind))
        return sum_habits([part for part in parts if part is not None], self._exchanged.get(kind, NOTHING_KNOWN))

    def add(self, observation: Observation, *, decides: bool) -> None:
        """Add an observation for the next exchange, and at once where it `decides` about markers."""
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
        """Replace the exchanged habits by those that all processes counted together."""
        self._exchanged.update(habits)
        self._in_exchange = {}

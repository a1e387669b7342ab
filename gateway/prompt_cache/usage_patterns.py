"""The habits of conversations of one kind: how often another request follows, and after how long. Pure.

Habits are counts, kept for the requests of one team to one model under one policy. Every request adds to them: the turn
that its conversation reached, the gap since the turn before, and the number of sights of its head (the prefix that
conversations share: tools, system text, examples). All of it is a sum of *deltas*, so that workers can add theirs to a
shared store in any order. Only the store halves the past (`halve_old`).

A request that nothing has followed yet waits under the minute in which it came. It counts as ended once the shortest
lifetime of any cache has passed. If a request follows later, that is taken back. Until then it is left out of every
share, with one exception: a first turn, and a sight of a head, count as ended at once. Traffic that never returns would
otherwise be paid for there, however fast it comes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from math import inf, isfinite
from operator import add
from typing import Any, Final, TypeVar

GAPS: Final = (15.0, 60.0, 150.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0)
"""Upper edges of the gaps that are counted, in seconds. The lifetimes that providers offer are among them."""
LATER: Final = len(GAPS)
"""The place of a gap above the last edge."""
FRESH: Final = -1
"""The place of tokens that are sent for the first time."""
_MIDDLES: Final = (*((low + high) / 2 for low, high in pairwise((0.0, *GAPS))), 2 * GAPS[-1])
MOST_UNSEEN: Final = 4.0
"""The highest weight of one gap that could hardly be observed yet."""

Row = tuple[float, ...]
"""Counts by the place of a gap."""
_EMPTY: Final[Row] = (0.0,) * (LATER + 1)
_ONES: Final[tuple[Row, ...]] = tuple(
    tuple(float(at == place) for at in range(LATER + 1)) for place in range(LATER + 1)
)
SLOT_SECONDS: Final = 60
PATIENCE_SECONDS: Final = 300
"""The time after which a request without a follow-up counts as ended: the shortest lifetime of any cache."""
MOST_COUNTS: Final = 1000.0
"""The sum of all outcomes at which `halve_old` halves them."""
MOST_HISTORY: Final = 32.0
"""The same for the conversations of one head."""
_MOST: Final = 1e15
"""The highest count that is read: a sum of many such is still a number."""
_MOST_SLOTS: Final = 10**9
HISTORY_PRIOR: Final = 2.0
"""The weight of the team's share, in conversations of the head."""

Stage = int
"""The position of a request. In a conversation: its first turn with an unknown beginning; its first turn with a known
beginning; turn 2, 3–4, 5–8, … 65 and more. For a head: its first sight, second, third and fourth, …
"""
NEW: Final = 0
KNOWN: Final = 1
TURNS: Final = 9
HEADS: Final = 4
STAGES: Final = TURNS + HEADS

PRIOR: Final = (0.05, 0.05, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.05, 0.35, 0.7, 0.8)
"""The share of requests with a follow-up, by stage, before any observation. For first turns and the first sight of a
head it is below the share that a marker needs, so that nothing is paid for traffic that has shown no return. A request
that has returned once is expected to return again.
"""
PRIOR_COUNTS: Final = (*[1.0] * TURNS, 10.0, *[1.0] * (HEADS - 1))
"""The weight of the prior, in observations. One conversation that continues says much about the next one. One head that
came back says little about a new one, and waiting costs only the first sight of each.
"""

K = TypeVar("K")


def turn_stage(turn: int, *, is_new: bool = False) -> Stage:
    """Return the stage of a conversation's n-th request. `is_new`: no request before it began with the same head.

    Turns are the requests of this conversation that were long enough for the cache, this one included. Messages are not
    turns: a first request may hold examples. Short requests before are not turns either.
    """
    if turn <= 1:
        return NEW if is_new else KNOWN
    return min(TURNS - 1, 1 + (turn - 1).bit_length())


def head_stage(sights: int) -> Stage:
    """Return the stage of a head at its n-th sight: the n-th first request of a conversation that begins with it."""
    return TURNS + min(HEADS - 1, max(0, sights - 1).bit_length())


@dataclass(frozen=True, slots=True)
class GroupHistory:
    """The outcomes of the conversations with one head. A team may have an agent and a classifier under one key."""

    started: float = 0.0
    """Conversations that began with it."""
    continued: float = 0.0
    """Those of them whose second request came while the first could still be read."""

    def share(self, expected: float) -> float:
        """Estimate the share that continues. `expected` is the share of the team."""
        return (self.continued + HISTORY_PRIOR * expected) / (self.started + HISTORY_PRIOR)

    def plus(self, started: float, continued: float) -> GroupHistory:
        """Add counts. Old ones weigh less."""
        half = 0.5 if self.started >= MOST_HISTORY else 1.0
        return GroupHistory(half * self.started + started, half * self.continued + continued)


NO_HISTORY: Final = GroupHistory()


@dataclass(frozen=True, slots=True)
class Habits:
    """Counts of follow-ups. Zero means no observation; `a + b` are the observations of both."""

    followed: Mapping[Stage, Row] = field(default_factory=dict)
    """Stage of a request → follow-ups, by the place of the gap in `GAPS`."""
    ended: Mapping[Stage, float] = field(default_factory=dict)
    """Stage → requests without a follow-up in time, less the follow-ups that came late."""
    waiting: Mapping[tuple[int, Stage], float] = field(default_factory=dict)
    """(minute, stage) → requests of that minute without a follow-up so far."""
    again: Mapping[int, float] = field(default_factory=dict)
    """Place of the gap → tokens that were sent again after it; `FRESH` → new tokens beside those."""
    since: float = inf
    """The time of the first observation, in Unix seconds."""

    def __add__(self, other: Habits) -> Habits:
        return Habits(
            _sum_rows(self.followed, other.followed),
            _sum(self.ended, other.ended),
            _sum(self.waiting, other.waiting),
            _sum(self.again, other.again),
            min(self.since, other.since),
        )

    def share(self, stage: Stage, within_seconds: float) -> float:
        """Estimate the share of the requests at this stage that another one follows within so many seconds."""
        row = self.followed.get(stage, _EMPTY)
        in_time = sum(row) if within_seconds > GAPS[-1] else sum(row[: bisect_right(GAPS, within_seconds)])
        missed = max(0.0, self.ended.get(stage, 0.0))
        if stage in (NEW, KNOWN) or stage >= TURNS:
            missed += max(0.0, sum(count for (_, at), count in self.waiting.items() if at == stage))
        weight = PRIOR_COUNTS[stage]
        return (in_time + weight * PRIOR[stage]) / (sum(row) + missed + weight)

    def sent_again(self, within_seconds: float, now: float) -> tuple[float, float, float]:
        """Estimate the tokens that are sent again within so many seconds, those sent again later, and the new ones
        beside them.

        After ten minutes, all gaps of a second have been observed. Of gaps of nine minutes only those that began in the
        first minute have. So these get a higher weight.
        """
        fresh, in_time, late = 0.0, 0.0, 0.0
        watched = max(0.0, now - self.since)
        for place, tokens in self.again.items():
            if place == FRESH:
                fresh = tokens
                continue
            gap = _MIDDLES[place]
            likely = tokens * min(MOST_UNSEEN, watched / max(1.0, watched - gap))
            if place < LATER and GAPS[place] <= within_seconds:
                in_time += likely
            else:
                late += likely
        return in_time, late, fresh

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "followed": [[stage, *row] for stage, row in sorted(self.followed.items())],
            "ended": [list(entry) for entry in sorted(self.ended.items())],
            "waiting": [[*key, count] for key, count in sorted(self.waiting.items())],
            "again": [list(entry) for entry in sorted(self.again.items())],
            "since": self.since if isfinite(self.since) else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Habits:
        """Read the values of `to_json`. Raises KeyError, TypeError, ValueError or OverflowError for anything else."""
        read = cls(
            {int(stage): tuple(map(float, row)) for stage, *row in data["followed"]},
            {int(stage): float(count) for stage, count in data["ended"]},
            {(int(slot), int(stage)): float(count) for slot, stage, count in data["waiting"]},
            {int(place): float(tokens) for place, tokens in data["again"]},
            inf if data["since"] is None else float(data["since"]),
        )
        if not read._possible:
            raise ValueError("this was never counted")
        return read

    @property
    def _possible(self) -> bool:
        rows = self.followed.values()
        counts = chain(self.ended.values(), self.waiting.values(), self.again.values(), *rows)
        return (
            {*self.followed, *self.ended, *(stage for _, stage in self.waiting)} <= set(range(STAGES))
            and set(self.again) <= {FRESH, *range(LATER + 1)}
            and all(len(row) == len(_EMPTY) for row in rows)
            and all(0 <= slot <= _MOST_SLOTS for slot, _ in self.waiting)
            and all(abs(count) <= _MOST for count in counts)
            and (self.since == inf or 0 <= self.since <= _MOST_SLOTS * SLOT_SECONDS)
        )


NOTHING_KNOWN: Final = Habits()


@dataclass(frozen=True, slots=True)
class PreviousRequest:
    """The request that another one continues."""

    stage: Stage
    gap_seconds: float
    tokens: int = 0
    """Tokens that both begin with."""


def request_habits(stage: Stage, now: float, previous: PreviousRequest | None = None, tokens: int = 0) -> Habits:
    """Return the delta of one request of so many tokens, at its stage. `now` is in Unix seconds."""
    if previous is None:
        return Habits(waiting={(_slot(now), stage): 1.0}, since=now)
    place = bisect_left(GAPS, previous.gap_seconds)
    was, here = (_slot(now - previous.gap_seconds), previous.stage), (_slot(now), stage)
    waiting = {} if was == here else {was: -1.0, here: 1.0}
    again: dict[int, float] = {}
    if previous.tokens:
        first = previous.tokens if previous.stage in (NEW, KNOWN) else 0
        again = {place: float(previous.tokens), FRESH: float(max(0, tokens - previous.tokens) + first)}
    return Habits({previous.stage: _ONES[place]}, {}, waiting, again, now - previous.gap_seconds)


def end_waiting(habits: Habits, now: float) -> Habits:
    """Count waiting requests as ended after their time. The owner of a sum calls it, at most once a minute."""
    last = _slot(now - PATIENCE_SECONDS) - 1
    if all(slot > last for slot, _ in habits.waiting):
        return habits
    over: dict[Stage, float] = {}
    for (slot, stage), count in habits.waiting.items():
        if slot <= last:
            over[stage] = over.get(stage, 0.0) + count
    waiting = {key: count for key, count in habits.waiting.items() if key[0] > last}
    return Habits(habits.followed, _sum(habits.ended, over), waiting, habits.again, habits.since)


def halve_old(habits: Habits) -> Habits:
    """Halve the past if it outweighs new observations. The owner of the sum of all deltas calls it."""
    outcomes = sum(map(sum, habits.followed.values())) + sum(habits.ended.values())
    if outcomes < MOST_COUNTS:
        return habits
    return Habits(
        {key: tuple(count / 2 for count in row) for key, row in habits.followed.items()},
        {key: count / 2 for key, count in habits.ended.items()},
        habits.waiting,
        {key: tokens / 2 for key, tokens in habits.again.items()},
        habits.since,
    )


def sum_habits(deltas: Iterable[Habits], start: Habits = NOTHING_KNOWN) -> Habits:
    """Add deltas, in any order."""
    for delta in deltas:
        start += delta
    return start


def _slot(now: float) -> int:
    return int(now // SLOT_SECONDS)


def _sum_rows(one: Mapping[Stage, Row], other: Mapping[Stage, Row]) -> Mapping[Stage, Row]:
    if not one or not other:
        return one or other
    out = dict(one)
    for stage, row in other.items():
        out[stage] = tuple(map(add, out.get(stage, _EMPTY), row))
    return out


def _sum(one: Mapping[K, float], other: Mapping[K, float]) -> Mapping[K, float]:
    """Add two counts. Zeros are removed."""
    if not other:
        return one
    if not one:
        return other
    out = dict(one)
    for key, count in other.items():
        out[key] = left = out.get(key, 0.0) + count
        if not left:
            del out[key]
    return out

"""How conversations of one kind go on: how often another request follows, and after how long. Pure: time is handed in.

Habits are counts, kept for what one team sends to one model under one policy (or for something finer). Every request
adds to them: that a conversation reached its n-th turn, how long ago the turn before it was, and how often a head (a
beginning that conversations share: tools, system text, examples) has been seen. All is sums of such *deltas*, so that
workers add theirs to a shared store in any order; the store alone lets go of the past (`aged`).

What nothing has followed yet waits by the minute in which it came, and counts as ended once the shortest lifetime of
any cache has passed; if something follows later it is taken back. Until then it is left out of every share, with one
exception: a first turn counts as ended at once, and so does every sight of a head. There is where traffic that never
returns would be paid for, however fast it comes.
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
"""Upper edges in seconds of what gaps are counted by; the lifetimes that providers offer are among them."""
LATER: Final = len(GAPS)
"""The place of a gap above the last edge."""
FRESH: Final = -1
"""The place of what is sent for the first time."""
_MIDDLES: Final = (*((low + high) / 2 for low, high in pairwise((0.0, *GAPS))), 2 * GAPS[-1])
MOST_UNSEEN: Final = 4.0
"""For how many one gap stands at most that could hardly be seen yet."""

Row = tuple[float, ...]
"""Counts by the place of a gap."""
_EMPTY: Final[Row] = (0.0,) * (LATER + 1)
_ONES: Final[tuple[Row, ...]] = tuple(
    tuple(float(at == place) for at in range(LATER + 1)) for place in range(LATER + 1)
)
SLOT_SECONDS: Final = 60
PATIENCE_SECONDS: Final = 300
"""How long a request that nothing follows waits before it counts as ended: the shortest lifetime of any cache."""
MOST_COUNTS: Final = 1000.0
"""What all outcomes together may come to before `aged` halves them."""
MOST_OWN: Final = 32.0
"""The same of one head's conversations."""
_MOST: Final = 1e15
"""Of anything that is read: a sum of many such is still a number."""
_MOST_SLOTS: Final = 10**9
OWN_PRIOR: Final = 2.0
"""How many of them the team's share is worth."""

Stage = int
"""Where a request stands. Of a conversation: its first turn, beginning like none that was seen; its first turn, with a
beginning that is known; turn 2, 3–4, 5–8, … 65 and more. Of a head: its first sight, second, third and fourth, …"""
NEW: Final = 0
KNOWN: Final = 1
TURNS: Final = 9
HEADS: Final = 4
STAGES: Final = TURNS + HEADS

PRIOR: Final = (0.05, 0.05, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.05, 0.35, 0.7, 0.8)
"""By stage: the share that is followed, before anything was seen. For first turns and the first sight of a head it is
below what a marker needs, so that nothing is paid for traffic that has shown no return; what has returned once is
expected to return again."""
PRIOR_COUNTS: Final = (*[1.0] * TURNS, 10.0, *[1.0] * (HEADS - 1))
"""How many observations that is worth. One conversation that goes on shows what to expect of the next one; that one
head came back says little of a new one, and only the first sight of each is lost by waiting."""

K = TypeVar("K")


def turn_stage(turn: int, *, is_new: bool = False) -> Stage:
    """Give the stage of a conversation's n-th request; `is_new`: no request before it began with the same head.

    What counts are the requests that were seen of this conversation and long enough to be cached, this one included:
    not messages (what examples say in a first request is no turn), and not the small talk before it.
    """
    if turn <= 1:
        return NEW if is_new else KNOWN
    return min(TURNS - 1, 1 + (turn - 1).bit_length())


def head_stage(sights: int) -> Stage:
    """Give the stage of a head at its n-th sight: the n-th first request of a conversation that begins with it."""
    return TURNS + min(HEADS - 1, max(0, sights - 1).bit_length())


@dataclass(frozen=True, slots=True)
class Own:
    """What one head's own conversations have done: a team may have an agent and a classifier under one key."""

    begun: float = 0.0
    """Conversations that were seen to begin with it."""
    went_on: float = 0.0
    """Those of them that sent a second request while the first could still be read."""

    def share(self, expected: float) -> float:
        """Estimate how many go on, where `expected` is what the team's do."""
        return (self.went_on + OWN_PRIOR * expected) / (self.begun + OWN_PRIOR)

    def plus(self, begun: float, went_on: float) -> Own:
        """Count on; what is old weighs less."""
        half = 0.5 if self.begun >= MOST_OWN else 1.0
        return Own(half * self.begun + begun, half * self.went_on + went_on)


NO_OWN: Final = Own()


@dataclass(frozen=True, slots=True)
class Habits:
    """Counts. Zero is what nothing is known of; `a + b` is what both have seen."""

    followed: Mapping[Stage, Row] = field(default_factory=dict)
    """Stage of a request → how often another one followed, by the place of the gap in `GAPS`."""
    ended: Mapping[Stage, float] = field(default_factory=dict)
    """Stage → how often nothing followed while it was waited for; less what came after all."""
    waiting: Mapping[tuple[int, Stage], float] = field(default_factory=dict)
    """(minute, stage) → requests of that minute that nothing has followed yet."""
    again: Mapping[int, float] = field(default_factory=dict)
    """Place of the gap → tokens that were sent again after it; `FRESH` → tokens that were new beside those."""
    since: float = inf
    """When the first of it all was seen, in Unix seconds."""

    def __add__(self, other: Habits) -> Habits:
        return Habits(
            _sum_rows(self.followed, other.followed),
            _sum(self.ended, other.ended),
            _sum(self.waiting, other.waiting),
            _sum(self.again, other.again),
            min(self.since, other.since),
        )

    def share(self, stage: Stage, within_seconds: float) -> float:
        """Estimate how many of the requests at this stage another one follows within so many seconds."""
        row = self.followed.get(stage, _EMPTY)
        in_time = sum(row) if within_seconds > GAPS[-1] else sum(row[: bisect_right(GAPS, within_seconds)])
        missed = max(0.0, self.ended.get(stage, 0.0))
        if stage in (NEW, KNOWN) or stage >= TURNS:
            missed += max(0.0, sum(count for (_, at), count in self.waiting.items() if at == stage))
        weight = PRIOR_COUNTS[stage]
        return (in_time + weight * PRIOR[stage]) / (sum(row) + missed + weight)

    def sent_again(self, within_seconds: float, now: float) -> tuple[float, float, float]:
        """Estimate tokens that are sent again within so many seconds and later, and those that are new beside them.

        Who has watched for ten minutes has seen all gaps of a second but only some of nine minutes, and of those as
        many as began in the first one: they count that much more.
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
        """Read what `to_json` wrote. Raises KeyError, TypeError, ValueError or OverflowError for anything else."""
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
class Follows:
    """The request that another one goes on from."""

    stage: Stage
    gap_seconds: float
    tokens: int = 0
    """Of what both begin with."""


def seen(stage: Stage, now: float, follows: Follows | None = None, tokens: int = 0) -> Habits:
    """Give what one request adds, of so many tokens, at its stage. `now` is in Unix seconds, which machines share."""
    if follows is None:
        return Habits(waiting={(_slot(now), stage): 1.0}, since=now)
    place = bisect_left(GAPS, follows.gap_seconds)
    was, here = (_slot(now - follows.gap_seconds), follows.stage), (_slot(now), stage)
    waiting = {} if was == here else {was: -1.0, here: 1.0}
    again: dict[int, float] = {}
    if follows.tokens:
        first = follows.tokens if follows.stage in (NEW, KNOWN) else 0
        again = {place: float(follows.tokens), FRESH: float(max(0, tokens - follows.tokens) + first)}
    return Habits({follows.stage: _ONES[place]}, {}, waiting, again, now - follows.gap_seconds)


def waited(habits: Habits, now: float) -> Habits:
    """Count as ended what nothing has followed in time. Whoever keeps a sum does this to it, once a minute or less."""
    last = _slot(now - PATIENCE_SECONDS) - 1
    if all(slot > last for slot, _ in habits.waiting):
        return habits
    over: dict[Stage, float] = {}
    for (slot, stage), count in habits.waiting.items():
        if slot <= last:
            over[stage] = over.get(stage, 0.0) + count
    waiting = {key: count for key, count in habits.waiting.items() if key[0] > last}
    return Habits(habits.followed, _sum(habits.ended, over), waiting, habits.again, habits.since)


def aged(habits: Habits) -> Habits:
    """Let go of half of the past where it outweighs what comes. For the one that keeps the sum of all deltas."""
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


def total(deltas: Iterable[Habits], start: Habits = NOTHING_KNOWN) -> Habits:
    """Add deltas up; in which order does not matter."""
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
    """Add two counts; zeros go."""
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

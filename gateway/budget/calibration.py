"""How far a provider's count is from ours, learned from what it reports. Pure: no clock, no store, no randomness.

For each (provider, model) whose tokenizer is not public, the ratio reported / estimated goes into a small histogram
that forgets slowly. Its median becomes the *factor*, the distance from there to its 95th percentile the *margin*.
What is used is a published, quantised pair with a version: it moves rarely, and only by more than a step, because
every move may change what is sent and so end a warm prompt cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Ratios are kept in steps of 2% of each other: step i is everything around 1.02 ** i.
_STEP = math.log(1.02)
_LAST_STEP = 70  # a factor of 4 either way; what is further off is not a tokenizer's difference
_LEAST_TOKENS = 256  # under this, overheads that providers add by message outweigh the tokenizer
_FIRST_SAMPLES = 20
_SAMPLES_BETWEEN = 50
_MEMORY_SAMPLES = 500  # at this many, all counts are halved
_QUANTILE = 0.95
_FACTOR_MOVE_STEPS = 2
_MARGIN_MOVE_PERCENT = 4

DEFAULT_MARGIN = 0.10
"""Before enough answers were seen. Anthropic's newest tokenizer makes up to 35% more of some texts and other providers
a few percent more or less; what 10% does not cover, the second plan after a context-length error does."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What our count is multiplied by, and the share of the corrected count kept free for its error."""

    version: int
    factor: float
    margin: float

    @property
    def most(self) -> float:
        """Tokens of the provider's that one of ours may be."""
        return self.factor * (1 + self.margin)

    def room(self, budget: int) -> int:
        """Return the most tokens *by our count* that are within `budget` tokens of the provider's."""
        return max(0, math.floor(budget / self.most + 1e-9))

    def corrected(self, tokens: int) -> int:
        """Return our best guess of what the provider will count; no margin in it."""
        return math.ceil(tokens * self.factor - 1e-9)


EXACT = Calibration(0, 1.0, 0.0)
UNKNOWN = Calibration(0, 1.0, DEFAULT_MARGIN)


@dataclass(frozen=True, slots=True)
class Stats:
    """What has been seen of one (provider, model), and the calibration published from it."""

    calibration: Calibration = UNKNOWN
    histogram: tuple[tuple[int, int], ...] = ()
    """(step, count), by step."""
    since: int = 0
    """Samples since the calibration was last looked at."""

    @property
    def samples(self) -> int:
        return sum(count for _, count in self.histogram)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        at = self.calibration
        return {
            "calibration": {"version": at.version, "factor": at.factor, "margin": at.margin},
            "histogram": [list(entry) for entry in self.histogram],
            "since": self.since,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stats:
        """Read what `to_json` wrote. Raises KeyError, TypeError, ValueError or OverflowError for anything else."""
        at = data["calibration"]
        read = cls(
            calibration=Calibration(int(at["version"]), float(at["factor"]), float(at["margin"])),
            histogram=tuple((int(step), int(count)) for step, count in data["histogram"]),
            since=int(data["since"]),
        )
        if not read._possible:
            raise ValueError("this was never learned from answers")
        return read

    @property
    def _possible(self) -> bool:
        """Whether answers can lead here: what is read from a store decides about windows, so anything else is out."""
        at, steps = self.calibration, [step for step, _ in self.histogram]
        return (
            (at in {UNKNOWN, EXACT} if at.version == 0 else at.version > 0)
            and 0.2 <= at.factor <= 5
            and 0 <= at.margin <= 20
            and self.since >= 0
            and all(-_LAST_STEP <= step <= _LAST_STEP for step in steps)
            and all(0 < count < _MEMORY_SAMPLES for _, count in self.histogram)
            and steps == sorted(set(steps))
        )


def start(exact: bool) -> Stats:
    """Return the state before anything was seen. A model counted with its own tokenizer stays at factor 1, margin 0."""
    return Stats(EXACT if exact else UNKNOWN)


def observe(stats: Stats, estimated: int, reported: int) -> Stats:
    """Take in one answered request: our uncorrected count, and the prompt tokens that the provider reported."""
    if stats.calibration == EXACT or estimated < _LEAST_TOKENS or reported <= 0:
        return stats
    step = round(math.log(reported / estimated) / _STEP)
    histogram = _added(stats.histogram, max(-_LAST_STEP, min(_LAST_STEP, step)))
    seen = replace(stats, histogram=histogram, since=stats.since + 1)
    first = stats.calibration.version == 0
    if seen.since < (_FIRST_SAMPLES if first else _SAMPLES_BETWEEN):
        return seen
    return replace(seen, calibration=_published(seen), since=0)


def _added(histogram: tuple[tuple[int, int], ...], step: int) -> tuple[tuple[int, int], ...]:
    counts = dict(histogram)
    counts[step] = counts.get(step, 0) + 1
    if sum(counts.values()) >= _MEMORY_SAMPLES:
        counts = {at: count // 2 for at, count in counts.items() if count > 1}
    return tuple(sorted(counts.items()))


def _published(stats: Stats) -> Calibration:
    """Return the calibration that the histogram asks for, or the present one where it is near enough."""
    now = stats.calibration
    middle, upper = _quantile(stats.histogram, 0.5), _quantile(stats.histogram, _QUANTILE)
    at = round(math.log(now.factor) / _STEP)
    moved = now.version == 0 or abs(middle - at) >= _FACTOR_MOVE_STEPS
    if moved:
        at = middle
    # Half a step more: a step stands for ratios up to its upper edge.
    margin = max(0, math.ceil(100 * (math.exp(_STEP * (upper - at + 0.5)) - 1))) / 100
    if not moved and abs(round(100 * (margin - now.margin))) < _MARGIN_MOVE_PERCENT:
        return now
    return Calibration(now.version + 1, round(math.exp(_STEP * at), 4), margin)


def _quantile(histogram: tuple[tuple[int, int], ...], share: float) -> int:
    wanted = share * sum(count for _, count in histogram)
    passed = 0
    for step, count in histogram:
        passed += count
        if passed >= wanted:
            return step
    return histogram[-1][0]

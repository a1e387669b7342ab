"""The error of our counts, learned from what a provider reports. Pure: no clock, no store, no randomness.

Tokenizers differ by what they read: one makes half as many tokens again of ids and just as many of prose. So for each
(provider, model) whose tokenizer is not public, a *factor* is learned for each kind of text (budget/kinds.py), and the
upper end of the error that is left as its *margin*. Answers are kept as samples, the newest hundred of each kind that
requests are mostly of, so that much of one kind never takes the place of what is known of another.

Requests are planned with a published, quantised value that has a version. It moves rarely, and only by more than a
step, because every move may change what is sent and so end a warm prompt cache.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.budget.kinds import EVEN, NAMES, Kinds, Weights

FORMAT: Final = 2
"""Of `Stats.to_json`. Each has a key of its own, so that two releases side by side do not undo one another."""

# Ratios are kept in steps of 1% of each other, and published in steps of 2%: step i is everything around 1.02 ** i.
_SAMPLE_STEP: Final = math.log(1.01)
_STEP: Final = math.log(1.02)
_MOST_RATIO: Final = 4.0  # either way; what is further off is not a tokenizer's difference
_LAST_STEP: Final = math.ceil(math.log(_MOST_RATIO) / _SAMPLE_STEP)
_LEAST_TOKENS: Final = 256  # under this, overheads that providers add by message outweigh the tokenizer
_FIRST_SAMPLES: Final = 20
_SAMPLES_BETWEEN: Final = 50
_MOST_SAMPLES: Final = 100  # of each kind
_QUANTILE: Final = 0.95
_FACTOR_MOVE_STEPS: Final = 2
_MARGIN_MOVE_PERCENT: Final = 4
_MOST_ANSWERS: Final = 10**12  # that were ever counted
_MOST_WEIGHT: Final = 10_000  # percent

# Fitting: how often the factors are improved, and how far one sample may pull in one of those rounds.
_ROUNDS: Final = 40
_PULL: Final = 1.25

DEFAULT_MARGIN = 0.10
"""Before enough answers were seen. Anthropic's newest tokenizer makes up to 35% more of some texts and other providers
a few percent more or less; what 10% does not cover, the second plan after a context-length error does."""

Sample = tuple[int, int, int]
"""One answered request: the percent of its tokens that were ids, and another script; the step of its ratio."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The factor of our count, and the share of the corrected count that is kept free for its error.

    Factor and margin are those of words. Other kinds of text are counted by `weights`, so that the room of a
    conversation does not move with its content.
    """

    version: int
    factor: float
    margin: float
    weights: Weights = EVEN

    @property
    def most(self) -> float:
        """Tokens of the provider's that one of ours, of words, may be."""
        return self.factor * (1 + self.margin)

    def room(self, budget: int) -> int:
        """Return the most tokens *by our weighed count* that are within `budget` tokens of the provider's."""
        return max(0, math.floor(budget / self.most + 1e-9))

    def corrected(self, tokens: int) -> int:
        """Return our best guess of what the provider will count of words; no margin in it."""
        return math.ceil(tokens * self.factor - 1e-9)

    def grown(self, tokens: int) -> int:
        """Return what so many tokens of any kind weigh at most."""
        return -(-tokens * max(100, *self.weights) // 100)


EXACT = Calibration(0, 1.0, 0.0)
UNKNOWN = Calibration(0, 1.0, DEFAULT_MARGIN)


def strictest(published: Sequence[Calibration]) -> Calibration:
    """Return a calibration under which every one of several providers is given no more than its window."""
    if len(published) < 2:
        return published[0] if published else UNKNOWN
    first = max(published, key=lambda one: one.most)
    heaviest = [max(one.most * one.weights[kind] for one in published) for kind in range(len(EVEN))]
    ids, others = (math.ceil(most / first.most - 1e-9) for most in heaviest)
    return replace(first, weights=(ids, others))


@dataclass(frozen=True, slots=True)
class Stats:
    """The observations of one (provider, model), and the calibration published from them."""

    calibration: Calibration = UNKNOWN
    samples: tuple[tuple[Sample, ...], ...] = ((), (), ())
    """By the kind that most of a request's tokens were of: its newest samples, oldest first."""
    since: int = 0
    """Samples since the calibration was last looked at."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        at = self.calibration
        return {
            "format": FORMAT,
            "calibration": {"version": at.version, "factor": at.factor, "margin": at.margin, "weights": [*at.weights]},
            "samples": {name: [list(one) for one in of] for name, of in zip(NAMES, self.samples, strict=True)},
            "since": self.since,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stats:
        """Read what `to_json` wrote. Raises KeyError, TypeError, ValueError or OverflowError for anything else."""
        if data["format"] != FORMAT:
            raise ValueError(f"this is of another format than {FORMAT}")
        at, samples = data["calibration"], data["samples"]
        ids, others = at["weights"]
        read = cls(
            calibration=Calibration(
                int(at["version"]), float(at["factor"]), float(at["margin"]), (int(ids), int(others))
            ),
            samples=tuple([tuple([_sample(*one) for one in samples[name]]) for name in NAMES]),
            since=int(data["since"]),
        )
        if not read._possible:
            raise ValueError("this was never learned from answers")
        return read

    @property
    def _possible(self) -> bool:
        """Whether answers can lead here: what is read from a store decides about windows, so anything else is out."""
        at = self.calibration
        return (
            (at in {UNKNOWN, EXACT} if at.version == 0 else 0 < at.version <= _MOST_ANSWERS)
            and 0.2 <= at.factor <= 5
            and 0 <= at.margin <= 20
            and all(1 <= weight <= _MOST_WEIGHT for weight in at.weights)
            and 0 <= self.since <= _MOST_ANSWERS
            and all(len(of) <= _MOST_SAMPLES for of in self.samples)
            and all(_is_possible(one, kind) for kind, of in enumerate(self.samples) for one in of)
        )


def _sample(ids: Any, others: Any, step: Any) -> Sample:
    return int(ids), int(others), int(step)


def _is_possible(sample: Sample, kind: int) -> bool:
    ids, others, step = sample
    return ids >= 0 and others >= 0 and ids + others <= 100 and abs(step) <= _LAST_STEP and _kind(sample) == kind


def _kind(sample: Sample) -> int:
    """Say which kind most of a request's tokens were of."""
    ids, others, _ = sample
    shares = (100 - ids - others, ids, others)
    return shares.index(max(shares))


def start(exact: bool) -> Stats:
    """Return the state before anything was seen. A model counted with its own tokenizer stays at factor 1, margin 0."""
    return Stats(EXACT if exact else UNKNOWN)


def teaches(stats: Stats, ours: Kinds, reported: int) -> bool:
    """Tell whether an answer says anything of a tokenizer: our own count by kind, and what the provider reported."""
    return stats.calibration != EXACT and ours.total >= _LEAST_TOKENS and reported > 0


def observe(stats: Stats, ours: Kinds, reported: int) -> Stats:
    """Take in one answered request: our own count by kind, and the prompt tokens that the provider reported."""
    if not teaches(stats, ours, reported):
        return stats
    ids, others = (100 * tokens // ours.total for tokens in (ours.ids, ours.others))
    step = round(math.log(reported / ours.total) / _SAMPLE_STEP)
    sample = ids, others, max(-_LAST_STEP, min(_LAST_STEP, step))
    kind = _kind(sample)
    of = (*stats.samples[kind], sample)[-_MOST_SAMPLES:]
    samples = (*stats.samples[:kind], of, *stats.samples[kind + 1 :])
    seen = replace(stats, samples=samples, since=stats.since + 1)
    enough = len(of) == _FIRST_SAMPLES > len(stats.samples[kind])
    if not enough and (seen.since < _SAMPLES_BETWEEN or all(len(of) < _FIRST_SAMPLES for of in samples)):
        return seen
    return replace(seen, calibration=_published(seen), since=0)


def _published(stats: Stats) -> Calibration:
    """Return the calibration that the samples ask for, or the present one where it is near enough."""
    now, samples = stats.calibration, stats.samples
    fitted = _factors(samples)
    steps = [round(math.log(factor) / _STEP) for factor in fitted]
    at = round(math.log(now.factor) / _STEP)
    moved = now.version == 0 or abs(steps[0] - at) >= _FACTOR_MOVE_STEPS
    steps[0] = steps[0] if moved else at
    factors = [math.exp(_STEP * step) for step in steps]
    margins = [_margin(of, factors) for of in samples]
    factor, margin = (round(factors[0], 4), margins[0]) if moved else (now.factor, now.margin)
    if not moved and abs(round(100 * (margins[0] - now.margin))) >= _MARGIN_MOVE_PERCENT:
        margin = margins[0]
    most = factor * (1 + margin)
    weights = [
        _weight(factors[kind] * (1 + margins[kind]), now.most * weight / 100, most)
        for kind, weight in enumerate(now.weights, 1)
    ]
    found = Calibration(now.version, factor, margin, (weights[0], weights[1]))
    return now if found == now else replace(found, version=now.version + 1)


def _weight(wanted: float, now: float, words: float) -> int:
    """Give the percent of `words` that a kind takes: as `wanted`, or as `now` where that is near enough."""
    is_near = abs(wanted / now - 1) < _MARGIN_MOVE_PERCENT / 100
    return max(1, min(_MOST_WEIGHT, math.ceil(100 * (now if is_near else wanted) / words - 1e-6)))


def _factors(samples: Sequence[Sequence[Sample]]) -> list[float]:
    """Fit a factor to each kind: in each round the ratio reported / expected is shared out by what a request holds.

    Made-up samples stand for those that are missing of a kind: they hold words at 1, and the other kinds at the value
    of words. One sample pulls by a bounded ratio, so that a few odd ones move nothing.
    """
    seen = Counter(sample for of in samples for sample in of)
    read = [(_shares(sample), math.exp(_SAMPLE_STEP * sample[2]), times) for sample, times in sorted(seen.items())]
    missing = [max(0, _FIRST_SAMPLES - len(of)) for of in samples]
    factors = [1.0] * len(samples)
    for _ in range(_ROUNDS):
        held = [1.0, factors[0], factors[0]]
        pulls = [many * _bounded(prior / now) for many, prior, now in zip(missing, held, factors, strict=True)]
        whole = [float(many) for many in missing]
        for shares, ratio, times in read:
            pull = _bounded(ratio / _expected(shares, factors))
            for kind, share in enumerate(shares):
                pulls[kind] += times * share * pull
                whole[kind] += times * share
        factors = [
            max(1 / _MOST_RATIO, min(_MOST_RATIO, now * pull / of)) if of else now
            for now, pull, of in zip(factors, pulls, whole, strict=True)
        ]
    return factors


def _bounded(ratio: float) -> float:
    return max(1 / _PULL, min(_PULL, ratio))


def _shares(sample: Sample) -> tuple[float, float, float]:
    ids, others, _ = sample
    return (100 - ids - others) / 100, ids / 100, others / 100


def _expected(shares: Iterable[float], factors: Iterable[float]) -> float:
    return sum([share * factor for share, factor in zip(shares, factors, strict=True)])


def _margin(samples: Sequence[Sample], factors: Sequence[float]) -> float:
    """Return the share by which what was reported of one kind was more than expected at most, but for a twentieth."""
    if len(samples) < _FIRST_SAMPLES:
        return DEFAULT_MARGIN
    # Half a step more: a step stands for ratios up to its upper edge.
    errors = sorted([math.exp(_SAMPLE_STEP * (one[2] + 0.5)) / _expected(_shares(one), factors) for one in samples])
    upper = errors[math.ceil(_QUANTILE * len(errors)) - 1]
    return max(0, math.ceil(100 * (upper - 1) - 1e-6)) / 100

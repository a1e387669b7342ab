"""The order of the pieces of a text that must fit a room: outliers, their neighbours, the ends, a sample.

In a log, a listing or a set of records, what differs from its neighbours comes first, then two lines around it, what
the conversation speaks of, the first and the last lines. The rest goes by what its pieces hold (pieces.py), of a log in
runs of lines from all over it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.rewriting.results.shapes import pieces

OUTLIER = 0.8
"""Weight from which a line stands out."""
_AROUND = 2
"""Lines before and after a line that stands out which come with it."""
_FIRST, _LAST = 3, 5
_RUN = 6
"""Lines that a sample takes together, so that they can be read."""
_OUTLIERS, _NEAR, _ENDS, _SPOKEN = 0.65, 0.25, 0.15, 0.5
"""Tokens that each of them takes at most, as shares of the room."""
_SPARE = 1.3
_FEW, _FEW_LINES = 0.03, 2
"""Share of a text that is no log which may stand out; where more does, it only counts for more."""
_REPORT = 3.0
"""The worth of a line for each token of it, if much of its text stands out."""


def ordered(
    parts: Sequence[pieces.Piece], weighed: pieces.WeighedPieces, weights: Sequence[float], *, is_log: bool, room: float
) -> list[int]:
    """Order the pieces, best first, somewhat more than the room holds."""
    out = [i for i, weight in enumerate(weights) if weight >= OUTLIER]
    if not is_log and len(out) > max(_FEW_LINES, _FEW * len(parts)):
        out = []
        for i, weight in enumerate(weights):
            weighed.bonus[i] += _REPORT * weight * weighed.cost[i]
    out.sort(key=lambda i: -weights[i])
    order = _Order(weighed.cost)
    outliers = order.take(_spread(out, weights), _OUTLIERS * room)
    order.take(_around(outliers, len(parts)), _NEAR * room)
    if is_log:
        last = len(parts) - 1
        order.take([*range(min(_FIRST, last)), *range(last, max(-1, last - _LAST), -1)], _ENDS * room)
    order.take([i for i, spoken in enumerate(weighed.spoken) if spoken], _SPOKEN * room)
    turns = _turns(len(parts)) if is_log else None
    return pieces.ranked(weighed, order.chosen, _SPARE * room, turns)


class _Order:
    """Pieces in the order in which they were taken; each once."""

    def __init__(self, cost: Sequence[float]) -> None:
        self.cost = cost
        self.chosen: list[int] = []
        self.known = bytearray(len(cost))

    def take(self, wanted: Iterable[int], most: float) -> list[int]:
        """Take pieces until `most` is spent on these; give those that were taken."""
        taken: list[int] = []
        for i in wanted:
            if most <= 0:
                break
            if not self.known[i]:
                self.known[i] = 1
                most -= self.cost[i]
                taken.append(i)
        self.chosen += taken
        return taken


def _spread(outliers: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Order lines of the same weight so that any first part of them comes from all over the text."""
    out: list[int] = []
    at = 0
    while at < len(outliers):
        end = at
        while end < len(outliers) and weights[outliers[end]] == weights[outliers[at]]:
            end += 1
        same = outliers[at:end]
        out += [same[place] for place in _halving(len(same))]
        at = end
    return out


def _around(chosen: Sequence[int], total: int) -> list[int]:
    """List what is beside the chosen pieces, the nearest first."""
    return [i + step for far in range(1, _AROUND + 1) for i in chosen for step in (-far, far) if 0 <= i + step < total]


def _turns(total: int) -> list[int]:
    """Give each line its turn in a sample by runs: those of the first turns are spread evenly over the text."""
    out = [0] * total
    starts = range(0, total, _RUN)
    for turn, run in enumerate(_halving(len(starts))):
        for i in range(starts[run], min(total, starts[run] + _RUN)):
            out[i] = turn * _RUN + i - starts[run]
    return out


def _halving(total: int) -> list[int]:
    """Order 0 … total - 1: the first, the last, then the middle of what is widest apart."""
    if total < 3:
        return list(range(total))
    bits = (total - 2).bit_length()
    inner = sorted(range(1, total - 1), key=lambda i: int(f"{i - 1:0{bits}b}"[::-1], 2))
    return [0, total - 1, *inner]

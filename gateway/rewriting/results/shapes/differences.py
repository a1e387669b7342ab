"""The difference between two results: members by their path, or lines by their number.

Either may be the earlier one, so nothing is called new, gone, or said to have been: `here` is the result that is said,
`there` the other one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_MOST_LEAVES = 200_000
"""Members of a value that are compared one by one."""

Say = Callable[[Any], str]


# ---------------------------------------------------------------- members


def of_values(other: Any, this: Any, say: Say) -> list[str] | None:
    """List the members of a value that another has not, or has otherwise, and those that only the other has.

    None where the values are too large to be compared so, or where two members have one path.
    """
    there, here = _leaves(other), _leaves(this)
    if there is None or here is None:
        return None
    out: list[str] = []
    for path, value in here.items():
        if path not in there:
            out.append(f"{path}: {say(value)} (only here)")
        elif type(there[path]) is not type(value) or there[path] != value:
            out.append(f"{path}: {say(value)} (there {say(there[path])})")
    missing = [path for path in there if path not in here]
    return out + ([f"only there: {', '.join(missing)}"] if missing else [])


def _leaves(value: Any) -> dict[str, Any] | None:
    out: dict[str, Any] = {}
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, at = left.pop()
        inside = list(_members(path, at))
        if inside:
            left += reversed(inside)
        elif path in out:
            return None
        else:
            out[path] = at
        if len(out) + len(left) > _MOST_LEAVES:
            return None
    return out


def _members(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from [(f"{path}.{key}" if path else key, member) for key, member in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        yield from [(f"{path}[{i}]", item) for i, item in enumerate(value)]


# ---------------------------------------------------------------- lines


def line_differences(other: Sequence[str], this: Sequence[str]) -> list[str]:
    """Say how to make these lines of the other: `lines 3-5 there are these 2 here:`, `after line 7, 1 more:`.

    By lines that stand once in both (Bram Cohen's patience diff): n log n, whatever the lines are.
    """
    out: list[str] = []
    for a, b, c, d in _hunks(other, this):
        if a == b:
            out += [f"after line {a} there, {d - c} more:", *this[c:d]]
        elif c == d:
            out.append(f"lines {a + 1}-{b} stand only there")
        else:
            out += [f"lines {a + 1}-{b} there are these {d - c} here:", *this[c:d]]
    return out


def _hunks(older: Sequence[str], newer: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield what differs: lines a to b of the older are lines c to d of the newer."""
    a = c = 0
    for x, y in [*_anchors(older, newer), (len(older), len(newer))]:
        while a < x and c < y and older[a] == newer[c]:
            a, c = a + 1, c + 1
        b, d = x, y
        while b > a and d > c and older[b - 1] == newer[d - 1]:
            b, d = b - 1, d - 1
        if a < b or c < d:
            yield a, b, c, d
        a, c = x, y


def _anchors(older: Sequence[str], newer: Sequence[str]) -> list[tuple[int, int]]:
    """Pair the lines that stand once in both, where they are in the same order."""
    once, again = Counter(older), Counter(newer)
    where = {line: i for i, line in enumerate(older) if once[line] == 1}
    pairs = [(where[line], i) for i, line in enumerate(newer) if again[line] == 1 and line in where]
    ends: list[int] = []
    ending: list[int] = []
    before: list[int] = []
    for k, (x, _) in enumerate(pairs):
        at = bisect_left(ends, x)
        before.append(ending[at - 1] if at else -1)
        if at == len(ends):
            ends.append(x)
            ending.append(k)
        else:
            ends[at], ending[at] = x, k
    out: list[tuple[int, int]] = []
    k = ending[-1] if ending else -1
    while k >= 0:
        out.append(pairs[k])
        k = before[k]
    return out[::-1]

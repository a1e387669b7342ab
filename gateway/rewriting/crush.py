"""Tool results shortened by their structure: `lossless`, then `lossy` to a room, or `difference` to an earlier one.

The shape is told from the text itself (shapes/). What is printed goes to a language model: it reads as what it is.
Pure, and linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.rewriting.shapes import bulk, differences, lines, literals, pieces, values

Count = Callable[[str], int]

SAME = "[the same as the earlier result]"
SAME_BUT = "[the same as the earlier result, but for:]"

_MOST_ENCODED = 3
"""How many literals deep a text is read."""
_WORD = re.compile(r"[\w#@$](?:[\w.%$:/@+-]*\w)?")
_JOINT = re.compile(r"[./:]+")
_LEAST_ROOM = 200
"""Tokens below which what was left out is not counted in words."""
_ROUNDS = 6
"""Times the choice is put together and counted until it fits its room well."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Words and values that the conversation mentions again, in folded case."""

    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Wanted:
        """Collect the words of texts: whole, as they stand between spaces, quotes and brackets, and in parts."""
        whole = {word for text in texts for word in _WORD.findall(text.casefold()) if len(word) > 2}
        parts = {part for word in whole for part in _JOINT.split(word) if len(part) > 2}
        files = {word.rpartition("/")[2] for word in whole if "/" in word}
        return cls(frozenset(whole | parts | files))


NOTHING_WANTED = Wanted()


# ---------------------------------------------------------------- without loss


def lossless(text: str) -> str:
    """Say the text in fewer tokens: every value, name and word of it stays. The text itself where nothing is won."""
    said = _said(text, lines.shorten, 0)
    return said if len(said) < len(text) and values.sayable(said) else text


def _said(text: str, shorten: Callable[[str], str], encoded: int) -> str:
    body = text.strip()
    if body[:1] in ("{", "["):
        value = _value(body, shorten)
        if value is not None:
            return value
    if encoded < _MOST_ENCODED:
        literal = literals.longest(text)
        if literal is not None:
            inner = _said(literal.said, shorten, encoded + 1)
            quote = "'" if inner[:1] in ("{", "[") else '"""'
            return f"{text[: literal.start]}{quote}{inner}{quote if literal.closed else ''}{text[literal.end :]}"
    return shorten(text)


def _value(body: str, shorten: Callable[[str], str]) -> str | None:
    try:
        return values.Writer(shorten).say(values.read(body))
    except values.NotAValue:
        pass
    try:
        value, rest = values.read_cut(body)
        return f"{values.Writer(shorten).say(value)}\n(cut off) {rest}" if value else None
    except values.NotAValue:
        return None


# ---------------------------------------------------------------- to a room


def lossy(text: str, room: int, count: Count, wanted: Wanted = NOTHING_WANTED) -> str:
    """Say the text in at most `room` tokens, keeping what later steps are likely to use; the rest is counted."""
    tidy = bulk.readable(_said(text, lines.tidy, 0))
    if not values.sayable(tidy):
        tidy = text
    whole = lines.thinned(tidy)
    size = count(whole)
    if size <= room:
        return whole
    parts = pieces.pieces(tidy)
    weighed = pieces.weigh(parts, wanted.words)
    scale = sum(weighed.cost) / max(1, size)
    order = pieces.ranked(weighed, 1.3 * room * scale)
    return _fitting(parts, order, weighed.cost, room, scale, count)


def _fitting(
    parts: list[pieces.Piece], order: list[int], cost: list[float], room: int, scale: float, count: Count
) -> str:
    """Take pieces in their order until the room is full: counted, never guessed."""
    best, aim = "", 0.97 * room
    for _ in range(_ROUNDS):
        out = _chosen(parts, order, cost, aim * scale, room >= _LEAST_ROOM)
        size = count(out)
        if size <= room and len(out) > len(best):
            best = out
        if 0.95 * room <= size <= room:
            break
        aim *= min(1.3, max(0.3, 0.985 * room / max(1, size)))
    return best or ("…" if count("…") <= room else "")


def _chosen(parts: list[pieces.Piece], order: list[int], cost: list[float], most: float, tell: bool) -> str:
    chosen: list[int] = []
    for i in order:
        if cost[i] <= most:
            most -= cost[i]
            chosen.append(i)
    out = lines.thinned(pieces.assembled(parts, chosen, lines.is_numbered))
    total = parts[-1].line + 1
    gone = total - len({parts[i].line for i in chosen})
    return f"{out}\n[… {gone} of {total} lines left out]" if tell and gone > 1 else out


# ---------------------------------------------------------------- to an earlier result


def difference(older: str, newer: str) -> str | None:
    """Say the newer result by what changed since the older one; None where that is not at most half as long."""
    said = _changes(older, newer)
    if said is None:
        return None
    out = "\n".join([SAME_BUT, *said]) if said else SAME
    return out if 2 * len(out) <= len(lossless(newer)) and values.sayable(out) else None


def _changes(older: str, newer: str) -> list[str] | None:
    if older == newer:
        return []
    try:
        before, after = values.read(older.strip()), values.read(newer.strip())
    except values.NotAValue:
        return differences.of_lines(older.split("\n"), newer.split("\n"))
    if type(before) is not type(after):
        return None
    try:
        return differences.of_values(before, after, lambda value: values.Writer(lines.shorten).say(value))
    except values.NotAValue:
        return None

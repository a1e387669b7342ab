"""Tool results shortened by their structure: `lossless`, then `lossy` to a room, or `difference` to another one.

The shape is told from the text itself (shapes/). The output goes to a language model: it reads as what it is. Pure, and
linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.rewriting.results.shapes import bulk, choice, differences, lines, literals, outliers, pieces, values

Count = Callable[[str], int]

SAME = "[the same as the other result]"
SAME_BUT = "[as the other result, but for what follows]"

_MOST_ENCODED = 3
"""The depth of literals to which a text is read."""
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


def _said(text: str, shorten: Callable[[str], str], encoded: int, *, spread: bool = False) -> str:
    """Say a text by its structure, lines by `shorten`."""
    value = _structured(text, shorten, encoded, spread=spread)
    return shorten(text) if value is None else value


def _structured(text: str, shorten: Callable[[str], str], encoded: int, *, spread: bool) -> str | None:
    """Say a value, or a text that holds one; None where it holds none.

    `spread` puts each record and each line of an encoded text on a line of its own.
    """
    body = text.strip()
    if body[:1] in ("{", "["):
        value = _value(body, shorten, spread)
        if value is not None:
            return value
    if encoded < _MOST_ENCODED:
        literal = literals.longest(text)
        if literal is not None:
            inner = _said(literal.said, shorten, encoded + 1, spread=spread)
            quote = "'" if inner[:1] in ("{", "[") else '"""'
            return f"{text[: literal.start]}{quote}{inner}{quote if literal.closed else ''}{text[literal.end :]}"
    return None


def _value(body: str, shorten: Callable[[str], str], spread: bool) -> str | None:
    for read in (values.read_literal, values.read_lines):
        try:
            return values.Writer(shorten, spread=spread).say(read(body))
        except values.NotAValue:
            pass
    try:
        value, rest = values.read_cut(body)
        return f"{values.Writer(shorten, spread=spread).say(value)}\n(cut off) {rest}" if value else None
    except values.NotAValue:
        return None


# ---------------------------------------------------------------- to a room


def lossy(text: str, room: int, count: Count, wanted: Wanted = NOTHING_WANTED) -> str:
    """Say the text in at most `room` tokens: what stands out, what later steps are likely to use, a sample.

    The output holds whole lines, rows, members or sentences, and says how many lines or rows are left out.
    """
    compact = lines.thinned(bulk.without_bulk(_said(text, lines.tidy, 0)))
    size = count(compact) if values.sayable(compact) else None
    if size is not None and size <= room:
        return compact
    value = _structured(text, lines.bare, 0, spread=True)
    tidy = bulk.without_bulk(lines.bare(text) if value is None else value)
    if not values.sayable(tidy):
        tidy, value = text, None
    whole = lines.grouped(tidy)
    if size is None or whole != compact:
        size = count(whole)
    choice = _Choice.of(tidy, room, size, count, wanted, is_tree="── " in text, is_value=value is not None)
    return choice.fitting()


@dataclass(frozen=True, slots=True)
class _Choice:
    """The pieces of a text in the order of their worth, and the room for them."""

    parts: list[pieces.Piece]
    order: list[int]
    cost: list[float]
    room: int
    scale: float
    """Estimated cost of a token."""
    count: Count
    counted: frozenset[int]
    """Pieces that are counted where they are left out: the rows and lines inside a value, else all."""
    noun: str

    @classmethod
    def of(
        cls, tidy: str, room: int, size: int, count: Count, wanted: Wanted, *, is_tree: bool, is_value: bool
    ) -> _Choice:
        parts = pieces.pieces(tidy, is_log=outliers.is_log(tidy.split("\n")), is_tree=is_tree, is_value=is_value)
        texts = [part.text for part in parts]
        weighed = pieces.weigh_pieces(parts, wanted.words)
        scale = sum(weighed.cost) / max(1, size)
        is_log = outliers.is_log(texts) or any(part.lines > 1 for part in parts)
        order = choice.ordered(parts, weighed, outliers.outlier_weights(texts), is_log=is_log, room=room * scale)
        counted, noun = pieces.inside(parts) if is_value else (range(len(parts)), "lines")
        return cls(parts, order, weighed.cost, room, scale, count, frozenset(counted), noun)

    def fitting(self) -> str:
        """Take pieces in their order until the room is full: counted, never guessed."""
        room, count = self.room, self.count
        best, aim = "", 0.97 * room
        for _ in range(_ROUNDS):
            out = self._written(aim * self.scale)
            size = count(out)
            if size <= room and len(out) > len(best):
                best = out
            if 0.95 * room <= size <= room:
                break
            aim *= min(1.3, max(0.3, 0.985 * room / max(1, size)))
        return best or self._beginning()

    def _written(self, most: float) -> str:
        """Write as many pieces as may be spent, and how much is left out."""
        cost, parts = self.cost, self.parts
        chosen: set[int] = set()
        for i in self.order:
            needed = self._needed(i, chosen)
            spent = sum([cost[n] for n in needed])
            if spent <= most:
                most -= spent
                chosen.update(needed)
        out = lines.grouped(pieces.assembled(parts, sorted(chosen), lines.is_numbered))
        note = self._note(chosen) if self.room >= _LEAST_ROOM and chosen else ""
        return f"{out}\n{note}" if note else out

    def _needed(self, i: int, chosen: set[int]) -> list[int]:
        """List a piece and what it means nothing without, as far as they are not chosen."""
        out: list[int] = []
        while i >= 0 and i not in chosen:
            out.append(i)
            i = self.parts[i].head
        return out

    def _note(self, chosen: set[int]) -> str:
        """Say how many lines, or rows of tables, are left out."""
        lines_of = {self.parts[i].line: self.parts[i].lines for i in self.counted}
        total = sum(lines_of.values())
        gone = total - sum([lines_of.pop(self.parts[i].line, 0) for i in sorted(chosen)])
        return f"[… {gone:,} of {total:,} {self.noun} left out]" if gone > 1 else ""

    def _beginning(self) -> str:
        """Begin the first piece, where the room holds none: as many words as fit, and a mark."""
        words = self.parts[self.order[0]].text.split(" ") if self.order else []
        low, high = 0, len(words)
        while low < high:
            half = (low + high + 1) // 2
            if self.count(" ".join(words[:half]) + " …") <= self.room:
                low = half
            else:
                high = half - 1
        said = " ".join(words[:low]).strip()
        return f"{said} …" if said else "…" if self.count("…") <= self.room else ""


# ---------------------------------------------------------------- beside another result


def difference(other: str, this: str) -> str | None:
    """Say a result by how it differs from another, earlier or later; None where that is not at most half as long."""
    changes = _changes(other, this)
    if changes is None:
        return None
    out = "\n".join([SAME_BUT, *changes]) if changes else SAME
    return out if 2 * len(out) <= len(lossless(this)) and values.sayable(out) else None


def _changes(other: str, this: str) -> list[str] | None:
    if other == this:
        return []
    try:
        there, here = values.read_literal(other.strip()), values.read_literal(this.strip())
    except values.NotAValue:
        return differences.line_differences(other.split("\n"), this.split("\n"))
    if type(there) is not type(here):
        return None
    try:
        return differences.of_values(there, here, lambda value: values.Writer(lines.shorten).say(value))
    except values.NotAValue:
        return None

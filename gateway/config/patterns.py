r"""The proof that a regular expression is quick, made from the expression alone and cheaply. Pure.

Python's engine tries one way after the other. A pattern is safe when no text can be read in many ways: inside whatever
repeats, each next character must decide which part of the pattern takes it (Brüggemann-Klein and Wood, "One-unambiguous
regular languages", 1998; counted here with repetition, so that `(a+)+` is told too). That is stricter than needed: a
few patterns that would do no harm are refused as well. Outside of repeats choices multiply (`.*a.*b.*c`), so only few
may stand in one pattern; that the text is short is the caller's part. Two endless parts side by side that take the same
text (`\d+\d+`) are refused, since nobody needs them; so is what refers back to a group: nothing is proven of it.

A proven pattern can still take cubic time (`may_be_cubic`), and is tried on texts that `worst_texts` makes of it.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import log2
from typing import Any

MOST_PLACES = 1_000
"""Places that a pattern may have once its exact counts are written out."""
MOST_CHOICES = 17
"""Choices that may multiply outside of repeats, in bits; an endless part that can end at several places has 8."""

MOST_PAIRS = 20_000
"""Pairs of places that are looked at to tell whether two parts take the same text; beyond it they are taken to."""

_ENDLESS = 20
"""From this many repeats on a part counts as endless."""
_CHOICES_OF_ENDLESS = 8

MOST_LETTERS = 6
"""Letters of which texts are made to try a pattern on: one for each way in which its places take them."""

_BEYOND = {256: "\u0100", 257: "\u0660", 258: "\u2003", 259: "\u2014"}
"""Beyond Latin-1 there are four kinds of characters: letters, digits, spaces, others; one of each stands for all."""
_EVERYTHING = frozenset(range(260))


class _TooLarge(Exception):
    """The pattern has more than MOST_PLACES."""


@dataclass(slots=True)
class _Part:
    """A part of a pattern as the places that take its first and its last character, and whether it may be empty."""

    first: list[int]
    last: list[int]
    empty: bool


_NOTHING = _Part([], [], True)


def pattern_tree(pattern: str) -> Sequence[Any]:
    """Return the tree of a pattern, which must compile, as `re` itself reads it.

    Its parser has no public name; writing another one would be a second opinion on what a pattern means.
    """
    tree: Sequence[Any] = importlib.import_module("re._parser").parse(pattern)
    return tree


def why_slow(pattern: str) -> str | None:
    """Say why a pattern, which must compile, can take very long on an unlucky text; None where it cannot."""
    walk = _Walk(re.compile(pattern).flags)
    try:
        whole = walk.sequence(pattern_tree(pattern))
    except (_TooLarge, RecursionError):
        return "it is too large; write smaller counts, or several patterns"
    if walk.ambiguous:
        return (
            "what one of its repeats takes can be read in several ways, as in (a+)+; "
            "let all that repeats begin or end with a character that nothing else in it takes"
        )
    if walk.refers_back:
        return "it refers back to what a group took; write out what that may be"
    if walk.choices(whole) > MOST_CHOICES:
        return "it has too many parts in a row that may end anywhere, such as .*; make several patterns of it"
    if walk.has_alike_neighbours():
        return (
            "two endless parts of it stand side by side and take the same text, as in \\d+\\d+; make one of them, or "
            "put something between them that neither takes"
        )
    return None


def may_be_cubic(pattern: str) -> bool:
    """Tell whether two endless parts of a pattern, which must compile, may share a text out between them.

    Every share is tried, from every character on, if the rest does not fit. Says yes rather too often.
    """
    walk = _Walk(re.compile(pattern).flags)
    try:
        walk.sequence(pattern_tree(pattern))
    except (_TooLarge, RecursionError):
        return True
    return walk.has_parts_that_overlap()


def worst_texts(pattern: str, size: int) -> list[str]:
    """Write texts on which a pattern, which must compile, is likely to be slowest: much that fits, and no end to it."""
    walk = _Walk(re.compile(pattern).flags)
    try:
        walk.sequence(pattern_tree(pattern))
    except (_TooLarge, RecursionError):
        return []
    looping = [walk.takes[place] for inside, _ in walk.repeats for place in inside]
    counted = Counter(code for taken in looping or walk.takes for code in taken if code < 256)
    signatures: dict[tuple[bool, ...], int] = {}
    for code, _ in counted.most_common():
        signatures.setdefault(tuple(code in taken for taken in walk.takes), code)
    letters = [chr(code) for code in list(signatures.values())[:MOST_LETTERS]]
    in_order = "".join(chr(min(taken, default=0)) for taken in walk.takes if min(taken, default=256) < 256)
    wholes = [*letters, *map("".join, pairwise(letters)), in_order[:200]]
    end = next((chr(code) for code in range(255, -1, -1) if code not in counted), "\0")
    return [(whole * (size // len(whole) + 1))[: size - 1] + end for whole in dict.fromkeys(wholes) if whole]


class _Walk:
    """A pattern's places (one for each character that it takes), and which of them may follow which."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.takes: list[frozenset[int]] = []
        self.follow: list[list[int]] = []
        self.repeats: list[tuple[range, float]] = []
        """The places of each repeat, and the choices it has, in bits."""
        self.nothing = 0.0
        """Choices among ways to take nothing, in bits."""
        self.ambiguous = False
        self.refers_back = False
        self.endless: list[tuple[range, _Part]] = []
        """Repeats without end, and where each begins and ends."""

    def has_alike_neighbours(self) -> bool:
        """Say whether a text can be shared out in many ways between two endless parts that are neighbours."""
        for inside, left in self.endless:
            after = {place for last in left.last for place in self.follow[last]}
            for other, right in self.endless:
                apart = other.start >= inside.stop or inside.start >= other.stop
                if apart and not after.isdisjoint(right.first) and self._take_alike(inside, left, other, right):
                    return True
        return False

    def has_parts_that_overlap(self) -> bool:
        """Whether two endless parts, neither inside the other, take a character in common."""
        parts = [(inside, frozenset().union(*(self.takes[at] for at in inside))) for inside, _ in self.endless]
        return any(
            (left.stop <= right.start or right.stop <= left.start) and not taken.isdisjoint(other)
            for (left, taken), (right, other) in combinations(parts, 2)
        )

    def _take_alike(self, inside: range, left: _Part, other: range, right: _Part) -> bool:
        """Say whether one text can be taken whole by either of two parts."""
        waiting = [(one, two) for one in left.first for two in right.first]
        seen = set(waiting)
        ends = set(left.last), set(right.last)
        while waiting:
            one, two = waiting.pop()
            if self.takes[one].isdisjoint(self.takes[two]):
                continue
            if one in ends[0] and two in ends[1]:
                return True
            steps = ((a, b) for a in self.follow[one] if a in inside for b in self.follow[two] if b in other)
            new = set(steps) - seen
            seen |= new
            waiting += new
            if len(seen) > MOST_PAIRS:
                return True
        return False

    def choices(self, whole: _Part) -> float:
        """Add up, in bits, the choices at which more than one place takes the next character, or none does."""
        repeated = {place for inside, _ in self.repeats for place in inside}
        single = [follow for place, follow in enumerate(self.follow) if place not in repeated]
        bits = self.nothing + sum(log2(self._most_alike(follow)) for follow in [whole.first, *single])
        return bits + sum(bits for inside, bits in self.repeats if any(map(self._compete_after, inside)))

    def sequence(self, items: Sequence[Any]) -> _Part:
        whole = _NOTHING
        for name, argument in items:
            whole = self._joined(whole, self._item(str(name), argument))
        return whole

    def _item(self, name: str, argument: Any) -> _Part:
        match name:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                return self._place(characters(name, argument, self.flags))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeat(*argument)
            case "SUBPATTERN":
                return self._flagged(*argument[1:])
            case "ATOMIC_GROUP":
                return self.sequence(argument)
            case "BRANCH":
                return self._either([self.sequence(branch) for branch in argument[1]])
            case "GROUPREF_EXISTS":
                return self._either([self.sequence(branch or ()) for branch in argument[1:]])
            case "GROUPREF":
                self.refers_back = True
            case "ASSERT" | "ASSERT_NOT":
                self.nothing += log2(self._most_alike(self.sequence(argument[1]).first))
        return _NOTHING

    def _flagged(self, more: int, less: int, body: Sequence[Any]) -> _Part:
        around, self.flags = self.flags, (self.flags | more) & ~less
        part = self.sequence(body)
        self.flags = around
        return part

    def _place(self, taken: frozenset[int]) -> _Part:
        place = len(self.takes)
        if place == MOST_PLACES:
            raise _TooLarge
        self.takes.append(taken)
        self.follow.append([])
        return _Part([place], [place], False)

    def _joined(self, left: _Part, right: _Part) -> _Part:
        for place in left.last:
            self.follow[place] += right.first
        first = left.first + right.first if left.empty else left.first
        last = left.last + right.last if right.empty else right.last
        return _Part(first, last, left.empty and right.empty)

    def _either(self, parts: Sequence[_Part]) -> _Part:
        first = [place for part in parts for place in part.first]
        last = [place for part in parts for place in part.last]
        empty = sum(part.empty for part in parts)
        self.nothing += log2(max(1, empty))
        return _Part(first, last, empty > 0)

    def _repeat(self, least: int, most: int, body: Sequence[Any]) -> _Part:
        if most <= 1:
            part = self.sequence(body)
            self.nothing += part.empty and least == 0
            return _Part(part.first, part.last, part.empty or least == 0)
        if most == least:
            whole = _NOTHING
            for _ in range(least):
                before = len(self.takes), self.nothing
                whole = self._joined(whole, self.sequence(body))
                if (len(self.takes), self.nothing) == before or self.nothing > MOST_CHOICES:
                    break
            return whole
        start = len(self.takes)
        part = self._starred(lambda: self.sequence(body))
        bits = _CHOICES_OF_ENDLESS if most >= _ENDLESS else log2(most - least + 1)
        self.repeats.append((range(start, len(self.takes)), bits))
        if most >= _ENDLESS:
            self.endless.append((range(start, len(self.takes)), part))
        return _Part(part.first, part.last, part.empty or least == 0)

    def _starred(self, make: Callable[[], _Part]) -> _Part:
        """Let a part follow itself, and see whether two places in it then take the same character."""
        start, nothing = len(self.takes), self.nothing
        part = make()
        for place in part.last:
            self.follow[place] += part.first
        compete = self._compete(part.first) or any(map(self._compete_after, range(start, len(self.takes))))
        if compete or part.empty or self.nothing > nothing:
            self.ambiguous = True
        return part

    def _compete_after(self, place: int) -> bool:
        return self._compete(self.follow[place])

    def _most_alike(self, places: Sequence[int]) -> int:
        """Count the places that take the character which most of them take; at least 1."""
        return max(Counter(code for place in places for code in self.takes[place]).values(), default=1)

    def _compete(self, places: Sequence[int]) -> bool:
        taken: set[int] = set()
        for place in places:
            if not taken.isdisjoint(self.takes[place]):
                return True
            taken |= self.takes[place]
        return False


def characters(name: str, argument: Any, flags: int) -> frozenset[int]:
    """Return the characters that one place of a tree may take, as codes; rather too many than too few.

    Codes up to 255 are Latin-1; from 256 on each stands for a kind: letters, digits, spaces, others.
    """
    match name:
        case "ANY":
            return _EVERYTHING if flags & re.DOTALL else _EVERYTHING - {ord("\n")}
        case "LITERAL":
            return frozenset(_cases(argument, flags))
        case "NOT_LITERAL":
            return _EVERYTHING - ({argument} if argument < 256 else set())
    by_kind: set[int] = set()
    by_name: set[int] = set()
    negated = False
    for what, value in argument:
        match str(what):
            case "NEGATE":
                negated = True
            case "CATEGORY":
                by_kind |= _kind(str(value), flags)
            case "LITERAL":
                by_name.update(_cases(value, flags))
            case "RANGE":
                by_name.update(*(_cases(code, flags) for code in range(value[0], min(value[1], 255) + 1)))
                by_name |= set(_BEYOND) if value[1] > 255 else set()
    if negated:
        return _EVERYTHING - by_kind - (by_name - set(_BEYOND))
    return frozenset(by_kind | by_name)


def _cases(code: int, flags: int) -> Iterator[int]:
    letters = {chr(code)}
    if flags & re.IGNORECASE:
        letters |= {chr(code).lower(), chr(code).upper()} | (
            {"\u0100"} if chr(code) in "kKsS\xb5\xe5\xc5\xff" else set()
        )
        letters |= set("kKsSiI\xb5\xe5\xc5\xff") if code > 255 else set()
    for letter in letters:
        if len(letter) == 1:
            yield ord(letter) if ord(letter) < 256 else _beyond(letter)


def _beyond(letter: str) -> int:
    if re.match(r"\d", letter):
        return 257
    return 256 if re.match(r"\w", letter) else 258 if re.match(r"\s", letter) else 259


def _kind(name: str, flags: int) -> set[int]:
    """Return the characters of a class such as `CATEGORY_NOT_DIGIT`."""
    escape = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[name.rsplit("_", 1)[-1]]
    escape = escape.upper() if "_NOT_" in name else escape
    compiled = re.compile(escape, flags & re.ASCII)
    return {code for code in _EVERYTHING if compiled.match(_BEYOND.get(code) or chr(code))}

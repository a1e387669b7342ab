"""A text that a regular expression takes, written from the expression. Pure and bounded.

JSON Schema means those of ECMAScript; what Python's `re` cannot read is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.config.patterns import characters, pattern_tree, why_slow

LONGEST_PATTERN: Final = 1_000
LONGEST_TEXT: Final = 4_000
"""Characters; also the most steps that writing one may take."""
_LOOKED_THROUGH: Final = 200
"""Characters of a text up to which it is proven that the pattern takes it."""

_TIMES: Final = (1, 0, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
"""Repetitions of a part that the pattern leaves open, in the order in which they are tried."""
_LIKED: Final = "a1A-_.@/ "


class _TooLong(Exception):
    """The text would be longer than LONGEST_TEXT."""


def refuses(pattern: str, text: str) -> bool:
    """Whether it is proven that a pattern does not take a text; a pattern that may be slow is not tried."""
    try:
        return why_slow(pattern) is None and re.search(pattern, text[:_LOOKED_THROUGH]) is None
    except (re.error, RecursionError, OverflowError):
        return False


def text_for(pattern: str, least: int, most: int) -> str | None:
    """Write a text from `least` to `most` characters long that the pattern takes; None where none is found."""
    if len(pattern) > LONGEST_PATTERN:
        return None
    try:
        compiled, tree = re.compile(pattern), pattern_tree(pattern)
        is_quick = why_slow(pattern) is None
    except (re.error, RecursionError, OverflowError):
        return None
    for times in dict.fromkeys((*_TIMES[:1], min(least, LONGEST_TEXT), *_TIMES)):
        try:
            text = _Writing(times, compiled.flags).sequence(tree)
        except (_TooLong, RecursionError):
            continue
        proven = not is_quick or len(text) > _LOOKED_THROUGH or compiled.search(text) is not None
        if proven and least <= len(text) <= most:
            return text
    return None


class _Writing:
    """One text on its way, each open repeat taken the same number of times."""

    def __init__(self, times: int, flags: int) -> None:
        self.times, self.flags = times, flags
        self.groups: dict[int, str] = {}
        self.steps = 0

    def sequence(self, items: Sequence[Any]) -> str:
        return "".join(self._pieces(items))

    def _pieces(self, items: Sequence[Any]) -> Iterator[str]:
        for name, argument in items:
            self.steps += 1
            if self.steps > LONGEST_TEXT:
                raise _TooLong
            yield self._item(str(name), argument)

    def _item(self, name: str, argument: Any) -> str:
        match name:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL" | "ANY" | "IN":
                return _one_of(characters(name, argument, self.flags))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, body = argument
                return "".join([self.sequence(body) for _ in range(min(max(least, self.times), int(most)))])
            case "SUBPATTERN":
                text = self.sequence(argument[3])
                if argument[0] is not None:
                    self.groups[argument[0]] = text
                return text
            case "ATOMIC_GROUP":
                return self.sequence(argument)
            case "BRANCH":
                return self.sequence(argument[1][0])
            case "GROUPREF":
                return self.groups.get(argument, "")
            case "GROUPREF_EXISTS":
                group, there, otherwise = argument
                return self.sequence((there if group in self.groups else otherwise) or ())
        return ""  # where it stands, and what stands around it


def _one_of(codes: frozenset[int]) -> str:
    """Choose a character: one that is often meant, else the first that can be seen."""
    liked = next((letter for letter in _LIKED if ord(letter) in codes), None)
    if liked is not None:
        return liked
    seen = min((code for code in codes if 33 <= code < 127), default=None)
    return chr(seen if seen is not None else min((code for code in codes if code < 256), default=63))

"""String literals that make up most of a text, as when an object is printed whose member is the result."""

from __future__ import annotations

import re
from typing import NamedTuple

_LITERAL = re.compile(r"(?<=[=(\[{:, ])(?:'(?:[^'\\]|\\.)*+(?:'|\Z)|\"(?:[^\"\\]|\\.)*+(?:\"|\Z))", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([ntr'\"/\\\n]))")
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}
_LEAST = 60
"""Characters of a literal worth reading out."""
_LEAST_ESCAPES = 2
_MOST_CODE_POINT = 0x10FFFF


class Literal(NamedTuple):
    """A literal in a text: where it stands, what it says, whether its end is there."""

    start: int
    end: int
    said: str
    closed: bool


def longest(text: str) -> Literal | None:
    """Find the literal that is at least half of the text and has escapes to be read out."""
    if "\\" not in text or len(text) < _LEAST:
        return None
    for found in _LITERAL.finditer(text):
        literal = found[0]
        if 2 * len(literal) < len(text) or literal.count("\\") < _LEAST_ESCAPES:
            continue
        closed = len(literal) > 1 and literal[-1] == literal[0] and not _ends_escaped(literal)
        said = unescaped(literal[1:-1] if closed else literal[1:])
        return Literal(found.start(), found.end(), said, closed)
    return None


def unescaped(text: str) -> str:
    """Read the escapes of a literal; what is no escape stays."""
    return _ESCAPE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    if found[4] is not None:
        return _PLAIN.get(found[4], found[4])
    point = int(found[1] or found[2] or found[3], 16)
    return chr(point) if point <= _MOST_CODE_POINT and not 0xD800 <= point < 0xE000 else found[0]


def _ends_escaped(literal: str) -> bool:
    body = literal[1:-1]
    return (len(body) - len(body.rstrip("\\"))) % 2 == 1

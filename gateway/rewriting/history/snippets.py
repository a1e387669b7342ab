"""A snippet: a piece of a message that a list can keep whole, and what it is worth by what it is.

message_snippets.py reads messages into snippets, snippet_reader.py remembers them. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gateway.values import values

Kind = Literal["sentence", "row", "line", "entry", "call", "media"]

LONGEST = 600
"""Characters of a sentence or line that is kept whole; a longer one is cut at its commas."""
LONGEST_PART = 300
TROUBLE = 5.0
"""The worth of a line that stands out most, beside the values it holds."""
PRESERVED = 100.0
"""The worth of a sentence that a policy preserves: it comes before everything."""

SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a message, as a list would quote it."""

    text: str
    values: tuple[str, ...]
    title: str = ""
    """The record that a row belongs to."""
    argument: bool = False
    """Whether it stands in a call."""
    worth: float = 0.0
    """By what it is: a definition, a report of trouble, a sentence to preserve."""
    kind: Kind = "sentence"
    names: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    """Of a row: the fields."""
    line: int = 0
    """Its number in the text: of a line among the lines, of a sentence among the sentences."""
    name: str = ""
    """Of a signature: what it defines."""
    body: str = ""
    """Of a signature: all lines of what it defines, where they are not too many."""
    of: int = 0
    """Of an entry: how many the listing has."""


def values_in(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([value for _, _, value in values(text)]))


def estimated_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its ASCII characters, and about two of three others."""
    if text.isascii():
        return len(text) // 4 + 1
    more = len(text.encode("utf-8", "replace")) - len(text)
    return (5 * len(text) + 6 * more) // 20 + 1

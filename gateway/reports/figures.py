"""Tables of figures as values, before it is known how wide they may be, and how figures and names are written. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """A table of the report, before it is known how wide it may be."""

    title: str
    names: Sequence[str]
    """The keys of a row that say what it is of."""
    rows: Sequence[Row]
    columns: Mapping[str, Callable[[Row], str]]
    """By heading, in order: how a row's figure is written."""
    left_out_first: Sequence[str]
    """The headings that a narrow terminal does without, in this order; the others are always shown."""
    total: Row | None = None
    notes: Sequence[str] = ()
    nothing: str = "nothing to show"
    """The sentence in place of a table without rows."""
    whole_in: str = "csv and json"
    """The forms of the report that have every column."""


def terminal_text(text: str) -> str:
    """Replace what would steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def count(name: str) -> Callable[[Row], str]:
    """Return how a row's number of this name is written: with its thousands apart, a dash where there is none."""
    return lambda row: "-" if row[name] is None else f"{row[name]:,}"


def share_text(name: str) -> Callable[[Row], str]:
    """Return how a row's share of this name is written: in whole percents, a dash where there is none."""
    return lambda row: "-" if row[name] is None else f"{row[name]:.0%}"


def cell(value: object) -> object:
    """Keep a spreadsheet from running what a caller chose as its name, and a terminal from obeying it.

    A cell that begins a formula is quoted (owasp.org/www-community/attacks/CSV_Injection), also behind invisible
    characters. Control characters and marks of direction go; a space stays in the place of a line end or a tab.
    """
    if not isinstance(value, str):
        return value
    value = "".join(" " if char.isspace() else char for char in value if char.isspace() or not _obeyed(char))
    first = next((char for char in value if char != " " and unicodedata.category(char) != "Cf"), "")
    return f"'{value}" if first in _FORMULAS and first else value


_FORMULAS: Final = "=+-@\uff1d\uff0b\uff0d\uff20"
"""Characters that begin a formula, and their wide forms, which some spreadsheets take for the same."""


def _obeyed(char: str) -> bool:
    """Whether a character does something instead of being shown: those that join letters are left alone."""
    return (
        unicodedata.category(char) in {"Cc", "Cs"} or unicodedata.bidirectional(char) in _DIRECTIONS or char in _MARKS
    )


_DIRECTIONS: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_MARKS: Final = "\u061c\u200e\u200f"
"""Unicode's marks of direction that have the class of a letter (unicode.org/reports/tr9, 2.6)."""

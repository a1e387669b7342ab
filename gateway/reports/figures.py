"""Tables of figures that fit a terminal: what a row is of is shown whole, and so is every figure that is shown.

A narrow terminal shows fewer columns, never parts of them, and a note says which. Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

_WIDER_THAN_ANY = 1000
"""Columns in which every table is measured: what it would take, not what there is."""


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
    """What is said in place of a table without rows."""
    whole_in: str = "csv and json"
    """The forms of the report that have every column."""

    def table(self, width: int) -> Table | Text:
        """Return it with as many columns as `width` has room for."""
        if not self.rows:
            return Text(f"{self.title}: {self.nothing}")
        shown, left_out = list(self.columns), list[str]()
        made = self._with(shown)
        for heading in self.left_out_first:
            if Console(width=_WIDER_THAN_ANY).measure(made).maximum <= width:
                break
            shown.remove(heading)
            left_out.append(heading)
            made = self._with(shown)
        wider = [f"left out to fit this terminal, in {self.whole_in}: {', '.join(left_out)}"] if left_out else []
        made.caption = "\n".join([*self.notes, *wider])
        return made

    def _with(self, headings: Sequence[str]) -> Table:
        made = plain_table(self.title)
        for name in self.names:
            made.add_column(name, overflow="fold")
        for heading in headings:
            made.add_column(heading, justify="right", no_wrap=True)
        for index, row in enumerate(self.rows):
            cells = [_name(row[name]) for name in self.names] + [Text(self.columns[one](row)) for one in headings]
            made.add_row(*cells, end_section=self.total is not None and index == len(self.rows) - 1)
        if self.total is not None:
            names = ["total", *("" for _ in self.names[1:])]
            made.add_row(*names, *(self.columns[heading](self.total) for heading in headings), style="bold")
        return made


def plain_table(title: str | None = None) -> Table:
    """Return an empty table in the one look that the command line has: no frame, a line below the head."""
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        padding=(0, 1),
        show_edge=False,
    )


def printable(text: str) -> str:
    """Replace what would steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def count(name: str) -> Callable[[Row], str]:
    """Return how a row's number of this name is written: with its thousands apart, a dash where there is none."""
    return lambda row: "-" if row[name] is None else f"{row[name]:,}"


def share(name: str) -> Callable[[Row], str]:
    """Return how a row's share of this name is written: in whole percents, a dash where there is none."""
    return lambda row: "-" if row[name] is None else f"{row[name]:.0%}"


def _name(value: str | None) -> Text:
    """Show a name that a caller may have chosen: no markup, no control characters."""
    return Text("-") if value is None else Text(printable(value))


def cell(value: object) -> object:
    """Keep a spreadsheet from running what a caller chose as its name, and a terminal from obeying it.

    What begins a formula is quoted (owasp.org/www-community/attacks/CSV_Injection), also behind what is not seen.
    Control characters and marks of direction go; a space stays in the place of a line end or a tab.
    """
    if not isinstance(value, str):
        return value
    value = "".join(" " if char.isspace() else char for char in value if char.isspace() or not _obeyed(char))
    first = next((char for char in value if char != " " and unicodedata.category(char) != "Cf"), "")
    return f"'{value}" if first in _FORMULAS and first else value


_FORMULAS: Final = "=+-@\uff1d\uff0b\uff0d\uff20"
"""What a formula begins with, and the wide forms of it, which some spreadsheets take for the same."""


def _obeyed(char: str) -> bool:
    """Whether a character does something instead of being shown: those that join letters are left alone."""
    return (
        unicodedata.category(char) in {"Cc", "Cs"} or unicodedata.bidirectional(char) in _DIRECTIONS or char in _MARKS
    )


_DIRECTIONS: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_MARKS: Final = "\u061c\u200e\u200f"
"""Unicode's marks of direction that have the class of a letter (unicode.org/reports/tr9, 2.6)."""

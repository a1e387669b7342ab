"""Tables of figures: who and how much stand whole at every width, and what has no room is named."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.reports.figures import Figures, count, share_text
from gateway.reports.tables import figures_table

ROWS = [{"team": "agents", "calls": 1_591_402, "tokens": 987_654_321, "used": 0.25}, dict.fromkeys(("team", "used"))]
ROWS[1] |= {"calls": 3, "tokens": 0}
SHOWN = Figures(
    "Calls",
    ("team",),
    ROWS,
    {"calls": count("calls"), "tokens": count("tokens"), "used": share_text("used")},
    ("tokens", "calls"),
    {"calls": 1_591_405, "tokens": 987_654_321, "used": 0.25},
    ["calls: all of them"],
)


def text(figures: Figures, width: int) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(figures_table(figures, width))
    return captured.get()


def words(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines() if line.strip("─ ")]


def test_where_there_is_room_every_column_is_shown() -> None:
    assert words(text(SHOWN, 80)) == [
        ["Calls"],
        ["team", "calls", "tokens", "used"],
        ["agents", "1,591,402", "987,654,321", "25%"],
        ["-", "3", "0", "-"],
        ["total", "1,591,405", "987,654,321", "25%"],
        ["calls:", "all", "of", "them"],
    ]


def test_a_narrow_terminal_does_without_the_least_of_them_and_says_so() -> None:
    shown = text(SHOWN, 35)
    assert words(shown)[1:3] == [["team", "calls", "used"], ["agents", "1,591,402", "25%"]]
    assert "left out to fit this terminal, in csv and json: tokens" in " ".join(shown.split())
    assert "csv and json: tokens, calls" in " ".join(text(SHOWN, 20).split())


def test_a_table_without_rows_is_a_sentence() -> None:
    assert text(replace(SHOWN, rows=[], nothing="nobody called"), 80) == "Calls: nobody called\n"


NAMES = st.text("abcdefgh", min_size=1, max_size=30)
COUNTS = st.integers(0, 10**13)


@pytest.mark.parametrize("width", [30, 80, 100, 120])
@given(rows=st.lists(st.tuples(NAMES, COUNTS, COUNTS), min_size=1, max_size=4))
def test_no_figure_is_ever_cut(width: int, rows: list[tuple[str, int, int]]) -> None:
    read: list[dict[str, Any]] = [dict(zip(("team", "calls", "tokens"), row, strict=True)) for row in rows]
    columns = {"calls": count("calls"), "tokens": count("tokens")}
    shown = text(Figures("Calls", ("team",), read, columns, ("calls",)), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    digits = re.findall(r"\d[\d,]*", shown)
    assert all(f"{row['tokens']:,}" in digits for row in read)

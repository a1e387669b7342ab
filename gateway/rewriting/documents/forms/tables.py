"""Tables of a text: delimited lines under a header, and Markdown's. Rows are documents, the header is none. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.rewriting.documents.forms.document import Document, lines

_MARKS = ("\t", "|", ";", ",")
_LEAST_ROWS = 6
_MOST_COLUMNS = 60
_MOST_BROKEN_ROWS = 0.02
"""Share of the rows of a table that may have another number of cells: they go with the row before them."""
_LONGEST_NAME = 60
_WORDS_IN_NAME = 6
_QUOTED = re.compile(r'"(?:[^"]|"")*+"')
_LEVELS = frozenset({"level", "lvl", "severity", "loglevel", "log_level", "levelname", "priority", "severitytext"})
_NUMBER = re.compile(r"[-+]?[\d.,:/%\s]+")
_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*(?::?-+:?)?[ \t]*\|?[ \t\r]*")


def find_tables(text: str) -> list[Document]:
    """Locate the rows of the tables of a text."""
    spans = list(lines(text, 0, len(text)))
    out: list[Document] = []
    at = group = 0
    while at < len(spans):
        rows, after = _table(text, spans, at)
        if rows:
            out += [Document(start, end, "", (), group, "row") for start, end in rows]
            group += 1
        at = max(after, at + 1)
    return out


def _table(text: str, spans: Sequence[tuple[int, int]], at: int) -> tuple[list[tuple[int, int]], int]:
    """Read the table whose header is this line: its rows, and the line after it; no rows where it is none."""
    start, end = spans[at]
    if end - start > _MOST_COLUMNS * _LONGEST_NAME or at + _LEAST_ROWS >= len(spans):
        return [], at
    header = text[start:end]
    if "|" in header and _RULE.fullmatch(text, *spans[at + 1]):
        after = at + 2
        while after < len(spans) and "|" in text[spans[after][0] : spans[after][1]]:
            after += 1
        rows = [_stripped(text, span) for span in spans[at + 2 : after]]
        return (rows, after) if len(rows) >= _LEAST_ROWS else ([], after)
    for mark in _MARKS:
        width = _count(header, mark)
        least = 1 if mark == "\t" else 2
        if least <= width < _MOST_COLUMNS and _count(text[slice(*spans[at + 1])], mark) == width:
            cells = [cell.strip().strip("\"'").strip() for cell in _QUOTED.sub(_blank, header).split(mark)]
            return _delimited(text, spans, at, mark, width) if _is_header(cells) else ([], at)
    return [], at


def _blank(found: re.Match[str]) -> str:
    """Keep what a quoted cell says without the marks in it."""
    return re.sub(r"[,;|\t]", " ", found[0])


def _count(line: str, mark: str) -> int:
    return _QUOTED.sub("", line).count(mark) if '"' in line else line.count(mark)


def _delimited(
    text: str, spans: Sequence[tuple[int, int]], at: int, mark: str, width: int
) -> tuple[list[tuple[int, int]], int]:
    """Read lines with as many cells as the header; a line in between that has fewer is the rest of the one before."""
    rows: list[tuple[int, int]] = []
    after, broken = at + 1, 0
    while after < len(spans):
        start, end = spans[after]
        if _count(text[start:end], mark) != width:
            next_is_row = after + 1 < len(spans) and _count(text[slice(*spans[after + 1])], mark) == width
            if (
                not text[start:end].strip()
                or not next_is_row
                or broken >= 1 + _MOST_BROKEN_ROWS * len(rows)
                or not rows
            ):
                break
            broken += 1
            rows[-1] = (rows[-1][0], _stripped(text, (start, end))[1])
        else:
            rows.append(_stripped(text, (start, end)))
        after += 1
    if len(rows) < _LEAST_ROWS or (_reads_as_sentences(text, rows) and mark in ",;"):
        return [], after
    return rows, after


def _stripped(text: str, span: tuple[int, int]) -> tuple[int, int]:
    return span[0], span[0] + len(text[slice(*span)].rstrip())


def _is_header(cells: Sequence[str]) -> bool:
    """Tell whether cells are names of columns: short, different, none a number; a log's columns are no table's."""
    named = [cell for cell in cells if cell]
    return (
        len(named) >= max(2, len(cells) - 1)
        and len(set(named)) == len(named)
        and not any(cell.casefold() in _LEVELS for cell in named)
        and all(
            len(cell) <= _LONGEST_NAME
            and not _NUMBER.fullmatch(cell)
            and cell.count(" ") < _WORDS_IN_NAME
            and cell[-1] not in ".!?;。"
            and not any(sign in cell for sign in "={}<>")
            for cell in named
        )
    )


def _reads_as_sentences(text: str, rows: Sequence[tuple[int, int]]) -> bool:
    """Tell whether lines are sentences that happen to have as many commas."""
    ends = sum(text[end - 1 : end] in (".", "!", "?", "。", ":") for _, end in rows)
    spaced = sum(text.count(", ", start, end) + text.count("; ", start, end) > 0 for start, end in rows)
    return ends > len(rows) / 2 and spaced > len(rows) / 2

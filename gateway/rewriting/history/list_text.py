"""The text of an artifact list: a line for each message, its number and speaker, and its pieces quoted.

Rows of one kind stand under one header, lines with their numbers, sentences behind each other. artifacts.py chooses the
pieces. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from gateway.rewriting.history.placed_snippets import PlacedSnippet
from gateway.rewriting.history.snippets import Snippet
from gateway.rewriting.history.value_places import ValuePlaces
from gateway.rewriting.ours import quoted, sendable
from gateway.rewriting.results.shapes.rows import quoted_cell

_LEAST_TABLE = 2
"""Rows of one kind that are written under a header."""


def piece_text(said: Snippet, seen: ValuePlaces) -> str:
    """Say a definition with its body where somebody speaks of it."""
    return said.body if said.body and seen.speaks_of(said.name) else said.text


def line_opening(group: Sequence[PlacedSnippet]) -> str:
    """Write how a line begins: the numbers of its messages, and who speaks."""
    numbers = dict.fromkeys(piece.at for piece in group)
    who = group[0].who if len({piece.who for piece in group}) == 1 else group[0].who.partition(" ")[0]
    return f"[{', '.join(map(str, numbers))}] {who}: "


def list_text(chosen: Sequence[PlacedSnippet], seen: ValuePlaces) -> str:
    """Write a line for each message, in order; rows of one kind under one header, where their first one stands."""
    like: dict[tuple[object, ...], list[PlacedSnippet]] = {}
    for piece in chosen:
        like.setdefault(group_of(piece), []).append(piece)
    lines: list[str] = []
    last = ""
    for group in like.values():
        name = line_opening(group)
        said = _quoted(group, seen)
        if name == last and "\n" not in said and "\n" not in lines[-1]:  # a fence ends only at the end of a line
            lines[-1] += f" {said}"
        else:
            lines.append(f"{name}{said}".replace(" \n", "\n", 1))
        last = name
    return "\n".join([line.rstrip() for line in lines])


def group_of(piece: PlacedSnippet) -> tuple[object, ...]:
    """Tell what a piece is written together with: rows with those of the same fields, others with their message's."""
    said = piece.said
    if said.kind == "row" and said.names[-1] == "":
        return ("part", piece.at, said.title, said.names[0], said.cells[0])
    if said.kind == "row" and len(said.names) > 1:
        return ("row", piece.who.partition(" ")[0], said.title.rpartition(" ")[2], said.names)
    if said.kind == "call":
        return ("call", piece.who, said.title, said.names)
    return (said.kind, piece.at, said.title)


def _quoted(group: Sequence[PlacedSnippet], seen: ValuePlaces) -> str:
    """Quote pieces that belong together."""
    said = [piece.said for piece in group]
    about = f"{_quote(said[0].title)}: " if said[0].title else ""
    match said[0].kind:
        case "row":
            return _rows(said)
        case "line":
            return about + _lines(said, seen)
        case "media":
            return " ".join([f"[{one.text}]" for one in said])
        case "entry":
            rest = said[0].of - len(said)
            return about + _quote(" ".join([one.text for one in said])) + (f" (… {rest} more)" if rest > 0 else "")
        case "call":
            return _calls(said)
        case _:
            return about + _quote(_joined(said))


def _joined(sentences: Sequence[Snippet]) -> str:
    """Join the sentences of a message; `…` where some were left out between them."""
    out, before = "", 0
    for said in sentences:
        gap = "" if not out else " " if before and said.line == before + 1 else " … "
        out += gap + said.text
        before = said.line
    return out.replace("… …", "…")


def _rows(rows: Sequence[Snippet]) -> str:
    """Write one row with the name of each field, several under a header, with what each belongs to."""
    if len(rows) > 1 and rows[0].names[-1] == "":
        return _parts_of_one(rows)
    titles = {row.title: None for row in rows}
    about = f"{_quote(rows[0].title)}: " if len(titles) == 1 and rows[0].title else ""
    if len(rows) < _LEAST_TABLE:
        return about + " ".join(
            [_quote(f"{row.title}: {row.text}" if len(titles) > 1 and row.title else row.text) for row in rows]
        )
    header = list(map(quoted_cell, rows[0].names))
    cells = [list(row.cells) for row in rows]
    if len(titles) > 1:
        header.append("of")
        cells = [[*row, quoted_cell(said.title)] for row, said in zip(cells, rows, strict=True)]
    return about + "\n" + quoted("\n".join([",".join(header), *map(",".join, cells)]))


def _parts_of_one(rows: Sequence[Snippet]) -> str:
    """Write parts of one record together, its id once."""
    about = f"{_quote(rows[0].title)}: " if rows[0].title else ""
    said = [f"{rows[0].names[0]}: {rows[0].cells[0]}"]
    for row in rows:
        said += [f"{name}: {cell}" for name, cell in zip(row.names[1:-1], row.cells[1:-1], strict=True) if cell]
        said.append("…")
    return about + _quote(", ".join(said))


def _calls(calls: Sequence[Snippet]) -> str:
    """Write calls of one tool together: the names of their arguments once."""
    if len(calls) == 1 or not any(calls[0].names):
        return " ".join([_quote(call.text) for call in calls])
    names = ", ".join(map(quoted_cell, calls[0].names))
    return _quote(f"{calls[0].title}({names})") + " " + " ".join([_quote(", ".join(call.cells)) for call in calls])


def _lines(lines: Sequence[Snippet], seen: ValuePlaces) -> str:
    """Write lines with their numbers."""
    numbered: dict[int, str] = {}
    for line in lines:
        for number, text in enumerate(piece_text(line, seen).split("\n"), line.line):
            numbered.setdefault(number, text)
    if len(numbered) == 1:
        return f"line {lines[0].line} {_quote(lines[0].text)}"
    return "\n" + quoted("\n".join([f"{number}: {text}" for number, text in numbered.items()]))


def _quote(text: str) -> str:
    return json.dumps(sendable(text), ensure_ascii=False)

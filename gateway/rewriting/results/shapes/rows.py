"""Records of a text as rows: of JSON, XML, tables, CSV and blocks of `key: value`. A row begins with its id.

A row is whole: all fields of one record that are short. A long field is marked in it and read as a text of its own, and
records inside a record are rows of their own, which name the record that they belong to. Pure; linear in the text.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from gateway.rewriting.results.shapes.values import Number

LEFT_OUT = "…"
"""Stands for a field that is too long for a row."""
_LONGEST_FIELD = 120
"""Characters of a field that is said in its row."""
_LONGEST_ROW, _LONGEST_ALONE, _LONGEST_PART = 600, 200, 110
"""Characters of a row among others, of a record by itself, and of each part that one with more is said in."""
_LONGEST_NAME = 60
_INNER_FIELDS = 8
"""Fields of an object inside a record that are said in the record's own row."""
_LIKE = 0.6
"""Share of the members that objects have in common which are rows of one table."""
_ID = re.compile(r"(?i:(?:^|[_\s.@-])(?:id|key|uuid|guid|sku|code|no|nr|number|#)$)|^(?:编号|番号|رقم|번호)$")
_PLAIN_CELL = re.compile(r"[^\s,;:\"'\[\]{}][^,;\"\n\r]{0,120}")


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record: names and cells of its fields, the id first."""

    names: tuple[str, ...]
    cells: tuple[str, ...]
    of: str = ""
    """The record or place that it belongs to."""
    texts: tuple[str, ...] = ()
    """Fields that are too long for a row."""
    line: int = 0
    """Number of the line that it begins at."""

    @property
    def text(self) -> str:
        """Write the row by itself: each cell with its name."""
        said = [f"{name}: {cell}" if name else cell for name, cell in zip(self.names, self.cells, strict=True) if cell]
        return ", ".join(said)


def quoted_cell(cell: str) -> str:
    """Write a cell so that no row can be misread: in quotes where it holds what parts cells."""
    cell = cell.strip()
    if not cell or (_PLAIN_CELL.fullmatch(cell) and ": " not in cell and cell[-1] not in " :"):
        return cell
    return json.dumps(" ".join(cell.split()), ensure_ascii=False)


# ---------------------------------------------------------------- values


def of_value(root: Any) -> Iterator[RecordRow]:
    """Read a value of JSON into rows, in order, without recursion: records nested deep are read too."""
    stack: list[tuple[Any, str, str]] = [(root, "", "")]
    while stack:
        value, name, of = stack.pop()
        if isinstance(value, list):
            more = _of_list(value, name, of)
        elif isinstance(value, dict):
            more = _of_keyed(value, name, of) if _is_keyed(value) else _of_record(value, "", of)
        else:
            more = (tuple(_split(((name, cell_of(value)),), of, _long(value))), [])
        yield from more[0]
        stack += reversed(more[1])


def _of_list(value: list[Any], name: str, of: str) -> tuple[Sequence[RecordRow], list[tuple[Any, str, str]]]:
    """Read an array: of rows where its first is a header, of entries, or of whatever else it holds."""
    if len(value) > 2 and all(isinstance(item, list) and len(item) == len(value[0]) for item in value):
        header = [item if isinstance(item, str) and not isinstance(item, Number) else "" for item in value[0]]
        if all(header) and len(set(header)) == len(header) and not any(map(_holds_more, (c for r in value for c in r))):
            return _table([str(cell) for cell in header], [list(map(cell_of, row)) for row in value[1:]], of), []
    plain_ones = [item for item in value if not _holds_more(item)]
    if len(plain_ones) == len(value):
        rows = [RecordRow((name,), (_short(cell_of(item)),), of, _long(item)) for item in value]
        return [row for row in rows if row.cells[0]], []
    if all(isinstance(item, dict) for item in value):
        return _of_records([(item, "") for item in value], of, "")
    return (), [(item, name, of) for item in value]


def _of_keyed(value: dict[str, Any], name: str, of: str) -> tuple[Sequence[RecordRow], list[tuple[Any, str, str]]]:
    """Read an object of like objects: the key of each is its id."""
    return _of_records([(record, key) for key, record in value.items()], of or name, name)


def _of_records(
    records: Sequence[tuple[dict[str, Any], str]], of: str, kind: str
) -> tuple[Sequence[RecordRow], list[tuple[Any, str, str]]]:
    """Read like objects; an inner object that is unlike those of the others is one field, so that rows are alike."""
    inner: dict[str, Any] = {}
    apart: set[str] = set()
    for record, _ in records:
        for name, value in record.items():
            if isinstance(value, dict) and inner.setdefault(name, value.keys()) != value.keys():
                apart.add(name)
    rows: list[RecordRow] = []
    more: list[tuple[Any, str, str]] = []
    for record, key in records:
        found, deeper = _of_record(record, key, of, kind, apart, alone=len(records) < 2)
        rows += found
        more += deeper
    return rows, more


def _of_record(
    record: dict[str, Any],
    key: str,
    of: str,
    kind: str = "",
    apart: AbstractSet[str] = frozenset(),
    *,
    alone: bool = True,
) -> tuple[Sequence[RecordRow], list[tuple[Any, str, str]]]:
    """Read an object into its row, and name the records inside it."""
    fields: dict[str, str] = {}
    texts: list[str] = []
    inside: list[tuple[Any, str]] = []
    often = Counter(inner for value in record.values() if isinstance(value, dict) for inner in value)
    for name, value in record.items():
        if isinstance(value, dict):
            if value and len(value) <= _INNER_FIELDS and not any(map(_holds_more, value.values())):
                if name in apart:
                    _enter(
                        fields, texts, name, ", ".join([f"{inner}: {cell_of(deep)}" for inner, deep in value.items()])
                    )
                    continue
                for inner, deep in value.items():
                    is_clear = often[inner] == 1 and inner not in record and not _ID.search(inner)
                    is_clear = is_clear and inner.lower() not in _VAGUE
                    _enter(fields, texts, inner if is_clear else f"{name}.{inner}", deep)
            elif value:
                inside.append((value, name))
        elif isinstance(value, list):
            if (
                value
                and not any(map(_holds_more, value))
                and sum(len(cell_of(item)) + 3 for item in value) <= _LONGEST_FIELD
            ):
                _enter(fields, texts, name, " | ".join(map(cell_of, value)))
            elif value:
                inside.append((value, name))
        else:
            _enter(fields, texts, name, value)
    ordered = _id_first(fields, key, kind)
    below = ordered[0][1] if ordered and (key or _is_id(ordered[0][0])) else of
    rows = tuple(_split(ordered, of, tuple(texts), _LONGEST_ALONE if alone else _LONGEST_ROW))
    return rows, [(value, name, f"{below} {name}".lstrip()) for value, name in inside]


_NAMES = frozenset(["name", "title", "symbol", "ticker", "slug", "path", "file", "url", "email", "subject", "label"])
"""The fields that name a record without an id."""
_MOST_BEFORE_NAME = 12
_VAGUE = frozenset(["id", "name", "type", "value", "status", "source", "kind", "label", "title", "text"])


def _enter(fields: dict[str, str], texts: list[str], name: str, value: Any) -> None:
    cell = cell_of(value)
    if len(cell) > _LONGEST_FIELD or "\n" in cell:
        texts.append(cell)
        cell = LEFT_OUT
    fields[name] = cell


def _id_first(fields: Mapping[str, str], key: str, kind: str) -> list[tuple[str, str]]:
    """Put the id of a record before its other fields: its key, else what is called an id, else its first field."""
    items = list(fields.items())
    if key:
        at = next((n for n, (_, cell) in enumerate(items) if cell == key), -1)
    else:
        plain_ones = [n for n, (_, cell) in enumerate(items) if cell and cell != LEFT_OUT]
        first = [n for n in plain_ones if _ID.search(items[n][0])] or [
            n for n in plain_ones[:_MOST_BEFORE_NAME] if items[n][0].casefold() in _NAMES
        ]
        at = next(iter([*first, *plain_ones]), -1)
    if at >= 0:
        return [items[at], *items[:at], *items[at + 1 :]]
    return [(kind if _is_id(kind) else "key", key), *items] if key else items


def _is_id(name: str) -> bool:
    return _ID.search(name) is not None


def _split(
    items: Sequence[tuple[str, str]], of: str, texts: tuple[str, ...], most: int = _LONGEST_ALONE
) -> Iterator[RecordRow]:
    """Write the fields as one row; where they are too many, as several that all begin with the id."""
    sizes = [len(name) + len(cell) + 4 for name, cell in items]
    if sum(sizes) <= most:
        if len(items) > 1 or texts or (items and items[0][1]):
            yield _row(items, of, texts)
        return
    part, size = list(items[:1]), sizes[0]
    for item, more in zip(items[1:], sizes[1:], strict=True):
        if size + more > _LONGEST_PART and len(part) > 1:
            yield _row([*part, ("", LEFT_OUT)], of, texts)
            part, texts, size = list(items[:1]), (), sizes[0]
        part.append(item)
        size += more
    yield _row([*part, ("", LEFT_OUT)], of, texts)


def _row(items: Sequence[tuple[str, str]], of: str, texts: tuple[str, ...]) -> RecordRow:
    return RecordRow(
        tuple([_named(name) for name, _ in items]),
        tuple([quoted_cell(cell) for _, cell in items]),
        _named(of, 160),
        texts,
    )


def _named(name: str, most: int = _LONGEST_NAME) -> str:
    name = " ".join(name.split())
    return name if len(name) <= most else LEFT_OUT


def cell_of(value: Any) -> str:
    """Write a value as JSON does, text without its quotes; what holds more than one is empty."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if isinstance(value, list | dict) else str(value)


def _short(cell: str) -> str:
    return LEFT_OUT if len(cell) > _LONGEST_FIELD or "\n" in cell else quoted_cell(cell)


def _long(value: Any) -> tuple[str, ...]:
    cell = cell_of(value)
    return (cell,) if len(cell) > _LONGEST_FIELD or "\n" in cell else ()


def _holds_more(value: Any) -> bool:
    return isinstance(value, list | dict)


def _is_keyed(value: dict[str, Any]) -> bool:
    """Tell whether an object is a table: several objects with much the same members, each under its key."""
    if not value or not all(isinstance(item, dict) and item for item in value.values()):
        return False
    some = list(islice(value.items(), 8))
    if all(any(cell_of(cell) == key for cell in item.values()) for key, item in some):
        return True
    first = some[0][1].keys()
    return len(value) > 1 and all(len(first & item.keys()) >= _LIKE * max(len(first), len(item)) for _, item in some)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], of: str = "", line: int = 0) -> list[RecordRow]:
    """Write the rows of a table that has a header; a column of ids comes first."""
    at = next((n for n, name in enumerate(header) if _ID.search(name)), 0)
    order = [at, *[n for n in range(len(header)) if n != at]]
    names = tuple([_named(header[n]) for n in order])
    return [
        RecordRow(
            names,
            tuple([_short(row[n].strip()) for n in order]),
            of,
            tuple([text for cell in row for text in _long(cell)]),
            line + number,
        )
        for number, row in enumerate(rows)
    ]


# ---------------------------------------------------------------- lines


_MARKS = ("\t", ",", ";", "|")
_GAP = re.compile(r"\s{2,}|\t")
_WORDS_IN_HEADER = 4
_PAIR = re.compile(
    r"(?P<indent>[ \t]{0,40})(?P<dash>[-*+•] )?[ \t]{0,8}(?:\*\*|__)?"
    r"(?P<name>[^\W\d_][^\n:=：*|{}\[\]()<>\"'`;,]{0,40})(?:\*\*|__)?"
    r"(?P<mark>[:：]|[ \t]{0,12}[=:：](?=[ \t]))(?:\*\*|__)?[ \t]{0,12}(?P<cell>.*)"
)
_LEAST_PAIRS = 3
_LOOK, _MOST_LINES = 12, 400
"""Lines of a block that decide whether it is one, and that are read as one."""


def record_lines(lines: Sequence[str], at: int) -> tuple[list[RecordRow], int]:
    """Read the records that begin at a line; return them, and the number of the first line behind them."""
    line = lines[at]
    if at + 1 < len(lines):
        if "|" in line and _is_rule(lines[at + 1]):
            return _of_markdown(lines, at)
        for mark in _MARKS:
            if mark in line:
                found = _of_delimited(lines, at, mark)
                if found[0]:
                    return found
        if "  " in line:
            found = _of_columns(lines, at)
            if found[0]:
                return found
    if (":" in line or "=" in line or "：" in line) and len(line) <= 2 * _LONGEST_FIELD:
        return _of_pairs(lines, at)
    return [], at


def _is_rule(line: str) -> bool:
    return "-" in line and "|" in line and not line.strip("|:- \t\r")


def _of_markdown(lines: Sequence[str], at: int) -> tuple[list[RecordRow], int]:
    header = _cells(lines[at], "|")
    rows: list[list[str]] = []
    end = at + 2
    while end < len(lines) and "|" in lines[end]:
        cells = _cells(lines[end], "|")
        rows.append((cells + [""] * len(header))[: len(header)] if len(cells) != len(header) else cells)
        end += 1
    return _table(header, rows, line=at + 3), end


def _cells(line: str, mark: str) -> list[str]:
    if mark == "|":
        line = line.strip()
        line = line.removeprefix("|").removesuffix("|")
    if '"' in line:
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])]
        except csv.Error:
            pass
    return [cell.strip() for cell in line.split(mark)]


def _of_delimited(lines: Sequence[str], at: int, mark: str) -> tuple[list[RecordRow], int]:
    """Read CSV and the like: a header of names, and at least two lines with as many cells."""
    width = lines[at].count(mark) + 1
    if at + 2 >= len(lines) or not all(mark in lines[n] for n in (at + 1, at + 2)):
        return [], at
    header = _cells(lines[at], mark)
    if not _is_header(header) or not all(len(_cells(lines[n], mark)) == width for n in (at + 1, at + 2)):
        return [], at
    if sum(map(len, (*lines[at + 1 : at + 3],))) > 80 * width * 2:
        return [], at
    rows: list[list[str]] = []
    end = at + 1
    while end < len(lines) and mark in lines[end] and len(cells := _cells(lines[end], mark)) == width:
        rows.append(cells)
        end += 1
    return _table(header, rows, line=at + 2), end


def _is_header(cells: Sequence[str]) -> bool:
    return (
        len(cells) > 1
        and len(set(cells)) == len(cells)
        and all(
            0 < len(cell) <= _LONGEST_NAME // 2
            and not cell[0].isdigit()
            and cell.count(" ") < _WORDS_IN_HEADER
            and not any(sign in cell for sign in "=:{}<>[]\"'")
            and cell[-1] not in ".!?;"
            for cell in cells
        )
    )


_NO_NAME = re.compile(r"[(:]|\w\.[A-Za-z]\w{0,7}\Z")
"""Words that name no padded column: `ls` lists files in columns too."""


def _of_columns(lines: Sequence[str], at: int) -> tuple[list[RecordRow], int]:
    """Read a table of padded columns: names in the first line, as many cells in those below."""
    header = _GAP.split(lines[at].strip())
    if len(header) < 3 or not _is_header(header) or any(_NO_NAME.search(cell) for cell in header):
        return [], at
    rows: list[list[str]] = []
    end = at + 1
    if end < len(lines) and not lines[end].strip("-= +\t"):
        end += 1
    first = end
    while end < len(lines) and len(cells := _GAP.split(lines[end].strip())) == len(header):
        rows.append(cells)
        end += 1
    return (_table(header, rows, line=first + 1), end) if len(rows) > 1 else ([], at)


def _of_pairs(lines: Sequence[str], at: int) -> tuple[list[RecordRow], int]:
    """Read blocks of `key: value`, YAML among them: a new record begins with a dash, or where a key comes again."""
    records: list[tuple[int, str, dict[str, str]]] = []
    record: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    of, depth = "", 0
    end = began = at
    for end in range(at, min(len(lines), at + _MOST_LINES)):
        found = _PAIR.fullmatch(lines[end]) if len(lines[end]) <= 2 * _LONGEST_FIELD else None
        if found is None or found["cell"][-1:] in ("{", "(", "[", ";") or found["cell"][:1] in ("/", "=", ":"):
            break
        indent = len(found["indent"]) + (2 if found["dash"] else 0)
        while above and above[-1][0] >= indent:
            above.pop()
        name, cell = found["name"].strip(), found["cell"].strip().strip("*").strip()
        if found["dash"] and not _only_dashes(lines, at, end):
            records.append((began, of, record))
            record, began, depth = {}, end, len(above)
            of = ".".join([above_it for _, above_it in above])
        name = ".".join([*[above_it for _, above_it in above[depth:]], name])
        if name in record:
            records.append((began, of, record))
            record, began = {}, end
        if not cell:
            above.append((indent, found["name"].strip()))
            continue
        if _reads_as_prose(cell):
            break
        record[name] = cell.strip("\"'")
        if end - at == _LOOK and not _are_pairs([*records, (began, of, record)]):
            return [], at
    else:
        end += 1
    records.append((began, of, record))
    if end - at <= _LOOK and not _are_pairs(records):
        return [], at
    rows = [(line, _row(_id_first(fields, "", ""), of, ())) for line, of, fields in records if fields]
    return [replace(row, line=line + 1) for line, row in rows], end


def _are_pairs(records: Sequence[tuple[int, str, Mapping[str, str]]]) -> bool:
    """Tell whether lines are records with several fields, and not prose with colons in it."""
    fields = sum(len(record) for _, _, record in records)
    return fields >= _LEAST_PAIRS and fields >= 2 * sum(bool(record) for _, _, record in records)


def _only_dashes(lines: Sequence[str], at: int, end: int) -> bool:
    """Tell whether each line of a block has a dash of its own: then a dash begins a field, not a record."""
    near = lines[end + 1] if end + 1 < len(lines) else ""
    before = lines[end - 1] if end > at else ""
    return before.lstrip()[:2] in ("- ", "* ", "+ ", "• ") or (
        end == at and near.lstrip()[:2] in ("- ", "* ", "+ ", "• ")
    )


def _reads_as_prose(cell: str) -> bool:
    return len(cell) > _LONGEST_FIELD or (cell.count(" ") > 9 and cell[-1] in ".!?。")


# ---------------------------------------------------------------- XML


_TAG = re.compile(
    r"<(?P<close>/?)(?P<name>[A-Za-z_][\w:.-]{0,60})(?P<attributes>(?:[^<>\"']|\"[^\"<]*+\"|'[^'<]*+')*+)>"
)
_ATTRIBUTE = re.compile(r"([A-Za-z_][\w:.-]{0,60})\s?=\s?(?:\"([^\"]*)\"|'([^']*)')")
_DEEPEST = 40


@dataclass(slots=True)
class _Element:
    name: str
    fields: list[tuple[str, str]]
    text_from: int
    has_more: bool = False


def of_xml(text: str) -> list[RecordRow]:
    """Read XML into rows: an element with attributes or with plain elements inside is a record."""
    if not text.lstrip().startswith("<"):
        return []
    rows: list[RecordRow] = []
    stack = [_Element("", [], 0)]
    header: list[tuple[str, ...]] = [()]
    for tag in _TAG.finditer(text):
        element, said = _closed(tag, stack, text)
        if element is None:
            if len(stack) > _DEEPEST:
                break
            continue
        parent = stack[-1]
        parent.has_more = True
        if not element.has_more and not element.fields:
            parent.fields.append((element.name, said))
            continue
        if said:
            element.fields.append(("text" if element.fields else element.name, said))
        rows += _of_element(element, parent, header)
    return rows


def _closed(tag: re.Match[str], stack: list[_Element], text: str) -> tuple[_Element | None, str]:
    """Open the element of a tag, or give the one that it closes, with its text."""
    if not tag["close"]:
        attributes = tag["attributes"]
        fields = [(m[1], m[2] or m[3] or "") for m in _ATTRIBUTE.finditer(attributes)]
        element = _Element(tag["name"], fields, tag.end())
        if attributes.rstrip().endswith("/"):
            return element, ""
        stack.append(element)
        return None, ""
    if not any(element.name == tag["name"] for element in stack[-3:]):
        return None, ""
    while stack[-1].name != tag["name"]:
        stack.pop()
    element = stack.pop()
    return element, "" if element.has_more else text[element.text_from : tag.start()].strip()


def _of_element(element: _Element, parent: _Element, header: list[tuple[str, ...]]) -> Sequence[RecordRow]:
    """Read the fields of an element as a row; those of a table without names under the header before it."""
    names = [name for name, _ in element.fields]
    cells = [cell for _, cell in element.fields]
    if len(names) > 1 and len(set(names)) == 1:
        if names[0] == "th":
            header[0] = tuple(cells)
            return ()
        return _table(header[0] if len(header[0]) == len(cells) else [""] * len(cells), [cells])
    if len(names) > 1:
        return _of_record(dict(element.fields), "", "")[0]
    if names:
        parent.fields.append((f"{element.name}.{names[0]}", cells[0]))
    return ()

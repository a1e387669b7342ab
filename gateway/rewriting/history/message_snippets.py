"""The pieces of a message that a list can keep, each whole: a sentence, a row, a line, a signature, an entry, a call.

Records are read as rows (shapes/rows.py), prose by its sentences (prose_snippets.py), code by the lines that define
something (definitions.py), logs by the lines that stand out (shapes/outliers.py). artifacts.py chooses among the
pieces. Pure; linear in the text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

from gateway.conversation import Call, Message
from gateway.rewriting.history.definitions import body_of, is_code, number_of, signature_of, without_number
from gateway.rewriting.history.prose_snippets import is_prose, of_long, of_prose
from gateway.rewriting.history.snippets import LONGEST, LONGEST_PART, SPACES, TROUBLE, Snippet, values_in
from gateway.rewriting.results.shapes import bulk, literals
from gateway.rewriting.results.shapes.outliers import outlier_weights
from gateway.rewriting.results.shapes.rows import RecordRow, cell_of, of_value, of_xml, quoted_cell, record_lines
from gateway.rewriting.results.shapes.values import NotAValue, read_at, read_cut, read_literal
from gateway.values import is_value, values

MOST_CHARS = 400_000
"""Characters of one text that are read, half of them from its end: some 100,000 tokens. No list has room for a
hundredth of what stands in there."""
_MOST_ENCODED = 3
_LONGEST_ARGUMENT = 160
_WRAPPED = 50
"""Characters from which on a line of prose may go on in the next one."""
_IMPORT = re.compile(
    r"\s*(?:from\s+[\w.]+\s+import\s|import\s+[\w{*\"'(]|#include\s|using\s+[\w.]+;|use\s+[\w:]+"
    r"|require[ (]|package\s+[\w.]+;?$)"
)


def snippets(message: Message) -> tuple[Snippet, ...]:
    """Read a message into pieces, in order; its calls first."""
    media = [
        Snippet(f"{part.kind} {number}", (), kind="media", worth=1.0) for number, part in enumerate(message.media, 1)
    ]
    calls = [piece for call in message.calls for piece in _of_call(call)]
    return (*calls, *media, *of_text(message.text, speaks=not message.is_result))


def _of_call(call: Call) -> Iterator[Snippet]:
    """Say a call in one line, with its short arguments whole; a long one is read as a text."""
    arguments = _read(call.arguments)
    if not isinstance(arguments, dict):
        arguments = {"": call.arguments}
    short: dict[str, str] = {}
    held: list[str] = []
    long: list[Snippet] = []
    for key, value in arguments.items():
        said = _flat(value)
        if said and len(said) <= _LONGEST_ARGUMENT:
            short[key] = said
            held += [*([said] if not isinstance(value, list | dict) else ()), *[one for _, _, one in values(said)]]
        elif said:
            found = _of_value(value) if isinstance(value, dict | list) else of_text(str(value), speaks=False)
            long += [replace(piece, argument=True) for piece in found]
    if long and not short:
        yield from long
        return
    if long:
        short["…"] = "…"
    said = ", ".join([f"{key}: {cell}" if key and key != "…" else cell for key, cell in short.items()])
    line = f"{call.name}({said})"
    values_held = tuple(dict.fromkeys(held)) or (line,)
    cells = tuple(map(quoted_cell, short.values()))
    yield Snippet(line, values_held, call.name, argument=True, worth=0.5, kind="call", names=tuple(short), cells=cells)
    yield from long


def _flat(value: Any) -> str:
    if isinstance(value, list | dict):
        if not value:
            return ""
        return json.dumps(value, ensure_ascii=False) if _is_small(value) else " " * (_LONGEST_ARGUMENT + 1)
    return SPACES.sub(" ", value if isinstance(value, str) else cell_of(value))


def _is_small(value: Any) -> bool:
    """Tell whether a value may be short when it is written: few members, none of them nested."""
    inner = value.values() if isinstance(value, dict) else value
    return len(value) <= 16 and not any(isinstance(item, list | dict) for item in inner)


def of_text(text: str, *, speaks: bool = True) -> tuple[Snippet, ...]:
    """Read a text: records by their rows, prose by its sentences. Of an endless one, its two ends.

    `speaks` where it is somebody's words: then a sentence need not hold a value.
    """
    if len(text) > MOST_CHARS:
        half = MOST_CHARS // 2
        return (*_of_plain(text[:half], speaks=speaks), *_of_plain(text[-half:], speaks=speaks))
    for _ in range(_MOST_ENCODED):
        value = _read(text)
        if isinstance(value, str):
            text = value
            continue
        if value is not None:
            return tuple(_of_value(value))
        literal = literals.longest(text)
        if literal is None:
            break
        text = literal.said
    return tuple(_of_plain(text, speaks=speaks))


def _read(text: str) -> Any | None:
    body = text.strip()
    if body[:1] == '"' == body[-1:]:
        return _string(body)
    if body[:1] not in ("{", "["):
        return None
    try:
        return read_literal(body)
    except NotAValue:
        pass
    if len(body) < _LEAST_CUT or body[-1] in "]}":
        return None
    try:
        return read_cut(body)[0] or None
    except NotAValue:
        return None


_LEAST_CUT = 1000
"""Characters of a text that is taken for JSON which ends too early."""


def _string(body: str) -> str | None:
    try:
        said = json.loads(body)
    except ValueError:
        return None
    return said if isinstance(said, str) else None


def _of_value(root: Any) -> Iterator[Snippet]:
    """Take the rows of a value; of many records those count more that are unlike the others."""
    rows = list(of_value(root))
    weights: dict[int, float] = {}
    if len(rows) >= _MANY_ROWS:
        usual = Counter([row.names for row in rows]).most_common(1)[0][0]
        like = [n for n, row in enumerate(rows) if row.names == usual]
        weights = dict(zip(like, outlier_weights([rows[n].text for n in like]), strict=True))
    for number, row in enumerate(rows):
        yield from _of_row(row, worth=TROUBLE * weights.get(number, 0.0) ** 2)


_MANY_ROWS = 30


def _of_row(row: RecordRow, worth: float = 0.0) -> Iterator[Snippet]:
    """Take a row whole; a long field is read as a text of its own, which names the record."""
    held = tuple(dict.fromkeys(_held(row)))
    if held or worth >= 1.0:
        yield Snippet(row.text, held, row.of, worth=worth, kind="row", names=row.names, cells=row.cells, line=row.line)
    title = f"{row.names[0]}: {row.cells[0]}" if row.cells and row.cells[0] not in ("", "…") else row.of
    for text in row.texts:
        for piece in of_text(text, speaks=False):
            yield piece if piece.kind == "row" else replace(piece, title=title)


def _held(row: RecordRow) -> Iterator[str]:
    for cell in row.cells:
        if len(cell) > 1 and not cell.isalpha():
            for _, _, value in values(cell):
                if value != cell:
                    yield value
            if is_value(cell) or len(cell) < 40:
                yield cell.strip('"')


def _of_plain(text: str, *, speaks: bool) -> Iterator[Snippet]:
    """Read a text that is no JSON."""
    if text.lstrip()[:1] == "<" and (rows := _xml(text)):
        for row in rows:
            yield from _of_row(row)
        return
    before, sentence = 0, count(1)
    for part, value in _split(text):
        if value is not None:
            yield from _of_value(value)
        lines = bulk.without_bulk(part).splitlines()
        if value is None and len(lines) == 1 and not before:
            yield from of_prose(lines[0], sentence, speaks=speaks)
        elif value is None:
            yield from _Lines(lines, sentence, before, speaks=speaks).read()
        before += part.count("\n")


_OPENING = re.compile(r"^[ \t]*(?=[\[{])|(?<=[:>`=] )(?=[\[{][\s\"{\[])|(?<=[:>`=])(?=[\[{][\s\"{\[])", re.MULTILINE)
_MOST_BROKEN = 24
"""Places of a text that look like JSON and are not, after which it is taken to hold none."""
_LEAST_JSON = 24
"""Characters of JSON inside a text that is read as records."""


def _split(text: str) -> Iterator[tuple[str, Any]]:
    """Cut a text into what is JSON, with its value, and what is not; values right behind each other are one array."""
    if "{" not in text and "[" not in text:
        yield text, None
        return
    at = start = broken = 0
    while broken < _MOST_BROKEN and (found := _OPENING.search(text, at)) is not None:
        first = end = found.end()
        inner: list[Any] = []
        while end < len(text) and text[end] in "{[":
            try:
                value, end = read_at(text, end)
            except NotAValue:
                broken += 1
                break
            inner.append(value)
            end += len(text[end : end + 3]) - len(text[end : end + 3].lstrip("\r\n,"))
        if end - first < _LEAST_JSON or not any(inner):
            at = max(end, first + 1)
            continue
        if text[start:first].strip():
            yield text[start:first], None
        yield text[first:end], inner if len(inner) > 1 else inner[0]
        at = start = end
    if text[start:].strip():
        yield text[start:], None


def _xml(text: str) -> list[RecordRow]:
    rows = of_xml(text)
    return rows if len(rows) > 1 and sum(len(row.text) for row in rows) * 8 > len(text) else []


class _Lines:
    """The reading of a text of several lines, one block after another."""

    def __init__(self, lines: Sequence[str], numbers: Iterator[int], before: int, *, speaks: bool) -> None:
        self.lines, self.numbers, self.before, self.speaks = lines, numbers, before, speaks
        self.is_code = is_code(lines)
        self.weights: Sequence[float] = () if speaks or self.is_code else outlier_weights(lines)
        self.listing = _is_listing(lines)

    def read(self) -> Iterator[Snippet]:
        at = 0
        lines = self.lines
        total = sum(bool(line.strip()) for line in lines) if self.listing else 0
        while at < len(lines):
            line = lines[at]
            if not line or line.isspace():
                at += 1
                continue
            if self.listing:
                yield from self._entry(at, total)
                at += 1
                continue
            if not self.is_code:
                rows, end = record_lines(lines, at)
                if rows:
                    for row in rows:
                        yield from self._unusual_row(row)
                    at = end
                    continue
            signature = signature_of(line) if self.is_code or not self.speaks else None
            if signature is not None:
                yield self._definition(at, *signature)
                at += 1
            elif self.is_code or not is_prose(line, speaks=self.speaks):
                yield from self._line(at)
                at += 1
            else:
                end = self._paragraph_end(at)
                yield from of_prose(
                    line if end == at + 1 else " ".join([one.strip() for one in lines[at:end]]),
                    self.numbers,
                    speaks=self.speaks,
                    worth=self._weight(at),
                )
                at = end

    def _weight(self, at: int) -> float:
        """Score how a line stands out: a report of trouble, or unlike all the others."""
        return TROUBLE * self.weights[at] ** 2 if self.weights else 0.0

    def _unusual_row(self, row: RecordRow) -> Iterator[Snippet]:
        worth = self._weight(row.line - 1) if 0 < row.line <= len(self.lines) else 0.0
        yield from _of_row(row, worth)

    def _paragraph_end(self, at: int) -> int:
        """Find the end of a paragraph whose lines are wrapped in the middle of sentences."""
        lines, end = self.lines, at + 1
        while (
            end < len(lines)
            and len(lines[end - 1]) >= _WRAPPED
            and lines[end - 1].rstrip()[-1:] not in ".!?:;。！？"
            and lines[end].lstrip()[:1].islower()
        ):
            end += 1
        return end

    def _entry(self, at: int, total: int) -> Iterator[Snippet]:
        said = self.lines[at].strip()
        yield Snippet(
            said, tuple([one for _, _, one in values(said)]) or (said,), kind="entry", of=total, worth=self._weight(at)
        )

    def _line(self, at: int) -> Iterator[Snippet]:
        """Take a line that holds a value or stands out; of a long one, its clauses."""
        worth = self._weight(at)
        said = without_number(self.lines[at]).strip() if self.is_code else SPACES.sub(" ", self.lines[at].strip())
        if len(said) > LONGEST:
            yield from of_long(said, worth=worth)
            return
        held = () if said.isdigit() else values_in(said)
        if held or worth >= 1.0:
            if _IMPORT.match(said):
                worth += 0.3
            if self.speaks and not self.is_code:
                yield Snippet(said, held, line=next(self.numbers), worth=worth)
            else:
                yield Snippet(said, held, kind="line", line=number_of(self.lines[at], self.before + at), worth=worth)
        else:
            next(self.numbers)

    def _definition(self, at: int, name: str, said: str) -> Snippet:
        held = tuple(dict.fromkeys((*values_in(said), *([name] if len(name) > 2 else ()))))
        body = body_of(self.lines, at)
        return Snippet(
            said,
            held or (said,),
            kind="line",
            line=number_of(self.lines[at], self.before + at),
            worth=0.8,
            name=name,
            body=body,
        )


def _is_listing(lines: Sequence[str]) -> bool:
    """Tell whether each line of a text is one name: of a file, an id."""
    some = [line.strip() for line in islice(lines, 400) if line.strip()]
    plain = sum(1 for line in some if " " not in line and "\t" not in line and len(line) <= LONGEST_PART)
    named = sum(1 for line in some[:50] if is_value(line))
    return len(some) > 3 and 10 * plain >= 9 * len(some) and 2 * named >= min(50, len(some))

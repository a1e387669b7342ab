"""The pieces of a message that a list can keep, each whole: a sentence, a row, a line, a signature, an entry, a call.

Records are read as rows (shapes/rows.py), prose by its sentences (language.py), code by the lines that define
something, logs by the lines that stand out (shapes/outliers.py). artifacts.py chooses among the pieces. Pure; linear
in the text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice
from typing import Any, Literal, cast

from gateway.conversation import Call, Message
from gateway.memory import Memory
from gateway.rewriting.language import UNSPACED, clauses, sentences
from gateway.rewriting.results.shapes import bulk, literals
from gateway.rewriting.results.shapes.outliers import outlier_weights
from gateway.rewriting.results.shapes.rows import RecordRow, cell_of, of_value, of_xml, quoted_cell, record_lines
from gateway.rewriting.results.shapes.values import NotAValue, read_at, read_cut, read_literal
from gateway.values import is_value, values

Count = Callable[[str], int]
Kind = Literal["sentence", "row", "line", "entry", "call", "media"]

MOST_CHARS = 400_000
"""Characters of one text that are read, half of them from its end: some 100,000 tokens. No list has room for a
hundredth of what stands in there."""
_MOST_ENCODED = 3
_LONGEST_ARGUMENT = 160
_LONGEST = 600
"""Characters of a sentence or line that is kept whole; a longer one is cut at its commas."""
_LONGEST_PART = 300
_LEAST_WORDS, _LEAST_UNSPACED = 3, 6
"""Words, or letters of a script without spaces, of a sentence that is worth keeping without a value in it."""
_MOST_BODY_LINES, _MOST_BODY_CHARS = 60, 3000
_WRAPPED = 50
"""Characters from which on a line of prose may go on in the next one."""

_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_NUMBERED = re.compile(r"\s*\d{1,7}(?:[\t:→|]|-(?=\s)| \|)[ \t]?")

_MODIFIER = (
    r"(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\(\w{1,20}\))?|override|virtual"
    r"|inline|constexpr|sealed|partial|open|suspend|data|unsafe|extern|declare|local|synchronized|native)\s+"
)
_KEYWORD = (
    r"(?:def|class|func|fn|function|fun|interface|struct|enum|trait|type|module|namespace|impl|sub|proc|record|object|protocol"
    r"|extension|macro_rules!|defmodule|defp|macro|CREATE TABLE|create table)"
)
_SIGNATURE = re.compile(
    rf"[ \t]*(?:(?:{_MODIFIER}){{0,6}}{_KEYWORD}\s+(?:\([^()]{{0,80}}\)\s?)?(?P<name>[A-Za-z_$~][\w$.:]{{0,80}})"
    r"(?=\s*[(<{:\[=]|\s*$|\s+(?:extends|implements|where|struct|interface|is|for|do)\b)"
    rf"|(?:{_MODIFIER}){{1,6}}[\w<>\[\],.?]{{1,60}}\s+(?P<method>\w{{1,80}})\s*\("
    r"|(?:const|let|var)\s+(?P<arrow>\w{1,80})\s*=\s*(?:async\s*)?(?:function\b|\()"
    r"|[A-Za-z_][\w \t*&<>:]{0,60}?[ \t*&](?P<c>\w{1,80})\([^;{}()]{0,160}\)[ \t]*\{[ \t]*$)"
)
_IMPORT = re.compile(
    r"\s*(?:from\s+[\w.]+\s+import\s|import\s+[\w{*\"'(]|#include\s|using\s+[\w.]+;|use\s+[\w:]+"
    r"|require[ (]|package\s+[\w.]+;?$)"
)
_SIGNS_OF_CODE = re.compile(r"[{};=()<>\[\]|&$\\/]")
_CLOSES = re.compile(r"\s*(?:[}\])]|end\b|fi\b|done\b)")


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
    return _SPACES.sub(" ", value if isinstance(value, str) else cell_of(value))


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


# ---------------------------------------------------------------- records


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


# ---------------------------------------------------------------- lines


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
            yield from _of_prose(lines[0], sentence, speaks=speaks)
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
        self.is_code = _is_code(lines)
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
            signature = _signature(line) if self.is_code or not self.speaks else None
            if signature is not None:
                yield self._definition(at, *signature)
                at += 1
            elif self.is_code or not _is_prose(line, speaks=self.speaks):
                yield from self._line(at)
                at += 1
            else:
                end = self._paragraph_end(at)
                yield from _of_prose(
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
        said = _without_number(self.lines[at]).strip() if self.is_code else _SPACES.sub(" ", self.lines[at].strip())
        if len(said) > _LONGEST:
            yield from _of_long(said, worth=worth)
            return
        held = () if said.isdigit() else _values_in(said)
        if held or worth >= 1.0:
            if _IMPORT.match(said):
                worth += 0.3
            if self.speaks and not self.is_code:
                yield Snippet(said, held, line=next(self.numbers), worth=worth)
            else:
                yield Snippet(said, held, kind="line", line=_number(self.lines[at], self.before + at), worth=worth)
        else:
            next(self.numbers)

    def _definition(self, at: int, name: str, said: str) -> Snippet:
        held = tuple(dict.fromkeys((*_values_in(said), *([name] if len(name) > 2 else ()))))
        body = self._body(at)
        return Snippet(
            said,
            held or (said,),
            kind="line",
            line=_number(self.lines[at], self.before + at),
            worth=0.8,
            name=name,
            body=body,
        )

    def _body(self, at: int) -> str:
        """Take the lines of a definition: those indented deeper, and the one that closes it."""
        first = _without_number(self.lines[at])
        indent = _indent(first)
        out, size, end = [first], len(first), at + 1
        while end < len(self.lines):
            line = _without_number(self.lines[end])
            if line.strip() and _indent(line) <= indent:
                if _CLOSES.match(line):
                    out.append(line)
                break
            out.append(line)
            size += len(line)
            if len(out) > _MOST_BODY_LINES or size > _MOST_BODY_CHARS:
                return ""
            end += 1
        while out and not out[-1].strip():
            out.pop()
        return "\n".join(out) if len(out) > 1 else ""


TROUBLE = 5.0
"""The worth of a line that stands out most, beside the values it holds."""


def _is_code(lines: Sequence[str]) -> bool:
    """Tell whether a text is code: many lines define something, or end as statements do."""
    some = [line for line in islice(lines, 400) if line.strip()]
    signs = sum(
        (line.rstrip()[-1] in "{};,(:[" and _SIGNS_OF_CODE.search(line) is not None) or _signature(line) is not None
        for line in some
    )
    return 10 * signs > 3 * len(some)


@lru_cache(8192)
def _signature(line: str) -> tuple[str, str] | None:
    """Find the name that a line defines, and the line as it is said."""
    if len(line) > _LONGEST_PART or not _MAY_DEFINE.search(line):
        return None
    bare = _without_number(line)
    found = _SIGNATURE.match(bare)
    if found is None:
        return None
    name = found["name"] or found["method"] or found["arrow"] or found["c"]
    name = name.strip(".:")
    return (name, bare.strip()) if name not in ("if", "for", "while", "switch", "return", "else") else None


_MAY_DEFINE = re.compile(r"[({:]|\bclass\b|\bstruct\b|\bmodule\b")


def _without_number(line: str) -> str:
    found = _NUMBERED.match(line)
    return line if found is None else line[found.end() :]


def _number(line: str, at: int) -> int:
    """Give the number that a line says it has, else its place."""
    found = _NUMBERED.match(line)
    return at + 1 if found is None else int(re.sub(r"\D", "", found[0]))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_listing(lines: Sequence[str]) -> bool:
    """Tell whether each line of a text is one name: of a file, an id."""
    some = [line.strip() for line in islice(lines, 400) if line.strip()]
    plain = sum(1 for line in some if " " not in line and "\t" not in line and len(line) <= _LONGEST_PART)
    named = sum(1 for line in some[:50] if is_value(line))
    return len(some) > 3 and 10 * plain >= 9 * len(some) and 2 * named >= min(50, len(some))


def _is_prose(line: str, *, speaks: bool) -> bool:
    """Tell whether a line is words, not code, a record or a report; what nobody says ends as prose does."""
    if _UNSPACED_LETTER.search(line):
        return True
    some = line[:_LONGEST]
    words = len(_WORD.findall(some))
    if not speaks and words < _WORDS_WITHOUT_END and _ENDS_AS_PROSE.search(line) is None:
        return False
    return words > _LEAST_WORDS and 6 * len(_SIGNS_OF_CODE.findall(some)) < 4 * words and 2 * words >= some.count(" ")


_WORDS_WITHOUT_END = 15
_ENDS_AS_PROSE = re.compile(r"[.!?\u061f\u06d4\u0964]['\"\u2019\u201d)\]]{0,2}\s*\Z")


# ---------------------------------------------------------------- prose


def _of_prose(line: str, numbers: Iterator[int], *, speaks: bool, worth: float = 0.0) -> Iterator[Snippet]:
    """Take the sentences of a line or paragraph; `numbers` says which of the text each one is."""
    for (start, end), number in zip(sentences(line), numbers, strict=False):
        said = _SPACES.sub(" ", line[start:end].strip())
        if len(said) > _LONGEST:
            yield from _of_long(said, worth=worth)
            continue
        held = _values_in(said)
        if held or worth >= 1.0 or (speaks and _says_something(said)):
            yield Snippet(said, held, worth=worth, line=number)


def _says_something(said: str) -> bool:
    """Tell whether a sentence is more than a word of thanks or a nod."""
    return said.count(" ") >= _LEAST_WORDS - 1 or len(_UNSPACED_LETTER.findall(said[:200])) >= _LEAST_UNSPACED


def _of_long(said: str, *, worth: float) -> Iterator[Snippet]:
    """Cut a sentence without an end at its commas, else between words; `…` says so."""
    for start, end in _parts(said, _LONGEST_PART):
        part = said[start:end].strip()
        held = _values_in(part)
        if held:
            yield Snippet(f"{'… ' if start else ''}{part}{' …' if end < len(said) else ''}", held, worth=worth)


def _parts(said: str, most: int) -> Iterator[tuple[int, int]]:
    """Join clauses to parts of at most so many characters; a clause without an end is cut between words."""
    start = last = 0
    for begin, end in clauses(said):
        if end - start > most and begin > start:
            yield start, begin
            start = begin
        while end - start > most:
            cut = _gap_before(said, start, start + most)
            yield start, cut
            start = cut
        last = end
    if start < last:
        yield start, last


def _gap_before(said: str, start: int, end: int) -> int:
    """Find the last gap between words before `end`; what has none is cut by letters only where no words are spaced."""
    cut = said.rfind(" ", start, end)
    if cut > start:
        return cut + 1
    if _UNSPACED_LETTER.match(said, end - 1):
        return end
    cut = said.find(" ", end)
    return len(said) if cut < 0 else cut + 1


def _values_in(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([value for _, _, value in values(text)]))


# ---------------------------------------------------------------- what is remembered, and what is preserved


_LARGE_CHARS = 64_000
"""Characters from which on a text's pieces may be more than the memory takes."""


class Reader:
    """Reads messages into snippets, and remembers them; sentences that `preserve` names come before everything."""

    def __init__(self, memory: Memory[Hashable, tuple[object, ...]], preserve: tuple[str, ...] = ()) -> None:
        self._memory, self._preserve = memory, preserve
        self._large: dict[Hashable, tuple[object, ...]] = {}
        """Results that the memory may be too small for; they are asked for several times in one walk."""

    def snippets(self, message: Message) -> tuple[Snippet, ...]:
        key = (message.role, message.text, message.calls, len(message.media), self._preserve)
        found = self._memory.get(key)
        if found is None:
            found = self._large.get(key)
        if found is None:
            pieces = _with_preserved(snippets(message), tuple(preserved(message.text, self._preserve)))
            found = pieces
            size = 200 * len(pieces) + 2 * len(message.text) + sum(len(piece.body) for piece in pieces)
            self._memory.put(key, found, size)
            if len(message.text) > _LARGE_CHARS:
                self._large[key] = found
        return cast("tuple[Snippet, ...]", found)

    def values(self, message: Message) -> Iterator[str]:
        """Yield what a message holds: its values, and its sentences and lines."""
        for piece in self.snippets(message):
            yield from piece.values
            if piece.kind != "row":
                yield piece.text


def _with_preserved(pieces: tuple[Snippet, ...], kept: tuple[Snippet, ...]) -> tuple[Snippet, ...]:
    """Mark the pieces that a policy preserves; those that are cut otherwise come first."""
    if not kept:
        return pieces
    by_text = {piece.text: piece for piece in kept}
    marked = [piece if piece.text not in by_text else replace(piece, worth=PRESERVED) for piece in pieces]
    there = {piece.text for piece in marked if piece.worth >= PRESERVED}
    return (*[piece for piece in kept if piece.text not in there], *marked)


PRESERVED = 100.0
"""The worth of a sentence that a policy preserves: it comes before everything."""
_MOST_MATCHES = 500
"""Matches of one pattern in one message that are looked at."""
_LONGEST_PRESERVED = 200
"""Tokens by estimate."""
_NEAR = 4_000
"""Characters before a match in which its sentence begins, and after it in which it ends."""


def preserved(text: str, patterns: Iterable[str]) -> Iterator[Snippet]:
    """Find the sentences that a policy preserves: look for a pattern in the whole text, then cut its sentence out."""
    spans: list[tuple[int, int, bool, bool]] = []
    for pattern in patterns:
        upto = -1
        for start, after in islice(_matches(re.compile(pattern, re.MULTILINE), text), _MOST_MATCHES):
            if start >= upto:
                spans.append(_sentence_of(text, start, after))
                upto = spans[-1][1]
    end = -1
    for start, after, is_cut_before, is_cut_after in sorted(spans):
        if start < end:
            continue
        end = after
        said = _SPACES.sub(" ", text[start:after].strip())
        if said:
            whole = f"{'… ' if is_cut_before else ''}{said}{' …' if is_cut_after else ''}"
            yield Snippet(whole, (said, *_values_in(said)), worth=PRESERVED)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Find where a pattern matches, in pieces of the text: one that tries each place again to the end takes quadratic
    time, so it is never given much at once.
    """
    for at, own, stop in _windows(text):
        for match in pattern.finditer(text, at, stop):
            if match.start() >= own:
                break
            if match.end() > match.start():
                yield match.span()


def _windows(text: str) -> Iterator[tuple[int, int, int]]:
    """Cut a text into whole lines, long ones into pieces that overlap: where each begins, where the next one does, and
    where it ends.
    """
    at = 0
    while at < len(text):
        stop = min(len(text), at + _SEARCHED)
        if stop < len(text) and (line := text.rfind("\n", at, stop)) > at:
            yield at, line + 1, line + 1
            at = line + 1
            continue
        run = _LONG_RUN.search(text, at, stop)
        if run is not None and run.start() == at:
            stop = min(stop, at + _SEARCHED_RUN)
        elif run is not None:
            stop = run.start()
        own = stop if stop == len(text) or (run is not None and stop == run.start()) else stop - (stop - at) // 3
        yield at, own, stop
        at = own


_SEARCHED, _SEARCHED_RUN = 2_000, 300
"""Characters that a pattern is given at once, and of a run without white space."""
_LONG_RUN = re.compile(r"\S{400}")


def _sentence_of(text: str, start: int, end: int) -> tuple[int, int, bool, bool]:
    """Find the sentence around a match, or as many of its clauses as may be kept; and on which sides it is cut."""
    low, high = max(0, start - _NEAR), min(len(text), end + _NEAR)
    spans = [(low + first, low + after) for first, after in sentences(text[low:high])]
    first = next(span for span in spans if span[1] > start)[0]
    after = next(span for span in reversed(spans) if span[0] < end)[1]
    left, right = first, after
    if estimated_tokens(text[first:after]) > _LONGEST_PRESERVED:
        left, right = _clauses_around(text, first, after, start, end)
    is_first, is_last = low > 0 and first == low, high < len(text) and after == high
    return left, right, left > first or is_first, right < after or is_last


def _clauses_around(text: str, first: int, after: int, start: int, end: int) -> tuple[int, int]:
    """Take the clauses around a match, one more on each side as long as they may be kept."""
    parts = [(first + a, first + b) for a, b in clauses(text[first:after])]
    left = next(n for n, span in enumerate(parts) if span[1] > start)
    right = next(n for n in range(len(parts) - 1, -1, -1) if parts[n][0] < end)
    room = _LONGEST_PRESERVED - estimated_tokens(text[parts[left][0] : parts[right][1]])
    if room < 0:
        return _words_around(text, first, after, start, end)
    while room > 0:
        before = estimated_tokens(text[slice(*parts[left - 1])]) if left else room + 1
        if before <= room:
            left, room = left - 1, room - before
        behind = estimated_tokens(text[slice(*parts[right + 1])]) if right + 1 < len(parts) else room + 1
        if behind <= room:
            right, room = right + 1, room - behind
        elif before > room:
            break
    return parts[left][0], parts[right][1]


def _words_around(text: str, first: int, after: int, start: int, end: int) -> tuple[int, int]:
    """Take whole words around a match where a sentence has no commas."""
    room = max(0, _LONGEST_PRESERVED - estimated_tokens(text[start:end]))
    near = text[max(first, start - 100) : end + 100]
    reach = room * len(near) // (2 * estimated_tokens(near))
    low, high = max(first, start - reach), min(after, end + reach)
    if low > first and (gap := text.find(" ", low, start)) >= 0:
        low = gap + 1
    if high < after and (gap := text.rfind(" ", end, high)) >= 0:
        high = gap
    return low, high


def estimated_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its ASCII characters, and about two of three others."""
    if text.isascii():
        return len(text) // 4 + 1
    more = len(text.encode("utf-8", "replace")) - len(text)
    return (5 * len(text) + 6 * more) // 20 + 1

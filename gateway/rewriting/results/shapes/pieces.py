"""Pieces of a text that are most likely to be used again, in a given room: ranked by the names and values they hold.

A piece is a line, a row, a member or a sentence; it stays whole, so that a value keeps the words that say what it is.
Pieces are taken by what they add (each name or value counts once) for what they cost. Signals are general: digits,
paths, composed names, labelled values, words the conversation mentions again, the first and the last lines. Outliers of
the text (outliers.py) come before all of that (choice.py).
"""

from __future__ import annotations

import heapq
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

_LONGEST_WHOLE = 200
"""Characters of a line that is not cut, whatever it is."""
_LONGEST_MEMBERS = 90
"""Characters of a line of a value that is not cut between members."""
_LONGEST_ROW = 1200
"""Characters of a row or a line of a log that is not cut."""
_SENTENCE_OR_SPACE = (
    r"(?P<sentence>(?<!\\)(?:\\r)?\\n|[.!?\u2026][\"'\u201d\u2019)\]]{0,2}[ \t]|[\u3002\uff01\uff1f\uff1b])"
    r"|(?P<space>[ \t\xa0])"
)
_PROSE = re.compile(_SENTENCE_OR_SPACE)
_BREAK = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*+")|(?P<open>")'
    r'|(?P<member>[,\]}](?= ?["\[{-])|,(?=null:)|,(?!\d{3}(?!\d))(?=\d)|[\[{](?=["\[{]))'
    rf"|{_SENTENCE_OR_SPACE}",
    re.DOTALL,
)
"""Places at which a long line may be cut: between members of JSON, between sentences, and between words if nothing
else."""
_FIRST_WORD, _DIGITS = re.compile(r"[^\s=:>]{1,60}"), re.compile(r"\d+")
_LEAST_RECORDS, _LEAST_RECORD_LINES, _MOST_RECORD_LINES, _LINES_BEFORE = 6, 3, 40, 4
"""Records of several lines that are read as such, lines that one has at most, lines that may stand before the first."""
_LEAST_MEMBER, _LEAST_SENTENCE, _LONGEST_STRING, _LONGEST_PART = 24, 40, 160, 360
_NESTING = re.compile(r'(?:"([A-Za-z_][\w -]{0,40})":)?[\[{]|([\]}])')
_OWN_KEY = re.compile(r'"[A-Za-z_][\w -]{0,40}":')
_HEADER = re.compile(r"(?:\"[^\"]{1,60}\":)?(?:\[\{[A-Za-z_\"]|\{\*)(?!.*\":).*\}\Z")
_KEY_BEFORE = re.compile(r"\"[^\"\\]{1,60}\":\Z")

_KEY_OR_TERM = re.compile(
    r'("[A-Za-z_][A-Za-z_ -]{0,60}":|\bnull:[\w,]+)|(\A[ \t]*\d{1,7}(?:[\t:→|]| \|))|([\w#@$](?:[\w.%$:/@+-]*\w)?)'
)
_COST = re.compile(r"[^\W\d_]{1,7}|\d{1,3}|_|[^\w\s]{1,3}")
_PUNCTUATION = 0.35
"""Tokens that a character between words takes, about."""
_JOINT = re.compile(r"[./:]+")
_FORMS = re.compile(
    r"(?P<path>[^/]*/.+)\Z"
    r"|(?P<date>\d{4}-\d\d-\d\d.*|\d\d?:\d\d.*)\Z"
    r"|(?P<number>\d{4,})\Z"
    r"|(?P<decimal>\$?\d+[.,]\d+%?)\Z"
    r"|(?P<short>\d{1,3})\Z"
    r"|(?P<id>(?=[^A-Z_#@]*[A-Z_#@])(?=\D*\d)[\w#@]+|[\w.+-]+@[\w.-]+|[\w-]*\d[\w-]*-[\w-]*\d[\w-]*)\Z"
    r"|(?P<mixed>\D*\d.*)\Z"
    r"|(?P<name>\w+[._:@-].*\w|\w*[a-z]\d*[A-Z]\w*|_+\w+)\Z"
    r"|(?P<upper>[A-Z]{2,})\Z"
    r"|(?P<capital>[^\W\d_a-z]\w*)\Z",
    re.DOTALL,
)
_WORTH = {
    "path": (1.5, 14.0),
    "date": (6.0, 6.0),
    "number": (7.0, 11.0),
    "decimal": (3.0, 3.0),
    "short": (0.4, 0.4),
    "id": (24.0, 24.0),
    "mixed": (1.5, 10.0),
    "name": (2.0, 14.0),
    "upper": (0.5, 1.0),
    "capital": (0.3, 0.6),
    "plain": (0.1, 0.3),
}
"""The share, in percent, of terms of this form that a later step uses: unspoken, and spoken of in the conversation.

Measured roughly, over transcripts of assistants and of coding agents. Ids and long numbers are used for themselves,
names and paths if they were spoken of, plain words hardly ever.
"""

_WORTH_NAMING, _FEW = 5.0, 0.05
"""Worth from which a term points at a place of a text, and the share of the pieces that may hold it then."""
_DEFINES = re.compile(r"\b(?:def|class|function|interface|struct|enum|fn|func|public|protected|static)\b")
_LABELLED = re.compile(r"\s*+(?:- )?[A-Za-z_][\w -]{0,40}[:=] ?[\"']?[\w.@#/-]{2,60}[\"']?,?\Z")
_ENDS = 30.0
"""The worth of the first and the last piece besides their values: a title, a place, an outcome."""
_GAP, _SIGNS = "…", '"[]{},'
_LESS = 1e-9
_MOST_LOOKS = 8
"""Times a piece is weighed again, on average, as others take what it holds."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text; `line` numbers the line it is in."""

    text: str
    line: int
    label: str = ""
    """The key of the array or object that the piece lies in, where the piece itself names none."""
    head: int = -1
    """The piece that this one means nothing without: the header of a row, the folder of an entry."""
    lines: int = 1
    """Lines of the text that the piece is."""


@dataclass(frozen=True, slots=True)
class WeighedPieces:
    """The names and values of each piece (their numbers), their worth, and the cost of the piece."""

    held: list[list[int]]
    worth: list[float]
    bonus: list[float]
    cost: list[float]
    """Tokens by estimate; only their proportion counts."""
    spoken: list[bool]
    """By piece: whether it holds what the conversation speaks of and few other pieces hold."""


def pieces(text: str, *, is_log: bool = False, is_tree: bool = False, is_value: bool = False) -> list[Piece]:
    """Cut a text into lines, and long lines into members or sentences. Joined, the pieces of a line are the line.

    A row of a table stays whole, and so does a line of a log and a record of several lines.
    """
    lines = text.split("\n")
    starts = _record_starts(lines)
    if starts:
        return _blocks(lines, starts)
    longest = _LONGEST_ROW if is_log else _LONGEST_MEMBERS if is_value else _LONGEST_WHOLE
    out: list[Piece] = []
    head = -1
    above: list[tuple[int, int]] = []
    for number, line in enumerate(lines):
        if head >= 0 and line[:1] in ("]", "}"):
            head = -1
        if is_tree:
            head = _folder(above, line, len(out))
        if len(line) <= (_LONGEST_ROW if head >= 0 else longest):
            out.append(Piece(line, number, "", head))
        else:
            out += _parts(line, number, head)
        if not is_tree and line.endswith("}") and _header_at(line) < len(line):
            head = len(out) - 1
    return out


def inside(parts: Sequence[Piece]) -> tuple[list[int], str]:
    """List the pieces of a value that are rows of tables, items of arrays or lines of texts, and say what they are.

    Each stands on a line of its own; brackets, quotes and members around them do not count.
    """
    out: list[int] = []
    noun, closing = "rows", ""
    for i, part in enumerate(parts):
        if part.head >= 0:
            out.append(i)
        elif closing and part.text.startswith(closing):
            closing = ""
        elif closing:
            out.append(i)
        if part.text.endswith('"""') and not closing:
            noun, closing = "lines", '"""'
        elif part.text.endswith("[") and not closing:
            closing = "]"
    return out, noun


def _folder(above: list[tuple[int, int]], line: str, at: int) -> int:
    """Find the entry of a tree that this one stands in; `above` is the indent and place of each one that is open."""
    indent = len(line) - len(line.lstrip())
    while above and above[-1][0] >= indent:
        above.pop()
    folder = above[-1][1] if above else -1
    above.append((indent, at))
    return folder


def _record_starts(lines: Sequence[str]) -> list[int]:
    """Find where records of several lines begin: at lines that begin like the first, a few lines apart."""
    for first in range(min(_LINES_BEFORE, len(lines))):
        sign = _start_of(lines[first])
        if not sign:
            continue
        starts = [number for number, line in enumerate(lines) if line.startswith(sign[:1]) and _start_of(line) == sign]
        if len(starts) < _LEAST_RECORDS:
            continue
        gaps = sorted([after - before for before, after in pairwise(starts)])
        if gaps[len(gaps) // 10] >= _LEAST_RECORD_LINES and gaps[-1] <= _MOST_RECORD_LINES:
            return starts
    return []


def _start_of(line: str) -> str:
    """Give the first word of a line that begins a record, without its numbers."""
    found = _FIRST_WORD.match(line)
    return "" if found is None else _DIGITS.sub("#", found[0])


def _blocks(lines: Sequence[str], starts: Sequence[int]) -> list[Piece]:
    """Make a piece of each record, and of each line before the first."""
    out = [Piece(line, number) for number, line in enumerate(lines[: starts[0]])]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        out.append(Piece("\n".join(lines[start:end]), start, lines=end - start))
    return out


def _parts(line: str, number: int, row_of: int) -> list[Piece]:
    """Cut a long line, and give each part the key that it would lose."""
    out: list[Piece] = []
    open_: list[str] = []
    head = _header_at(line)
    for text in _cut(line[:head]):
        label = "" if not open_ or _OWN_KEY.match(text) else next((key for key in reversed(open_[-3:]) if key), "")
        out.append(Piece(text, number, label, row_of))
        for key, closes in _NESTING.findall(text):
            if not closes:
                open_.append(key)
            elif open_:
                open_.pop()
    if head < len(line):
        out.append(Piece(line[head:], number, "", row_of))
    return out


def _cut(line: str) -> list[str]:
    """Cut a line between members or sentences; what is longer than both, between words."""
    out: list[str] = []
    start = space = 0
    for kind, end in _breaks(line):
        if end - start > _LONGEST_PART and space > start:
            out.append(line[start:space])
            start = space
        if kind == "space":
            space = end
        elif end - start >= (_LEAST_MEMBER if kind == "member" else _LEAST_SENTENCE):
            out.append(line[start:end])
            start = space = end
    if start < len(line):
        out.append(line[start:])
    return out


def _breaks(line: str) -> Iterator[tuple[str | None, int]]:
    """List the places where a line may be cut, with what ends there; a short string is not cut."""
    for found in _BREAK.finditer(line):
        start, end = found.span()
        if found.lastgroup == "string":
            if end - start > _LONGEST_STRING:
                yield from [(inner.lastgroup, inner.end()) for inner in _PROSE.finditer(line, start, end)]
        elif found.lastgroup == "open":  # no string is closed from here on, so none is looked for again
            yield from [(inner.lastgroup, inner.end()) for inner in _PROSE.finditer(line, start)]
            return
        else:
            yield found.lastgroup, end


def _header_at(line: str) -> int:
    """Find where the header of a table begins that ends the line: it stays whole, with its key."""
    at = max(line.rfind("[{"), line.rfind("{*")) if line.endswith("}") else -1
    if at < 0 or not _HEADER.match(line, at):
        return len(line)
    key = _KEY_BEFORE.search(line, max(0, at - 64), at)
    return at if key is None else key.start()


# ---------------------------------------------------------------- weighing


def weigh_pieces(parts: Sequence[Piece], wanted: frozenset[str]) -> WeighedPieces:
    """Find the names and values of each piece, and what they are worth."""
    number: dict[str, int] = {}
    weight: list[float] = []
    price: list[float] = []
    held: list[list[int]] = []
    cost: list[float] = []
    named: dict[int, int] = {}
    """The terms that the conversation speaks of, and the number of pieces that hold each."""
    for part in parts:
        terms: set[int] = set()
        spent, letters = (3.0 if part.label else 1.0), 0
        for key, line, term in _KEY_OR_TERM.findall(part.text):
            word = key or line or term
            at = number.get(word)
            if at is None:
                at = number[word] = len(weight)
                price.append(float(len(_COST.findall(word))))
                weight.append(worth(term, wanted) if term else _worth_of_line(line, wanted) if line else 0.0)
                if wanted and weight[at] >= _WORTH_NAMING and term.casefold() in wanted:
                    named[at] = 0
            if weight[at]:
                terms.add(at)
            spent += price[at]
            letters += len(word)
        held.append(sorted(terms))
        for at in named.keys() & terms if named else ():
            named[at] += 1
        cost.append(spent + _PUNCTUATION * (len(part.text) - letters))
    few = {at for at, times in named.items() if times <= max(3, _FEW * len(parts))}
    spoken = [not few.isdisjoint(terms) for terms in held] if few else [False] * len(held)
    return WeighedPieces(held, weight, _bonuses(parts), cost, spoken)


def worth(term: str, wanted: frozenset[str]) -> float:
    """Say how likely a name or value is to be used again, by its form and by whether the conversation speaks of it."""
    if term.isalpha() and term.islower():
        return _WORTH["plain"][term in wanted]
    form = _FORMS.match(term)
    alone, spoken = _WORTH[(form and form.lastgroup) or "plain"]
    if alone == spoken or not wanted:
        return alone
    folded = term.casefold()
    if folded in wanted:
        return spoken
    if spoken >= 10:
        head, _, tail = _JOINT.sub(" ", folded).rpartition(" ")
        if tail in wanted:
            return (alone + spoken) / 2
        return (alone + spoken) / 3 if head.rpartition(" ")[2] in wanted else alone
    return alone


def _worth_of_line(line: str, wanted: frozenset[str]) -> float:
    """Weigh the number of a line: it is only a place, unless it was spoken of."""
    number = line.strip(" \t:→|")
    return _WORTH["number"][1] if len(number) > 1 and number in wanted else 0.0


def _bonuses(parts: Sequence[Piece]) -> list[float]:
    """Weigh what a piece is, besides what it holds: header, labelled value, report of trouble, definition, end."""
    out = [0.0] * len(parts)
    for i, part in enumerate(parts):
        text = part.text
        if text.endswith("}") and _HEADER.match(text):
            out[i] += 12.0
        elif len(text) < 120 and (":" in text or "=" in text) and _LABELLED.match(text):
            out[i] += 4.0
    starts = list(accumulate([len(part.text) + 1 for part in parts], initial=0))
    whole = "\n".join([part.text for part in parts])
    before = -1
    for found in _DEFINES.finditer(whole):
        at = bisect_right(starts, found.start()) - 1
        if at != before:
            out[at] += 1.0
        before = at
    for i in (0, len(parts) - 1) if parts[0].text[:1] not in ("{", "[") else ():
        out[i] += _ENDS
    return out


# ---------------------------------------------------------------- ranking


def ranked(weighed: WeighedPieces, first: Sequence[int], most: float, turn: Sequence[int] | None = None) -> list[int]:
    """Order pieces by what each adds to those before it for its cost, until `most` is spent; `first` come first.

    `turn` orders pieces that add about as much as one another.
    """
    held, worth_of, bonus, cost = weighed.held, weighed.worth, weighed.bonus, weighed.cost
    taken = bytearray(len(worth_of))
    out = list(first)
    spent, looks = 0.0, _MOST_LOOKS * len(held)
    for i in first:
        spent += cost[i]
        for term in held[i]:
            taken[term] = 1
    before = frozenset(first)

    def adds(i: int) -> float:
        worth = -(bonus[i] + sum([worth_of[t] for t in held[i] if not taken[t]])) / cost[i]
        return worth if turn is None else -float(math.frexp(-worth)[1] // 2)

    heap = [(adds(i), turn[i] if turn else i, i) for i in range(len(held)) if i not in before]
    heapq.heapify(heap)
    while heap and spent < most:
        promised, place, i = heap[0]
        now = adds(i)
        looks -= 1
        if now > promised + _LESS and looks > 0:
            heapq.heapreplace(heap, (now, place, i))
            continue
        heapq.heappop(heap)
        for term in held[i]:
            taken[term] = 1
        out.append(i)
        spent += cost[i]
    return out


# ---------------------------------------------------------------- putting together


def assembled(parts: Sequence[Piece], kept: Sequence[int], numbered: Callable[[str], bool]) -> str:
    """Write the kept pieces in their order; `…` is where some were left out, unless line numbers show it.

    The mark for whole lines that are left out has a line of its own: no line looks as if it were cut.
    """
    out: list[str] = []
    before = line = -1
    for i in sorted(kept):
        part = parts[i]
        gap = i != before + 1
        if part.line != line:
            if out and before + 1 < len(parts) and parts[before + 1].line == line:
                out.append(_GAP)
            begun = i > 0 and parts[i - 1].line == part.line
            lines_gone = gap and part.line > line + (parts[before].lines if before >= 0 else 1) and not begun
            out.append("\n" if out else "")
            out.append(f"{_GAP}\n" if lines_gone and not numbered(part.text) else "")
            out.append(_marked(part) if begun else "")
        elif gap:
            out.append(_marked(part))
        out.append(part.text)
        before, line = i, part.line
    if before >= 0 and before + 1 < len(parts) and parts[before + 1].line == line:
        out.append(_GAP)
    return "".join(out)


def _marked(part: Piece) -> str:
    """Mark that something before a piece of the same line is left out, and name the key that it lies under."""
    return f"{_GAP}{part.label}: " if part.label else _GAP if part.text[:1] in _SIGNS else f"{_GAP} "

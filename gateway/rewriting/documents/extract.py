"""Documents shortened to what bears on a question: whole documents, else sentences with their neighbours. Pure.

Every sentence is scored by BM25 for the question, by its document's score and by its neighbours'; the best are taken
until the room is used, and stand again in their own order, under the mark and title of their document. The result holds
the original's bytes, blank lines aside; `…` stands where something was left out. JSON stays JSON, an object that was
printed stays an object, and a table its header and whole rows.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from gateway.rewriting.documents.recognition import Document, document_rows, frame
from gateway.rewriting.documents.relevance import K1, B, Index, ReadingMemory

Count = Callable[[str], int]

CONTEXT_WEIGHT, CONTEXT_DECAY = 0.2, 0.6
"""The weight of a word that only the message before the question holds, and its decay with each one before."""
DOCUMENT_WEIGHT = 0.9
NEIGHBOUR_WEIGHT = 0.35
LEAD_WEIGHT = 0.1
"""The lead of a document's first sentence over the others: it says the document's subject."""
WHOLE_WEIGHT, WHOLE_FROM = 0.5, 0.8
"""The lead of the sentences of a document whose score comes so near the best: such documents come whole."""
_GAP = "…"
_LEAST_UNIT_CHARS = 70
_MOST_UNIT_CHARS = 700
_ROUNDS = 5
_FULL = 0.98
"""A share of the room that is worth no further try to use better."""

# Where a sentence ends: at its full stop, or at the line's end; inside JSON strings a line ends with an escape.
_ENDS = re.compile(
    r"(?:[.!?…][\"'”’)\]]{0,3}(?:\s|(?<!\\)\\[nrt])|[\u3002\uff01\uff1f]|[\r\n]|(?<!\\)\\[nr])(?:\s|\\[nrt])*+"
)
# Where a block of code ends: at a blank line before a line that is not indented.
_BLOCK_ENDS = re.compile(r"\n(?:[ \t\r]*+\n)++(?=\S)")
_SPACE = re.compile(r"\s+")
_MEMBER = re.compile(r'"(?:[^"\\]|\\.)*+"\s*+:')
_BLANKS = re.compile(r"(?<![ \t\xa0])[ \t\xa0]*+\r?\n(?:[ \t\xa0]*+\r?\n)+")
_BLANKS_ESCAPED = re.compile(r"(?<![\\ \t\xa0])(?:[ \t\xa0]*+(?:\\r)?\\n){3,}")


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """A text with documents, and what is asked of them."""

    text: str
    documents: Sequence[Document]
    question: str
    context: Sequence[str] = ()
    """Messages before the question, newest first; their words count less the older they are."""


def shrink(
    text: str,
    documents: Sequence[Document],
    question: str,
    room: int,
    count: Count,
    *,
    context: Sequence[str] = (),
    memory: ReadingMemory | None = None,
) -> str:
    """Shorten the documents of a text so that all of it takes at most `room` tokens; the frame stays byte for byte.

    The text itself where it fits. No document is left, and the result is over, if the frame alone takes more.
    """
    return shrink_all([DocumentSource(text, documents, question, context)], room, count, memory=memory)[0]


def shrink_all(
    sources: Sequence[DocumentSource], room: int, count: Count, *, memory: ReadingMemory | None = None
) -> list[str]:
    """Shorten several texts that share one room, the documents of all of them measured by one scale.

    `memory` must be one that nothing else reads with: it knows texts by the spans they were cut into here.
    """
    sizes = [count(source.text) for source in sources]
    if sum(sizes) <= room or not any(source.documents for source in sources):
        return [source.text for source in sources]
    shelf = _Shelf(sources, sizes, ReadingMemory() if memory is None else memory)
    ranked = shelf.ranked()
    goal = float(room)
    best: list[str] | None = None
    best_size = -1
    for _ in range(_ROUNDS):
        texts = shelf.written(shelf.chosen(ranked, goal))
        size = sum(count(text) for text in texts)
        if size <= room and size > best_size:
            best, best_size = texts, size
        if room * _FULL <= size <= room:
            break
        goal *= (room * (1 + _FULL) / 2) / max(1, size) if size else 2.0
    return best if best is not None else shelf.written(frozenset())


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence or a few short lines, or (with `body` < 0) a document without bodies as a whole."""

    owner: int
    body: int
    start: int
    end: int


class _Shelf:
    """All documents of all sources, cut into units and scored."""

    def __init__(self, sources: Sequence[DocumentSource], sizes: Sequence[int], memory: ReadingMemory) -> None:
        self.sources = sources
        self.documents = [(at, document) for at, source in enumerate(sources) for document in source.documents]
        self.rate = [size / max(1, len(source.text)) for source, size in zip(sources, sizes, strict=True)]
        self.units: list[_Unit] = []
        self.of: list[range] = []
        """By document: its units."""
        for owner, (at, document) in enumerate(self.documents):
            first = len(self.units)
            self.units += _units(sources[at].text, owner, document)
            self.of.append(range(first, len(self.units)))
        self.fixed = sum(
            rate * len(frame(source.text, source.documents)) + 8
            for source, rate in zip(sources, self.rate, strict=True)
        )
        self._read(memory)

    def _read(self, memory: ReadingMemory) -> None:
        """Learn the terms of every unit; after those of each document, of what stands before its first body."""
        spans: list[list[tuple[int, int]]] = [[] for _ in self.sources]
        for (at, document), units in zip(self.documents, self.of, strict=True):
            spans[at] += [(self.units[n].start, self.units[n].end) for n in units]
            spans[at].append((document.start, document.body if document.bodies else document.start))
        readings = [memory.read(source.text, of) for source, of in zip(self.sources, spans, strict=True)]
        for at, (source, of) in enumerate(zip(self.sources, spans, strict=True)):
            if readings[at].spans != tuple(of):  # known with other documents: by other tags, or as a tool's result
                readings[at] = ReadingMemory().read(source.text, of)
        self.index = Index(readings)
        self.often = [often for reading in readings for often in reading.often]
        self.memory = memory

    def ranked(self) -> list[int]:
        """Order the units, best first."""
        wanted = self._wanted()
        scores = self.index.scores(self.index.weighed(wanted))
        documents = self._document_scores(wanted)
        own: list[float] = []
        for owner, units in enumerate(self.of):
            own += scores[units.start + owner : units.stop + owner]
        best, best_document = max(own, default=0.0) or 1.0, max(documents, default=0.0) or 1.0
        values: list[float] = []
        for owner, units in enumerate(self.of):
            share = documents[owner] / best_document
            ahead = DOCUMENT_WEIGHT * share + (WHOLE_WEIGHT if share >= WHOLE_FROM else 0.0)
            for n in units:
                before = own[n - 1] if n > units.start else 0.0
                after = own[n + 1] if n + 1 < units.stop else 0.0
                lead = LEAD_WEIGHT if n == units.start else 0.0
                values.append((own[n] + NEIGHBOUR_WEIGHT * max(before, after)) / best + ahead + lead)
        return sorted(range(len(self.units)), key=lambda n: (-values[n], n))

    def _wanted(self) -> dict[int, float]:
        wanted: dict[int, float] = {}
        for source in self.sources:
            weight = CONTEXT_WEIGHT
            for said in source.context:
                for term in self.memory.numbers(said):
                    wanted[term] = max(weight, wanted.get(term, 0.0))
                weight *= CONTEXT_DECAY
        for source in self.sources:
            for term in self.memory.numbers(source.question):
                wanted[term] = 1.0
        return wanted

    def _document_scores(self, wanted: Mapping[int, float]) -> list[float]:
        """Score whole documents by BM25, titles and marks included."""
        held = [self._held(owner, wanted) for owner in range(len(self.of))]
        lengths = [
            sum(sum(often) for often in self.often[units.start + owner : units.stop + owner + 1])
            for owner, units in enumerate(self.of)
        ]
        found = Counter(term for bag in held for term in bag)
        weights = {
            term: wanted[term] * math.log(1 + (len(held) - n + 0.5) / (n + 0.5)) * (K1 + 1) for term, n in found.items()
        }
        average = max(1.0, sum(lengths) / max(1, len(lengths)))
        norms = [K1 * (1 - B + B * length / average) for length in lengths]
        return [
            sum(weights[term] * n / (n + norm) for term, n in bag.items())
            for bag, norm in zip(held, norms, strict=True)
        ]

    def _held(self, owner: int, wanted: Mapping[int, float]) -> dict[int, int]:
        """Count the wanted terms in one document."""
        bag: dict[int, int] = {}
        units = self.of[owner]
        for at in range(units.start + owner, units.stop + owner + 1):
            often = self.often[at]
            for place, term in enumerate(self.index.bags[at]):
                if term in wanted:
                    bag[term] = bag.get(term, 0) + often[place]
        return bag

    def chosen(self, ranked: Sequence[int], room: float) -> frozenset[int]:
        """Take units in order of rank while they fit."""
        left = room - self.fixed
        taken: set[int] = set()
        opened: set[int] = set()
        for n in ranked:
            unit = self.units[n]
            at, document = self.documents[unit.owner]
            rate = self.rate[at]
            cost = rate * (unit.end - unit.start)
            if n - 1 not in taken and n + 1 not in taken:
                cost += 1
            if unit.owner not in opened:
                cost += 1 if not document.bodies else 1 + rate * document.outside_chars
            if cost <= left:
                left -= cost
                taken.add(n)
                opened.add(unit.owner)
        return frozenset(taken)

    def written(self, taken: frozenset[int]) -> list[str]:
        """Write every source with the units that were taken."""
        out = []
        owner = 0
        for source in self.sources:
            kept: list[str | None] = []
            for document in source.documents:
                units = [self.units[n] for n in self.of[owner] if n in taken]
                kept.append(_document(source.text, document, units) if units else None)
                owner += 1
            out.append(_assembled(source.text, source.documents, kept))
        return out


# ---------------------------------------------------------------- cutting


def _units(text: str, owner: int, document: Document) -> list[_Unit]:
    """Cut the bodies of a document into units."""
    if not document.bodies:
        return [_Unit(owner, -1, document.start, document.end)]
    out = []
    for body, (start, end) in enumerate(document.bodies):
        first = start
        for stop in _stops(text, start, end, _BLOCK_ENDS if document.form == "code" else _ENDS):
            out.append(_Unit(owner, body, first, stop))
            first = stop
    return out or [_Unit(owner, -1, document.start, document.end)]


def _stops(text: str, start: int, end: int, ends: re.Pattern[str]) -> list[int]:
    """Find where units end: after sentences and lines, short ones together, long ones broken at a space."""
    out: list[int] = []
    first = start
    for found in ends.finditer(text, start, end):
        stop = min(found.end(), end)
        if stop - first >= _LEAST_UNIT_CHARS:
            out += _broken(text, first, stop)
            first = stop
    if first < end:
        if out and end - first < _LEAST_UNIT_CHARS:
            out[-1] = end
        else:
            out += _broken(text, first, end)
    return out


def _broken(text: str, first: int, stop: int) -> list[int]:
    """Break what is too long for one unit at spaces; say where each piece ends."""
    out: list[int] = []
    while stop - first > _MOST_UNIT_CHARS * 3 // 2:
        space = _SPACE.search(text, first + _MOST_UNIT_CHARS // 2, stop)
        if space is None or space.end() >= stop:
            break
        first = space.end()
        out.append(first)
    return [*out, stop]


# ---------------------------------------------------------------- writing


def _document(text: str, document: Document, units: Sequence[_Unit]) -> str:
    """Write a document with some of its units; everything outside its bodies stays."""
    out: list[str] = []
    at = document.start
    for body, (start, end) in enumerate(document.bodies):
        out.append(text[at:start])
        out.append(_body(text, start, end, [unit for unit in units if unit.body == body], document.is_escaped))
        at = end
    out.append(text[at : document.end])
    return "".join(out)


def _body(text: str, start: int, end: int, units: Sequence[_Unit], escaped: bool) -> str:
    """Write what was taken of one body, with a mark where something is missing."""
    if not units:
        return _GAP if end - start else ""
    out: list[str] = []
    at = start
    for unit in units:
        piece = text[unit.start : unit.end]
        if unit.start > at:
            out.append(f" {_GAP} " if out else f"{_GAP} ")
        out.append(piece)
        at = unit.end
    if at < end:
        out.append(f" {_GAP}")
    joined = "".join(out)
    return _BLANKS_ESCAPED.sub(r"\\n\\n", joined) if escaped else _BLANKS.sub("\n\n", joined)


def _assembled(text: str, documents: Sequence[Document], kept: Sequence[str | None], why: str = "") -> str:
    """Put the text together again: the frame, and what is left of its documents; say how many are left out."""
    out: list[str] = []
    at = 0
    for row in document_rows(text, documents):
        out.append(text[at : documents[row.start].start])
        out.append(_row(text, documents[row.start : row.stop], kept[row.start : row.stop], why))
        at = documents[row.stop - 1].end
    out.append(text[at:])
    return "".join(out)


def _row(text: str, documents: Sequence[Document], kept: Sequence[str | None], why: str) -> str:
    """Write a row of documents, and how many of it are left out; `why` says what is so of all of them."""
    out: list[str] = []
    for at, written in enumerate(kept):
        if written is None:
            continue
        if out:
            out.append(text[documents[at - 1].end : documents[at].start])
        out.append(written)
    missing = kept.count(None)
    if missing:
        between = text[documents[0].end : documents[1].start] if len(documents) > 1 else ""
        out += [between or "\n\n"] if out else []
        said = _said(missing, len(kept) - missing, why, "row" if documents[0].form == "row" else "document")
        out.append(_left_out(text, documents[0], said, "," in between))
    return "".join(out)


def _said(missing: int, stand: int, why: str, noun: str) -> str:
    """Word how many documents are missing beside those that stand."""
    more = "more " if stand else ""
    return f"{missing:,} {more}{noun}{'' if missing == 1 else 's'} left out{f': {why}' if why else ''}"


def _left_out(text: str, document: Document, said: str, in_list: bool) -> str:
    """Say that documents of a row are missing, as the row itself would: in a list, as one more element or member."""
    if not in_list or not document.is_escaped:
        return f"[{_GAP} {said}]"
    if document.form == "repr":
        return f"'{_GAP} {said}'"
    return f'"{_GAP}": "{said}"' if _MEMBER.match(text, document.start, document.end) else f'"{_GAP} {said}"'


# ---------------------------------------------------------------- near-duplicates


def without_twins(text: str, documents: Sequence[Document], least: float = 0.8) -> str:
    """Leave out the documents of a text that nearly repeat an earlier one."""
    twins = twins_of(shingles_of(text, documents), least)
    return without(text, documents, {at for at, twin in enumerate(twins) if twin is not None}, "another")


def without(text: str, documents: Sequence[Document], gone: Collection[int], same_as: str) -> str:
    """Leave out the documents of these numbers, and say what they are nearly the same as."""
    if not gone:
        return text
    kept = [None if at in gone else text[one.start : one.end] for at, one in enumerate(documents)]
    return _assembled(text, documents, kept, f"nearly the same as {same_as}")


def shingles_of(text: str, documents: Sequence[Document]) -> list[set[int]]:
    """Give what each document of a text is compared by."""
    return [_shingles("\n".join(text[a:b] for a, b in one.bodies) or text[one.start : one.end]) for one in documents]


_SHINGLE = 5
_WORD = re.compile(r"\w+")


def dedupe(texts: Sequence[str], least: float = 0.8) -> list[int | None]:
    """Find near-duplicates: for each text the first earlier one with `least` of its runs of five words, or None."""
    return twins_of([_shingles(text) for text in texts], least)


def twins_of(compared: Iterable[set[int]], least: float = 0.8) -> list[int | None]:
    """Find for each set the first earlier one that holds `least` of it, and is no twin itself; else None."""
    seen: dict[int, list[int]] = {}
    out: list[int | None] = []
    for at, shingles in enumerate(compared):
        shared: dict[int, int] = {}
        for shingle in shingles:
            for other in seen.get(shingle, ()):
                shared[other] = shared.get(other, 0) + 1
        enough = max(1, math.ceil(least * len(shingles)))
        twin = next((other for other in sorted(shared) if shared[other] >= enough), None) if shingles else None
        out.append(twin)
        if twin is None:
            for shingle in shingles:
                seen.setdefault(shingle, []).append(at)
    return out


def _shingles(text: str) -> set[int]:
    """Give the runs of five words of a text by number; of a long text every fourth by value, so that all agree."""
    words = array("I", [crc32(word.encode("utf-8", "surrogatepass")) for word in _WORD.findall(text.lower())])
    runs = {hash(tuple(words[i : i + _SHINGLE])) for i in range(max(1, len(words) - _SHINGLE + 1))} if words else set()
    if len(runs) <= 400:
        return runs
    return {run for run in runs if run % 4 == 0}

"""Texts that were joined without a word about it: by rules, blank lines, in fences, under headings. Pure.

Only long prose before or after something short counts: what a person writes himself, lists of instructions and code are
no documents, and where it is unclear nothing is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from gateway.rewriting.documents.forms.document import (
    SHORT_CHARS,
    Document,
    end_of_lone_paragraph,
    paragraph_spans,
    reads_as_list,
    reads_as_prose,
    size,
)

_RULE = re.compile(r"^[ \t]{0,3}(?:([-=*_~#+])(?: ?\1){2,200}|[—─═]{2,200})[ \t\r]{0,40}$", re.MULTILINE)
_TITLED = re.compile(
    r"^[ \t]{0,3}(?P<rule>={2,40}|\*{3,40}|~{3,40}|#{2,40}|-{3,40})[ \t]{1,4}(?P<title>\S[^\n]{0,160}?)[ \t]{0,4}"
    r"(?P=rule)[ \t\r]{0,40}$",
    re.MULTILINE,
)
_MARK = re.compile(r"[ \t]{0,4}(?:[\[(（【]\w{1,4}[\])）】]|\d{1,4}[.)、．]|[①-⑳])[ \t]{0,4}")
"""The number of a block: it stays as long as the block does."""
_HEADING = re.compile(r"^(#{1,5}) +\S[^\n]{0,300}$", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]{0,4}([\w.+/:-]{0,60})[^\n`]{0,60}$", re.MULTILINE)
_DATA_WORDS = "text txt plain plaintext md markdown csv tsv json jsonl ndjson html xml rst article document"
_OF_DATA = frozenset(_DATA_WORDS.split())
_LEAST_BLOCK = 150
_LEAST_BLOCKS_CHARS = 1_200
_LEAST_PARAGRAPH, _LEAST_PARAGRAPHS, _LEAST_PARAGRAPHS_CHARS = 250, 4, 2_400
_LEAST_SECTION, _LEAST_SECTIONS = 420, 3
_LEAST_FENCE, _LEAST_ONE_FENCE = 200, 1_500
_BEGINNING, _DIGITS = re.compile(r"[^\n:：.]{1,24}[:：]"), re.compile(r"\d+")
_MOST_AROUND = 3
"""Short paragraphs before and after those that are joined."""
_MOST_FRAME = 0.25
_MOST_FENCES = 2_000


# ---------------------------------------------------------------- rules


def ruled(text: str) -> list[Document]:
    """Locate long blocks between rules; the last short one is the question."""
    titles = [(found.start(), found.end(), found["title"]) for found in _TITLED.finditer(text)]
    if len(titles) > 1:
        return _sections(text, titles, _LEAST_BLOCK)
    inside = [(start, end) for start, _, _, end, _ in _fences(text)]
    rules = [found.span() for found in _RULE.finditer(text)]
    rules = [rule for rule in rules if not _is_inside(rule[0], inside)]
    if not rules:
        return []
    bounds = [0, *(end for _, end in rules)]
    stops = [*(start for start, _ in rules), len(text)]
    blocks = [_trimmed(text, span) for span in zip(bounds, stops, strict=True)]
    blocks[0] = _without_lead(text, blocks[0])
    lone = end_of_lone_paragraph(text, [span for span in blocks[:-1] if span[0] < span[1]], blocks[-1][0])
    blocks[-1] = _without_tail(text, blocks[-1]) if lone is None else (blocks[-1][0], lone)
    filled = [n for n, (start, end) in enumerate(blocks) if size(text[start:end]) >= _LEAST_BLOCK]
    if len(filled) < 2 or filled[-1] - filled[0] + 1 > 1.3 * len(filled):
        return []
    chosen = blocks[filled[0] : filled[-1] + 1]
    if not _are_texts(text, chosen, _LEAST_BLOCKS_CHARS):
        return []
    out = _as_documents(text, chosen)
    starts = {span: rules[n - 1][0] for n, span in enumerate(blocks) if n > filled[0]}
    return [replace(one, start=starts.get((one.start, one.end), one.start)) for one in out]


def _is_inside(at: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a place is inside one of these spans, which are in order."""
    number = bisect_right(spans, (at, len(spans) and spans[-1][1])) - 1
    return number >= 0 and at < spans[number][1]


def _are_texts(text: str, spans: Sequence[tuple[int, int]], least: int) -> bool:
    """Tell whether spans are long prose, and most of the message."""
    said = [text[start:end] for start, end in spans]
    whole = sum(map(size, said))
    prose = sum(size(one) for one in said if reads_as_prose(one))
    return whole >= least and prose >= 0.8 * whole and size(text) - whole <= max(_MOST_FRAME * whole, 2 * SHORT_CHARS)


def _as_documents(text: str, spans: Sequence[tuple[int, int]]) -> list[Document]:
    out = []
    for start, end in spans:
        mark = _MARK.match(text, start, end)
        out.append(Document(start, end, "", ((start if mark is None else mark.end(), end),)))
    return [document for document in out if document.bodies[0][0] < document.end]


def _trimmed(text: str, span: tuple[int, int]) -> tuple[int, int]:
    start, end = span
    said = text[start:end]
    return end - len(said.lstrip()), start + len(said.rstrip()) if said.strip() else end


def _without_lead(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """Leave short paragraphs at the start to the frame."""
    found = paragraph_spans(text, *span)
    while len(found) > 1 and size(text[slice(*found[0])]) <= SHORT_CHARS:
        found = found[1:]
    return (found[0][0], found[-1][1]) if found else span


def _without_tail(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """Leave short paragraphs at the end to the frame."""
    found = paragraph_spans(text, *span)
    while len(found) > 1 and size(text[slice(*found[-1])]) <= SHORT_CHARS:
        found = found[:-1]
    return (found[0][0], found[-1][1]) if found else span


# ---------------------------------------------------------------- headings


def headed(text: str) -> list[Document]:
    """Locate long prose under headings of one level."""
    found = [
        (len(heading[1]), heading.start(), heading.end(), heading[0].strip("# \t"))
        for heading in _HEADING.finditer(text)
    ]
    often = Counter(level for level, *_ in found)
    chosen = next((level for level, *_ in found if often[level] >= _LEAST_SECTIONS), 0)
    marks = [(start, end, title) for level, start, end, title in found if level <= chosen]
    while len(marks) > 1 and not text[marks[0][1] : marks[1][0]].strip():
        marks = marks[1:]
    return _sections(text, marks, _LEAST_SECTION) if len(marks) >= _LEAST_SECTIONS else []


def _sections(text: str, marks: Sequence[tuple[int, int, str]], least: int) -> list[Document]:
    """Make documents of the text under each mark, where it is long prose; the last short paragraph is none."""
    spans: list[tuple[int, int, int, str]] = []
    for at, (start, after, title) in enumerate(marks):
        if at + 1 < len(marks):
            end = marks[at + 1][0]
        else:
            lone = end_of_lone_paragraph(text, [(begin, stop) for _, begin, stop, _ in spans], after)
            end = _without_tail(text, (after, len(text)))[1] if lone is None else lone
        stop = start + len(text[start:end].rstrip())
        spans.append((start, min(after, stop), stop, title))
    if len(spans) > 1 and size(text[spans[-1][1] : spans[-1][2]]) <= SHORT_CHARS < mean(b - a for _, a, b, _ in spans):
        spans = spans[:-1]
    said = [text[after:stop].strip() for _, after, stop, _ in spans]
    sizes = [size(one) for one in said]
    if len(spans) < 2 or sum(sizes) < _LEAST_BLOCKS_CHARS or mean(sizes) < least:
        return []
    lists = sum(reads_as_list(one) for one in said)
    prose = sum(number for number, one in zip(sizes, said, strict=True) if reads_as_prose(one))
    if lists or prose < 0.9 * sum(sizes) or min(sizes) < least / 3:
        return []
    return [
        Document(start, stop, title, ((after, stop),) if after < stop else ()) for start, after, stop, title in spans
    ]


# ---------------------------------------------------------------- blank lines


def joined_sources(text: str) -> list[Document]:
    """Locate several long paragraphs before, or after, something short that is asked of them."""
    found = paragraph_spans(text, 0, len(text))
    first, last = 0, len(found)
    sizes = [size(text[start:end]) for start, end in found]
    while first < last and sizes[first] <= SHORT_CHARS:
        first += 1
    while last > first and sizes[last - 1] <= SHORT_CHARS:
        last -= 1
    middle = found[first:last]
    is_asked = last < len(found) or (first > 0 and text[found[first - 1][1] - 1] in "?？:：؟")
    long_ones = [n for n in sizes[first:last] if n >= _LEAST_PARAGRAPH]
    if not is_asked or len(long_ones) < max(_LEAST_PARAGRAPHS, 0.75 * len(middle)):
        return []
    if first > _MOST_AROUND or len(found) - last > _MOST_AROUND or _begin_alike(text, middle):
        return []
    return _as_documents(text, middle) if _are_texts(text, middle, _LEAST_PARAGRAPHS_CHARS) else []


def _begin_alike(text: str, spans: Sequence[tuple[int, int]]) -> bool:
    """Tell whether many paragraphs begin with the same label, as turns, examples and steps do."""
    begins = Counter(_DIGITS.sub("0", found[0]) for a, b in spans if (found := _BEGINNING.match(text, a, b)))
    return max(begins.values(), default=0) > max(1, len(spans) / 3)


# ---------------------------------------------------------------- fences


def fenced(text: str) -> list[Document]:
    """Locate what stands in fences without the name of a programming language: several, or a long one."""
    blocks = _fences(text)
    bodies = [(start, end) for _, start, end, _, language in blocks if language in _OF_DATA or not language]
    if len(bodies) < len(blocks) or not blocks:
        return []
    long_ones = [span for span in bodies if size(text[slice(*span)]) >= _LEAST_FENCE]
    least = _LEAST_ONE_FENCE if len(blocks) == 1 else _LEAST_FENCE
    prose = [span for span in long_ones if size(text[slice(*span)]) >= least and reads_as_prose(text[slice(*span)])]
    whole = sum(size(text[slice(*span)]) for span in bodies)
    if (
        whole < _LEAST_BLOCKS_CHARS
        or not prose
        or len(prose) < 0.8 * len(blocks)
        or size(text) - whole > max(0.3 * whole, 3 * SHORT_CHARS)
    ):
        return []
    return [Document(start, stop, "", ((begin, end),)) for start, begin, end, stop, _ in blocks]


def _fences(text: str) -> list[tuple[int, int, int, int, str]]:
    """List fenced blocks: start, where the inside starts and ends, end, language."""
    out: list[tuple[int, int, int, int, str]] = []
    opened: re.Match[str] | None = None
    for found in _FENCE.finditer(text):
        if len(out) >= _MOST_FENCES:
            break
        if opened is None:
            opened = found
        elif found[1].startswith(opened[1]) and not found[2]:
            begin, end = min(opened.end() + 1, found.start()), max(opened.end(), found.start() - 1)
            out.append((opened.start(), begin, max(begin, end), found.end(), opened[2].lower()))
            opened = None
    return out

"""The passages of a text: whole records, else whole lines and sentences, of some 100 characters.

recall.py chooses among them. Pure; linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.rewriting.language import clauses, sentences
from gateway.rewriting.results.records import record_sets


def passages_of(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into passages of some 100 characters: whole records, else whole lines and sentences.

    A long sentence is cut into its clauses; nothing is cut inside one.
    """
    if 0 < len(text) < _LEAST_CHARS:  # nothing in it would close a passage
        yield 0, len(text)
        return
    held: tuple[int, int] | None = None
    for piece in _pieces(text):
        if held is not None and piece[1] - piece[0] < _LEAST_CHARS and piece[1] == len(text):
            held = (held[0], piece[1])
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


_AIM_CHARS, _LONG_CHARS, _LEAST_CHARS = 100, 240, 40
"""A passage is closed from the first on, a sentence cut from the second on; a blank line closes from the third on."""
_RECORD_CHARS = 600
"""A longer record is cut as other text is."""


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Gather what may not be cut until it is a passage."""
    start = 0
    for begin, end in _units(text):
        if begin > start and end - start > _LONG_CHARS:
            yield start, begin
            start = begin
        blank = _BLANK.search(text, max(begin, end - _BLANK_CHARS), end) is not None
        if end - start >= (_LEAST_CHARS if blank else _AIM_CHARS):
            yield start, end
            start = end
    if start < len(text):
        yield start, len(text)


_BLANK, _BLANK_CHARS = re.compile(r"\n[ \t\r]*\n"), 12


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into what is kept whole: records, each with what separates it from the next, sentences and clauses."""
    at = 0
    for start, end in sorted(span for records in record_sets(text) for span in records):
        if end - start > _RECORD_CHARS or start < at:
            continue
        if at < start:
            yield from _said(text, at, start)
        at = end + len(text[end : end + _SEPARATOR_CHARS]) - len(text[end : end + _SEPARATOR_CHARS].lstrip(" \t\r\n,"))
        yield start, at
    if at < len(text):
        yield from _said(text, at, len(text))


_SEPARATOR_CHARS = 40


def _said(text: str, first: int, after: int) -> Iterator[tuple[int, int]]:
    """Cut a part of a text into its sentences, a long one into clauses that are gathered as far as they fit."""
    part = text if first == 0 and after == len(text) else text[first:after]
    for start, end in sentences(part):
        at = start
        if end - start > _LONG_CHARS:
            for begin, stop in clauses(part[start:end]):
                if start + begin > at and start + stop - at > _LONG_CHARS:
                    yield first + at, first + start + begin
                    at = start + begin
        yield first + at, first + end

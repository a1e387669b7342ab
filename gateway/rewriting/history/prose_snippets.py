"""The sentences of prose as snippets: those that hold a value or that somebody spoke, a long one cut at its commas.

Sentences and clauses are told by language.py. Pure; linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.rewriting.history.definitions import SIGNS_OF_CODE
from gateway.rewriting.history.snippets import LONGEST, LONGEST_PART, SPACES, Snippet, values_in
from gateway.rewriting.language import UNSPACED, clauses, sentences

_LEAST_WORDS, _LEAST_UNSPACED = 3, 6
"""Words, or letters of a script without spaces, of a sentence that is worth keeping without a value in it."""
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")


def is_prose(line: str, *, speaks: bool) -> bool:
    """Tell whether a line is words, not code, a record or a report; what nobody says ends as prose does."""
    if _UNSPACED_LETTER.search(line):
        return True
    some = line[:LONGEST]
    words = len(_WORD.findall(some))
    if not speaks and words < _WORDS_WITHOUT_END and _ENDS_AS_PROSE.search(line) is None:
        return False
    return words > _LEAST_WORDS and 6 * len(SIGNS_OF_CODE.findall(some)) < 4 * words and 2 * words >= some.count(" ")


_WORDS_WITHOUT_END = 15
_ENDS_AS_PROSE = re.compile(r"[.!?\u061f\u06d4\u0964]['\"\u2019\u201d)\]]{0,2}\s*\Z")


def of_prose(line: str, numbers: Iterator[int], *, speaks: bool, worth: float = 0.0) -> Iterator[Snippet]:
    """Take the sentences of a line or paragraph; `numbers` says which of the text each one is."""
    for (start, end), number in zip(sentences(line), numbers, strict=False):
        said = SPACES.sub(" ", line[start:end].strip())
        if len(said) > LONGEST:
            yield from of_long(said, worth=worth)
            continue
        held = values_in(said)
        if held or worth >= 1.0 or (speaks and _says_something(said)):
            yield Snippet(said, held, worth=worth, line=number)


def _says_something(said: str) -> bool:
    """Tell whether a sentence is more than a word of thanks or a nod."""
    return said.count(" ") >= _LEAST_WORDS - 1 or len(_UNSPACED_LETTER.findall(said[:200])) >= _LEAST_UNSPACED


def of_long(said: str, *, worth: float) -> Iterator[Snippet]:
    """Cut a sentence without an end at its commas, else between words; `…` says so."""
    for start, end in _parts(said, LONGEST_PART):
        part = said[start:end].strip()
        held = values_in(part)
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

"""A document in a text, as spans; and how its parts read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f]")
"""Letters of which one says about as much as three of an alphabet."""
_WIDE_AS = 2
SHORT_CHARS = 300
"""A paragraph up to this size may be a question, or what introduces the documents."""
_LEFT_OUT = re.compile(
    r"""\[… [\d,]+ (?:more )?(?:document|row)s? left out[^\]\n]*+\]"""
    r"""|(["'])… ?(?:["'] ?: ?["'])?[\d,]+ (?:more )?(?:document|row)s? left out[^"'\n]*+\1"""
)
_BULLET = re.compile(r"[ \t]*(?:[-*+•◦‣–·]|\(?[\w]{1,3}[.)]|[①-⑳]|\[[ xX]?\])[ \t]")
_CODE_SIGN = re.compile(r"[{}<>=;\\|$_\[\]`~^#@]")
_LISTED, _CODE = 0.4, 0.03
_PROSE_LINE = 45
"""Mean size of a line of prose."""
_LOOK_CHARS = 3_000
_BEYOND_LATIN = "\u02ff"
"""Signs that are written on letters count as letters, and so do the marks of other scripts."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document in a text. Text outside its bodies (mark, title, tags, keys) stays as long as it does."""

    start: int
    end: int
    title: str
    bodies: tuple[tuple[int, int], ...]
    """The spans that may be cut into sentences. None: it stays or goes whole."""
    group: int = 0
    """Documents of one group stand in a row: white space or commas between them go with them."""
    form: str = "text"
    """text; json, a record inside a JSON container, whose bodies are the insides of strings as escaped; repr, the same
    in the notation of a programming language; row, a line of a table; code, a file."""

    @property
    def body(self) -> int:
        """The start of the body."""
        return self.bodies[0][0] if self.bodies else self.end

    @property
    def outside_chars(self) -> int:
        """Characters outside the bodies."""
        return self.end - self.start - sum(end - start for start, end in self.bodies)

    @property
    def is_escaped(self) -> bool:
        """True if its bodies are the insides of strings as escaped."""
        return self.form in ("json", "repr")


def size(text: str) -> int:
    """Measure how much a text says, in letters of an alphabet."""
    return len(text) if text.isascii() else len(text) + _WIDE_AS * len(WIDE.findall(text))


def lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where the lines of a part of a text stand, without their ends."""
    for line in text[start:end].split("\n"):
        if start >= end:
            return
        yield start, start + len(line)
        start += len(line) + 1


def paragraph_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Locate the runs of lines between blank ones, without white space around them; a fence is one of them."""
    out: list[tuple[int, int]] = []
    first, last, fence = -1, -1, ""
    for begin, stop in lines(text, start, end):
        line = text[begin:stop].strip()
        if fence:
            last = stop
            fence = "" if line.startswith(fence) and not line.strip(fence[0]) else fence
        elif line:
            first, last = (begin, stop) if first < 0 else (first, stop)
            fence = line[:3] if line.startswith(("```", "~~~")) else ""
        elif first >= 0:
            out.append((first, last))
            first = -1
    if first >= 0:
        out.append((first, last))
    return [(a, a + len(text[a:b].rstrip())) for a, b in out]


def end_of_lone_paragraph(text: str, others: Iterable[tuple[int, int]], begin: int) -> int | None:
    """Find where the last of several documents ends, where each of the others is one paragraph: behind its first.

    What follows then is what the user says, however long it is. None where another document has several paragraphs.
    """
    found = paragraph_spans(text, begin, len(text))
    if len(found) < 2 or not all(len(paragraph_spans(text, *other)) == 1 for other in others):
        return None
    return found[0][1]


def left_out_notes(text: str) -> list[tuple[int, int]]:
    """Locate the notes that say that documents are left out (extract.py): what they stand beside was documents.

    They are known by their words: whoever else writes them gains nothing by it.
    """
    return [found.span() for found in _LEFT_OUT.finditer(text)] if " left out" in text else []


def reads_as_prose(text: str) -> bool:
    """Tell whether a text is sentences, and not code, values or a list."""
    text = text[:_LOOK_CHARS].strip()
    filled = [line for line in text.split("\n") if line.strip()]
    if not filled or reads_as_list(text) or size(text) < _PROSE_LINE * len(filled):
        return False
    letters = sum(sign.isalpha() or sign == " " or sign > _BEYOND_LATIN for sign in text)
    return letters >= 0.75 * len(text) and len(_CODE_SIGN.findall(text)) <= _CODE * len(text)


def reads_as_list(text: str) -> bool:
    """Tell whether many lines of a text are points of a list, as those of instructions are."""
    filled = [line for line in text[:_LOOK_CHARS].split("\n") if line.strip()]
    bullets = sum(_BULLET.match(line) is not None for line in filled)
    return bullets > 1 and bullets >= _LISTED * len(filled)


def total_characters(documents: Sequence[Document]) -> int:
    """Add up the characters of documents."""
    return sum(document.end - document.start for document in documents)

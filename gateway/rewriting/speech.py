"""Speech cut to a room: whole sentences from the start, and pastes by their first, last and telling passages.

A message stays a message of its own, and what is left of it is its own words, in their order; a note inside says that
something is left out. A paste is long and set apart (many lines, a fence, tags); what stands around it is speech and
goes last. A pasted log is cut as a log is. Pure, and linear in the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log

from gateway.rewriting.language import sentences
from gateway.rewriting.results import crush
from gateway.rewriting.results.shapes import outliers

Count = Callable[[str], int]

PASTE_TOKENS, PASTE_LINES = 300, 20
"""A message with more tokens than the first is a paste where it has more lines than the second, a fence, or tags."""
GAP = "[…]"
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[^\n]*\n", re.MULTILINE)
_ELEMENT = re.compile(r"<([A-Za-z][\w.-]{0,40})(?:\s[^<>]{0,200})?>")
_BLANK = re.compile(r"\n[ \t\r]*\n\s*")
_WORD = re.compile(r"\w{2,40}")
_LEAST_PASSAGES = 6
"""Fewer passages than this between blank lines, and a paste is cut by its lines."""
_LONGEST_PASSAGE_CHARS = 1_200
_ENDS = 0.5
"""Of the room of a paste, what its first and its last passages take before the telling ones."""
_ROUNDS = 4
_MOST_PASTES = 200


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a message: a person's own words, or something pasted."""

    text: str
    is_paste: bool


def speech_parts(text: str, tokens: int) -> list[Part]:
    """Take a message of so many tokens apart; joined, the parts are the text."""
    if tokens <= PASTE_TOKENS:
        return [Part(text, is_paste=False)]
    spans = list(_set_apart(text))
    if not spans:
        return [Part(text, is_paste=text.count("\n") > PASTE_LINES)]
    out: list[Part] = []
    at = 0
    for start, end in spans:
        out += _around(text[at:start])
        out.append(Part(text[start:end], is_paste=True))
        at = end
    out += _around(text[at:])
    return out


def _around(text: str) -> Iterator[Part]:
    if text:
        yield Part(text, is_paste=text.count("\n") > PASTE_LINES)


def _set_apart(text: str) -> Iterator[tuple[int, int]]:
    """Locate fenced blocks and elements of some length, apart from each other."""
    at = number = 0
    while number < _MOST_PASTES:
        number += 1
        fence, element = _FENCE.search(text, at), _ELEMENT.search(text, at)
        first = min(
            (found for found in (fence, element) if found is not None), key=lambda found: found.start(), default=None
        )
        if first is None:
            return
        closing = f"\n{first[1]}" if first is fence else f"</{first[1]}>"
        end = text.find(closing, first.end() - 1)
        if end < 0:
            at = first.end()
            continue
        end += len(closing)
        if end - first.start() > _LEAST_PASTE_CHARS:
            yield first.start(), end
        at = end


_LEAST_PASTE_CHARS = 200


# ---------------------------------------------------------------- cutting


def cut_speech(text: str, room: int, count: Count, asked: Sequence[str] = ()) -> str | None:
    """Cut what a person said to at most `room` tokens; None where nothing whole fits. `asked` are later words on it.

    Pastes shrink first, the longest most; then sentences go from the end of the speech.
    """
    tokens = count(text)
    if tokens <= room:
        return text
    pieces = speech_parts(text, tokens)
    sizes = [count(piece.text) for piece in pieces]
    speech = sum(size for piece, size in zip(pieces, sizes, strict=True) if not piece.is_paste)
    if speech < room and any(piece.is_paste for piece in pieces):
        for aim in (0.97, 0.9, 0.8, 0.6):
            out = _with_shorter_pastes(pieces, sizes, int(aim * room) - speech, count, asked)
            if count(out) <= room:
                return out
    return from_the_start(text, room, count)


def _with_shorter_pastes(
    pieces: Sequence[Part], sizes: Sequence[int], room: int, count: Count, asked: Sequence[str]
) -> str:
    most = level([size for piece, size in zip(pieces, sizes, strict=True) if piece.is_paste], max(0, room))
    out = [
        piece.text if not piece.is_paste or size <= most else passages(piece.text, most, count, asked)
        for piece, size in zip(pieces, sizes, strict=True)
    ]
    return "".join(out)


def level(sizes: Sequence[int], room: int) -> int:
    """Find the size that the larger ones come down to so that all of them fit."""
    left = room
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def from_the_start(text: str, room: int, count: Count) -> str | None:
    """Keep whole sentences from the start of a text; None where not even the first one fits."""
    note = f" {GAP}"
    left = room - count(note) - 1
    end = 0
    for start, after in sentences(text):
        left -= count(text[start:after])
        if left < 0:
            break
        end = after
    kept = text[:end].rstrip()
    while kept and count(kept + note) > room:  # tokens of two sentences may be more than the sum
        spans = list(sentences(kept))
        kept = kept[: spans[-1][0]].rstrip()
    return kept + note if kept else None


def passages(text: str, room: int, count: Count, asked: Sequence[str] = ()) -> str:
    """Cut a paste to its first, its last and its telling passages, `[…]` between them; a log is cut as a log is."""
    lines = text.split("\n")
    if len(lines) > PASTE_LINES and outliers.is_log(lines):
        return crush.lossy(text, room, count, crush.Wanted.of(asked))
    spans = list(_passages(text))
    if not spans or room <= 0:
        return GAP
    sizes = [count(text[start:end]) + 1 for start, end in spans]
    order = [*_from_both_ends(spans, sizes, int(_ENDS * room)), *_telling(text, spans, asked)]
    aim = room - 2
    for _ in range(_ROUNDS):
        chosen = _fitting(order, sizes, aim)
        out = _assembled(text, spans, chosen)
        size = count(out)
        if size <= room:
            return out
        aim -= size - room + 2
    return GAP


def _passages(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text at blank lines, else at lines; passages that are long are cut into sentences."""
    bounds = [found.end() for found in _BLANK.finditer(text)]
    if len(bounds) + 1 < _LEAST_PASSAGES:
        bounds = [found.end() for found in re.finditer(r"\n+", text)]
    start = 0
    for end in [*bounds, len(text)]:
        if end - start > _LONGEST_PASSAGE_CHARS:
            yield from ((start + a, start + b) for a, b in sentences(text[start:end]))
        elif end > start:
            yield start, end
        start = end


def _from_both_ends(spans: Sequence[tuple[int, int]], sizes: Sequence[int], room: int) -> list[int]:
    """Take passages from the front and the back in turn while they fit."""
    out: list[int] = []
    first, last, front = 0, len(spans) - 1, True
    while first <= last:
        at = first if front else last
        room -= sizes[at]
        if room < 0:
            break
        out.append(at)
        first, last = (first + 1, last) if front else (first, last - 1)
        front = not front
    return out or [0]


def _telling(text: str, spans: Sequence[tuple[int, int]], asked: Sequence[str]) -> list[int]:
    """Order passages by the words of `asked` in them, the rarer the more; then from the front."""
    wanted = {word for said in asked for word in _WORD.findall(said.casefold())}
    bags = [wanted.intersection(_WORD.findall(text[start:end].casefold())) for start, end in spans] if wanted else []
    often = Counter(word for bag in bags for word in bag)
    scores = [round(sum(log(1 + len(bags) / often[word]) for word in sorted(bag)), 6) for bag in bags] or [0.0] * len(
        spans
    )
    return sorted(range(len(spans)), key=lambda n: (-scores[n], n))


def _fitting(order: Iterable[int], sizes: Sequence[int], room: int) -> list[int]:
    chosen: dict[int, None] = {}
    for at in order:
        if at not in chosen and sizes[at] <= room:
            room -= sizes[at]
            chosen[at] = None
    return sorted(chosen)


def _assembled(text: str, spans: Sequence[tuple[int, int]], chosen: Sequence[int]) -> str:
    out: list[str] = []
    before = -1
    for at in chosen:
        start, end = spans[at]
        if at != before + 1:
            out.append(f"{GAP}\n")
        piece = text[start:end]
        out.append(piece if piece.endswith("\n") or at + 1 == len(spans) else f"{piece}\n")
        before = at
    if before + 1 < len(spans):
        out.append(GAP)
    return "".join(out)

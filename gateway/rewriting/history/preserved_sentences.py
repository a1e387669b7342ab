"""The sentences of a text that a policy preserves, as snippets: those around the matches of its patterns.

Patterns are foreign text: none is given much at once. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from gateway.rewriting.history.snippets import PRESERVED, SPACES, Snippet, estimated_tokens, values_in
from gateway.rewriting.language import clauses, sentences

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
        said = SPACES.sub(" ", text[start:after].strip())
        if said:
            whole = f"{'… ' if is_cut_before else ''}{said}{' …' if is_cut_after else ''}"
            yield Snippet(whole, (said, *values_in(said)), worth=PRESERVED)


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

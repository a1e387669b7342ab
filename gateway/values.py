r"""What in a text is a value: ids, numbers, dates, paths, addresses, names out of code. What is left is prose.

A later step can write prose again, but not a value that it cannot see any more. Pure: told from the characters alone,
in time linear in the text. Text that is JSON is read as it stands: what is escaped in it (`\n`, `\u00e9`) parts values
and belongs to none, so that the same values are found in a text and in its JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

# An escape of JSON, a URL, or a run of what holds names, paths, dates and amounts together. Inside a run nothing is
# tried twice.
_RUN = re.compile(
    r"\\(?:[nrt\\\"]|u[\da-fA-F]{4})"
    r"|https?://[^\s\"'<>)\]},`\\]+"
    r"|[#~./]{0,3}\w(?:[\w.%:/@+,#-]*[\w%])?"
)
_GAP = re.compile(r"[\s\"'<>)\]}`]")
"""What stands inside no run."""
_AT_ONCE_CHARS = 65_536
"""How much is searched in one go: other threads wait until the search returns."""
_HUMP = re.compile(r"[a-z\d][A-Z]|[A-Z][a-z]+[A-Z]|[A-Z]{3}")
_JOINED = re.compile(r"\w[_/@]\w|\w::\w|\w\.[a-zA-Z_]\w|\A(?:~|\.{0,2})/\w")
_LONGEST_CHARS = 400
_LEAST_CHARS = 2
_REMEMBERED_CHARS = 64
"""Runs up to this long are remembered; what is longer hardly comes twice, and its length would be the caller's."""


def values(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, value) of each value, in order."""
    for match in _RUN.finditer(text):
        for value, at in _values_of(match[0]):
            start = match.start() + at
            yield start, start + len(value), value


def distinct(text: str) -> set[str]:
    """Return the values of a text, each once: half the price of going through all of them."""
    runs: set[str] = set()
    at = 0
    while at < len(text):
        gap = _GAP.search(text, at + _AT_ONCE_CHARS)
        end = len(text) if gap is None else gap.start()
        runs.update(_RUN.findall(text, at, end))
        at = end
    return {value for run in runs for value, _ in _values_of(run)}


def _values_of(run: str) -> tuple[tuple[str, int], ...]:
    return _remembered(run) if len(run) <= _REMEMBERED_CHARS else tuple(_parts(run))


@lru_cache(32_768)
def _remembered(run: str) -> tuple[tuple[str, int], ...]:
    return tuple(_parts(run))


def _parts(run: str) -> Iterator[tuple[str, int]]:
    """Cut a run at commas that do not stand inside a number; yield what is a value, with its place in the run."""
    if run[0] == "\\":
        return
    at = 0
    for part in (run,) if run.startswith("http") else re.split(r",(?!\d{3}(?!\d))", run):
        if is_value(part):
            yield part, at
        at += len(part) + 1


def is_value(word: str) -> bool:
    """Whether a word is one that prose does not hold: a digit, an inner capital, or an inner joint gives it away."""
    if not _LEAST_CHARS <= len(word) <= _LONGEST_CHARS:
        return False
    if any(map(str.isdigit, word)):
        return True
    return bool(_HUMP.search(word) or _JOINED.search(word))

"""JSON inside a text as sets of records: where each record stands, found lexically so that nothing is written anew.

A set of records is an array with several elements, or an object with many members of one kind. The object that only
wraps such a set (`{"query": …, "results": […]}`) is no record; what stands around the set stays. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:]', re.DOTALL)
_OPENING = re.compile(
    r"^[ \t]*+(?:(?:>|```\w*+)[ \t]*+)?(?=[\[{])|(?<=[>:`])[ \t]*+(?=[\[{][ \t\r\n\"{\[])", re.MULTILINE
)
_LINE = re.compile(r"^[ \t]*(\{[^\r\n]*\})[ \t\r]*$", re.MULTILINE)
_MOST_BROKEN = 24
"""Places that look like JSON and are not, after which a text is taken to hold none."""
_LEAST_CHARACTERS = 240
_LEAST_SCALARS = 8
"""An object of fewer plain values is one record with its fields, not a set."""
_LEAST_ELEMENTS = 2
_MOST_SHARE = 0.7
"""A member that is more of its container than this is what the container is about: look inside."""
_DEEPEST = 200

_decoder = json.JSONDecoder(parse_float=str, parse_int=str)


@dataclass(slots=True)
class Container:
    """An array or object: the spans of its members (of an object: from the key on), and the containers inside."""

    opening: int
    is_object: bool
    end: int = 0
    members: list[tuple[int, int]] = field(default_factory=list)
    inner: list[Container] = field(default_factory=list)
    nested: int = 0
    """Characters of the members that are containers."""


def record_sets(text: str, notes: Collection[tuple[int, int]] = ()) -> list[list[tuple[int, int]]]:
    """Locate the sets of records of every JSON value in a text, in order; each set as the spans of its records.

    `notes` are the spans of members that stand for records which were left out: beside them a set may be small.
    """
    if "{" not in text and "[" not in text:
        return []
    sets: list[list[tuple[int, int]]] = []
    least = 0 if notes else _LEAST_CHARACTERS
    for start, end in _values(text, least):
        root = _tree(text, start, end, least)
        if root is not None:
            sets += _sets(root, frozenset(notes))
    lines = _lines(text) if not sets else []
    return [lines] if lines else sets


def _values(text: str, least: int) -> Iterator[tuple[int, int]]:
    """Yield where valid JSON containers of some size stand."""
    broken = at = 0
    while broken < _MOST_BROKEN and (found := _OPENING.search(text, at)):
        start = found.end()
        try:
            _, end = _decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            broken += 1
            at = start + 1
            continue
        if end - start >= least:
            yield start, end
        at = end


def _lines(text: str) -> list[tuple[int, int]]:
    """Locate JSON lines: one object each."""
    spans: list[tuple[int, int]] = []
    for found in _LINE.finditer(text):
        try:
            json.loads(found[1])
        except (ValueError, RecursionError):
            return []
        spans.append(found.span(1))
    return spans if len(spans) > _LEAST_ELEMENTS else []


def _tree(text: str, start: int, end: int, least: int) -> Container | None:
    """Build the tree of the containers of a valid JSON value."""
    stack: list[Container] = []
    begins: list[int] = []
    for token in _TOKEN.finditer(text, start, end):
        sign = text[token.start()]
        if sign in "[{":
            if len(stack) >= _DEEPEST:
                return None
            stack.append(Container(token.start(), sign == "{"))
            begins.append(token.end())
        elif sign in ",]}":
            _close_member(text, stack[-1], begins[-1], token.start())
            begins[-1] = token.end()
            if sign == ",":
                continue
            done = stack.pop()
            begins.pop()
            done.end = token.end()
            if not stack:
                return done
            if done.end - done.opening >= least:
                stack[-1].inner.append(done)
            stack[-1].nested += done.end - done.opening
    return None


def _close_member(text: str, container: Container, start: int, end: int) -> None:
    while start < end and text[start] in " \t\r\n":
        start += 1
    while end > start and text[end - 1] in " \t\r\n":
        end -= 1
    if end > start:
        container.members.append((start, end))


def _sets(root: Container, notes: AbstractSet[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    out, todo = [], [root]
    while todo:
        container = todo.pop()
        if not notes.isdisjoint(container.members) or _is_set(container):
            out.append(container.members)
        else:
            todo += reversed(container.inner)
    return sorted(out)


def _is_set(container: Container) -> bool:
    size = container.end - container.opening
    members = container.members
    if size < _LEAST_CHARACTERS or len(members) < _LEAST_ELEMENTS:
        return False
    longest = max(end - start for start, end in members)
    if container.is_object:
        if container.nested * 2 > size:
            return len(members) > _LEAST_ELEMENTS and longest < size * _MOST_SHARE / 2
        return len(members) >= _LEAST_SCALARS and longest < size * _MOST_SHARE / 2
    return longest < size * _MOST_SHARE or not any(
        inner.end - inner.opening > size * _MOST_SHARE for inner in container.inner
    )


_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"(\s*+:)?', re.DOTALL)


def long_strings(text: str, start: int, end: int, least: int) -> list[tuple[int, int]]:
    """Locate the insides of a record's string values that are at least so long."""
    return [
        found.span(1)
        for found in _STRING.finditer(text, start, end)
        if found[2] is None and found.end(1) - found.start(1) >= least
    ]


_KEY = re.compile(r'"((?:[^"\\]|\\.)*+)"\s*+:')
_TITLE = re.compile(r'"(?:title|name|heading|subject|headline)"\s*+:\s*+"((?:[^"\\]|\\.)*+)"', re.IGNORECASE)


def title_of(text: str, start: int, end: int) -> str:
    """Name a record: its own key where it is a member, else what it says its title is."""
    found = _KEY.match(text, start, end) or _TITLE.search(text, start, end)
    return found[1] if found else ""

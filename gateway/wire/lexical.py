"""JSON text cut into the bytes of its members, so that what nobody edits is never written anew. The msgspec door.

msgspec finds where each value ends, in C; the walk here finds where each begins and proves on the way that no key
stands twice: two readers of a duplicate key may each believe another value, which is a way around a budget.
Values are then read from those bytes with orjson,
which knows no number beyond a double; such a number rides along and reads as null.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
import orjson

MOST_NESTED = 128
"""Levels of arrays and objects a request may have; more is nobody's real request and some reader's stack overflow."""

_KEY = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*"((?:[^"\\]|\\.)*+)"[ \t\r\n]*:[ \t\r\n]*')
_OBJECT_END = re.compile(rb"[ \t\r\n]*}[ \t\r\n]*\Z")
_EMPTY_OBJECT = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*}[ \t\r\n]*\Z")
_ELEMENT = re.compile(rb"[ \t\r\n]*[\[,][ \t\r\n]*")
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?\d[\d.eE+-]*')
_BEFORE_ELEMENT = b"[,"
_COMMA = re.compile(rb"[ \t\r\n]*,")
_SPACE = ord(" ")
"""No value begins with a byte up to this one, and white space is none beyond it."""
_QUOTE = ord('"')
_ESCAPE = re.compile(rb"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(\\u[dD][89a-fA-F][\da-fA-F]{2})|\\.")
_STEP = {ord("["): 1, ord("]"): -1}
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TOO_DEEP = f"nested more than {MOST_NESTED} levels deep"

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Span(NamedTuple):
    """The place of a value: bytes `start` up to, not including, `end`."""

    start: int
    end: int


_new_span = tuple.__new__
"""A third of the time that `Span(...)` takes, for as many as there are messages."""


class NotJSON(ValueError):
    """The bytes are not the JSON they should be; the message says what and where."""


class DuplicateKey(ValueError):
    """An object holds a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def object_spans(data: bytes) -> dict[str, Span]:
    """Locate the values of an object by key.

    Raises NotJSON, and DuplicateKey where a key of this object (not of objects inside it) stands twice.
    """
    try:
        members = _object.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise NotJSON(_said(error, data)) from None
    spans: dict[str, Span] = {}
    at = 0
    for key, raw in members.items():
        found = _KEY.match(data, at)
        if found is None or not _spells(found[1], key):
            raise DuplicateKey(_duplicate(data))
        start = found.end()
        at = start + len(memoryview(raw))
        spans[key] = Span(start, at)
    if not (_OBJECT_END if members else _EMPTY_OBJECT).match(data, at):
        raise DuplicateKey(_duplicate(data))
    return spans


def array_spans(data: bytes, within: Span) -> list[Span]:
    """Locate the elements of the array that stands at `within`, in the positions of `data`. Raises NotJSON."""
    try:
        elements = _array.decode(memoryview(data)[within.start : within.end])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise NotJSON(_said(error, data)) from None
    spans: list[Span] = []
    at = within.start
    for raw in elements:
        if data[at] in _BEFORE_ELEMENT and data[at + 1] > _SPACE:
            start = at + 1
        elif data[at : at + 2] == b", " and data[at + 2] > _SPACE:
            start = at + 2
        else:
            found = _ELEMENT.match(data, at)
            assert found is not None
            start = found.end()
        at = start + len(memoryview(raw))
        spans.append(_new_span(Span, (start, at)))
    return spans


def value(data: bytes) -> Any:
    """Read a JSON value; numbers of any length are let through. Raises NotJSON, also where nested too deeply."""
    refuse_deep(data)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return _value_of_long_numbers(data, error)


def refuse_deep(data: bytes) -> None:
    """Raise NotJSON for what is nested too deeply."""
    if len(data) <= 2 * MOST_NESTED or data.count(b"[") + data.count(b"{") <= MOST_NESTED:
        return
    if nesting(data) > MOST_NESTED:
        raise NotJSON(_TOO_DEEP)


def nesting(data: bytes) -> int:
    """Count how many arrays and objects of valid JSON stand inside one another at most."""
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(_ALIKE, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def splice(data: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Replace byte ranges, given as (start, end, replacement) and not overlapping, and keep every other byte."""
    out: list[bytes] = []
    at = 0
    for start, end, replacement in sorted(edits, key=lambda edit: (edit[0], edit[1])):
        out += (data[at:start], replacement)
        at = end
    out.append(data[at:])
    return b"".join(out)


def cuts(data: bytes, members: Mapping[str, Span], names: Collection[str]) -> list[tuple[int, int, bytes]]:
    """Take members out of an object, as edits for `splice`. `members`: where its values stand, as `object_spans` says.

    Each goes with one comma, so that what is left is an object whose members keep their bytes.
    """
    out: list[tuple[int, int, bytes]] = []
    before, is_first = data.index(b"{") + 1, True
    for name, (_, end) in members.items():
        upto = end
        if name not in names:
            is_first = False
        else:
            if is_first and (comma := _COMMA.match(data, end)):  # nothing stays before it: the comma behind it goes
                upto = comma.end()
            out.append((before, upto, b""))
        before = upto
    return out


def _said(error: Exception, data: bytes) -> str:
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    at = _lone_surrogate(data)
    return str(error) if at is None else f"a lone surrogate, which is half a character (byte {at})"


def _lone_surrogate(data: bytes) -> int | None:
    """Find the first escape that is half of a surrogate pair: msgspec takes it for a cut or a malformed text."""
    for escape in _ESCAPE.finditer(data):
        if escape[1] is not None:
            return escape.start()
    return None


def _spells(written: bytes, key: str) -> bool:
    if b"\\" in written:
        return bool(orjson.loads(b'"' + written + b'"') == key)
    return written == key.encode()


def _value_of_long_numbers(data: bytes, first: orjson.JSONDecodeError) -> Any:
    """Read what orjson refuses only for the size of a number, with null in its place; other faults stay faults."""
    if "infinity" not in str(first):
        raise NotJSON(str(first)) from None
    try:
        return orjson.loads(_STRING_OR_NUMBER.sub(_finite, data))
    except ValueError as error:  # orjson's own, or what looked like a number and was none
        raise NotJSON(str(error)) from None


def _finite(token: re.Match[bytes]) -> bytes:
    text = token[0]
    return text if text[0] == _QUOTE or math.isfinite(float(text)) else b"null"


def _duplicate(data: bytes) -> str:
    """Name the key that stands twice in the outermost object."""

    def pairs(found: Sequence[tuple[str, Any]]) -> str | None:
        seen = Counter(key for key, _ in found)
        return next((key for key, times in seen.items() if times > 1), None)

    try:
        return str(json.loads(data, object_pairs_hook=pairs, parse_int=str) or "?")
    except (ValueError, RecursionError):
        return "?"

r"""Server-sent events: how they are cut apart and written. The framing alone, whatever they say. Pure.

An event here: from its first byte that is no line ending to the end of the first blank line after it. Lines end in LF,
CR or CRLF, and CRLF is one ending (https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing an event
stream"), so a blank line is two endings in a row: \n\n, \n\r or \r\r in the bytes; an LF after a last CR is part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.wire import lenient

BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
"""The end of an event: two line endings, each of any kind. Atomic, or CRLF would be read as two."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK_LINES: Final = (b"\n\n", b"\n\r", b"\r\r")


def event(data: bytes) -> bytes:
    """Write an event with this data."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines() or [b""])
    return b"data: " + data + b"\n\n"


def last_blank_line(data: bytes, before: int) -> int:
    """Return where the last blank line before `before` ends; 0 where there is none."""
    if data.find(b"\r") < 0:
        at = data.rfind(b"\n\n", 0, before)
    else:
        at = max(data.rfind(ending, 0, before) for ending in _BLANK_LINES)
    return _past_blank_line(data, at) if at >= 0 else 0


def _past_blank_line(data: bytes, at: int) -> int:
    """Step over the two line endings at `at`, whose second may be CRLF."""
    return at + 3 if data.startswith(b"\r\n", at + 1) else at + 2


def event_at(block: bytes, at: int) -> tuple[int, int]:
    """Return the bounds of the event that the byte at `at` is part of."""
    start = last_blank_line(block, at)
    while block.startswith((b"\n", b"\r"), start):
        start += 1
    endings = (b"\n\n",) if block.find(b"\r") < 0 else _BLANK_LINES
    ends = [found for ending in endings if (found := block.find(ending, at)) >= 0]
    return start, _past_blank_line(block, min(ends)) if ends else len(block)


def events_with(block: bytes, marks: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the whole events in which any of some texts stands, each once and in order; no other is cut out."""
    places = [block.find(mark) for mark in marks]
    while found := [place for place in places if place >= 0]:
        start, end = event_at(block, min(found))
        yield block[start:end]
        places = [
            block.find(mark, end) if 0 <= place < end else place for mark, place in zip(marks, places, strict=True)
        ]


def events(block: bytes) -> Iterator[bytes]:
    """Cut whole events apart, as far as they are asked for."""
    start = 0
    if block.find(b"\r") < 0:
        while (end := block.find(b"\n\n", start)) >= 0:
            yield block[start:end]
            start = end + 2
    while start < len(block):
        found = BLANK_LINE.search(block, start)
        end = len(block) if found is None else found.end()
        yield block[start:end]
        start = end


def data_of(event: bytes) -> bytes:
    """Join the event's data lines."""
    event = event.strip(b"\r\n")
    if event.startswith(b"data: ") and event.find(b"\n") < 0 and event.find(b"\r") < 0:
        return event[6:]
    values = []
    for line in event.removeprefix(_BOM).splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values)


def name_of(event: bytes) -> bytes | None:
    """Return what an event is called."""
    for line in event.splitlines():
        field, _, value = line.partition(b":")
        if field == b"event":
            return value.strip()
    return None


def fields_of(event: bytes) -> dict[str, Any] | None:
    """Parse the event's data where it is a JSON object."""
    data = data_of(event)
    if not data.lstrip().startswith(b"{"):
        return None
    fields = lenient.read(data)
    return fields if isinstance(fields, dict) else None

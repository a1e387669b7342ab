"""An event of a stream that is too long to be held until it is complete. Only its two ends are read. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from gateway.wire.sse import BLANK_LINE

END_BYTES: Final = 4096
"""Bytes at either end of a long event in which its usage and finish reason are looked for."""

_MEDIA: Final = re.compile(rb';base64,|"b64_json"|"audio"')
"""Signs at the beginning of an event that it holds media and not text."""
_USAGE: Final = re.compile(rb'"usage": ?(?=\{)')
_FINISH: Final = re.compile(rb'"finish_reason": ?"(\w{1,40})"')


class LongEvent:
    """One long event on its way through."""

    __slots__ = ("_head", "_tail", "is_media", "size")

    def __init__(self, beginning: bytes) -> None:
        self._head = beginning[:END_BYTES]
        self._tail = beginning[-END_BYTES:]
        self.is_media = _MEDIA.search(beginning) is not None
        self.size = len(beginning)

    def feed(self, chunk: bytes) -> int | None:
        """Take bytes that follow; return how many of them belong to it where it ends in them, else None."""
        found = BLANK_LINE.search(self._tail[-1:] + chunk)
        end = None if found is None else found.end() - 1
        part = chunk if end is None else chunk[:end]
        self.size += len(part)
        self._tail = (self._tail + part)[-END_BYTES:]
        return end

    def finish_reason(self) -> str | None:
        """Return its finish reason, where one stands near an end of it."""
        found = _FINISH.search(self._tail) or _FINISH.search(self._head)
        return None if found is None else found[1].decode()

    def usage(self) -> dict[str, Any] | None:
        """Return its usage, where one stands near its end."""
        read = json.JSONDecoder().raw_decode
        for hit in _USAGE.finditer(self._tail):
            try:
                found, _ = read(self._tail[hit.end() :].decode(errors="replace"))
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                return found
        return None

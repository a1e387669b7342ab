"""The number of pages of a PDF, read from its page tree and nothing else. Pure, linear, and bounded in all that it
reads.

Newer files keep the page tree in compressed object streams, so those are inflated, one after the other and each up to a
bound. Streams of pages, fonts and pictures are passed over unread. No library: the well-kept ones read the whole file
into objects, and a file made to be slow or large holds them up. Source of the format: ISO 32000-1, 7.5 and 7.7.3.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MOST_BYTES: Final = 8 * 2**20
"""Of a file that are looked at: half from its beginning, half from its end."""
MOST_PAGES: Final = 1000
"""More than any provider takes (Anthropic 600, OpenAI and Gemini 1,000), whatever a file says of itself."""

_MOST_SCANNED: Final = 2 * 2**20  # bytes outside of streams
_MOST_INFLATED: Final = 2 * 2**20
_MOST_OF_ONE: Final = 512 * 1024
_MOST_STREAMS: Final = 512
_MOST_TOKENS: Final = 200_000
_MOST_NESTED: Final = 64

_TOKEN: Final = re.compile(
    rb"<<|>>|\bobj\b|\bstream\b|/Type[ \r\n\t]{0,8}/(?:Pages?|ObjStm)\b|/Linearized\b"
    rb"|/(?:Count|N)[ \r\n\t]{1,8}(\d{1,7})\b"
)


@dataclass(slots=True)
class _Dictionary:
    kind: bytes = b""
    count: int = 0
    number: int = 0


class _Reading:
    """The bytes that were read, and those that may be read still."""

    def __init__(self) -> None:
        self.pages = self.leaves = 0
        self._tokens, self._streams = _MOST_TOKENS, _MOST_STREAMS
        self._scanned, self._inflated = _MOST_SCANNED, _MOST_INFLATED

    def read(self, data: bytes, at: int = 0, *, inflated: bool = False) -> None:
        """Walk through the dictionaries of a piece of a file from `at` on, or of an object stream."""
        open_: list[_Dictionary] = []
        closed = _Dictionary()
        while self._tokens > 0 and self._scanned > 0:
            found = _TOKEN.search(data, at, at + self._scanned)
            if found is None:
                self._scanned -= min(len(data) - at, self._scanned)
                return
            self._tokens -= 1
            self._scanned -= found.end() - at
            at, token = found.end(), found[0]
            if token == b"<<":
                if len(open_) < _MOST_NESTED:
                    open_.append(_Dictionary())
            elif token == b">>":
                if open_:
                    closed = open_.pop()
                    self._take(closed)
            elif token == b"obj":
                open_, closed = [], _Dictionary()
            elif token == b"stream":
                if not inflated:
                    end = data.find(b"endstream", at)
                    end = len(data) if end < 0 else end
                    if closed.kind == b"/ObjStm":
                        self._inflate(data[at:end])
                    at, closed = end, _Dictionary()
            elif open_:
                _note(open_[-1], token, found[1])

    def _take(self, one: _Dictionary) -> None:
        if one.kind == b"/Pages":
            self.pages = max(self.pages, one.count)
        elif one.kind == b"/Linearized":
            self.pages = max(self.pages, one.number)
        elif one.kind == b"/Page":
            self.leaves += 1

    def _inflate(self, data: bytes) -> None:
        if self._streams <= 0 or self._inflated <= 0:
            return
        self._streams -= 1
        try:
            said = zlib.decompressobj().decompress(data.lstrip(b"\r\n"), min(_MOST_OF_ONE, self._inflated))
        except zlib.error:
            return
        self._inflated -= len(said)
        self.read(said, inflated=True)


def _note(one: _Dictionary, token: bytes, number: bytes | None) -> None:
    if token.startswith(b"/Type"):
        one.kind = token[token.rindex(b"/") :]
    elif token == b"/Linearized":
        one.kind = token
    elif token.startswith(b"/Count"):
        one.count = int(number or 0)
    else:
        one.number = int(number or 0)


def pages(pieces: Iterable[bytes]) -> int | None:
    """Count the pages of a file, given in one piece or as its beginning and its end; None where it does not say."""
    reading = _Reading()
    for number, piece in enumerate(pieces):
        reading.read(piece, 0 if number == 0 else max(0, piece.find(b"endobj")))
    return min(MOST_PAGES, reading.pages or reading.leaves) or None

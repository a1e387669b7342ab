"""Packed bodies (`content-encoding`), unpacked in pieces: what they become is bounded before it is held. Pure.

gzip and deflate come with Python. zstd and br would each need a package that nothing else here does.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

PIECE_BYTES: Final = 64 * 1024
"""Bytes that are unpacked at a time."""
MOST_MEMBERS: Final = 1_000
"""gzip files in a row that are read as one body. Empty ones cost time and give nothing."""
_ZLIB: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's numbers for the packings of RFC 9110, 8.4.1. `deflate` is the zlib format."""


READ: Final = ("gzip", "deflate")
"""The packings that clients are told can be read, and all that are read of an upstream."""


class BadPacking(Exception):
    """The bytes are not what they are said to be; the message says how."""


def is_read(encoding: str) -> bool:
    """Whether a body packed like this can be unpacked."""
    return encoding in _ZLIB


def unpacked(encoding: str, body: bytes) -> Iterator[bytes]:
    """Yield what a whole body holds, piece by piece. Raises BadPacking."""
    zipped = Zipped(encoding)
    for at in range(0, len(body), PIECE_BYTES):  # what is not used of them is copied at every piece
        yield from zipped.feed(body[at : at + PIECE_BYTES])
    zipped.finish()


class Zipped:
    """One gzip or deflate body, as it comes."""

    __slots__ = ("_members", "_object", "_wbits")

    def __init__(self, encoding: str) -> None:
        self._wbits = _ZLIB[encoding]
        self._object = zlib.decompressobj(self._wbits)
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes become, in pieces. Raises BadPacking."""
        while data:
            if self._object.eof:
                self._members += 1
                if self._members == MOST_MEMBERS:
                    raise BadPacking(f"it is made of more than {MOST_MEMBERS:,} packed parts")
                self._object = zlib.decompressobj(self._wbits)
            piece = self._piece(data)
            data = self._object.unused_data if self._object.eof else self._object.unconsumed_tail
            if piece:
                yield piece
        # What a full piece held back is still inside: it comes with the next bytes, or by asking for it.
        while not self._object.eof and (piece := self._piece(b"")):
            yield piece

    def _piece(self, data: bytes) -> bytes:
        try:
            return self._object.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise BadPacking(str(error)) from error

    def finish(self) -> None:
        """Raise BadPacking where the end is missing."""
        if not self._object.eof:
            raise BadPacking("its end is missing")

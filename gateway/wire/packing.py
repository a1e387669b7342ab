"""Packed bodies (`content-encoding`), unpacked in pieces: what they become is bounded before it is held. Pure.

gzip and deflate come with Python, zstd with a package, whose door this is. br would need another one.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Final

import zstandard

PIECE_BYTES: Final = 64 * 1024
"""Bytes that are unpacked at a time."""
MOST_MEMBERS: Final = 1_000
"""gzip files in a row that are read as one body. Empty ones cost time and give nothing."""
_ZLIB: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's numbers for the packings of RFC 9110, 8.4.1. `deflate` is the zlib format."""


READ: Final = ("gzip", "deflate", "zstd")
"""Packings that clients are told to use."""
FROM_UPSTREAM: Final = ("gzip", "deflate")
"""Packings of an upstream that are read, though it is asked for none."""
_MOST_WINDOW: Final = 8 * 2**20
"""Bytes that zstd may look back, and so holds: no client may ask for more (RFC 9659, 3)."""
_ZSTD, _ZSTD_SKIPPED = 0xFD2FB528, 0x184D2A50
"""First bytes of frames of zstd (RFC 8878, 3.1): with data, and, up to the last four bits, without."""
_RUN_OF_ONE_BYTE: Final = 1
_RESERVED_BLOCK: Final = 3


class BadPacking(Exception):
    """The bytes are not what they are said to be; the message says how."""


def is_read(encoding: str) -> bool:
    """Whether a body packed like this can be unpacked."""
    return encoding in _ZLIB or encoding == "zstd"


def unpacked(encoding: str, body: bytes) -> Iterator[bytes]:
    """Yield what a whole body holds, piece by piece. Raises BadPacking."""
    if encoding == "zstd":
        yield from _unpacked_zstd(body)
        return
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


def _unpacked_zstd(body: bytes) -> Iterator[bytes]:
    """Yield what frames of zstd hold; the reader hides that an end is missing, so that is looked for first."""
    at = frames = 0
    while at < len(body):
        frames += 1
        if frames > MOST_MEMBERS:
            raise BadPacking(f"it is made of more than {MOST_MEMBERS:,} packed parts")
        at = _end_of_frame(body, at)
    if not frames:
        raise BadPacking("its end is missing")
    reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(
        io.BytesIO(body), read_size=PIECE_BYTES, read_across_frames=True
    )
    try:
        while piece := reader.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError as error:
        raise BadPacking(str(error)) from error


def _end_of_frame(body: bytes, at: int) -> int:
    """Return where a frame of zstd ends: behind the last of its blocks, which tell their sizes (RFC 8878, 3.1)."""
    magic = int.from_bytes(body[at : at + 4], "little")
    if magic & ~0xF == _ZSTD_SKIPPED:
        at += 8 + int.from_bytes(body[at + 4 : at + 8], "little")
    elif magic == _ZSTD and len(body) > at + 4:
        descriptor = body[at + 4]
        whole_in_one = bool(descriptor & 32)
        at += 5 + (not whole_in_one) + (0, 1, 2, 4)[descriptor & 3] + (whole_in_one, 2, 4, 8)[descriptor >> 6]
        is_last = False
        while not is_last and at < len(body):
            block = int.from_bytes(body[at : at + 3], "little")
            is_last, kind = bool(block & 1), block >> 1 & 3
            if kind == _RESERVED_BLOCK:
                raise BadPacking("one of its blocks is of no known type")
            at += 3 + (1 if kind == _RUN_OF_ONE_BYTE else block >> 3)
        at += 4 if descriptor & 4 else 0
        if not is_last:
            raise BadPacking("its end is missing")
    else:
        raise BadPacking("it does not begin as it should")
    if at > len(body):
        raise BadPacking("its end is missing")
    return at

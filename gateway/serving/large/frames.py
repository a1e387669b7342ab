"""Messages between a worker and a process that plans for it: frames over a socket that blocks.

Both ends are this program, so values are pickled; nothing that crosses was pickled by anybody else. A value is read in
pieces of a few milliseconds, because whoever reads one has the interpreter for as long as that takes.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

_HEAD: Final = struct.Struct("<cQ")
VALUE, BYTES, ASKED, END, FAULT = b"v", b"b", b"?", b".", b"!"
"""Kinds of frames: a value, bytes as they are, a question back, the end of an answer, an error in its place."""
PIECE: Final = 250
"""Values in one piece of a long list."""
PIECE_CHARS: Final = 1_000_000

V = TypeVar("V")


class Ended(Exception):
    """The other side is gone."""


def send(line: socket.socket, kind: bytes, value: Any = None) -> None:
    """Send one frame. Raises Ended."""
    data = value if kind == BYTES else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        line.sendall(_HEAD.pack(kind, len(data)))
        line.sendall(data)
    except OSError as error:
        raise Ended(str(error)) from error


def receive(line: socket.socket) -> tuple[bytes, Any]:
    """Receive one frame: its kind and its value. Raises Ended."""
    kind, size = _HEAD.unpack(_read(line, _HEAD.size))
    data = _read(line, size)
    return kind, data if kind == BYTES else pickle.loads(data)  # noqa: S301  # by the other half of this program


def _read(line: socket.socket, size: int) -> bytes:
    """Read so many bytes into the place where they stay."""
    if not size:
        return b""
    held = io.BytesIO()
    held.seek(size - 1)
    held.write(b"\0")
    with held.getbuffer() as rest:
        at = 0
        try:
            while at < size:
                with rest[at:] as left:
                    count = line.recv_into(left)
                if not count:
                    raise Ended("closed")
                at += count
        except OSError as error:
            raise Ended(str(error)) from error
    return held.getvalue()  # its own buffer, and no copy


def list_pieces(values: Sequence[V], size: Any = None) -> Iterator[list[V]]:
    """Cut a list into pieces that are read in a few milliseconds; `size` tells how many characters a value has."""
    piece: list[V] = []
    chars = 0
    for value in values:
        piece.append(value)
        chars += 0 if size is None else size(value)
        if len(piece) >= PIECE or chars >= PIECE_CHARS:
            yield piece
            piece, chars = [], 0
    if piece:
        yield piece

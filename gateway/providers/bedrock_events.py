"""The stream of Claude on Bedrock: frames of AWS's, each around one event, as the server-sent events they hold. Pure.

A frame is two lengths and their checksum, headers, a payload, and the checksum of it all; numbers are big-endian
(docs.aws.amazon.com/transcribe/latest/dg/event-stream.html). The payload of a `chunk` holds an event in base64, whose
bytes are passed on as they are
(docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final
from zlib import crc32

import orjson

LONGEST_FRAME: Final = 25 * 2**20
"""Bytes of a frame: a payload has at most 24 MB, headers 128 kB."""

_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_LEAST: Final = _PRELUDE.size + _CHECKSUM.size
_STRING: Final = 7
_WIDTHS: Final[Mapping[int, int]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type, where they are not said before it."""

_TYPES: Final[Mapping[str, str]] = {
    "throttlingException": "rate_limit_error",
    "serviceUnavailableException": "overloaded_error",
    "modelTimeoutException": "timeout_error",
    "validationException": "invalid_request_error",
}
"""Exceptions of a stream by Anthropic's names; all others are `api_error`."""


class BrokenFrame(ValueError):
    """Bytes that are no frame, or whose checksum is another."""


class BedrockEvents:
    """Turns the bytes of a stream into server-sent events; holds back what is no whole frame yet.

    Raises BrokenFrame.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> bytes:
        data, at = self._rest + part, 0
        out: list[bytes] = []
        while (size := _frame_size(data, at)) is not None and len(data) - at >= size:
            out.append(_event(data[at : at + size]))
            at += size
        self._rest = data[at:]
        return b"".join(out)

    def end(self) -> bytes:
        """Return nothing: a frame that was cut off says nothing."""
        self._rest = b""
        return b""


def _frame_size(data: bytes, at: int) -> int | None:
    """Return the bytes of the frame that begins at a place; None where its lengths are still to come."""
    if len(data) - at < _PRELUDE.size:
        return None
    size, headers, checksum = _PRELUDE.unpack_from(data, at)
    if crc32(data[at : at + 8]) != checksum:
        raise BrokenFrame("the checksum of a frame's lengths is another")
    if not _LEAST + headers <= size <= LONGEST_FRAME:
        raise BrokenFrame(f"a frame of {size:,} bytes with {headers:,} bytes of headers")
    return int(size)


def _event(frame: bytes) -> bytes:
    """Write the event that a whole frame holds; nothing for a frame of another kind."""
    if crc32(frame[:-4]) != _CHECKSUM.unpack_from(frame, len(frame) - 4)[0]:
        raise BrokenFrame("the checksum of a frame is another")
    start = _PRELUDE.size
    stop = start + _PRELUDE.unpack_from(frame)[1]
    headers, payload = dict(_headers(frame[start:stop])), _read(frame[stop:-4])
    match headers.get(":message-type"):
        case "event" if headers.get(":event-type") == "chunk":
            return _chunk(payload)
        case "exception":
            return _error(headers.get(":exception-type", ""), str(payload.get("message") or ""))
        case "error":
            return _error(headers.get(":error-code", ""), headers.get(":error-message", ""))
    return b""


def _headers(raw: bytes) -> Iterator[tuple[str, str]]:
    """Yield the headers whose value is a text."""
    at = 0
    try:
        while at < len(raw):
            name = raw[at + 1 : at + 1 + raw[at]].decode()
            at += 1 + raw[at]
            kind = raw[at]
            at += 1
            if (width := _WIDTHS.get(kind)) is None:
                width = _LENGTH.unpack_from(raw, at)[0]
                at += 2
            if kind == _STRING:
                yield name, raw[at : at + width].decode()
            at += width
    except (IndexError, ValueError, struct.error) as error:
        raise BrokenFrame(f"the headers of a frame cannot be read: {error}") from None


def _read(payload: bytes) -> Mapping[str, Any]:
    try:
        read = orjson.loads(payload or b"{}")
    except orjson.JSONDecodeError as error:
        raise BrokenFrame(f"the payload of a frame is no JSON: {error}") from None
    return read if isinstance(read, dict) else {}


def _chunk(payload: Mapping[str, Any]) -> bytes:
    """Write the event in a chunk under the name that it gives itself."""
    try:
        data = base64.b64decode(str(payload.get("bytes") or ""), validate=True)
        fields = orjson.loads(data)
    except (binascii.Error, orjson.JSONDecodeError) as error:
        raise BrokenFrame(f"an event of a frame cannot be read: {error}") from None
    kind = fields.get("type") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or not kind.isidentifier():
        return b""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data.replace(b"\n", b" ").replace(b"\r", b" "))


def _error(name: str, message: str) -> bytes:
    """Write an exception as Anthropic's stream tells of an error."""
    error = {"type": _TYPES.get(name, "api_error"), "message": message or name or "the stream broke off"}
    return b"event: error\ndata: " + orjson.dumps({"type": "error", "error": error}) + b"\n\n"

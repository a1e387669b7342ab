"""Frames of AWS's event streams: docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html, which Bedrock
uses too. Two lengths and their checksum, headers, payload, the checksum of it all; numbers are big-endian.
"""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

STRING = 7
"""The type of a header whose value is a string."""


def frame(event: str, payload: dict[str, Any], kind: str = "event") -> bytes:
    """Encode one event; `kind` is `exception` for an error in the stream."""
    names = {":message-type": kind, ":content-type": "application/json"}
    names[":event-type" if kind == "event" else ":exception-type"] = event
    headers = b"".join(_header(name, value) for name, value in names.items())
    body = json.dumps(payload).encode()
    lengths = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    prelude = lengths + struct.pack(">I", crc32(lengths))
    whole = prelude + headers + body
    return whole + struct.pack(">I", crc32(whole))


def _header(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", STRING, len(value)) + value.encode()

"""JSON of an upstream, read and written whatever is in it: half a surrogate pair, NaN, a number of thirty digits, or
nesting without end. Pure.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import orjson

DEEPEST: Final = 100
"""Levels that are written of a value that cannot be written as it is."""


def read(data: bytes) -> Any:
    """Read what an upstream wrote; None where it is not JSON. For half a surrogate pair, or NaN, nothing is lost."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return None


def write(value: Any) -> bytes:
    """Write a value that was read leniently. Values nested deeper than `DEEPEST` are cut where they cannot be
    written.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(_clipped(value, DEEPEST)).encode()


def join_halves(text: str) -> str:
    """Join the halves of surrogate pairs that came apart; a half that stays alone is replaced."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _clipped(value: Any, levels: int) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, dict | list) or not value:
        return value
    if not levels:
        return None
    if isinstance(value, dict):
        return {name: _clipped(inner, levels - 1) for name, inner in value.items()}
    return [_clipped(inner, levels - 1) for inner in value]

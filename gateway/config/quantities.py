"""Amounts as people write them in YAML: `32k`, `10%`, `32MB`, `1mo`. Pure.

Each function takes what YAML gave and returns a number, or raises ValueError with a message for the operator.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

_TOKENS = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kM]?)\Z")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%\Z")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%? ?[-–] ?([0-9]+(?:\.[0-9]+)?) ?%\Z")
_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?\Z")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w|mo)\Z")

TOKENS_PATTERN = r"^[0-9]+(\.[0-9]+)?[kM]?$"
SHARE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?%$"
SPAN_PATTERN = r"^[0-9]+(\.[0-9]+)? ?%? ?[-–] ?[0-9]+(\.[0-9]+)? ?%$"
BYTES_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$"
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w|mo)$"

_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}
_BYTE_FACTORS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_SECONDS |= {"d": _SECONDS["h"] * 24, "w": _SECONDS["h"] * 24 * 7}


def tokens(value: Any) -> int:
    """Read a count: 4000, `4k` = 4,000, `2M` = 2,000,000."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _TOKENS.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{_shown(value)} is not a count; write 4000, 4k or 2M")
    count = Decimal(found[1]) * _FACTORS[found[2]]
    if count != count.to_integral_value():
        raise ValueError(f"{_shown(value)} is not a whole number of tokens")
    return int(count)


def share(value: Any) -> float:
    """Read a share from 0 to 1: `10%` or 0.1."""
    found = _SHARE.match(value) if isinstance(value, str) else None
    if found is not None:
        portion = float(Decimal(found[1]) / 100)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        portion = float(value)
    else:
        raise ValueError(f"{_shown(value)} is not a share; write 10% or 0.1")
    if not 0 <= portion <= 1:
        hint = f"; write {value:g}% for a percentage" if isinstance(value, int | float) and 1 < value <= 100 else ""
        raise ValueError(f"{_shown(value)} is not between 0% and 100%{hint}")
    return portion


def share_or_tokens(value: Any) -> float | int:
    """Read a share (a float: `25%`, 0.25) or an amount of tokens (an int: `12k`, 12000); 0 and 1 are shares.

    A whole number up to 100 is refused: nobody means so few tokens, and many mean a percentage.
    """
    amount = isinstance(value, int) and not isinstance(value, bool) and value > 100
    if amount or (isinstance(value, str) and _TOKENS.match(value)):
        return tokens(value)
    if isinstance(value, str) and not _SHARE.match(value):
        raise ValueError(f"{_shown(value)} is neither a share nor an amount of tokens; write 10%, 0.1 or 12k")
    return share(value)


def span(value: Any) -> tuple[float, float]:
    """Read two shares, the lower one first: `60-75%` = (0.6, 0.75)."""
    parts = _SPAN.match(value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError(f"{_shown(value)} is not a range of shares; write 60-75%")
    low, high = (float(Decimal(number) / 100) for number in parts.groups())
    if not low < high <= 1:
        raise ValueError(f"{_shown(value)} is not a range from a lower to a higher share of at most 100%")
    return low, high


def size_in_bytes(value: Any) -> int:
    """Read a size: 1000, `32MB` = 32,000,000, `32MiB` = 33,554,432."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = _BYTES.match(value) if isinstance(value, str) else None
    size = int(Decimal(found[1]) * _BYTE_FACTORS[found[2] or "B"]) if found else 0
    if size <= 0:
        raise ValueError(f"{_shown(value)} is not a size; write 32MB or 512kB")
    return size


def seconds(value: Any) -> float:
    """Read a time span in seconds: 8, `8s`, `500ms`, `2m`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None or found[2] not in _SECONDS or not Decimal(found[1]):
        raise ValueError(f"{_shown(value)} is not a time; write 8s, 500ms or 2m")
    return float(Decimal(found[1]) * _SECONDS[found[2]])


def period(value: Any) -> str:
    """Check a budget's period, `30s` to `1mo`; a month is the calendar's, so it stays a word."""
    if not isinstance(value, str) or not _DURATION.match(value) or value.endswith("ms"):
        raise ValueError(f"{_shown(value)} is not a period; write 1d, 30d or 1mo")
    return value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

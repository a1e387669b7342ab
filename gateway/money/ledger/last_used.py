"""The time of each key's latest request in the books. Files are read backwards and no further than a bound."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from gateway.money.ledger import files

MOST_BYTES: Final = 256 * 1024 * 1024
"""Bytes of the books that are read for it: some 300,000 requests."""
_PIECE: Final = 1024 * 1024
_TIME: Final = re.compile(rb'"ts":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"')
_KEY: Final = re.compile(rb'"key":"([A-Za-z0-9._-]{1,64})"')


def last_used(directory: Path, keys: Iterable[str], most: int = MOST_BYTES) -> dict[str, datetime]:
    """Return when each of these keys last asked for anything; those that are not in it were not used lately."""
    wanted, latest, left = set(keys), dict[str, datetime](), most
    for path in sorted(files(directory, date.min, date.max), key=lambda one: one.name, reverse=True):
        if left <= 0 or wanted <= latest.keys():
            break
        left -= _read(path, wanted, latest, left)
    return latest


def _read(path: Path, wanted: set[str], latest: dict[str, datetime], most: int) -> int:
    """Take in a file from its end on; returns the bytes that were read."""
    with path.open("rb", buffering=0) as file:
        end = file.seek(0, 2)
        start, rest = end, b""
        while start > 0 and end - start < most:
            step = min(_PIECE, start)
            start -= step
            file.seek(start)
            piece = file.read(step) + rest
            begin = piece.find(b"\n") + 1 if start else 0
            rest = piece[:begin][-_PIECE:]
            for line in piece[begin:].split(b"\n"):
                key, time = _KEY.search(line), _TIME.search(line)
                if key is not None and time is not None and (name := key[1].decode()) in wanted:
                    at = datetime.strptime(time[1].decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                    latest[name] = max(at, latest.get(name, at))
        return end - start

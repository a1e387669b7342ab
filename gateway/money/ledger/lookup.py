"""One request in the books, found by its time: a file's lines are in the order of theirs, so it begins near the place.

Files are read in bounded pieces and never as a whole: who looks for a line in a gigabyte holds neither the interpreter
nor the memory. The server looks up in threads of its own, one request of a key at a time.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from gateway.money.ledger import DAY_SECONDS, EPOCH_DAY, Folders, files, id_time, members_of, timestamp
from gateway.money.row import LedgerRow

PIECE_BYTES: Final = 256 * 1024
"""Bytes of a file that are read at a time. A line is under 1 kB; what is longer than a piece is no line of ours."""
CLOCK_SECONDS: Final = 60.0
"""Seconds that two clocks of one ledger, or one clock before and after it was set, may be apart."""
OPEN_SECONDS: Final = 6 * 3600.0
"""Seconds after its id was made in which a request is opened: its body comes in between."""
MOST_WAITING: Final = 16
"""Lookups of one key that may wait for one another."""
_THREADS: Final = 2
_LATEST: Final = 2.5e11
"""Seconds after which no calendar of ours goes on: the year 9892."""
_TIME: Final = re.compile(rb'"ts":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"')


class TooManyLookups(Exception):
    """More of one key wait than `MOST_WAITING`."""


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One request in the ledger: its opened line overlaid with its settled one."""

    row: LedgerRow
    opened_at: str | None
    """The time of its opened line; None where there is none."""
    settled_at: str | None
    """As `opened_at`; None where the request was never settled."""
    members: Mapping[str, Any]
    """All of both lines, as they were written, for JSON: with these two times; where it was never settled, its status
    is `unsettled`."""


def find(folders: Folders, request_id: str) -> LedgerRecord | None:
    """Return what the books say of one request; None = nothing.

    Its id says the day; the day after is read too, since a request may pass midnight.
    """
    at = id_time(request_id)
    if at is None or at > _LATEST:
        return None
    day = date.fromordinal(EPOCH_DAY + int(at // DAY_SECONDS))
    merged: dict[str, Any] = {}
    opened_at: str | None = None
    for path in files(folders, day, day + timedelta(days=1)):
        for members in _lines_with(path, request_id, at, is_open=bool(merged)):
            match members["event"]:
                case "opened":
                    merged, opened_at = {**members, **merged}, members.get("ts")
                case "settled":  # the last line of a request
                    return _record({**merged, **members}, opened_at, members.get("ts"))
    return _record(merged, opened_at, None) if merged else None


def _record(members: Mapping[str, Any], opened_at: str | None, settled_at: str | None) -> LedgerRecord:
    shown = {**members, "opened_at": opened_at, "settled_at": settled_at}
    if members["event"] == "opened":
        shown = {"status": "unsettled", **shown}
    return LedgerRecord(LedgerRow.from_members(members), opened_at, settled_at, shown)


def _lines_with(path: Path, request_id: str, at: float, *, is_open: bool) -> Iterator[dict[str, Any]]:
    """Yield the members of a request's lines in a file, from its moment on; none where it is not opened in time."""
    needle, latest = request_id.encode(), timestamp(at + OPEN_SECONDS).encode()
    with path.open("rb", buffering=0) as file:
        for block in _blocks(file, _offset_of(file, timestamp(at - CLOCK_SECONDS).encode())):
            found = block.find(needle)
            while found >= 0:
                end = block.find(b"\n", found)
                end = len(block) if end < 0 else end
                members = members_of(block[block.rfind(b"\n", 0, found) + 1 : end])
                if members is not None and members.get("id") == request_id:
                    is_open = True
                    yield members
                found = block.find(needle, end)
            if not is_open and (moment := _TIME.search(block)) is not None and moment[1] > latest:
                return


def _blocks(file: BinaryIO, start: int) -> Iterator[bytes]:
    """Yield a file from a line's beginning on in blocks of whole lines; the last may be torn."""
    file.seek(start)
    rest = b""
    while piece := file.read(PIECE_BYTES):
        end = piece.rfind(b"\n") + 1
        if end:
            yield rest + piece[:end]
            rest = piece[end:]
        else:
            rest = (rest + piece)[-PIECE_BYTES:]
    if rest:
        yield rest


def _offset_of(file: BinaryIO, moment: bytes) -> int:
    """Return the beginning of a line before which no line is of this moment or later. Reads a few blocks."""
    low, high = 0, os.fstat(file.fileno()).st_size
    while high - low > PIECE_BYTES:
        middle = (low + high) // 2
        start, written = _line_after(file, middle)
        if written is None or written >= moment or start >= high:
            high = middle
        else:
            low = start
    return low


def _line_after(file: BinaryIO, at: int) -> tuple[int, bytes | None]:
    """Return where the first line after `at` begins that tells its time, and that time; (`at`, None) = none near."""
    file.seek(at)
    block = file.read(PIECE_BYTES // 4)
    begins = block.find(b"\n") + 1
    moment = _TIME.search(block, begins) if begins else None
    if moment is None:
        return at, None
    return at + block.rfind(b"\n", 0, moment.start()) + 1, moment[1]


@dataclass(slots=True)
class Lookups:
    """The lookups of one process: in threads of their own, those of one key one after the other."""

    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "lookup"))
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    _waiting: dict[str, int] = field(default_factory=dict)

    async def find(self, directory: Path, request_id: str, key: str) -> LedgerRecord | None:
        """Look a request up for a key. Raises TooManyLookups."""
        waiting = self._waiting.get(key, 0)
        if waiting > MOST_WAITING:
            raise TooManyLookups
        self._waiting[key] = waiting + 1
        try:
            async with self._turns.setdefault(key, asyncio.Lock()):
                return await asyncio.get_running_loop().run_in_executor(self._threads, find, directory, request_id)
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._turns[key]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

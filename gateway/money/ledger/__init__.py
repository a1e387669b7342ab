"""The books: append-only JSON lines, one file a UTC day and worker.

Appends that meet in one tick of the event loop share one `os.write` (a group commit); an append returns when its line
is in the file, which survives the death of the process but, without a sync, not that of the machine. A write that the
kernel cuts short goes on where it stopped; one that fails (no space, say) fails the appends whose lines are not
whole, and the next write starts on a new line, so that at most the torn line is unreadable and readers pass it over.
There is nothing to reset: the next append simply tries again.

Writing blocks the loop for the microseconds a page-cache write takes; a thread would cost more than it hides.

The books hold no content. Requests are kept as they came in files of their own (`YYYY-MM-DD[.worker].content.jsonl`),
if the configuration asks for it; no reader of the books opens these.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from gateway.config import folders
from gateway.money.row import LedgerRow

DAY_SECONDS: Final = 86_400
_OWED_AT_MOST: Final = 32 * 2**20
"""Bytes of owed lines kept while they cannot be written; beyond it no more are taken."""
_RETRY_SECONDS: Final = 1.0


class LedgerUnavailable(OSError):
    """The books cannot be written now: disk full, folder gone, no permission, closed."""


class Ledger:
    """The books of one process. Give each process that shares a folder a `worker` of its own (`worker_name`); none is
    needed for a single one.
    """

    def __init__(
        self,
        directory: Path,
        worker: str | None = None,
        clock: Callable[[], float] = time.time,
        *,
        content: bool = False,
        mode: int | None = None,
    ) -> None:
        """Make the folder and today's file; with `content`, the one for requests too. Raises `LedgerUnavailable`.

        New files of the books get `mode` (`config.folders`), those of requests are for the owner alone.
        """
        self._directory = directory
        self._mode = mode
        self._suffix = f".{worker}.jsonl" if worker else ".jsonl"
        self._clock = clock
        self._waiting: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._owed: list[bytes] = []
        self._owed_bytes = 0
        self._retry: asyncio.TimerHandle | None = None
        self._flush_is_due = False
        self._day = -1
        self._file = -1
        self._is_torn = False
        self._closed = False
        self.write_errors = 0
        """Writes that the disk did not take whole, since the start."""
        try:
            folders.make(directory, folders.ledger_folder_mode(mode, content=content))
        except OSError as error:
            raise self._unavailable(error) from error
        self._file_of_the_day()
        kept_by = f"{worker}.content" if worker else "content"
        self._content = Ledger(directory, kept_by, clock, mode=folders.PRIVATE_FILE) if content else None

    def __repr__(self) -> str:
        return f"Ledger({self._directory}, waiting={len(self._waiting)}, owed={len(self._owed)})"

    @property
    def owed(self) -> int:
        """The number of owed lines that wait for a disk that takes them."""
        return len(self._owed)

    async def append(self, row: LedgerRow, *, owed: bool = False) -> None:
        """Write a row; return when it is in the file. Raises `LedgerUnavailable`; cancelled, it is written all the
        same.

        A row without a time gets that of writing. An `owed` row is of something that has happened already (money was
        spent): when the disk does not take it, it is kept and goes first into the next write that succeeds, and
        nothing is raised.
        """
        line = self._line(row)
        if owed:
            self._put(line, None)
        else:
            await self.enter_line(line)

    def enter(self, row: LedgerRow) -> asyncio.Future[None]:
        """Put a row into this tick's write and return at once; the future is done when it is in the file. As `append`
        otherwise.
        """
        return self.enter_line(self._line(row))

    def enter_line(self, line: bytes) -> asyncio.Future[None]:
        """Put a whole line, its end included, into this tick's write. As `enter` otherwise."""
        done = asyncio.get_running_loop().create_future()
        self._put(line, done)
        return done

    def _line(self, row: LedgerRow) -> bytes:
        return row.to_json(timestamp(self._clock()))

    def _put(self, line: bytes, done: asyncio.Future[None] | None) -> None:
        """Let a line wait for this tick's write; without a future it is owed."""
        if self._closed:
            raise LedgerUnavailable(f"the ledger in {self._directory} is closed")
        if done is None and self._owed_bytes > _OWED_AT_MOST:
            raise LedgerUnavailable(f"ledger {self._directory}: {len(self._owed):,} lines wait for space already")
        self._waiting.append((line, done))
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def keep(self, request_id: str, team: str, body: bytes) -> None:
        """Keep a request as it came, where this ledger keeps content. A request that the disk does not take is lost:
        that is logged, and no reason to refuse anybody.
        """
        if self._content is None:
            return
        request, now = orjson.Fragment(body.translate(_ONE_LINE)), timestamp(self._clock())
        kept = {"event": "content", "id": request_id, "team": team, "request": request, "ts": now}
        try:
            written = self._content.enter_line(orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE))
        except LedgerUnavailable as error:
            _log_loss(error)
        else:
            written.add_done_callback(_log_if_lost)

    def close(self) -> None:
        """Write what waits, as far as the disk takes it, and close the file."""
        if self._content is not None:
            self._content.close()
        if self._closed:
            return
        self._flush()
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._close_file()

    def _flush(self) -> None:
        """Write all that waits in one go, owed lines first, and tell each append how it ended."""
        self._flush_is_due = False
        if self._closed or not (self._waiting or self._owed):
            return
        batch: list[tuple[bytes, asyncio.Future[None] | None]] = [(line, None) for line in self._owed]
        batch += self._waiting
        self._owed, self._waiting = [], []
        written, error = self._write(b"".join([line for line, _ in batch]))
        end = 0
        for line, done in batch:
            end += len(line)
            if end - 1 <= written:  # whole but for its newline, perhaps: the next write begins with one
                if done is not None and not done.done():
                    done.set_result(None)
            elif done is None:
                self._owed.append(line)
            elif not done.done():
                done.set_exception(self._unavailable(error))
        self._owed_bytes = sum(map(len, self._owed))
        if self._owed:
            self._retry_later()

    def _write(self, data: bytes) -> tuple[int, OSError | None]:
        """Return how many bytes of `data` are in the file, and what stopped it."""
        written = 0
        try:
            file = self._file_of_the_day()
            if self._is_torn:
                self._is_torn = os.write(file, b"\n") != 1
            rest = memoryview(data)
            while written < len(data):
                count = os.write(file, rest[written:])
                written += count
                self._is_torn = data[written - 1] != 0x0A
        except OSError as error:
            self.write_errors += 1
            return written, error
        return written, None

    def _file_of_the_day(self) -> int:
        """Return the open file of the current UTC day; a file that was deleted meanwhile is made anew."""
        day = int(self._clock() // DAY_SECONDS)
        if day == self._day and self._file >= 0 and os.fstat(self._file).st_nlink:
            return self._file
        self._close_file()
        path = self._directory / f"{date.fromordinal(EPOCH_DAY + day)}{self._suffix}"
        try:
            self._file = folders.open_to_append(path, self._mode)
            size = os.fstat(self._file).st_size
            self._is_torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        except OSError as error:
            raise self._unavailable(error) from error
        self._day = day
        return self._file

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _retry_later(self) -> None:
        """Try again soon, as far as there is a loop to do it in: nobody may come by to append the next row."""
        if self._closed or (self._retry is not None and not self._retry.cancelled()):
            return
        self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._flush()

    def _unavailable(self, error: OSError | None) -> LedgerUnavailable:
        if isinstance(error, LedgerUnavailable):
            return error
        reason = error.strerror if error and error.strerror else "the line was not written whole"
        return LedgerUnavailable(error.errno if error else None, f"ledger {self._directory}: {reason}")


def worker_name(host: str, process: int) -> str:
    """Return what stands in the names of a process's files: machines share a folder, and pods have equal processes."""
    return f"{_NOT_IN_NAMES.sub('-', host)[:_LONGEST_HOST] or 'host'}-{process}"


_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9-]+")
_LONGEST_HOST: Final = 64

EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")
"""Line ends of JSON stand between its values, never inside one."""


def _log_if_lost(written: asyncio.Future[None]) -> None:
    error = None if written.cancelled() else written.exception()
    if error is not None:
        _log_loss(error)


def _log_loss(error: BaseException) -> None:
    structlog.get_logger("gateway").warning("request not kept", reason=str(error))


def timestamp(now: float) -> str:
    """Return Unix seconds as the ledger writes them: UTC to the millisecond, `2026-01-31T09:30:00.125Z`."""
    second, millisecond = divmod(int(now * 1000), 1000)
    return f"{_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


# --------------------------------------------------------------------------------------------------------------- ids

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_VALUES: Final = {digit: value for value, digit in enumerate(_CROCKFORD)}
ID_ENTROPY_BYTES: Final = 10


def new_id(now: float, entropy: bytes) -> str:
    """Make a request's id from the moment (Unix seconds) and 10 random bytes: `gw_` and a ULID, which sorts by time.

    The form: https://github.com/ulid/spec.
    """
    number = (int(now * 1000) << 80) | int.from_bytes(entropy, "big")
    pairs = _PAIRS
    return "gw_" + "".join([pairs[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def id_time(request_id: str) -> float | None:
    """Return the moment in an id (Unix seconds), or None if it is none of ours."""
    digits = request_id.removeprefix("gw_")
    if len(digits) != 26 or not request_id.startswith("gw_") or not all(digit in _VALUES for digit in digits):
        return None
    number = 0
    for digit in digits[:10]:
        number = number << 5 | _VALUES[digit]
    return number / 1000 if number < 2**48 else None


# ----------------------------------------------------------------------------------------------------------- reading


Folders = Path | Sequence[Path]
"""One ledger or several, as of several machines."""


def files(folders: Folders, since: date | None = None, until: date | None = None) -> list[Path]:
    """Return the ledger's files, all workers', of the days `since` to `until` (both included), by name.

    Folders inside these count, and each file once. Those of `content_files` are none of them.
    """
    found: dict[Path, Path] = {}
    for folder in [folders] if isinstance(folders, Path) else folders:
        for path in folder.rglob("????-??-??*.jsonl"):
            day = None if path.name.endswith(_CONTENT) else _day_of(path)
            if day is not None and (since is None or day >= since) and (until is None or day <= until):
                found.setdefault(path.resolve(), path)
    return sorted(found.values(), key=lambda path: (path.name, path))


_CONTENT: Final = ".content.jsonl"


def content_files(directory: Path) -> list[Path]:
    """Return the files in which requests were kept as they came, by name; packed ones too."""
    return sorted([*directory.glob(f"????-??-??*{_CONTENT}"), *directory.glob(f"????-??-??*{_CONTENT}.gz")])


def rows(folders: Folders, since: date | None = None, until: date | None = None) -> Iterator[dict[str, Any]]:
    """Read the members of the lines of some days, file by file; torn lines are passed over."""
    for path in files(folders, since, until):
        with path.open("rb") as lines:
            for line in lines:
                members = members_of(line)
                if members is not None:
                    yield members


def members_of(line: bytes) -> dict[str, Any] | None:
    """Read the members of a line as they stand there; None where it is none of ours."""
    try:
        members = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return members if isinstance(members, dict) and "event" in members else None


def _day_of(path: Path) -> date | None:
    try:
        return date.fromisoformat(path.name[:10])
    except ValueError:
        return None

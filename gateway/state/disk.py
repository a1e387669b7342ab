"""State in a folder that the workers of one machine share: an SQLite file, through diskcache.

diskcache's own way of keeping values is replaced whole: it unpickles values, and it opens and removes files by names
that lie in the folder. Write access to the folder must not become a way to run code here.

Nothing in the folder is needed, so that one which is removed or damaged while it is in use is begun anew.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, MODE_RAW

from gateway.config import folders
from gateway.state import Change, StateUnavailable

_WAIT_SECONDS: Final = 5.0
"""Seconds that another worker's step is waited for; each takes well under a millisecond."""

_SETTINGS: Final = DEFAULT_SETTINGS | {"eviction_policy": "none", "statistics": 0, "sqlite_mmap_size": 0}
"""All there are, for those left out are read from the file. Without a map of the file, whoever cuts it short takes no
process with it (sqlite.org/mmap.html)."""
_DAMAGED: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
}
"""Primary result codes of a file that is not, or no longer, our database (sqlite.org/rescode.html)."""
_SET_ASIDE: Final = ".damaged"
"""The ending of the name of a file that was put aside; there is one at most."""

V = TypeVar("V")


class _NotOurs(OSError):
    """Something is there that this program did not write. An OSError, which diskcache takes for a missing value."""


class _BytesOnly(diskcache.Disk):  # type: ignore[misc]
    """Keeps text keys and bytes values as they are, in the database itself, and reads nothing else."""

    def __init__(self, directory: str, **_settings: Any) -> None:
        super().__init__(directory)

    def put(self, key: Any) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"a key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        if not raw or type(key) is not str:
            raise _NotOurs("a key that is not text")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, memoryview]:
        if read or type(value) is not bytes:
            raise TypeError(f"a value is bytes, not {type(value).__name__}")
        return 0, MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:
        if read or mode != MODE_RAW or filename is not None or type(value) is not bytes:
            raise _NotOurs("a value that is not bytes in the database")
        return value

    def remove(self, file_path: Any) -> None:
        """Leave the file alone: none is ours."""


class DiskState:
    """State in a folder. Each thread that uses it has a connection of its own, closed by its own `close`."""

    def __init__(
        self, directory: Path, tell: Callable[[str], object] | None = None, most_bytes: int | None = None
    ) -> None:
        """Take who hears of a folder that had to be begun anew. Beyond `most_bytes` what was put first goes."""
        self._directory, self._tell = directory, tell
        bound = {} if most_bytes is None else {"eviction_policy": "least-recently-stored", "size_limit": most_bytes}
        self._settings = _SETTINGS | bound
        self._lock = threading.Lock()
        self._opened: tuple[_File, diskcache.Cache] | None = None
        self._done(len)  # opens it, and shows whether it can be read

    def __repr__(self) -> str:
        return f"DiskState({self._directory})"

    def get(self, key: str) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._done(lambda cache: [cache.get(key) for key in keys])

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        self._done(lambda cache: cache.set(key, value, expire=expires_seconds))

    def put_first(self, values: Sequence[tuple[str, bytes]], expires_seconds: float) -> list[bytes]:
        def work(cache: diskcache.Cache) -> list[bytes]:
            stand: list[bytes] = []
            with cache.transact():
                for key, value in values:
                    held = cache.get(key)
                    stand.append(value if held is None else held)
                    cache.set(key, stand[-1], expire=expires_seconds)
                    if stand[-1] != value:
                        break
            return stand

        return self._done(work)

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        def work(cache: diskcache.Cache) -> bytes | None:
            with cache.transact():
                before, expires = cache.get(key, expire_time=True)
                after = change(before)
                if after is None:
                    cache.delete(key)
                else:
                    left = expires - time.time() if isinstance(expires, int | float) else None
                    cache.set(key, after, expire=left if expires_seconds is None else expires_seconds)
                return after

        return self._done(work)

    def close(self) -> None:
        with self._known_failures():
            if self._opened is not None:
                self._opened[1].close()

    # ------------------------------------------------------------ a folder that goes, or is damaged

    def _done(self, work: Callable[[diskcache.Cache], V]) -> V:
        """Do something with the database; once more with a new one where it turns out to be damaged."""
        with self._known_failures():
            file = _file(self._directory)
            try:
                return work(self._current(file))
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside(file, error)
            return work(self._current(_file(self._directory)))

    def _current(self, file: _File) -> diskcache.Cache:
        """Return the database of the folder: opened anew where its file is gone or has become another one."""
        opened = self._opened
        if opened is not None and opened[0] == file is not None:
            return opened[1]
        with self._lock:
            file = _file(self._directory)  # another thread may have begun it anew meanwhile
            if self._opened is None or self._opened[0] != file or file is None:
                if self._opened is not None:
                    self._opened[1].close()
                    self._told(f"the state in {self._directory} was removed, begun anew")
                    self._opened = None
                folders.make(self._directory)
                folders.make_file(self._directory / DBNAME)  # what SQLite puts beside it takes its mode from it
                cache = diskcache.Cache(str(self._directory), timeout=_WAIT_SECONDS, disk=_BytesOnly, **self._settings)
                self._opened = _file(self._directory), cache
            return self._opened[1]

    def _set_aside(self, file: _File, error: sqlite3.DatabaseError) -> None:
        """Put a damaged database out of the way, unless another thread or process has done so already."""
        with self._lock, _locked(self._directory):
            if _file(self._directory) != file:
                return
            for ending in ("-wal", "-shm", ""):
                path = self._directory / f"{DBNAME}{ending}"
                if path.exists():
                    path.replace(path.with_name(path.name + _SET_ASIDE))
            self._told(f"the state in {self._directory} was damaged ({error}), begun anew")
            if self._opened is not None:
                self._opened[1].close()
            self._opened = None

    def _told(self, sentence: str) -> None:
        if self._tell is not None:
            self._tell(sentence)

    @contextmanager
    def _known_failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout, OSError) as error:
            told = str(error) or "another process holds it for too long"
            raise StateUnavailable(f"the state in {self._directory}: {told}") from error


_File = tuple[int, int] | None
"""The identity of a file, whatever its name; None for a file that is not there."""


def _file(directory: Path) -> _File:
    try:
        found = (directory / DBNAME).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell a file that is no longer ours from one that cannot be used just now: locked, full, not allowed."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "decode" in str(error)  # text that is none, which sqlite3 finds out by itself
    return code & 0xFF in _DAMAGED or (code == sqlite3.SQLITE_ERROR and "no such" in str(error))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold what only one process at a time may do in the folder."""
    folder = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)

"""State in a folder that the workers of one machine share: an SQLite file, through diskcache.

Whoever can write into the folder must not be able to run code here, so diskcache's own way of keeping values, which
unpickles what it finds and opens and removes files by the names it finds, is replaced whole.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import diskcache
from diskcache.core import MODE_RAW

from gateway.config import folders
from gateway.state import Change, StateUnavailable

_WAIT_SECONDS: Final = 5.0
"""How long another worker's step is waited for; each takes well under a millisecond."""


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

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with self._known_failures():
            folders.make(directory)
            folders.make_file(directory / diskcache.core.DBNAME)  # what SQLite puts beside it takes its mode from it
            self._cache = diskcache.Cache(
                str(directory), timeout=_WAIT_SECONDS, disk=_BytesOnly, eviction_policy="none", statistics=0
            )

    def __repr__(self) -> str:
        return f"DiskState({self._directory})"

    def get(self, key: str) -> bytes | None:
        with self._known_failures():
            found: bytes | None = self._cache.get(key)
        return found

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        with self._known_failures():
            self._cache.set(key, value, expire=expires_seconds)

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        with self._known_failures(), self._cache.transact():
            before, expires = self._cache.get(key, expire_time=True)
            after = change(before)
            if after is None:
                self._cache.delete(key)
            else:
                left = None if expires is None else expires - time.time()
                self._cache.set(key, after, expire=left if expires_seconds is None else expires_seconds)
            return after

    def close(self) -> None:
        with self._known_failures():
            self._cache.close()

    @contextmanager
    def _known_failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout, OSError) as error:
            told = str(error) or "another process holds it for too long"
            raise StateUnavailable(f"the state in {self._directory}: {told}") from error

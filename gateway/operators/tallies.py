"""Exact integers of one worker in a file that it shares with whoever exposes them.

The file is mapped into memory: an addition is there for others at once, and stays there when the worker is killed in
the middle of anything. The worker holds a lock on its file as long as it lives, so that a reader knows the dead by it.
A series is written once, its name before its numbers, and never moves.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

VARIABLE: Final = "GATEWAY_METRICS_FOLDER"
"""The environment variable that tells workers the folder of their files: they inherit nothing else."""

SUFFIX: Final = ".tally"
_FILE_BYTES: Final = 8 * 2**20
"""Of which only those that hold something take room."""
_WORD: Final = 8
_FORM, _USED = 0, 1
"""Places in the head: the form of the file, the words in use."""
_VERSION: Final = 1
SPARE: Final = 16
"""The place whose numbers nobody reads, for series that the file has no room for."""
_BEGIN: Final = 128

Key = tuple[str, ...]
"""The name of a family, and the values of its labels."""


class Tally:
    """The numbers of one worker. One thread adds to them."""

    def __init__(self, folder: Path, most_bytes: int = _FILE_BYTES) -> None:
        """Make a file in a folder that exists. Raises OSError."""
        self._words = most_bytes // _WORD
        self._file, made = tempfile.mkstemp(dir=folder)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.ftruncate(self._file, self._words * _WORD)
        self._map = mmap.mmap(self._file, self._words * _WORD)
        self.values: Final = memoryview(self._map).cast("q")
        """Whoever was given a place adds to it here."""
        self.values[_FORM], self.values[_USED] = _VERSION, _BEGIN
        self._places: dict[Key, int] = {}
        self.path: Final = Path(made).with_suffix(SUFFIX)
        Path(made).rename(self.path)  # only now do readers see it: locked, and with a head

    def __repr__(self) -> str:
        return f"Tally({len(self._places)} series in {self.path})"

    def __len__(self) -> int:
        return len(self._places)

    def known_place(self, key: Key) -> int | None:
        """Return the place of a series that has one."""
        return self._places.get(key)

    def place(self, key: Key, width: int) -> int | None:
        """Return the place of a series, which has `width` numbers; None where there is no more room."""
        at = self._places.get(key)
        if at is None:
            at = self._placed(orjson.dumps(key), width)
            if at is not None:
                self._places[key] = at
        return at

    def _placed(self, name: bytes, width: int) -> int | None:
        start, words = self.values[_USED], -(-len(name) // _WORD)
        at = start + 2 + words
        if at + width > self._words:
            return None
        self.values[start], self.values[start + 1] = len(name), width
        self._map[(start + 2) * _WORD : (start + 2) * _WORD + len(name)] = name
        self.values[_USED] = at + width
        return at

    def close(self) -> None:
        """Let go of the file, as the end of the process does. What is added later is not read."""
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the map holds the file open, and with it the lock
            os.close(self._file)
            self._file = -1


# ----------------------------------------------------------------------------------------------------------- reading


@dataclass(slots=True)
class _Opened:
    """The file of one worker, as far as it has been read."""

    file: int
    map: mmap.mmap
    read_to: int = _BEGIN
    series: list[tuple[Key, int, int]] = field(default_factory=list)
    """Each with its place and its width."""

    @classmethod
    def of(cls, path: Path) -> _Opened:
        """Open a file to read. Raises OSError, or ValueError where it is no such file."""
        file = os.open(path, os.O_RDONLY)
        try:
            return cls(file, mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        except BaseException:  # whatever ends it, the file is closed; the error goes on
            os.close(file)
            raise

    def is_dead(self) -> bool:
        """Whether nobody holds the file any more."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def numbers(self) -> dict[Key, list[int]]:
        """Read all series."""
        with memoryview(self.map) as raw, raw.cast("q") as words:
            if words[_FORM] != _VERSION:
                return {}
            while self.read_to < words[_USED]:
                start, length, width = self.read_to + 2, words[self.read_to], words[self.read_to + 1]
                at = start + -(-length // _WORD)
                name = orjson.loads(raw[start * _WORD : start * _WORD + length])
                self.series.append((tuple(name), at, width))
                self.read_to = at + width
            return {key: words[at : at + width].tolist() for key, at, width in self.series}

    def close(self) -> None:
        self.map.close()
        os.close(self.file)


@dataclass(frozen=True, slots=True)
class Worker:
    """The numbers of a worker, alive or just found dead."""

    series: dict[Key, list[int]]
    is_alive: bool


class Tallies:
    """The files of all workers, living ones and those that died. One thread at a time reads them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[Path, _Opened] = {}

    def read(self) -> Iterator[Worker]:
        """Read every file. Each dead worker comes once: its file is removed then."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path not in self._opened:
                try:
                    self._opened[path] = _Opened.of(path)
                except (OSError, ValueError):
                    continue
            one = self._opened[path]
            is_dead = one.is_dead()  # asked before it is read: nothing comes after that
            yield Worker(one.numbers(), not is_dead)
            if is_dead:
                path.unlink(missing_ok=True)
                self._opened.pop(path).close()

    def close(self) -> None:
        for one in self._opened.values():
            one.close()
        self._opened.clear()


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder for the files of the workers, and take it away at the end. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-", ignore_cleanup_errors=True) as made:
        os.environ[VARIABLE] = made
        try:
            yield Path(made)
        finally:
            os.environ.pop(VARIABLE, None)

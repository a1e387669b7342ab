"""A memory of bounded size. The values used least lately are forgotten first. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from itertools import repeat
from typing import Final, Generic, TypeVar

GENERATIONS: Final = 4
SLOT_BYTES: Final = 72
"""The size of a 60-bit key and its place in a dictionary that has just grown."""
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generations(Generic[Key, Value]):
    """Values by key, bounded in bytes, in four generations. The oldest is dropped when the youngest is full."""

    __slots__ = ("_most", "_older", "_size", "_young")

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes // GENERATIONS
        self._young: dict[Key, Value] = {}
        self._older: list[dict[Key, Value]] = []
        self._size = 0

    def __len__(self) -> int:
        return len(set(self._young).union(*self._older))

    def __contains__(self, key: Key) -> bool:
        return key in self._young or any(key in generation for generation in self._older)

    def get(self, key: Key) -> Value | None:
        """Return a value. Only `put` keeps it longer, not `get`."""
        value = self._young.get(key)
        if value is None:
            for older in self._older:
                value = older.get(key)
                if value is not None:
                    return value
        return value

    def get_each(self, keys: Iterable[Key]) -> Iterator[Value | None]:
        """Return the value of each key, as `get` does, one at a time."""
        return map(self.get if self._older else self._young.get, keys)

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes. Replacing a value of the youngest generation adds no size."""
        self.put_all((key,), value, size if self._young.get(key) is None else 0)

    def put_all(self, keys: Iterable[Key], value: Value, size: int) -> None:
        """Keep one value of `size` bytes under several keys."""
        young = self._young
        before = len(young)
        young.update(zip(keys, repeat(value), strict=False))
        self._size += size + SLOT_BYTES * (len(young) - before)
        if self._size > self._most:
            self._older = [young, *self._older[: GENERATIONS - 2]]
            self._young, self._size = {}, 0

"""A bounded memory in generations: the values used least lately are forgotten first. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import repeat
from typing import Final, Generic, TypeVar

GENERATIONS: Final = 4
SLOT_BYTES: Final = 72
"""A key of 60 bits, and its place in a dictionary that has just grown."""
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generations(Generic[Key, Value]):
    """Values by key, bounded in bytes, in four generations: when the youngest is full, the oldest is gone."""

    __slots__ = ("_most", "_older", "_size", "_young")

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes // GENERATIONS
        self._young: dict[Key, Value] = {}
        self._older: list[dict[Key, Value]] = []
        self._size = 0

    def __len__(self) -> int:
        return len(set(self._young).union(*self._older))

    def __contains__(self, key: Key) -> bool:
        return key in self._young or any(key in one for one in self._older)

    def get(self, key: Key) -> Value | None:
        """Return a value. To be asked for does not keep it: to be put in again does."""
        found = self._young.get(key)
        if found is None:
            for older in self._older:
                found = older.get(key)
                if found is not None:
                    return found
        return found

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of `size` bytes; in place of one of the youngest generation it takes no more than that did."""
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

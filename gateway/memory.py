"""A memory bounded in bytes: values by key, what was not asked for for long goes first.

Nothing that is sent may depend on it: what is not remembered is worked out again, to the same end.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ENTRY_BYTES = 200
"""Bytes of an entry besides its value: its place in the dictionary, the key, a tuple."""


class Memory(Generic[Key, Value]):
    """Values by key, in two generations: when the younger one is full it becomes the older one, which is gone."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes // 2
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._held = 0

    def __repr__(self) -> str:
        return f"Memory({len(self)} entries, {self._held} bytes of at most {self._most} in the younger half)"

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: Key) -> Value | None:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def get_all(self, keys: Iterable[Key]) -> list[Value | None]:
        """Return the values of many keys: what the messages of a long conversation are known by."""
        young = self._young.get
        return [self.get(key) if (found := young(key)) is None else found[0] for key in keys]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Remember a value of about `size` bytes; one larger than a quarter of the whole is not."""
        if 2 * size > self._most:
            return
        if self._held + size > self._most:
            self._old, self._young, self._held = self._young, {}, 0
        if key not in self._young:
            self._held += size + ENTRY_BYTES
        self._young[key] = (value, size)

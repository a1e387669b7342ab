"""The memory of a process: values by key, bounded in bytes, and its division between those who remember.

Nothing that is sent may depend on it: a value that is not remembered is worked out again, to the same end.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, Literal, TypeVar

Part = Literal[
    "token counts",
    "planning",
    "parsed requests",
    "cached prefixes",
    "prefix groups",
    "conversations",
    "prefix digests",
    "system texts",
    "warm prefixes",
    "placements",
    "covered models",
    "early folds",
    "summaries",
]

SHARES: Final[Mapping[Part, int]] = MappingProxyType(
    {
        "token counts": 34,  # of one encoding; another one that is in use takes as much again
        "planning": 92,
        "parsed requests": 12,
        "cached prefixes": 32,
        "prefix groups": 14,
        "conversations": 12,
        "prefix digests": 4,
        "system texts": 16,
        "warm prefixes": 16,
        "placements": 16,
        "covered models": 4,
        "early folds": 4,
        "summaries": 12,
    }
)
"""Each part's share of the memory, in parts of their sum."""
DEFAULT_BYTES: Final = 256_000_000


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Division of one process's memory of `total` bytes."""

    total: int = DEFAULT_BYTES

    def bytes_for(self, part: Part) -> int:
        """Return the bytes of a part."""
        return self.total * SHARES[part] // sum(SHARES.values())


USUAL: Final = MemoryPlan()
"""The division of the memory that a configuration without `memory` has."""

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
        self._held = self._held_before = 0

    def __repr__(self) -> str:
        return f"Memory({len(self)} entries, {self._held} bytes of at most {self._most} in the younger half)"

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def held_bytes(self) -> int:
        """The bytes of both generations, about."""
        return self._held + self._held_before

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
            self._old, self._young, self._held, self._held_before = self._young, {}, 0, self._held
        if key not in self._young:
            self._held += size + ENTRY_BYTES
        self._young[key] = (value, size)

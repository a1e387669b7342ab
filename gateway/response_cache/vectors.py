"""Vectors by the content of what was embedded, kept for as long as the configuration says.

They lie beside the state, in a folder or in Redis, and are nothing that is needed: where they cannot be read in time,
the upstream is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from gateway.state import State, StateUnavailable
from gateway.state.store import Store

MOST_BYTES: Final = 1_000_000_000
"""Bytes of a folder of vectors; beyond it those that were kept first go. A Redis bounds itself (`maxmemory`)."""
LONGEST_VECTOR: Final = 400_000
"""Bytes of a vector that is kept: 16,000 dimensions in full precision, as text."""
MOST_WRITES: Final = 64
"""Answers that wait to be written; more are not kept."""


class VectorCache(Protocol):
    """Vectors that are known by key."""

    is_on: bool

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the vectors; None for what is not known."""

    def put(self, vectors: Mapping[str, bytes]) -> None:
        """Keep vectors, in the background."""

    async def close(self) -> None: ...


class NoVectors:
    """No cache of vectors."""

    is_on = False

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return [None] * len(keys)

    def put(self, vectors: Mapping[str, bytes]) -> None:
        return None

    async def close(self) -> None:
        return None


class Vectors:
    """Vectors in a store of their own."""

    is_on = True

    def __init__(self, store: Store, seconds: float) -> None:
        """Take where they lie, and for how long each is kept."""
        self._store, self._seconds = store, seconds
        self._writes: set[asyncio.Task[None]] = set()

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        try:
            return await self._store.soon(lambda state: state.get_many(keys), self._store.patience())
        except StateUnavailable:
            return [None] * len(keys)

    def put(self, vectors: Mapping[str, bytes]) -> None:
        short = {key: one for key, one in vectors.items() if len(one) <= LONGEST_VECTOR}
        if short and len(self._writes) < MOST_WRITES:
            task = asyncio.get_running_loop().create_task(self._written(short))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _written(self, vectors: Mapping[str, bytes]) -> None:
        def write(state: State) -> None:
            for key, one in vectors.items():
                state.put(key, one, self._seconds)

        try:
            await self._store.run(write)
        except StateUnavailable:
            return

    async def close(self) -> None:
        if self._writes:
            await asyncio.wait(self._writes)
        await self._store.close()

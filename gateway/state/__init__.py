"""Small values by key that several workers or machines remember together, in a folder or in Redis.

Nothing in it is needed to answer a request: who asks it must know what to do when it is empty or down. Every call
blocks, so the side of the event loop makes it from a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.config import StateSettings as Settings
    from gateway.state.counters import CounterStore

Change = Callable[[bytes | None], bytes | None]
"""From the value there is, None for none, to the one that shall be, None for none. May be called more than once."""


class StateUnavailable(Exception):
    """The state cannot be read or written now: server down, folder gone, disk full, file damaged, too slow."""


class State(Protocol):
    """Values by key. Safe to use from several threads; every method raises `StateUnavailable`."""

    def get(self, key: str) -> bytes | None:
        """Return the value; None where there is none, or where it expired."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several values at once, in the order of the keys."""

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None: ...

    def put_first(self, values: Sequence[tuple[str, bytes]], expires_seconds: float) -> list[bytes]:
        """Put each value where there is none, up to the first key that holds another one; return what stands.

        All in one step, and what stands is kept for so long from now on.
        """

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        """Change a value in one step that nobody else's can come between, in any process; return what it is then.

        Without `expires_seconds`, what expires keeps its time. An exception of `change` passes through, and nothing is
        changed. After `StateUnavailable` it is not known whether it was.
        """

    def close(self) -> None:
        """Let go of what the calling thread holds open. The next call opens it again."""


def open_counters(settings: Settings) -> CounterStore:
    """Return the counters of limits where the configuration has them. They are opened when they are first used."""
    if settings.redis is not None:
        from gateway.state.counters_redis import RedisCounters

        return RedisCounters(settings.redis, settings.counters_timeout)
    from gateway.state.counters_disk import DiskCounters

    assert settings.dir is not None, "a configuration has a folder where it has no server"
    return DiskCounters(settings.dir)


def open_state(settings: Settings, tell: Callable[[str], object] | None = None, most_bytes: int | None = None) -> State:
    """Open the state where the configuration has it. Raises `StateUnavailable`.

    A folder of more than `most_bytes` loses what was put into it first; a Redis bounds itself. `tell` hears, in a
    sentence, of a folder that had to be begun anew while it was in use.
    """
    if settings.redis is not None:
        from gateway.state.redis import RedisState

        return RedisState(settings.redis)
    if settings.dir is not None:
        from gateway.state.disk import DiskState

        return DiskState(settings.dir, tell, most_bytes)
    raise StateUnavailable("the configuration names neither a folder nor a Redis server for the state")

"""The connections of one process: how many there may be, which has to go for another, and who has waited too long.

One sweep looks at all of them a few times a second. A timer each would cost every request a call to set it.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import resource
import struct
import termios
from pathlib import Path
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from gateway.config import Server
from gateway.server.head import household
from gateway.wire import errors
from gateway.wire.errors import GatewayError

READ_BYTES: Final = 65_536
"""Most bytes of one read. A head that is too long has cost two of them by the time it is cut."""
CLIENTS_SHARE: Final = 0.8
"""Of the file descriptors that the process has left at its start, how many may be clients'."""
KEPT_SHARE: Final = 0.1
"""Descriptors kept for the books, the state and lookups, beside clients and their calls upstream."""

_OFTEN: Final = 0.5
"""Seconds between two sweeps; where a clock is short, a quarter of it."""
_OWN: Final = Path("/proc/self/fd")


class TrackedConnection(Protocol):
    """A connection, as it is counted and timed."""

    deadline: float
    """The time at which it is cut, on the loop's clock."""

    def overdue(self) -> None:
        """Act on a deadline that has passed."""

    def look_at_writing(self, now: float) -> None:
        """Cut the connection where its client takes nothing for too long."""

    def give_way(self) -> None:
        """End at once: another connection needs the place."""


class ServerState(Protocol):
    """uvicorn's record of all connections (uvicorn/server.py, `ServerState`)."""

    total_requests: int
    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    default_headers: list[tuple[bytes, bytes]]


def free_descriptors() -> int | None:
    """Return how many more files and sockets the process may open; None where there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return None
    own = len(list(_OWN.iterdir())) if _OWN.is_dir() else 0
    return max(4, limit - own)


class OpenConnections:
    """The facts that the connections of a process share. `free` descriptors may be used; None sets no limit."""

    def __init__(
        self, settings: Server, loop: asyncio.AbstractEventLoop, log: FilteringBoundLogger, free: int | None
    ) -> None:
        self.settings, self.loop, self.log = settings, loop, log
        self.buffer = bytearray(READ_BYTES)
        """The buffer that each read fills: it is emptied at once, so that one serves all and an idle connection holds
        none."""
        self.view = memoryview(self.buffer)
        self.waiting: dict[TrackedConnection, None] = {}
        """Those without a request, the longest waiting first."""
        self.behind: set[TrackedConnection] = set()
        """Those whose clients take less than they are sent."""
        self.is_draining = False
        """Whether each answer ends its connection."""
        self.is_stopping = False
        """Whether a connection that comes now is one of the last: it had been accepted before the port was closed."""
        self._every: set[TrackedConnection] = set()
        self._most = math.inf if free is None else int(free * CLIENTS_SHARE)
        self._room = math.inf if free is None else free - math.ceil(free * KEPT_SHARE)
        self._of_address: dict[str, int] = {}
        self._told = self._sweeping = False
        shortest = min(settings.header_timeout, settings.body_timeout, settings.keep_alive, settings.write_timeout)
        self._pause = min(_OFTEN, shortest / 4)

    def enter(self, connection: TrackedConnection) -> GatewayError | None:
        """Count a new connection; returns a refusal where all that there may be are at work."""
        is_room = len(self._every) < self._most and self._has_room()
        refusal = None if is_room or self._freed_by_another(connection) else errors.no_connection_free()
        self._every.add(connection)
        self.waiting[connection] = None
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(self._pause, self._sweep)
        return refusal

    def start(self, connection: TrackedConnection) -> GatewayError | None:
        """Count a request of a connection; returns a refusal where none more can be served."""
        if not self._has_room() and not self._freed_by_another(connection):
            return errors.no_connection_free()
        self.waiting.pop(connection, None)
        return None

    def _has_room(self) -> bool:
        """Tell whether one more descriptor can be had: a connection has one, a request under way two.

        The second is its call upstream. Without a descriptor for that, the next client could not even be accepted.
        """
        return 2 * len(self._every) - len(self.waiting) < self._room

    def _freed_by_another(self, connection: TrackedConnection) -> bool:
        """End the connection that waits longest for a request, if any does."""
        self._tell()
        longest = next((one for one in self.waiting if one is not connection), None)
        if longest is None:
            return False
        self.leave(longest)
        longest.give_way()
        return True

    def leave(self, connection: TrackedConnection) -> None:
        """Count a connection no more."""
        self._every.discard(connection)
        self.waiting.pop(connection, None)
        self.behind.discard(connection)

    def enter_address(self, address: str) -> str | None:
        """Count a connection or a request of an address; returns what to give back, None where there are too many."""
        limit, held = self.settings.connections_per_address, household(address)
        count = self._of_address.get(held, 0)
        if limit is not None and count >= limit:
            return None
        self._of_address[held] = count + 1
        return held

    def leave_address(self, held: str) -> None:
        """Count one less of what `enter_address` returned."""
        count = self._of_address[held] - 1
        if count:
            self._of_address[held] = count
        else:
            del self._of_address[held]

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self.log.warning(
                "clients hold as many connections as they may; who waits longest without a request gives way. Raise "
                "the limit of file descriptors (ulimit -n, LimitNOFILE)",
                connections=len(self._every),
                file_descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )

    def _sweep(self) -> None:
        now = self.loop.time()
        self._sweeping = bool(self._every)
        if self._sweeping:  # first, so that no fault below can stop the clocks
            self.loop.call_later(self._pause, self._sweep)
        for connection in list(self.behind):
            connection.look_at_writing(now)
        for connection in [one for one in self._every if one.deadline <= now]:
            connection.overdue()


def unacknowledged(descriptor: int) -> int:
    """Return how many bytes of a socket the client's machine has not taken; 0 where the system does not say."""
    try:
        told = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError):  # of a socket that was closed meanwhile, the latter
        return 0
    return int(struct.unpack("i", told)[0])

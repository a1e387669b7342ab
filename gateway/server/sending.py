"""The bytes that a connection sends, and whether its client takes them."""

from __future__ import annotations

import asyncio

from gateway.server.open_connections import unacknowledged

_WRITE_AHEAD = 32_768
"""Bytes that may wait to be sent before the application is told to wait."""


class Sending:
    """The way out of one connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=_WRITE_AHEAD)
        self._transport = transport
        self.blocked: asyncio.Event | None = None
        """Set once more may be written; None where it may now."""
        self._sent = self._taken = 0
        self._taken_by = 0.0

    def write(self, data: bytes) -> None:
        self._sent += len(data)
        self._transport.write(data)

    def block(self) -> None:
        self.blocked = self.blocked or asyncio.Event()

    def unblock(self) -> None:
        blocked, self.blocked = self.blocked, None
        if blocked is not None:
            blocked.set()

    def begin_watch(self) -> None:
        """Count from now on what the client takes."""
        self._taken = -1

    def is_stuck(self, now: float, seconds: float) -> bool | None:
        """Whether the client has taken nothing for so long; None where nothing waits for it.

        Bytes that the kernel still holds count as not taken. It asks for more in steps, and a slow client is long over
        one.
        """
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            return None
        taken = self._sent - waiting - self.in_kernel()
        if taken > self._taken:
            self._taken, self._taken_by = taken, now
            return False
        return now - self._taken_by >= seconds

    def in_kernel(self) -> int:
        """Return the bytes that the client's machine has not taken."""
        kept = self._transport.get_extra_info("socket")
        return 0 if kept is None else unacknowledged(kept.fileno())

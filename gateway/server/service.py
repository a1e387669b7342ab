"""The serving of one process: its port is opened, its connections are drained, and it ends without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import structlog
import uvicorn

from gateway.app import SETTLE_SECONDS, Application
from gateway.config import Server
from gateway.server import BACKLOG
from gateway.server.connection import Connection
from gateway.server.door import Door

ACCEPTED_PER_TURN: Final = 64
"""The connections that are taken in one turn of the event loop, at most. libuv takes one (`uv__server_io` of libuv
1.52, src/unix/stream.c): a loop whose turns take 50 ms would take 20 a second, and let whoever comes wait for seconds,
load balancers that ask /health too. The look at whether another waits costs 8 microseconds a connection."""
_LOOK_SECONDS: Final = 0.02
"""Seconds between two looks at whether the last connection is closed."""


class Service(uvicorn.Server):
    """uvicorn's server, with a stop of our own."""

    def __init__(self, app: Application, settings: Server, listener: socket.socket) -> None:
        self._door = Door(settings)
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=self._made,  # type: ignore[arg-type]  # called as a class would be
                proxy_headers=False,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                backlog=BACKLOG,
            )
        )
        listener.setblocking(False)
        # A copy that Python makes of a socket without a time-out turns blocking on, in all processes that share the
        # port: whoever looks for another connection just then would wait for it, and for nothing else.
        self._listener = listener
        self._taking: set[asyncio.Task[None]] = set()
        self._clock: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("gateway")

    async def open(self) -> None:
        """Take requests. Raises SystemExit where the application cannot start; the log says why."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[self._listener.dup()])
        self._clock = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            await self.on_tick(0)  # the date of answers
            await asyncio.sleep(1)

    def drain(self) -> None:
        """End each connection with its answer, from now on; new ones are still taken."""
        self._door.every.is_draining = True
        for connection in self._connections():
            connection.drain()

    async def stop(self, grace: float, hurried: asyncio.Event) -> None:
        """Take no more connections, finish answers under way within `grace` seconds, and close the application.

        Once there is a hurry, answers under way are not waited for any longer.
        """
        self._door.every.is_stopping = True
        await self._close_port()
        for connection in self._connections():
            connection.shutdown()
        if not await self._ended(grace, hurried):
            self._log.warning("answers cut: the time for a stop is over", answers=len(self.server_state.tasks))
            for task in list(self.server_state.tasks):
                task.cancel()
            await self._ended(SETTLE_SECONDS)
        await self.lifespan.shutdown()
        if self._clock is not None:
            self._clock.cancel()

    def _made(self, **given: Any) -> Connection:
        """Make the protocol of a connection that libuv has taken, and take those that wait behind it."""
        for waiting in islice(_accepted(self._listener), ACCEPTED_PER_TURN - 1):
            task = asyncio.get_running_loop().create_task(self._connect(waiting))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        return self._door(**given)

    async def _connect(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError):  # its client has gone
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, taken)

    async def _close_port(self) -> None:
        """Close the port, and take whoever had come by then.

        The system resets connections that it has accepted for a port and nobody has taken when the port is closed.
        """
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)
        for waiting in _accepted(self._listener):
            await self._connect(waiting)
        await asyncio.gather(*self._taking)
        self._listener.close()

    def _protocol(self) -> asyncio.BaseProtocol:
        return self._door(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _connections(self) -> list[Any]:
        return list(self.server_state.connections)

    async def _ended(self, seconds: float, sooner: asyncio.Event | None = None) -> bool:
        """Wait until no connection and no task is left; say whether that is so."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.server_state.connections or self.server_state.tasks:
            if loop.time() > until or (sooner is not None and sooner.is_set()):
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that wait at a port."""
    with contextlib.suppress(OSError):  # BlockingIOError once none does
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection

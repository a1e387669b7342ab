"""The door of one process: it makes a connection for each client that comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog

from gateway.config import Server
from gateway.server.connection import Connection
from gateway.server.open_connections import OpenConnections, ServerState, free_descriptors


@dataclass(slots=True)
class Door:
    """Makes a connection for each client."""

    settings: Server
    _every: OpenConnections | None = field(default=None, init=False)

    @property
    def every(self) -> OpenConnections:
        """The facts that the connections of this process share, on the loop that serves them."""
        if self._every is None:
            self._every = self.opened()
        return self._every

    def __call__(
        self,
        *,
        config: Any,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        return Connection(config.loaded_app, self.every, server_state, app_state)

    def opened(self) -> OpenConnections:
        """Make the facts that connections share."""
        log = structlog.get_logger("gateway")
        return OpenConnections(self.settings, asyncio.get_running_loop(), log, free_descriptors())

"""The program that stays up: binds the port, starts the workers, stops when told. Knows nothing of requests.

uvicorn keeps the processes, the signals and the loop; what comes over a connection is read by a protocol of ours, in
the modules beside this one (docs/decisions/0014 says why).

The port is bound here, before any worker exists, for three reasons: a taken port is one clear message, port 0 can be
printed, and clients that come while workers start wait in the queue of the socket instead of being refused.
"""

# ruff: noqa: PLC0415  # a worker loads the application after the fork, the parent never

from __future__ import annotations

import asyncio
import atexit
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from gateway.config import Config, Server
    from gateway.server.connection import Connection
    from gateway.server.open_connections import OpenConnections, ServerState

CONFIG_VARIABLE = "GATEWAY_CONFIG"
"""The environment variable that tells workers the path of the configuration: they are new processes and inherit nothing
else."""

SWITCH_SECONDS = 0.0001
"""Seconds that a thread which plans a long request may keep the interpreter from the event loop. Python's own is 5 ms;
but the event loop lets go of the interpreter at every call of the system, a dozen times for a small request, and waits
that long to have it back each time. While only one thread has work nobody waits, and nothing is switched."""
UNSENT_BYTES = 131_072
"""Bytes that the kernel takes for a client and has not sent yet. By itself it would take megabytes for a client that
reads nothing. Each connection has this from the listening socket."""
GRACE_SECONDS = 30
"""Seconds that a stop waits for answers that are under way."""

_BACKLOG = 2048


class CannotStart(Exception):
    """The machine does not give what the program needs; the message says what to change."""


def bind(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 takes any free one. Raises `CannotStart`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        choose = "choose another with --port (make serve PORT=8081), 0 = any free one"
        raise CannotStart(f"cannot listen on {host}:{port}: {reason}; {choose}") from error
    listener.setblocking(False)
    os.set_inheritable(listener.fileno(), True)
    return listener


def local_url(listener: socket.socket) -> str:
    """Return the URL at which a client on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(config: Config, path: Path, listener: socket.socket, *, started: Callable[[], None]) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code; `started` is called once answers can be given."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE

    sys.setswitchinterval(SWITCH_SECONDS)
    workers = config.server.workers
    settings: dict[str, Any] = {
        "loop": "uvloop",
        "http": Door(config.server),
        "proxy_headers": False,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "date_header": True,
        "backlog": _BACKLOG,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }
    if workers > 1:
        os.environ[CONFIG_VARIABLE] = str(path)
        settings |= {"app": "gateway.server:app", "factory": True, "workers": workers}
        return _supervise(uvicorn.Config(**settings), listener, started)

    from gateway.app import create_app

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    _leave_on_signal()
    server = Announced(uvicorn.Config(app=create_app(config), **settings))
    try:
        server.run(sockets=[listener])
    except SystemExit as left:  # the signal, once more; or uvicorn's own code where the start-up failed
        return int(left.code or 0)
    return 0 if server.started else STARTUP_FAILURE


@dataclass(slots=True)
class Door:
    """Makes a connection for each client. uvicorn hands it to every worker, so it must be pickled before it is used."""

    settings: Server
    _every: OpenConnections | None = field(default=None, init=False)

    def __call__(
        self,
        *,
        config: Any,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        from gateway.server.connection import Connection

        if self._every is None:
            self._every = self.opened()
        return Connection(config.loaded_app, self._every, server_state, app_state)

    def opened(self) -> OpenConnections:
        """Make what the connections of this process share, on the loop that serves them."""
        import structlog

        from gateway.server.open_connections import OpenConnections, free_descriptors

        log = structlog.get_logger("gateway")
        return OpenConnections(self.settings, asyncio.get_running_loop(), log, free_descriptors())


def app() -> ASGIApp:
    """Build the application of one worker from the file that `GATEWAY_CONFIG` names (called by uvicorn)."""
    from gateway.app import create_app
    from gateway.config import load
    from gateway.operators import logs
    from gateway.providers.credentials import every

    sys.setswitchinterval(SWITCH_SECONDS)
    logs.configure()
    config = load(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    atexit.register(logs.configure(hidden=every(config)).flush)
    return create_app(config)


def _supervise(settings: Any, listener: socket.socket, started: Callable[[], None]) -> int:
    """Run several workers on one socket; a worker that dies is replaced, one that cannot start ends the program."""
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    supervisor = Multiprocess(settings, sockets=[listener])
    started()
    supervisor.run()
    failed = any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes)
    return STARTUP_FAILURE if failed else 0


def _leave_on_signal() -> None:
    """End with code 0 on SIGTERM and SIGINT: uvicorn raises the signal again once every answer is finished."""

    def leave(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)

"""The program that stays up: binds the port, starts the workers, stops when told. Knows nothing of requests.

The port is bound here, before any worker exists, for three reasons: a taken port is one clear message, port 0 can be
printed, and clients that come while workers start wait in the queue of the socket instead of being refused.

One process serves by itself (`alone.py`). Of several, one keeps the others (`keeper.py`): it reads the configuration,
hands it to all of them, replaces those that die, and ends them together. A worker (`worker.py`) is a new process, and
what it serves with is `service.py`. docs/decisions/0014 and 0017 say why.
"""

# ruff: noqa: PLC0415  # what serves is loaded where it serves: by the process that keeps others, never

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from typing import TYPE_CHECKING, Final

from gateway.server.reloads import Around, Unusable

if TYPE_CHECKING:
    from gateway.config import Config

__all__ = ["Around", "CannotStart", "Unusable", "bind", "local_url", "run"]

UNSENT_BYTES = 131_072
"""Bytes that the kernel takes for a client and has not sent yet. By itself it would take megabytes for a client that
reads nothing. Each connection has this from the listening socket."""

BACKLOG: Final = 2048


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
        listener.listen(BACKLOG)
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


def run(config: Config, listener: socket.socket, around: Around) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is somebody to reload
    if config.server.workers > 1:
        from gateway.server.keeper import Keeper

        return asyncio.run(Keeper(config, listener, around).run())

    import uvloop

    from gateway.server.alone import serve_alone

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve_alone(config, listener, around))

"""Servers on real sockets, in threads: of any application, and with a small one of a test's own.

What comes over the sockets of the small one is bytes on both sides.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import structlog
import uvicorn

from gateway import server
from gateway.config import Server
from gateway.server.door import Door
from gateway.server.open_connections import OpenConnections, free_descriptors

Message = dict[str, Any]


@dataclass
class Served:
    """A server that runs in a thread, and what its application saw."""

    port: int = 0
    scopes: list[Message] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """The paths of the requests whose clients went."""

    def open(self, *, receive_buffer: int | None = None) -> "Client":
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(10)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return Client(client)

    def ask(self, sent: bytes) -> "Reply":
        """Send bytes over a connection of their own, and read one response."""
        with self.open() as client:
            client.send(sent)
            return client.reply()


@dataclass
class Reply:
    """One response: its head as it was written, and its body without the chunks."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        found = [value.strip() for line in lines for key, _, value in [line.partition(":")] if key == name]
        assert len(found) < 2, self.head
        return found[0] if found else None


class Client:
    """A socket, and what was read from it beyond the last response."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self._read = sock, b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _more(self) -> bytes:
        data = self.sock.recv(1 << 16)
        self._read += data
        return data

    def reply(self) -> Reply:
        """Read one response by its length, by its chunks or to the end."""
        while b"\r\n\r\n" not in self._read:
            assert self._more(), f"closed after {self._read!r}"
        head, self._read = self._read.split(b"\r\n\r\n", 1)
        reply = Reply(int(head.split(b" ")[1]), head, b"")
        if reply.status == 100:
            return reply
        if (length := reply.header("content-length")) is not None:
            while len(self._read) < int(length):
                assert self._more(), "closed within a body"
            reply.body, self._read = self._read[: int(length)], self._read[int(length) :]
        elif reply.header("transfer-encoding") == "chunked":
            reply.body = self._chunked()
        else:
            while self._more():
                pass
            reply.body, self._read = self._read, b""
        return reply

    def _chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._read:
                assert self._more(), "closed within a chunk"
            size, rest = self._read.split(b"\r\n", 1)
            length = int(size, 16)
            while len(rest) < length + 2:
                assert self._more(), "closed within a chunk"
                rest = self._read.split(b"\r\n", 1)[1]
            body, self._read = body + rest[:length], rest[length + 2 :]
            if not length:
                return body

    def is_closed(self, seconds: float = 5.0) -> bool:
        """Wait until the other side ends the connection; what it still sends is read away."""
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


class _Faults(logging.Handler):
    """What the loop says went wrong in a connection."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.faults.append(record.getMessage())


@contextmanager
def listening(application: Any, *, lifespan: Literal["on", "off"] = "on", **settings: Any) -> Iterator[int]:
    """Serve an application on a free port until the end of the block; yields the port."""
    listener = server.bind("127.0.0.1", 0)
    program = uvicorn.Server(uvicorn.Config(application, lifespan=lifespan, ws="none", log_config=None, **settings))
    thread = threading.Thread(target=program.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not program.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        program.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


@contextmanager
def serving(settings: Server, *, descriptors: int | None = None) -> Iterator[Served]:
    """Serve `_echo` with these settings until the end of the block; with so many descriptors, where that is given."""
    served = Served()

    async def application(scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        await _echo(served, scope, receive, send)

    class Small(Door):
        def opened(self) -> OpenConnections:
            free = free_descriptors() if descriptors is None else descriptors
            return OpenConnections(settings, asyncio.get_running_loop(), structlog.get_logger("gateway"), free)

    small = {"http": Small(settings), "proxy_headers": False, "server_header": False, "timeout_graceful_shutdown": 1}
    watch = _Faults(logging.ERROR)
    logging.getLogger("asyncio").addHandler(watch)
    try:
        with listening(application, lifespan="off", loop="uvloop", **small) as served.port:
            yield served
    finally:
        logging.getLogger("asyncio").removeHandler(watch)
        assert watch.faults == []


async def _echo(served: Served, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
    """Answer as the path says: /refused before the body, /too-large in the middle of it, /large at once, /stream in
    chunks, else with the body.
    """
    served.scopes.append(scope)
    path, body = scope["path"], b""
    if path == "/refused":
        return await _whole(send, 401, b"no")
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            served.left.append(path)
            return None
        body, more = body + message["body"], message["more_body"]
        if path == "/too-large" and body:
            return await _whole(send, 413, b"no")
    served.bodies.append(body)
    if path == "/large":
        return await _whole(send, 200, b"x" * 20_000_000)
    if path == "/wait":
        await receive()
        served.left.append(path)
        return None
    if path == "/slow":
        await asyncio.sleep(0.6)
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for part in (b"one", b"", b"two", *([body] if body else [])):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None
    return await _whole(send, 200, body or path.encode())


async def _whole(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

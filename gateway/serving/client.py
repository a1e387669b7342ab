"""The other side of one HTTP request: what is read from a client, and what it is told."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.wire import errors, packing
from gateway.wire.errors import GatewayError, error_body, printable
from gateway.wire.origins import Origins

Headers = list[tuple[bytes, bytes]]

STREAM_HEADERS: Final[Headers] = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
"""Headers that keep proxies from holding a stream back. nginx heeds the second
(nginx.org/en/docs/http/ngx_http_proxy_module.html, `proxy_buffering`), others the first."""

COMMENT_SECONDS: Final = 10.0
"""Seconds that a stream may be without output before its client gets a comment. The shortest idle timeouts of proxies
in wide use are 30 seconds and more (Heroku 30, nginx and AWS 60, Cloudflare 100)."""

COMMENT: Final = b": waiting for the model\n\n"

LEAVING: Final = "gateway.leaving"
"""An extension of ASGI, where the server has it: what tells at once that the client leaves."""

_LONGEST_VALUE: Final = 1000
"""Characters of a header of ours; some of them hold what others wrote."""


class Leaving(Protocol):
    """A request whose client may leave."""

    gone: bool
    leaving: Callable[[], None] | None
    """Called once when it does."""


class ClientGone(Exception):
    """The client left before its request was complete."""


class Room(Protocol):
    """Room for large bodies, which a body is received for."""

    free: int
    """Bytes that need none."""

    async def take(self, size: int) -> None:
        """Wait for room for so many bytes in all; more than once is once. Raises GatewayError."""

    def keep(self, size: int) -> None:
        """Give back what is over so many bytes."""


class Client(Protocol):
    """A client, as the pipeline sees it."""

    headers: Mapping[bytes, bytes]
    """Lower-case names."""
    address: str | None
    """Of the client itself, where trusted proxies stand before it; None over a socket of the file system."""
    gone: bool
    started: bool
    """Whether the response has begun."""

    async def body(self, most: int, room: Room | None = None) -> bytes:
        """Read the whole body, a large one once there is room for it. Raises GatewayError (413) and ClientGone."""

    def watch(self) -> None:
        """Cancel the running task when the client leaves."""

    def unwatch(self) -> None: ...

    async def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def end(self, data: bytes = b"") -> None: ...


class HTTPClient:
    """A client over ASGI."""

    __slots__ = ("_leaving", "_receive", "_send", "_watcher", "address", "gone", "headers", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        origin = scope.get("client")
        self.address: str | None = origin[0] if origin else None
        self.gone = False
        self.started = False
        self._receive, self._send = receive, send
        self._leaving: Leaving | None = scope.get("extensions", {}).get(LEAVING)
        self._watcher: asyncio.Task[Any] | None = None

    async def body(self, most: int, room: Room | None = None) -> bytes:
        """Read the body, and unpack it where it is packed; what is over `most` is not kept, before or after that."""
        encoding = header_text(self.headers.get(b"content-encoding", b"")).strip().lower()
        if not encoding or encoding == "identity":
            return await self._read(most, room)
        if not packing.is_read(encoding):
            raise errors.unknown_encoding(encoding, packing.READ)
        return await _unpacked(encoding, await self._read(most, room, packed=True), most, room)

    async def _read(self, most: int, room: Room | None, *, packed: bool = False) -> bytes:
        """Read the body as it came, whether its length was declared or not. A packed one may become the most."""
        declared = self.headers.get(b"content-length", b"0")
        length = int(declared) if declared.isdigit() else 0
        if length > most:
            raise errors.too_large(most)
        free = most if room is None else room.free
        if length > free and room is not None:
            await room.take(most if packed else length)
        whole: io.BytesIO | None = None
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body")
            if part := message.get("body", b""):
                size += len(part)
                if size > most:
                    raise errors.too_large(most)
                if size > free and room is not None:
                    await room.take(most)
                if more and whole is None:
                    whole = io.BytesIO()
                if whole is not None:
                    whole.write(part)
            if not more:
                if size > free and room is not None and not packed:
                    room.keep(size)
                return part if whole is None else whole.getvalue()  # its own buffer, and no copy

    def watch(self) -> None:
        task = asyncio.current_task()
        assert task is not None

        def left() -> None:
            self.gone = True
            task.cancel()

        if self._leaving is None:
            self._watch_by_receiving(left)
        elif self._leaving.gone:
            left()
        else:
            self._leaving.leaving = left

    def _watch_by_receiving(self, left: Callable[[], None]) -> None:
        """Watch as any server allows, which takes a task and two turns of the loop more."""

        def received(watcher: asyncio.Task[Any]) -> None:
            if not watcher.cancelled() and self._watcher is watcher:
                left()

        self._watcher = asyncio.get_running_loop().create_task(self._disconnected())
        self._watcher.add_done_callback(received)

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def unwatch(self) -> None:
        if self._leaving is not None:
            self._leaving.leaving = None
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            watcher.cancel()

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})


def head(request_id: str, content_type: bytes, length: int | None = None) -> Headers:
    """Begin a response's headers: SDKs surface `x-request-id`, so our id goes there."""
    out = [(b"content-type", content_type), (b"x-request-id", request_id.encode())]
    if length is not None:
        out.append((b"content-length", b"%d" % length))
    return out


def header(name: bytes, value: str) -> tuple[bytes, bytes]:
    """Write a header; what may not stand in one (control characters above all) is escaped."""
    return name, printable(value, _LONGEST_VALUE).encode("latin-1", "replace")


usual_header: Final = lru_cache(maxsize=256)(header)
"""As `header`, for values that many requests share."""


async def _unpacked(encoding: str, body: bytes, most: int, room: Room | None) -> bytes:
    """Unpack a body in pieces, between which others have their turn."""
    parts: list[bytes] = []
    size, free = 0, most if room is None else room.free
    try:
        for part in packing.unpacked(encoding, body):
            size += len(part)
            if size > most:
                raise errors.too_large(most)
            if size > free and room is not None:
                await room.take(most)
            parts.append(part)
            await asyncio.sleep(0)
    except packing.BadPacking as error:
        raise errors.invalid_request(f"The body is not {encoding}: {error}.", "content-encoding") from error
    if room is not None:
        room.keep(size)
    return b"".join(parts)


class Comments:
    """Comments to the client of a stream that has no output yet, so that what lies between keeps the connection.

    The first of them begins the response: from then on a failure can only be told in an event.
    """

    __slots__ = ("_client", "_seconds", "_sending", "_start", "_timer")

    def __init__(self, client: Client, start: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Begin to wait; `start` begins the response where that is still to be done."""
        self._client, self._start, self._seconds = client, start, seconds
        self._sending: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self._due)

    async def stop(self) -> None:
        """Send no more. A comment that is being sent is sent whole."""
        self._timer.cancel()
        if self._sending is not None:
            await self._sending
            self._timer.cancel()

    def _due(self) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        await self._start()
        await self._client.send(COMMENT)
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._due)


def header_text(value: bytes) -> str:
    """Read a header's value: UTF-8 as most clients write it, else Latin-1 as the standard has it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


WriteError = Callable[[GatewayError, str], bytes]
"""Writes the body of an error in the shape that a client speaks (`Shape.error`)."""


def write_error(error: GatewayError, request_id: str, write: WriteError = error_body) -> tuple[Headers, bytes]:
    """Write an error in OpenAI's shape, or in another: the headers of its answer, and the body."""
    body = write(error, request_id)
    own = [header(name.encode(), value) for name, value in error.headers.items()]
    return head(request_id, b"application/json", len(body)) + own, body


async def refuse(
    client: Client,
    error: GatewayError,
    request_id: str,
    more: Headers | None = None,
    write: WriteError = error_body,
) -> None:
    """Answer with an error in OpenAI's shape, or in another."""
    headers, body = write_error(error, request_id, write)
    await client.start(error.status, headers + (more or []))
    await client.end(body)


# ---------------------------------------------------------------- browsers

_LOOKED_AT: Final = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"access-control-request-method",
        b"access-control-request-headers",
        b"access-control-request-private-network",
    }
)


class Browsers:
    """The door for browsers, an application around another: refuses foreign pages and hosts, answers listed origins."""

    def __init__(self, app: ASGIApp, origins: Origins, new_id: Callable[[], str]) -> None:
        self._app, self._origins, self._new_id = app, origins, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said: dict[bytes, bytes] = {}
        hosts: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                said[name] = value
                if name == b"host":
                    hosts.append(value)
        origin = said.get(b"origin")
        error = self._origins.refusal(hosts, origin, said.get(b"sec-fetch-site"))
        if error is not None:
            shown = {name.decode(): printable(value.decode("latin-1"), 200) for name, value in said.items()}
            structlog.get_logger("gateway").warning(
                "request refused, a gateway without keys serves this machine alone",
                host=shown.get("host"),
                origin=shown.get("origin"),
            )
            await refuse(HTTPClient(scope, receive, send), error, self._new_id())
            return
        if origin is None or origin not in self._origins.listed:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and b"access-control-request-method" in said:
            names = said.get(b"access-control-request-headers", b"")
            private = said.get(b"access-control-request-private-network") == b"true"
            client = HTTPClient(scope, receive, send)
            await client.start(204, self._origins.preflight(origin, names, private=private))
            await client.end()
        else:
            await self._app(scope, receive, _with(self._origins.shared_with(origin), send))


def _with(headers: Headers, send: Send) -> Send:
    """Return a `send` that adds headers to the answer."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sent

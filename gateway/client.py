"""The other side of one HTTP request: what is read from a client, and what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from gateway.wire import errors
from gateway.wire.errors import GatewayError

Headers = list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client left before its request was complete."""


class Client(Protocol):
    """A client, as the pipeline sees it."""

    headers: Mapping[bytes, bytes]
    """Lower-case names."""
    gone: bool
    started: bool
    """Whether the response has begun."""

    async def body(self, most: int) -> bytes:
        """Read the whole body. Raises GatewayError (413) and ClientGone."""

    def watch(self) -> None:
        """Cancel the running task when the client leaves."""

    def unwatch(self) -> None: ...

    async def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def end(self, data: bytes = b"") -> None: ...


class HTTPClient:
    """A client over ASGI."""

    __slots__ = ("_receive", "_send", "_watcher", "gone", "headers", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.gone = False
        self.started = False
        self._receive, self._send = receive, send
        self._watcher: asyncio.Task[Any] | None = None

    async def body(self, most: int) -> bytes:
        """Read the body; what is over `most` is not kept, whether its length was declared or not."""
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            raise errors.too_large(most)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if part := message.get("body"):
                size += len(part)
                if size > most:
                    raise errors.too_large(most)
                parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self) -> None:
        task = asyncio.current_task()
        assert task is not None

        def left(watcher: asyncio.Task[Any]) -> None:
            if not watcher.cancelled() and self._watcher is watcher:
                self.gone = True
                task.cancel()

        self._watcher = asyncio.get_running_loop().create_task(self._disconnected())
        self._watcher.add_done_callback(left)

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def unwatch(self) -> None:
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
    return name, value.encode("latin-1", "replace")


def text_of(value: bytes) -> str:
    """Read a header's value: UTF-8 as most clients write it, else Latin-1 as the standard has it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def refuse(client: Client, error: GatewayError, request_id: str, more: Headers | None = None) -> None:
    """Answer with an error in OpenAI's shape."""
    body = error.body(request_id)
    own = [header(name.encode(), value) for name, value in error.headers.items()]
    await client.start(error.status, head(request_id, b"application/json", len(body)) + own + (more or []))
    await client.end(body)

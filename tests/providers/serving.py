"""What the scripted providers share: a socket, a record of what came in, and the ways a server can misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    raw: bytes
    streams: bool = False
    """Whether it asks for a stream, where the server looks at that."""

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Provider:
    """A server that records requests and answers by `respond`, which a kind of provider defines."""

    status: int = 200
    error: Any = None
    """With a status from 400 on: the error body, JSON or bytes."""
    headers: dict[str, str] = field(default_factory=dict)
    stall_before: bool = False
    """Say nothing at all."""
    stall_after: int | None = None
    """In a stream: fall silent after so many events."""
    cut_after: int | None = None
    """In a stream: break the connection after so many events."""
    end_after: int | None = None
    """In a stream: end it in good order after so many events, as if that were all."""
    close_before: bool = False
    """Break the connection without an answer."""
    close_reused: bool = False
    """Break a connection without an answer where it served a request before."""
    received: list[Received] = field(default_factory=list)
    served: list[asyncio.Transport | None] = field(default_factory=list)
    """The connections of the requests that came."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a caller left before its answer was complete."""
    url: str = ""

    async def respond(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Received(request.path_qs, dict(request.headers), await request.read()))
        is_reused = request.transport in self.served
        self.served.append(request.transport)
        try:
            if self.close_before or (self.close_reused and is_reused):
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if self.stall_before:
                await asyncio.sleep(60)
            if self.status >= 400:
                text = self.error if isinstance(self.error, bytes) else json.dumps(self.error).encode()
                return web.Response(
                    status=self.status, body=text, headers=self.headers, content_type="application/json"
                )
            return await self.respond(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise

    async def stream(self, request: web.Request, events: list[bytes], pause: float = 0.0) -> web.StreamResponse:
        """Send events, each in its own write, and misbehave as told."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **self.headers})
        await response.prepare(request)
        for position, event in enumerate(events):
            if position == self.end_after:
                break
            if position == self.stall_after:
                await asyncio.sleep(60)
            if position == self.cut_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(event)
            await asyncio.sleep(pause)
        await response.write_eof()
        return response


AnyProvider = TypeVar("AnyProvider", bound=Provider)


@asynccontextmanager
async def serving(provider: AnyProvider) -> AsyncIterator[AnyProvider]:
    """Run a provider on a free loopback port."""
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_route("*", "/{tail:.*}", provider.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    provider.url = f"http://{host}:{port}"
    try:
        yield provider
    finally:
        await runner.cleanup()

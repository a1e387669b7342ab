"""One request and its response, as an ASGI application sees them: `receive` and `send` over a connection.

Knows how a response is framed, and nothing of sockets, clocks or parsers: those are the connection's.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import Final, Protocol

from starlette.types import Message, Scope

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
PIECE_BYTES: Final = 65_536
"""Most bytes of a body that are handed to the connection at once: the next wait until the client takes these."""

_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in http.HTTPStatus
}
_WITHOUT_BODY: Final = frozenset({204, 304})
_ENDS: Final = {
    (False, False): b"\r\n",
    (True, False): b"connection: close\r\n\r\n",
    (False, True): b"transfer-encoding: chunked\r\n\r\n",
    (True, True): b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n",
}
"""The ends of the head of a response, by whether the connection ends with it and whether its body comes in chunks."""
_GONE: Final[Message] = {"type": "http.disconnect"}


class Line(Protocol):
    """The methods of a connection that an exchange needs."""

    @property
    def blocked(self) -> asyncio.Event | None:
        """Set once the client has taken enough of what it was sent; None where nothing keeps us from sending more."""

    def write(self, data: bytes) -> None: ...

    def want(self) -> None:
        """Read on: the body is waited for."""

    def may_stay(self, status: int) -> bool:
        """Tell whether the connection can serve another request after this response."""

    def answered(self) -> None:
        """Note that the response is complete."""

    def date(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that every response has."""


class Exchange:
    """A request under way. `feed`, `finish` and `leave` come from the connection, the rest is the application's."""

    __slots__ = (
        "_chunked",
        "_is_head",
        "_left",
        "_line",
        "_may_chunk",
        "_parts",
        "_told_end",
        "_waiter",
        "asked",
        "ended",
        "expects",
        "gone",
        "keep_alive",
        "leaving",
        "path",
        "started",
        "whole",
    )

    def __init__(self, line: Line, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self.path: str = scope["path"]
        self.keep_alive = keep_alive
        self.expects = expects
        """Whether the client sends its body only once it is told to go on, and was not told yet."""
        self.asked = False
        """Whether the application has asked for the body: it does for a caller that it knows."""
        self.started = self.ended = self.gone = self.whole = False
        self.leaving: Callable[[], None] | None = None
        """Called once when the client leaves, where somebody waits for that."""
        self._line = line  # and not the scope, which holds this: they would be a cycle
        self._is_head: bool = scope["method"] == "HEAD"
        self._may_chunk: bool = scope["http_version"] == "1.1"
        self._parts: list[bytes] = []
        self._told_end = False
        self._waiter: asyncio.Future[None] | None = None
        self._chunked = False
        self._left = 0

    @property
    def waits(self) -> bool:
        """Whether the application waits for more of the body."""
        return self._waiter is not None and not self.whole

    # ------------------------------------------------------------ from the connection

    def feed(self, part: bytes) -> None:
        """Take a part of the body."""
        self._parts.append(part)
        self._wake()

    def finish(self) -> None:
        """Take note that the body is complete."""
        self.whole = True
        self._wake()

    def leave(self) -> None:
        """Take note that the client is gone."""
        self.gone = True
        self._wake()
        leaving, self.leaving = self.leaving, None
        if leaving is not None:
            leaving()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ------------------------------------------------------------ ASGI

    async def receive(self) -> Message:
        """Return the next part of the body, then wait for the end of the exchange. One task at a time may wait."""
        if not self._told_end:
            self.asked = True
            while not (self._parts or self.whole or self.gone or self.ended):
                self._go_on()
                await self._woken()
            if not (self.gone or self.ended):
                body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self._told_end = self.whole
                if not self.whole:
                    self._line.want()
                return {"type": "http.request", "body": body, "more_body": not self.whole}
        while not (self.gone or self.ended):
            await self._woken()
        return _GONE

    def _go_on(self) -> None:
        self._line.want()
        if self.expects:
            self.expects = False
            self._line.write(CONTINUE)

    async def _woken(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def send(self, message: Message) -> None:
        """Write the head of the response, or a part of its body. Bytes for a client that is gone are lost."""
        if self._line.blocked is not None:
            await self._unblocked()
        if self.gone:
            return
        if not self.started:
            self._start(message)
        elif self.ended:
            raise RuntimeError("the response is complete already")
        else:
            body: bytes = message.get("body", b"")
            rest = 0
            while len(body) - rest > PIECE_BYTES and not self.gone:
                self._continue(body[rest : rest + PIECE_BYTES], more=True)
                rest += PIECE_BYTES
                await self._unblocked()
            if not self.gone:
                self._continue(body[rest:] if rest else body, more=message.get("more_body", False))

    async def _unblocked(self) -> None:
        while (blocked := self._line.blocked) is not None:
            await blocked.wait()

    def _start(self, message: Message) -> None:
        status: int = message["status"]
        self.started = True
        bare = self._is_head or status in _WITHOUT_BODY
        told: int | None = None
        closes = False
        lines = [_status_line(status)]
        own = [*self._line.date(), *message.get("headers", ())]
        for name, value in own:
            if name == b"content-length":
                told = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
            lines += (name, b": ", value, b"\r\n")
        self._chunked = told is None and not bare and self._may_chunk
        self.keep_alive = self.keep_alive and not closes and self._line.may_stay(status)
        if told is None and not bare and not self._chunked:
            self.keep_alive = False  # HTTP/1.0: what ends the body is the end of the connection
        self._left = -1 if told is None else told
        closing = not (self.keep_alive or closes)
        lines.append(_ENDS[closing, self._chunked])
        written = b"".join(lines)
        if written.count(b"\n") != len(own) + 2 + closing + self._chunked:
            raise RuntimeError("a header of the response holds a line break")
        self._line.write(written)

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self._is_head:
            self._left = 0
        elif self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if framed or not more:
                self._line.write(framed if more else framed + b"0\r\n\r\n")
        elif body:
            if 0 <= self._left < len(body):
                raise RuntimeError("the response is longer than its content-length")
            self._left -= len(body) if self._left >= 0 else 0
            self._line.write(body)
        if not more:
            if self._left > 0:
                raise RuntimeError("the response is shorter than its content-length")
            self.ended = True
            self._wake()
            self._line.answered()


def written_response(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Write a whole response, whose headers tell its length, and after which the connection is closed."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([_status_line(status), *lines, _ENDS[True, False], body])


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status

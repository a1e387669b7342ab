"""A connection of a client: bytes in, requests out, each bounded before anybody is known by a key.

uvicorn makes one for each client (gateway/server/__init__.py) and knows of it what it knows of its own: it is in
`connections`, its tasks are in `tasks`, and `shutdown` asks it to end. httptools, the parser, is imported here only.

A head is gathered here until it is whole and only then parsed: what the parser holds is bounded, and so is what a
client can have read before it is cut. One request is served at a time; one that comes early waits, unparsed.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, cast

import httptools
from starlette.types import ASGIApp, Scope

from gateway.money import ledger as books
from gateway.server import head
from gateway.server.exchange import Exchange, written_response
from gateway.server.open_connections import OpenConnections, ServerState, unacknowledged
from gateway.serving.client import LEAVING, write_error
from gateway.wire import errors
from gateway.wire.errors import GatewayError

UNREAD_BYTES: Final = 65_536
"""Bytes of a body that are read ahead of the application."""
EMPTY_BYTES: Final = 65_536
"""Bytes of chunk sizes, extensions and trailers that may follow one another without a byte of the body."""
FRAMING_BYTES: Final = 1_000_000
"""Bytes of framing that a body in chunks may have beyond its own length."""
DRAINED_BYTES: Final = 65_536
"""Rest of a body that nobody asked for and that is still read, so that the connection can stay."""

_WRITE_AHEAD: Final = 32_768
"""Bytes that may wait to be sent before the application is told to wait."""
_DELAY_SECONDS: Final = 0.3
"""Seconds that a head which is too long waits for its refusal."""
_LINGER_SECONDS: Final = 1.0
"""Seconds that a connection which we ended may stay half open, so that its client can read why."""
_TOO_LARGE: Final = 413
_NEVER: Final = math.inf
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class Connection(asyncio.BufferedProtocol):
    """One client's connection, from its first byte to its last."""

    def __init__(self, app: ASGIApp, every: OpenConnections, state: ServerState, app_state: dict[str, Any]) -> None:
        self.deadline = _NEVER
        self._app, self._every, self._state, self._app_state = app, every, state, app_state
        self._loop = every.loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything is read
        self._parser = httptools.HttpRequestParser(self)
        self._address: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._is_proxy = False
        self._held: list[str] = []

        self._head = bytearray()  # the beginning of a head, until all of it is there
        self._url = self._method = b""
        self._version = ""
        self._headers: list[tuple[bytes, bytes]] = []
        self._parsed = self._keep_alive = self._overrun = False
        self._began = False  # whether a head has
        self._whole = True  # whether the request under way has come whole
        self._draining = False  # whether its rest is read for nobody
        self._remaining: int | None = 0  # of its body; None where it comes in chunks
        self._chunks = head.Chunks()
        self._exchange: Exchange | None = None
        self._later = bytearray()  # of the next request
        self._unread = self._empty = self._framing = 0
        self._paused = self._leaving = self._stopping = False

        self.blocked: asyncio.Event | None = None
        self._sent = self._taken = 0
        self._taken_by = 0.0

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its parents
        self._transport.set_write_buffer_limits(high=_WRITE_AHEAD)
        self._address = head.endpoint(transport.get_extra_info("peername"))
        self._server = head.endpoint(transport.get_extra_info("sockname"))
        self._state.connections.add(self)
        self.deadline = self._loop.time() + self._every.settings.header_timeout
        refusal = self._every.enter(self)
        settings = self._every.settings
        if self._address is not None and (settings.trusted_proxies or settings.connections_per_address):
            self._is_proxy = head.is_among(head.forwarded_address(self._address[0]), settings.trusted_proxies)
            if not self._is_proxy and refusal is None:
                refusal = self._count(self._address[0])
        if refusal is not None:
            self._refuse(refusal, linger=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._every.leave(self)
        while self._held:
            self._every.leave_address(self._held.pop())
        self._leaving = True
        self.deadline = _NEVER
        if self._exchange is not None:
            self._exchange.leave()
            self._exchange = None
        self.resume_writing()
        self._parser = None  # type: ignore[assignment]  # it knows this connection, which would be a cycle

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._every.view

    def buffer_updated(self, nbytes: int) -> None:
        if self._leaving:
            self._unread += nbytes
            if self._unread > UNREAD_BYTES:
                self._pause()
        elif self._head:
            gathered = self._head
            gathered += self._every.view[:nbytes]
            self._head = bytearray()
            self._read(gathered, 0, len(gathered))
        else:
            self._read(self._every.buffer, 0, nbytes)

    def eof_received(self) -> None:
        """Close: a client that has ended its side is taken for one that left, as by most servers."""

    def pause_writing(self) -> None:
        self.blocked = self.blocked or asyncio.Event()
        self._watch_writing()

    def resume_writing(self) -> None:
        blocked, self.blocked = self.blocked, None
        if blocked is not None:
            blocked.set()

    # ------------------------------------------------------------ uvicorn

    def shutdown(self) -> None:
        """End the connection as soon as its response is complete."""
        self._stopping = True
        if self._leaving:
            self._transport.abort()
        elif self._exchange is None:
            self._end()
        else:
            self._exchange.keep_alive = False

    # ------------------------------------------------------------ clocks

    def overdue(self) -> None:
        """Cut a client that did not send, or did not go, in time."""
        settings = self._every.settings
        if self._transport.is_closing():
            self.deadline = _NEVER
        elif self._leaving:
            self._transport.abort()
        elif self._exchange is None and self._whole:
            if self._head:
                self._refuse(
                    errors.request_timeout(
                        "its URL and headers did not come", settings.header_timeout, "header_timeout"
                    )
                )
            elif self._in_kernel():  # of the last response: closing would leave it there
                self._transport.abort()
            else:
                self._end()
        elif self._exchange is None:
            self._end()
        elif self._exchange.waits:
            self._refuse(errors.request_timeout("nothing of its body came", settings.body_timeout, "body_timeout"))
        else:
            self.deadline = _NEVER

    def look_at_writing(self, now: float) -> None:
        """Abort where the client has taken nothing since `write_timeout`.

        Bytes that the kernel still holds count as not taken. It asks for more in steps, and a slow client is long over
        one.
        """
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._every.behind.discard(self)
            return
        taken = self._sent - waiting - self._in_kernel()
        if taken > self._taken:
            self._taken, self._taken_by = taken, now
        elif now - self._taken_by >= self._every.settings.write_timeout:
            self._transport.abort()

    def give_way(self) -> None:
        """End at once: another connection needs the place."""
        self._leaving = True
        self._transport.abort()

    def _in_kernel(self) -> int:
        kept = self._transport.get_extra_info("socket")
        return 0 if kept is None else unacknowledged(kept.fileno())

    def _watch_writing(self) -> None:
        """Look from now on whether the client takes what it is sent, until nothing waits for it."""
        if self not in self._every.behind:
            self._every.behind.add(self)
            self._taken = -1

    # ------------------------------------------------------------ reading

    def _read(self, data: bytearray, start: int, stop: int) -> None:
        """Take what came: of a head, of a body, of the next request, or of nothing any more."""
        while start < stop and not self._leaving:
            if not self._whole:
                start = self._read_body(data, start, stop)
            elif self._exchange is None:
                start = self._read_head(data, start, stop)
            else:
                self._later += data[start:stop]
                self._pause()
                return

    def _read_head(self, data: bytearray, start: int, stop: int) -> int:
        while data.startswith(b"\r\n", start, stop):  # RFC 9112, 2.2: empty lines before a request mean nothing
            start += 2
        end = head.end_of(data, start, stop)
        if not end:
            self._gather(data, start, stop)
            return stop
        if head.is_too_long(data, start, end):
            self._refuse_head()
            return stop
        self._url, self._headers, self._parsed, self._overrun = b"", [], False, False
        self._whole = False
        if self._parse(memoryview(data)[start:end]):
            self._begin()
        elif not self._leaving:
            self._refuse(errors.not_http())
        return end

    def _gather(self, data: bytearray, start: int, stop: int) -> None:
        """Keep the beginning of a head. Its clock runs from the first byte, whatever else comes."""
        if start == stop:
            return
        if stop - start >= head.MOST_BYTES:
            self._refuse_head()
        elif head.is_nonsense(data, start, stop):
            self._refuse(errors.not_http())
        else:
            if not self._began:
                self._began = True
                self.deadline = min(self.deadline, self._loop.time() + self._every.settings.header_timeout)
            self._head = data[start:stop]

    def _parse(self, data: memoryview) -> bool:
        """Feed the parser; returns whether it understood, which is that the head of the request is read."""
        try:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                self._decline_upgrade()
        except httptools.HttpParserError:
            return False
        return self._parsed

    def _decline_upgrade(self) -> None:
        """Read a request that offers another protocol as one that does not: it is answered in this one (RFC 9110, 7.8).

        The parser takes no body for such a request, though clients send one (Java's offers HTTP/2 with its first POST).
        So another parser goes on behind a head that tells of the body and of nothing else.
        """
        self._parser = httptools.HttpRequestParser(self)
        read = self._url, self._headers, self._method, self._version, self._keep_alive
        framing = [b"%b: %b\r\n" % one for one in self._headers if one[0] in _FRAMING]
        self._headers, self._parsed, self._whole = [], False, False
        self._parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._url, self._headers, self._method, self._version, self._keep_alive = read

    def _read_body(self, data: bytearray, start: int, stop: int) -> int:
        if self._remaining is not None:
            stop = min(stop, start + self._remaining)
            self._remaining -= stop - start
        else:
            stop = self._chunks.end(data, start, stop)
        self._unread += stop - start
        self._empty += stop - start
        self._framing += stop - start
        if not self._parse(memoryview(data)[start:stop]):
            self._overrun = True
            if not self._whole:
                self._refuse(errors.not_http())
        elif not self._whole and (self._empty > EMPTY_BYTES or self._framing > FRAMING_BYTES):
            self._refuse(errors.bad_framing())
        elif self._unread > UNREAD_BYTES and not self._whole:
            self._pause()
            if self._draining:  # in turns with the other connections
                self._loop.call_soon(self.want)
        return stop

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def want(self) -> None:
        """Read on. The body's clock begins anew: until now the client had to wait for us."""
        self._unread = 0
        if self._whole or self._leaving:
            return
        self.deadline = self._loop.time() + self._every.settings.body_timeout
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    # ------------------------------------------------------------ the parser's calls

    def on_message_begin(self) -> None:
        self._overrun = self._parsed

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._parsed:  # what comes after a body in chunks means nothing here
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._parsed = True
        parser = self._parser
        self._method, self._version = parser.get_method(), parser.get_http_version()
        self._keep_alive = parser.should_keep_alive()  # it forgets at the end of the message

    def on_body(self, body: bytes) -> None:
        if self._overrun:
            return
        self._empty = 0
        self._framing -= 2 * len(body)
        if self._exchange is not None:
            self._exchange.feed(body)
        self.deadline = self._loop.time() + self._every.settings.body_timeout

    def on_message_complete(self) -> None:
        if self._overrun:
            return
        self._whole = True
        self.deadline = _NEVER
        if self._exchange is not None:
            self._exchange.finish()
        elif self._draining:
            self._idle()

    # ------------------------------------------------------------ a request

    def _begin(self) -> None:
        """Hand a request to the application, its head being read and its body still to come."""
        last = dict(self._headers)
        version = self._version
        client = self._address
        if version not in {"1.1", "1.0"}:
            return self._refuse(errors.version_not_served())
        if len(last) < len(self._headers) and (twice := head.repeated([name for name, _ in self._headers])):
            return self._refuse(errors.repeated_header(twice))
        if self._is_proxy and b"x-forwarded-for" in last:
            told = [value for name, value in self._headers if name == b"x-forwarded-for"]
            address = head.forwarded_for(told, self._every.settings.trusted_proxies)
            if address is not None:
                client = (address, 0)
                if (many := self._count(address)) is not None:
                    return self._refuse(many)
        if (refusal := self._every.start(self)) is not None:
            return self._refuse(refusal)
        length = last.get(b"content-length")
        self._remaining = None if length is None else int(length)  # the parser has seen that it is a number
        self._chunks = head.Chunks()
        self._unread = self._empty = self._framing = 0
        self._start(version, client, self._expects(last, version))
        return None

    def _expects(self, last: dict[bytes, bytes], version: str) -> bool:
        """Tell whether the client sends its body only once it is told to (RFC 9110, 10.1.1)."""
        return not self._whole and version == "1.1" and last.get(b"expect", b"").lower() == b"100-continue"

    def _start(self, version: str, client: tuple[str, int] | None, expects: bool) -> None:
        path, raw, query = head.target(self._url)
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._server,
            "client": client,
            "scheme": "http",
            "method": self._method.decode("ascii"),
            "root_path": "",
            "path": path,
            "raw_path": raw,
            "query_string": query,
            "headers": self._headers,
            "state": dict(self._app_state),
        }
        keep_alive = version == "1.1" and self._keep_alive and not self._stopping
        exchange = Exchange(self, scope, keep_alive=keep_alive, expects=expects)
        scope["extensions"] = {LEAVING: exchange}
        exchange.whole = self._whole
        self._exchange = exchange
        self._began = False
        self.deadline = _NEVER
        served = cast("Coroutine[Any, Any, None]", self._app(scope, exchange.receive, exchange.send))
        task = self._loop.create_task(served)
        self._state.tasks.add(task)
        task.add_done_callback(partial(self._done, exchange))

    def _done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """End what the application left: it has an outermost handler of its own, so this is a fault."""
        self._state.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._every.log.error("application failed", path=exchange.path, exc_info=error)
        if exchange is self._exchange:
            self._refuse(errors.internal_error())

    def _count(self, address: str) -> GatewayError | None:
        """Count this connection, or a request that came over it, under an address."""
        limit = self._every.settings.connections_per_address
        if limit is None:
            return None
        held = self._every.enter_address(address)
        if held is None:
            return errors.too_many_connections(limit)
        self._held.append(held)
        return None

    # ------------------------------------------------------------ a response

    def date(self) -> list[tuple[bytes, bytes]]:
        return self._state.default_headers

    def write(self, data: bytes) -> None:
        self._sent += len(data)
        self._transport.write(data)

    def may_stay(self, status: int) -> bool:
        """Tell whether the connection outlives a response with this status.

        It does not where the rest of a body is under way that nobody asked for: who is refused before his key was known
        is not read on. A body that is too large belongs to a caller who is known, and is read away.
        """
        exchange = self._exchange
        if self._whole or exchange is None:
            return True
        few = self._remaining is not None and self._remaining <= DRAINED_BYTES
        return not exchange.expects and (exchange.asked or few or status == _TOO_LARGE)

    def answered(self) -> None:
        """Go on to the next request, to the rest of this one, or end."""
        exchange, self._exchange = self._exchange, None
        self._state.total_requests += 1
        if self._is_proxy and self._held:
            self._every.leave_address(self._held.pop())
        if self._leaving or exchange is None:
            return
        if not exchange.keep_alive or self._overrun or self._stopping:
            self._end()
        elif self._whole:
            self._idle()
        else:
            self._draining = True
            self.want()

    def _idle(self) -> None:
        """Wait for the next request, unless it is there."""
        self._draining = False
        self.deadline = self._loop.time() + self._every.settings.keep_alive
        self._every.waiting[self] = None
        if self._later:
            early, self._later = self._later, bytearray()
            self._read(early, 0, len(early))
        if self._paused and not self._later and not self._leaving:
            self._paused = False
            self._transport.resume_reading()

    def _refuse_head(self) -> None:
        """Refuse a head that is too long, a moment later and with nothing read until then.

        A client that sends such heads at full speed gains nothing: told at once, it would begin anew a thousand times a
        second.
        """
        self._pause()
        self._leaving = True
        self._head = bytearray()
        self.deadline = _NEVER

        def refuse() -> None:
            if not self._transport.is_closing():
                self._refuse(errors.headers_too_large(head.MOST_BYTES, head.MOST_LINES))

        self._loop.call_later(_DELAY_SECONDS, refuse)

    def _refuse(self, error: GatewayError, *, linger: bool = True) -> None:
        """Answer with an error and end; nothing more is read. A response that has begun is cut."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.leave()
            if exchange.started:
                self._leaving = True
                self._transport.abort()
                return
        headers, body = write_error(error, books.new_id(time.time(), os.urandom(books.ID_ENTROPY_BYTES)))
        self.write(written_response(error.status, [*self.date(), *headers], body))
        self._pause()
        self._end(linger=linger)

    def _end(self, *, linger: bool = False) -> None:
        """Close. Our side is closed first if more may be on its way: a client that still sends can read why.

        Closing while something is unread would reset the connection, and with it what we sent.
        """
        self._leaving = True
        self._head = bytearray()
        if self._transport.is_closing():
            return
        self._watch_writing()
        if not linger and self._whole and not self._later:
            self._every.waiting.pop(self, None)
            self.deadline = _NEVER
            self._transport.close()
            return
        self._unread = 0
        self._every.waiting[self] = None
        self.deadline = self._loop.time() + _LINGER_SECONDS
        self._transport.write_eof()

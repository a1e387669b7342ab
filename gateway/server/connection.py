"""A connection of a client: bytes in, requests out, each bounded before anybody is known by a key.

uvicorn makes one for each client (gateway/server/__init__.py) and knows of it what it knows of its own: it is in
`connections`, its tasks are in `tasks`, and `shutdown` asks it to end.

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

from starlette.types import ASGIApp, Scope

from gateway.money import ledger as books
from gateway.server import head
from gateway.server.client_address import ClientAddress
from gateway.server.exchange import Exchange, written_response
from gateway.server.open_connections import OpenConnections, ServerState
from gateway.server.request_reader import RequestReader
from gateway.server.sending import Sending
from gateway.serving.client import LEAVING, write_error
from gateway.wire import errors
from gateway.wire.errors import GatewayError

UNREAD_BYTES: Final = 65_536
"""Bytes of a body that are read ahead of the application."""
DRAINED_BYTES: Final = 65_536
"""Rest of a body that nobody asked for and that is still read, so that the connection can stay."""

_DELAY_SECONDS: Final = 0.3
"""Seconds that a head which is too long waits for its refusal."""
_LINGER_SECONDS: Final = 1.0
"""Seconds that a connection which we ended may stay half open, so that its client can read why."""
_LAST_SECONDS: Final = 0.5
"""Seconds that a stop waits for a request of a connection that has none: a proxy may just be sending one, which it
would not send again elsewhere."""
_TOO_LARGE: Final = 413
_NEVER: Final = math.inf


class Connection(asyncio.BufferedProtocol):
    """One client's connection, from its first byte to its last."""

    def __init__(self, app: ASGIApp, every: OpenConnections, state: ServerState, app_state: dict[str, Any]) -> None:
        self.deadline = _NEVER
        self._app, self._every, self._state, self._app_state = app, every, state, app_state
        self._loop = every.loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything is read
        self._sending: Sending = None  # type: ignore[assignment]  # as above
        self._request = RequestReader(self)
        self._client: ClientAddress = None  # type: ignore[assignment]  # as above
        self._server: tuple[str, int] | None = None

        self._head = bytearray()  # the beginning of a head, until all of it is there
        self._began = False  # whether a head has
        self._draining = False  # whether the rest of a request is read for nobody
        self._exchange: Exchange | None = None
        self._later = bytearray()  # of the next request
        self._unread = 0
        self._paused = self._leaving = self._stopping = False

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its parents
        self._sending = Sending(self._transport)
        self._client = ClientAddress(self._every, transport.get_extra_info("peername"))
        self._server = head.endpoint(transport.get_extra_info("sockname"))
        self._state.connections.add(self)
        self.deadline = self._loop.time() + self._every.settings.header_timeout
        if (refusal := self._every.enter(self) or self._client.enter()) is not None:
            self._refuse(refusal, linger=False)
        elif self._every.is_stopping:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._every.leave(self)
        self._client.leave()
        self._leaving = True
        self.deadline = _NEVER
        if self._exchange is not None:
            self._exchange.leave()
            self._exchange = None
        self.resume_writing()
        self._request.close()

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
        self._sending.block()
        self._watch_writing()

    def resume_writing(self) -> None:
        self._sending.unblock()

    # ------------------------------------------------------------ uvicorn

    def drain(self) -> None:
        """Have the answer under way say that no other comes over this connection."""
        if self._exchange is not None and not self._exchange.started:
            self._exchange.keep_alive = False

    def shutdown(self) -> None:
        """End the connection with its response; one without a request has a moment, since one may be on its way."""
        self._stopping = True
        if self._leaving:
            self._transport.abort()
        elif self._exchange is not None:
            self._exchange.keep_alive = False
        else:
            self.deadline = min(self.deadline, self._loop.time() + _LAST_SECONDS)

    def overdue(self) -> None:
        """Cut a client that did not send, or did not go, in time."""
        settings = self._every.settings
        if self._transport.is_closing():
            self.deadline = _NEVER
        elif self._leaving:
            self._transport.abort()
        elif self._exchange is not None:
            if self._exchange.waits:
                self._refuse(errors.request_timeout("nothing of its body came", settings.body_timeout, "body_timeout"))
            else:
                self.deadline = _NEVER
        elif self._request.whole and self._head:
            late = "its URL and headers did not come"
            self._refuse(errors.request_timeout(late, settings.header_timeout, "header_timeout"))
        elif self._request.whole and self._sending.in_kernel():  # of the last response: closing would leave it there
            self._transport.abort()
        else:
            self._end()

    def look_at_writing(self, now: float) -> None:
        """Abort where the client has taken nothing since `write_timeout`."""
        is_stuck = self._sending.is_stuck(now, self._every.settings.write_timeout)
        if is_stuck is None:
            self._every.behind.discard(self)
        elif is_stuck:
            self._transport.abort()

    def give_way(self) -> None:
        self._leaving = True  # another connection needs the place
        self._transport.abort()

    def _watch_writing(self) -> None:
        """Look from now on whether the client takes what it is sent, until nothing waits for it."""
        if self not in self._every.behind:
            self._every.behind.add(self)
            self._sending.begin_watch()

    # ------------------------------------------------------------ reading

    def _read(self, data: bytearray, start: int, stop: int) -> None:
        """Take what came: of a head, of a body, of the next request, or of nothing any more."""
        while start < stop and not self._leaving:
            if not self._request.whole:
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
        if self._request.read_head(memoryview(data)[start:end]):
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

    def _read_body(self, data: bytearray, start: int, stop: int) -> int:
        request = self._request
        stop = request.end_of_body(data, start, stop)
        self._unread += stop - start
        if not request.read_body(memoryview(data)[start:stop]):
            if not request.whole:
                self._refuse(errors.not_http())
        elif not request.whole and request.is_framed_at_length:
            self._refuse(errors.bad_framing())
        elif self._unread > UNREAD_BYTES and not request.whole:
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
        if self._request.whole or self._leaving:
            return
        self.deadline = self._loop.time() + self._every.settings.body_timeout
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def take_body(self, body: bytes) -> None:
        if self._exchange is not None:
            self._exchange.feed(body)
        self.deadline = self._loop.time() + self._every.settings.body_timeout

    def end_body(self) -> None:
        self.deadline = _NEVER
        if self._exchange is not None:
            self._exchange.finish()
        elif self._draining:
            self._idle()

    # ------------------------------------------------------------ a request

    def _begin(self) -> None:
        """Hand a request to the application, its body still to come."""
        request = self._request
        if (fault := request.fault()) is not None:
            return self._refuse(fault)
        client, refusal = self._client.client_of(request.headers)
        refusal = refusal or self._every.start(self)
        if refusal is not None:
            return self._refuse(refusal)
        request.expect_body()
        self._unread = 0
        self._start(request.scope(client, self._server, self._app_state))
        return None

    def _start(self, scope: Scope) -> None:
        request = self._request
        ends = self._stopping or self._every.is_draining
        keep_alive = request.version == "1.1" and request.keep_alive and not ends
        exchange = Exchange(self, scope, keep_alive=keep_alive, expects=request.waits_to_be_told)
        scope["extensions"] = {LEAVING: exchange}
        exchange.whole = request.whole
        self._exchange = exchange
        self._began = False
        self.deadline = _NEVER
        served = cast("Coroutine[Any, Any, None]", self._app(scope, exchange.receive, exchange.send))
        task = self._loop.create_task(served)
        self._state.tasks.add(task)
        task.add_done_callback(partial(self._done, exchange))

    def _done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """End what the application left: a fault of ours, or a stop."""
        self._state.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._every.log.error("application failed", path=exchange.path, exc_info=error)
        if exchange is self._exchange:
            self._refuse(errors.gateway_stopping() if task.cancelled() else errors.internal_error())

    # ------------------------------------------------------------ a response

    def date(self) -> list[tuple[bytes, bytes]]:
        return self._state.default_headers

    @property
    def blocked(self) -> asyncio.Event | None:
        return self._sending.blocked

    def write(self, data: bytes) -> None:
        self._sending.write(data)

    def may_stay(self, status: int) -> bool:
        """Tell whether the connection outlives a response with this status.

        Not where the rest of a body is under way that nobody asked for; one that is too large is of a known caller.
        """
        exchange = self._exchange
        if self._request.whole or exchange is None:
            return True
        few = self._request.has_at_most(DRAINED_BYTES)
        return not exchange.expects and (exchange.asked or few or status == _TOO_LARGE)

    def answered(self) -> None:
        """Go on to the next request, to the rest of this one, or end."""
        exchange, self._exchange = self._exchange, None
        self._state.total_requests += 1
        self._client.end_request()
        if self._leaving or exchange is None:
            return
        if not exchange.keep_alive or self._request.overrun or self._stopping:
            self._end()
        elif self._request.whole:
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
        """Refuse a head that is too long, after a while: told at once, its client would begin anew at full speed."""
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
        """Close; our side first if more may be on its way, since a reset would take what we sent with it."""
        self._leaving = True
        self._head = bytearray()
        if self._transport.is_closing():
            return
        self._watch_writing()
        if not linger and self._request.whole and not self._later:
            self._every.waiting.pop(self, None)
            self.deadline = _NEVER
            self._transport.close()
            return
        self._unread = 0
        self._every.waiting[self] = None
        self.deadline = self._loop.time() + _LINGER_SECONDS
        self._transport.write_eof()

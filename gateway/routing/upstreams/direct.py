"""OpenAI-compatible upstreams over aiohttp: one pooled session, the bytes of both directions as they are.

This is the hot path. The URL, headers, timeout and proxy of a deployment's requests are built once. The session has no
cookie jar and no traces, and follows no redirect, so that a credential goes to the configured host only.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict, istr
from yarl import URL

from gateway.config.addresses import MODELS
from gateway.config.network import HERE, Network
from gateway.providers.addresses import Endpoint, joined_path, operation_endpoint
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import KEPT_SECONDS, StoredCall, Trouble, UpstreamError
from gateway.wire.headers import NO_HEADERS, kept
from gateway.wire.operations import PATHS, Operation

CONNECT_SECONDS: Final = 10.0
"""A connection is made in this time or not at all: it is cheap to try elsewhere."""

DNS_SECONDS: Final = 5.0
"""A name is resolved in this time or not at all: nothing else bounds it, since `sock_connect` begins after it."""

_OUR_ID: Final = istr(
    "X-Client-Request-Id"
)  # OpenAI logs it beside its own id: platform.openai.com/docs/api-reference/debugging-requests
READ_BYTES: Final = 16 * 1024
"""Bytes of an answer that are taken at a time; twice as many wait in front of it before its connection is not read any
more. Output that a client is too slow for stays with the upstream."""
WINDOW_BYTES: Final = 32 * 1024
"""Bytes that the kernel takes of a stream that nobody reads (Linux doubles it): all of it may come in one read, which
nothing here can stop. A stream does not need more: it is 320 kB, or a thousand events, a second from a server 100 ms
away."""
_LARGE: Final = 2**20  # beyond this aiohttp wants to send a body in pieces, and warns otherwise

_TROUBLES: Final[tuple[tuple[type[BaseException], Trouble], ...]] = (
    (aiohttp.ConnectionTimeoutError, "connect"),
    (aiohttp.ServerTimeoutError, "timeout"),
    (asyncio.TimeoutError, "timeout"),
    (aiohttp.ClientConnectorError, "connect"),
    (aiohttp.ClientConnectionResetError, "reset"),
    (aiohttp.ServerDisconnectedError, "reset"),
    (aiohttp.ClientOSError, "reset"),
    (aiohttp.ClientPayloadError, "reset"),
    (aiohttp.ClientResponseError, "garbage"),
    (aiohttp.InvalidURL, "connect"),
    (aiohttp.ClientConnectionError, "reset"),
    (ConnectionError, "reset"),
    (ssl.SSLError, "connect"),
    (OSError, "connect"),
)
"""aiohttp's exceptions in our words; the first that fits counts."""

_FOREIGN: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


_CLOSED: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError, aiohttp.ClientOSError)
"""Exceptions of a request on a connection that the peer had closed."""


class _Handler(ResponseHandler):
    """aiohttp's side of one connection, which knows whether anything came over it, and does less for each chunk."""

    heard = 0
    """Chunks that came, over all requests that it served."""
    _silent_until = 0.0
    was_paused = False
    """Whether reading of the answer under way was stopped at any time."""

    def set_response_params(self, **params: Any) -> None:
        """Begin a request: tell its task what it goes over."""
        self.was_paused = False
        _over.set((self, self.heard))
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        super().data_received(data)

    def pause_reading(self) -> None:
        self.was_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on where reading was stopped. aiohttp asks for it with every chunk that is taken out.

        Its parser may stop once more after the first time, without a word. So from then on nothing is left out.
        """
        if self.was_paused:
            super().resume_reading(resume_parser)

    def _reschedule_timeout(self) -> None:
        """Begin the wait for the next bytes. The timer goes on: where it ends too early, it is set again."""
        timeout, now = self._read_timeout, self._loop.time()
        if not timeout:
            self._drop_timeout()
            return
        self._silent_until = now + timeout
        timer = self._read_timeout_handle
        if timer is not None and timer.when() > self._silent_until:
            timer.cancel()
            timer = None
        if timer is None:
            self._read_timeout_handle = self._loop.call_later(timeout, self._on_silence)

    def _on_silence(self) -> None:
        self._read_timeout_handle = None
        left = self._silent_until - self._loop.time()
        if left > 0:
            self._read_timeout_handle = self._loop.call_later(left, self._on_silence)
        else:
            self._on_read_timeout()


_over: ContextVar[tuple[_Handler, int] | None] = ContextVar("connection", default=None)
"""The connection that this task's request went over, and what had come over it before."""


class _Resolver(aiohttp.ThreadedResolver):
    """The system's resolver, with a deadline. uvloop asks it in threads that nothing else uses."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        try:
            async with asyncio.timeout(DNS_SECONDS):
                return await super().resolve(host, port, family)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {DNS_SECONDS:g} seconds") from None


class _Connector(aiohttp.TCPConnector):
    """aiohttp's pool of such connections."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        make: Callable[..., ResponseHandler] = _Handler
        self._factory = partial(make, loop=self._loop)


def _was_stale(error: BaseException) -> bool:
    """Whether a request went over a connection that was used before, and met its end before a byte of an answer.

    The peer had closed it, or was about to: the request was not served, so it may be sent again.
    """
    over = _over.get()
    if over is None or not isinstance(error, _CLOSED) or isinstance(error, aiohttp.ClientConnectorError):
        return False
    handler, heard_before = over
    return heard_before > 0 and handler.heard == heard_before


def _trouble(error: BaseException) -> UpstreamError:
    kind: Trouble = next((kind for foreign, kind in _TROUBLES if isinstance(error, foreign)), "garbage")
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        # Not all that aiohttp says of it: that holds the address, and the address of a proxy its password.
        return UpstreamError(kind, f"{name}: {error.status}", error.message)
    if isinstance(error, aiohttp.ClientPayloadError):  # it quotes the bytes that it did not understand
        return UpstreamError(kind, name, str(error))
    return UpstreamError(kind, f"{name}: {error}".rstrip(": "))


@dataclass(frozen=True, slots=True, eq=False)
class _Route:
    """The parts that all requests to one deployment have in common."""

    deployment: Deployment
    url: URL
    headers: CIMultiDict[str]
    timeout: aiohttp.ClientTimeout
    proxy: str | None
    usual: Collection[str] = ()
    """The names of those that a client's own come before."""


def _route(deployment: Deployment, network: Network, signed: Endpoint | None = None) -> _Route:
    headers: CIMultiDict[str] = CIMultiDict(
        {
            istr("Content-Type"): "application/json",
            istr("Accept"): "*/*",
            # Compressed event streams arrive in lumps; what is relayed should come as the model speaks.
            istr("Accept-Encoding"): "identity",
            istr("User-Agent"): "gateway",
        }
    )
    there = signed or operation_endpoint(
        deployment.provider,
        deployment.model,
        deployment.api_base or "",
        deployment.api_key,
        deployment.params,
        deployment.operation or "chat",
    )
    for name, value in {**there.usual, **there.headers}.items():
        headers[istr(name.title())] = value
    if organization := deployment.params.get("organization"):
        headers[istr("OpenAI-Organization")] = str(organization)
    for name, value in {**deployment.params.get("headers", {}), **deployment.params.get("extra_headers", {})}.items():
        headers[istr(name)] = str(value)
    connect = min(CONNECT_SECONDS, deployment.timeout)
    url = URL(there.url, encoded=there.is_signed)
    return _Route(
        deployment=deployment,
        url=url,
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect, sock_read=deployment.timeout),
        proxy=network.proxy_for(url.scheme, url.host or "", url.port),
        usual=there.usual.keys(),
    )


class DirectReply:
    """An answer that is still arriving."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Mapping[str, str] = kept(response.headers)

    def __repr__(self) -> str:
        return f"DirectReply({self.status})"

    async def read(self) -> bytes:
        try:
            return await self._response.read()
        except _FOREIGN as error:
            self._response.close()
            raise _trouble(error) from error

    def chunks(self) -> AsyncIterator[bytes]:
        return _Chunks(self._response)

    @property
    def is_over(self) -> bool:
        return self._response.content.is_eof()

    async def close(self) -> None:
        self._response.close()  # at the end of a body aiohttp has given the connection back: then this does nothing


class _Body(aiohttp.StreamReader):
    """aiohttp's body of an answer, taken out at once. A server writes each event as a piece of its own."""

    __slots__ = ()

    def _read_nowait(self, n: int) -> bytes:
        """Take out what waits, at most `n` bytes. aiohttp would settle its accounts at each piece."""
        size = self._size
        if len(self._buffer) < 2 or self._buffer_offset or 0 <= n < size:
            return super()._read_nowait(n)
        self._timer.assert_timeout()
        taken = b"".join(self._buffer)
        self._buffer.clear()
        self._size, self._cursor = 0, self._cursor + size
        if self._http_chunk_splits:
            end = self._http_chunk_splits[-1]
            self._http_chunk_splits.clear()
            if end >= self._cursor:
                self._http_chunk_splits.append(end)
        self._protocol.resume_reading()
        return taken


class _Chunks:
    """The body of an answer as it comes. A generator would do, but the loop keeps account of each."""

    __slots__ = ("_read", "_response")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        content = response.content
        if type(content) is aiohttp.StreamReader:  # its parser makes them, and is not told of which class
            content.__class__ = _Body
        self._response, self._read = response, content.read

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._read(READ_BYTES)
        except _FOREIGN as error:
            self._response.close()
            raise _trouble(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


_Use = Literal["whole", "stream", "once"]
"""The use of a session: whole answers, streams, and calls over a connection of their own."""


class Direct:
    """The upstream of every deployment of kind `direct`. The sessions are opened by the first request that needs them.

    Most requests go over pooled connections. One that finds its connection closed goes once more, over a new one.
    """

    def __init__(self, network: Network = HERE) -> None:
        self._network = network
        self._sessions: dict[_Use, aiohttp.ClientSession] = {}
        self._routes: dict[tuple[str, Operation | None], _Route] = {}

    async def send(
        self,
        deployment: Deployment,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> DirectReply:
        at = deployment.name, deployment.operation
        route = self._routes.get(at)
        if route is None or route.deployment is not deployment:
            route = self._routes[at] = _route(deployment, self._network)
        return await self._sent(route, body, stream=stream, request_id=request_id, headers=headers)

    async def send_signed(
        self,
        deployment: Deployment,
        there: Endpoint,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> DirectReply:
        """Send as `send` does, to an address and under headers that were made for this request."""
        route = _route(deployment, self._network, there)
        return await self._sent(route, body, stream=stream, request_id=request_id, headers=headers)

    async def _sent(
        self, route: _Route, body: bytes, *, stream: bool, request_id: str, headers: Mapping[str, str]
    ) -> DirectReply:
        sent = route.headers.copy()
        sent[_OUR_ID] = request_id
        for name, value in headers.items():
            if name not in route.headers or name in route.usual:
                sent[name] = value
        try:
            response = await _post(self._session("stream" if stream else "whole"), route, body, sent)
        except _FOREIGN as error:
            if not _was_stale(error):
                raise _trouble(error) from error
            response = await self._post_anew(route, body, sent)
        if 300 <= response.status < 400:
            response.close()
            raise UpstreamError("garbage", f"the upstream answered with a redirect ({response.status})")
        return DirectReply(response)

    async def _post_anew(self, route: _Route, body: bytes, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        """Send over a connection of its own, since others of the pool may be as stale."""
        try:
            return await _post(self._session("once"), route, body, headers)
        except _FOREIGN as error:
            raise _trouble(error) from error

    async def ask(self, deployment: Deployment, call: StoredCall, *, request_id: str) -> DirectReply:
        """Ask about something that the deployment keeps, beside its Responses."""
        route = _route(deployment, self._network)
        base = route.url
        path = base.path.removesuffix(PATHS["responses"]) + call.path
        url = base.with_path(path).with_query([*base.query.items(), *call.query])
        headers = route.headers.copy()
        headers[_OUR_ID] = request_id
        try:
            response = await self._session("stream").request(
                call.method,
                url,
                data=call.body or None,
                headers=headers,
                timeout=route.timeout,
                allow_redirects=False,
                proxy=route.proxy,
            )
        except _FOREIGN as error:
            raise _trouble(error) from error
        if 300 <= response.status < 400:
            response.close()
            raise UpstreamError("garbage", f"the upstream answered with a redirect ({response.status})")
        return DirectReply(response)

    async def reached(self, deployment: Deployment) -> int:
        """Ask a deployment's server which models it has, which costs nothing, and return the status.

        One that does not speak chat completions is asked without its key. Raises `UpstreamError`.
        """
        route = _route(deployment, self._network)
        session = self._session("whole")
        speaks = deployment.kind == "direct"
        url = URL(joined_path(deployment.api_base or "", MODELS if speaks else ""))
        limit = aiohttp.ClientTimeout(total=CONNECT_SECONDS)
        headers = route.headers if speaks else None
        try:
            async with session.get(
                url, headers=headers, timeout=limit, allow_redirects=False, proxy=route.proxy
            ) as response:
                return response.status
        except _FOREIGN as error:
            raise _trouble(error) from error

    async def close(self) -> None:
        while self._sessions:
            await self._sessions.popitem()[1].close()

    def _session(self, use: _Use) -> aiohttp.ClientSession:
        session = self._sessions.get(use)
        if session is None:
            session = self._sessions[use] = self._opened(use)
        return session

    def _opened(self, use: _Use) -> aiohttp.ClientSession:
        # limit=0: how many requests run at once is decided at admission, not by a queue in the pool.
        file = self._network.certificates
        trusted: ssl.SSLContext | Literal[True] = ssl.create_default_context(cafile=file) if file else True
        pooled: dict[str, Any] = {"force_close": True} if use == "once" else {"keepalive_timeout": KEPT_SECONDS}
        if use == "stream":
            pooled["socket_factory"] = _narrow_socket
        return aiohttp.ClientSession(
            connector=_Connector(limit=0, ttl_dns_cache=60, ssl=trusted, resolver=_Resolver(), **pooled),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("User-Agent",),
            read_bufsize=READ_BYTES,
        )


def _narrow_socket(address: Any) -> socket.socket:
    """Make the socket of a stream."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
    return made


def _post(
    session: aiohttp.ClientSession, route: _Route, body: bytes, headers: CIMultiDict[str]
) -> Awaitable[aiohttp.ClientResponse]:
    _over.set(None)
    return session.post(
        route.url,
        data=body if len(body) <= _LARGE else io.BytesIO(body),
        headers=headers,
        timeout=route.timeout,
        allow_redirects=False,
        proxy=route.proxy,
    )

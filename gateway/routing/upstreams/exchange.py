"""The HTTP connection that litellm is given to speak through, so that what really happened on the wire is known.

litellm turns upstream answers into exceptions of its own and retries a broken connection once without being asked. Here
the status, headers and body of an error are kept as they came, a broken connection is reported as an error that litellm
does not retry (a request may have been billed), redirects are not followed, and an open answer can be aborted.

Imported by `translated` when litellm is: it costs nothing before.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import httpx

from gateway.config.network import HERE, Network
from gateway.providers.credentials import signatures
from gateway.providers.provider import StreamReader
from gateway.routing.upstreams.upstream import ERROR_BYTES, KEPT_SECONDS, MOST_ANSWER, Trouble, UpstreamError
from gateway.wire import packing
from gateway.wire.headers import kept
from gateway.wire.secrets import NO_SECRETS, Secrets, secrets

CONNECT_SECONDS: Final = 10.0

_TROUBLES: Final[tuple[tuple[type[httpx.TransportError], Trouble], ...]] = (
    (httpx.ConnectTimeout, "connect"),
    (httpx.ConnectError, "connect"),
    (httpx.TimeoutException, "timeout"),
    (httpx.UnsupportedProtocol, "connect"),
    (httpx.ProtocolError, "garbage"),
    (httpx.NetworkError, "reset"),
)


@dataclass(slots=True)
class WireRecord:
    """The bytes that went over the wire for one call."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error_body: bytes | None = None
    trouble: UpstreamError | None = None
    open: list[httpx.Response] = field(default_factory=list)
    end_marker: bytes | None = None
    """The provider's mark for the end of a stream, where that is known."""
    ended: bool = False
    """Whether that was seen."""
    own: Secrets = NO_SECRETS
    """The deployment's secrets."""
    sent: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The headers of the request, which litellm signed with what it made of those."""
    most: int = MOST_ANSWER
    """Bytes that a whole answer may have, or one event of a stream."""
    events: StreamReader | None = None
    """The reader of a stream that litellm misreads."""

    @property
    def secrets(self) -> Secrets:
        """The secrets to take out of all that came back."""
        return secrets(tuple(dict.fromkeys((*self.own.texts, *signatures(self.sent)))))

    async def abort(self) -> None:
        """Close what is still open; the upstream sees it at once."""
        while self.open:
            await self.open.pop().aclose()


current: Final[ContextVar[WireRecord | None]] = ContextVar("exchange", default=None)
"""The exchange that requests made in this context belong to."""


def _trouble(error: httpx.TransportError, reading: bool, exchange: WireRecord) -> UpstreamError:
    kind: Trouble = next((kind for foreign, kind in _TROUBLES if isinstance(error, foreign)), "reset")
    if kind == "garbage" and (reading or "disconnected" in str(error)):
        kind = "reset"  # the peer closed without an answer, or in the middle of one
    name = type(error).__name__
    if isinstance(error, httpx.ProtocolError):  # it quotes the bytes that it did not understand
        return UpstreamError(kind, name, exchange.secrets.out_of_text(str(error)))
    return UpstreamError(kind, f"{name}: {error}".rstrip(": "))


_POOLED: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEPT_SECONDS)
_UNPOOLED: Final = httpx.Limits(max_connections=None, max_keepalive_connections=0)


class Wire(httpx.AsyncHTTPTransport):
    """httpx's own transport, watched. Beside it stands one for each proxy that some hosts are reached through."""

    def __init__(self, network: Network = HERE) -> None:
        file = network.certificates
        verify = ssl.create_default_context(cafile=file) if file else True
        super().__init__(trust_env=False, limits=_POOLED, verify=verify)
        self._network = network
        self._proxied = {
            proxy: httpx.AsyncHTTPTransport(trust_env=False, limits=_POOLED, verify=verify, proxy=httpx.Proxy(proxy))
            for proxy in network.proxies
        }
        self._unpooled = {
            proxy: httpx.AsyncHTTPTransport(
                trust_env=False, limits=_UNPOOLED, verify=verify, proxy=None if proxy is None else httpx.Proxy(proxy)
            )
            for proxy in (None, *network.proxies)
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = current.get() or WireRecord()
        timeouts = request.extensions.get("timeout", {})
        connect = min(CONNECT_SECONDS, timeouts.get("read") or CONNECT_SECONDS)
        request.headers["accept-encoding"] = "identity"  # as in `direct`; and the end marker must be readable
        request.extensions = {**request.extensions, "timeout": {**timeouts, "connect": connect, "pool": None}}
        exchange.sent = request.headers
        try:
            response = await self._sent(request)
        except httpx.TransportError as error:
            exchange.trouble = _trouble(error, reading=False, exchange=exchange)
            raise httpx.NetworkError(str(error), request=request) from error
        if response.has_redirect_location:
            await response.aclose()
            exchange.trouble = UpstreamError(
                "garbage", f"the upstream answered with a redirect ({response.status_code})"
            )
            raise httpx.NetworkError(exchange.trouble.message, request=request)
        exchange.status = response.status_code
        exchange.headers = exchange.secrets.out_of_headers(kept(response.headers))
        exchange.open.append(response)
        response.stream = _Watched(response, exchange)
        response.headers.pop("content-encoding", None)  # what was packed all the same is unpacked there
        response.headers.pop("content-length", None)
        if "event-stream" not in response.headers.get("content-type", ""):
            exchange.events = None
        if response.status_code < 400:
            return response
        raw = await _beginning(response)
        exchange.error_body = exchange.secrets.out_of(raw)
        return httpx.Response(response.status_code, headers=response.headers, content=raw, request=request)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """Send a request; where its connection was used before and the peer had closed it, once more over a new one."""
        steps: list[str] = []
        url = request.url
        proxy = self._network.proxy_for(url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        send = super().handle_async_request if proxy is None else self._proxied[proxy].handle_async_request

        async def note(step: str, _: object) -> None:
            steps.append(step)

        request.extensions = {**request.extensions, "trace": note}
        try:
            return await send(request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            is_new = any(step.startswith("connection.") for step in steps)
            has_answer = "http11.receive_response_headers.complete" in steps
            if is_new or has_answer or not isinstance(request.stream, httpx.ByteStream):
                raise
            return await self._unpooled[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        """Do nothing: litellm closes clients as it sees fit, and this transport outlives them."""

    async def shut(self) -> None:
        await super().aclose()
        for transport in (*self._proxied.values(), *self._unpooled.values()):
            await transport.aclose()


class _Watched(httpx.AsyncByteStream):
    """A body that is unpacked and measured, and whose breaking is noted before litellm hears of it."""

    def __init__(self, response: httpx.Response, exchange: WireRecord) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._inner = response.stream
        self._exchange = exchange
        self._encoding = response.headers.get("content-encoding", "identity").strip().lower()
        self._in_events = "event-stream" in response.headers.get("content-type", "")
        self._held = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange, kept = self._exchange, b""
        marker, events = exchange.end_marker, exchange.events
        try:
            async for part in self._unpacked():
                self._measure(part)
                if marker is not None and not exchange.ended:
                    seen = kept + part
                    exchange.ended = marker in seen
                    kept = seen[1 - len(marker) :]
                yield part if events is None else events.feed(part)
            if events is not None:
                yield events.end()
        except httpx.TransportError as error:
            exchange.trouble = _trouble(error, reading=True, exchange=exchange)
            raise httpx.ReadError(str(error)) from error
        except UpstreamError as error:
            exchange.trouble = error
            raise httpx.ReadError(str(error)) from error

    async def _unpacked(self) -> AsyncIterator[bytes]:
        """Yield the body as it was before it was packed, which nobody asked for."""
        if self._encoding == "identity":
            async for part in self._inner:
                yield part
            return
        if self._encoding not in packing.FROM_UPSTREAM:
            raise UpstreamError("garbage", f"the answer is packed with {self._encoding[:40]!r}")
        zipped = packing.Zipped(self._encoding)
        try:
            async for part in self._inner:
                for piece in zipped.feed(part):
                    yield piece
        except packing.BadPacking as error:
            raise UpstreamError("garbage", f"the answer is not {self._encoding}: {error}") from error

    def _measure(self, part: bytes) -> None:
        """Raise UpstreamError where a whole answer, or one line of a stream, is longer than may be held."""
        line = part.rfind(b"\n") if self._in_events else -1
        self._held = self._held + len(part) if line < 0 else len(part) - line - 1
        if self._held > self._exchange.most:
            raise UpstreamError("too_large", f"it is longer than {self._exchange.most:,} bytes")

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    """Read an error answer as far as anybody looks at one, and close it."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    parts: list[bytes] = []
    size = 0
    async for part in response.stream:
        parts.append(part[: ERROR_BYTES - size])
        size += len(parts[-1])
        if size == ERROR_BYTES:
            break
    await response.aclose()
    return b"".join(parts)

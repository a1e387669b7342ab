"""The common face of every kind of upstream: one call, answered by a reply or an `UpstreamError`.

Three kinds implement `Upstream`: `direct` (OpenAI-compatible, bytes kept), `translated` (through litellm) and `demo`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from gateway.routing.deployment import Deployment
from gateway.wire.headers import NO_HEADERS

Trouble = Literal["connect", "timeout", "reset", "garbage", "too_large", "authentication"]
"""No connection; silence longer than the timeout; a connection that broke; bytes that are not an HTTP answer; more of
them than an answer may have; credentials with which nothing could be signed.
"""

KEPT_SECONDS: Final = 4.0
"""Seconds that an idle connection is kept: fewer than common servers keep theirs. uvicorn (vLLM, SGLang), Node and
cpp-httplib (llama.cpp) close it after 5 seconds: uvicorn.org/settings, nodejs.org/api/http.html#serverkeepalivetimeout,
`CPPHTTPLIB_KEEPALIVE_TIMEOUT_SECOND`."""

ERROR_BYTES: Final = 2**20
"""Bytes of an error answer that are read; a longer one is cut there."""
MOST_ANSWER: Final = 64_000_000
"""Bytes of an answer where nobody says another number."""


class UpstreamError(Exception):
    """The upstream could not answer. Whether another deployment may do better is for `attempts` to say."""

    def __init__(self, kind: Trouble, message: str, said: str = "") -> None:
        """Tell what happened in `message`; what is quoted of the upstream goes into `said`."""
        super().__init__(message)
        self.kind: Final = kind
        self.message: Final = message
        self.said: Final = said

    def __repr__(self) -> str:
        return f"UpstreamError({self.kind!r}, {self.message!r})"


DROPPED: Final = "x-gateway-dropped"
"""A reply's header that names what of the request its provider was not asked for."""


class Unfit(Exception):
    """The deployment cannot serve a parameter of the request, and was not asked."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param: Final = param
        self.message: Final = message


class Reply(Protocol):
    """An answer whose status and headers are in. `read` or `chunks` is used, once; `close` may follow at any time."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names, those that `wire.headers.kept` keeps, and `DROPPED`."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the whole body is here, read or not, so that its connection can serve again."""
        ...

    async def read(self) -> bytes:
        """Return the whole body. Raises `UpstreamError` where it is cut or stalls."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises `UpstreamError` where it is cut or stalls."""
        ...

    async def close(self) -> None:
        """Abort what is unfinished: the upstream sees its connection close at once. Does nothing after the end."""
        ...


class Upstream(Protocol):
    """One way of reaching deployments."""

    async def send(
        self,
        deployment: Deployment,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Reply:
        """Send a chat completion and return when the status is known. Raises `UpstreamError`, or `Unfit`, and nothing
        else.

        `body` is sent as it is where the upstream speaks chat completions: it already names the deployment's model.
        `headers` are the client's that go along, with lower-case names; the deployment's own come before them.
        A cancelled `send` closes the upstream connection.
        """
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call about something that a provider keeps."""

    method: str
    path: str
    """Behind the address of its API: `/responses/ID`."""
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""


@runtime_checkable
class AsksStored(Protocol):
    """An upstream whose deployments keep things."""

    async def ask(self, deployment: Deployment, call: StoredCall, *, request_id: str) -> Reply:
        """Make such a call. Raises `UpstreamError`."""


@dataclass(frozen=True, slots=True)
class WholeReply:
    """A reply that is known from its first byte to its last."""

    status: int
    headers: Mapping[str, str]
    parts: Sequence[bytes]
    is_over = True

    async def read(self) -> bytes:
        return b"".join(self.parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part

    async def close(self) -> None:
        return None

"""The upstreams of one process behind one door: an attempt at any deployment, as an `Answer` or a `Failure`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from gateway.config.network import HERE, Network
from gateway.routing.attempts import Answer, Failure, Outcome
from gateway.routing.deployment import Deployment, Kind
from gateway.routing.upstreams.translated import Translated
from gateway.routing.upstreams.upstream import (
    ERROR_BYTES,
    MOST_ANSWER,
    AsksStored,
    Reply,
    StoredCall,
    Unfit,
    Upstream,
    UpstreamError,
)
from gateway.wire.headers import NO_HEADERS, retry_after


class Upstreams:
    """The upstreams of one process, by kind."""

    def __init__(
        self,
        count: Callable[[str], int],
        other: Mapping[Kind, Upstream] | None = None,
        *,
        kinds: Iterable[Kind] = (),
        now: Callable[[], float] = time.time,
        network: Network = HERE,
        most: int = MOST_ANSWER,
    ) -> None:
        """Open nothing yet. `count` (tokens of a text) and `now` (seconds) are for the demo provider; `other` upstreams
        stand in for ours. `network` says through which proxies they are reached. `most`: bytes of an answer. `kinds`
        are loaded now, another one at its first call.
        """
        self._count, self._now, self._network = count, now, network
        self.translated: Final = Translated(network, most)
        self._by_kind: Final[dict[Kind, Upstream]] = {"translated": self.translated, **(other or {})}
        self.add(kinds)

    def add(self, kinds: Iterable[Kind]) -> None:
        """Load kinds now, where they are not."""
        for kind in kinds:
            self._upstream(kind)

    async def call(
        self,
        deployment: Deployment,
        body: bytes,
        *,
        stream: bool,
        request_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
        now: float = 0.0,
    ) -> Outcome:
        """Make one attempt: an `Answer` whose body is still to be read, or a `Failure` with the whole of it.

        `headers` are the client's that go along; `now` (Unix seconds) is needed for upstreams that write Retry-After
        as a date.
        """
        upstream = self._by_kind.get(deployment.kind) or self._upstream(deployment.kind)
        sending = upstream.send(deployment, body, stream=stream, request_id=request_id, headers=headers)
        return await _outcome(deployment, sending, now)

    async def ask(self, deployment: Deployment, call: StoredCall, *, request_id: str, now: float = 0.0) -> Outcome:
        """Ask about something that a deployment keeps."""
        upstream = self._by_kind.get(deployment.kind) or self._upstream(deployment.kind)
        if not isinstance(upstream, AsksStored):
            return Failure(deployment, "unfit", message=f"{deployment.provider} keeps nothing")
        return await _outcome(deployment, upstream.ask(deployment, call, request_id=request_id), now)

    def _upstream(self, kind: Kind) -> Upstream:
        """Return the upstream of a kind. Only a configured kind is loaded: aiohttp takes a tenth of a second."""
        if kind not in self._by_kind:
            if kind == "direct":
                from gateway.routing.upstreams.direct import Direct

                self._by_kind[kind] = Direct(self._network)
            elif kind == "signed":
                from gateway.routing.upstreams.direct import Direct
                from gateway.routing.upstreams.signed import Signed

                self._by_kind[kind] = Signed(Direct(self._network), self.translated.module)
            else:
                from gateway.routing.upstreams.demo import Demo

                self._by_kind[kind] = Demo(self._count, self._now)
        return self._by_kind[kind]

    async def close(self) -> None:
        for upstream in self._by_kind.values():
            await upstream.close()


async def _outcome(deployment: Deployment, sending: Awaitable[Reply], now: float) -> Outcome:
    try:
        reply = await sending
        if reply.status < 400:
            return Answer(deployment, reply)
        headers = reply.headers
        body = await _beginning(reply)
    except UpstreamError as error:
        return Failure(deployment, error.kind, message=error.message, said=error.said)
    except Unfit as error:
        return Failure(deployment, "unfit", message=error.message, param=error.param)
    return Failure(deployment, "status", reply.status, body, headers, retry_after(headers, now))


async def _beginning(reply: Reply) -> bytes:
    """Read an error answer, as far as anybody looks at one."""
    parts: list[bytes] = []
    size = 0
    async for part in reply.chunks():
        parts.append(part[: ERROR_BYTES - size])
        size += len(parts[-1])
        if size == ERROR_BYTES:
            await reply.close()
            break
    return b"".join(parts)

"""The calls of one metered request: each deployment is sent it as it came, until one answers or none is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from gateway.routing.attempts import Answer, Failure, Outcome, attempts, drive
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.routing.upstreams.upstream import Reply, UpstreamError
from gateway.serving.answer_beginning import Stream, begin, failure_of
from gateway.serving.failures import failure_facts, is_upstreams, refuses
from gateway.serving.metered.booking import MeteredBooking
from gateway.serving.occupied import Occupied
from gateway.serving.services import Gateway
from gateway.wire.completion import Completion
from gateway.wire.failures import ErrorObject
from gateway.wire.headers import Received, client_headers, retry_after
from gateway.wire.metered.answers import NoResult, Result, judged
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.metered.write import sent
from gateway.wire.opening import Opening, Streaming


class MeteredCalls:
    """The calls of one request."""

    __slots__ = ("answer", "booking", "deployment", "dropped", "gateway", "headers", "occupied", "reply", "reply_of",
                 "request")  # fmt: skip

    def __init__(self, gateway: Gateway, request: MeteredRequest, booking: MeteredBooking, headers: Received) -> None:
        """Take a request, and its client's headers."""
        self.gateway, self.request, self.booking, self.headers = gateway, request, booking, headers
        self.dropped: tuple[str, ...] = ()
        """Betas of the client's that the deployment that was called last does not take."""
        self.deployment: Deployment | None = None
        """The one that was called last."""
        self.occupied = Occupied(gateway.loads)
        self.reply: Reply | None = None
        """The answer that may still have to be closed."""
        self.reply_of: Deployment | None = None
        self.answer: Result | Stream | None = None
        """As far as it is here: all of it, or a stream's beginning."""

    async def make(self, model: Model) -> Outcome:
        """Call deployments until one answers or none is left."""
        gateway, operation, named = self.gateway, self.request.operation, self.gateway.config.fallbacks
        fallbacks = [gateway.models[name] for name in named.get(model.name) or named.get(model.declared_as, ())]
        resting = gateway.health.resting(gateway.monotonic())
        groups = [tier for one in (model, *fallbacks) for tier in one.tiers(resting, operation) if tier]
        outcome = await drive(attempts(groups, gateway.draw, resting), self.call)
        told = not isinstance(outcome, Failure) or gateway.health.is_told(outcome.deployment.name)
        if isinstance(outcome, Failure) and is_upstreams(outcome) and not told:
            gateway.log.warning("upstream failed", id=self.booking.id, **self._facts(outcome))
        return outcome

    async def call(self, deployment: Deployment) -> Outcome:
        """Try one deployment."""
        gateway, started = self.gateway, self.gateway.monotonic()
        if (known := gateway.health.begin(deployment.name, started)) is not None:
            return known
        self.deployment, self.answer = deployment, None
        self.occupied.end()
        self.occupied.begin(deployment.name, gateway.now())
        outcome = await self._asked(deployment)
        if isinstance(outcome, Failure) and outcome.kind == "unfit":
            self.deployment = None  # it was not asked
            return outcome
        if isinstance(outcome, Answer):
            self.reply, self.reply_of = outcome.reply, deployment
            outcome = await self._begun(deployment, outcome.reply) or outcome
        now = gateway.monotonic()
        match gateway.health.learn(outcome, now, lambda: self.booking.id):
            case "rests" if isinstance(outcome, Failure):
                gateway.log.warning("deployment rests", id=self.booking.id, **self._facts(outcome))
            case "well":
                gateway.log.info("deployment is well again", deployment=deployment.name)
        self.booking.tried(deployment, outcome, started, now)
        return outcome

    async def close(self) -> None:
        self.occupied.end()
        if self.reply is not None:
            await self.reply.close()

    def _facts(self, failure: Failure) -> dict[str, Any]:
        return failure_facts(failure, quotes=self.gateway.config.log_upstream_errors)

    async def _asked(self, deployment: Deployment) -> Outcome:
        """Send the request; once more without the wish for usage in a stream where that is refused."""
        refused, asks = self.gateway.without_usage, self.request.stream
        usage = deployment.additions.usage and deployment.name not in refused
        outcome = await self._sent(deployment, usage=usage, first=True)
        if asks and usage and refuses(outcome, "stream_options"):
            outcome = await self._sent(deployment, usage=False, first=False)
            if isinstance(outcome, Answer) and "stream_options" not in self.request.spans:
                refused.add(deployment.name)
                self.gateway.log.info("usage is not asked for any more", deployment=deployment.name)
        return outcome

    async def _sent(self, deployment: Deployment, *, usage: bool, first: bool) -> Outcome:
        gateway, request = self.gateway, self.request
        additions = deployment.additions
        if additions.usage != usage:
            additions = replace(additions, usage=usage)
        first = first and not self.booking.attempts
        along = client_headers(
            self.headers, deployment.provider, betas=deployment.betas, more=deployment.forward_headers, first=first
        )
        self.dropped = along.dropped
        return await gateway.upstreams.call(
            deployment,
            sent(request, deployment.model, additions),
            stream=request.stream,
            request_id=self.booking.id,
            headers=along.headers,
            now=gateway.now(),
        )

    async def _begun(self, deployment: Deployment, reply: Reply) -> Failure | None:
        """Take in an answer, whole or to its first output; None where it is one."""
        chunks = reply.chunks()
        if self.request.stream:
            return await self._stream_begun(deployment, reply, chunks)
        parts: list[bytes] = []
        try:
            await _gather(chunks, parts, self.gateway.config.server.max_answer)
        except UpstreamError as cut:
            await reply.close()
            # What had begun to come was made, and is paid for.
            return Failure(deployment, cut.kind, message=cut.message, said=cut.said, begun=bool(parts))
        match judged(self.request.operation, b"".join(parts)):
            case Result() as result:
                self.answer = result
                return None
            case ErrorObject() as error:
                later = retry_after(reply.headers, self.gateway.now())
                return Failure(deployment, "status", error.status, error.body, reply.headers, later)
            case NoResult() as nothing:
                return Failure(deployment, "garbage", message=nothing.message)

    async def _stream_begun(self, deployment: Deployment, reply: Reply, chunks: AsyncIterator[bytes]) -> Failure | None:
        request = self.request
        opening = Opening(streamed=True, hold_back_usage=not request.asks_usage, secrets=deployment.secrets)
        beginning = await begin(chunks, opening, self.gateway.config.server.max_answer)
        opened = beginning.opened
        match opened:
            case Streaming():
                opened.relay.passes_long_events = True
                self.answer = Stream(opened.ready, chunks, opened.relay)
                return None
            case Completion():
                raise AssertionError("a stream is never gathered")
        await reply.close()
        if opened.heard is not None:
            self.booking.unused.append((deployment, opened.heard))
        return failure_of(deployment, reply, opened, beginning, self.gateway.now())


async def _gather(chunks: AsyncIterator[bytes], parts: list[bytes], most: int) -> None:
    """Read an answer to its end. Raises UpstreamError where it breaks off, or is longer than an answer may be."""
    size = 0
    async for part in chunks:
        parts.append(part)
        size += len(part)
        if size > most:
            raise UpstreamError("too_large", f"it is longer than {most:,} bytes")

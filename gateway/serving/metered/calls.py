"""The calls of one metered request: each deployment is sent it as it came, until one answers or none is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.budget.tokens import LONG_BODY
from gateway.money.entry import BYTES_PER_TOKEN
from gateway.routing.attempts import Answer, Failure, Outcome, attempts, drive
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.routing.rates import DeploymentRates
from gateway.routing.upstreams.upstream import Reply, UpstreamError
from gateway.serving.answer_beginning import Stream, answer_start
from gateway.serving.calls_in_entry import is_sent, last_replied
from gateway.serving.failures import busy, failure_facts, is_upstreams, refuses
from gateway.serving.ledger import trace_headers
from gateway.serving.limiting import clamped
from gateway.serving.occupied import Occupied
from gateway.serving.services import Gateway
from gateway.serving.stored import of_the_account
from gateway.wire.answer import Heard
from gateway.wire.failures import ErrorObject
from gateway.wire.headers import ClientHeaders, Received, client_headers, retry_after
from gateway.wire.metered.answers import NoResult, Result, judged, listen
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.metered.write import metered_body


class MeteredAttempt(NamedTuple):
    """One call to a deployment, as far as it came."""

    deployment: Deployment
    dropped: tuple[str, ...] = ()
    """Betas of the client's that the deployment does not take."""
    left_out: tuple[str, ...] = ()
    """Members of the request that are not said to it: none, for all of it leaves as it came."""
    outcome: Outcome | None = None
    """None while it is under way, and where it was given up before anybody could say."""
    reply: Reply | None = None
    """The answer that may still have to be closed."""
    answer: Result | Stream | None = None
    """As far as it is here: all of it, or a stream's beginning."""
    unused: Heard | None = None
    """The part of a stream that came before it failed: paid for if it holds anything."""
    seconds: float = 0.0
    ended: float = 0.0
    """By the monotonic clock; of an answer, when it began."""

    @property
    def is_sent(self) -> bool:
        """Whether the deployment was asked: not one that cannot serve the request."""
        return is_sent(self.outcome)


class _Start(NamedTuple):
    """The beginning of an answer."""

    answer: Result | Stream | None = None
    failure: Failure | None = None
    unused: Heard | None = None


_NO_START = _Start()


class MeteredCalls:
    """The calls of one request."""

    __slots__ = ("attempts", "gateway", "headers", "holders", "model", "occupied", "request", "request_id")

    def __init__(
        self,
        gateway: Gateway,
        request: MeteredRequest,
        model: Model,
        request_id: str,
        headers: Received,
        holders: Sequence[tuple[str, Deployment]] = (),
    ) -> None:
        """Take a request, the model that it asks, and its client's headers.

        `holders` are the deployments that have what it builds on, each behind the member that names it.
        """
        self.gateway, self.request, self.model = gateway, request, model
        self.request_id, self.headers, self.holders = request_id, headers, holders
        self.attempts: list[MeteredAttempt] = []
        """In the order they were made; the last may be under way."""
        self.occupied = Occupied(gateway.loads)

    @property
    def sent(self) -> MeteredAttempt | None:
        """The last call; None where the deployment was not asked, or none was."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].is_sent else None

    @property
    def replied(self) -> MeteredAttempt | None:
        """The last call that brought an answer, of whatever kind."""
        return last_replied(self.attempts)

    async def make(self) -> Outcome:
        """Call deployments until one answers or none is left."""
        gateway, operation, model = self.gateway, self.request.operation, self.model
        named = gateway.config.fallbacks
        fallbacks = [gateway.models[name] for name in named.get(model.name) or named.get(model.declared_as, ())]
        resting = gateway.health.resting(gateway.monotonic())
        groups = [tier for one in (model, *fallbacks) for tier in one.tiers(resting, operation) if tier]
        for member, holder in self.holders:
            groups = of_the_account(groups, member, holder, model.name)
        outcome = await drive(attempts(groups, gateway.draw, resting), self.call)
        if isinstance(outcome, Failure) and is_upstreams(outcome):
            self._tell(outcome)
        return outcome

    def _tell(self, failure: Failure) -> None:
        if not self.gateway.health.is_told(failure.deployment.name):
            self.gateway.log.warning("upstream failed", id=self.request_id, **self._facts(failure))

    async def call(self, deployment: Deployment) -> Outcome:
        """Try one deployment. Its attempt is kept whatever happens."""
        gateway, started = self.gateway, self.gateway.monotonic()
        if (known := gateway.health.begin(deployment.name, started)) is not None:
            return known
        if deployment.rates is not None and (seconds := await self._turn(deployment.rates)) is not None:
            return busy(deployment, seconds)
        along, start = self._along(deployment, first=not self.attempts), _NO_START
        reply: Reply | None = None
        outcome: Outcome | None = None
        self.attempts.append(MeteredAttempt(deployment, along.dropped))
        self.occupied.end()
        self.occupied.begin(deployment.name, gateway.now())
        try:
            made = await self._asked(deployment, along)
            if isinstance(made, Answer):
                reply = made.reply
                start = await self._start(deployment, reply)
            outcome = start.failure or made
        finally:
            now = gateway.monotonic()
            self.attempts[-1] = MeteredAttempt(
                deployment, along.dropped, (), outcome, reply, start.answer, start.unused, now - started, now
            )
        if self.attempts[-1].is_sent:
            self._learn(outcome, now)
        return outcome

    async def _turn(self, rates: DeploymentRates) -> float | None:
        """Count a call among those that a deployment may have; the seconds to wait where it is none of them."""
        gateway, request = self.gateway, self.request
        if gateway.limiting is None or gateway.limits is None:
            return None
        tokens = request.input_bytes // BYTES_PER_TOKEN + (request.answer_limit or 0) * request.choices
        return await gateway.limiting.rated_calls.take(rates, self.request_id, len(self.attempts), tokens)

    def _learn(self, outcome: Outcome, now: float) -> None:
        """Learn how the deployment is, and tell the operator once that it rests, and once that it is well again."""
        match self.gateway.health.learn(outcome, now, lambda: self.request_id):
            case "rests" if isinstance(outcome, Failure):
                self.gateway.log.warning("deployment rests", id=self.request_id, **self._facts(outcome))
            case "well":
                self.gateway.log.info("deployment is well again", deployment=outcome.deployment.name)

    async def close(self) -> None:
        self.occupied.end()
        if (replied := self.replied) is not None and replied.reply is not None:
            await replied.reply.close()

    def _facts(self, failure: Failure) -> dict[str, Any]:
        return failure_facts(failure, quotes=self.gateway.config.log_upstream_errors)

    def _along(self, deployment: Deployment, *, first: bool) -> ClientHeaders:
        """Choose the headers of the client that go along."""
        more, betas = deployment.forward_headers, deployment.betas
        return client_headers(self.headers, deployment.own_headers, betas=betas, more=more, first=first)

    async def _asked(self, deployment: Deployment, along: ClientHeaders) -> Outcome:
        """Send the request; once more without the wish for usage in a stream where that is refused."""
        refused, streams = self.gateway.without_usage, self.request.stream
        usage = deployment.additions.usage and deployment.name not in refused
        outcome = await self._sent(deployment, along, usage=usage)
        if streams and usage and refuses(outcome, "stream_options"):
            outcome = await self._sent(deployment, self._along(deployment, first=False), usage=False)
            if isinstance(outcome, Answer) and not self.request.has_stream_options:
                refused.add(deployment.name)
                self.gateway.log.info("usage is not asked for any more", deployment=deployment.name)
        return outcome

    async def _sent(self, deployment: Deployment, along: ClientHeaders, *, usage: bool) -> Outcome:
        gateway, request, additions = self.gateway, self.request, deployment.additions
        if additions.usage != usage:
            additions = replace(additions, usage=usage)
        body = metered_body(request, deployment.model, additions)
        return await gateway.upstreams.call(
            deployment,
            body if request.operation == "compact" else clamped(gateway, self.request_id, body, "max_tokens"),
            stream=request.stream,
            request_id=self.request_id,
            headers=trace_headers(gateway, self.request_id, len(self.attempts) - 1, along.headers),
            now=gateway.now(),
        )

    async def _start(self, deployment: Deployment, reply: Reply) -> _Start:
        """Take in an answer, whole or to its first output."""
        request, gateway = self.request, self.gateway
        if not request.stream:
            return await self._whole(deployment, reply)
        opening = listen(request, deployment.secrets)
        start = await answer_start(deployment, reply, opening, gateway.config.server.max_answer, gateway.now)
        assert start.answer is None or isinstance(start.answer, Stream), "what is asked for as a stream is one"
        return _Start(start.answer, start.failure, start.unused)

    async def _whole(self, deployment: Deployment, reply: Reply) -> _Start:
        parts: list[bytes] = []
        try:
            await _gather(reply.chunks(), parts, self.gateway.config.server.max_answer)
        except UpstreamError as cut:
            await reply.close()
            # What had begun to come was made, and is paid for.
            return _Start(failure=Failure(deployment, cut.kind, message=cut.message, said=cut.said, begun=bool(parts)))
        match await self._judged(b"".join(parts)):
            case Result() as result:
                return _Start(result)
            case ErrorObject() as error:
                later = retry_after(reply.headers, self.gateway.now())
                return _Start(failure=Failure(deployment, "status", error.status, error.body, reply.headers, later))
            case NoResult() as nothing:
                return _Start(failure=Failure(deployment, "garbage", message=nothing.message))

    async def _judged(self, body: bytes) -> Result | ErrorObject | NoResult:
        """Say what a whole answer is; a long one, off the event loop."""
        if len(body) < LONG_BODY:
            return judged(self.request.operation, body)
        return await asyncio.to_thread(judged, self.request.operation, body)


async def _gather(chunks: AsyncIterator[bytes], parts: list[bytes], most: int) -> None:
    """Read an answer to its end. Raises UpstreamError where it breaks off, or is longer than an answer may be."""
    size = 0
    async for part in chunks:
        parts.append(part)
        size += len(part)
        if size > most:
            raise UpstreamError("too_large", f"it is longer than {most:,} bytes")

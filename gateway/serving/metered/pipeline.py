"""One metered request from arrival to ledger entry: read, admitted, opened, sent, settled, answered.

It is not planned: no budget, no rewriting, no prompt cache, and no copy of its content for simulations. All else is as
for a conversation (passage.py).
"""

from __future__ import annotations

import asyncio

from gateway.budget.tokens import LONG_BODY
from gateway.money.keys import Caller
from gateway.routing.attempts import Failure, Outcome
from gateway.serving.admission import admitted_model, authenticate, entry_facts
from gateway.serving.client import Client, ClientGone
from gateway.serving.metered.booking import MeteredBooking
from gateway.serving.metered.calls import MeteredAttempt, MeteredCalls
from gateway.serving.metered.known_vectors import KnownVectors, known_vectors
from gateway.serving.metered.moderation import with_default_model
from gateway.serving.passage import Passage, Ready
from gateway.serving.refusals import unanswered
from gateway.serving.services import Gateway
from gateway.serving.stored import owned
from gateway.serving.tightening import refuse_tightened
from gateway.wire import errors
from gateway.wire.errors import GatewayError
from gateway.wire.metered.answers import Result
from gateway.wire.metered.read import MeteredRequest, metered_request
from gateway.wire.operations import ALLOWED_AS, Operation
from gateway.wire.shape import CHAT


async def answer_metered(gateway: Gateway, client: Client, request_id: str, operation: Operation) -> None:
    """Serve one request. Raises GatewayError for who may not ask, or not now, and for what is none."""
    started = gateway.monotonic()
    caller = authenticate(gateway.keys, client, gateway.now(), ALLOWED_AS.get(operation, operation))
    gateway.capacity.enter(caller.priority)
    place = None if gateway.large is None else gateway.large.place(caller.key)
    try:
        body = await client.body(gateway.config.server.max_body, place)
        request = await _read(gateway, operation, body, caller.key)
        if not request.model:
            request = with_default_model(request, gateway.models, caller)
        policy = gateway.config.policy_for(caller.policy, caller.team)
        facts = entry_facts(request, client.headers, caller, policy, request_id, operation)
        await MeteredPassage(gateway, client, caller, MeteredBooking(gateway, request, facts, started)).run()
    except ClientGone:
        return
    finally:
        gateway.capacity.leave()
        if place is not None:
            place.keep(0)


async def _read(gateway: Gateway, operation: Operation, body: bytes, key: str) -> MeteredRequest:
    if len(body) < LONG_BODY:
        return metered_request(operation, body)
    threads = gateway.planning.of(key, len(body))
    return await asyncio.get_running_loop().run_in_executor(threads, metered_request, operation, body)


class MeteredPassage(Passage[MeteredCalls]):
    """A request that leaves as it came."""

    __slots__ = ("_entry", "caller", "request")

    def __init__(self, gateway: Gateway, client: Client, caller: Caller, booking: MeteredBooking) -> None:
        super().__init__(gateway, client, CHAT)
        self.caller, self.request, self._entry = caller, booking.request, booking

    @property
    def booking(self) -> MeteredBooking:
        return self._entry

    @property
    def streams(self) -> bool:
        return self.request.stream

    async def prepare(self) -> MeteredCalls:
        """Admit the request and open its entry. Raises GatewayError."""
        gateway, request = self.gateway, self.request
        model = admitted_model(gateway.models, self.caller, request.model, request.operation)
        holders = [(name, await owned(gateway, name, wanted, self.caller.team)) for name, wanted in request.named]
        policy = gateway.config.policy_for(self.caller.policy, self.caller.team)
        if policy.tighten and gateway.limits is not None and gateway.limiting is not None:
            await refuse_tightened(policy, self._entry.facts, gateway.limiting)
        await self._entry.open(model)
        self.calls = MeteredCalls(gateway, request, model, self.id, self.client.headers, holders)
        return self.calls

    async def call(self, calls: MeteredCalls) -> Outcome | Ready:
        """Call deployments, but for vectors that are known."""
        known = await self._known(calls)
        if known is None:
            return await calls.make()
        self._entry.known_inputs = known.count
        if not known.missing:
            return Ready(known.answer())
        calls.request = self._entry.request = known.rest()
        outcome = await calls.make()
        attempt = calls.attempts[-1]
        if isinstance(attempt.answer, Result):
            await self._complete(calls, attempt, attempt.answer, known)
        return outcome

    async def _known(self, calls: MeteredCalls) -> KnownVectors | None:
        """Look up the vectors of a request for embeddings, where they are kept."""
        vectors, request = self.gateway.vectors, self.request
        if not vectors.is_on or request.operation != "embeddings" or len(request.body) > LONG_BODY:
            return None
        return await known_vectors(vectors, request, calls.model, self.caller.team)

    async def _complete(
        self, calls: MeteredCalls, attempt: MeteredAttempt, answer: Result, known: KnownVectors
    ) -> None:
        """Put the answer together with what was known, and keep what is new, unless a fallback wrote it."""
        completed = known.completed(answer)
        if completed is None:
            await self._entry.enter(calls, attempt, answer)
            raise errors.upstream_failed(
                "garbage", "The upstream's answer has not as many vectors as it was asked for."
            )
        whole, fresh = completed
        calls.attempts[-1] = attempt._replace(answer=whole)
        if attempt.deployment in calls.model.serving("embeddings"):
            self.gateway.vectors.put(fresh)

    async def error_of(self, failure: Failure, calls: MeteredCalls) -> GatewayError:
        """Say why there is no answer. An answer that broke off once it had begun was paid for."""
        if failure.begun:
            await self._entry.enter(calls, calls.attempts[-1], None)
        return unanswered(failure, self.request.model, self.gateway.now(), self.request.operation)

"""One metered request from arrival to ledger entry: read, admitted, opened, sent, settled, answered.

It is not planned: no budget, no rewriting, no prompt cache, and no copy of its content for simulations. All else is as
for chat completions, and so are its four ends (answered, refused, failed, cancelled), each of which writes the entry
before the response ends.
"""

from __future__ import annotations

import asyncio

from gateway.budget.tokens import LONG_BODY
from gateway.money.amounts import usd
from gateway.money.entry import RequestFacts
from gateway.money.keys import Caller
from gateway.money.row import Status
from gateway.routing.attempts import Failure
from gateway.serving.admission import admitted_model, authenticate, entry_facts
from gateway.serving.answer_beginning import Stream, drain
from gateway.serving.answer_headers import call_headers
from gateway.serving.client import (
    STREAM_HEADERS,
    Client,
    ClientGone,
    Comments,
    Headers,
    head,
    header,
    refuse,
    usual_header,
)
from gateway.serving.metered.booking import MeteredBooking
from gateway.serving.metered.calls import MeteredAttempt, MeteredCalls
from gateway.serving.metered.moderation import with_default_model
from gateway.serving.refusals import unanswered
from gateway.serving.relaying import pass_on
from gateway.serving.services import Gateway
from gateway.wire import errors
from gateway.wire.errors import GatewayError
from gateway.wire.metered.answers import Result
from gateway.wire.metered.read import MeteredRequest, metered_request
from gateway.wire.operations import Operation
from gateway.wire.shape import CHAT


async def answer_metered(gateway: Gateway, client: Client, request_id: str, operation: Operation) -> None:
    """Serve one request. Raises GatewayError for who may not ask and for what is not a request."""
    started = gateway.monotonic()
    caller = authenticate(gateway.keys, client.headers, gateway.now())
    place = None if gateway.large is None else gateway.large.place(caller.key)
    try:
        body = await client.body(gateway.config.server.max_body, place)
        request = await _read(gateway, operation, body, caller.key)
        if not request.model:
            request = with_default_model(request, gateway.models, caller)
        await _passage(gateway, client, caller, request, request_id, started).run()
    except ClientGone:
        return
    finally:
        if place is not None:
            place.keep(0)


async def _read(gateway: Gateway, operation: Operation, body: bytes, key: str) -> MeteredRequest:
    if len(body) < LONG_BODY:
        return metered_request(operation, body)
    threads = gateway.planning.of(key, len(body))
    return await asyncio.get_running_loop().run_in_executor(threads, metered_request, operation, body)


def _passage(
    gateway: Gateway, client: Client, caller: Caller, request: MeteredRequest, request_id: str, started: float
) -> MeteredPassage:
    policy = gateway.config.policy_for(caller.policy, caller.team)
    facts = entry_facts(request, client.headers, caller, policy, request_id, request.operation)
    return MeteredPassage(gateway, client, caller, request, facts, started)


class MeteredPassage:
    """One request on its way through."""

    __slots__ = ("booking", "caller", "calls", "client", "gateway", "request")

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        caller: Caller,
        request: MeteredRequest,
        facts: RequestFacts,
        started: float,
    ) -> None:
        self.gateway, self.client, self.caller, self.request = gateway, client, caller, request
        self.calls = MeteredCalls(gateway, request, facts.id, client.headers)
        self.booking = MeteredBooking(gateway, request, facts, started)

    @property
    def id(self) -> str:
        return self.booking.facts.id

    async def run(self) -> None:
        """Serve the request; whatever happens, it is entered once."""
        self.client.watch()
        try:
            await self._serve()
        except GatewayError as error:
            await self._end_with(error)
        except asyncio.CancelledError:
            await self._cancelled()
            if not self.client.gone:
                raise
        except Exception:  # the outermost handler: a fault of ours must not take the entry with it
            self.gateway.log.exception("request failed", id=self.id)
            await self._end_with(errors.internal_error())
        finally:
            self.client.unwatch()
            await self.calls.close()

    async def _serve(self) -> None:
        gateway, request, booking = self.gateway, self.request, self.booking
        model = admitted_model(gateway.models, self.caller, request.model, request.operation)
        await booking.open(model)
        comments = Comments(self.client, self._start_stream, gateway.comment_seconds) if request.stream else None
        try:
            outcome = await self.calls.make(model)
        finally:
            if comments is not None:
                await comments.stop()
        await booking.pay_unused(self.calls.attempts)
        if isinstance(outcome, Failure):
            raise await self._error_of(outcome)
        attempt = self.calls.attempts[-1]
        match attempt.answer:
            case Stream() as stream:
                await self._relay(attempt, stream)
            case Result() as result:
                await self._deliver(attempt, result)

    # ------------------------------------------------------------ the answer

    async def _deliver(self, attempt: MeteredAttempt, result: Result) -> None:
        booking = self.booking
        await booking.price(attempt.deployment, result)
        await self._settle("answered", 200)
        headers = head(self.id, b"application/json", len(result.body)) + self._told()
        if booking.bill.cost_nanousd is not None:
            headers.append(header(b"x-gateway-cost-usd", usd(booking.bill.cost_nanousd)))
        await self.client.start(200, headers)
        await self.client.end(result.body)

    async def _relay(self, attempt: MeteredAttempt, stream: Stream) -> None:
        """Pass events on as they come; what ends the stream waits until the entry is written."""
        gateway, deployment = self.gateway, attempt.deployment
        await self._start_stream()
        end = await pass_on(self.client, stream, CHAT, gateway.config.server.max_answer, self.id)
        await self.booking.price(deployment, stream.relay)
        if (cut := end.trouble) is not None:
            gateway.log.warning("stream cut by upstream", id=self.id, deployment=deployment.name, kind=cut.kind)
        await self._settle("answered" if end.error is None else "failed", 200, end.error)
        await self.client.end(end.out)
        if stream.relay.done and attempt.reply is not None:
            await drain(attempt.reply, stream.chunks)

    async def _start_stream(self) -> None:
        """Begin the response of a stream, unless a comment of ours has."""
        if not self.client.started:
            headers = [*head(self.id, b"text/event-stream"), *STREAM_HEADERS, *self._told()]
            await self.client.start(200, headers)

    def _told(self) -> Headers:
        """Say in headers what was done."""
        return [usual_header(b"x-gateway-policy", self.booking.facts.policy), *call_headers(self.calls.attempts)]

    async def _settle(self, status: Status, http_status: int, error: str | None = None) -> None:
        """Write the end, once, before the response ends."""
        self.client.unwatch()
        if not self.booking.is_settled:
            await self.booking.settle(status, http_status, error, self.calls.attempts)
            await asyncio.sleep(0)  # the write of this tick happens before the response ends

    # ------------------------------------------------------------ the other ends

    async def _error_of(self, failure: Failure) -> GatewayError:
        """Say why there is no answer. An answer that broke off once it had begun was paid for."""
        if failure.begun:
            await self.booking.price(failure.deployment, None)
        return unanswered(failure, self.request.model, self.gateway.now(), self.request.operation)

    async def _end_with(self, error: GatewayError) -> None:
        status: Status = "failed" if self.calls.sent is not None or error.status >= 500 else "refused"
        await self._settle(status, error.status, error.code or error.type)
        if self.client.started:
            await self.client.end(CHAT.error_event(error, self.id))
        else:
            own = {name.encode() for name in error.headers}
            await refuse(self.client, error, self.id, [one for one in self._told() if one[0] not in own])

    async def _cancelled(self) -> None:
        """Stop the upstream of a client that left, and enter what was used until then."""
        calls, booking = self.calls, self.booking
        try:
            await calls.close()
            await booking.pay_unused(calls.attempts)
            sent = calls.sent
            if sent is not None and booking.bill.usage is None and not booking.is_settled:
                heard = sent.answer.relay if isinstance(sent.answer, Stream) else sent.answer
                await booking.price(sent.deployment, heard)
        finally:
            await self._settle("cancelled", 499, "client_gone" if self.client.gone else "gateway_stopped")

"""One metered request from arrival to ledger entry: read, admitted, opened, sent, settled, answered.

It is not planned: no budget, no rewriting, no prompt cache. All else is as for chat completions, and so are its four
ends (answered, refused, failed, cancelled), each of which writes the entry before the response ends.
"""

from __future__ import annotations

import asyncio

from gateway.budget.tokens import LONG_BODY
from gateway.money.amounts import usd
from gateway.money.entry import Entry
from gateway.money.keys import Caller
from gateway.money.row import Status
from gateway.routing.attempts import Answer, Failure
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.routing.upstreams.upstream import DROPPED
from gateway.serving.admission import LONGEST_NAME, admitted_model, authenticate, tags_of, user_of
from gateway.serving.answer_beginning import Stream, drain
from gateway.serving.answer_headers import dropped_parts, reply_headers
from gateway.serving.client import STREAM_HEADERS, Client, ClientGone, Comments, Headers, head, header, refuse
from gateway.serving.metered.booking import MeteredBooking
from gateway.serving.metered.calls import MeteredCalls
from gateway.serving.metered.moderation import with_default_model
from gateway.serving.refusals import unanswered
from gateway.serving.relaying import pass_on
from gateway.serving.services import Gateway
from gateway.wire import errors
from gateway.wire.errors import GatewayError
from gateway.wire.metered.answers import Result
from gateway.wire.metered.read import MeteredRequest, read
from gateway.wire.operations import Operation
from gateway.wire.sse import error_event


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
        return read(operation, body)
    threads = gateway.planning.of(key, len(body))
    return await asyncio.get_running_loop().run_in_executor(threads, read, operation, body)


def _passage(
    gateway: Gateway, client: Client, caller: Caller, request: MeteredRequest, request_id: str, started: float
) -> MeteredPassage:
    policy = gateway.config.policy_for(caller.policy, caller.team)
    entry = Entry(
        request_id,
        caller.key,
        caller.team,
        user=user_of(request, client.headers),
        tags=tags_of(request, client.headers),
        model=request.model[:LONGEST_NAME],
        policy=str(policy),
        policy_version=policy.version,
        stream=request.stream,
        operation=request.operation,
        started=started,
    )
    return MeteredPassage(gateway, client, caller, request, entry)


class MeteredPassage:
    """One request on its way through."""

    __slots__ = ("booking", "caller", "calls", "client", "entry", "gateway", "request")

    def __init__(self, gateway: Gateway, client: Client, caller: Caller, request: MeteredRequest, entry: Entry) -> None:
        self.gateway, self.client, self.caller, self.request, self.entry = gateway, client, caller, request, entry
        self.calls: MeteredCalls | None = None
        self.booking = MeteredBooking(gateway, request, entry)

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
            self.gateway.log.exception("request failed", id=self.entry.id)
            await self._end_with(errors.internal_error())
        finally:
            self.client.unwatch()
            if self.calls is not None:
                await self.calls.close()

    async def _serve(self) -> None:
        gateway, request, entry = self.gateway, self.request, self.entry
        model = admitted_model(gateway.models, self.caller, request.model, request.operation)
        gateway.ledger.keep(entry.id, entry.team, request.body)
        await self.booking.open(model)
        outcome = await self._made(model)
        await self.booking.pay_unused()
        if isinstance(outcome, Failure):
            raise await self._error_of(outcome)
        assert self.calls is not None
        match self.calls.answer:
            case Stream() as stream:
                await self._relay(self.calls, stream, outcome.deployment)
            case Result() as result:
                await self._deliver(result, outcome.deployment)

    async def _made(self, model: Model) -> Failure | Answer:
        calls = self.calls = MeteredCalls(self.gateway, self.request, self.booking, self.client.headers)
        waits = self.request.stream
        comments = Comments(self.client, self._start_stream, self.gateway.comment_seconds) if waits else None
        try:
            return await calls.make(model)
        finally:
            if comments is not None:
                await comments.stop()

    # ------------------------------------------------------------ the answer

    async def _deliver(self, result: Result, deployment: Deployment) -> None:
        await self.booking.price(deployment, result)
        self.entry.http_status = 200
        await self._settle("answered")
        headers = head(self.entry.id, b"application/json", len(result.body)) + self._told()
        if self.entry.cost_nanousd is not None:
            headers.append(header(b"x-gateway-cost-usd", usd(self.entry.cost_nanousd)))
        await self.client.start(200, headers)
        await self.client.end(result.body)

    async def _relay(self, calls: MeteredCalls, stream: Stream, deployment: Deployment) -> None:
        """Pass events on as they come; what ends the stream waits until the entry is written."""
        entry, gateway = self.entry, self.gateway
        entry.http_status = 200
        await self._start_stream()
        end = await pass_on(self.client, stream, gateway.config.server.max_answer, entry.id)
        await self.booking.price(deployment, stream.relay)
        entry.error = end.error
        if (cut := end.trouble) is not None:
            gateway.log.warning("stream cut by upstream", id=entry.id, deployment=deployment.name, kind=cut.kind)
        await self._settle("answered" if end.error is None else "failed")
        await self.client.end(end.out)
        if stream.relay.done and calls.reply is not None:
            await drain(calls.reply, stream.chunks)

    async def _start_stream(self) -> None:
        """Begin the response of a stream, unless a comment of ours has."""
        if not self.client.started:
            headers = [*head(self.entry.id, b"text/event-stream"), *STREAM_HEADERS, *self._told()]
            await self.client.start(200, headers)

    def _told(self) -> Headers:
        """Say in headers what was done."""
        told, calls = [header(b"x-gateway-policy", self.entry.policy)], self.calls
        if calls is not None:
            said = reply_headers(calls.reply, calls.reply_of)
            told += [header(name.encode(), value) for name, value in said.items()]
            if dropped := dropped_parts(calls.reply, calls.dropped):
                told.append(header(DROPPED.encode(), dropped))
        return told

    async def _settle(self, status: Status) -> None:
        """Write the end, once, before the response ends."""
        self.client.unwatch()
        if not self.booking.settled:
            await self.booking.settle(status)
            await asyncio.sleep(0)  # the write of this tick happens before the response ends

    # ------------------------------------------------------------ the other ends

    async def _error_of(self, failure: Failure) -> GatewayError:
        """Say why there is no answer. An answer that broke off once it had begun was paid for."""
        if failure.begun:
            await self.booking.price(failure.deployment, None)
        return unanswered(failure, self.request.model, self.gateway.now(), self.request.operation)

    async def _end_with(self, error: GatewayError) -> None:
        called = self.calls is not None and self.calls.deployment is not None
        self.entry.error, self.entry.http_status = error.code or error.type, error.status
        await self._settle("failed" if called or error.status >= 500 else "refused")
        if self.client.started:
            await self.client.end(error_event(error, self.entry.id))
        else:
            own = {name.encode() for name in error.headers}
            await refuse(self.client, error, self.entry.id, [one for one in self._told() if one[0] not in own])

    async def _cancelled(self) -> None:
        """Stop the upstream of a client that left, and enter what was used until then."""
        calls = self.calls
        try:
            if calls is not None:
                await calls.close()
                await self.booking.pay_unused()
                if calls.deployment is not None and not self.booking.is_priced and not self.booking.settled:
                    answer = calls.answer.relay if isinstance(calls.answer, Stream) else calls.answer
                    await self.booking.price(calls.deployment, answer)
        finally:
            self.entry.http_status, self.entry.error = 499, "client_gone" if self.client.gone else "gateway_stopped"
            await self._settle("cancelled")

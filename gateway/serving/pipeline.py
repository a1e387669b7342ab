"""One request from arrival to ledger entry. Reads as the table of docs/architecture.md.

The shell measures, the core decides, the shell acts: whatever decides is called from here and stands elsewhere. A
request ends in one of four ways (answered, refused, failed, cancelled), and each writes the entry before the response
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.budget.tokens import LONG_BODY
from gateway.money.amounts import usd
from gateway.money.entry import RequestFacts
from gateway.money.keys import Caller
from gateway.money.row import Status
from gateway.request import Request, with_limit
from gateway.rewriting.plan import Refusal
from gateway.routing.attempts import Failure
from gateway.serving.admission import admit, authenticate, entry_facts
from gateway.serving.answer_beginning import Stream, drain
from gateway.serving.answer_headers import call_headers
from gateway.serving.attempt import Attempt, Calls
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
from gateway.serving.fit import LARGE_BODY
from gateway.serving.large.pool import Desk
from gateway.serving.large.turns import Place
from gateway.serving.refusals import does_not_fit, still_too_long, unanswered
from gateway.serving.relaying import pass_on
from gateway.serving.services import Gateway
from gateway.serving.settle import Booking
from gateway.wire import errors
from gateway.wire.answer import WholeAnswer
from gateway.wire.errors import GatewayError
from gateway.wire.shape import CHAT, Shape, shape_of


async def answer(gateway: Gateway, client: Client, request_id: str, shape: Shape = CHAT) -> None:
    """Serve one request in this shape. Raises GatewayError for who may not ask and for what is not a request."""
    started = gateway.monotonic()
    caller = authenticate(gateway.keys, client.headers, gateway.now())
    place, desk = None if gateway.large is None else gateway.large.place(caller.key), None
    try:
        body = await client.body(gateway.config.server.max_body, place)
        if gateway.large is None or len(body) < LARGE_BODY:
            request = await _read(gateway, shape, body, caller.key)
        else:
            request, desk = await gateway.large.read(body, caller.key, shape)
        await _passage(gateway, client, caller, request, request_id, started).run(place, desk)
    except ClientGone:
        return
    finally:
        _let_go(place, desk)


def _let_go(place: Place | None, desk: Desk | None) -> None:
    """Give back the room of a large body that is planned, and what its process remembers of it."""
    if place is not None:
        place.keep(0)
    if desk is not None:
        desk.forget()


def _passage(
    gateway: Gateway, client: Client, caller: Caller, request: Request, request_id: str, started: float
) -> Passage:
    policy = gateway.config.policy_for(caller.policy, caller.team)
    facts = entry_facts(request, client.headers, caller, policy, request_id)
    return Passage(gateway, client, caller, request, facts, started)


async def _read(gateway: Gateway, shape: Shape, body: bytes, key: str) -> Request:
    if len(body) < LONG_BODY:
        return shape.read(body, gateway.memo)
    threads = gateway.planning.of(key, len(body))
    return await asyncio.get_running_loop().run_in_executor(threads, shape.read, body, gateway.memo)


class Passage:
    """One request on its way through."""

    __slots__ = ("booking", "caller", "calls", "client", "gateway", "request")

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        caller: Caller,
        request: Request,
        facts: RequestFacts,
        started: float,
    ) -> None:
        self.gateway, self.client, self.caller, self.request = gateway, client, caller, request
        self.calls: Calls | None = None
        self.booking = Booking(gateway, request, facts, started)

    @property
    def facts(self) -> RequestFacts:
        return self.booking.facts

    async def run(self, place: Place | None = None, desk: Desk | None = None) -> None:
        """Serve the request; whatever happens, it is entered once.

        A large one has a place among those that wait, and is planned at a desk.
        """
        self.client.watch()
        try:
            await self._serve(place, desk)
        except GatewayError as error:
            await self._end_with(error)
        except asyncio.CancelledError:
            await self._cancelled()
            if not self.client.gone:
                raise
        except Exception:  # the outermost handler: a fault of ours must not take the entry with it
            self.gateway.log.exception("request failed", id=self.facts.id)
            await self._end_with(errors.internal_error())
        finally:
            self.client.unwatch()
            if self.calls is not None:
                await self.calls.close()
                self.calls.note_system_text()

    async def _serve(self, place: Place | None, desk: Desk | None) -> None:
        gateway, booking, headers = self.gateway, self.booking, self.client.headers
        admitted = admit(gateway.config, gateway.models, self.caller, self.request, headers)
        request = self.request = with_limit(self.request, admitted.model.answer_limit)
        booking.admit(request, admitted)
        gateway.ledger.keep(booking.facts.id, booking.facts.team, request.body)
        calls = self.calls = Calls(gateway, admitted, request, booking.facts, headers=headers, desk=desk)
        fitted = await calls.fit(admitted.model)
        if desk is not None:
            _let_go(place, desk)
        booking.planned = gateway.monotonic()
        if isinstance(fitted.plan, Refusal) and calls.enforces:
            error = does_not_fit(fitted.plan, fitted, request, admitted.policy)
            booking.refusal = error.extra or {"at": fitted.plan.at, "illegal": True}
            raise error
        await booking.open(admitted, fitted)
        calls.summarise(fitted)
        comments = Comments(self.client, self._start_stream, gateway.comment_seconds) if request.stream else None
        try:
            outcome = await calls.make()
        finally:
            if comments is not None:
                await comments.stop()
        await booking.pay_unused(calls)
        if isinstance(outcome, Failure):
            raise await self._error_of(outcome, calls)
        attempt = calls.attempts[-1]
        if isinstance(attempt.answer, Stream):
            await self._relay(calls, attempt, attempt.answer)
        elif attempt.answer is not None:
            await self._deliver(calls, attempt, attempt.answer)

    # ------------------------------------------------------------ the answer

    async def _deliver(self, calls: Calls, attempt: Attempt, whole: WholeAnswer) -> None:
        booking = self.booking
        await booking.price(calls, attempt, whole)
        await booking.note_removal(calls, attempt, whole)
        await self._settle("answered", 200)
        headers = head(self.facts.id, b"application/json", len(whole.body)) + self._told()
        if booking.bill.cost_nanousd is not None:
            headers.append(header(b"x-gateway-cost-usd", usd(booking.bill.cost_nanousd)))
        await self.client.start(200, headers)
        await self.client.end(whole.body)

    async def _relay(self, calls: Calls, attempt: Attempt, stream: Stream) -> None:
        """Pass events on as they come; what ends the stream waits until the entry is written."""
        request_id, relay, gateway = self.facts.id, stream.relay, self.gateway
        await self._start_stream()
        end = await pass_on(self.client, stream, shape_of(self.request), gateway.config.server.max_answer, request_id)
        await self.booking.price(calls, attempt, relay)
        await self.booking.note_removal(calls, attempt, relay)
        if (cut := end.trouble) is not None:
            gateway.log.warning(
                "stream cut by upstream", id=request_id, deployment=attempt.deployment.name, kind=cut.kind
            )
        await self._settle("answered" if end.error is None else "failed", 200, end.error)
        await self.client.end(end.out)
        if relay.done and attempt.reply is not None:
            await drain(attempt.reply, stream.chunks)

    async def _start_stream(self) -> None:
        """Begin the response of a stream, unless a comment of ours has."""
        if not self.client.started:
            headers = [*head(self.facts.id, b"text/event-stream"), *STREAM_HEADERS, *self._told()]
            await self.client.start(200, headers)

    def _told(self) -> Headers:
        """Say in headers what was done."""
        told = [usual_header(b"x-gateway-policy", self.facts.policy)]
        calls = self.calls
        if calls is None:
            return told
        if plan := _plan(calls, self.booking.refusal):
            told.append(usual_header(b"x-gateway-plan", plan))
        return told + call_headers(calls.attempts)

    async def _settle(self, status: Status, http_status: int, error: str | None = None) -> None:
        """Write the end, once, before the response ends."""
        self.client.unwatch()
        if not self.booking.is_settled:
            await self.booking.settle(status, http_status, error, self.calls)
            await asyncio.sleep(0)  # the write of this tick happens before the response ends

    # ------------------------------------------------------------ the other ends

    async def _error_of(self, failure: Failure, calls: Calls) -> GatewayError:
        """Say why there is no answer. An answer that broke off once it had begun was paid for."""
        if failure.begun and failure.kind != "garbage":
            await self.booking.price(calls, calls.attempts[-1], None)
        less = calls.too_long_at
        if less is not None and failure.status is not None and less.window.width is not None:
            return still_too_long(failure, less, self.request, calls.admitted.policy)
        return unanswered(failure, self.request.model, self.gateway.now())

    async def _end_with(self, error: GatewayError) -> None:
        called = self.calls is not None and self.calls.sent is not None
        status: Status = "failed" if called or error.status >= 500 else "refused"
        await self._settle(status, error.status, error.code or error.type)
        shape = shape_of(self.request)
        if self.client.started:
            await self.client.end(shape.error_event(error, self.facts.id))
        else:
            own = {name.encode() for name in error.headers}
            headers = [one for one in self._told() if one[0] not in own]
            await refuse(self.client, error, self.facts.id, headers, shape.error)

    async def _cancelled(self) -> None:
        """Stop the upstream of a client that left, and enter what was used until then."""
        calls, booking = self.calls, self.booking
        try:
            if calls is not None:
                await calls.close()
                await booking.pay_unused(calls)
                sent = calls.sent
                if sent is not None and booking.bill.usage is None and not booking.is_settled:
                    heard = sent.answer.relay if isinstance(sent.answer, Stream) else sent.answer
                    await booking.price(calls, sent, heard)
                    if heard is not None:
                        await booking.note_removal(calls, sent, heard)
        finally:
            await self._settle("cancelled", 499, "client_gone" if self.client.gone else "gateway_stopped")


def _plan(calls: Calls, refusal: Mapping[str, Any] | None) -> str | None:
    """Say what was planned; None for what was refused before anything was."""
    sent = calls.sent
    name = calls.admitted.model.name if sent is None else sent.deployment.model_name
    fitted = calls.fitted.get(name)
    if fitted is None:
        return None
    if isinstance(plan := fitted.plan, Refusal):
        too_big = (refusal or {}).get("component", plan.component)
        return f"{calls.plan.plan}; tokens={plan.prompt_tokens}/{plan.prompt_tokens}; too_big={too_big}"
    return f"{calls.plan.plan}; {fitted.summary}" if fitted.summary else calls.plan.plan

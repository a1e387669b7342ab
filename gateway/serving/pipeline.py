"""One request from arrival to ledger entry. Reads as the table of docs/architecture.md.

The shell measures, the core decides, the shell acts: whatever decides is called from here and stands elsewhere. A
request ends in one of four ways (answered, refused, failed, cancelled), and each writes the entry before the response
ends.
"""

from __future__ import annotations

import asyncio

from gateway.budget.tokens import LONG_BODY
from gateway.money.amounts import usd
from gateway.money.entry import Entry
from gateway.money.keys import Caller
from gateway.money.row import Status
from gateway.rewriting.plan import Refusal
from gateway.routing.attempts import Failure
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import DROPPED
from gateway.serving.admission import LONGEST_NAME, admit, authenticate, tags_of, user_of
from gateway.serving.answer_beginning import Stream, drain
from gateway.serving.answer_headers import dropped_parts, reply_headers
from gateway.serving.attempt import Calls
from gateway.serving.client import STREAM_HEADERS, Client, ClientGone, Comments, Headers, head, header, refuse
from gateway.serving.fit import LARGE_BODY
from gateway.serving.large.pool import Desk
from gateway.serving.large.turns import Place
from gateway.serving.refusals import does_not_fit, still_too_long, unanswered
from gateway.serving.relaying import pass_on
from gateway.serving.services import Gateway
from gateway.serving.settle import Booking
from gateway.wire import errors
from gateway.wire.chat import ChatRequest, parse, with_limit
from gateway.wire.completion import Completion
from gateway.wire.errors import GatewayError
from gateway.wire.sse import error_event


async def answer(gateway: Gateway, client: Client, request_id: str) -> None:
    """Serve one chat completion. Raises GatewayError for who may not ask and for what is not a request."""
    started = gateway.monotonic()
    caller = authenticate(gateway.keys, client.headers, gateway.now())
    place, desk = None if gateway.large is None else gateway.large.place(caller.key), None
    try:
        body = await client.body(gateway.config.server.max_body, place)
        if gateway.large is None or len(body) < LARGE_BODY:
            request = await _read(gateway, body, caller.key)
        else:
            request, desk = await gateway.large.read(body, caller.key)
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
    gateway: Gateway, client: Client, caller: Caller, request: ChatRequest, request_id: str, started: float
) -> Passage:
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
        started=started,
    )
    return Passage(gateway, client, caller, request, entry)


async def _read(gateway: Gateway, body: bytes, key: str) -> ChatRequest:
    if len(body) < LONG_BODY:
        return parse(body, gateway.memo)
    threads = gateway.planning.of(key, len(body))
    return await asyncio.get_running_loop().run_in_executor(threads, parse, body, gateway.memo)


class Passage:
    """One request on its way through."""

    __slots__ = ("booking", "caller", "calls", "client", "entry", "gateway", "request")

    def __init__(self, gateway: Gateway, client: Client, caller: Caller, request: ChatRequest, entry: Entry) -> None:
        self.gateway, self.client, self.caller, self.request, self.entry = gateway, client, caller, request, entry
        self.calls: Calls | None = None
        self.booking = Booking(gateway, request, entry)

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
            self.gateway.log.exception("request failed", id=self.entry.id)
            await self._end_with(errors.internal_error())
        finally:
            self.client.unwatch()
            if self.calls is not None:
                await self.calls.close()
                self.calls.note_system_text()

    async def _serve(self, place: Place | None, desk: Desk | None) -> None:
        gateway, entry = self.gateway, self.entry
        admitted = admit(gateway.config, gateway.models, self.caller, self.request, self.client.headers)
        entry.policy = str(admitted.policy)
        self.request = self.booking.request = with_limit(self.request, admitted.model.answer_limit)
        gateway.ledger.keep(entry.id, entry.team, self.request.body)
        calls = self.calls = Calls(gateway, admitted, self.request, entry, headers=self.client.headers, desk=desk)
        fitted = await calls.fit(admitted.model)
        if desk is not None:
            _let_go(place, desk)
        entry.planned = gateway.monotonic()
        if isinstance(fitted.plan, Refusal) and calls.enforces:
            error = does_not_fit(fitted.plan, fitted, self.request, admitted.policy)
            entry.refusal = error.extra or {"at": fitted.plan.at, "illegal": True}
            raise error
        await self.booking.open(admitted, fitted)
        calls.summarise(fitted)
        comments = Comments(self.client, self._start_stream, gateway.comment_seconds) if self.request.stream else None
        try:
            outcome = await calls.make()
        finally:
            if comments is not None:
                await comments.stop()
        await self.booking.pay_unused(calls)
        match outcome:
            case Failure():
                raise await self._error_of(outcome, calls)
            case _ if isinstance(calls.answer, Stream):
                await self._relay(calls, calls.answer, outcome.deployment)
            case _ if calls.answer is not None:
                await self._deliver(calls, calls.answer, outcome.deployment)

    # ------------------------------------------------------------ the answer

    async def _deliver(self, calls: Calls, whole: Completion, deployment: Deployment) -> None:
        await self.booking.price(calls, whole, deployment)
        await calls.heed(whole, deployment)
        self.entry.http_status = 200
        await self._settle("answered")
        headers = head(self.entry.id, b"application/json", len(whole.body)) + self._told()
        if self.entry.cost_nanousd is not None:
            headers.append(header(b"x-gateway-cost-usd", usd(self.entry.cost_nanousd)))
        await self.client.start(200, headers)
        await self.client.end(whole.body)

    async def _relay(self, calls: Calls, stream: Stream, deployment: Deployment) -> None:
        """Pass events on as they come; what ends the stream waits until the entry is written."""
        entry, relay, gateway = self.entry, stream.relay, self.gateway
        entry.http_status = 200
        await self._start_stream()
        end = await pass_on(self.client, stream, gateway.config.server.max_answer, entry.id)
        await self.booking.price(calls, relay, deployment)
        await calls.heed(relay, deployment)
        entry.error = end.error
        if (cut := end.trouble) is not None:
            gateway.log.warning("stream cut by upstream", id=entry.id, deployment=deployment.name, kind=cut.kind)
        await self._settle("answered" if end.error is None else "failed")
        await self.client.end(end.out)
        if relay.done and calls.reply is not None:
            await drain(calls.reply, stream.chunks)

    async def _start_stream(self) -> None:
        """Begin the response of a stream, unless a comment of ours has."""
        if not self.client.started:
            headers = [*head(self.entry.id, b"text/event-stream"), *STREAM_HEADERS, *self._told()]
            await self.client.start(200, headers)

    def _told(self) -> Headers:
        """Say in headers what was done."""
        told = [header(b"x-gateway-policy", self.entry.policy)]
        if plan := self._plan():
            told.append(header(b"x-gateway-plan", plan))
        if self.calls is not None:
            reply = self.calls.reply
            said = reply_headers(reply, self.calls.reply_of)
            told += [header(name.encode(), value) for name, value in said.items()]
            if dropped := dropped_parts(reply, self.calls.dropped):
                told.append(header(DROPPED.encode(), dropped))
        return told

    def _plan(self) -> str | None:
        """Say what was planned; None for what was refused before anything was."""
        calls = self.calls
        if calls is None:
            return None
        name = calls.admitted.model.name if calls.deployment is None else calls.deployment.model_name
        fitted = calls.fitted.get(name)
        if fitted is None:
            return None
        if isinstance(plan := fitted.plan, Refusal):
            too_big = (self.entry.refusal or {}).get("component", plan.component)
            return f"{self.entry.plan}; tokens={plan.prompt_tokens}/{plan.prompt_tokens}; too_big={too_big}"
        return f"{self.entry.plan}; {fitted.summary}" if fitted.summary else self.entry.plan

    async def _settle(self, status: Status) -> None:
        """Write the end, once, before the response ends."""
        self.client.unwatch()
        if not self.booking.settled:
            await self.booking.settle(status)
            await asyncio.sleep(0)  # the write of this tick happens before the response ends

    # ------------------------------------------------------------ the other ends

    async def _error_of(self, failure: Failure, calls: Calls) -> GatewayError:
        """Say why there is no answer. An answer that broke off once it had begun was paid for."""
        if failure.begun and failure.kind != "garbage":
            await self.booking.price(calls, None, failure.deployment)
        less = calls.too_long_at
        if less is not None and failure.status is not None and less.window.width is not None:
            return still_too_long(failure, less, self.request, calls.admitted.policy)
        return unanswered(failure, self.request.model, self.gateway.now())

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
                await self.booking.pay_unused(calls)
                if calls.deployment is not None and self.entry.usage is None and not self.booking.settled:
                    heard = calls.answer.relay if isinstance(calls.answer, Stream) else calls.answer
                    await self.booking.price(calls, heard, calls.deployment)
                    if heard is not None:
                        await calls.heed(heard, calls.deployment)
        finally:
            self.entry.http_status, self.entry.error = 499, "client_gone" if self.client.gone else "gateway_stopped"
            await self._settle("cancelled")

"""One conversation's request from arrival to ledger entry. Reads as the table of docs/architecture.md.

The shell measures, the core decides, the shell acts: whatever decides is called from here and stands elsewhere. How a
request ends is in passage.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.budget.tokens import LONG_BODY
from gateway.config.policy import Policy
from gateway.money.keys import Caller
from gateway.request import Request, with_limit
from gateway.rewriting.plan import Refusal
from gateway.routing.attempts import Failure, Outcome
from gateway.serving.admission import Admitted, admit, authenticate, entry_facts
from gateway.serving.attempt import Calls
from gateway.serving.background import settle_later
from gateway.serving.client import Client, ClientGone, Headers, head, header, usual_header
from gateway.serving.fit import LARGE_BODY, Fitted
from gateway.serving.large.pool import Desk
from gateway.serving.large.turns import Place
from gateway.serving.passage import Passage
from gateway.serving.refusals import does_not_fit, still_too_long, unanswered
from gateway.serving.services import Gateway
from gateway.serving.settle import Booking
from gateway.serving.stored import note_stored
from gateway.serving.tightening import Tightness, may_tighten, refuse_tightened
from gateway.wire.answer import StoredAnswer
from gateway.wire.errors import GatewayError
from gateway.wire.shape import CHAT, Shape, shape_of


async def answer(gateway: Gateway, client: Client, request_id: str, shape: Shape = CHAT) -> None:
    """Serve one request in this shape. Raises GatewayError for who may not ask, or not now, and for what is none."""
    started = gateway.monotonic()
    caller = authenticate(gateway.keys, client, gateway.now(), shape.name)
    gateway.capacity.enter(caller.priority)
    place, desk = None if gateway.large is None else gateway.large.place(caller.key), None
    try:
        body = await client.body(gateway.config.server.max_body, place)
        if gateway.large is None or len(body) < LARGE_BODY:
            request = await _read(gateway, shape, body, caller.key)
        else:
            request, desk = await gateway.large.read(body, caller.key, shape)
        policy = gateway.config.policy_for(caller.policy, caller.team)
        facts = entry_facts(request, client.headers, caller, policy, request_id, shape.name)
        booking = Booking(gateway, request, facts, started)
        await ConversationPassage(gateway, client, caller, request, booking, place, desk).run()
    except ClientGone:
        return
    finally:
        gateway.capacity.leave()
        _let_go(place, desk)


def _let_go(place: Place | None, desk: Desk | None) -> None:
    """Give back the room of a large body that is planned, and what its process remembers of it."""
    if place is not None:
        place.keep(0)
    if desk is not None:
        desk.forget()


async def _read(gateway: Gateway, shape: Shape, body: bytes, key: str) -> Request:
    if len(body) < LONG_BODY:
        return shape.read(body, gateway.memo)
    threads = gateway.planning.of(key, len(body))
    return await asyncio.get_running_loop().run_in_executor(threads, shape.read, body, gateway.memo)


class ConversationPassage(Passage[Calls]):
    """A request that is planned, and may be rewritten."""

    __slots__ = ("_desk", "_entry", "_place", "_tightness", "caller", "request")

    def __init__(
        self,
        gateway: Gateway,
        client: Client,
        caller: Caller,
        request: Request,
        booking: Booking,
        place: Place | None = None,
        desk: Desk | None = None,
    ) -> None:
        """Take a request; a large one has a place among those that wait, and is planned at a desk."""
        super().__init__(gateway, client, shape_of(request))
        self.caller, self.request = caller, request
        self._entry, self._place, self._desk = booking, place, desk
        self._tightness: Tightness | None = None

    @property
    def booking(self) -> Booking:
        return self._entry

    @property
    def streams(self) -> bool:
        return self.request.stream

    async def prepare(self) -> Calls:
        """Admit the request, plan it, and open its entry. Raises GatewayError, for what does not fit above all."""
        gateway, booking, headers = self.gateway, self._entry, self.client.headers
        admitted = admit(gateway.config, gateway.models, self.caller, self.request, headers)
        gateway.ledger.keep(booking.facts.id, booking.facts.team, self.request.body)
        self._tightness = await self._tight(admitted.policy)
        calls, fitted = await self._fitted(admitted, self._tightness)
        if self._tightness is not None and self._tightness.is_pending:
            calls, fitted = await self._tightened(admitted, self._tightness, calls, fitted)
        admitted = calls.admitted
        if self._desk is not None:
            _let_go(self._place, self._desk)
        booking.planned = gateway.monotonic()
        if isinstance(fitted.plan, Refusal) and calls.enforces:
            raise self._refused(fitted.plan, fitted, admitted.policy)
        await booking.open(admitted, fitted)
        calls.hold = booking.hold(calls)
        calls.summarise(fitted)
        return calls

    def _refused(self, refusal: Refusal, fitted: Fitted, policy: Policy) -> GatewayError:
        """Enter why the plan refuses, and return what the client is told.

        Whoever raises it has no name for it: error and frame would hold each other, and with it the body, until the
        collector comes.
        """
        error = does_not_fit(refusal, fitted, self.request, policy)
        self._entry.refusal = error.extra or {"at": refusal.at, "illegal": True}
        return error

    async def _fitted(self, admitted: Admitted, tightness: Tightness | None) -> tuple[Calls, Fitted]:
        """Plan the request for its model, under the steps that it is under."""
        gateway, booking = self.gateway, self._entry
        if tightness is not None:
            admitted = tightness.applied(admitted, gateway.models)
        request = self.request = with_limit(self.request, admitted.model.answer_limit)
        booking.admit(request, admitted, 0 if tightness is None else tightness.stands)
        calls = Calls(gateway, admitted, request, booking.facts, headers=self.client.headers, desk=self._desk)
        self.calls = calls
        return calls, await calls.fit(admitted.model)

    async def _tight(self, policy: Policy) -> Tightness | None:
        """Say which steps of its policy the request is under; None where it has none."""
        gateway = self.gateway
        if not policy.tighten or gateway.limits is None or gateway.limiting is None or gateway.tightenings is None:
            return None
        request, facts = self.request, self._entry.facts
        if policy.mode != "enforce" or request.conversation.elsewhere is not None:
            await refuse_tightened(policy, facts, gateway.limiting)
            return None
        long = len(request.body) >= LONG_BODY
        threads = gateway.planning.of(facts.key, len(request.body)) if long else None
        return await gateway.tightenings.look(policy, request, facts, gateway.limiting, gateway.known, threads)

    async def _tightened(
        self, admitted: Admitted, tightness: Tightness, calls: Calls, fitted: Fitted
    ) -> tuple[Calls, Fitted]:
        """Plan the request under all steps that are reached, where its conversation may go on under them."""
        tighter = replace(tightness, stands=tightness.reached)
        came, before = self.request, self._entry.facts
        then = await self._fitted(admitted, tighter)
        decides = self.gateway.tightenings is not None and may_tighten(tightness, fitted, then[1])
        if decides and self.gateway.tightenings is not None and await self.gateway.tightenings.decide(tightness):
            self._tightness = tighter
            return then
        self.request, self._entry.request, self._entry.facts, self.calls = came, came, before, calls
        return calls, fitted

    async def call(self, calls: Calls) -> Outcome:
        return await calls.make()

    async def error_of(self, failure: Failure, calls: Calls) -> GatewayError:
        """Say why there is no answer. An answer that broke off once it had begun was paid for."""
        if failure.begun and failure.kind != "garbage":
            await self._entry.enter(calls, calls.attempts[-1], None)
        less = calls.too_long_at
        if less is not None and failure.status is not None and less.window.width is not None:
            return still_too_long(failure, less, self.request, calls.admitted.policy)
        return unanswered(failure, self.request.model, self.gateway.now())

    async def _deliver(self, calls: Calls, attempt: Any, whole: Any) -> None:
        """Pass a whole answer on; one that is still being written is entered once it is complete."""
        if not isinstance(whole, StoredAnswer) or not whole.is_under_way:
            await super()._deliver(calls, attempt, whole)
            return
        note_stored(self.gateway.stored, self._entry.facts, attempt.deployment, whole)
        self.client.unwatch()
        later = asyncio.get_running_loop().create_task(settle_later(self._entry, calls, attempt, attempt.answer))
        self.gateway.background.add(later)
        later.add_done_callback(self.gateway.background.discard)
        body = attempt.answer.body
        await self.client.start(200, head(self.id, b"application/json", len(body)) + self._headers())
        await self.client.end(body)

    def plan_headers(self) -> Headers:
        plan = None if self.calls is None else _plan(self.calls, self._entry.refusal)
        told = [usual_header(b"x-gateway-plan", plan)] if plan else []
        if self._tightness is not None and self._tightness.stands:
            told.append(header(b"x-gateway-tightened", self._tightness.name))
        return told

    def over(self, calls: Calls) -> None:
        calls.note_system_text()


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

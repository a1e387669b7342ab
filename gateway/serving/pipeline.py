"""One conversation's request from arrival to ledger entry. Reads as the table of docs/architecture.md.

The shell measures, the core decides, the shell acts: whatever decides is called from here and stands elsewhere. How a
request ends is in passage.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.budget.tokens import LONG_BODY
from gateway.config.policy import Policy
from gateway.money.keys import Caller
from gateway.request import Request, with_limit
from gateway.rewriting.plan import Refusal
from gateway.routing.attempts import Failure, Outcome
from gateway.serving.admission import admit, authenticate, entry_facts
from gateway.serving.attempt import Calls
from gateway.serving.background import settle_later
from gateway.serving.client import Client, ClientGone, Headers, head, usual_header
from gateway.serving.fit import LARGE_BODY, Fitted
from gateway.serving.large.pool import Desk
from gateway.serving.large.turns import Place
from gateway.serving.passage import Passage
from gateway.serving.refusals import does_not_fit, still_too_long, unanswered
from gateway.serving.services import Gateway
from gateway.serving.settle import Booking
from gateway.serving.stored import note_stored
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

    __slots__ = ("_desk", "_entry", "_place", "caller", "request")

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
        request = self.request = with_limit(self.request, admitted.model.answer_limit)
        booking.admit(request, admitted)
        gateway.ledger.keep(booking.facts.id, booking.facts.team, request.body)
        calls = self.calls = Calls(gateway, admitted, request, booking.facts, headers=headers, desk=self._desk)
        fitted = await calls.fit(admitted.model)
        if self._desk is not None:
            _let_go(self._place, self._desk)
        booking.planned = gateway.monotonic()
        if isinstance(fitted.plan, Refusal) and calls.enforces:
            raise self._refused(fitted.plan, fitted, admitted.policy)
        await booking.open(admitted, fitted)
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
        return [usual_header(b"x-gateway-plan", plan)] if plan else []

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

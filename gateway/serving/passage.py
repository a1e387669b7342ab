"""The passage of one request, whatever it asks for: it is prepared, called, and ends in one of four ways.

Answered, refused, failed, cancelled: each end writes the entry before the response ends. A kind of request says how it
is prepared, called and booked (`pipeline.py` for conversations, `metered/pipeline.py` for all else).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gateway.money.amounts import usd
from gateway.money.entry import Bill, RequestFacts
from gateway.money.row import Status
from gateway.routing.attempts import Failure, Outcome
from gateway.serving.answer_beginning import Stream, drain
from gateway.serving.answer_headers import call_headers
from gateway.serving.calls_in_entry import AnyAttempt
from gateway.serving.client import (
    STREAM_HEADERS,
    Client,
    Comments,
    Headers,
    head,
    header,
    refuse,
    usual_header,
)
from gateway.serving.limiting import Admission
from gateway.serving.relaying import pass_on
from gateway.serving.services import Gateway
from gateway.wire import errors
from gateway.wire.answer import Heard
from gateway.wire.errors import GatewayError
from gateway.wire.shape import Shape


class Whole(Protocol):
    """An answer that is all here."""

    @property
    def body(self) -> bytes: ...


class Ready(NamedTuple):
    """An answer that no deployment was asked for."""

    body: bytes


class AnsweredAttempt(AnyAttempt, Protocol):
    """A call with what it brought."""

    @property
    def answer(self) -> Any:
        """As far as it is here: all of it, or a `Stream`; None where none came."""


A = TypeVar("A", bound=AnsweredAttempt)


class PassageCalls(Protocol[A]):
    """The calls of a request."""

    attempts: list[A]

    @property
    def sent(self) -> A | None:
        """The last call; None where the deployment was not asked, or none was."""

    async def close(self) -> None: ...


C = TypeVar("C", bound=PassageCalls[Any])
Entered_contra = TypeVar("Entered_contra", bound=PassageCalls[Any], contravariant=True)


class PassageBooking(Protocol[Entered_contra]):
    """The entry of a request."""

    facts: RequestFacts
    bill: Bill
    admission: Admission | None
    """Under limits: how it was let in."""
    is_settled: bool

    async def enter(self, calls: Entered_contra, attempt: Any, heard: Any, /) -> None:
        """Enter what an answer cost. None: nothing came back."""

    async def pay_unused(self, calls: Entered_contra, /) -> None:
        """Enter what failed calls cost."""

    async def settle(
        self, status: Status, http_status: int, error: str | None, calls: Entered_contra | None, /
    ) -> None:
        """Write the end, once."""


class Passage(ABC, Generic[C]):
    """One request on its way through."""

    __slots__ = ("calls", "client", "gateway", "shape")

    def __init__(self, gateway: Gateway, client: Client, shape: Shape) -> None:
        """Take a client and the shape that it is answered in."""
        self.gateway, self.client, self.shape = gateway, client, shape
        self.calls: C | None = None
        """None until the request is admitted."""

    # ------------------------------------------------------------ what a kind of request says

    @property
    @abstractmethod
    def booking(self) -> PassageBooking[C]:
        """Its entry."""

    @property
    @abstractmethod
    def streams(self) -> bool:
        """Whether the client asked for a stream."""

    @abstractmethod
    async def prepare(self) -> C:
        """Admit the request, set its calls, and open its entry. Raises GatewayError."""

    @abstractmethod
    async def call(self, calls: C) -> Outcome | Ready:
        """Call deployments until one answers or none is left, unless the answer is known. Raises GatewayError."""

    @abstractmethod
    async def error_of(self, failure: Failure, calls: C) -> GatewayError:
        """Say why there is no answer, and enter what was paid for all the same."""

    def plan_headers(self) -> Headers:
        """Say in headers what was planned."""
        return []

    def over(self, calls: C) -> None:
        """Learn from a request that is over."""

    # ------------------------------------------------------------ the way

    @property
    def id(self) -> str:
        return self.booking.facts.id

    async def run(self) -> None:
        """Serve the request; whatever happens, it is entered once."""
        self.client.watch()
        if self.gateway.tracer is not None:
            self.gateway.tracer.begin(self.id, self.client.headers)
        try:
            await self._serve()
        except GatewayError as error:
            if self.calls is not None:
                await self.booking.pay_unused(self.calls)
            await self._end_with(error)
        except asyncio.CancelledError:
            is_told = self.booking.is_settled
            await self._cancelled()
            if not (self.client.gone or is_told):
                await self._tell(errors.gateway_stopping())
        except Exception:  # the outermost handler: a fault of ours must not take the entry with it
            self.gateway.log.exception("request failed", id=self.id)
            await self._end_with(errors.internal_error())
        finally:
            self.client.unwatch()
            if self.calls is not None:
                await self.calls.close()
                self.over(self.calls)

    async def _serve(self) -> None:
        calls = await self.prepare()
        comments = Comments(self.client, self._start_stream, self.gateway.comment_seconds) if self.streams else None
        try:
            outcome = await self.call(calls)
        finally:
            if comments is not None:
                await comments.stop()
        await self.booking.pay_unused(calls)
        if isinstance(outcome, Failure):
            raise await self.error_of(outcome, calls)
        if isinstance(outcome, Ready):
            await self._hand_over(outcome.body)
            return
        attempt = calls.attempts[-1]
        if isinstance(attempt.answer, Stream):
            await self._relay(calls, attempt, attempt.answer)
        elif attempt.answer is not None:
            await self._deliver(calls, attempt, attempt.answer)

    # ------------------------------------------------------------ the answer

    async def _deliver(self, calls: C, attempt: AnsweredAttempt, whole: Whole) -> None:
        await self.booking.enter(calls, attempt, whole)
        await self._hand_over(whole.body)

    async def _hand_over(self, body: bytes) -> None:
        await self._settle("answered", 200)
        headers, cost = head(self.id, b"application/json", len(body)) + self._headers(), self.booking.bill.cost_nanousd
        if cost is not None:
            headers.append(header(b"x-gateway-cost-usd", usd(cost)))
        await self.client.start(200, headers)
        await self.client.end(body)

    async def _relay(self, calls: C, attempt: AnsweredAttempt, stream: Stream) -> None:
        """Pass events on as they come; what ends the stream waits until the entry is written."""
        request_id, gateway = self.id, self.gateway
        await self._start_stream()
        end = await pass_on(self.client, stream, self.shape, gateway.config.server.max_answer, request_id)
        await self.booking.enter(calls, attempt, stream.relay)
        if (cut := end.trouble) is not None:
            gateway.log.warning(
                "stream cut by upstream", id=request_id, deployment=attempt.deployment.name, kind=cut.kind
            )
        await self._settle("answered" if end.error is None else "failed", 200, end.error)
        await self.client.end(end.out)
        if stream.relay.done and attempt.reply is not None:
            await drain(attempt.reply, stream.chunks)

    async def _start_stream(self) -> None:
        """Begin the response of a stream, unless a comment of ours has."""
        if not self.client.started:
            headers = [*head(self.id, b"text/event-stream"), *STREAM_HEADERS, *self._headers()]
            await self.client.start(200, headers)

    def _headers(self) -> Headers:
        """Say in headers what was done."""
        told = [usual_header(b"x-gateway-policy", self.booking.facts.policy)]
        if self.booking.admission is not None:
            told += [
                header(name.encode(), value) for name, value in self.booking.admission.headers(self.shape.name).items()
            ]
        if self.calls is None:
            return told
        return [*told, *self.plan_headers(), *call_headers(self.calls.attempts)]

    async def _settle(self, status: Status, http_status: int, error: str | None = None) -> None:
        """Write the end, once, before the response ends."""
        self.client.unwatch()
        if not self.booking.is_settled:
            await self.booking.settle(status, http_status, error, self.calls)
            await asyncio.sleep(0)  # the write of this tick happens before the response ends

    # ------------------------------------------------------------ the other ends

    async def _end_with(self, error: GatewayError) -> None:
        called = self.calls is not None and self.calls.sent is not None
        status: Status = "failed" if called or error.status >= 500 else "refused"
        await self._settle(status, error.status, error.code or error.type)
        await self._tell(error)

    async def _tell(self, error: GatewayError) -> None:
        """End the response with an error: in an event, where the response has begun."""
        if self.client.started:
            await self.client.end(self.shape.error_event(error, self.id))
        else:
            own = {name.encode() for name in error.headers}
            headers = [one for one in self._headers() if one[0] not in own]
            await refuse(self.client, error, self.id, headers, self.shape.error)

    async def _cancelled(self) -> None:
        """Stop the upstream of a client that left, or that we stop, and enter what was used until then."""
        calls, booking = self.calls, self.booking
        try:
            if calls is not None:
                await calls.close()
                await booking.pay_unused(calls)
                sent = calls.sent
                if sent is not None and booking.bill.usage is None and not booking.is_settled:
                    await booking.enter(calls, sent, _heard(sent.answer))
        finally:
            if self.client.gone:
                await self._settle("cancelled", 499, "client_gone")
            else:
                await self._settle("cancelled", 503, "gateway_stopped")


def _heard(answer: Any) -> Heard | None:
    """Return what was heard of an answer, whole or not."""
    heard: Heard | None = answer.relay if isinstance(answer, Stream) else answer
    return heard

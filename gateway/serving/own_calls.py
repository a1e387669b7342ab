"""A call that the gateway makes for itself (a summary, a warm-up): made in a given time, and entered in its books once.

Its entry names whom it is booked to; its caller judges the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.money.entry import Bill
from gateway.routing.attempts import Failure, Outcome
from gateway.serving.attempt import Attempt, Calls
from gateway.serving.fit import Fitted
from gateway.serving.settle import Booking
from gateway.wire.completion import Completion


class NoAnswer(Exception):
    """There is none; the message says why, and holds nothing of what the model wrote."""


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """The answer to a call of the gateway's own, and its cost."""

    answer: Completion
    bill: Bill


async def answer_of(
    calls: Calls, fitted: Fitted, make: Callable[[], Awaitable[Outcome]], started: float, within_seconds: float
) -> OwnAnswer:
    """Have a fitted call made and enter it; whatever happens, it is entered once.

    Raises NoAnswer, and GatewayError where it cannot even be opened: then nothing was sent.
    """
    booking = Booking(calls.gateway, calls.request, calls.facts, started)
    booking.planned = calls.gateway.monotonic()
    await booking.open(calls.admitted, fitted)
    try:
        async with asyncio.timeout(within_seconds):
            outcome = await make()
    except TimeoutError:
        await _fail(calls, booking, calls.sent, "timeout")
        raise NoAnswer(f"there was none within {within_seconds:.3g} seconds") from None
    except asyncio.CancelledError:
        await _pay(calls, booking, calls.sent)
        await booking.settle("cancelled", 499, "gateway_stopped", calls)
        raise
    except Exception:  # whatever it was: what was opened in the books is entered, and the error goes on
        await _fail(calls, booking, calls.sent, "internal_error")
        raise
    sent = calls.sent
    if isinstance(outcome, Failure) or sent is None or not isinstance(sent.answer, Completion):
        is_paid = isinstance(outcome, Failure) and outcome.begun and outcome.kind != "garbage"
        await _fail(calls, booking, sent if is_paid else None, "upstream_failed")
        raise NoAnswer(f"the model failed: {outcome.kind if isinstance(outcome, Failure) else 'no completion'}")
    await booking.pay_unused(calls)
    await booking.price(calls, sent, sent.answer)
    await booking.settle("answered", 200, None, calls)
    return OwnAnswer(sent.answer, booking.bill)


async def _fail(calls: Calls, booking: Booking, paid: Attempt | None, error: str) -> None:
    """Enter a call that brought no answer; one that was `paid` for by what was sent."""
    await _pay(calls, booking, paid)
    await booking.settle("failed", 502, error, calls)


async def _pay(calls: Calls, booking: Booking, paid: Attempt | None) -> None:
    await booking.pay_unused(calls)
    if paid is not None:
        await booking.price(calls, paid, None)

"""A call that the gateway makes for itself (a summary, a warm-up): made in a given time, and entered in its books once.

Its entry names whom it is booked to; its caller judges the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.routing.attempts import Failure, Outcome
from gateway.routing.deployment import Deployment
from gateway.serving.answer_beginning import Stream
from gateway.serving.attempt import Calls
from gateway.serving.fit import Fitted
from gateway.serving.settle import Booking
from gateway.wire.answer import WholeAnswer


class NoAnswer(Exception):
    """There is none; the message says why, and holds nothing of what the model wrote."""


async def answered(
    calls: Calls, fitted: Fitted, make: Callable[[], Awaitable[Outcome]], within_seconds: float
) -> WholeAnswer:
    """Have a fitted call made and enter it; whatever happens, it is entered once.

    Raises NoAnswer, and GatewayError where it cannot even be opened: then nothing was sent.
    """
    entry, booking = calls.entry, Booking(calls.gateway, calls.request, calls.entry)
    entry.planned = calls.gateway.monotonic()
    await booking.open(calls.admitted, fitted)
    try:
        async with asyncio.timeout(within_seconds):
            outcome = await make()
    except TimeoutError:
        await _end(calls, booking, calls.deployment, "timeout")
        raise NoAnswer(f"there was none within {within_seconds:.3g} seconds") from None
    except asyncio.CancelledError:
        entry.http_status, entry.error = 499, "gateway_stopped"
        await booking.pay_unused(calls)
        if calls.deployment is not None:
            await booking.price(calls, None, calls.deployment)
        await booking.settle("cancelled")
        raise
    except Exception:  # whatever it was: what was opened in the books is entered, and the error goes on
        await _end(calls, booking, calls.deployment, "internal_error")
        raise
    answer = calls.answer
    if isinstance(outcome, Failure) or answer is None or isinstance(answer, Stream):
        paid = isinstance(outcome, Failure) and outcome.begun and outcome.kind != "garbage"
        await _end(calls, booking, outcome.deployment if paid else None, "upstream_failed")
        raise NoAnswer(f"the model failed: {outcome.kind if isinstance(outcome, Failure) else 'no completion'}")
    entry.http_status = 200
    await booking.pay_unused(calls)
    await booking.price(calls, answer, outcome.deployment)
    await booking.settle("answered")
    return answer


async def _end(calls: Calls, booking: Booking, paid: Deployment | None, error: str) -> None:
    """Enter a call that brought no answer; one that was `paid` for by what was sent."""
    calls.entry.error, calls.entry.http_status = error, 502
    await booking.pay_unused(calls)
    if paid is not None:
        await booking.price(calls, None, paid)
    await booking.settle("failed")

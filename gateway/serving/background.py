"""Answers that a provider writes in the background: looked at until they are complete, and then entered.

The client has its answer meanwhile, and asks for the rest by its id. Whatever happens, the entry is settled once: where
nobody learns what was used, with an estimate.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.routing.attempts import Answer
from gateway.routing.upstreams.upstream import StoredCall, UpstreamError
from gateway.serving.attempt import Attempt, Calls
from gateway.serving.settle import Booking
from gateway.wire.answer import ErrorAnswer, Heard, StoredAnswer
from gateway.wire.shape import shape_of

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0
"""Seconds between two looks at most."""
MOST_LOOKS: Final = 1_500
"""Half a day of them."""


async def settle_later(booking: Booking, calls: Calls, attempt: Attempt, begun: Heard) -> None:
    """Look at an answer until it is complete, and enter what it cost."""
    heard: Heard = begun
    try:
        heard = await _complete(calls, attempt, begun)
    finally:
        await booking.enter(calls, attempt, heard)
        await booking.settle("answered", 200, None, calls)


async def _complete(calls: Calls, attempt: Attempt, begun: Heard) -> Heard:
    spoken = attempt.deployment.spoken(calls.request.shape)
    if spoken is None or not isinstance(begun, StoredAnswer) or not begun.stored:
        return begun
    call, seconds = StoredCall("GET", f"/responses/{begun.stored[0]}"), FIRST_SECONDS
    for _ in range(MOST_LOOKS):
        await asyncio.sleep(seconds)
        seconds = min(LONGEST_SECONDS, 1.5 * seconds)
        outcome = await calls.gateway.upstreams.ask(spoken, call, request_id=calls.facts.id, now=calls.gateway.now())
        if not isinstance(outcome, Answer):
            if outcome.status == 404:  # it was deleted
                return begun
            continue
        listener = shape_of(calls.request).listen(streamed=False, hold_back_usage=False, secrets=spoken.secrets)
        try:
            async for chunk in outcome.reply.chunks():
                listener.feed(chunk)
        except UpstreamError:
            continue
        found = listener.finish()
        if isinstance(found, ErrorAnswer):
            return found.heard
        if isinstance(found, StoredAnswer) and not found.is_under_way:
            return found  # type: ignore[return-value]  # a whole answer, or a response that failed
        if not isinstance(found, StoredAnswer):
            return begun
    return begun

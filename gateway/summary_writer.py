"""One summary, written by a model through the gateway's own calls and entered in its books like any request.

Booked to the team and the user whose request asked for it, as kind `summary`. What comes back is judged by
`rewriting/summarize.py`; a text that may not stand is paid for all the same.
"""

from __future__ import annotations

import asyncio
import os

import orjson

from gateway.admission import Admitted
from gateway.booking import Booking
from gateway.calls import Calls
from gateway.fitting import Model
from gateway.gateway import Gateway
from gateway.money.entry import Entry
from gateway.money.ledger import ID_ENTROPY_BYTES, new_id
from gateway.policy import Policy
from gateway.rewriting import summarize
from gateway.routing.attempts import Failure
from gateway.routing.deployment import Deployment
from gateway.summaries import Job, NoSummary
from gateway.wire.chat import Memo, message_of, parse
from gateway.wire.completion import Completion
from gateway.wire.errors import GatewayError

_FRAME_TOKENS = 64
"""Of a request for a summary, beside its texts."""


async def write(gateway: Gateway, job: Job) -> str:
    """Have a summary written. Raises NoSummary, with the reason, where none may stand."""
    model = gateway.models.get(job.model)
    if model is None or not model.deployments:
        raise NoSummary("there is no such model, or it has no price")
    policy = Policy(job.policy.name, mode="off")
    body = await _body(gateway, job, model, policy)
    entry = Entry(
        new_id(gateway.now(), os.urandom(ID_ENTROPY_BYTES)),
        job.key,
        job.team,
        user=job.user,
        tags=job.tags,
        model=job.model,
        policy=str(job.policy),
        policy_version=job.policy.version,
        kind="summary",
        started=gateway.monotonic(),
    )
    request = parse(body, Memo())
    calls = Calls(gateway, Admitted(model, policy), request, entry)
    try:
        return await _written(calls, Booking(gateway, request, entry), job)
    except GatewayError as error:
        raise NoSummary(error.message) from error
    finally:
        await calls.close()


async def _written(calls: Calls, booking: Booking, job: Job) -> str:
    """Make the call and enter it; whatever happens, it is entered once."""
    entry, monotonic = calls.entry, calls.gateway.monotonic
    fitted = await calls.fit(calls.admitted.model)
    entry.planned = monotonic()
    await booking.open(calls.admitted, fitted)
    try:
        async with asyncio.timeout(job.policy.summarize.timeout):
            outcome = await calls.make()
    except TimeoutError:
        await _end(calls, booking, calls.deployment, "timeout")
        raise NoSummary(f"there was none within {job.policy.summarize.timeout:g} seconds") from None
    except asyncio.CancelledError:
        entry.http_status, entry.error = 499, "gateway_stopped"
        if calls.deployment is not None:
            await booking.price(calls, None, calls.deployment)
        await booking.settle("cancelled")
        raise
    except Exception:
        await _end(calls, booking, calls.deployment, "internal_error")
        raise
    answer = calls.answer
    if isinstance(outcome, Failure) or not isinstance(answer, Completion):
        paid = isinstance(outcome, Failure) and outcome.begun and outcome.kind != "garbage"
        await _end(calls, booking, outcome.deployment if paid else None, "upstream_failed")
        raise NoSummary(f"the model failed: {outcome.kind if isinstance(outcome, Failure) else 'no completion'}")
    entry.http_status = 200
    await booking.price(calls, answer, outcome.deployment)
    await booking.settle("answered")
    text = _said(answer)
    await job.counter.learn([text])
    wrong = summarize.fault(text, job.segment, job.counter.count)
    if wrong is not None:
        raise NoSummary(wrong)
    return text


async def _end(calls: Calls, booking: Booking, paid: Deployment | None, error: str) -> None:
    """Enter a call that brought no answer; one that was `paid` for by what was sent."""
    calls.entry.error, calls.entry.http_status = error, 502
    if paid is not None:
        await booking.price(calls, None, paid)
    await booking.settle("failed")


async def _body(gateway: Gateway, job: Job, model: Model, policy: Policy) -> bytes:
    """Write the request: what a summary is to hold, and the originals as far as the model's window takes them."""
    counter = gateway.counters.for_encoding(model.encoding)
    prompt = summarize.asked(job.policy.summarize.prompt or summarize.PROMPT, job.segment.limit)
    parts = list(summarize.source(job.messages))
    await counter.learn([prompt, *parts])
    budget = model.bounds(policy, gateway.calibrations.of(model)).budget(job.segment.limit)
    text = "\n\n".join(parts)
    if budget is not None:
        room = budget - counter.count(prompt) - _FRAME_TOKENS
        text = await asyncio.to_thread(summarize.cut, parts, room, counter.count)
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": text}]
    return orjson.dumps({"model": job.model, "messages": messages, "max_completion_tokens": job.segment.limit})


def _said(answer: Completion) -> str:
    """Read what the model wrote. Total: what has an unexpected shape says nothing."""
    choices = answer.fields["choices"]
    message = choices[0].get("message") if choices and isinstance(choices[0], dict) else None
    return message_of(message).text.strip() if isinstance(message, dict) else ""

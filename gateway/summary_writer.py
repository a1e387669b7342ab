"""One summary, written by a model through the gateway's own calls and entered in its books like any request.

Booked to the team and the user whose request asked for it, as kind `summary`. What comes back is judged by
`rewriting/summarize.py`; a text that may not stand is paid for all the same.
"""

from __future__ import annotations

import asyncio
import os

import orjson

from gateway.admission import Admitted
from gateway.calls import Calls
from gateway.fitting import Model
from gateway.gateway import Gateway
from gateway.money.entry import Entry
from gateway.money.ledger import ID_ENTROPY_BYTES, new_id
from gateway.own_calls import NoAnswer, answered
from gateway.policy import Policy
from gateway.rewriting import summarize
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
    calls = Calls(gateway, Admitted(model, policy), parse(body, Memo()), entry)
    try:
        return await _written(calls, job)
    except GatewayError as error:
        raise NoSummary(error.message) from error
    finally:
        await calls.close()


async def _written(calls: Calls, job: Job) -> str:
    """Have it written, and judge it."""
    fitted = await calls.fit(calls.admitted.model)
    try:
        answer = await answered(calls, fitted, calls.make, job.policy.summarize.timeout)
    except NoAnswer as error:
        raise NoSummary(str(error)) from error
    text = _said(answer)
    await job.counter.learn([text])
    wrong = summarize.fault(text, job.segment, job.counter.count)
    if wrong is not None:
        raise NoSummary(wrong)
    return text


async def _body(gateway: Gateway, job: Job, model: Model, policy: Policy) -> bytes:
    """Write the request: what a summary is to hold, and the originals as far as the model's window takes them."""
    counter = gateway.counters.for_encoding(model.encoding)
    prompt = summarize.asked(job.policy.summarize.prompt or summarize.PROMPT, job.segment.limit)
    parts = list(summarize.source(job.messages))
    await counter.learn([prompt, *parts])
    budget = model.bounds(policy, gateway.calibrations.of(model), job.segment.limit).budget(job.segment.limit)
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

"""One summary, written by a model through the gateway's own calls and entered in its books like any request.

Booked to the team and the user whose request asked for it, as kind `summary`. A source longer than the writer's window
is summarised in parts, and their summaries are joined by one call more; each call has an entry of its own.
`rewriting/folds/summarize.py` judges the text that comes back; one that may not stand is paid for all the same.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import Final

import orjson

from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.conversation import Message
from gateway.money.entry import RequestFacts
from gateway.money.ledger import ID_ENTROPY_BYTES, new_id
from gateway.rewriting.folds import summarize
from gateway.rewriting.folds.summary_faults import SummarySource
from gateway.routing.models import Model
from gateway.serving.admission import Admitted
from gateway.serving.attempt import Calls
from gateway.serving.own_calls import NoAnswer, answer_of
from gateway.serving.services import Gateway
from gateway.summaries.jobs import Job, NoSummary
from gateway.wire.chat import Memo, message_of, parse
from gateway.wire.completion import Completion
from gateway.wire.errors import GatewayError

_FRAME_TOKENS: Final = 160
"""Of a request for a summary, beside its prompt and its text."""
_SPARE: Final = 1.25
"""Times the most tokens of a summary that a writer may use: one that is cut off is no summary, and is paid for."""
_PART_TOKENS: Final = 256
"""Most tokens of the summary of a part, where the whole may have fewer."""
_AT_A_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class _Writing:
    """The terms of one job: its model, language, length and deadline."""

    gateway: Gateway
    job: Job
    model: Model
    counter: Counter
    """Counts as the writer does."""
    read: SummarySource
    prompt: str
    until: float
    """By the monotonic clock."""

    def length(self, limit: int) -> str:
        return summarize.length(limit, self.read, self.counter.count)

    def room(self, limit: int) -> int | None:
        """Tokens of text that the writer takes beside the instruction; None where no window is known."""
        budget = self.model.bounds(_policy(self.job), self.gateway.calibrations.of(self.model)).budget(_most(limit))
        return None if budget is None else budget - self.counter.count(self.prompt) - _FRAME_TOKENS


async def write_summary(gateway: Gateway, job: Job) -> str:
    """Have a summary written. Raises NoSummary, with the reason, where none may stand."""
    model = gateway.models.get(job.model)
    if model is None or not model.deployments:
        raise NoSummary("there is no such model, or it has no price")
    prompt = job.policy.summarize.prompt or summarize.PROMPT
    until = gateway.monotonic() + job.policy.summarize.timeout
    counter = gateway.counters.for_encoding(model.encoding)
    writing = _Writing(gateway, job, model, counter, SummarySource(job.messages, prompt), prompt, until)
    parts = list(summarize.source(job.messages))
    await counter.learn([prompt, *parts])
    texts = await asyncio.to_thread(_texts, writing, parts)
    text = await _written(writing, texts[0], job.segment.limit) if len(texts) == 1 else await _joined(writing, texts)
    await job.counter.learn([text])
    wrong = await asyncio.to_thread(summarize.fault, text, job.segment, writing.read, job.counter.count)
    if wrong is not None:
        raise NoSummary(wrong)
    return text


def _texts(writing: _Writing, parts: list[str]) -> list[str]:
    """Lay out the source in as many texts as the writer's window asks for."""
    room = writing.room(max(writing.job.segment.limit, _PART_TOKENS))
    if room is None:
        return ["\n\n".join(parts)]
    texts = summarize.parted(parts, room, writing.counter.count)
    if not any(texts):
        raise NoSummary("the model's window is too small for any of the text")
    return texts


async def _joined(writing: _Writing, texts: list[str]) -> str:
    """Have each part summarised, and then one summary made of them. All of them are of originals."""
    limit, slots = max(writing.job.segment.limit, _PART_TOKENS), asyncio.Semaphore(_AT_A_TIME)
    failed: list[NoSummary] = []

    async def part(text: str) -> str:
        async with slots:
            if failed:
                return ""  # what is under way comes to its end and into the books, nothing more is begun
            try:
                return await _part(writing, text, limit)
            except NoSummary as error:
                failed.append(error)
                return ""

    written = await asyncio.gather(*map(part, texts), return_exceptions=True)
    for one in written:
        if isinstance(one, BaseException):
            raise one
    if failed:
        raise failed[0]
    return await _written(writing, "\n".join(map(str, written)), writing.job.segment.limit)


async def _part(writing: _Writing, text: str, limit: int) -> str:
    """Have a part summarised, and judge that by the part."""
    said = await _written(writing, text, limit)
    count, read = writing.counter.count, SummarySource((Message("user", text),), writing.prompt)
    segment = replace(writing.job.segment, tokens=count(text), limit=_most(limit))
    wrong = await asyncio.to_thread(summarize.fault, said, segment, read, count)
    if wrong is not None:
        raise NoSummary(f"of a part, {wrong}")
    return said


async def _written(writing: _Writing, text: str, limit: int) -> str:
    """Have one text summarised: one call, one entry."""
    job, gateway = writing.job, writing.gateway
    started = gateway.monotonic()
    facts = RequestFacts(
        new_id(gateway.now(), os.urandom(ID_ENTROPY_BYTES)),
        job.key,
        job.team,
        user=job.user,
        tags=job.tags,
        model=job.model,
        policy=str(job.policy),
        policy_version=job.policy.version,
        kind="summary",
    )
    body = await asyncio.to_thread(_body, writing, text, limit)
    calls = Calls(gateway, Admitted(writing.model, _policy(job)), parse(body, Memo()), facts)
    try:
        fitted = await calls.fit(writing.model)
        seconds = max(0.0, writing.until - gateway.monotonic())
        made = await answer_of(calls, fitted, calls.make, started, seconds)
    except NoAnswer as error:
        raise NoSummary(str(error)) from error
    except GatewayError as error:
        raise NoSummary(error.message) from error
    finally:
        await calls.close()
    return _said(made.answer)


def _policy(job: Job) -> Policy:
    """Give the policy of a writer's own request: nothing is cut, and only its answer limit is kept free."""
    return Policy(job.policy.name, mode="off", reserve=Reserve(output=0))


def _most(limit: int) -> int:
    return int(_SPARE * limit) + 16


def _body(writing: _Writing, text: str, limit: int) -> bytes:
    """Write the request: what a summary is to hold, and the text as data."""
    length, language = writing.length(limit), writing.read.speech.name
    messages = [
        {"role": "system", "content": summarize.instruction(writing.prompt, length, language)},
        {"role": "user", "content": summarize.material(text, length, language)},
    ]
    return orjson.dumps({"model": writing.job.model, "messages": messages, "max_completion_tokens": _most(limit)})


def _said(answer: Completion) -> str:
    """Read what the model wrote. Raises NoSummary where it did not come to an end or called a tool."""
    choices = answer.fields["choices"]
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise NoSummary("it is empty")
    if (wrong := summarize.unfinished(choice.get("finish_reason"))) is not None:
        raise NoSummary(wrong)
    return message_of(message).text.strip()

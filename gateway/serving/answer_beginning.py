"""The beginning of an answer: read until it is known what it is, a stream, a whole answer, an error or nothing.

A shape recognises it in the bytes (`wire/answer.py`); here they are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.routing.attempts import Failure
from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.upstream import Reply, Trouble, UpstreamError
from gateway.wire.answer import ErrorAnswer, Heard, Listener, Nothing, Opened, Relay, Streaming, WholeAnswer
from gateway.wire.headers import retry_after

DRAIN_SECONDS = 0.5
"""Seconds that an answer which is over may take to close."""


@dataclass(slots=True)
class Stream:
    """A stream in which the model has begun to speak."""

    ready: bytes
    """The bytes that the client gets first; the relay has seen them."""
    chunks: AsyncIterator[bytes]
    relay: Relay


@dataclass(frozen=True, slots=True)
class Beginning:
    """The answer as far as it is read."""

    opened: Opened
    trouble: Trouble = "garbage"
    """The kind of failure, where it is no answer."""
    said: str = ""
    """The words of an upstream that cut it off."""
    is_read: bool = False
    """Whether it was read to its end."""


class AnswerStart(NamedTuple):
    """The beginning of an answer, as its call takes it."""

    answer: WholeAnswer | Stream | None = None
    failure: Failure | None = None
    """Set where there is no answer."""
    unused: Heard | None = None
    """The part that came before it failed."""
    rest: AsyncIterator[bytes] | None = None
    """The bytes behind a whole answer that are still to come."""

    @property
    def is_taken(self) -> bool:
        """Whether the upstream had read the prompt."""
        return self.failure is None or self.failure.begun or self.unused is not None


NO_START: Final = AnswerStart()


async def answer_start(
    deployment: Deployment,
    reply: Reply,
    listener: Listener,
    most_bytes: int,
    now: Callable[[], float],
    chunks: AsyncIterator[bytes] | None = None,
) -> AnswerStart:
    """Read an answer until it is known what it is, and close one that is none. `chunks` are its bytes, if counted."""
    chunks = chunks or reply.chunks()
    beginning = await begin(chunks, listener, most_bytes)
    match opened := beginning.opened:
        case Streaming():
            opened.relay.passes_long_events = True
            return AnswerStart(Stream(opened.ready, chunks, opened.relay))
        case ErrorAnswer() | Nothing():
            await reply.close()
            return AnswerStart(None, failure_of(deployment, reply, opened, beginning, now()), opened.heard)
        case whole:  # gathered, up to the marker of its end, or read to the last byte
            return AnswerStart(whole, rest=None if beginning.is_read else chunks)


async def begin(chunks: AsyncIterator[bytes], listener: Listener, most_bytes: int) -> Beginning:
    """Read until it is known what an answer is; one that is not by `most_bytes` is given up."""
    try:
        async for chunk in chunks:
            opened = listener.feed(chunk)
            if opened is not None:
                return Beginning(opened)
            if listener.held_bytes > most_bytes:
                return Beginning(listener.given_up(f"it is longer than {most_bytes:,} bytes"), "too_large")
        return Beginning(listener.finish(), is_read=True)
    except UpstreamError as cut:
        return Beginning(listener.cut(cut.message), cut.kind, cut.said)


def failure_of(
    deployment: Deployment, reply: Reply, opened: ErrorAnswer | Nothing, beginning: Beginning, now: float
) -> Failure:
    """Say how a deployment failed that gave no answer."""
    if isinstance(opened, ErrorAnswer):
        error, later = opened.error, retry_after(reply.headers, now)
        return Failure(deployment, "status", error.status, error.body, reply.headers, later)
    trouble, said = beginning.trouble, beginning.said
    return Failure(deployment, trouble, message=opened.message, said=said, begun=opened.begun)


async def drain(reply: Reply, chunks: AsyncIterator[bytes]) -> None:
    """Read to the end of an answer whose end has been seen, briefly, so that its connection can serve again."""
    if reply.is_over:
        return
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, UpstreamError):
        return

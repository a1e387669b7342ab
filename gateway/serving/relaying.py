"""A stream on its way to a client: events are passed on as they come, and its end is told from a break."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.routing.upstreams.upstream import UpstreamError
from gateway.serving.answer_beginning import Stream
from gateway.serving.client import Client
from gateway.serving.holds import AnswerEnded
from gateway.wire import errors
from gateway.wire.answer import Relay
from gateway.wire.shape import Shape


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The end of a stream that has begun."""

    out: bytes
    """The bytes that the client is still to get."""
    error: str | None = None
    """The code of what is wrong with it; None for an answer."""
    trouble: UpstreamError | None = None
    """The break that cut it short."""


async def pass_on(client: Client, stream: Stream, shape: Shape, most: int, request_id: str) -> StreamEnd:
    """Relay until the stream ends. No event may be longer than `most` bytes.

    An answer that is complete is one, however its connection ended: then it gets the end marker from us.
    """
    relay, out = stream.relay, stream.ready
    trouble = UpstreamError("reset", "the stream ended before the answer was complete")
    try:
        if not relay.is_over():
            if out:
                await client.send(out)
            async for chunk in stream.chunks:
                out = relay.feed(chunk)
                if relay.held_bytes > most:
                    out = relay.cut()
                    trouble = UpstreamError("too_large", f"one event is longer than {most:,} bytes")
                    break
                if relay.is_over():
                    break
                if out:
                    await client.send(out)
            else:
                out = relay.finish()
    except UpstreamError as error:
        out, trouble = relay.cut(), error
    except AnswerEnded as ended:
        return StreamEnd(relay.cut() + shape.error_event(ended.error, request_id), ended.error.code)
    if relay.done or relay.error is not None:
        return _told(relay, shape, out, request_id)
    if relay.finished:
        return StreamEnd(out + relay.ending(out))
    failed = errors.upstream_failed(trouble.kind, f"The upstream's stream broke off ({trouble.kind}).")
    return StreamEnd(out + shape.error_event(failed, request_id), failed.code, trouble)


def _told(relay: Relay, shape: Shape, out: bytes, request_id: str) -> StreamEnd:
    """Make sure that the client hears of an error in a stream."""
    error = relay.error
    if error is None:
        return StreamEnd(out)
    if not relay.error_is_shown:
        refused = errors.upstream_refused(error.status, error.body)
        out = out.removesuffix(shape.end) + shape.error_event(refused, request_id)
    return StreamEnd(out, error.code or "upstream_error")

"""A request on its way from one process to another: its body and messages cross apart from the rest. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from gateway.conversation import Message
from gateway.request import Request
from gateway.wire.lexical import Span


def take_apart(request: Request) -> tuple[Request, array[int]]:
    """Return a request without its body, its messages and their places, and those places as numbers."""
    places = request.original
    numbers = array("q", [len(places.wire)])
    for span in (*places.wire, *places.messages):
        numbers.extend(span)
    numbers.extend(places.owners)
    original = places._replace(wire=(), messages=(), owners=())
    return replace(
        request, body=b"", original=original, conversation=replace(request.conversation, messages=())
    ), numbers


def put_together(bare: Request, body: bytes, numbers: array[int], messages: Sequence[Message]) -> Request:
    """Return the request that was taken apart."""
    wire, count = 2 * numbers[0], 2 * len(messages)
    spans = tuple(map(Span, numbers[1::2], numbers[2::2]))
    original = bare.original._replace(
        wire=spans[: wire // 2],
        messages=spans[wire // 2 : (wire + count) // 2],
        owners=tuple(numbers[1 + wire + count :]),
    )
    return replace(
        bare, body=body, original=original, conversation=replace(bare.conversation, messages=tuple(messages))
    )

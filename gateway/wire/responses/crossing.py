"""A request on its way from one process to another: its body and messages cross apart from the rest. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from gateway.conversation import Message
from gateway.request import Request
from gateway.wire.lexical import Span
from gateway.wire.responses.read import item_places


def take_apart(request: Request) -> tuple[Request, array[int]]:
    """Return a request without its body, its messages and their places, and those places as numbers."""
    numbers = array("q", [at for span in request.original.messages for at in span])
    conversation = replace(request.conversation, messages=(), places=())
    return replace(
        request, body=b"", original=request.original._replace(messages=()), conversation=conversation
    ), numbers


def put_together(bare: Request, body: bytes, numbers: array[int], messages: Sequence[Message]) -> Request:
    """Return the request that was taken apart."""
    spans = tuple(map(Span, numbers[::2], numbers[1::2]))
    original = bare.original._replace(messages=spans)
    first = original.instructions
    items = ("input",) if original.is_text else item_places(len(messages) - first)
    whole = replace(bare.conversation, messages=tuple(messages), places=("instructions",) * first + items)
    return replace(bare, body=body, original=original, conversation=whole)

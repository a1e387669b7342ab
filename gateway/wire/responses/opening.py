"""The beginning of a response, until it is known what it is: a stream, a whole response, an error, or none of them.

Pure. As for chat completions, the bytes decide, and a stream is passed on from its first output on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.wire import lenient
from gateway.wire.answer import ErrorAnswer, Nothing, Opened, Streaming
from gateway.wire.chat.opening import Opening
from gateway.wire.chat.relay import EventRelay
from gateway.wire.failures import complaint_in, error_in
from gateway.wire.responses.answer import WholeResponse
from gateway.wire.responses.composing import as_events
from gateway.wire.responses.relay import BEFORE_OUTPUT, ResponseRelay
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.sse import events, fields_of, name_of


class ResponseOpening(Opening):
    """The beginning of one answer."""

    __slots__ = ()

    def __init__(self, *, streamed: bool, hold_back_usage: bool = False, secrets: Secrets = NO_SECRETS) -> None:
        """Take an answer that was asked for as a stream, or whole."""
        super().__init__(streamed=streamed, hold_back_usage=False, secrets=secrets)

    def _new_relay(self) -> EventRelay:
        return ResponseRelay(self._secrets)

    def _take(self, relay: EventRelay, block: bytes) -> Opened | None:
        assert isinstance(relay, ResponseRelay)
        if relay.error is not None:
            return ErrorAnswer(relay.error, relay)
        self._size += len(block)
        if not self._streamed:
            return None if relay.response is None else _whole(relay.response)
        self._parts.append(block)
        if relay.done or any(map(_is_output, events(block))):
            return Streaming(b"".join(self._parts), relay)
        return None

    def _ended(self, relay: EventRelay, message: str) -> Opened:
        return Nothing(message, heard=relay)

    def _judged(self) -> Opened:
        body = b"".join(self._parts)
        fields = lenient.read(body)
        if not isinstance(fields, dict):
            return Nothing("the answer is no response", begun=True)
        whole = WholeResponse(body, fields)
        if (error := error_in(fields)) is not None:
            return ErrorAnswer(error, whole)
        if not isinstance(fields.get("output"), list):
            complaint = complaint_in(fields)
            if complaint is not None:
                return ErrorAnswer(complaint, whole)
            return Nothing("the answer has no output", heard=whole)
        if not self._streamed:
            return whole
        relay = ResponseRelay(self._secrets)
        return Streaming(relay.feed(as_events(fields)), relay)


def _is_output(event: bytes) -> bool:
    """Whether an event is more than the news that a response is under way."""
    name = name_of(event)
    if name is None:
        fields = fields_of(event)
        kind = None if fields is None else fields.get("type")
        return isinstance(kind, str) and kind not in BEFORE_OUTPUT
    return name.decode(errors="replace") not in BEFORE_OUTPUT


def _whole(fields: Mapping[str, Any]) -> WholeResponse:
    return WholeResponse(lenient.write(fields), fields)

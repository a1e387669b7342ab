"""The beginning of a message, until it is known what it is: a stream, a whole message, an error, or none of them.

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
from gateway.wire.messages.answer import WholeMessage
from gateway.wire.messages.composing import EventGathering, streamed_events
from gateway.wire.messages.relay import MessageRelay
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.sse import events, fields_of


class MessageOpening(Opening):
    """The beginning of one answer."""

    __slots__ = ("_message",)

    def __init__(self, *, streamed: bool, hold_back_usage: bool = False, secrets: Secrets = NO_SECRETS) -> None:
        """Take an answer that was asked for as a stream, or whole."""
        super().__init__(streamed=streamed, hold_back_usage=False, secrets=secrets)
        self._message = EventGathering()

    def _new_relay(self) -> EventRelay:
        return MessageRelay(self._secrets)

    def _take(self, relay: EventRelay, block: bytes) -> Opened | None:
        if relay.error is not None:
            return ErrorAnswer(relay.error, relay)
        self._size += len(block)
        for fields in filter(None, map(fields_of, events(block))):
            if self._streamed and _is_output(fields):
                return Streaming(b"".join([*self._parts, block]), relay)
            self._message.add(fields)
        if self._streamed:
            self._parts.append(block)
        return _whole(self._message.message()) if self._message.is_over else None

    def _ended(self, relay: EventRelay, message: str) -> Opened:
        if not self._streamed and relay.finished:
            return _whole(self._message.message())
        return Nothing(message, heard=relay)

    def _judged(self) -> Opened:
        body = b"".join(self._parts)
        fields = lenient.read(body)
        if not isinstance(fields, dict):
            return Nothing("the answer is no message", begun=True)
        whole = WholeMessage(body, fields)
        if (error := error_in(fields)) is not None:
            return ErrorAnswer(error, whole)
        if not isinstance(fields.get("content"), list):
            complaint = None if whole.usage else complaint_in(fields)
            if complaint is not None:
                return ErrorAnswer(complaint, whole)
            return Nothing("the answer has no content", heard=whole)
        if not self._streamed:
            return whole
        relay = MessageRelay(self._secrets)
        return Streaming(relay.feed(streamed_events(fields)), relay)


def _is_output(fields: Mapping[str, Any]) -> bool:
    """Whether an event is more than the news that a message, or a block of words, has begun."""
    match fields:
        case {"type": "message_start" | "ping" | "content_block_stop"}:
            return False
        case {"type": "content_block_start", "content_block": {"type": "text" | "thinking"}}:
            return False
    return True


def _whole(fields: Mapping[str, Any]) -> WholeMessage:
    return WholeMessage(lenient.write(fields), fields)

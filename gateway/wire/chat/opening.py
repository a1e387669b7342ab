"""The beginning of an answer, until it is known what it is: a stream, a whole answer, an error, or none of them.

Pure: bytes in, a value out. The bytes decide, whatever the content type says: an object is a whole answer or an error,
events are a stream. A stream is passed on from its first output on. Until then nothing of it has reached the client, so
that an error in it, or its end, is a failure like any other, and another deployment may be asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from gateway.wire import lenient
from gateway.wire.answer import ErrorAnswer, Nothing, Opened, Streaming
from gateway.wire.chat.completion import Completion
from gateway.wire.chat.output import has_output
from gateway.wire.chat.relay import KEEP_BYTES, EventRelay
from gateway.wire.chat.reshaping import Gathering, as_stream
from gateway.wire.failures import ErrorObject, complaint_in, error_in
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.sse import events, fields_of

_BOM: Final = b"\xef\xbb\xbf"
_HEARTBEATS: Final = re.compile(rb"(?:[ \t\r\n]+|:[^\r\n]*[\r\n])*")
"""Empty lines and comments: how servers keep a connection that has nothing to say yet."""
_FIELD: Final = re.compile(rb"(?:data|event|id|retry)?:")
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:")
_STRANGE: Final = "the answer is neither an object nor a stream of events"


class Opening:
    """The beginning of one answer."""

    __slots__ = (
        "_complaint",
        "_gathering",
        "_hold_back",
        "_kind",
        "_parts",
        "_relay",
        "_secrets",
        "_size",
        "_streamed",
    )

    def __init__(self, *, streamed: bool, hold_back_usage: bool, secrets: Secrets = NO_SECRETS) -> None:
        """Take an answer that was asked for as a stream, or whole; the others are for a stream (`EventRelay`)."""
        self._secrets = secrets
        self._streamed, self._hold_back = streamed, hold_back_usage and streamed
        self._kind: Literal["unknown", "object", "events"] = "unknown"
        self._parts: list[bytes] = []  # what is not yet recognised, of an object, or ready of a stream
        self._size = 0
        self._relay: EventRelay | None = None
        self._gathering: Gathering | None = None
        self._complaint: ErrorObject | None = None

    @property
    def held_bytes(self) -> int:
        """The bytes that are held of the answer: all of a whole one, of a stream those not passed on yet."""
        return self._size if self._relay is None else self._size + self._relay.held_bytes

    @property
    def heard(self) -> EventRelay | None:
        """The answer so far, where it comes as a stream."""
        return self._relay

    def feed(self, chunk: bytes) -> Opened | None:
        """Take bytes from upstream; None where it is not yet known what they are."""
        if self._kind == "unknown":
            chunk = self._recognised(chunk)
            if self._kind == "unknown":
                return Nothing(_STRANGE) if chunk else None
        if self._relay is None:
            self._parts.append(chunk)
            self._size += len(chunk)
            return None
        return self._take(self._relay, self._relay.feed(chunk))

    def finish(self) -> Opened:
        """Say what it was, at a clean end."""
        relay = self._relay
        if relay is None:
            return self._judged() if self._kind == "object" else Nothing(_STRANGE if self._parts else "it is empty")
        return self._take(relay, relay.finish()) or self._ended(relay, "the stream ended before it was complete")

    def cut(self, message: str) -> Opened:
        """Say what it was where the connection broke: an answer that is complete is one, however it ended."""
        if self._relay is not None:
            return self._ended(self._relay, message)
        if self._kind == "unknown":
            return Nothing(message)
        found = self._judged()
        return Nothing(message, begun=True) if isinstance(found, Nothing) and found.heard is None else found

    def given_up(self, message: str) -> Nothing:
        """Say what it was where it is too long to be held. It was written all the same, and is paid for."""
        return Nothing(message, begun=self._kind == "object", heard=self._relay)

    def _new_relay(self) -> EventRelay:
        return EventRelay(self._hold_back, self._secrets)

    def _recognised(self, chunk: bytes) -> bytes:
        """Settle what the bytes are; return those that count, or those in which nobody could recognise anything."""
        head = chunk if not self._parts else b"".join(self._parts) + chunk
        if not head.startswith((b"{", b"data:")):
            head = head.removeprefix(_BOM)
            beats = _HEARTBEATS.match(head)
            head = head[beats.end() :] if beats is not None else head
        self._parts = []
        if head.startswith((b"{", b"[")):
            self._kind = "object"
            return head
        if _FIELD.match(head) and not head.startswith(b":"):
            self._kind, self._relay = "events", self._new_relay()
            self._gathering = None if self._streamed else Gathering()
            return head
        if not head or head.startswith(b":") or any(start.startswith(head) for start in (_BOM, *_FIELDS)):
            self._parts = [head[-KEEP_BYTES:]] if head else []
            return b""
        return head

    # --- events

    def _take(self, relay: EventRelay, block: bytes) -> Opened | None:
        if relay.error is not None:
            return ErrorAnswer(relay.error, relay)
        for event in events(block):
            if (fields := fields_of(event)) is not None and (found := self._heed(relay, fields, block)) is not None:
                return found
        self._size += len(block)
        if self._gathering is None and block:
            self._parts.append(block)
            if self._size > KEEP_BYTES:
                return Streaming(b"".join(self._parts), relay)
        return self._ended(relay, "the stream ended before the model said anything") if relay.done else None

    def _heed(self, relay: EventRelay, fields: dict[str, Any], block: bytes) -> Opened | None:
        """Take in one event; return what it settles."""
        if self._gathering is None and _first_choice_has(fields, "message", "delta"):
            self._gathering = Gathering()  # a whole answer, whose usage may come in an event of its own
        if self._gathering is not None:
            self._gathering.add(fields)
        elif has_output(fields):
            return Streaming(b"".join([*self._parts, block]), relay)
        if not fields.get("choices"):
            self._complaint = complaint_in(fields) or self._complaint
        return None

    def _ended(self, relay: EventRelay, message: str) -> Opened:
        """Say what a stream was in which nothing was settled until its end."""
        if self._gathering is not None and relay.finished:
            whole = self._gathering.completion()
            if whole.fields["choices"] and self._streamed:
                fields = {**whole.fields, "usage": relay.usage}  # held back, it was not gathered
                return self._of_object(Completion(lenient.write(fields), fields))
            if whole.fields["choices"]:
                return whole
        return Nothing(message, heard=relay) if self._complaint is None else ErrorAnswer(self._complaint, relay)

    # --- an object

    def _judged(self) -> Opened:
        body = b"".join(self._parts)
        fields = lenient.read(body)
        if isinstance(fields, list) and fields:
            fields = fields[0]
        if not isinstance(fields, dict):
            return Nothing("the answer is no chat completion", begun=True)
        return self._of_object(Completion(body, fields))

    def _of_object(self, whole: Completion) -> Opened:
        fields = whole.fields
        if (error := error_in(fields)) is not None:
            return ErrorAnswer(error, whole)
        choices = fields.get("choices")
        if not isinstance(choices, list) or not choices:
            complaint = None if whole.usage else complaint_in(fields)
            return (
                Nothing("the answer has no choices", heard=whole)
                if complaint is None
                else ErrorAnswer(complaint, whole)
            )
        if not self._streamed:
            return _gathered(whole) if _first_choice_has(fields, "delta", "message") else whole
        relay = EventRelay(self._hold_back, self._secrets)
        return Streaming(relay.feed(as_stream(whole)), relay)


def _first_choice_has(fields: Mapping[str, Any], name: str, other: str) -> bool:
    """Whether the choices hold a delta, as those of a stream do, or a message, as those of a whole answer."""
    choices = fields.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and isinstance(first.get(name), dict) and first.get(other) is None


def _gathered(chunk: Completion) -> Completion:
    gathering = Gathering()
    gathering.add(chunk.fields)
    return gathering.completion()

"""The answer of a deployment that was asked for a chat completion, as the answer to a request in another shape. Pure.

Chat's own listener reads it: what it is, how it fails, what it used. Only the bytes for the client are others: those
that the shape's `Translating` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.request import Said
from gateway.wire import lenient
from gateway.wire.answer import FirstChoice, Opened, Relay, Streaming
from gateway.wire.chat.completion import Completion
from gateway.wire.chat.opening import Opening
from gateway.wire.failures import ErrorObject
from gateway.wire.secrets import Secrets
from gateway.wire.sse import events, fields_of


class Translating(Protocol):
    """The way from chunks, or a whole chat completion, to another shape's answer."""

    def whole(self, fields: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return a whole chat completion as a whole answer."""

    def take(self, fields: Mapping[str, Any], /) -> bytes:
        """Take in a chunk; return the events to pass on now."""

    def end(self, usage: Mapping[str, Any] | None, /) -> bytes:
        """Return the events that end the stream, whose usage this is."""


class ChatListener:
    """The beginning of one answer."""

    __slots__ = ("_opening", "_translation")

    def __init__(self, translation: Translating, *, streamed: bool, secrets: Secrets) -> None:
        """Take an answer that was asked for as a stream, or whole."""
        self._translation = translation
        self._opening = Opening(streamed=streamed, hold_back_usage=False, secrets=secrets)

    @property
    def held_bytes(self) -> int:
        """The bytes that are held of the answer."""
        return self._opening.held_bytes

    @property
    def heard(self) -> Relay | None:
        """The answer so far, where it comes as a stream."""
        return self._opening.heard

    def feed(self, chunk: bytes) -> Opened | None:
        """Take bytes from upstream; None where it is not yet known what they are."""
        opened = self._opening.feed(chunk)
        return None if opened is None else self._translated(opened)

    def finish(self) -> Opened:
        """Say what it was, at a clean end."""
        return self._translated(self._opening.finish())

    def cut(self, message: str) -> Opened:
        """Say what it was, where it broke off."""
        return self._translated(self._opening.cut(message))

    def given_up(self, message: str) -> Opened:
        """Say what it was, where nobody reads on."""
        return self._opening.given_up(message)

    def _translated(self, opened: Opened) -> Opened:
        if isinstance(opened, Streaming):
            relay = TranslatedRelay(opened.relay, self._translation)
            return Streaming(relay.translated(opened.ready), relay)
        if isinstance(opened, Completion):
            return TranslatedAnswer(opened, lenient.write(self._translation.whole(opened.fields)))
        return opened


@dataclass(frozen=True, slots=True)
class TranslatedAnswer:
    """A whole answer. What it used and said is read from the chat completion that came."""

    came: Completion
    body: bytes

    usage_is_early = False
    finished = True

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The usage that it states."""
        return self.came.usage

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""
        return self.came.service_tier

    @property
    def heard_bytes(self) -> int:
        """The length of what came."""
        return self.came.heard_bytes

    def said_bytes(self) -> int:
        """Return the size of all that the model said."""
        return self.came.said_bytes()

    def seen_text(self) -> str:
        """Join what the model said."""
        return self.came.seen_text()

    def grown(self, tokens: int) -> int:
        """Scale a count of `seen_text` to all that was said."""
        return tokens

    def said(self) -> Said:
        """Return what the model said."""
        return self.came.said()

    def first(self) -> FirstChoice:
        """Return its answer."""
        return self.came.first()


class TranslatedRelay:
    """A stream of chunks on its way through, which leaves as events of another shape."""

    __slots__ = ("_came", "_is_ended", "_translation", "passes_long_events")

    def __init__(self, came: Relay, translation: Translating) -> None:
        """Take the stream as it comes."""
        self._came, self._translation, self._is_ended = came, translation, False
        self.passes_long_events = False
        """Of no effect: an event is translated once it is complete."""

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The usage that it states."""
        return self._came.usage

    @property
    def usage_is_early(self) -> bool:
        """Whether that came while the answer was still being written."""
        return self._came.usage_is_early

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self._came.finished

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""
        return self._came.service_tier

    @property
    def heard_bytes(self) -> int:
        """The bytes that have come of it."""
        return self._came.heard_bytes

    @property
    def held_bytes(self) -> int:
        """The bytes that have come of an event that is not complete."""
        return self._came.held_bytes

    @property
    def done(self) -> bool:
        """Whether its end marker was seen."""
        return self._came.done

    @property
    def error(self) -> ErrorObject | None:
        """The last error in it."""
        return self._came.error

    @property
    def error_is_shown(self) -> bool:
        """Never: it is told in this shape's own event."""
        return False

    def said_bytes(self) -> int:
        """Return the size of all that the model has said so far."""
        return self._came.said_bytes()

    def seen_text(self) -> str:
        """Join what the model has said so far."""
        return self._came.seen_text()

    def grown(self, tokens: int) -> int:
        """Scale a count of `seen_text` to all that was said."""
        return self._came.grown(tokens)

    def said(self) -> Said:
        """Return what is kept of what the model has said so far."""
        return self._came.said()

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from upstream; return the events to pass on now."""
        return self.translated(self._came.feed(chunk))

    def finish(self) -> bytes:
        """Return what is left at a clean end of the stream."""
        return self.translated(self._came.finish())

    def cut(self) -> bytes:
        """Return nothing: no part of an event was passed on."""
        return b""

    def ending(self, rest: bytes) -> bytes:
        """Return what ends a complete answer that came without an end marker."""
        return self._end()

    def is_over(self) -> bool:
        """Tell whether nothing more is awaited."""
        return self._came.done or self._came.error is not None

    def translated(self, block: bytes) -> bytes:
        """Turn whole events of a chat into those of the shape."""
        out: list[bytes] = []
        for event in events(block):
            fields = fields_of(event)
            if fields is not None and not fields.get("error"):
                out.append(self._translation.take(fields))
        if self._came.done and self._came.error is None:
            out.append(self._end())
        return b"".join(out)

    def _end(self) -> bytes:
        if self._is_ended:
            return b""
        self._is_ended = True
        return self._translation.end(self._came.usage)

"""Lines of recorded traffic in the shape of chat completions: a request, or a conversation of many requests. Pure.

A conversation is kept once, however many of its requests are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.conversation import Message
from gateway.wire.chat.read import message_of
from gateway.wire.lexical import Span, array_spans, object_spans, value

_KEPT: Final = ("tools", "functions", "response_format", "max_tokens", "max_completion_tokens")
"""Members beside the messages of a conversation that its requests had too."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request, as a part of a line and what stands around it."""

    _source: bytes
    _span: Span
    _around: tuple[bytes, bytes] = (b"", b"")

    @property
    def body(self) -> bytes:
        """The request as it was sent, or as it must have been."""
        before, after = self._around
        return before + self._source[self._span.start : self._span.end] + after


@dataclass(frozen=True, slots=True)
class RecordedConversation:
    """A conversation that runs to the end."""

    _source: bytes
    _places: tuple[Span, ...]
    _around: tuple[bytes, bytes]
    whole: bytes
    """A request with all of its messages."""

    def request(self, messages: int) -> RecordedRequest:
        """Return the request that its first messages were."""
        span = Span(self._places[0].start, self._places[messages - 1].end)
        return RecordedRequest(self._source, span, self._around)


@dataclass(frozen=True, slots=True)
class RecordedLine:
    """An object of JSON with a request in it, or with a conversation."""

    _source: bytes
    _whole: Span
    _spans: dict[str, Span]

    @classmethod
    def read(cls, line: bytes) -> RecordedLine:
        """Read a line. Raises UnicodeDecodeError, NotJSON, and DuplicateKey."""
        line.decode()
        return cls(line, Span(0, len(line)), object_spans(line))

    def __contains__(self, key: str) -> bool:
        return key in self._spans

    def value(self, key: str) -> Any:
        """Read a member."""
        return value(self._raw(key))

    def message(self, key: str) -> Message | None:
        """Read a member that is a message; None where there is none."""
        fields = self.value(key) if key in self._spans else None
        return message_of(fields) if isinstance(fields, dict) else None

    def within(self, key: str) -> RecordedLine:
        """Read a member that is an object. Raises NotJSON, and DuplicateKey."""
        start = self._spans[key].start
        spans = {name: Span(start + at, start + end) for name, (at, end) in object_spans(self._raw(key)).items()}
        return RecordedLine(self._source, self._spans[key], spans)

    @property
    def ends_in_an_answer(self) -> bool:
        """True if its last message is the assistant's."""
        within = self._spans["messages"]
        if not self._source.startswith(b"[", within.start):
            return False
        places = array_spans(self._source, within)
        last = value(self._source[slice(*places[-1])]) if places else None
        return isinstance(last, dict) and last.get("role") == "assistant"

    def request(self, model: str | None = None) -> RecordedRequest:
        """Return it as a request; to `model`, where it names none."""
        if model is None:
            return RecordedRequest(self._source, self._whole)
        start = self._source.index(b"{", self._whole.start) + 1
        return RecordedRequest(self._source, Span(start, self._whole.end), (_opening(model) + b",", b""))

    def conversation(self, model: str) -> RecordedConversation:
        """Return it as a conversation with a model."""
        beside = b"".join(
            b',"%b":%b' % (key.encode(), self._raw(key))
            for key in _KEPT
            if key in self._spans and self._raw(key) != b"null"
        )
        around = (_opening(model) + b',"messages":[', b"]" + beside + b"}")
        within = self._spans["messages"]
        whole = around[0][:-1] + self._raw("messages") + around[1][1:]
        places = (
            tuple(array_spans(self._source, within)) if self._source[within.start : within.start + 1] == b"[" else ()
        )
        return RecordedConversation(self._source, places, around, whole)

    def _raw(self, key: str) -> bytes:
        return self._source[slice(*self._spans[key])]


def _opening(model: str) -> bytes:
    return b'{"model":' + orjson.dumps(model)

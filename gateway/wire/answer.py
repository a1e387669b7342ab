"""Answers as rooms outside `wire/` see them, whatever shape they are in: as they are told apart, and what they say.

Values, protocols, and what whole answers of several shapes have in common. Each shape listens in a folder of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gateway.request import Said
from gateway.wire import lenient
from gateway.wire.failures import ErrorObject


class Heard(Protocol):
    """An answer, streamed or whole, as far as it is here."""

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The usage that it states, for `wire/usage.py` to read."""

    @property
    def usage_is_early(self) -> bool:
        """True if that came while the answer was still being written: it may be a placeholder."""

    @property
    def finished(self) -> bool:
        """True if the answer is complete. Ask only at the end."""

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""

    @property
    def heard_bytes(self) -> int:
        """The bytes that have come of it."""

    def said_bytes(self) -> int:
        """Return the size of all that the model said."""

    def seen_text(self) -> str:
        """Join what the model said, for counting an answer that came without usage. `grown` scales its count."""

    def grown(self, tokens: int, /) -> int:
        """Scale a count of `seen_text` to all that was said."""

    def said(self) -> Said:
        """Return what is kept of the words to the caller."""


@runtime_checkable
class StoredAnswer(Protocol):
    """An answer of which parts are kept by the provider."""

    @property
    def stored(self) -> Sequence[str]:
        """The ids under which they are kept."""

    @property
    def is_under_way(self) -> bool:
        """True if it is still being written, whether or not anybody waits for it."""


@dataclass(frozen=True, slots=True)
class FirstChoice:
    """The first of the answers in a whole answer."""

    text: str | None
    """None where there is none."""
    finish_reason: object = None
    """As the upstream says it."""


class WholeAnswer(Heard, Protocol):
    """An answer that is all here."""

    @property
    def body(self) -> bytes:
        """Its bytes, which are passed on as they came."""

    def first(self) -> FirstChoice:
        """Return the first of its answers."""


@dataclass(frozen=True, slots=True)
class WordedAnswer(ABC):
    """A whole answer whose words stand in a list: of blocks, or of items. Its bytes are passed on as they came."""

    body: bytes
    fields: Mapping[str, Any]

    usage_is_early = False
    finished = True

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The usage that it states."""
        usage = self.fields.get("usage")
        return usage if isinstance(usage, dict) else None

    @property
    def heard_bytes(self) -> int:
        """The length of the answer."""
        return len(self.body)

    @abstractmethod
    def words(self) -> Iterator[tuple[str, str]]:
        """Yield the texts in it, each with its kind: text, refusal, reasoning or arguments."""

    @abstractmethod
    def is_cut(self) -> bool:
        """Whether a limit ended it."""

    def said_bytes(self) -> int:
        """Return the size of all that the model said."""
        return len(self.seen_text().encode("utf-8", "surrogatepass"))

    def seen_text(self) -> str:
        """Join what the model said, for counting an answer that came without usage."""
        return lenient.join_halves("\n".join([text for _, text in self.words()]))

    def grown(self, tokens: int) -> int:
        """Scale a count of `seen_text` to all that was said: here that is all of it."""
        return tokens

    def said(self) -> Said:
        """Return what the model said. Total: what has an unexpected shape says nothing."""
        found = list(self.words())
        text = "\n".join([text for kind, text in found if kind == "text"])
        return Said((text,) if text else (), tuple([text for kind, text in found if kind == "arguments"]))

    def first(self) -> FirstChoice:
        """Return its answer."""
        texts = self.said().texts
        return FirstChoice(texts[0] if texts else None, "length" if self.is_cut() else "stop")


class Relay(Heard, Protocol):
    """A stream on its way through."""

    passes_long_events: bool
    """True if an event may be passed on before it is complete. Set it once nothing but the client reads them."""

    @property
    def held_bytes(self) -> int:
        """The bytes that have come of an event that is not complete."""

    @property
    def done(self) -> bool:
        """True if its end marker was seen."""

    @property
    def error(self) -> ErrorObject | None:
        """The last error in it."""

    @property
    def error_is_shown(self) -> bool:
        """True if that stands where clients look for one."""

    def feed(self, chunk: bytes, /) -> bytes:
        """Take bytes from upstream; return the complete events to pass on now."""

    def finish(self) -> bytes:
        """Return what is left at a clean end of the stream."""

    def cut(self) -> bytes:
        """Return what ends an event of which a part was passed on, where the stream breaks off."""

    def ending(self, rest: bytes, /) -> bytes:
        """Return what makes a complete answer that ended without the marker end as a stream does, behind `rest`."""

    def is_over(self) -> bool:
        """Tell whether nothing more is awaited."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """A stream in which the model has begun to speak."""

    ready: bytes
    """The bytes that the client gets now."""
    relay: Relay
    """The reader of the rest, for an answer that is not `done`; it has seen what is ready."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An upstream's own error, in an answer whose status was good."""

    error: ErrorObject
    heard: Heard


@dataclass(frozen=True, slots=True)
class Nothing:
    """No answer: nothing that could be one came, or it broke off before it was one."""

    message: str
    begun: bool = False
    """Whether a whole answer had begun to arrive: it was written, and is paid for."""
    heard: Heard | None = None


Opened = Streaming | WholeAnswer | ErrorAnswer | Nothing


class Listener(Protocol):
    """The reader of the beginning of an answer, until it is known what it is."""

    @property
    def held_bytes(self) -> int:
        """The bytes that are held of the answer: all of a whole one, of a stream those not passed on yet."""

    @property
    def heard(self) -> Heard | None:
        """The answer so far, where it comes as a stream."""

    def feed(self, chunk: bytes, /) -> Opened | None:
        """Take bytes from upstream; None where it is not yet known what they are."""

    def finish(self) -> Opened:
        """Say what it was, at a clean end."""

    def cut(self, message: str, /) -> Opened:
        """Say what it was, where it broke off."""

    def given_up(self, message: str, /) -> Opened:
        """Say what it was, where nobody reads on."""

"""What the state holds of summaries, and what one request is planned with of it.

Values lie under hashes: texts, which texts a fold took in, and who writes one. Each is written once and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from gateway.memory import Memory
from gateway.rewriting.folds.summarize import Event
from gateway.state.codec import Codec, flag, number, text
from gateway.state.store import Store

_LONGEST: Final = 1_000_000
"""Characters of a summary that is read."""

V = TypeVar("V")


class Lease(NamedTuple):
    """Who writes a summary, or that nobody is to."""

    until: float
    by: str
    rests: bool


class Seen(Generic[V]):
    """What one request is planned with, by key: as this process remembers it, else as the state said.

    It holds what it once told, whatever other requests learn meanwhile.
    """

    def __init__(self, remembered: Memory[str, V]) -> None:
        self._remembered = remembered
        self._told: dict[str, V | None] = {}
        self.read: set[str] = set()
        """Keys that the state was asked for."""

    def get(self, key: str, /) -> V | None:
        if key not in self._told:
            self._told[key] = self._remembered.get(key)
        return self._told[key]

    def take(self, key: str, value: V | None, size: int) -> bool:
        """Take in what the state says; whether that is something else than was told."""
        is_new = self._told.get(key) != value
        self._told[key] = value
        self.read.add(key)
        if value is not None:
            self._remembered.put(key, value, size)
        return is_new

    def recalled(self) -> list[tuple[str, V]]:
        """List what was told without asking the state."""
        return [(key, value) for key, value in self._told.items() if value is not None and key not in self.read]


@dataclass(frozen=True, slots=True)
class OrNothing:
    """Decisions, where a fold that nobody could be asked about takes in nothing."""

    decisions: Seen[tuple[str, ...]]

    def get(self, key: str, /) -> tuple[str, ...]:
        return self.decisions.get(key) or ()


@dataclass(frozen=True, slots=True)
class Found:
    """A value of the state, under its name; None where there is none."""

    name: str
    text: str | None = None
    decision: tuple[str, ...] | None = None


@dataclass(slots=True)
class Knowledge:
    """What is read from the state for one request."""

    texts: Seen[str]
    decisions: Seen[tuple[str, ...]]

    def unread(self, events: Sequence[Event]) -> list[str]:
        """List what to ask for: decisions that nobody remembers, and the texts that they are, or would be, about."""
        out: list[str] = []
        for event in events:
            decided = self.decisions.get(event.prefix)
            if decided is None and event.prefix not in self.decisions.read:
                out.append(decision_key(event.prefix))
            texts = event.candidates if decided is None else decided
            out += (text_key(key) for key in texts if key not in self.texts.read and self.texts.get(key) is None)
        return list(dict.fromkeys(out))

    def take(self, found: Iterable[Found]) -> bool:
        """Take in values of the state; whether any of them is news."""
        news = False
        for one in found:
            kind, _, key = one.name.rpartition("/")
            if kind == _TEXT:
                news |= self.texts.take(key, one.text, 2 * len(one.text or ""))
            else:
                news |= self.decisions.take(key, one.decision, 80 * len(one.decision or ()))
                # Whoever decided had these texts: what was not there a moment ago is asked for once more.
                self.texts.read -= {name for name in one.decision or () if self.texts.get(name) is None}
        return news

    def recalled(self) -> list[Found]:
        """List what was planned with and not asked for."""
        texts = (Found(text_key(key), text=text) for key, text in self.texts.recalled())
        return [*texts, *(Found(decision_key(key), decision=one) for key, one in self.decisions.recalled())]

    def undecided(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if self.decisions.get(event.prefix) is None]


def read_found(store: Store, name: str, raw: bytes | None) -> Found:
    """Read a value of the state."""
    if name.startswith(_TEXT):
        return Found(name, text=store.understood(TEXTS, raw))
    return Found(name, decision=store.understood(DECISIONS, raw))


_TEXT, _DECISION, _LEASE = "summary", "decision", "summarising"


def text_key(key: str) -> str:
    return f"{_TEXT}/{key}"


def decision_key(prefix: str) -> str:
    return f"{_DECISION}/{prefix}"


def lease_key(key: str) -> str:
    return f"{_LEASE}/{key}"


# ---------------------------------------------------------------- as JSON


def _plain_text(raw: bytes) -> str:
    """Read a summary as it was written before it had a version: as it stands."""
    found = text(raw.decode(), _LONGEST)
    if not found or any(char < " " and char not in "\n\t" for char in found):
        raise ValueError("no model writes this")
    return found


def _names(said: Any) -> tuple[str, ...]:
    return tuple([text(name, 200) for name in said])


def _plain_names(raw: bytes) -> tuple[str, ...]:
    """Read a decision as it was written before it had a version: names, with a space between them."""
    if not re.fullmatch(rb"[\w.:/-]{0,200}(?: [\w.:/-]{0,200})*", raw):
        raise ValueError("these are no names")
    return tuple(raw.decode().split())


def _lease_of(said: Any) -> Lease:
    until, by, rests = said
    return Lease(number(until), text(by, 100), flag(rests))


TEXTS: Final = Codec("summary", 1, str, partial(text, longest=_LONGEST), earlier=_plain_text)
DECISIONS: Final = Codec("what a fold took in", 1, list, _names, earlier=_plain_names)
LEASES: Final = Codec("summary that is being written", 1, list, _lease_of)

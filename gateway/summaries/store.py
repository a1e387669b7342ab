"""The values of summaries in the state, and the part of them with which one request is planned.

Values have hashes as keys: texts, the texts that a fold used, and the lease of a job. Each is written once and stays.
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
    """The process that writes a summary, or a pause for all."""

    until: float
    by: str
    rests: bool


class Snapshot(Generic[V]):
    """The values with which one request is planned, by key: remembered by this process, else read from the state.

    A value never changes once it was returned, even if other requests learn another.
    """

    def __init__(self, remembered: Memory[str, V]) -> None:
        self._remembered = remembered
        self._values: dict[str, V | None] = {}
        self.read: set[str] = set()
        """Keys that the state was asked for."""

    def get(self, key: str, /) -> V | None:
        if key not in self._values:
            self._values[key] = self._remembered.get(key)
        return self._values[key]

    def take(self, key: str, value: V | None, size: int) -> bool:
        """Set a value from the state. Return True if it differs from the one returned before."""
        is_new = self._values.get(key) != value
        self._values[key] = value
        self.read.add(key)
        if value is not None:
            self._remembered.put(key, value, size)
        return is_new

    def from_memory(self) -> list[tuple[str, V]]:
        """List the values that were returned without asking the state."""
        return [(key, value) for key, value in self._values.items() if value is not None and key not in self.read]


@dataclass(frozen=True, slots=True)
class EmptyIfUnknown:
    """Decisions for an unavailable state: a fold without a known decision uses no summary."""

    decisions: Snapshot[tuple[str, ...]]

    def get(self, key: str, /) -> tuple[str, ...]:
        return self.decisions.get(key) or ()


@dataclass(frozen=True, slots=True)
class StateValue:
    """A value of the state, under its name; None if there is none."""

    name: str
    text: str | None = None
    decision: tuple[str, ...] | None = None


@dataclass(slots=True)
class Knowledge:
    """The values that are read from the state for one request."""

    texts: Snapshot[str]
    decisions: Snapshot[tuple[str, ...]]

    def missing(self, events: Sequence[Event]) -> list[str]:
        """List the names to ask for: unknown decisions, and the texts that they use or could use."""
        out: list[str] = []
        for event in events:
            decided = self.decisions.get(event.prefix)
            if decided is None and event.prefix not in self.decisions.read:
                out.append(decision_key(event.prefix))
            texts = event.candidates if decided is None else decided
            out += (text_key(key) for key in texts if key not in self.texts.read and self.texts.get(key) is None)
        return list(dict.fromkeys(out))

    def take(self, values: Iterable[StateValue]) -> bool:
        """Set values from the state. Return True if any of them is new."""
        news = False
        for one in values:
            kind, _, key = one.name.rpartition("/")
            if kind == _TEXT:
                news |= self.texts.take(key, one.text, 2 * len(one.text or ""))
            else:
                news |= self.decisions.take(key, one.decision, 80 * len(one.decision or ()))
                # Whoever decided had these texts: what was not there a moment ago is asked for once more.
                self.texts.read -= {name for name in one.decision or () if self.texts.get(name) is None}
        return news

    def from_memory(self) -> list[StateValue]:
        """List the values that were used and not asked for."""
        texts = (StateValue(text_key(key), text=text) for key, text in self.texts.from_memory())
        return [*texts, *(StateValue(decision_key(key), decision=one) for key, one in self.decisions.from_memory())]

    def undecided(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if self.decisions.get(event.prefix) is None]


def read_value(store: Store, name: str, raw: bytes | None) -> StateValue:
    """Read a value of the state."""
    if name.startswith(_TEXT):
        return StateValue(name, text=store.understood(TEXTS, raw))
    return StateValue(name, decision=store.understood(DECISIONS, raw))


_TEXT, _DECISION, _LEASE = "summary", "decision", "summarising"


def text_key(key: str) -> str:
    return f"{_TEXT}/{key}"


def decision_key(prefix: str) -> str:
    return f"{_DECISION}/{prefix}"


def lease_key(key: str) -> str:
    return f"{_LEASE}/{key}"


# ---------------------------------------------------------------- as JSON


def _plain_text(raw: bytes) -> str:
    """Read a summary in its format before versions: as it is."""
    summary = text(raw.decode(), _LONGEST)
    if not summary or any(char < " " and char not in "\n\t" for char in summary):
        raise ValueError("no model writes this")
    return summary


def _names(data: Any) -> tuple[str, ...]:
    return tuple([text(name, 200) for name in data])


def _plain_names(raw: bytes) -> tuple[str, ...]:
    """Read a decision in its format before versions: names, with a space between them."""
    if not re.fullmatch(rb"[\w.:/-]{0,200}(?: [\w.:/-]{0,200})*", raw):
        raise ValueError("these are no names")
    return tuple(raw.decode().split())


def _lease_of(data: Any) -> Lease:
    until, by, rests = data
    return Lease(number(until), text(by, 100), flag(rests))


TEXTS: Final = Codec("summary", 1, str, partial(text, longest=_LONGEST), earlier=_plain_text)
DECISIONS: Final = Codec("what a fold took in", 1, list, _names, earlier=_plain_names)
LEASES: Final = Codec("summary that is being written", 1, list, _lease_of)

"""Which lines of system texts change from request to request, seen here and told to the state, for the report.

The texts stay in this process; what is told are counts, and the constant beginnings of lines
(prompt_cache/system_texts.py).
Nothing that is sent depends on any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.conversation import Conversation, leading_system
from gateway.memory import USUAL, Memory
from gateway.prompt_cache.system_texts import (
    LONGEST_TEXT,
    MOST_FAMILIES,
    Family,
    Head,
    Heads,
    Prompts,
    Suggestion,
    added,
    from_json,
    suggestions,
    to_json,
)
from gateway.state import State
from gateway.state.codec import Codec, Unreadable
from gateway.state.shared import Shared

KEY: Final = "prompt_caches/heads/1"

_COPIES: Final = 16
"""Bytes a character of a prompt takes at most, with its lines and its like (`heads.MOST_PROMPTS`)."""


@dataclass(slots=True)
class _Last:
    """The last system text that somebody sent, and how often it came again."""

    family: Family
    text: str
    again: int = 0


class SystemTexts:
    """What one process sees of the system texts of its requests."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("system texts")) -> None:
        self._prompts: Memory[Family, Prompts] = Memory(most_bytes)
        self._seen: dict[Family, Head] = {}
        self._last: dict[tuple[str, str, str], _Last] = {}

    def note(self, conversation: Conversation, team: str, policy: str, model: str) -> None:
        """Compare a request's leading system text with the one before it."""
        messages = conversation.messages
        texts = [message.text for message in messages[: leading_system(messages)]]
        text = texts[0] if len(texts) == 1 else "\n".join(texts)
        asked = team, policy, model
        last = self._last.get(asked)
        if last is not None and last.text == text:
            last.again += 1
            return
        if not text or len(text) > LONGEST_TEXT:
            return
        family = Family(*asked, text.count("\n") + 1)
        self._see(family, text)
        if last is not None:
            self._count(last)
        elif len(self._last) >= MOST_FAMILIES:
            self._last.clear()
        self._last[asked] = _Last(family, text)

    def take(self) -> dict[Family, Head]:
        """Hand over what was seen since the last time."""
        for last in self._last.values():
            self._count(last)
        seen, self._seen = self._seen, {}
        return seen

    def _see(self, family: Family, text: str) -> None:
        prompts = self._prompts.get(family) or Prompts()
        self._add(family, prompts.compared(text))
        self._prompts.put(family, prompts, _COPIES * len(text))

    def _count(self, last: _Last) -> None:
        self._add(last.family, Head(last.again))
        last.again = 0

    def _add(self, family: Family, head: Head) -> None:
        if head.compared:
            self._seen = added(self._seen, {family: head})

    def give_back(self, seen: dict[Family, Head]) -> None:
        """Take back what could not be told."""
        self._seen = added(seen, self._seen)


def shared(texts: SystemTexts) -> Shared[Heads, dict[Family, Head]]:
    """Add what one process sees to what the state holds; nobody but the report reads it."""
    return Shared(
        KEY,
        HEADS,
        empty=dict,
        add=added,
        take_news=texts.take,
        give_back=texts.give_back,
        adopt=_adopt_nothing,
        hears=False,
    )


def _adopt_nothing(_heads: Heads) -> None:
    return None


def suggested(state: State) -> list[Suggestion]:
    """Tell what breaks prefixes, for `gateway report --caching`. Raises `StateUnavailable`."""
    raw = state.get(KEY)
    try:
        return [] if raw is None else suggestions(HEADS.read(raw))
    except Unreadable:
        return []


HEADS: Final[Codec[Heads]] = Codec("changing system texts", 1, to_json, from_json)

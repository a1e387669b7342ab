"""Which lines of system texts change from request to request, seen here and told to the state, for the report.

Telling is every few seconds, in a thread, never at a request's cost. The texts stay in this process; what is told are
counts, and the constant beginnings of lines (caching/heads.py). Nothing that is sent depends on any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.caching.heads import (
    LONGEST_TEXT,
    MOST_FAMILIES,
    Family,
    Head,
    Prompts,
    Suggestion,
    added,
    from_json,
    suggestions,
    to_json,
)
from gateway.conversation import Conversation, leading_system
from gateway.memory import Memory
from gateway.state import State, StateUnavailable
from gateway.state_thread import StateThread

KEY: Final = "prompt_caches/heads"
EVERY_SECONDS: Final = 5.0

_UNREADABLE: Final = (AttributeError, KeyError, TypeError, ValueError)
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

    def __init__(self, most_bytes: int = 16 * 2**20) -> None:
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


class SharedHeads:
    """Adds what this process sees to what the state holds."""

    def __init__(self, texts: SystemTexts, opens: Callable[[], State], log: FilteringBoundLogger) -> None:
        """Take what is to be told; `opens` opens the state, raising `StateUnavailable`."""
        self._texts, self._log = texts, log
        self._way = StateThread("heads", opens, log, "changing system texts are not told")

    def open(self) -> None:
        """Go on telling until closed."""
        self._way.repeat(self.tell, EVERY_SECONDS)

    async def close(self) -> None:
        """Tell the rest, and let go of the state."""
        await self._way.close(self.tell)

    async def tell(self) -> None:
        """Tell what was seen since the last time."""
        seen = self._texts.take()
        if not seen:
            return
        try:
            await self._way.run(partial(self._added, seen))
        except StateUnavailable:
            self._texts.give_back(seen)

    def _added(self, seen: dict[Family, Head], state: State) -> None:
        def change(raw: bytes | None) -> bytes:
            return orjson.dumps(to_json(added(self._understood(raw), seen)))

        state.update(KEY, change)

    def _understood(self, raw: bytes | None) -> dict[Family, Head]:
        try:
            return {} if raw is None else from_json(orjson.loads(raw))
        except _UNREADABLE as error:
            self._log.warning("shared system texts unreadable, begun anew", reason=str(error))
            return {}


def suggested(state: State) -> list[Suggestion]:
    """Tell what breaks prefixes, for `gateway report --caching`. Raises `StateUnavailable`."""
    raw = state.get(KEY)
    try:
        return [] if raw is None else suggestions(from_json(orjson.loads(raw)))
    except _UNREADABLE:
        return []

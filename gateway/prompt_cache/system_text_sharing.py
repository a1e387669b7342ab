"""The watch on changing lines of system texts in one process, and their exchange through the state, for the report.

The texts stay in this process. Counts, and the constant beginnings of lines, are shared (`system_text_changes.py`). No
request depends on any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.conversation import Conversation, leading_system
from gateway.memory import USUAL, Memory
from gateway.prompt_cache.system_text_changes import (
    LONGEST_TEXT,
    MOST_FAMILIES,
    ChangesByFamily,
    LineChanges,
    PromptFamily,
    RecentTexts,
    Suggestion,
    from_json,
    merge_changes,
    suggestions,
    to_json,
)
from gateway.state import State
from gateway.state.codec import Codec, Unreadable
from gateway.state.shared import Shared

KEY: Final = "prompt_caches/heads/1"

_COPIES: Final = 16
"""Bytes that a character of a prompt takes at most, with the other texts of its family (`MOST_PROMPTS`)."""


@dataclass(slots=True)
class _LastText:
    """The last system text of a sender, and the number of times that it came again."""

    family: PromptFamily
    text: str
    again: int = 0


class SystemTextWatch:
    """The system texts of one process's requests, compared."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("system texts")) -> None:
        self._prompts: Memory[PromptFamily, RecentTexts] = Memory(most_bytes)
        self._changes: dict[PromptFamily, LineChanges] = {}
        self._last: dict[tuple[str, str, str], _LastText] = {}

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
        family = PromptFamily(*asked, text.count("\n") + 1)
        self._see(family, text)
        if last is not None:
            self._count(last)
        elif len(self._last) >= MOST_FAMILIES:
            self._last.clear()
        self._last[asked] = _LastText(family, text)

    def take(self) -> dict[PromptFamily, LineChanges]:
        """Return the changes since the last call."""
        for last in self._last.values():
            self._count(last)
        changes, self._changes = self._changes, {}
        return changes

    def _see(self, family: PromptFamily, text: str) -> None:
        prompts = self._prompts.get(family) or RecentTexts()
        self._add(family, prompts.compared(text))
        self._prompts.put(family, prompts, _COPIES * len(text))

    def _count(self, last: _LastText) -> None:
        self._add(last.family, LineChanges(last.again))
        last.again = 0

    def _add(self, family: PromptFamily, changes: LineChanges) -> None:
        if changes.compared:
            self._changes = merge_changes(self._changes, {family: changes})

    def give_back(self, changes: dict[PromptFamily, LineChanges]) -> None:
        """Take back changes that could not be shared."""
        self._changes = merge_changes(changes, self._changes)


def share_system_texts(texts: SystemTextWatch) -> Shared[ChangesByFamily, dict[PromptFamily, LineChanges]]:
    """Add the changes of one process to those in the state. Only the report reads them."""
    return Shared(
        KEY,
        LINE_CHANGES,
        empty=dict,
        add=merge_changes,
        take_news=texts.take,
        give_back=texts.give_back,
        adopt=_adopt_nothing,
        hears=False,
    )


def _adopt_nothing(_changes: ChangesByFamily) -> None:
    return None


def stored_suggestions(state: State) -> list[Suggestion]:
    """List the lines that break prefixes, for `gateway report --caching`. Raises `StateUnavailable`."""
    raw = state.get(KEY)
    try:
        return [] if raw is None else suggestions(LINE_CHANGES.read(raw))
    except Unreadable:
        return []


LINE_CHANGES: Final[Codec[ChangesByFamily]] = Codec("changing system texts", 1, to_json, from_json)

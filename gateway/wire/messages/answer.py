"""A whole message, as an upstream gave it: what it used, and what it said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire import lenient
from gateway.wire.answer import WordedAnswer


class WholeMessage(WordedAnswer):
    """An answer that is all here."""

    __slots__ = ()

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""
        return tier_in(self.usage)

    def words(self) -> Iterator[tuple[str, str]]:
        """Yield the texts in it, each with its kind: text, reasoning or arguments."""
        return block_words(self.fields.get("content"))

    def is_cut(self) -> bool:
        """Whether a limit ended it."""
        return self.fields.get("stop_reason") == "max_tokens"


def tier_in(usage: Mapping[str, Any] | None) -> str | None:
    """Return the tier that an object of usage names."""
    tier = None if usage is None else usage.get("service_tier")
    return tier if isinstance(tier, str) else None


def block_words(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts of blocks, each with its kind: text, reasoning or arguments."""
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)} if text:
                yield "text", text
            case {"type": "thinking", "thinking": str(text)} if text:
                yield "reasoning", text
            case {"type": "tool_use", "input": given}:
                yield "arguments", lenient.write(given).decode()

"""A whole message, as an upstream gave it: what it used, and what it said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.request import Said
from gateway.wire import lenient
from gateway.wire.answer import FirstChoice


@dataclass(frozen=True, slots=True)
class WholeMessage:
    """An answer that is all here. Its bytes are passed on as they came."""

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
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""
        return tier_in(self.usage)

    @property
    def heard_bytes(self) -> int:
        """The length of the answer."""
        return len(self.body)

    def seen_text(self) -> str:
        """Join what the model said, for counting an answer that came without usage."""
        return lenient.join_halves("\n".join([text for _, text in block_words(self.fields.get("content"))]))

    def grown(self, tokens: int) -> int:
        """Scale a count of `seen_text` to all that was said: here that is all of it."""
        return tokens

    def said(self) -> Said:
        """Return what the model said. Total: what has an unexpected shape says nothing."""
        found = list(block_words(self.fields.get("content")))
        text = "\n".join([text for kind, text in found if kind == "text"])
        return Said((text,) if text else (), tuple([text for kind, text in found if kind == "arguments"]))

    def first(self) -> FirstChoice:
        """Return its answer."""
        texts = self.said().texts
        reason = self.fields.get("stop_reason")
        return FirstChoice(texts[0] if texts else None, "length" if reason == "max_tokens" else "stop")


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

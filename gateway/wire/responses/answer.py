"""A whole response, as an upstream gave it: what it used, and what it said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.wire.answer import WordedAnswer

_WRITTEN: Final = ("arguments", "input", "code")
"""Members of calls in which a model speaks."""
UNDER_WAY: Final = ("queued", "in_progress")
"""The status of a response that is still being written, in the background."""


class WholeResponse(WordedAnswer):
    """An answer that is all here."""

    __slots__ = ()

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider says it served."""
        tier = self.fields.get("service_tier")
        return tier if isinstance(tier, str) else None

    @property
    def stored(self) -> Sequence[str]:
        """The ids of the response and of its items."""
        return ids_in(self.fields)

    @property
    def is_under_way(self) -> bool:
        """True if it is written in the background, and not yet complete."""
        return self.fields.get("status") in UNDER_WAY

    def words(self) -> Iterator[tuple[str, str]]:
        """Yield the texts in it, each with its kind: text, refusal, reasoning or arguments."""
        return spoken_texts(self.fields.get("output"))

    def is_cut(self) -> bool:
        """Whether a limit ended it."""
        return self.fields.get("status") == "incomplete"


def ids_in(response: Mapping[str, Any]) -> list[str]:
    """List the ids of a response, of its conversation and of its items."""
    output, conversation = response.get("output"), response.get("conversation")
    told = [response, *(output if isinstance(output, list) else ()), conversation]
    return [one["id"] for one in told if isinstance(one, dict) and isinstance(one.get("id"), str)]


def spoken_texts(output: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts of output items, each with its kind: text, refusal, reasoning or arguments."""
    for item in output if isinstance(output, list) else ():
        if not isinstance(item, dict):
            continue
        kind = "reasoning" if item.get("type") == "reasoning" else "text"
        for member in ("content", "summary"):
            parts = item.get(member)
            for part in parts if isinstance(parts, list) else ():
                said = part if isinstance(part, dict) else {}
                if isinstance(text := said.get("text"), str) and text:
                    yield kind, text
                if isinstance(text := said.get("refusal"), str) and text:
                    yield "refusal", text
        for member in _WRITTEN:
            if isinstance(text := item.get(member), str) and text:
                yield "arguments", text

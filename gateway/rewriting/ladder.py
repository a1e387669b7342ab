"""The order of remedies: a policy's ladder as rungs, lightest first.

Results inside history bend before history itself is left out; documents and examples have ladders of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.budget.components import Anatomy, Count
from gateway.rewriting.dedupe import pointer
from gateway.rewriting.minify import minify
from gateway.rewriting.stub import stub

Remedy = Literal["minify", "dedupe", "stub", "drop_oldest"]


@dataclass(frozen=True, slots=True)
class Ladders:
    """Remedies by component, lightest first; an empty ladder is a component without a remedy."""

    tool_results: tuple[str, ...] = ("minify", "dedupe", "stub")
    documents: tuple[str, ...] = ("dedupe",)
    examples: tuple[str, ...] = ("drop_oldest",)
    history: tuple[str, ...] = ("drop_oldest",)

    @property
    def rungs(self) -> tuple[str, ...]:
        """What whole chunks of history rise through."""
        return (*self.tool_results, *self.history)

    @property
    def with_remedy(self) -> frozenset[str]:
        """Components that can be made smaller."""
        out = {name for name in ("documents", "examples", "history") if getattr(self, name)}
        return frozenset(out | {"history"} if self.tool_results else out)


@dataclass(frozen=True, slots=True)
class Shortened:
    """A result with fewer tokens than it came with."""

    remedy: str
    text: str
    tokens: int


@dataclass(slots=True)
class Results:
    """The tool results of one conversation and what each remedy makes of them; every text is worked on once."""

    anatomy: Anatomy
    count: Count
    _minified: dict[int, str] = field(default_factory=dict)
    _stubs: dict[int, Shortened | None] = field(default_factory=dict)

    def minified(self, index: int) -> str:
        if index not in self._minified:
            text = self.anatomy.conversation.messages[index].text
            self._minified[index] = minify(text) or text
        return self._minified[index]

    def shorten(self, remedy: str, index: int, newer: int | None) -> Shortened | None:
        """Apply one remedy to one result; None where it would not make it smaller.

        `newer` is a later result that says the same, for the remedy that wants one.
        """
        match remedy:
            case "minify":
                return self._smaller(index, "minify", self.minified(index))
            case "dedupe":
                if newer is None or self.stubbed(index) is None:
                    return None
                call_id = self.anatomy.conversation.messages[newer].call_id or ""
                return self._smaller(index, "dedupe", pointer(self.anatomy.tool_of[newer], call_id))
            case "stub":
                return self.stubbed(index)
        return None

    def stubbed(self, index: int) -> Shortened | None:
        if index not in self._stubs:
            text = self.anatomy.conversation.messages[index].text
            line = stub(self.anatomy.tool_of[index], self.count(text), text)
            self._stubs[index] = self._smaller(index, "stub", line)
        return self._stubs[index]

    def _smaller(self, index: int, remedy: str, text: str) -> Shortened | None:
        message, before = self.anatomy.conversation.messages[index], self.anatomy.tokens[index]
        if message.media or message.content not in ("text", "parts") or text == message.text:
            return None
        after = before - self.count(message.text) + self.count(text)
        return Shortened(remedy, text, after) if after < before else None

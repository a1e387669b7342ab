"""The order of remedies: a policy's ladder as rungs, lightest first.

Results inside history bend before history itself is left out; documents, examples and input have ladders of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.budget.components import Anatomy, Count
from gateway.conversation import PartEdits
from gateway.rewriting.memory import Known
from gateway.rewriting.results import crush
from gateway.rewriting.results.dedupe import nearly, pointer
from gateway.rewriting.results.minify import minify
from gateway.rewriting.results.stub import stub

LIGHT = ("minify", "dedupe", "crush")
"""Remedies that lose nothing, and are therefore applied to every old result at once."""

REPEATED = "dedupe"
"""The remedy of a message that a later one repeats word for word: nothing of it is gone."""


@dataclass(frozen=True, slots=True)
class Ladders:
    """Remedies by component, lightest first; an empty ladder is a component without a remedy."""

    tool_results: tuple[str, ...] = LIGHT
    documents: tuple[str, ...] = ("dedupe", "extract")
    examples: tuple[str, ...] = ("drop_oldest",)
    history: tuple[str, ...] = ("drop_oldest",)
    input: tuple[str, ...] = ("crush",)

    @property
    def light(self) -> tuple[str, ...]:
        return tuple(remedy for remedy in self.tool_results if remedy in LIGHT)

    @property
    def heavy(self) -> tuple[str, ...]:
        return tuple(remedy for remedy in self.tool_results if remedy not in LIGHT)

    @property
    def with_remedy(self) -> frozenset[str]:
        """Components that can be made smaller."""
        out = {name for name in ("documents", "examples", "history") if getattr(self, name)}
        return frozenset(out | {"history"} if self.tool_results else out)


@dataclass(frozen=True, slots=True)
class Shortened:
    """A message with fewer tokens than it came with."""

    remedy: str
    text: str
    """All that it says as it leaves."""
    tokens: int
    parts: PartEdits = ()
    """Changes of single parts of its content, if the others stay."""
    lossy: bool = False
    """True where values or words of it are gone."""


@dataclass(slots=True)
class Results:
    """The tool results of one conversation and what each remedy makes of them; every text is worked on once."""

    anatomy: Anatomy
    count: Count
    known: Known
    _stubs: dict[int, Shortened | None] = field(default_factory=dict)

    def minified(self, index: int) -> str:
        return self._made("minify", self.anatomy.conversation.messages[index].text)

    def shorten(self, remedy: str, index: int, newer: int | None) -> Shortened | None:
        """Apply one remedy to one result; None where it would not make it smaller.

        `newer` is a later result that says the same or nearly so, for the remedy that wants one.
        """
        match remedy:
            case "minify" | "crush":
                return self._smaller(index, remedy, self._made(remedy, self.anatomy.conversation.messages[index].text))
            case "dedupe":
                return None if newer is None else self._pointing(index, newer)
            case "stub":
                return self.stubbed(index)
        return None

    def stubbed(self, index: int) -> Shortened | None:
        if index not in self._stubs:
            text = self.anatomy.conversation.messages[index].text
            line = stub(self.anatomy.tool_of.get(index, ""), self.count(text), text)
            self._stubs[index] = self._smaller(index, "stub", line)
        return self._stubs[index]

    def crushed_to(self, index: int, room: int, wanted: crush.Wanted) -> Shortened | None:
        """Shorten a result with loss so that its message takes at most `room` tokens; None where that is not had."""
        message = self.anatomy.conversation.messages[index]
        overhead = self.anatomy.tokens[index] - self.count(message.text)
        text = crush.lossy(message.text, max(0, room - overhead), self.count, wanted)
        short = self._smaller(index, "crush", text) if text else None
        return None if short is None else replace(short, lossy=True)

    def _pointing(self, index: int, newer: int) -> Shortened | None:
        if self.stubbed(index) is None:
            return None
        messages = self.anatomy.conversation.messages
        tool, call_id = self.anatomy.tool_of.get(newer, ""), messages[newer].call_id or ""
        if self.minified(index) == self.minified(newer):
            return self._smaller(index, "dedupe", pointer(tool, call_id))
        changes = crush.difference(messages[newer].text, messages[index].text)
        return None if changes is None else self._smaller(index, "dedupe", nearly(tool, call_id, changes))

    def _made(self, remedy: str, text: str) -> str:
        made = self.known.shortened.get((remedy, text))
        if made is None:
            made = minify(text) or text if remedy == "minify" else crush.lossless(text)
            self.known.shortened.put((remedy, text), made, len(made) + len(text))
        return made

    def _smaller(self, index: int, remedy: str, text: str) -> Shortened | None:
        message, before = self.anatomy.conversation.messages[index], self.anatomy.tokens[index]
        if not message.is_plain or text == message.text:
            return None
        after = before - self.count(message.text) + self.count(text)
        return Shortened(remedy, text, after) if after < before else None

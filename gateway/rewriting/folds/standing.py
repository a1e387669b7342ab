"""A prefix as its folds have left it: its sizes, and the messages that may be touched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.state import FoldState
from gateway.rewriting.folds.voiced import Part
from gateway.rewriting.ladder import REPEATED, Shortened


class Standing:
    """A prefix with the decisions of folds. Numbers are units unless they are called messages."""

    __slots__ = (
        "anatomy", "documents", "documents_saved", "examples_saved", "gone", "gone_messages", "outline", "parts",
        "prefix", "rules", "shortened", "tokens", "total",
    )  # fmt: skip

    shortened: Mapping[int, Shortened]
    gone: Mapping[int, str]
    gone_messages: Mapping[int, str]
    tokens: Mapping[int, int]
    documents: Mapping[int, int]

    def __init__(self, prefix: Prefix, state: FoldState) -> None:
        self.prefix, self.rules, self.outline = prefix, prefix.rules, prefix.outline
        self.anatomy, self.parts = prefix.outline.voiced.anatomy, prefix.outline.voiced.parts
        cuts = state.cuts
        self.shortened, self.gone, self.gone_messages = cuts.shortened, cuts.gone, cuts.gone_messages
        self.tokens, self.documents = cuts.tokens, cuts.documents
        self.examples_saved, self.documents_saved = cuts.examples_saved, cuts.documents_saved
        self.total = prefix.as_it_came - state.saved
        """Tokens of the prefix as it stands."""

    # ------------------------------------------------------------ sizes

    def now(self, number: int) -> int:
        """Return the tokens of a unit as it stands."""
        return self.tokens.get(number, self.outline.tokens[number])

    def tokens_of(self, numbers: Iterable[int]) -> int:
        """Sum up units as they stand, examples apart."""
        changed, came, parts = self.tokens, self.outline.tokens, self.parts
        return sum([changed.get(n, came[n]) for n in numbers if parts[n] != "example"])

    def message_tokens(self, index: int) -> int:
        """Return the tokens of a message as it stands."""
        short = self.shortened.get(index)
        return self.anatomy.tokens[index] if short is None else short.tokens

    def documents_in(self, index: int) -> int:
        """Return the tokens of the documents that a person sent in a message, as they stand."""
        return self.documents.get(index, self.outline.document_tokens.get(index, 0))

    @property
    def examples_tokens(self) -> int:
        return self.outline.examples.tokens(self.prefix.units) - self.examples_saved

    @property
    def newest_documents(self) -> int:
        """Tokens of documents in the last user message: arranged for the question, they are cut for it alone."""
        number = self.prefix.user
        return 0 if number is None else self.documents_in(self.anatomy.units[number].first)

    @property
    def least(self) -> int:
        """Tokens of the prefix once its newest documents, where they bend, are down to their share."""
        newest = self.newest_documents
        if not newest or not self._newest_documents_bend():
            return self.total
        return self.total - max(0, newest - self._share_of_documents())

    def _share_of_documents(self) -> int:
        """Return what documents may take: what is set aside for them, and beside a large input their part of what that
        leaves, or what history does not need of it. An amount in tokens is theirs whatever the input is.
        """
        whole = self.prefix.whole_room
        aside, beside = self.rules.documents, max(0, whole - self.input)
        part = beside if self.rules.documents_in_tokens else aside * beside // max(1, whole)
        return min(aside, max(part, beside - self.bending + self.old_documents()))

    def _newest_documents_bend(self) -> bool:
        """Tell whether newest.py can cut the documents of the last user message."""
        number = self.prefix.user
        if number is None or "extract" not in self.prefix.ladders.documents:
            return False
        index = self.anatomy.units[number].first
        return self.anatomy.conversation.messages[index].is_plain and self.anatomy.tokens[index] <= self.rules.effort

    @property
    def input(self) -> int:
        """Tokens that no fold may touch, newest documents apart."""
        return max(0, self.tokens_of(self.hard()) - self.newest_documents)

    @property
    def bending(self) -> int:
        """Tokens that folds could touch: history, and the documents that retrieval brought."""
        return self.total - self.outline.fixed - self.examples_tokens - self.tokens_of(self.hard())

    def old_documents(self) -> int:
        """Return the tokens of documents that retrieval brought, or that people sent before their last message."""
        units, gone = self.prefix.units, self.gone
        retrieved = [
            self.message_tokens(index)
            for number, index in self.outline.retrieved
            if number < units - 1 and number not in gone
        ]
        return sum(retrieved) + self.outline.documents.tokens(units) - self.documents_saved - self.newest_documents

    def demand(self) -> dict[str, int]:
        """Sum up tokens by component."""
        given = self.input
        documents = self.old_documents() + self.newest_documents
        rest = self.total - self.outline.fixed + self.outline.moved - given - self.examples_tokens - documents
        return {
            "system": self.anatomy.system_tokens,
            "tools": self.anatomy.tools_tokens,
            "input": given,
            "examples": self.examples_tokens,
            "documents": documents,
            "history": rest,
        }

    # ------------------------------------------------------------ what may be touched

    def is_example(self, number: int) -> bool:
        return self.parts[number] == "example"

    def hard(self) -> set[int]:
        """List the units that no fold may touch: the newest, the last user message, and results that this came right
        behind.
        """
        last, user = self.prefix.last, self.prefix.user
        out = {last} if last >= 0 else set[int]()
        if user is not None:
            out.add(user)
        if last > 0 and self.is_unanswered(last - 1):
            out.add(last - 1)
        return out

    def units_of(self, part: Part, but: set[int]) -> list[int]:
        """List the units that are such a part and stand, in order."""
        units, gone = self.prefix.units, self.gone
        return [n for n, name in enumerate(self.parts[:units]) if name == part and n not in but and n not in gone]

    def bends(self, number: int, but: set[int]) -> bool:
        """Tell whether a unit may be left out before anything that people said."""
        return self.parts[number] not in ("example", "said") and number not in but and number not in self.gone

    def last_words(self) -> list[int]:
        """Return what a person said last, where a program's output that stands as a user message came behind it."""
        turn = self.prefix.turn
        return [] if turn is None or turn == self.prefix.user or turn in self.gone else [turn]

    def is_unanswered(self, number: int) -> bool:
        """Tell whether a unit ends in results that nobody has spoken to yet, and that newest.py can shorten."""
        if not self.prefix.newest_bend or number in self.gone or self.prefix.turn != number + 1:
            return False
        unit, messages = self.anatomy.units[number], self.anatomy.conversation.messages
        return unit.after - unit.first > 1 and not any(messages[index].media for index in unit)

    def missed(self) -> list[int]:
        """List the messages that notes stand for: what is left out, but examples and what a later exchange repeats."""
        component, gone = self.anatomy.component, self.gone_messages
        return sorted(index for index, remedy in gone.items() if component[index] != "examples" and remedy != REPEATED)

    def exchange(self) -> list[int]:
        """Find the last answer before what a person said last, and what it answers, as far as they stand."""
        turns, parts = self.prefix.turns, self.parts
        if not turns:
            return []
        answer = next((n for n in range(turns[-1] - 1, -1, -1) if parts[n] == "answer"), None)
        if answer is None:
            return []
        asked = next((n for n in reversed(turns) if n < answer), answer)
        return [n for n in sorted({asked, answer}) if n not in self.gone]

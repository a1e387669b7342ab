"""The decisions of a walk over a conversation, and the prefix that it stands at: its sizes, and the messages that may
be cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, fields

from gateway.budget.components import Anatomy
from gateway.conversation import Message
from gateway.rewriting.folds.summary_state import SummaryState
from gateway.rewriting.folds.values import FoldMessage, FoldRules, as_kept
from gateway.rewriting.folds.voiced import Voiced
from gateway.rewriting.history.placed_snippets import PlacedSnippet
from gateway.rewriting.history.value_places import ValuePlaces
from gateway.rewriting.ladder import REPEATED, Shortened

MOVED_STEP = 64
"""Tokens."""
PIECE_BYTES, VALUE_BYTES, UNIT_BYTES = 100, 200, 100
"""Bytes of a piece, a value and a unit in a state, about."""


@dataclass(slots=True)
class FoldState:
    """The decisions of the folds up to a prefix. Numbers are units unless they are called messages."""

    total: int
    """Tokens of the prefix as it stands; `original`: as it came."""
    original: int
    now: list[int] = field(default_factory=list)
    """Tokens of each unit as it stands."""
    examples: list[int] = field(default_factory=list)
    examples_tokens: int = 0
    turns: list[int] = field(default_factory=list)
    """Units in which people speak."""
    user: int | None = None
    """The last unit that is a user message, whoever speaks in it."""
    with_results: list[int] = field(default_factory=list)
    documents: dict[int, int] = field(default_factory=dict)
    """By message that a person sent: tokens of the documents in it as they stand."""
    has_documents: bool = False
    shortened: dict[int, Shortened] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    """Results that every light remedy was tried on: their text does not move any more."""
    gone: dict[int, str] = field(default_factory=dict)
    gone_messages: dict[int, str] = field(default_factory=dict)
    kept: list[FoldMessage] = field(default_factory=list)
    pointers: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By result: older ones that were replaced by a pointer to it."""
    folded_at: int | None = None
    folded_with_documents: bool = False
    forced: bool = False
    unreasoned_upto: int = 0
    """The message before which no reasoning is bound to what was sent any more."""
    unread: tuple[int, ...] = ()
    """Messages that are gone and were not read for a list yet."""
    pool: tuple[PlacedSnippet, ...] = ()
    """Pieces of messages that are gone which a list may still say."""
    seen: ValuePlaces = field(default_factory=ValuePlaces)
    seen_upto: int = 0
    """Places of the values of messages up to that one: of those that stand, or may be listed."""
    summaries: SummaryState = field(default_factory=SummaryState)

    def copied(self) -> FoldState:
        """Return a state that changes apart from this one."""
        return FoldState(**{entry.name: copy(getattr(self, entry.name)) for entry in fields(self)})

    @property
    def size_bytes(self) -> int:
        texts = sum([2 * len(short.text) for short in self.shortened.values()])
        texts += sum([2 * len(line.text) for line in (*self.kept, *map(as_kept, self.summaries.standing))])
        return UNIT_BYTES * len(self.now) + PIECE_BYTES * len(self.pool) + VALUE_BYTES * len(self.seen) + texts


class Prefix:
    """A conversation up to a unit, with the state that its folds have left it in."""

    def __init__(self, voiced: Voiced, rules: FoldRules, *, newest_bend: bool, documents_bend: bool) -> None:
        """Start before the first unit. `newest_bend`: results that nobody has spoken to yet can be shortened;
        `documents_bend`: so can the documents of the last user message.
        """
        self.voiced, self.rules, self.documents_bend = voiced, rules, documents_bend
        self.anatomy: Anatomy = voiced.anatomy
        self.messages: Sequence[Message] = voiced.anatomy.conversation.messages
        self.newest_bend = newest_bend and rules.ceilings is None
        self.moved = self.anatomy.moved_tokens + spare(self.anatomy)
        self.fixed = self.anatomy.tools_tokens + self.anatomy.system_tokens + self.moved
        self.width: int | None = None
        """Set while a prefix that fits is folded: the room that is taken for all there is."""
        self.state = FoldState(self.fixed, self.fixed)

    # ------------------------------------------------------------ growing

    def add(self, number: int) -> None:
        """Take one more unit into the prefix."""
        state, unit = self.state, self.anatomy.units[number]
        tokens = sum(self.anatomy.tokens[unit.first : unit.after])
        if self.voiced.parts[number] in ("said", "task", "shot") and self.voiced.voices[unit.first] == "said":
            state.turns.append(number)
        if self.messages[unit.first].role == "user" and not self.is_example(number):
            state.user = number
        if self.voiced.results_of(number):
            state.with_results.append(number)
        if self.is_example(number):
            state.examples.append(number)
            state.examples_tokens += tokens
        elif held := self.voiced.documents[unit.first]:
            state.documents[unit.first] = held
            state.has_documents = True
        state.now.append(tokens)
        state.total += tokens
        state.original += tokens

    @property
    def last(self) -> int:
        return len(self.state.now) - 1

    @property
    def upto(self) -> int:
        """Messages in the prefix."""
        return self.anatomy.units[self.last].after if self.state.now else 0

    # ------------------------------------------------------------ sizes

    @property
    def whole_room(self) -> int:
        """Tokens beside tools and leading system text."""
        return max(0, self.rules.budget - self.fixed)

    @property
    def room(self) -> int:
        """Tokens that history and input share: less what is set aside for documents, once there were some."""
        room = self.whole_room - (self.rules.documents if self.state.has_documents else 0)
        return max(0, room if self.width is None else min(room, self.width))

    @property
    def clear(self) -> int:
        """Tokens that a fold frees at least, and that a conversation grows by at least between two."""
        return int(self.rules.clear_at_least * self.room)

    @property
    def newest_documents(self) -> int:
        """Tokens of documents in the last user message: arranged for the question, they are cut for it alone."""
        number = self.state.user
        return 0 if number is None else self.state.documents.get(self.anatomy.units[number].first, 0)

    @property
    def least(self) -> int:
        """Tokens of the prefix once its newest documents, where they bend, are down to their share."""
        newest = self.newest_documents
        if not newest or not self._newest_documents_bend():
            return self.state.total
        return self.state.total - max(0, newest - self._share_of_documents())

    def _share_of_documents(self) -> int:
        """Return what documents may take: what is set aside for them, and beside a large input their part of what that
        leaves, or what history does not need of it. An amount in tokens is theirs whatever the input is.
        """
        aside, beside = self.rules.documents, max(0, self.whole_room - self.input)
        part = beside if self.rules.documents_in_tokens else aside * beside // max(1, self.whole_room)
        return min(aside, max(part, beside - self.bending + self.old_documents()))

    def _newest_documents_bend(self) -> bool:
        """Tell whether newest.py can cut the documents of the last user message."""
        number = self.state.user
        if number is None or not self.documents_bend:
            return False
        index = self.anatomy.units[number].first
        return self.messages[index].is_plain and self.anatomy.tokens[index] <= self.rules.effort

    @property
    def input(self) -> int:
        """Tokens that no fold may touch, newest documents apart."""
        return max(0, self.tokens_of(self.hard()) - self.newest_documents)

    @property
    def bending(self) -> int:
        """Tokens that folds could touch: history, and the documents that retrieval brought."""
        return self.state.total - self.fixed - self.state.examples_tokens - self.tokens_of(self.hard())

    def tokens_of(self, numbers: Iterable[int]) -> int:
        return sum([self.state.now[n] for n in numbers if not self.is_example(n)])

    def message_tokens(self, index: int) -> int:
        """Tokens of a message as it stands."""
        short = self.state.shortened.get(index)
        return self.anatomy.tokens[index] if short is None else short.tokens

    def old_documents(self) -> int:
        """Tokens of documents that retrieval brought, or that people sent before their last message."""
        state, components = self.state, self.anatomy.component
        retrieved = [
            self.message_tokens(index)
            for number in state.with_results
            if number not in state.gone and number != self.last
            for index in self.anatomy.units[number]
            if components[index] == "documents"
        ]
        return sum(retrieved) + sum(state.documents.values()) - self.newest_documents

    def demand(self) -> dict[str, int]:
        """Tokens by component as the prefix stands."""
        state = self.state
        given = self.input
        documents = self.old_documents() + self.newest_documents
        rest = state.total - self.fixed + self.moved - given - state.examples_tokens - documents
        return {
            "system": self.anatomy.system_tokens,
            "tools": self.anatomy.tools_tokens,
            "input": given,
            "examples": state.examples_tokens,
            "documents": documents,
            "history": rest,
        }

    # ------------------------------------------------------------ what may be touched

    def is_example(self, number: int) -> bool:
        return self.voiced.parts[number] == "example"

    def hard(self) -> set[int]:
        """Units no fold may touch: the newest, the last user message, and results that this came right behind."""
        last, user = self.last, self.state.user
        unanswered = {last - 1} if last > 0 and self.is_unanswered(last - 1) else set()
        return {*range(len(self.state.now))[-1:], *(() if user is None else (user,)), *unanswered}

    def last_words(self) -> list[int]:
        """Return what a person said last, where a program's output that stands as a user message came behind it."""
        turn = self.state.turns[-1:]
        return [] if turn == [self.state.user] or any(n in self.state.gone for n in turn) else turn

    def is_unanswered(self, number: int) -> bool:
        """Tell whether a unit ends in results that nobody has spoken to yet, and that newest.py can shorten."""
        if not self.newest_bend or number in self.state.gone or self.state.turns[-1:] != [number + 1]:
            return False
        unit = self.anatomy.units[number]
        return unit.after - unit.first > 1 and not any(self.messages[index].media for index in unit)

    def missed(self) -> list[int]:
        """List the messages that notes stand for: what is left out, but examples and what a later exchange repeats."""
        component, gone = self.anatomy.component, self.state.gone_messages
        return sorted(index for index, remedy in gone.items() if component[index] != "examples" and remedy != REPEATED)

    def exchange(self) -> list[int]:
        """Find the last answer before what a person said last, and what it answers, as far as they stand."""
        turns, parts, gone = self.state.turns, self.voiced.parts, self.state.gone
        if not turns:
            return []
        answer = next((n for n in range(turns[-1] - 1, -1, -1) if parts[n] == "answer"), None)
        if answer is None:
            return []
        asked = next((n for n in reversed(turns) if n < answer), answer)
        return [n for n in sorted({asked, answer}) if n not in gone]


def spare(anatomy: Anatomy) -> int:
    """Return the tokens that are kept free besides for text that changes with each request: what it takes is rounded
    up, so that a longer date does not move the grid.
    """
    return -anatomy.moved_tokens % MOVED_STEP

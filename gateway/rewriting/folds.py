"""Folding on a grid, by hysteresis: which units are shortened or left out, and since when.

The client sends the whole conversation every time, so the state of a fold is not stored: it is computed again from the
conversation's own prefixes, each of which was a request. The walk adds unit after unit; where a prefix is over, whole
leading chunks rise one rung of the ladder, oldest first, until the history is down to `target`; then nothing moves
until the next prefix that is over. Two requests of one conversation therefore agree byte for byte on everything old,
unless a fold came between them, and that is what keeps the provider's prompt cache warm.

Chunks are closed by the *original* tokens that went by, never by what is left of them, so the grid does not move when
something is folded. A unit that may not be touched yet (the last user message, the newest unit) stays behind when its
chunk rises and follows at a later fold. Pure: no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.budget.allocation import allocate
from gateway.budget.components import OVERHEAD_MESSAGE, Anatomy, Count
from gateway.conversation import Changes
from gateway.rewriting.drop_oldest import placeholder
from gateway.rewriting.ladder import Ladders, Results, Shortened

CHUNKS = 10
"""A chunk is closed each time this part of the room has gone by."""
KEEP_YIELDS = 2
"""`keep_turns` and `keep_tool_results` yield where a fold would leave less than so many chunks to grow into: a fold
that comes again after a step or two re-buys the whole prompt each time."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What bounds the folds of one conversation. Tokens and shares of the room."""

    budget: int
    """Of every prefix, with the policy's reserve."""
    final_budget: int
    """Of this request, whose answer limit may ask for more than the reserve."""
    trigger: float
    target: float
    clear_at_least: float
    keep_turns: int
    keep_tool_results: int
    shares: Mapping[str, float]
    borrow: tuple[str, ...]
    ceilings: Mapping[str, int] | None = None
    """Under `strict`: the most each component may take."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A conversation after its folds."""

    shortened: Mapping[int, Shortened]
    """Results with a new text, by message index."""
    dropped: Mapping[int, str]
    """Messages left out: index → remedy."""
    placeholder: tuple[int, str] | None
    total: int
    forced: bool
    """Whether the last fold, made for this very request, came sooner than `clear_at_least` allows, or broke a chunk, or
    made room for a longer answer than the policy's reserve: that one the next request knows nothing of.
    """

    @property
    def changes(self) -> Changes:
        texts = {index: short.text for index, short in self.shortened.items() if index not in self.dropped}
        return Changes(texts, frozenset(self.dropped), self.placeholder)


def fold(anatomy: Anatomy, rules: Rules, ladders: Ladders, count: Count) -> Folded:
    """Walk the conversation's prefixes and fold where one of them is over."""
    walk = _Walk(anatomy, rules, ladders, count)
    messages = anatomy.conversation.messages
    for number, unit in enumerate(anatomy.units):
        was_request = messages[unit.first].role == "assistant" and anatomy.component[unit.first] != "examples"
        if number and was_request and walk.is_over(rules.budget):
            walk.fold(rules.budget)
        walk.add(number)
    walk.forced = False
    if walk.is_over(rules.budget):
        walk.fold(rules.budget)
    if walk.total > rules.final_budget:
        walk.fold(rules.final_budget)
        walk.forced = True
    return walk.folded()


class _Walk:
    """The state between two prefixes. Numbers are units unless they are called messages."""

    def __init__(self, anatomy: Anatomy, rules: Rules, ladders: Ladders, count: Count) -> None:
        self.anatomy, self.rules, self.ladders, self.count = anatomy, rules, ladders, count
        self.messages = anatomy.conversation.messages
        self.results = Results(anatomy, count)
        self.room = max(0, rules.budget - anatomy.tools_tokens - anatomy.system_tokens)
        self.clear = int(rules.clear_at_least * self.room)
        self.fixed = anatomy.tools_tokens + anatomy.system_tokens
        self.total = self.fixed
        self.original = self.fixed
        self.now: list[int] = []
        """Tokens of each unit as it stands."""
        self.rung: list[int] = []
        self.chunk: list[int] = []
        self.closed = 0
        """How many chunks are closed; the open one has this number."""
        self.in_open = 0
        self.waiting: list[list[int]] = [[] for _ in ladders.rungs]
        """By rung: units of closed chunks that have not risen to it, oldest first."""
        self.examples: list[int] = []
        self.examples_tokens = 0
        self.turns: list[int] = []
        self.with_results: list[int] = []
        self.shortened: dict[int, Shortened] = {}
        self.gone: dict[int, str] = {}
        self.gone_messages: dict[int, str] = {}
        self.left_out = (0, 0)
        """Messages and tokens that the placeholder speaks of: history's, not the examples'."""
        self.line: tuple[str, int] | None = None
        """The placeholder and its tokens."""
        self.twins: dict[str, list[int]] = {}
        self.twins_upto = 0
        self.pointers: dict[int, list[int]] = {}
        """By result: older ones that were replaced by a pointer to it."""
        self.folded_at: int | None = None
        self.forced = False

    def add(self, number: int) -> None:
        """Take one more unit into the prefix."""
        unit = self.anatomy.units[number]
        tokens = sum(self.anatomy.tokens[unit.first : unit.after])
        first = self.messages[unit.first]
        if first.role == "user":
            self.turns.append(number)
        if unit.after - unit.first > 1:
            self.with_results.append(number)
        if self.anatomy.component[unit.first] == "examples":
            self.examples.append(number)
            self.examples_tokens += tokens
        self.now.append(tokens)
        self.rung.append(0)
        self.chunk.append(self.closed)
        self.total += tokens
        self.original += tokens
        self.in_open += tokens
        if self.in_open * CHUNKS >= self.room:
            self._close()

    def _close(self) -> None:
        first = len(self.chunk) - 1
        while first and self.chunk[first - 1] == self.closed:
            first -= 1
        units = [n for n in range(first, len(self.chunk)) if not self._is_example(n)]
        results = len(self.ladders.tool_results)
        for rung, waiting in enumerate(self.waiting):
            waiting += [n for n in units if rung >= results or self._has_results(n)]
        self.closed += 1
        self.in_open = 0

    # ------------------------------------------------------------ when

    def is_over(self, budget: int) -> bool:
        if self.total > budget:
            return True
        if self.rules.ceilings is not None and any(
            tokens > self.rules.ceilings[name]
            for name, tokens in self.demand().items()
            if name in self.ladders.with_remedy
        ):
            return True
        return self._is_due()

    def _is_due(self) -> bool:
        """Whether a prefix that fits folds again: it was over once, and what folding now frees is worth it."""
        if self.folded_at is None or self._soon() or self._bending() <= self.rules.trigger * self.room:
            return False
        return self.total - self._goal(self.rules.budget) >= self.clear

    def _soon(self) -> bool:
        return self.folded_at is not None and self.original - self.folded_at < self.clear

    def _hard(self) -> set[int]:
        """Units no fold may touch: the newest one, and the last user message."""
        return {*range(len(self.now))[-1:], *self.turns[-1:]}

    def _bending(self) -> int:
        """Tokens of what folds could touch: history, and the documents that retrieval brought."""
        hard = sum(self.now[n] for n in self._hard() if not self._is_example(n))
        return self.total - self.fixed - self.examples_tokens - hard

    def demand(self) -> dict[str, int]:
        """Tokens by component as the prefix stands."""
        hard = sum(self.now[n] for n in self._hard() if not self._is_example(n))
        examples = self.examples_tokens
        documents = sum(
            self._message_tokens(i)
            for n in self.with_results
            if n not in self.gone and n != len(self.now) - 1
            for i in self.anatomy.units[n]
            if self.anatomy.component[i] == "documents"
        )
        return {
            "system": self.anatomy.system_tokens,
            "tools": self.anatomy.tools_tokens,
            "input": hard,
            "examples": examples,
            "documents": documents,
            "history": self.total - self.fixed - hard - examples - documents,
        }

    # ------------------------------------------------------------ how

    def fold(self, budget: int) -> None:
        """Make the prefix fit, and leave it room to grow where that can be had."""
        soon, most = self._soon(), min(self.total, budget)
        self.folded_at = self.original
        self._fold_examples_and_documents(budget)
        for kept in self._kept():
            self._raise(self._goal(budget), kept)
            if self.total <= budget - max(self.clear, KEEP_YIELDS * self.room // CHUNKS):
                break
        self.forced = soon or self.total > most - self.clear
        if self.total > budget:
            self._force(budget)

    def _goal(self, budget: int) -> int:
        """Choose the total to come down to: `target` of the room for history, and less where input leaves less."""
        bending = self._bending()
        fixed = self.total - bending
        left = budget - fixed
        history = min(int(self.rules.target * self.room), max(left - self.clear, int(left * self.rules.target)))
        if self.rules.ceilings is not None:
            history = min(history, self.rules.ceilings["history"])
        return fixed + max(0, history)

    def _kept(self) -> Iterable[set[int]]:
        """Yield what stays untouched in each attempt: `keep_turns` gives way first, then `keep_tool_results`."""
        hard = self._hard()
        results = hard | set(self.with_results[-self.rules.keep_tool_results :] if self.rules.keep_tool_results else ())
        if self.rules.keep_turns and self.turns:
            first = self.turns[-self.rules.keep_turns :][0]
            yield results | set(range(first, len(self.now)))
        yield results
        yield hard

    def _raise(self, goal: int, kept: set[int]) -> bool:
        """Let leading chunks rise rung by rung, oldest first; say whether that came down to the goal."""
        for rung, waiting in enumerate(self.waiting):
            stay: list[int] = []
            at = 0
            while at < len(waiting) and self.total > goal:
                chunk = self.chunk[waiting[at]]
                while at < len(waiting) and self.chunk[waiting[at]] == chunk:
                    number = waiting[at]
                    if number in kept:
                        stay.append(number)
                    elif number not in self.gone and self.rung[number] <= rung:
                        self._apply(number, rung)
                    at += 1
                self._write_placeholder()
            self.waiting[rung] = stay + waiting[at:]
            if self.total <= goal:
                return True
        return False

    def _apply(self, number: int, rung: int) -> None:
        self.rung[number] = rung + 1
        remedy = self.ladders.rungs[rung]
        if rung >= len(self.ladders.tool_results):
            self._drop(number, remedy)
        else:
            self._shorten(number, remedy, "history")

    def _shorten(self, number: int, remedy: str, component: str) -> None:
        unit = self.anatomy.units[number]
        for index in range(unit.first + 1, unit.after):
            if (self.anatomy.component[index] == "documents") != (component == "documents"):
                continue
            if remedy == "stub" and self._is_pointed_at(index):
                continue
            newer = self._twin(index) if remedy == "dedupe" else None
            short = self.results.shorten(remedy, index, newer)
            before = self._message_tokens(index)
            if short is None or (short.tokens >= before and remedy != "stub"):
                continue
            if newer is not None:
                self.pointers.setdefault(newer, []).append(index)
            self.shortened[index] = short
            self.now[number] += short.tokens - before
            self.total += short.tokens - before

    def _is_pointed_at(self, index: int) -> bool:
        """Whether a pointer to this result still stands: documents keep theirs, having no heavier remedy."""
        return any(
            older not in self.gone_messages and self.shortened[older].remedy == "dedupe"
            for older in self.pointers.get(index, ())
        )

    def _drop(self, number: int, remedy: str) -> None:
        unit = self.anatomy.units[number]
        self.gone[number] = remedy
        self.total -= self.now[number]
        if self._is_example(number):
            self.examples_tokens -= self.now[number]
        self.now[number] = 0
        self.gone_messages |= dict.fromkeys(unit, remedy)
        if not self._is_example(number):
            messages, tokens = self.left_out
            self.left_out = (
                messages + unit.after - unit.first,
                tokens + sum(self.anatomy.tokens[unit.first : unit.after]),
            )

    def _force(self, budget: int) -> None:
        """Leave out what it takes: units of the open chunk, oldest first, then examples, then our own placeholder."""
        self.forced = True
        hard = self._hard()
        if self.ladders.history:
            for number in range(len(self.now)):
                if self.total <= budget:
                    return
                if number not in hard and number not in self.gone and not self._is_example(number):
                    self._drop(number, self.ladders.history[-1])
                    self._write_placeholder()
        self._drop_examples(0, budget)
        if self.total > budget and self.line is not None:
            self.total -= self.line[1]
            self.line = None

    def _fold_examples_and_documents(self, budget: int) -> None:
        if not self.examples and "documents" not in self.anatomy.component:
            return
        demand = self.demand()
        limit = allocate(budget, demand, self.rules.shares, self.rules.borrow, self.ladders.with_remedy)
        if self.rules.ceilings is not None:
            limit = {name: min(room, self.rules.ceilings[name]) for name, room in limit.items()}
        if self.ladders.documents and demand["documents"] > limit["documents"]:
            for number in self.with_results:
                if number not in self._hard() and number not in self.gone:
                    for remedy in self.ladders.documents:
                        self._shorten(number, remedy, "documents")
        if demand["examples"] > limit["examples"]:
            self._drop_examples(limit["examples"], budget)

    def _drop_examples(self, room: int, budget: int) -> None:
        """Leave out the oldest pairs until the examples take no more than their room; to the last only where over."""
        if not self.ladders.examples:
            return
        for pair in self._pairs():
            if self.examples_tokens <= room or (room == 0 and self.total <= budget):
                return
            for number in pair:
                self._drop(number, "drop_oldest")
        self.examples = [n for n in self.examples if n not in self.gone]

    def _pairs(self) -> list[list[int]]:
        """Examples in pairs: a question, and what follows it up to the next question."""
        out: list[list[int]] = []
        for number in self.examples:
            message = self.messages[self.anatomy.units[number].first]
            asks = message.role == "user" or (message.name or "").endswith("user")
            if number in self.gone:
                continue
            if asks or not out:
                out.append([])
            out[-1].append(number)
        return out

    # ------------------------------------------------------------ details

    def _is_example(self, number: int) -> bool:
        return self.anatomy.component[self.anatomy.units[number].first] == "examples"

    def _has_results(self, number: int) -> bool:
        unit = self.anatomy.units[number]
        return unit.after - unit.first > 1

    def _message_tokens(self, index: int) -> int:
        short = self.shortened.get(index)
        return self.anatomy.tokens[index] if short is None else short.tokens

    def _twin(self, index: int) -> int | None:
        """Find the newest later result in the prefix that says the same and stands as it came.

        None also for a result that an older one points to: it stays, or the pointer would lead to a pointer.
        """
        if index in self.pointers:
            return None
        while self.twins_upto < len(self.now):
            unit = self.anatomy.units[self.twins_upto]
            for result in range(unit.first + 1, unit.after):
                self.twins.setdefault(self.results.minified(result), []).append(result)
            self.twins_upto += 1
        newest = self.twins[self.results.minified(index)][-1]
        short = self.shortened.get(newest)
        stands = short is None or short.remedy == "minify"
        return newest if newest > index and stands and newest not in self.gone_messages else None

    def _write_placeholder(self) -> None:
        if self.left_out[0]:
            text = placeholder(*self.left_out)
            tokens = OVERHEAD_MESSAGE + self.count(text)
            self.total += tokens - (self.line[1] if self.line is not None else 0)
            self.line = (text, tokens)

    def folded(self) -> Folded:
        first = min((n for n in self.gone if not self._is_example(n)), default=None)
        line = (self.anatomy.units[first].first, self.line[0]) if self.line is not None and first is not None else None
        return Folded(self.shortened, self.gone_messages, line, self.total, self.forced)


def changed_messages(folded: Folded) -> Sequence[int]:
    """List the messages that do not leave as they came, in order."""
    return sorted({*folded.shortened, *folded.dropped})

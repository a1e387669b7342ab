"""Folding by hysteresis: which units are shortened or left out, since when, and what is kept of them.

The client sends the whole conversation every time, so the state of a fold is not stored: it is computed again from the
conversation's own prefixes, each of which was a request. The walk adds unit after unit; where a prefix is over,

1. old results are shortened without loss, all at once; where that leaves room enough, nothing else happens;
2. else the oldest history goes, deep: what stays whole are the newest units that take up the share of the room that
   `target` leaves beside the lists. What goes is replaced by a list of the values that only it held (artifacts.py),
   which is never written again: the next fold puts its list behind it. Only where the lists have grown beyond their
   share are they replaced by one that is written from the originals.

A prefix that fits is folded where that was decided once because it was cheap (`gateway/early_folds.py`), as if there
were no more room than it takes.

Between two folds nothing moves, so two requests of one conversation agree byte for byte on everything old, and that is
what keeps the provider's prompt cache warm. A fold re-buys only what stands behind the last list: that is why it goes
deep and leaves little standing (docs/decisions/0005). Pure: no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from gateway.budget.allocation import allocate
from gateway.budget.components import OVERHEAD_MESSAGE, Anatomy, Count
from gateway.conversation import Changes, Message
from gateway.memory import Memory
from gateway.rewriting.artifacts import Piece, Seen, Speakers, best, current, listed, pieces_of, ranked, said_by
from gateway.rewriting.crush import NOTHING_WANTED
from gateway.rewriting.drop_oldest import placeholder
from gateway.rewriting.ladder import Ladders, Results, Shortened
from gateway.rewriting.memory import Known
from gateway.rewriting.recall import USUAL, asks_now
from gateway.rewriting.snippets import Reader, Snippet
from gateway.rewriting.summarize import Asking, Event, Prefixes, Segment, line, segment_of

ENOUGH = 0.3
"""Shortening results alone will do where it leaves this part of the room to grow into; less, and a fold follows soon
that re-buys the prompt a second time."""
LIST_SHARE = 0.3
"""Most tokens of a list, as a part of what it stands for."""
LISTS = 2
"""All lists together take at most so many times the share of one."""
SMALL_LIST, SMALL_SHARE = 200, 0.5
"""A list may have so many tokens, as long as they are at most this part of the room."""
THIN = 0.12
"""A new list that would be a smaller part than this of what it stands for is worth rewriting the older ones for."""
POOL = 1.5
"""What a list may be written from is kept in so many times the tokens that all lists may take."""
LEAST_LIST = 40
"""Tokens below which a list says too little to stand there."""
PIECE_BYTES, VALUE_BYTES = 100, 200
"""What a piece and a value take in a walk's state."""
LINE = 24
"""Tokens of a line of ours that says what it stands for."""
SUMMARIES, CHAT_SUMMARIES = 0.5, 0.25
"""Of the share of one list, what all summaries may take; less in a chat, where it is lost to excerpts."""
CHAT_LIST = 0.5
"""Of the share of one list, what it takes in a chat: there any sentence may be asked for, and excerpts say it."""
ASKED_TAIL = 0.1
"""Of the room, what a fold leaves whole where a chat is asked about what is gone, or the last exchange where that is
longer: the rest is for excerpts."""
_HALVINGS = 5
MOVED_STEP = 64
"""Tokens."""


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
    artifacts: float = 0.0
    protect: int = 0
    effort: int = 500_000
    preserve: tuple[str, ...] = ()
    asking: Asking | None = None
    """Set where a model writes summaries."""
    binds_reasoning: bool = False
    """Whether what stands before reasoning that is still open must not change."""
    early: frozenset[int] = frozenset()
    """Prefixes, by their number of messages, that fold though they fit: decided once, when that was cheap (law 5)."""
    recalls: bool = False
    """Whether what is gone is brought back where it is asked for."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands for messages that were left out: a line, with the list of what only they held; or their summary."""

    before: int
    """Index of the message that it is put before."""
    text: str
    tokens: int
    """Of the whole message."""
    messages: int
    """How many messages it stands for, and how many tokens those had."""
    stands_for: int
    values: frozenset[str] = frozenset()
    summary_of: str | None = None
    """Set in a summary: the segment."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A conversation after its folds."""

    shortened: Mapping[int, Shortened]
    """Messages with a new text, by index."""
    dropped: Mapping[int, str]
    """Messages left out: index → remedy."""
    kept: tuple[Kept, ...]
    total: int
    forced: bool = False
    """Whether the last fold, made for this very request, came sooner than `clear_at_least` allows, freed less, or
    made room for a longer answer than the policy's reserve: that one the next request knows nothing of.
    """
    recalled: Kept | None = None
    """Excerpts of what is gone, for what is asked now."""
    events: tuple[Event, ...] = ()
    wanted: tuple[Segment, ...] = ()
    """What stands without a summary that nobody has written yet."""
    unreasoned: frozenset[int] = frozenset()
    """Messages whose reasoning was given before what stands before them changed."""

    @property
    def lines(self) -> tuple[Kept, ...]:
        """What is ours in the conversation, in order."""
        kept = sorted(self.kept, key=lambda line: line.before)
        return tuple(kept) if self.recalled is None else (*kept, self.recalled)

    @property
    def changes(self) -> Changes:
        texts = {index: short.text for index, short in self.shortened.items() if index not in self.dropped}
        inserted = tuple((one.before, one.text) for one in self.lines)
        return Changes(texts, frozenset(self.dropped), inserted, self.unreasoned - self.dropped.keys())


def fold(anatomy: Anatomy, rules: Rules, ladders: Ladders, count: Count, known: Known | None = None) -> Folded:
    """Walk the conversation's prefixes and fold where one of them is over.

    What a process remembers are the walks' states after each fold, by the content of the prefix: a request that extends
    one it knows walks on from there.
    """
    known = known or Known()
    walk = _Walk(anatomy, rules, ladders, count, known)
    keys = _prefix_keys(anatomy, rules, ladders, known.said)
    start = walk.resume(keys)
    for number in range(start, len(anatomy.units)):
        if number > start and walk.was_request(number) and walk.folds():
            walk.remember(keys[number])
        walk.add(number)
    if start < len(keys) - 1 and walk.was_request(len(anatomy.units)):
        walk.forced = False
        if walk.folds():
            walk.remember(keys[-1])
    if walk.total > rules.final_budget and walk.was_request(len(anatomy.units)):
        walk.fold(rules.final_budget)
        walk.forced = True
    return walk.folded()


def spare(anatomy: Anatomy) -> int:
    """Say how many tokens more are kept free for text that changes with each request, so that a longer date does not
    move the grid: what it takes is rounded up.
    """
    return -anatomy.moved_tokens % MOVED_STEP


def has_tools(anatomy: Anatomy) -> bool:
    return bool(anatomy.tools_tokens or anatomy.tool_of)


def reasoning_open(anatomy: Anatomy) -> frozenset[int]:
    """List the numbers of units before which the model is in the middle of what it thinks about: it has reasoned since
    the user spoke. As many as there are units: at the end.
    """
    found: set[int] = set()
    is_open = False
    for number, unit in enumerate(anatomy.units):
        if is_open:
            found.add(number)
        messages = [anatomy.conversation.messages[index] for index in unit]
        is_open = messages[0].role != "user" and (is_open or any(message.reasons for message in messages))
    return frozenset(found | {len(anatomy.units)}) if is_open else frozenset(found)


def _prefix_keys(anatomy: Anatomy, rules: Rules, ladders: Ladders, known: Memory[Message, int]) -> list[int]:
    """Hash what the walk has seen before each unit, and after the last. Good for one process, as hashes are."""
    facts = (rules.budget, rules.trigger, rules.target, rules.clear_at_least, rules.keep_turns, rules.keep_tool_results)
    more = (
        rules.artifacts,
        rules.protect,
        rules.effort,
        rules.preserve,
        rules.borrow,
        rules.binds_reasoning,
        rules.recalls,
    )
    tables = (tuple(rules.shares.items()), tuple(rules.ceilings.items()) if rules.ceilings is not None else None)
    messages, component = anatomy.conversation.messages, anatomy.component
    moved = anatomy.moved_tokens + spare(anatomy)
    key = hash(
        (facts, more, tables, ladders, rules.asking, anatomy.tools_tokens, anatomy.tokens[: anatomy.head], moved)
    )
    for message in messages[: anatomy.head]:
        key = hash((key, message.text))
    keys: list[int] = []
    says = [said or _said(one, known) for one, said in zip(messages, known.get_all(messages), strict=True)]
    for unit in anatomy.units:
        key = hash((key, "early")) if unit.first in rules.early else key
        keys.append(key)
        for index in range(unit.first, unit.after):
            said = says[index]
            key = hash((key, said, anatomy.tokens[index], component[index] in ("examples", "documents")))
    return [*keys, hash((key, "early")) if len(messages) in rules.early else key]


def _said(one: Message, said: Memory[Message, int]) -> int:
    """Hash what a message says."""
    key = hash((one.role, one.text, one.calls, one.call_id, one.name, one.content, bool(one.media), one.reasons))
    said.put(one, key, 2 * len(one.text))
    return key


_STATE = (
    *("total", "original", "now", "examples", "examples_tokens", "turns", "with_results"),
    *("shortened", "settled", "gone", "gone_messages", "kept", "pointers", "folded_at", "forced"),
    *("unread", "pool", "seen", "seen_upto", "segments", "waiting", "events", "unreasoned_upto"),
)


class _Walk:
    """The state between two prefixes. Numbers are units unless they are called messages."""

    def __init__(self, anatomy: Anatomy, rules: Rules, ladders: Ladders, count: Count, known: Known) -> None:
        self.anatomy, self.rules, self.ladders, self.count = anatomy, rules, ladders, count
        self.messages = anatomy.conversation.messages
        self.known = known
        self.results = Results(anatomy, count, known)
        self.reader, self.speakers = Reader(known.snippets, rules.preserve), Speakers(self.messages)
        self.moved = anatomy.moved_tokens + spare(anatomy)
        self.fixed = anatomy.tools_tokens + anatomy.system_tokens + self.moved
        self.room = max(0, rules.budget - self.fixed)
        self.clear = int(rules.clear_at_least * self.room)
        self.total = self.fixed
        self.original = self.fixed
        self.now: list[int] = []
        """Tokens of each unit as it stands."""
        self.examples: list[int] = []
        self.examples_tokens = 0
        self.turns: list[int] = []
        self.with_results: list[int] = []
        self.shortened: dict[int, Shortened] = {}
        self.settled: set[int] = set()
        """Results that every light remedy was tried on: their text does not move any more."""
        self.gone: dict[int, str] = {}
        self.gone_messages: dict[int, str] = {}
        self.kept: list[Kept] = []
        self.twins: dict[str, list[int]] = {}
        self.repeats: dict[tuple[str, str], list[int]] = {}
        """Results by the tool and the arguments of their call."""
        self.twins_upto = 0
        self.pointers: dict[int, tuple[int, ...]] = {}
        """By result: older ones that were replaced by a pointer to it."""
        self.folded_at: int | None = None
        self.held = reasoning_open(anatomy) if rules.binds_reasoning else frozenset[int]()
        self.unreasoned_upto = 0
        """The message before which no reasoning is bound to what was sent any more."""
        self.forced = False
        self.asks = False
        self.unread: tuple[int, ...] = ()
        """Messages that are gone and were not read for a list yet."""
        self.pool: tuple[Piece, ...] = ()
        """What of all that is gone a list may still say."""
        self.seen, self.seen_upto = Seen(), 0
        """Where the values of messages up to that one were seen: of those that stand, or may be listed."""
        self.asked = False
        """Whether the fold under way makes room for excerpts."""
        self.segments: dict[str, Segment] = {}
        self.waiting: tuple[str, ...] = ()
        """Segments that stand without a summary."""
        self.coming: list[Kept] = []
        """Summaries that the fold under way takes in."""
        self.events: list[Event] = []
        self.prefixes: Prefixes | None = None

    def remember(self, key: int) -> None:
        """Keep this state, so that the next request of the conversation goes on from it."""
        state = self._state()
        size = 100 * len(self.now) + sum(2 * len(short.text) for short in self.shortened.values())
        size += PIECE_BYTES * len(self.pool) + VALUE_BYTES * len(self.seen)
        self.known.walks.put(key, state, size + sum(2 * len(kept.text) for kept in self.kept))

    def _state(self) -> dict[str, Any]:
        return {name: copy(getattr(self, name)) for name in _STATE}

    def resume(self, keys: Sequence[int]) -> int:
        """Take up the state of the longest prefix that is known; return the number of the unit that comes next."""
        for number in range(len(keys) - 1, 0, -1):
            state = self.known.walks.get(keys[number]) if self.was_request(number) else None
            if state is not None and self._holds(state["events"]):
                for name, value in state.items():
                    setattr(self, name, copy(value))
                return number
        return 0

    def was_request(self, number: int) -> bool:
        """Whether the units before this one were a request that may be changed: an assistant answered it, or nothing
        follows, and no reasoning is held open in it.
        """
        if number in self.held:
            return False
        if number == len(self.anatomy.units):
            return True
        first = self.anatomy.units[number].first
        return self.messages[first].role == "assistant" and self.anatomy.component[first] != "examples"

    def add(self, number: int) -> None:
        """Take one more unit into the prefix."""
        unit = self.anatomy.units[number]
        tokens = sum(self.anatomy.tokens[unit.first : unit.after])
        if self.messages[unit.first].role == "user":
            self.turns.append(number)
        if unit.after - unit.first > 1:
            self.with_results.append(number)
        if self._is_example(number):
            self.examples.append(number)
            self.examples_tokens += tokens
        self.now.append(tokens)
        self.total += tokens
        self.original += tokens

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
        if self.folded_at is None or self._soon():
            return False
        bending = self._bending()
        if self._is_asked() and bending - ASKED_TAIL * self.room - self._share() >= self.clear:
            return True
        return bending > self.rules.trigger * self.room and bending - self.rules.target * self.room >= self.clear

    def _is_chat(self) -> bool:
        return not self.anatomy.tools_tokens and not self.with_results

    def _is_asked(self) -> bool:
        """Whether a chat's prefix ends with a question about what is gone: the excerpts will need all the room."""
        if not self.rules.recalls or not self._is_chat() or self.turns[-1:] != [len(self.now) - 1]:
            return False
        *before, asked = [self.messages[self.anatomy.units[number].first].text for number in self.turns[-USUAL - 1 :]]
        return asks_now(asked, before, self.known.asks) > 0

    def _soon(self) -> bool:
        return self.folded_at is not None and self.original - self.folded_at < self.clear

    def _hard(self) -> set[int]:
        """Units no fold may touch: the newest one, the last user message, and results that it came right behind."""
        last = len(self.now) - 1
        unanswered = {last - 1} if last and self._is_unanswered(last - 1) else set()
        return {*range(len(self.now))[-1:], *self.turns[-1:], *unanswered}

    def _is_unanswered(self, number: int) -> bool:
        """Whether a unit ends in results that nobody has spoken to yet, and that newest.py can shorten."""
        if "crush" not in self.ladders.input or self.rules.ceilings is not None or number in self.gone:
            return False
        asks_next = self.turns[-1:] == [number + 1]
        return (
            asks_next
            and self._has_results(number)
            and not any(self.messages[i].media for i in self.anatomy.units[number])
        )

    def _bending(self) -> int:
        """Tokens of what folds could touch: history, and the documents that retrieval brought."""
        return self.total - self.fixed - self.examples_tokens - self._tokens_of(self._hard())

    def _tokens_of(self, numbers: Iterable[int]) -> int:
        return sum(self.now[n] for n in numbers if not self._is_example(n))

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
            "history": self.total - self.fixed + self.moved - hard - examples - documents,
        }

    # ------------------------------------------------------------ how

    def folds(self) -> bool:
        """Fold the prefix where it is over, or where that was decided; whether it did."""
        if self.is_over(self.rules.budget):
            self.fold(self.rules.budget)
            return True
        upto = self.anatomy.units[len(self.now) - 1].after if self.now else 0
        return upto in self.rules.early and not self._soon() and self._fold_early()

    def _fold_early(self) -> bool:
        """Fold a prefix that fits as if there were no more room than it takes; not where that frees too little."""
        before, room, clear = self._state(), self.room, self.clear
        self.room = min(room, self.total - self.fixed)
        self.clear = int(self.rules.clear_at_least * self.room)
        self.fold(self.total, early=True)
        is_worth_it: bool = self.total <= before["total"] - max(1, self.clear)
        self.room, self.clear, self.forced = room, clear, False
        if not is_worth_it:
            for name, value in before.items():
                setattr(self, name, value)
        return is_worth_it

    def fold(self, budget: int, *, early: bool = False) -> None:
        """Make the prefix fit, and leave it room to grow where that can be had."""
        soon, most, due = self._soon(), min(self.total, budget), self._is_due()
        self.folded_at, self.asked = self.original, self._is_asked()
        self.unreasoned_upto = self.anatomy.units[len(self.now) - 1].after if self.now else 0
        self.asks = self.rules.asking is not None and (early or budget == self.rules.budget)
        self._fold_examples_and_documents(budget)
        self._shorten_results(budget)
        if self.ladders.history and (due or self.total > budget - int(ENOUGH * self.room) or self._above_ceiling()):
            self._decide_on_summaries()
            self._leave_out(self._beyond_tail(), budget)
        self.forced = soon or self.total > most - self.clear
        if self.total > budget:
            self.forced = True
            self._force(budget)

    def _shorten_results(self, budget: int) -> None:
        """Let old results rise through their rungs: what keeps turns gives way first, then what keeps results."""
        for kept in self._spared():
            for number in self.with_results:
                if number not in kept and number not in self.gone:
                    for remedy in self.ladders.light:
                        self._shorten(number, remedy, "history")
                    self.settled.update(self.anatomy.units[number])
            for remedy in self.ladders.heavy:
                for number in self.with_results:
                    if self.total <= self._goal(budget):
                        break
                    if number not in kept and number not in self.gone:
                        self._shorten(number, remedy, "history")
            if self.ladders.history or self.total <= budget - max(self.clear, int(ENOUGH * self.room)):
                return

    def _goal(self, budget: int) -> int:
        """Choose the total to come down to: `target` of the room for history, and less where input leaves less."""
        fixed = self.total - self._bending()
        left = budget - fixed
        history = min(int(self.rules.target * self.room), max(left - self.clear, int(left * self.rules.target)))
        return fixed + max(0, history)

    def _spared(self) -> Iterator[set[int]]:
        """Yield what stays untouched in each attempt."""
        hard = self._hard()
        results = set(self.with_results[-self.rules.keep_tool_results :] if self.rules.keep_tool_results else ())
        followed = 0
        for number in range(len(self.now) - 1, -1, -1):
            if followed >= min(self.rules.protect, self._tail_room()):
                break
            followed += self.now[number]
            results.add(number)
        if self.rules.keep_turns and self.turns:
            first = self.turns[-self.rules.keep_turns :][0]
            yield hard | results | set(range(first, len(self.now)))
        yield hard | results
        yield hard

    def _tail_room(self) -> int:
        """Tokens of the units that a fold leaves whole, beside those it may not touch."""
        share = max(0.0, self.rules.target - self.rules.artifacts)
        room = int(share * max(0, self.room - self._tokens_of(self._hard())))
        if self.asked:
            answered = self._tokens_of(range(len(self.now) - 3, len(self.now) - 1)) if len(self.now) > 2 else 0
            room = min(room, max(int(ASKED_TAIL * self.room), answered))
        if self.rules.ceilings is not None:
            room = min(room, int(self.rules.ceilings["history"] * share / (self.rules.target or 1.0)))
        return room

    def _share(self) -> int:
        """Give the most tokens of one list: the policy's share, and more where that would say next to nothing."""
        share = int(self._list_share() * self.room)
        return max(share, min(SMALL_LIST, int(SMALL_SHARE * self.room))) if share else 0

    def _share_of_all(self) -> int:
        return self._share() if self.asked else max(int(LISTS * self._list_share() * self.room), self._share())

    def _list_share(self) -> float:
        return self.rules.artifacts * (CHAT_LIST if self._is_chat() else 1.0)

    def _beyond_tail(self) -> list[int]:
        """List the units that a fold takes away: all but the newest that fit the tail."""
        hard, left = self._hard(), self._tail_room() - self._summaries_tokens()
        out: list[int] = []
        for number in range(len(self.now) - 1, -1, -1):
            if number in hard or number in self.gone or self._is_example(number):
                continue
            left -= self.now[number]
            if left < 0:
                out.append(number)
        return out[::-1]

    def _leave_out(self, numbers: Sequence[int], budget: int) -> None:
        """Drop units, and say what only they held: in a list of their own, or, where room is short, in one for all."""
        for number in numbers:
            self._drop(number, "drop_oldest")
        fresh = [index for number in numbers for index in self.anatomy.units[number]]
        if not fresh:
            return
        all_gone = sorted(index for index in self.gone_messages if self.anatomy.component[index] != "examples")
        tokens = sum(self.anatomy.tokens[index] for index in fresh)
        share = self._share()
        least = max(LEAST_LIST, THIN * min(tokens, share / LIST_SHARE))
        left = min(self._share_of_all() - sum(kept.tokens for kept in self.kept), self._free(budget) - self.clear)
        self._enter_summaries(min(fresh), left - least)
        left = min(self._share_of_all() - sum(kept.tokens for kept in self.kept), self._free(budget) - self.clear)
        room = min(int(LIST_SHARE * tokens), share, left)
        if room < least:
            self._take_back()
            fresh, room = all_gone, min(share, int(0.7 * self._free(budget)))
        self._write(fresh, all_gone, room)

    def _free(self, budget: int) -> int:
        free = budget - self.total
        if self.rules.ceilings is not None:
            free = min(free, self.rules.ceilings["history"] - self.demand()["history"])
        return free

    def _holds(self, events: Sequence[Event]) -> bool:
        asking = self.rules.asking
        return asking is None or all(event.holds(asking.facts) for event in events)

    def _decide_on_summaries(self) -> None:
        """Decide which summaries of what earlier folds left out come in now: those that are there, as far as recorded.

        Everything that follows depends on this alone, so it is told even where nothing comes of it.
        """
        self.coming = []
        asking = self.rules.asking
        if asking is None or not self.asks or not self.waiting:
            return
        prefix = self._prefix(asking)
        if self.events and self.events[-1].prefix == prefix:
            return  # it folds a second time; what enters is decided once
        decided, room = asking.facts.decisions.get(prefix), self._summaries_room()
        texts: list[tuple[str, str]] = []
        for key in self.waiting:
            text = asking.facts.texts.get(key)
            if text is None or (decided is not None and key not in decided):
                continue
            segment, said = self.segments[key], line(self.segments[key], text)
            size = OVERHEAD_MESSAGE + self.count(said)
            room -= size
            if room >= 0:
                self.coming.append(Kept(0, said, size, len(segment.messages), segment.tokens, summary_of=key))
                texts.append((key, text))
        self.events.append(Event(prefix, self.waiting, tuple(texts)))

    def _enter_summaries(self, before: int, left: float) -> None:
        """Put in the summaries that come, as far as `left`, the room for lines of ours that come anew, takes them."""
        for kept in self.coming:
            if kept.tokens <= left:
                self.kept.append(replace(kept, before=before))
                self.total += kept.tokens
                left -= kept.tokens
                self.waiting = tuple(key for key in self.waiting if key != kept.summary_of)

    def _summaries_tokens(self) -> int:
        """Count the summaries that stand and that come now: a fold leaves so much less whole, and is due no sooner."""
        return sum(kept.tokens for kept in (*self.kept, *self.coming) if kept.summary_of)

    def _summaries_room(self) -> int:
        """Give the room that is left for summaries."""
        return self._most_summaries() - sum(kept.tokens for kept in self.kept if kept.summary_of)

    def _most_summaries(self) -> int:
        share = self.rules.artifacts * (CHAT_SUMMARIES if self._is_chat() else SUMMARIES)
        return int(share * self.room)

    def _prefix(self, asking: Asking) -> str:
        if self.prefixes is None:
            ceilings = tuple((self.rules.ceilings or {}).items())
            facts = (self.rules.budget, self.anatomy.tools_tokens, ceilings)
            self.prefixes = Prefixes(asking, self.messages, *facts)
        return self.prefixes.key(self.anatomy.units[len(self.now) - 1].after)

    def _ask(self, gone: Sequence[int]) -> None:
        """Choose what is to be summarised now: all that is gone and that no summary speaks of.

        Where summaries have filled their share, or were taken back with the lists, one of everything is asked for, but
        only once as much again is gone as they speak of: so all summaries together read a conversation about twice.
        """
        asking = self.rules.asking
        if asking is None or not self.asks:
            return
        written = {key for event in self.events for key in event.decision}
        taken_back = tuple(key for key in self.waiting if key in written)
        standing = [kept.summary_of for kept in self.kept if kept.summary_of]
        spoken_of = {index for key in (*taken_back, *standing) for index in self.segments[key].messages}
        rest = [index for index in gone if index not in spoken_of]
        grown, known = (sum(self.anatomy.tokens[index] for index in part) for part in (rest, spoken_of))
        room = self._summaries_room()
        if taken_back or room < LEAST_LIST + LINE:
            if grown < max(self.clear, known):
                return
            self._take_back_summaries()
            rest, grown, room = list(gone), grown + known, self._summaries_room()
        elif grown < self.clear:
            return
        segment = segment_of(asking, self.messages, rest, grown, min(room, self._most_summaries() // 2) - LINE)
        if segment is not None:
            self.segments[segment.key] = segment
            self.waiting = (segment.key,)

    def _take_back(self) -> None:
        self.waiting = (*(kept.summary_of for kept in self.kept if kept.summary_of), *self.waiting)
        self.total -= sum(kept.tokens for kept in self.kept)
        self.kept.clear()

    def _take_back_summaries(self) -> None:
        self.total -= sum(kept.tokens for kept in self.kept if kept.summary_of)
        self.kept = [kept for kept in self.kept if not kept.summary_of]

    def _write(self, stands_for: Sequence[int], all_gone: Sequence[int], room: int) -> None:
        """Put a line, and a list as large as the room, where messages were left out."""
        messages, tokens = len(stands_for), sum(self.anatomy.tokens[index] for index in stands_for)
        text, values = placeholder(messages, tokens), frozenset[str]()
        self._ask(all_gone)
        asking = self.rules.asking
        if room >= LEAST_LIST and self.rules.artifacts and (asking is None or asking.lists):
            head = placeholder(messages, tokens, holds=True)
            said, values = self._listed(room - OVERHEAD_MESSAGE - self.count(head) - 1)
            text = f"{head}\n{said}" if said else text
        last = self.kept[-1] if self.kept else None
        before = min(stands_for)
        if last is not None and not last.values and not values and not last.summary_of:
            self._take_back_last(last)
            messages, tokens, before = messages + last.messages, tokens + last.stands_for, min(before, last.before)
            text = placeholder(messages, tokens)
        size = OVERHEAD_MESSAGE + self.count(text)
        self.kept.append(Kept(before, text, size, messages, tokens, values))
        self.total += size

    def _take_back_last(self, last: Kept) -> None:
        self.kept.pop()
        self.total -= last.tokens

    def _listed(self, room: int) -> tuple[str, frozenset[str]]:
        """Write a list of what only the messages that are gone hold, in at most `room` tokens."""
        standing = self._standing_values()
        self._read_what_is_gone()
        self.pool = best(ranked(self.pool, self.seen), int(POOL * self._share_of_all()))
        self.seen.keep(standing | said_by(self.pool))
        elsewhere = standing.union(*[kept.values for kept in self.kept])
        return listed(self.pool, self.seen, elsewhere, room, self.count)

    def _standing_values(self) -> set[str]:
        standing = [i for n in range(len(self.now)) if n not in self.gone for i in self.anatomy.units[n]]
        return {
            value
            for index in (*range(self.anatomy.head), *standing)
            for value in self.reader.values(self.messages[index])
        }

    def _read_what_is_gone(self) -> None:
        """Read what came and what went since the last list; of what went the newest, within `effort`."""
        upto = self.anatomy.units[len(self.now) - 1].after
        for message in self.messages[max(self.seen_upto, self.anatomy.head) : upto]:
            self.seen.add(message, self.reader.snippets(message))
        self.seen_upto = upto
        effort, pool = self.rules.effort, list(self.pool)
        for index in reversed(self.unread):
            effort -= self.anatomy.tokens[index]
            if effort < 0:
                break
            message = self.messages[index]
            pool += pieces_of(index, self.speakers.who(index), self.reader.snippets(message), message.role)
        self.pool, self.unread = tuple(current(pool, self._newer)), ()

    def _newer(self, index: int) -> tuple[Snippet, ...]:
        """Read the newest result in the prefix that answers the same call as this one, later."""
        newer = self.speakers.newer(index, self.anatomy.units[len(self.now) - 1].after)
        return () if newer is None else self.reader.snippets(self.messages[newer])

    def _shorten(self, number: int, remedy: str, component: str) -> None:
        unit = self.anatomy.units[number]
        for index in range(unit.first + 1, unit.after):
            if (self.anatomy.component[index] == "documents") != (component == "documents"):
                continue
            if index in self.settled and remedy != "stub":
                continue
            if remedy in ("stub", "crush") and self._is_pointed_at(index):
                continue
            if remedy == "crush" and self.anatomy.tokens[index] > self.rules.effort:
                continue
            newer = self._twin(index) if remedy == "dedupe" else None
            short = self.results.shorten(remedy, index, newer)
            before = self._message_tokens(index)
            if short is None or (short.tokens >= before and remedy != "stub"):
                continue
            if newer is not None:
                self.pointers[newer] = (*self.pointers.get(newer, ()), index)
            self._now_says(number, index, short)

    def _now_says(self, number: int, index: int, short: Shortened) -> None:
        change = short.tokens - self._message_tokens(index)
        self.shortened[index] = short
        self.now[number] += change
        self.total += change

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
        else:
            self.unread = (*self.unread, *unit)
        self.now[number] = 0
        self.gone_messages |= dict.fromkeys(unit, remedy)

    def _above_ceiling(self) -> bool:
        return self.rules.ceilings is not None and self.demand()["history"] > self.rules.ceilings["history"]

    def _force(self, budget: int) -> None:
        """Make room where a fold did not: smaller lists, then units of the tail, then examples, then no line at all."""
        if self.ladders.history:
            self._take_back()
            hard = self._hard()
            for number in range(len(self.now)):
                if self.total <= budget:
                    break
                if number not in hard and number not in self.gone and not self._is_example(number):
                    self._drop(number, "drop_oldest")
            self._write_one_list(budget)
        elif "crush" in self.ladders.tool_results:
            self._crush_with_loss(budget)
        self._drop_examples(0, budget)
        if self.total > budget and not self._newest_bends(budget):
            self._take_back()

    def _newest_bends(self, budget: int) -> bool:
        """Whether the newest results will be shortened for this prefix (newest.py): then a list can be had as well."""
        last = len(self.now) - 1
        ends_with_results = last in self.with_results or (last > 0 and self._is_unanswered(last - 1))
        if "crush" not in self.ladders.input or self.rules.ceilings is not None or not ends_with_results:
            return False
        return self.fixed + self._tokens_of(self._hard()) > budget

    def _write_one_list(self, budget: int) -> None:
        """Write one list for all that is gone, as large as there is room."""
        all_gone = sorted(index for index in self.gone_messages if self.anatomy.component[index] != "examples")
        if all_gone:
            share = self._share()
            room = min(share, budget - self.total)
            self._write(all_gone, all_gone, max(room, share // 2) if self._newest_bends(budget) else room)

    def _crush_with_loss(self, budget: int) -> None:
        """Where nothing may be left out, halve old results, the oldest first, as often as it takes."""
        hard = self._hard()
        for _ in range(_HALVINGS):
            for number in self.with_results:
                for index in range(self.anatomy.units[number].first + 1, self.anatomy.units[number].after):
                    if self.total <= budget:
                        return
                    if number in hard or self._is_pointed_at(index) or self.anatomy.tokens[index] > self.rules.effort:
                        continue
                    short = self.results.crushed_to(index, self._message_tokens(index) // 2, NOTHING_WANTED)
                    if short is not None and self._is_shorter(index, short):
                        self._now_says(number, index, short)

    def _is_shorter(self, index: int, short: Shortened) -> bool:
        """Whether a result would say less than it does, in tokens and characters; a stub is the least there is."""
        said = self.shortened.get(index)
        if said is not None and (said.remedy == "stub" or len(short.text) >= len(said.text)):
            return False
        return short.tokens < self._message_tokens(index)

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
        """Find the newest later result in the prefix that says the same, or answers the same call, as it came.

        None also for a result that an older one points to: it stays, or the pointer would lead to a pointer.
        """
        if index in self.pointers:
            return None
        while self.twins_upto < len(self.now):
            unit = self.anatomy.units[self.twins_upto]
            for result in range(unit.first + 1, unit.after):
                self.twins.setdefault(self.results.minified(result), []).append(result)
                self.repeats.setdefault(self._asked_by(unit.first, result), []).append(result)
            self.twins_upto += 1
        newest = self.twins[self.results.minified(index)][-1]
        if newest > index:
            return newest if self._stands(newest, ("minify", "crush")) else None
        first = next(unit.first for unit in self.anatomy.units if index in range(unit.first, unit.after))
        newest = self.repeats[self._asked_by(first, index)][-1]
        return newest if newest > index and self._stands(newest, ()) else None

    def _stands(self, index: int, remedies: Sequence[str]) -> bool:
        short = self.shortened.get(index)
        return index not in self.gone_messages and (short is None or short.remedy in remedies)

    def _asked_by(self, first: int, index: int) -> tuple[str, str]:
        call_id = self.messages[index].call_id
        arguments = next((call.arguments for call in self.messages[first].calls if call.id == call_id), call_id or "")
        return self.anatomy.tool_of.get(index, ""), arguments

    def folded(self) -> Folded:
        unreasoned = self._unreasoned()
        empty = [index for index in unreasoned - self.gone_messages.keys() if not self._says(index)]
        return Folded(
            self.shortened,
            {**self.gone_messages, **dict.fromkeys(empty, "drop_oldest")},
            tuple(self.kept),
            self.total - spare(self.anatomy) - sum(self.anatomy.tokens[index] for index in empty),
            self.forced,
            events=tuple(self.events),
            wanted=tuple(self._wanted()),
            unreasoned=unreasoned,
        )

    def _says(self, index: int) -> bool:
        """Whether a message says anything beside its reasoning."""
        message = self.messages[index]
        return bool(message.calls or message.text.strip() or message.media)

    def _unreasoned(self) -> frozenset[int]:
        """List the messages that stand behind the first change and came before the last fold was made.

        Without tools a turn is one answer, so there is none whose reasoning is still open; excerpts move with each
        question. The last message stays, so it keeps its reasoning where it says nothing else.
        """
        changed = [*self.shortened, *self.gone_messages, *(kept.before for kept in self.kept)]
        if not self.rules.binds_reasoning or not changed:
            return frozenset()
        upto = self.unreasoned_upto if has_tools(self.anatomy) else len(self.messages)
        found = [index for index in range(min(changed), upto) if self.messages[index].reasons]
        return frozenset([index for index in found if index < len(self.messages) - 1 or self._says(index)])

    def _wanted(self) -> Iterator[Segment]:
        asking = self.rules.asking
        if asking is not None:
            for key in self.waiting:
                if asking.facts.texts.get(key) is None:
                    yield self.segments[key]

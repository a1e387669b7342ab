"""The moments at which a conversation folds: a walk over its prefixes, each of which was a request.

The client sends the whole conversation every time, so the state of a fold is not stored: it is computed again from the
conversation's own prefixes. The walk adds unit after unit and folds where a prefix is over (`cutting.py` says how). A
prefix that fits is folded where that was decided once because it was cheap (`serving/early_folds.py`), as if there
were no more room than it takes.

Between two folds nothing moves, so two requests of one conversation agree byte for byte on everything old, and that is
what keeps the provider's prompt cache warm. A fold re-buys what stands behind its first change: that is why it goes
deep and leaves little standing (docs/decisions/0005). Pure: no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.budget.components import Anatomy, Count
from gateway.conversation import Message
from gateway.memory import Memory
from gateway.rewriting.folds.cutting import Cutting
from gateway.rewriting.folds.due import is_due, is_soon
from gateway.rewriting.folds.state import Prefix, spare
from gateway.rewriting.folds.values import FoldedConversation, FoldRules, as_kept
from gateway.rewriting.folds.voiced import Voiced
from gateway.rewriting.ladder import Ladders
from gateway.rewriting.memory import Known


def fold(
    voiced: Voiced, rules: FoldRules, ladders: Ladders, count: Count, known: Known | None = None
) -> FoldedConversation:
    """Walk the conversation's prefixes and fold where one of them is over.

    A process remembers the walks' states after each fold, by the content of the prefix: a request that extends a known
    one walks on from there.
    """
    known = known or Known()
    anatomy = voiced.anatomy
    walk = _Walk(voiced, rules, ladders, count, known)
    keys = _prefix_keys(anatomy, rules, ladders, known.said)
    start = walk.resume(keys)
    for number in range(start, len(anatomy.units)):
        if number > start and walk.was_request(number) and walk.folds():
            walk.remember(keys[number])
        walk.prefix.add(number)
    state = walk.prefix.state
    if start < len(keys) - 1 and walk.was_request(len(anatomy.units)):
        state.forced = False
        if walk.folds():
            walk.remember(keys[-1])
        state = walk.prefix.state
    if walk.prefix.least > rules.final_budget and walk.was_request(len(anatomy.units)):
        walk.cutting.fold(rules.final_budget)
        state.forced = True
    return walk.folded()


def has_tools(anatomy: Anatomy) -> bool:
    return bool(anatomy.tools_tokens or anatomy.tool_of)


def reasoning_open(anatomy: Anatomy) -> frozenset[int]:
    """List the numbers of units before which the model is in the middle of what it thinks about: it has reasoned since
    the user spoke. As many as there are units: at the end.
    """
    numbers: set[int] = set()
    is_open = False
    for number, unit in enumerate(anatomy.units):
        if is_open:
            numbers.add(number)
        messages = [anatomy.conversation.messages[index] for index in unit]
        is_open = messages[0].role != "user" and (is_open or any(message.reasons for message in messages))
    return frozenset(numbers | {len(anatomy.units)}) if is_open else frozenset(numbers)


def _prefix_keys(anatomy: Anatomy, rules: FoldRules, ladders: Ladders, known: Memory[Message, int]) -> list[int]:
    """Hash what the walk has seen before each unit, and after the last. Good for one process, as hashes are."""
    ceilings = tuple(rules.ceilings.items()) if rules.ceilings is not None else None
    messages, component = anatomy.conversation.messages, anatomy.component
    moved = anatomy.moved_tokens + spare(anatomy)
    facts = (*(getattr(rules, name) for name in _BINDING), ceilings, ladders)
    key = hash((facts, anatomy.tools_tokens, anatomy.tokens[: anatomy.head], moved))
    for message in messages[: anatomy.head]:
        key = hash((key, message.text))
    keys: list[int] = []
    says = [said or _said(message, known) for message, said in zip(messages, known.get_all(messages), strict=True)]
    for unit in anatomy.units:
        key = hash((key, "early")) if unit.first in rules.early else key
        keys.append(key)
        for index in range(unit.first, unit.after):
            key = hash((key, says[index], anatomy.tokens[index], component[index] in ("examples", "documents")))
    return [*keys, hash((key, "early")) if len(messages) in rules.early else key]


_BINDING = (
    *(
        "budget",
        "shares",
        "trigger",
        "target",
        "clear_at_least",
        "keep_turns",
        "keep_tool_results",
        "borrow",
        "documents",
    ),
    *("artifacts", "user_text", "protect", "effort", "preserve", "asking", "binds_reasoning", "recall", "answer"),
)
"""Rules that decide how a prefix folds."""


def _said(message: Message, known: Memory[Message, int]) -> int:
    """Hash what a message says."""
    key = hash(
        (
            message.role,
            message.text,
            message.calls,
            message.call_id,
            message.name,
            message.content,
            bool(message.media),
            message.reasons,
        )
    )
    known.put(message, key, 2 * len(message.text))
    return key


class _Walk:
    """A prefix, and when it folds."""

    def __init__(self, voiced: Voiced, rules: FoldRules, ladders: Ladders, count: Count, known: Known) -> None:
        self.rules, self.ladders, self.known = rules, ladders, known
        self.anatomy, self.messages = voiced.anatomy, voiced.anatomy.conversation.messages
        self.prefix = Prefix(
            voiced, rules, newest_bend="crush" in ladders.input, documents_bend="extract" in ladders.documents
        )
        self.cutting = Cutting(self.prefix, ladders, count, known)
        self.held = reasoning_open(self.anatomy) if rules.binds_reasoning else frozenset[int]()

    def remember(self, key: int) -> None:
        """Keep this state, so that the next request of the conversation goes on from it."""
        state = self.prefix.state.copied()
        self.known.walks.put(key, state, state.size_bytes)

    def resume(self, keys: Sequence[int]) -> int:
        """Take up the state of the longest prefix that is known; return the number of the unit that comes next."""
        for number in range(len(keys) - 1, 0, -1):
            state = self.known.walks.get(keys[number]) if self.was_request(number) else None
            if state is not None and state.summaries.holds(self.rules.asking):
                self.prefix.state = state.copied()
                return number
        return 0

    def was_request(self, number: int) -> bool:
        """Tell whether the units before this one were a request that may be changed: an assistant answered it, or
        nothing follows, and no reasoning is held open in it.
        """
        if number in self.held:
            return False
        if number == len(self.anatomy.units):
            return True
        first = self.anatomy.units[number].first
        return self.messages[first].role == "assistant" and self.anatomy.component[first] != "examples"

    def folds(self) -> bool:
        """Fold the prefix where it is over, or where that was decided; return whether it did."""
        if self.is_over(self.rules.budget):
            self.cutting.fold(self.rules.budget)
            return True
        return self.prefix.upto in self.rules.early and not is_soon(self.prefix) and self._fold_early()

    def is_over(self, budget: int) -> bool:
        if self.prefix.least > budget:
            return True
        if self.rules.ceilings is not None and any(
            tokens > self.rules.ceilings[name]
            for name, tokens in self.prefix.demand().items()
            if name in self.ladders.with_remedy and (name != "documents" or self.prefix.old_documents())
        ):
            return True
        return is_due(self.prefix)

    def _fold_early(self) -> bool:
        """Fold a prefix that fits as if there were no more room than it takes; not where that frees too little."""
        prefix = self.prefix
        before = prefix.state.copied()
        prefix.width = prefix.state.total - prefix.fixed
        self.cutting.fold(prefix.state.total, early=True)
        is_worth_it = prefix.state.total <= before.total - max(1, prefix.clear)
        prefix.width, prefix.state.forced = None, False
        if not is_worth_it:
            prefix.state = before
        return is_worth_it

    # ------------------------------------------------------------ the result

    def folded(self) -> FoldedConversation:
        state = self.prefix.state
        unreasoned = self._unreasoned()
        empty = [index for index in unreasoned - state.gone_messages.keys() if not self._says(index)]
        return FoldedConversation(
            state.shortened,
            {**state.gone_messages, **dict.fromkeys(empty, "drop_oldest")},
            (*state.kept, *map(as_kept, state.summaries.standing)),
            state.total - spare(self.anatomy) - sum(self.anatomy.tokens[index] for index in empty),
            state.forced,
            events=state.summaries.events,
            wanted=state.summaries.wanted(self.rules.asking),
            unreasoned=unreasoned,
            documents_room=self._documents_room(),
            documents_free=self._documents_free(),
        )

    def _documents_room(self) -> int | None:
        """Return the most that documents of the newest message take: all that is left where history is not folded;
        else their share, and what history has not grown into; under `strict` their ceiling.
        """
        prefix = self.prefix
        if not prefix.newest_documents or not self.ladders.documents:
            return None
        if self.rules.ceilings is None and not prefix.state.gone:
            return None
        return max(0, self._documents_most() - prefix.old_documents())

    def _documents_free(self) -> int:
        """Return the tokens that documents may take and do not."""
        prefix = self.prefix
        if not prefix.state.has_documents:
            return 0
        return max(0, self._documents_most() - prefix.old_documents() - prefix.newest_documents)

    def _documents_most(self) -> int:
        """Return the most that all documents may take: what history leaves, a tenth of its room apart once it is
        folded, for that it grows into soon.
        """
        prefix = self.prefix
        if self.rules.ceilings is not None:
            return self.rules.ceilings["documents"]
        history = prefix.bending - prefix.old_documents()
        if prefix.state.gone:
            history = max(history, prefix.room - prefix.input - prefix.clear)
        return max(self.rules.documents, prefix.whole_room - prefix.input - history)

    def _says(self, index: int) -> bool:
        """Tell whether a message says anything beside its reasoning."""
        message = self.messages[index]
        return bool(message.calls or message.text.strip() or message.media)

    def _unreasoned(self) -> frozenset[int]:
        """List the messages that stand behind the first change and came before the last fold was made.

        Without tools a turn is one answer, so there is none whose reasoning is still open; excerpts move with each
        question. The last message stays, so it keeps its reasoning where it says nothing else.
        """
        state = self.prefix.state
        ours = (*state.kept, *map(as_kept, state.summaries.standing))
        changed = [*state.shortened, *state.gone_messages, *(line.before for line in ours)]
        if not self.rules.binds_reasoning or not changed:
            return frozenset()
        moves = self.rules.recall and not has_tools(self.anatomy)
        upto = len(self.messages) if moves else state.unreasoned_upto
        reasons = [index for index in range(min(changed), upto) if self.messages[index].reasons]
        return frozenset([index for index in reasons if index < len(self.messages) - 1 or self._says(index)])

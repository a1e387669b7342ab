"""The moments at which a conversation folds: a walk over its prefixes, each of which was a request.

The client sends the whole conversation every time, so nothing of a fold is stored: its state is computed again from the
conversation's own prefixes. The walk goes from one to the next and takes a step where a prefix is over (`due.py` says
when, `steps.py` how). A prefix that fits is folded where that was decided once because it was cheap
(`serving/early_folds.py`), as if there were no more room than it takes.

Between two folds nothing moves, so two requests of one conversation agree byte for byte on everything old, and that is
what keeps the provider's prompt cache warm. A fold re-buys what stands behind its first change: that is why it goes
deep and leaves little standing (docs/decisions/0005). Pure: no clock, no randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial

from gateway.budget.components import Anatomy, Count
from gateway.conversation import Message
from gateway.memory import Memory
from gateway.rewriting.folds.due import is_over, is_soon
from gateway.rewriting.folds.materials import Materials
from gateway.rewriting.folds.outline import Outline, spare
from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.result import folded_conversation
from gateway.rewriting.folds.standing import Standing
from gateway.rewriting.folds.state import FoldState
from gateway.rewriting.folds.steps import folded_state
from gateway.rewriting.folds.values import FoldedConversation, FoldRules
from gateway.rewriting.folds.voiced import Voiced
from gateway.rewriting.ladder import Ladders
from gateway.rewriting.memory import Known


def fold(
    voiced: Voiced, rules: FoldRules, ladders: Ladders, count: Count, known: Known | None = None
) -> FoldedConversation:
    """Walk the conversation's prefixes and fold where one of them is over.

    A process remembers the states after each fold, by the content of the prefix: a request that extends a known one
    walks on from there.
    """
    known, anatomy = known or Known(), voiced.anatomy
    outline, whole = Outline(voiced), len(anatomy.units)
    materials = Materials(outline, rules, count, known)
    held = reasoning_open(anatomy) if rules.binds_reasoning else frozenset[int]()
    is_request = partial(_is_request, anatomy, held)
    keys = _prefix_keys(anatomy, rules, ladders, known.said)
    start, state = _resumed(keys, is_request, rules, known)
    for units in filter(is_request, range(start + 1, whole + 1)):
        before = replace(state, forced=False) if units == whole else state
        state = step(before, Prefix(outline, rules, ladders, units), materials)
        if state is not before:
            known.walks.put(keys[units], state, state.size_bytes)
    prefix = Prefix(outline, rules, ladders, whole)
    asks_for_more = rules.final_budget < rules.budget
    if asks_for_more and is_request(whole) and Standing(prefix, state).least > rules.final_budget:
        state = replace(folded_state(prefix, state, materials, rules.final_budget), forced=True)
    return folded_conversation(prefix, state)


def step(state: FoldState, prefix: Prefix, materials: Materials) -> FoldState:
    """Fold a prefix where it is over, or where that was decided; else return the very same state."""
    rules, standing = prefix.rules, Standing(prefix, state)
    if is_over(standing, state.last):
        return folded_state(prefix, state, materials, rules.budget)
    if prefix.upto in rules.early and not is_soon(prefix, state.last):
        return _folded_early(standing, state, materials)
    return state


def _folded_early(standing: Standing, state: FoldState, materials: Materials) -> FoldState:
    """Fold a prefix that fits as if there were no more room than it takes; not where that frees too little."""
    total = standing.total
    prefix = replace(standing.prefix, width=total - standing.outline.fixed)
    folded = folded_state(prefix, state, materials, total, early=True)
    is_worth_it = Standing(prefix, folded).total <= total - max(1, prefix.clear)
    return replace(folded, forced=False) if is_worth_it else state


def _is_request(anatomy: Anatomy, held: AbstractSet[int], units: int) -> bool:
    """Tell whether the first so many units were a request that may be changed: an assistant answered it, or nothing
    follows, and no reasoning is held open in it.
    """
    if units in held:
        return False
    if units == len(anatomy.units):
        return True
    first = anatomy.units[units].first
    return anatomy.conversation.messages[first].role == "assistant" and anatomy.component[first] != "examples"


def _resumed(
    keys: Sequence[int], is_request: Callable[[int], bool], rules: FoldRules, known: Known
) -> tuple[int, FoldState]:
    """Find the longest prefix that is known; return its units and its state."""
    for units in range(len(keys) - 1, 0, -1):
        state: FoldState | None = known.walks.get(keys[units]) if is_request(units) else None
        if state is not None and state.summaries.holds(rules.asking):
            return units, state
    return 0, FoldState()


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
    borrows = [name in ("examples", "documents") for name in component]
    facts_of = [*zip(says, anatomy.tokens, borrows, strict=True)]
    for unit in anatomy.units:
        key = hash((key, "early")) if unit.first in rules.early else key
        keys.append(key)
        key = hash((key, *facts_of[unit.first : unit.after]))
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

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

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from gateway.budget.components import Anatomy, Count
from gateway.conversation import Message
from gateway.memory import Memory
from gateway.rewriting.folds.due import is_over, is_soon
from gateway.rewriting.folds.materials import Materials
from gateway.rewriting.folds.outline import outline_of, spare
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
    outline = outline_of(voiced)
    materials = Materials(outline, rules, count, known)
    requests = _requests(anatomy, rules)
    keys = _prefix_keys(anatomy, rules, ladders, known.said)
    start, state = _resumed(keys, requests, rules, known)
    whole = len(anatomy.units)
    for units in requests[bisect_right(requests, start) :]:
        before = replace(state, forced=False) if units == whole else state
        state = step(before, Prefix(outline, rules, ladders, units), materials)
        if state is not before:
            known.walks.put(keys[units], state, state.size_bytes)
    prefix = Prefix(outline, rules, ladders, whole)
    if whole in requests and Standing(prefix, state).least > rules.final_budget:
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


def _requests(anatomy: Anatomy, rules: FoldRules) -> list[int]:
    """List how many units each prefix has that was a request and may be changed, the first of all apart: an assistant
    answered it, or nothing follows, and no reasoning is held open in it.
    """
    messages, component, units = anatomy.conversation.messages, anatomy.component, anatomy.units
    held = reasoning_open(anatomy) if rules.binds_reasoning else frozenset[int]()
    answered = [
        number
        for number, unit in enumerate(units)
        if messages[unit.first].role == "assistant" and component[unit.first] != "examples" and number not in held
    ]
    return answered if len(units) in held else [*answered, len(units)]


def _resumed(keys: Sequence[int], requests: Sequence[int], rules: FoldRules, known: Known) -> tuple[int, FoldState]:
    """Find the longest prefix that is known; return its units and its state."""
    for units in reversed(requests):
        state = known.walks.get(keys[units]) if units else None
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

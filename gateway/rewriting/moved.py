"""The declared volatile text of a request as a part of its plan: moved (rewriting/volatile.py), or left where it was.

Pure. The plan is made for the request without that text, with room for the message that it moves to
(`Anatomy.moved_tokens`); here the two are put together. It is left where a message of ours could not stand, and where
the request does not fit with it and does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.budget.components import Anatomy, Count
from gateway.conversation import Message
from gateway.rewriting.plan import VOLATILE, VOLATILE_LEFT, Edit, Plan
from gateway.rewriting.volatile import Moved
from gateway.wire.legality import Rules, introduced

_MOVED = "it changes with each request; moved behind what stays"
_PUT_IN = "what the policy declares volatile, out of the system text"
_LEFT = "declared volatile, but it cannot stand anywhere else"


def may_move(legal: Sequence[Rules]) -> bool:
    """Whether volatile text may leave its place at every provider: by the model alone, so that it does each time."""
    return all(rules.takes_asides for rules in legal)


def with_moved(
    plan: Plan, moved: Moved, messages: Sequence[Message], anatomy: Anatomy, legal: Sequence[Rules], count: Count
) -> Plan | None:
    """Add the move to a plan that has room for it; None where a provider would not take the two together.

    `messages` as they came; `anatomy` is the one that was planned on.
    """
    changes = moved.added_to(plan.changes)
    if plan.changes is not None:
        after = changes.applied(messages)
        if any(introduced(messages, after, rules) for rules in legal):
            return None
    own = edits_of(moved, {index: anatomy.tokens[index] for index in moved.said}, anatomy.moved_tokens, count)
    before = dict(plan.before)
    before["system"] += sum(map(count, moved.said.values()))
    before["history"] -= anatomy.moved_tokens
    return replace(plan, before=before, changes=changes, edits=_in_order([*plan.edits, *own]))


def with_left(plan: Plan, moved: Moved, anatomy: Anatomy) -> Plan:
    """Say of a plan that the text stays where it was."""
    sizes = {index: anatomy.tokens[index] for index in moved.said}
    return replace(plan, edits=_in_order([*plan.edits, *left_of(moved, sizes)]))


def left_of(moved: Moved, sizes: dict[int, int]) -> list[Edit]:
    """List the system messages whose text would have moved."""
    return [Edit(index, VOLATILE_LEFT, None, sizes[index], sizes[index], _LEFT) for index in moved.said]


def edits_of(moved: Moved, stays: dict[int, int], put_in: int, size: Count) -> list[Edit]:
    """List what is done to each system message, and what is put in. `stays`: the size of each message as it leaves."""
    taken = [
        Edit(index, VOLATILE, None, stays[index] + size(said), stays[index], _MOVED)
        for index, said in moved.said.items()
    ]
    return [*taken, Edit(moved.before, VOLATILE, None, 0, put_in, _PUT_IN)]


def _in_order(edits: list[Edit]) -> tuple[Edit, ...]:
    return tuple(sorted(edits, key=lambda edit: edit.at))

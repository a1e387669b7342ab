"""The state of a walk: a value that a step reads and never changes, whatever the fold does."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import Recognition
from gateway.rewriting.folds.materials import Materials
from gateway.rewriting.folds.outline import Outline
from gateway.rewriting.folds.prefix import Prefix
from gateway.rewriting.folds.standing import Standing
from gateway.rewriting.folds.state import FoldState
from gateway.rewriting.folds.values import FoldRules
from gateway.rewriting.folds.voiced import voiced
from gateway.rewriting.folds.walk import step
from gateway.rewriting.ladder import Ladders
from gateway.rewriting.memory import Known
from tests.talk import anatomy, assistant, calls, count, result, user, words
from tests.test_folds import RULES

SMALL = replace(RULES, budget=300, final_budget=300, artifacts=0.2, recall=0.1)
EARLY = replace(SMALL, early=frozenset(range(100)))
SAID = st.lists(
    st.one_of(
        st.integers(1, 90).map(lambda n: [user(words(n, f"q{n}"))]),
        st.integers(1, 90).map(lambda n: [assistant(words(n, f"order #W{n}"))]),
        st.tuples(st.integers(0, 3), st.integers(1, 120)).map(
            lambda p: [calls(f"c{p[0]} read"), result(f"c{p[0]}", words(p[1], f"id-{p[1]}"))]
        ),
        st.just([user("where is it"), assistant("there it is")]),
    ),
    min_size=2,
    max_size=14,
)


def facts(value: object) -> Any:
    """Write down all that a state holds, so that a later look can be compared with it."""
    if hasattr(value, "__dataclass_fields__"):
        return {entry.name: facts(getattr(value, entry.name)) for entry in fields(value)}  # type: ignore[arg-type]
    if hasattr(value, "spoken"):
        return dict(value.kinds), dict(value.messages), list(value.spoken)  # type: ignore[attr-defined]
    return repr(value)


def walk(groups: list[list[dict[str, Any]]], rules: FoldRules) -> tuple[Outline, Materials]:
    taken, known = anatomy([message for group in groups for message in group]), Known()
    outline = Outline(voiced(taken, Recognition().document_tags, count, known))
    return outline, Materials(outline, rules, count, known)


@given(SAID, st.sampled_from([SMALL, EARLY]))
def test_a_step_leaves_the_state_it_came_from_as_it_was(groups, rules):
    outline, materials = walk(groups, rules)
    state = FoldState()
    for units in range(1, len(outline.tokens) + 1):
        prefix, before = Prefix(outline, rules, Ladders(), units), facts(state)
        after = step(state, prefix, materials)
        assert facts(state) == before
        assert facts(step(state, prefix, materials)) == facts(after), "a step depends on the state alone"
        state = after


@given(SAID)
def test_the_tokens_of_a_prefix_are_those_of_its_parts(groups):
    outline, materials = walk(groups, SMALL)
    state = FoldState()
    for units in range(1, len(outline.tokens) + 1):
        prefix = Prefix(outline, SMALL, Ladders(), units)
        state = step(state, prefix, materials)
        standing = Standing(prefix, state)
        parts = sum(standing.now(number) for number in range(units)) + sum(line.tokens for line in state.lines)
        assert standing.total == outline.fixed + parts


def test_a_step_that_folds_nothing_returns_the_same_state():
    outline, materials = walk([[user("a b c"), assistant("d e f")]], SMALL)
    state = FoldState()
    assert step(state, Prefix(outline, SMALL, Ladders(), 2), materials) is state


def test_a_state_cannot_be_changed():
    state = FoldState()
    with pytest.raises(FrozenInstanceError):
        state.forced = True  # type: ignore[misc]

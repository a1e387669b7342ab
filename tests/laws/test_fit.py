"""Law 1. What is sent counts at most its budget, or the caller got a refusal naming what is too big."""

import json
from typing import Any

from gateway.config.ladder import Ladder
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.plan import Plan, Refusal
from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.generators import Case, Talk


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    for upto, left in zip(walk.upto, walk.left, strict=True):
        request = walk.case.talk.request(upto)
        before = oracle.prompt_tokens(request, walk.count)
        if isinstance(left.plan, Plan):
            assert left.plan.tokens_before == before
        if left.body is None:
            assert isinstance(left.plan, Refusal)
            check_refusal(walk, request, before, left.plan)
            continue
        after = oracle.prompt_tokens(json.loads(left.body), walk.count)
        if walk.case.policy.mode == "enforce":
            assert after <= walk.budget
            assert not isinstance(left.plan, Plan) or left.plan.tokens_after == after
        else:
            assert after == before


def check_refusal(walk: Walk, request: dict[str, Any], before: int, refusal: Refusal) -> None:
    """Hold a refusal to being true and needed."""
    case, count = walk.case, walk.count
    assert refusal.prompt_tokens == before
    assert before > walk.budget or case.policy.strict
    if refusal.illegal is not None:
        assert oracle.violations(request["messages"])
        return
    assert refusal.tokens > refusal.room, "a component was named that is not too big"
    check_place(request, refusal)
    sizes = {"tools": oracle.tools_tokens(request, count), "system": 3 + oracle.head_tokens(request, count)}
    assert refusal.tokens == sizes.get(refusal.component, refusal.tokens)
    if not case.policy.strict:
        assert refusal.budget == walk.budget
        assert oracle.irreducible_tokens(request, case.policy.ladder, count) > walk.budget, "a needless refusal"
        assert not refusal.ours or case.model.legal[0].name != "chat completions"


def check_place(request: dict[str, Any], refusal: Refusal) -> None:
    """Hold `at` to pointing into the request."""
    if refusal.at.startswith("messages["):
        assert int(refusal.at[9:-1]) < len(request["messages"])
    else:
        assert refusal.at == refusal.component


def test_a_request_of_system_text_alone_that_is_over_is_refused_for_it() -> None:
    talk = Talk(('{"role":"system","content":"' + "x" * 4000 + '"}',))
    walk = Walk(Case(talk, Policy(name="p", context_window=100, reserve=Reserve(0, 0))))
    check(walk)
    assert [left.refusal.component for left in walk.left if left.refusal is not None] == ["system"]


def test_a_refusal_for_history_that_cannot_be_dropped_names_the_history() -> None:
    talk = Talk(tuple(f'{{"role":"{role}","content":"{"x" * 400}"}}' for role in ("user", "assistant", "user")))
    ladder = Ladder(tool_results=("stub",), documents=(), examples=(), history=())
    walk = Walk(Case(talk, Policy(name="p", context_window=150, reserve=Reserve(0, 0), ladder=ladder)))
    check(walk)
    assert [left.refusal.component for left in walk.left if left.refusal is not None] == ["history"]

"""The laws where it was decided to fold prefixes that fit: what was decided once holds for every later request.

A decision is made for the request at hand and recorded; the requests before it knew nothing of it.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, Refusal
from gateway.serving.fit import decided
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from tests.conftest import Conversations
from tests.laws import idempotence, oracle, test_fit, transcripts
from tests.laws.driving import Left, Walk, counter_of
from tests.laws.generators import SENT, Case, cases
from tests.laws.test_stability import check_one_way, check_stability

FEWER = settings().max_examples // 12
"""Each example is walked twice, the second time from the beginning for every request."""


class Early(Walk):
    """A walk in which it is decided at some requests, by their number, to fold whatever they are."""

    def __init__(self, case: Case, at: frozenset[int], count: oracle.CountText = oracle.quarter) -> None:
        self.case, self.count = case, count
        self.upto = case.talk.requests()
        self.decided: set[int] = set()
        memo, known = Memo(), Known()
        self.left: list[Left] = []
        for step, upto in enumerate(self.upto):
            if step in at:
                self.decided.add(upto)
            self.left.append(self.leave(step, memo, known))

    def leave(self, step: int, memo: Memo, known: Known) -> Left:
        request = parse(self.case.talk.body(self.upto[step]), memo)
        policy, model = self.case.policy, self.case.model
        early = frozenset(upto for upto in self.decided if upto <= self.upto[step])
        window, counter = model.bounds(policy), counter_of(self.count)
        plan = decided(request, policy, model, window, counter, known, early=early)
        if isinstance(plan, Refusal):
            return Left(plan, None)
        return Left(plan, sent(request, SENT, plan.changes))


def check(walk: Early, every: int = 1) -> None:
    check_stability(walk)
    check_one_way(walk)
    idempotence.check(walk)
    for step in reversed(range(0, len(walk.left), every)):
        assert walk.leave(step, Memo(), Known()).fingerprint() == walk.left[step].fingerprint()


def check_progress(walk: Early) -> None:
    """Hold what fits and is folded all the same to growing smaller, with what is recalled."""
    for left in walk.left:
        if isinstance(left.plan, Plan) and left.plan.changes is not None and left.plan.tokens_before <= walk.budget:
            assert left.plan.tokens_after <= left.plan.tokens_before


STEPS = st.frozensets(st.integers(0, 30), max_size=6)


@given(cases(strict=False, limits=False), STEPS)
@settings(max_examples=FEWER)
def test_with_early_folds_the_laws_hold(case: Case, at: frozenset[int]) -> None:
    walk = Early(case, at)
    check(walk)
    test_fit.check(walk)


@given(cases(limits=False), STEPS)
@settings(max_examples=FEWER)
def test_a_request_before_every_decision_leaves_as_without_any(case: Case, at: frozenset[int]) -> None:
    walk, usual = Early(case, at), Walk(case)
    first = min(at, default=len(walk.left))
    assert [left.body for left in walk.left[:first]] == [left.body for left in usual.left[:first]]


@pytest.mark.parametrize("budget", transcripts.BUDGETS[:2])
def test_recorded_conversations_keep_the_laws_with_early_folds(conversations: Conversations, budget: int) -> None:
    folded = 0
    for talk in list(transcripts.talks(conversations))[:: 1 if transcripts.ALL else 12]:
        for policy in transcripts.policies(budget):
            walk = Early(Case(talk, policy), frozenset(range(3, 200, 7)), oracle.tokens)
            check(walk, every=5)
            check_progress(walk)
            folded += any(left.plan.changes for left in walk.left if isinstance(left.plan, Plan))
    assert folded

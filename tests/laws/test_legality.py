"""Law 4. If a request was legal for a provider, what is sent is; what came illegal is never rewritten."""

import json

import pytest
from hypothesis import given

from gateway.rewriting.plan import Refusal
from tests.laws import oracle
from tests.laws.conftest import Recorded
from tests.laws.driving import Walk
from tests.laws.generators import PROVIDERS, Case, cases
from tests.laws.transcripts import BUDGETS


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    provider = walk.case.model.legal[0].name
    for upto, left in zip(walk.upto, walk.left, strict=True):
        came = walk.case.talk.read[:upto]
        faults = oracle.violations(came)
        if isinstance(left.plan, Refusal):
            assert (left.plan.illegal is not None) == bool(faults)
        if left.body is None or left.changes is None:
            continue
        went = json.loads(left.body)["messages"]
        assert not faults, "an illegal request was rewritten"
        assert not oracle.violations(went)
        assert not oracle.provider_violations(went, provider) - oracle.provider_violations(came, provider)


@given(cases(legal=PROVIDERS, breaks=True))
def test_what_came_legal_leaves_legal(case: Case) -> None:
    check(Walk(case))


@pytest.mark.parametrize("budget", BUDGETS)
def test_recorded_conversations_leave_legal(recorded: Recorded, budget: int) -> None:
    for walk in recorded(budget):
        check(walk)

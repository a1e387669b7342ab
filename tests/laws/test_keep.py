"""Law 3. Leading system text, tools, the last user message and the newest results arrive as they came; so do calls."""

import pytest
from hypothesis import given

from gateway.rewriting.plan import Plan
from tests.laws import oracle
from tests.laws.conftest import Recorded
from tests.laws.driving import Walk
from tests.laws.generators import Case, cases
from tests.laws.transcripts import BUDGETS


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    for upto, left in zip(walk.upto, walk.left, strict=True):
        if left.body is None or left.changes is None:
            continue
        read = walk.case.talk.read[:upto]
        came, went = oracle.Raw.of(walk.case.talk.body(upto)), oracle.Raw.of(left.body)
        before, after = came.messages(), went.messages()
        head, newest, asked = oracle.head(read), oracle.newest(read), oracle.last_user(read)
        assert after[:head] == before[:head], "leading system text"
        assert after[newest - len(before) :] == before[newest:], "the newest unit"
        if asked is not None:
            assert before[asked] in after, "the last user message"
        for key in ("tools", "functions", "response_format"):
            assert (key in came.spans) == (key in went.spans)
            assert key not in came.spans or went.member(key) == came.member(key)
        known = set(before)
        assert all(raw in known for raw in after if '"assistant"' in raw and oracle.exactly(raw)["role"] == "assistant")


@given(cases())
def test_what_must_stay_arrives_as_it_came(case: Case) -> None:
    check(Walk(case))


@pytest.mark.parametrize("budget", BUDGETS)
def test_in_recorded_conversations_what_must_stay_arrives_as_it_came(recorded: Recorded, budget: int) -> None:
    for walk in recorded(budget):
        check(walk)


def check_pointers(walk: Walk) -> None:
    """Hold each pointer to a newer result to leading to that result, whole."""
    read = walk.case.talk.read
    for upto, left in zip(walk.upto, walk.left, strict=True):
        if left.body is None or not isinstance(left.plan, Plan) or left.changes is None:
            continue
        remedy = {edit.at: edit.remedy for edit in left.plan.edits}
        for index in (at for at, name in remedy.items() if name == "dedupe"):
            newer = [i for i in range(index + 1, upto) if says(read[i]) == says(read[index])]
            assert any(remedy.get(i, "minify") == "minify" for i in newer)


def says(message: oracle.Body) -> str:
    """Give the text of a result without the white space of its JSON."""
    text = oracle.content_text(message)
    try:
        return repr(oracle.exactly(text)) if message["role"] in {"tool", "function"} else ""
    except ValueError:
        return text


@given(cases())
def test_a_pointer_leads_to_a_result_that_is_there(case: Case) -> None:
    check_pointers(Walk(case))

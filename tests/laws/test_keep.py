"""Law 3. Leading system text, tools, the last user message and the newest results arrive as they came; so do calls."""

import json

import pytest
from hypothesis import given

from gateway.policy import Documents, Ladder, Policy, Reserve
from gateway.rewriting.plan import Plan
from tests.laws import oracle
from tests.laws.conftest import Recorded
from tests.laws.driving import Walk
from tests.laws.generators import PROVIDERS, Case, Talk, cases
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


def check_remedies(walk: Walk) -> None:
    """Hold each edit to a remedy that the ladder names for what it was done to."""
    ladder = walk.case.policy.ladder
    for left in walk.left:
        for edit in left.plan.edits if isinstance(left.plan, Plan) else ():
            if edit.remedy == "drop_oldest":
                assert ladder.examples if oracle.is_example(walk.case.talk.read[edit.at]) else ladder.history
            else:
                assert edit.remedy in (*ladder.tool_results, *ladder.documents)


@given(cases(legal=PROVIDERS))
def test_only_what_the_ladder_names_is_cut_and_a_pointer_leads_to_what_is_there(case: Case) -> None:
    walk = Walk(case)
    check_remedies(walk)
    check_pointers(walk)


def test_a_result_that_a_document_points_to_is_not_stubbed() -> None:
    """Documents have no heavier remedy than `dedupe`: their pointers stand for good, and so must what they lead to."""
    large, small = "same " * 300, "x" * 24
    talk = Talk(
        messages=(
            user(),
            *called(lookup=small, search_web=large),
            user(),
            *called(lookup=small),
            *called(lookup=small, read_file=large),
            user(),
            *called(lookup=small, read_file=large),
            user(),
            *called(lookup=small),
            *called(lookup=small, read_file=large),
        )
    )
    policy = Policy(
        name="p", context_window=620, reserve=Reserve(0, 0), documents=Documents(tools=("search_*",)), ladder=Ladder()
    )
    walk = Walk(Case(talk, policy))
    check_pointers(walk)
    plans = [left.plan for left in walk.left if isinstance(left.plan, Plan)]
    assert any(edit.remedy == "dedupe" for plan in plans for edit in plan.edits)


def user() -> str:
    return json.dumps({"role": "user", "content": "next"})


def called(**results: str) -> list[str]:
    """Write a call of these tools and what they gave."""
    calls = [{"id": tool, "type": "function", "function": {"name": tool, "arguments": "{}"}} for tool in results]
    messages = [{"role": "assistant", "content": None, "tool_calls": calls}]
    messages += [{"role": "tool", "tool_call_id": tool, "content": text} for tool, text in results.items()]
    return [json.dumps(message) for message in messages]

"""Laws 6 and 7, over every request of a conversation: old parts keep their bytes between folds, and folds never unfold.

A fold is seen from outside: the request is not the one before it, as that one left, with the new messages behind it.
"""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from gateway.config.ladder import Ladder
from gateway.config.policy import Policy, Reserve
from gateway.conversation import Changes
from gateway.rewriting.plan import Plan
from tests.laws.driving import Left, Walk
from tests.laws.generators import Case, Talk, cases, text, without_limit

LEVELS = {"minify": 1, "dedupe": 2, "extract": 2, "cut": 2, "crush": 2, "low_detail": 2, "trace": 3, "stub": 3}
LEVELS |= {"join": 3, "drop_oldest": 4, "drop_illegal": 4}
"""Rungs. A text whose sentences were cut may lose its documents later, and the other way round: both leave a part."""


def check_stability(walk: Walk) -> None:
    """Hold a conversation to law 6: between two folds lies `clear_at_least` of the room, or the later was forced."""
    last_fold: int | None = None
    for before, after in walk.pairs():
        if not walk.folded(before, after):
            continue
        upto = walk.upto[after]
        if last_fold is not None and before == after - 1 and not walk.left[after].forced:
            grown = walk.original_tokens(upto) - walk.original_tokens(last_fold)
            assert grown >= walk.clear(after)
        last_fold = upto


def check_one_way(walk: Walk) -> None:
    """Hold a conversation to law 7: no message ever stands on a lower rung, or with another text on the same one."""
    level: dict[int, int] = {}
    text: dict[int, str] = {}
    halves = not walk.case.policy.ladder.history
    for step, left in enumerate(walk.left):
        if left.body is None:
            continue
        now, texts = levels(left), left.changes.texts if left.changes is not None else {}
        now = {index: reached for index, reached in now.items() if index not in walk.for_now(step)}
        assert level.keys() <= now.keys(), "a folded message came back"
        for index, was in level.items():
            assert now[index] >= was, "a folded message came back in part"
            shorter = index in texts and index in text and len(texts[index]) < len(text[index])
            again = halves or now[index] == LEVELS["cut"]
            same = texts.get(index) == text.get(index) or (again and shorter)
            assert now[index] > was or same, "a folded message was written anew"
        level, text = now, dict(texts)


def levels(left: Left) -> dict[int, int]:
    """Tell how far each message that was touched is folded."""
    if not isinstance(left.plan, Plan):
        return {}
    return {edit.at: LEVELS[edit.remedy] for edit in left.plan.edits if edit.before}


def check_edits_are_what_was_done(walk: Walk) -> None:
    for left in walk.left:
        if left.body is not None and left.changes is not None:
            assert isinstance(left.plan, Plan)
            assert set(levels(left)) == {*left.changes.texts, *left.changes.dropped}
            put_in = sorted(edit.at for edit in left.plan.edits if not edit.before)
            assert put_in == sorted(one.before for one in left.changes.inserted)


@pytest.mark.long
@given(cases(strict=False))
def test_a_fold_for_a_long_answer_alone_says_it_was_forced(case: Case) -> None:
    if "max_tokens" in case.talk.frame and case.policy.reserve.output is not None:  # else all prefixes follow the limit
        usual = Walk(replace(case, talk=without_limit(case.talk)))
        walk = Walk(case)
        for step, (long, left) in enumerate(zip(walk.left, usual.left, strict=True)):
            same = lasting(long, walk.for_now(step)) == lasting(left, walk.for_now(step))
            assert same or long.body is None or long.forced


def lasting(left: Left, for_now: set[int]) -> Changes | None:
    """Leave out excerpts, and what is said in other words for one request alone."""
    changes = left.changes
    if changes is None or not isinstance(left.plan, Plan):
        return None
    recalled = {edit.at for edit in left.plan.edits if edit.remedy == "recall"}
    texts = {index: text for index, text in changes.texts.items() if index not in for_now}
    inserted = tuple(one for one in changes.inserted if one.before not in recalled)
    return replace(changes, texts=texts, inserted=inserted) if texts or changes.dropped or inserted else None


def test_a_fold_that_follows_too_soon_says_it_was_forced() -> None:
    """The newest result is too large to leave room behind the first fold, and yields all of it to the second."""
    talk = Talk(
        messages=(
            *(said("user", 900), *called("1", 300), *called("2", 2400), *called("3", 20), said("user", 20)),
            *called("4", 20),
        )
    )
    walk = Walk(Case(talk, Policy(name="p", context_window=900, reserve=Reserve(0, 0))))
    check_stability(walk)
    folds = [walk.left[after].forced for before, after in walk.pairs() if walk.folded(before, after)]
    assert folds == [True, True]


def test_a_result_crushed_to_make_room_for_newer_ones_does_not_grow_again() -> None:
    """Nothing may be left out, and the newest result alone is too large."""
    talk = Talk(
        messages=(
            *(said("user", 20), *returned("1", 12_000), said("assistant", 40), said("user", 20)),
            *(*returned("2", 16_000), said("assistant", 40), said("user", 20)),
        )
    )
    ladder = Ladder(("crush",), (), (), (), ("crush",))
    walk = Walk(Case(talk, Policy("p", context_window=3500, reserve=Reserve(0, 0), ladder=ladder)))
    check_one_way(walk)
    assert [step for step, left in enumerate(walk.left) if 2 in levels(left)] == [3, 4]


def said(role: str, size: int, **more: object) -> str:
    return json.dumps({"role": role, "content": "x" * size, **more})


def returned(call: str, size: int) -> tuple[str, str]:
    """Call a tool that returns words."""
    calls, result = called(call, 0)
    return calls, json.dumps({**json.loads(result), "content": text(("prose", size, 0))})


def called(call: str, size: int) -> tuple[str, str]:
    function = {"name": "lookup", "arguments": "{}"}
    calls = [{"id": call, "type": "function", "function": function}]
    return said("assistant", 0, tool_calls=calls), said("tool", size, tool_call_id=call)

"""Law 13. Nothing is dropped, stubbed or summarised while lossless shortening of everything old would do.

That is: while it would bring every request so far down to its trigger, less `clear_at_least`, less what is kept free
for excerpts. What shortening a result without loss brings is the remedy's own affair; when it is enough is judged here.
"""

from collections.abc import Sequence

from hypothesis import given

from gateway.rewriting.results.crush import lossless
from gateway.rewriting.results.dedupe import pointer
from gateway.rewriting.results.minify import minify
from tests.laws import oracle
from tests.laws.driving import Walk, set_aside
from tests.laws.generators import Case
from tests.laws.leaving import Leaving, Message, hard, kinds, requests, rewritten
from tests.laws.meant import SHRINKING, cases

SLACK = 3
"""Tokens by which shares of a room may be rounded down."""


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    if not walk.case.policy.strict:
        enough: dict[int, bool] = {}
        for leaving in rewritten(walk):
            for upto in requests(leaving.came):
                if upto not in enough:
                    enough[upto] = is_enough(walk, walk.case.talk.read[:upto])
            if all(enough[upto] for upto in requests(leaving.came)):
                check_one(leaving)


def check_one(leaving: Leaving) -> None:
    """Hold a request to leaving nothing out."""
    assert not leaving.missing, f"left out: {leaving.missing}"
    for number, message in leaving.standing.items():
        assert not oracle.content_text(message).startswith("[result of "), f"stubbed: {number}"


def is_enough(walk: Walk, came: Sequence[Message]) -> bool:
    """Tell whether a request, all its old results written shorter, would be at its trigger less `clear_at_least`."""
    policy, count, request = walk.case.policy, walk.count, walk.case.talk.request(len(came))
    named = kinds(came)
    stays = hard(came, named)
    room = oracle.room(request, walk.budget, count)
    fixed = walk.budget - room
    input_tokens = sum(oracle.message_tokens(came[n], count) for n in stays)
    old = shortened([m for n, m in enumerate(came) if n not in stays and named[n] != "system"], walk)
    if any(message.get("x_docs") for message in came):  # their share is set aside
        room -= set_aside(policy, room)
    trigger = min(walk.budget, fixed + input_tokens + int(policy.fold.trigger * room))
    return fixed + input_tokens + old <= trigger - (policy.fold.clear_at_least + policy.recall) * room - SLACK


def shortened(messages: Sequence[Message], walk: Walk) -> int:
    """Count messages, results as short as the ladder's lossless remedies make them."""
    count, remedies = walk.count, walk.case.policy.ladder.tool_results
    total, seen = 0, set[str]()
    for message in reversed(messages):
        tokens, text = oracle.message_tokens(message, count), oracle.content_text(message)
        if message["x_kind"] == "result" and isinstance(message.get("content"), str):
            forms = [text]
            if "minify" in remedies:
                forms.append(minify(text) or text)
            if "crush" in remedies and tokens <= walk.case.policy.effort:
                forms.append(lossless(text))
            if "dedupe" in remedies and text in seen:
                forms.append(pointer(str(message.get("x_tool", "")), "x" * 24))
            seen.add(text)
            tokens += min(map(count, forms)) - count(text)
        total += tokens
    return total


CASES = cases(forms=SHRINKING, least=60)


@given(CASES)
def test_nothing_is_left_out_while_shortening_would_do(case: Case) -> None:
    check(Walk(case))

"""Law 3. Leading system text, tools, the last user message and the newest results arrive as they came; so do calls."""

import json
import re

from gateway.config.ladder import Ladder
from gateway.config.policy import Documents, Policy, Reserve
from gateway.conversation import Changes
from gateway.rewriting.plan import Plan
from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.generators import Case, Talk
from tests.laws.leaving import OUTPUT

TAGGED = re.compile(r"(?s)<document[^>]*>.*?</document>")
STANDS_FOR = re.compile(r"\[… [\d,]+ (?:more )?documents? left out(?:: [^\[\]]*)?\]")
"""What stands where whole documents stood."""
LEAST_DOCUMENTS = 200
"""Characters below which no text holds documents."""


OF_PEOPLE = ("cut", "trace", "dedupe", "extract", "join")
"""What is done to earlier messages of people: their words and files, documents in them, and roles that take turns."""


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
        assert isinstance(left.plan, Plan)
        remedy = {edit.at: edit.remedy for edit in left.plan.edits if edit.before}
        for at in left.changes.texts:
            is_output = OUTPUT.search(oracle.content_text(read[at]))
            is_cut = read[at]["role"] == "user" and (remedy[at] in OF_PEOPLE or is_output)
            assert at == asked or oracle.is_result(read[at]) or is_cut, "what neither a tool nor a person said"
        check_newest(walk, upto, left.changes, after[newest - len(before) :])
        if asked is not None and asked not in left.changes.texts:
            assert before[asked] in after, "the last user message"
        elif asked is not None:
            check_question(before[asked], left.changes.texts[asked])
        for key in ("tools", "functions", "response_format"):
            assert (key in came.spans) == (key in went.spans)
            assert key not in came.spans or went.member(key) == came.member(key)
        known = set(before)
        assert all(raw in known for raw in after if '"assistant"' in raw and oracle.exactly(raw)["role"] == "assistant")


def check_newest(walk: Walk, upto: int, changes: Changes, went: list[str]) -> None:
    """Hold the newest unit to its bytes; its results may be shorter where nothing else could have made room."""
    policy, request = walk.case.policy, walk.case.talk.request(upto)
    read, came = walk.case.talk.read[:upto], walk.case.talk.messages[:upto]
    newest = oracle.newest(read)
    for raw, now, index in zip(came[newest:], went, range(newest, upto), strict=True):
        if index in changes.texts and oracle.is_result(read[index]):
            assert not policy.strict
            assert "crush" in policy.ladder.input
            assert oracle.irreducible_tokens(request, policy.ladder, walk.count) > walk.budget, (
                "a result cut needlessly"
            )
        elif index != oracle.last_user(read) or index not in changes.texts:
            assert raw == now, "the newest unit"


def check_question(raw: str, now: str) -> None:
    """Hold a last user message to all of its text but its documents: what stands outside of tags, or each line."""
    was = oracle.content_text(json.loads(raw))
    if TAGGED.search(was):
        assert TAGGED.sub("", STANDS_FOR.sub("", now)) == TAGGED.sub("", was), "the last user message"
    else:
        assert was.splitlines()[-1:] == now.splitlines()[-1:] or len(was) > LEAST_DOCUMENTS, "the last user message"


POINTER = re.compile(
    r"^\[(?:same )?as the later result of \S+, call (.+?)(?:\]$|, but for what follows\]\n)", re.DOTALL
)
WHOLE = ("minify", "crush")
"""Remedies after which a result can still be pointed to."""


def check_pointers(walk: Walk) -> None:
    """Hold each pointer to a newer result to leading to one that stands, and is no pointer itself."""
    read = walk.case.talk.read
    for upto, left in zip(walk.upto, walk.left, strict=True):
        if left.body is None or not isinstance(left.plan, Plan) or left.changes is None:
            continue
        remedy = {edit.at: edit.remedy for edit in left.plan.edits if edit.before}
        for index, text in left.changes.texts.items():
            found = POINTER.match(text)
            if found is None or remedy[index] != "dedupe" or not oracle.is_result(read[index]):
                continue
            newer = [i for i in range(index + 1, upto) if read[i].get("tool_call_id", "") == found[1]]
            assert any(remedy.get(i, "minify") in WHOLE for i in newer)


def check_remedies(walk: Walk) -> None:
    """Hold each edit to a remedy that the ladder names for what it was done to."""
    ladder = walk.case.policy.ladder
    for left in walk.left:
        for edit in left.plan.edits if isinstance(left.plan, Plan) else ():
            if edit.remedy == "join":  # no loss: for some models roles take turns
                continue
            if edit.remedy in ("cut", "trace"):
                assert ladder.history
            elif edit.remedy == "drop_oldest":
                assert ladder.examples if oracle.is_example(walk.case.talk.read[edit.at]) else ladder.history
            elif edit.before:
                named = (*ladder.tool_results, *ladder.documents, *(("crush", "extract") if ladder.input else ()))
                assert edit.remedy in named


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
        name="p",
        context_window=750,
        reserve=Reserve(0, 0),
        documents=Documents(tools=("search_*",)),
        ladder=Ladder(tool_results=("minify", "dedupe", "stub"), history=()),
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

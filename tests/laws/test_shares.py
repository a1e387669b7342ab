"""Law 12. Shares bind: what is within its room is not cut while another is over; under `strict` each is a ceiling.

A component's room is its share of what tools, leading system text and input leave. A policy can be read to mean more or
less (input taken off or not, examples that are not there given room or not): what is within is so in every reading.
"""

import json
from collections.abc import Mapping, Sequence

from hypothesis import given

from gateway.config.policy import Policy, Reserve
from gateway.config.shares import Shares
from gateway.rewriting.plan import Refusal
from tests.laws import idempotence, oracle
from tests.laws.driving import Left, Walk, divided
from tests.laws.generators import Case, Talk
from tests.laws.leaving import Leaving, Message, hard, kinds, requests, rewritten
from tests.laws.meant import cases, sentence

NAMES = ("system", "tools", "examples", "documents", "history", "input")
UNIT = 60
"""Tokens of what may not be cut any further: a sentence, a note, the frame of documents."""


def as_input(came: Sequence[Message]) -> set[int]:
    """Number what the input is: the last user message, whoever speaks in it, and the newest unit."""
    asked = max((n for n, message in enumerate(came) if message["role"] == "user"), default=-1)
    return {asked, *range(oracle.newest(came), len(came))}


def sizes(
    walk: Walk, came: Sequence[Message], stays: set[int], went: Sequence[Message] | None = None
) -> dict[str, int]:
    """Count each component of a request as it came; with `went`, as it left. `stays` is what counts as input."""
    count = walk.count
    named = kinds(came)
    out = dict.fromkeys(NAMES, 0)
    out["tools"] = oracle.tools_tokens(walk.case.talk.request(len(came)), count)
    out["system"] = 3
    for message in came if went is None else went:
        number = message.get("x_id")
        tokens, name = oracle.message_tokens(message, count), "history"
        if number is not None:
            text = oracle.content_text(message)
            documents = sum(map(count, message.get("x_docs", ()) if went is None else left_of(message, text)))
            documents = min(documents, tokens)
            name = "system" if named[number] == "system" else "input" if number in stays else "history"
            out["documents"] += documents
            tokens -= documents
        out[name] += tokens
    return out


def left_of(message: Message, text: str) -> list[str]:
    """Give what left of the documents of a message: its text without its own words."""
    if not message.get("x_docs"):
        return []
    for words in message["x_words"]:
        text = text.replace(words, "")
    return [text]


def rooms(walk: Walk, came: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Give the smallest and the largest room of documents and history that the policy can be read to give them."""
    left = max(0, walk.budget - came["tools"] - came["system"])
    beside = max(0, left - came["input"])
    readings = [
        divided(walk.case.policy, room, among)
        for room in (left, beside)
        for among in (("documents", "history"), ("examples", "documents", "history"))
    ]
    return (
        {name: min(one[name] for one in readings) for name in ("documents", "history")},
        {name: max(one[name] for one in readings) for name in ("documents", "history")},
    )


def check(walk: Walk) -> None:
    """Hold a whole conversation to the law."""
    policy = walk.case.policy
    if policy.strict:
        for step, left in enumerate(walk.left):
            check_strict(walk, walk.upto[step], left)
    elif policy.ladder.history and policy.ladder.documents:
        for leaving in rewritten(walk):
            check_one(leaving)


def check_one(leaving: Leaving) -> None:
    """Hold a request to cutting only what was over its room in some request up to it."""
    walk = leaving.walk
    steps = [leaving.came[:upto] for upto in requests(leaving.came)]
    before = [sizes(walk, step, hard(step, kinds(step))) for step in steps]
    least = [rooms(walk, one)[0] for one in before]
    within = {
        name: all(one[name] <= room[name] for one, room in zip(before, least, strict=True))
        for name in ("documents", "history")
    }
    clear = (walk.case.policy.fold.clear_at_least + walk.case.policy.recall) * walk.room
    trigger = walk.case.policy.fold.trigger
    if within["documents"]:
        gone = [number for number in leaving.missing if leaving.came[number].get("x_docs")]
        assert not gone, f"documents within their room go: {gone}"
        for message in leaving.standing.values():
            text = oracle.content_text(message)
            assert all(document in text for document in message.get("x_docs", ())), (
                "documents within their room are cut"
            )
    named = kinds(leaving.came)
    if any(message.get("x_docs") for message, kind in zip(leaving.came, named, strict=True) if kind == "task"):
        return  # they stay with the task, before history
    if all(one["history"] <= trigger * room["history"] - clear for one, room in zip(before, least, strict=True)):
        assert not leaving.missing, f"history within its room is cut: {leaving.missing}"


def check_strict(walk: Walk, upto: int, left: Left) -> None:
    """Hold what leaves to every ceiling, or a refusal to naming a share that is really too small."""
    came = walk.case.talk.read[:upto]
    ceilings = divided(walk.case.policy, walk.budget, NAMES)
    if left.body is not None:
        went = Leaving(walk, walk.upto.index(upto)).went
        after = sizes(walk, came, as_input(came), went)
        assert sum(after.values()) <= walk.budget
        for name in ("tools", "system", "input", "history"):
            assert after[name] <= ceilings[name], f"{name} is above its ceiling: {after[name]} > {ceilings[name]}"
        assert after["documents"] <= ceilings["documents"] + UNIT
        return
    assert isinstance(left.plan, Refusal)
    name = left.plan.component
    before = sizes(walk, came, as_input(came))
    assert left.plan.tokens > left.plan.room
    assert before[name] > ceilings[name] - UNIT or sum(before.values()) > walk.budget, (
        "a share was named that is not too small"
    )
    ladder = walk.case.policy.ladder
    has_remedy = {"history": bool(ladder.history), "documents": "extract" in ladder.documents}.get(name, False)
    assert not has_remedy or ceilings[name] < 2 * UNIT, f"{name} has a remedy and was refused: {left.plan}"


def _message(number: int, kind: str, text: str, docs: Sequence[str] = (), role: str = "user") -> str:
    message = {"role": role, "content": "\n".join([*docs, text]), "x_id": number, "x_kind": kind}
    return json.dumps({**message, "x_words": [text], "x_docs": list(docs)})


def _said(number: int, sentences: int) -> str:
    return " ".join(sentence(number + n) for n in range(sentences))


def test_documents_within_their_share_stay_before_the_last_exchange() -> None:
    docs = [f'<document id="{n}">\n{_said(100 * n, 3)}\n</document>' for n in (1, 2)]
    messages = [
        _message(0, "said", _said(1, 1)),
        _message(1, "answer", _said(2, 1), role="assistant"),
        _message(2, "said", _said(3, 1), docs),
        _message(3, "answer", _said(4, 20), role="assistant"),
        _message(4, "said", _said(30, 1)),
        _message(5, "answer", _said(31, 20), role="assistant"),
        _message(6, "said", _said(60, 52)),
    ]
    policy = Policy("p", context_window=1457, reserve=Reserve(0, 0))
    walk = Walk(Case(Talk(tuple(messages)), policy))
    check(walk)
    (leaving,) = [leaving for leaving in rewritten(walk) if leaving.upto == len(messages)]
    assert all(document in oracle.content_text(leaving.standing[2]) for document in docs)
    assert 5 in leaving.missing


def test_under_strict_documents_go_and_what_was_said_beside_them_stays() -> None:
    docs = [f"## Source {n}\n{_said(100 * n, 20)}\n" for n in (1, 2, 3)]
    messages = [
        _message(0, "said", _said(1, 1)),
        _message(1, "answer", _said(2, 1), role="assistant"),
        _message(2, "said", _said(3, 2), docs),
        _message(3, "answer", _said(10, 1), role="assistant"),
        _message(4, "said", _said(12, 10)),
        _message(5, "answer", _said(10, 1), role="assistant"),
        _message(6, "said", _said(8, 1)),
    ]
    shares = Shares(system=0.1, tools=0.1, examples=0.1, documents=0.02, history=0.58, input=0.1)
    policy = Policy("p", strict=True, context_window=450, reserve=Reserve(0, 0), allocation=shares)
    walk = Walk(Case(Talk(tuple(messages)), policy))
    check(walk)
    (leaving,) = [leaving for leaving in rewritten(walk) if leaving.upto == len(messages)]
    assert _said(3, 2) in oracle.content_text(leaving.standing[2])


def test_what_is_left_of_documents_counts_as_documents_when_it_comes_back() -> None:
    rows = [{"id": 1000 + n, "name": f"n{n}", "price": 1.1, "note": f"{'1' * 30}"} for n in range(44)]
    asked = json.dumps({"rows": rows, "note": "which one?"}, indent=2)
    talk = Talk((json.dumps({"role": "user", "content": asked}),))
    walk = Walk(Case(talk, Policy("p", strict=True, context_window=260, reserve=Reserve(0, 0))))
    assert walk.left[0].changes is not None
    idempotence.check(walk)


@given(cases(strict=10, least=40))
def test_under_strict_every_share_is_a_ceiling_or_a_refusal_names_it(case: Case) -> None:
    check(Walk(case))

"""The laws, asked of Responses: conversations of items, made and recorded, that must shrink and leave legal."""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget.tokens import Counter
from gateway.config.policy import Fold, Policy, Reserve
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.models import Model, model_of
from gateway.serving.fit import decided
from gateway.wire.memo import Memo
from gateway.wire.shape import CHAT, RESPONSES, Shape
from tests.conftest import Conversations, examples
from tests.items import as_items, as_messages, texts_of
from tests.laws.driving import counter_of
from tests.laws.oracle import quarter
from tests.passage import deployment
from tests.talk import words

Json = dict[str, Any]

OPAQUE: tuple[Json, ...] = (
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "hologram", "id": "ho_1", "payload": [1.50, {"deep": None}]},
)
UNBOUNDED = model_of("asked", [deployment(window=None)], unpriced=True)
BUDGETS = (4000, 8000)


@st.composite
def rounds(draw: st.DrawFn, number: int) -> list[Json]:
    """What happens between two messages of a user: reasoning, words, calls and their outputs, in any legal order."""
    ids = [f"c{number}_{at}" for at in range(draw(st.integers(0, 3)))]
    items: list[Json] = []
    for at, call_id in enumerate(ids):
        if draw(st.booleans()):
            items.append(
                {"type": "reasoning", "id": f"rs_{call_id}", "summary": [], "encrypted_content": f"gA{call_id}="}
            )
        if at == 0 and draw(st.booleans()):
            items.append(
                {"type": "message", "role": "assistant", "content": words(draw(st.integers(1, 30)), f"s{number}")}
            )
        kind = draw(st.sampled_from(["function_call", "custom_tool_call"]))
        member = "arguments" if kind == "function_call" else "input"
        items.append({"type": kind, "call_id": call_id, "name": "read", member: json.dumps({"path": call_id})})
    for call_id in draw(st.permutations(ids)):
        kind = next(item["type"] for item in items if item.get("call_id") == call_id)
        text: Any = words(draw(st.integers(1, 150)), call_id)
        output = [{"type": "input_text", "text": text}] if draw(st.booleans()) else text
        items.append({"type": f"{kind}_output", "call_id": call_id, "output": output})
    if draw(st.integers(0, 4)) == 0:
        items.append(dict(draw(st.sampled_from(OPAQUE))))
    if draw(st.booleans()):
        items.append({"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": f"gB{number}="})
    said = words(draw(st.integers(1, 60)), f"a{number}")
    items.append({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]})
    return items


@st.composite
def conversations_of_items(draw: st.DrawFn) -> tuple[bytes, Policy]:
    items: list[Json] = []
    for number in range(draw(st.integers(1, 8))):
        items.append({"role": "user", "content": words(draw(st.integers(1, 60)), f"u{number}")})
        items += draw(rounds(number))
    items.append({"role": "user", "content": "And now?"})
    body: Json = {"model": "asked", "instructions": "You help.", "input": items, "temperature": 1.10, "unheard_of": [1]}
    written = json.dumps(body, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    policy = Policy("p", context_window=draw(st.integers(120, 1200)), reserve=Reserve(0, 0), fold=Fold(keep_turns=1))
    return written.encode(), policy


def leave(
    shape: Shape, body: bytes, policy: Policy, counter: Counter, model: Model = UNBOUNDED
) -> tuple[Any, bytes | None]:
    """Send a request on its way; None where it is refused."""
    came = shape.read(body, Memo())
    plan = decided(came, policy, model, model.bounds(policy), counter)
    return plan, None if isinstance(plan, Refusal) else shape.write(came, "asked", plan.changes)


def behind(items: Sequence[Mapping[str, Any]], index: int) -> Any:
    """The item behind another one, as far as a rewrite leaves it alone."""
    follows = items[index + 1] if index + 1 < len(items) else {}
    return follows.get("call_id") or follows.get("content")


def check_legal(came: Sequence[Json], left: Sequence[Json]) -> None:
    """Calls and outputs live and die together, reasoning stays with the item behind it, and nothing of it changes."""
    calls = [
        item["call_id"]
        for item in left
        if str(item.get("type")).endswith("tool_call") or item.get("type") == "function_call"
    ]
    outputs = [item["call_id"] for item in left if str(item.get("type")).endswith("_output")]
    assert sorted(calls) == sorted(outputs)
    before = {item["id"]: (item, behind(came, at)) for at, item in enumerate(came) if item.get("type") == "reasoning"}
    for at, item in enumerate(left):
        if item.get("type") == "reasoning":
            original, follows = before[item["id"]]
            assert item == original
            assert behind(left, at) == follows
    own = [json.dumps(item) for item in came]
    changed = [item for item in left if json.dumps(item) not in own]
    ours = [item for item in changed if item.keys() == {"role", "content"} and item["role"] == "user"]
    others = [item for item in changed if item not in ours]
    plain = [json.dumps({**item, "output": None, "content": None}) for item in came]
    for item in others:  # shortened: an output, or what somebody said, and nothing of it but its text
        assert str(item.get("type")).endswith("_output") or item.get("role"), item
        assert json.dumps({**item, "output": None, "content": None}) in plain


@given(conversations_of_items())
@settings(max_examples=examples(120))
def test_items_leave_legal_in_their_own_bytes_and_nothing_is_done_twice(made: tuple[bytes, Policy]) -> None:
    body, policy = made
    counter = counter_of(quarter)
    plan, left = leave(RESPONSES, body, policy, counter)
    if left is None:
        return
    assert isinstance(plan, Plan)
    if plan.changes is None:
        assert left == body
        return
    fields = orjson.loads(left)
    check_legal(orjson.loads(body)["input"], fields["input"])
    assert {**fields, "input": None} == {**orjson.loads(body), "input": None}
    again, twice = leave(RESPONSES, left, policy, counter)
    assert isinstance(again, Plan)
    assert twice == left


@given(conversations_of_items())
@settings(max_examples=examples(120))
def test_items_that_leave_as_a_chat_are_a_legal_one(made: tuple[bytes, Policy]) -> None:
    body, policy = made
    came = RESPONSES.read(body, Memo())
    plan = decided(came, policy, UNBOUNDED, UNBOUNDED.bounds(policy), counter_of(quarter))
    if isinstance(plan, Refusal):
        return
    messages = orjson.loads(RESPONSES.as_chat(came, "asked", plan.changes))["messages"]
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert waiting == []
            waiting = [call["id"] for call in message.get("tool_calls", ())]
    assert waiting == []


# ---------------------------------------------------------------- alike in both shapes


def sampled(conversations: Conversations) -> Iterator[tuple[str, Json]]:
    """A few recorded conversations of each source, as chats that have items."""
    for name in conversations.names:
        read = list(conversations.read(name))
        for one in read[:: max(1, len(read) // 2)][:1]:
            chat: Json = {"model": "asked", "messages": one["messages"][:80]}
            messages = chat["messages"]
            if all(message["role"] in ("system", "user", "assistant", "tool") for message in messages):
                yield name, chat | ({"tools": one["tools"]} if one.get("tools") else {})


def kept(came: Sequence[Json], left: Sequence[Json]) -> float:
    """The share of what was said that leaves, line by line."""
    there = Tally(line for text in texts_of(left) for line in text.split("\n"))
    whole = got = 0
    for line in [line for text in texts_of(came) for line in text.split("\n")]:
        whole += len(line)
        if there[line]:
            there[line] -= 1
            got += len(line)
    return got / max(1, whole)


@pytest.mark.long
def test_recorded_conversations_are_fitted_alike_in_both_shapes(conversations: Conversations) -> None:
    counter, shares = counter_of(quarter), []
    for _, chat in sampled(conversations):
        for budget in BUDGETS:
            policy = Policy("p", context_window=budget, reserve=Reserve(0, 0))
            items = as_items(chat)
            _, one = leave(CHAT, orjson.dumps(chat), policy, counter)
            _, other = leave(RESPONSES, orjson.dumps(items), policy, counter)
            assert (one is None) == (other is None)
            if one is None or other is None:
                continue
            left = orjson.loads(other)
            check_legal(items["input"], left["input"])
            shares.append(
                (kept(chat["messages"], orjson.loads(one)["messages"]), kept(chat["messages"], as_messages(left)))
            )
    as_chats, as_responses = (sum(of) / len(shares) for of in zip(*shares, strict=True))
    assert abs(as_chats - as_responses) <= 0.005, (as_chats, as_responses, len(shares))

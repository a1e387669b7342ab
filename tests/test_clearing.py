"""Results that the provider clears by itself (`context_management`): what is left of them counts, nobody folds them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget.clearing import PLACEHOLDER, cleared, comes_first
from gateway.config.policy import Policy, Reserve
from gateway.providers.anthropic import MESSAGES_API
from gateway.request import Clearing, Request
from gateway.rewriting.plan import Plan, Refusal
from gateway.serving.fit import Fitted, decided
from gateway.serving.provider_clearing import fit_after_clearing
from gateway.wire.memo import Memo
from gateway.wire.messages.clearing import clearing_of
from gateway.wire.shape import MESSAGES, RESPONSES
from tests.conftest import examples
from tests.in_messages import faults
from tests.laws.driving import counter_of
from tests.laws.generators import ASKED, FULL, model_of
from tests.laws.oracle import quarter
from tests.talk import words
from tests.test_messages_served import TOOL, Place, placed

Json = dict[str, Any]
EDIT = "clear_tool_uses_20250919"


def wish(edit: Any = None, **more: Any) -> Json:
    return {"edits": [edit or {"type": EDIT, **more}]}


def tokens(number: int) -> Json:
    return {"type": "input_tokens", "value": number}


def uses(number: int) -> Json:
    return {"type": "tool_uses", "value": number}


# ---------------------------------------------------------------- read

ODD: list[Any] = [
    *(None, {}, [], "x", {"edits": 3}, {"edits": [3]}, wish(trigger=7), wish(keep={"value": "x"})),
    *(wish(exclude_tools=[[]]), wish(trigger=tokens(-1)), wish(trigger={"type": "x", "value": 2})),
]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (wish(), Clearing(False, 100_000, 3)),
        (wish(trigger=tokens(50), keep=uses(0)), Clearing(False, 50, 0)),
        (
            wish(trigger=uses(9), clear_at_least=tokens(5), exclude_tools=["memory"], clear_tool_inputs=True),
            Clearing(True, 9, 3, 5, frozenset({"memory"})),
        ),
        ({"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, None),
        ({"edits": [{"type": "compact_20260112"}, {"type": EDIT}]}, Clearing(False, 100_000, 3)),
        *((one, None) for one in ODD),
    ],
)  # fmt: skip
def test_a_wish_is_read_as_it_is_documented_or_not_at_all(said: Any, read: Clearing | None):
    assert clearing_of(said) == read


def test_a_wish_that_no_chat_can_carry_is_named():
    messages = [{"role": "user", "content": "hi"}]
    asked = {"model": "m", "max_tokens": 9, "messages": messages, "context_management": wish()}
    items = {"model": "m", "input": "hi", "context_management": [{"type": "compaction", "compact_threshold": 9}]}
    for shape, body in ((MESSAGES, asked), (RESPONSES, items)):
        request = shape.read(json.dumps(body).encode(), Memo())
        assert request.left_from_chats == ("context_management",)
        assert "context_management" not in json.loads(shape.as_chat(request, "m"))
        assert json.loads(shape.write(request, "m")) == body


# ---------------------------------------------------------------- decided


def conversation(steps: int, size: int, names: Sequence[str] = ("read",)) -> list[Json]:
    """Questions of one word, and so many calls with results of so many words."""
    out: list[Json] = [{"role": "user", "content": "go"}]
    for step in range(steps):
        name = names[step % len(names)]
        out.append(
            {"role": "assistant", "content": [{"type": "tool_use", "id": f"t{step}", "name": name, "input": {}}]}
        )
        block = {"type": "tool_result", "tool_use_id": f"t{step}", "content": words(size, f"r{step}")}
        out.append({"role": "user", "content": [block]})
    return out


def read_of(messages: Sequence[Json], wanted: Json | None) -> Request:
    body: Json = {"model": ASKED, "max_tokens": 9, "messages": messages}
    body |= {} if wanted is None else {"context_management": wanted}
    return MESSAGES.read(json.dumps(body).encode(), Memo())


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        (wish(trigger=tokens(100), keep=uses(2)), {2, 4, 6}),
        (wish(trigger=tokens(100)), {2, 4}),
        (wish(trigger=tokens(100), keep=uses(1), exclude_tools=["memory"]), {2, 6}),
        (wish(trigger=tokens(100_000)), set()),
        (wish(trigger=uses(4), keep=uses(4)), {2}),
        (wish(trigger=uses(5), keep=uses(4)), set()),
        (wish(trigger=tokens(100), clear_at_least=tokens(10_000)), set()),
    ],
)
def test_the_oldest_results_go_and_the_newest_stay(wanted: Json, gone: set[int]):
    request = read_of(conversation(5, 80, ("read", "memory")), wanted)
    assert request.clearing is not None
    found = cleared(request.conversation.messages, request.clearing, lambda one: quarter(one.text), 3)
    assert found == gone


def test_whoever_is_first_clears():
    request = read_of(conversation(10, 80), wish(trigger=uses(6)))
    assert request.clearing is not None
    messages, size = request.conversation.messages, lambda one: quarter(one.text)
    whole = sum(map(size, messages))
    assert comes_first(messages, request.clearing, size, 0, whole)
    assert not comes_first(messages, request.clearing, size, 0, whole // 3)
    by_tokens = replace(request.clearing, by_uses=False, threshold=1000)
    assert comes_first(messages, by_tokens, size, 0, 1050)
    assert not comes_first(messages, by_tokens, size, 0, 1049)


# ---------------------------------------------------------------- law


def provider_leaves(body: Json) -> tuple[int, set[str]]:
    """Clear as the provider does, by exact thresholds; return the tokens left, and the ids of the calls cleared."""
    edit = body["context_management"]["edits"][0]
    blocks = [one for message in body["messages"] if isinstance(message["content"], list) for one in message["content"]]
    calls = {one["id"]: one["name"] for one in blocks if one["type"] == "tool_use"}
    results = [one for one in blocks if one["type"] == "tool_result"]
    request = MESSAGES.read(json.dumps(body).encode(), Memo())
    total = counted(request)
    trigger = edit["trigger"]
    due = len(calls) > trigger["value"] if trigger["type"] == "tool_uses" else total > trigger["value"]
    excluded = edit.get("exclude_tools", [])
    old = [one for one in results if calls[one["tool_use_id"]] not in excluded]
    old = old[: max(0, len(old) - edit["keep"]["value"])]
    freed = sum(quarter(one["content"]) - quarter(PLACEHOLDER) for one in old)
    if not due or freed < edit.get("clear_at_least", tokens(0))["value"]:
        return total, set()
    return total - freed, {one["tool_use_id"] for one in old}


def counted(request: Request) -> int:
    found = decided(request, Policy("all", mode="observe"), MODEL, WIDE, counter_of(quarter))
    assert isinstance(found, Plan)
    return sum(found.before.values())


MODEL = model_of(None, legal=MESSAGES_API)
WIDE = MODEL.bounds(Policy("wide", context_window=10**6, reserve=Reserve(0, 0)), answer_limit=None, thinking=0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Json, int]:
    """A conversation, a wish for it, and a budget."""
    messages: list[Json] = []
    for turn in range(draw(st.integers(1, 4))):
        size = draw(st.sampled_from([1, 40, 300]))
        part = conversation(draw(st.integers(0, 6)), size, ("read", "memory"))
        for message in part:
            for block in message["content"] if isinstance(message["content"], list) else ():
                name = "id" if "id" in block else "tool_use_id"
                block[name] = f"{turn}-{block[name]}"
        messages += [*part, {"role": "assistant", "content": words(draw(st.integers(1, 200)), f"a{turn}")}]
    messages.append({"role": "user", "content": "and now?"})
    threshold = draw(st.sampled_from([tokens(200), tokens(800), uses(2), uses(6)]))
    edit: Json = {"type": EDIT, "trigger": threshold, "keep": uses(draw(st.integers(0, 4)))}
    if draw(st.booleans()):
        edit["clear_at_least"] = tokens(draw(st.sampled_from([10, 500])))
    if draw(st.booleans()):
        edit["exclude_tools"] = ["memory"]
    body = {"model": ASKED, "max_tokens": 9, "messages": messages, "context_management": {"edits": [edit]}}
    return body, draw(st.sampled_from([150, 400, 1000]))


@settings(max_examples=examples(80))
@given(cases())
def test_what_the_provider_leaves_fits_and_what_it_clears_leaves_as_it_came(case: tuple[Json, int]) -> None:
    body, budget = case
    request = MESSAGES.read(json.dumps(body).encode(), Memo())
    policy = Policy("p", context_window=budget, reserve=Reserve(0, 0), ladder=FULL)
    window, counter = MODEL.bounds(policy, answer_limit=None, thinking=0), counter_of(quarter)

    async def fit(asked: Request) -> Fitted:
        return Fitted(MODEL, decided(asked, policy, MODEL, window, counter), window)

    fitted = asyncio.run(fit_after_clearing(request, MODEL, counter, window.budget(0), fit))
    if isinstance(fitted.plan, Refusal):
        return
    left = json.loads(MESSAGES.write(request, ASKED, fitted.changes))
    assert faults(left) == []
    total, gone = provider_leaves(left)
    assert total <= budget
    came = dict(results_of(body))
    assert all(text == came[call] for call, text in results_of(left) if call in gone)


def results_of(body: Json) -> Iterator[tuple[str, str]]:
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_result":
                yield block["tool_use_id"], block["content"]


# ---------------------------------------------------------------- served


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with placed(tmp_path_factory.mktemp("clearing")) as place:
        yield place


def asked(place: Place, wanted: Json | None, size: int = 250) -> tuple[Json, Json, Any]:
    """Ask with eight results of 500 tokens, under 3,000; return what was sent, what arrived, and the headers."""
    body: Json = {"model": "claude", "max_tokens": 9, "tools": [TOOL], "messages": conversation(8, size)}
    body |= {} if wanted is None else {"context_management": wanted}
    status, _, headers = place.ask(
        "POST",
        "/v1/messages?beta=true",
        json.dumps(body).encode(),
        **{"anthropic-beta": "context-management-2025-06-27"},
    )
    assert status == 200
    return body, json.loads(place.upstream.came[-1][1]), headers


def test_what_the_provider_clears_is_not_folded_here(place: Place):
    _, came, headers = asked(place, None)
    assert headers["x-gateway-plan"].startswith("rewritten")
    body, came, headers = asked(place, wish(trigger=tokens(1500), keep=uses(2)))
    assert came == {**body, "model": came["model"]}
    assert headers["x-gateway-plan"].startswith("unchanged")
    _, came, headers = asked(place, wish(trigger=tokens(90_000), keep=uses(2)))
    assert headers["x-gateway-plan"].startswith("rewritten"), "ours comes first"

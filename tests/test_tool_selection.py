"""Tools that leave, where a policy selects them: chosen by the task and by calls, so that the choice does not move."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reports.explain import dry_run
from gateway.request import Tool
from gateway.rewriting.tools import called, select, task
from gateway.routing.models import models_of
from gateway.wire.chat.read import parse
from gateway.wire.chat.tools import named_tools, tools_of, with_tools
from gateway.wire.memo import Memo
from tests.passage import COUNTERS, Script, Setting, deployment, policy, says
from tests.talk import assistant, body, calls, request, result, user, words

WEATHER = Tool("get_weather", "Tells the weather of a city.")
MAIL = Tool("send_mail", "Sends a message to somebody.")
STOCK = Tool("stock_price", "Looks up the price of a stock.")
OWN = Tool(None)
TOOLS = [MAIL, STOCK, OWN, WEATHER]


def test_what_bears_most_on_the_task_stays_in_the_order_it_came():
    assert select(TOOLS, "What is the weather in Oslo, and can you send it?", frozenset(), 3) == (0, 2, 3)


def test_what_is_called_and_what_is_the_providers_own_stays_however_many_they_are():
    assert select(TOOLS, "weather", {"send_mail", "stock_price"}, 1) == (0, 1, 2)


def test_a_definition_that_the_client_marked_for_its_cache_stays():
    assert select([*TOOLS, Tool("last", stays=True)], "weather", frozenset(), 3) == (2, 3, 4)


def test_where_nothing_bears_on_the_task_the_first_stay():
    assert select([MAIL, STOCK, WEATHER], "", frozenset(), 2) == (0, 1)


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@given(NAMES, st.data(), st.integers(1, 9))
def test_a_call_of_a_tool_that_was_sent_never_changes_the_choice(names, data, most):
    tools = [Tool(name, f"does {name}") for name in names]
    asked = data.draw(st.sampled_from(["a c", "does b", ""]))
    sent = select(tools, asked, frozenset(), most)
    used = data.draw(st.sets(st.sampled_from([tools[i].name for i in sent])))
    assert select(tools, asked, used, most) == sent


def test_the_task_is_what_users_said_up_to_the_first_answer_to_them():
    talk = request([assistant("Hello!"), user("one"), user("two"), assistant("ok"), user("three")])
    assert task(talk.conversation) == "one\ntwo"
    assert called(request([user("x"), calls("c0 look"), result("c0", "y")]).conversation) == {"look"}


# ---------------------------------------------------------------- in a request


def definition(name: str, told: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": told, **more}}


MANY = [definition(f"tool_{i}", f"{words(40)} number {i}") for i in range(20)]
MANY[17] = definition("get_weather", "Tells the weather of a city.")
SELECTS = policy("{name: few, tools: {select: 3}, context_window: 1000, reserve: {output: 0, margin: 0}}")
ASKED = [user("What is the weather in Oslo?")]


def test_the_tools_that_stay_keep_their_bytes():
    raw = b'{"model":"m", "tools": [ {"type":"function","function":{"name":"a", "x":1.10}} ,{"type":"x"}, {"b":0}],'
    raw += b' "messages":[{"role":"user","content":"hi"}]}'
    came = parse(raw, Memo())
    left = with_tools(came, [0, 2], Memo())
    assert left.body == raw.replace(b' ,{"type":"x"}, ', b",").replace(b"[ {", b"[{")
    assert [tool.name for tool in tools_of(left)] == ["a", None]
    assert left.conversation.tools == 2


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ("auto", set()),
        (None, set()),
        ({"type": "function", "function": {"name": "a"}}, {"a"}),
        ({"type": "custom", "custom": {"name": "a"}}, {"a"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "function", "function": {"name": "b"}}, 3]}},
            {"b"},
        ),
        ({"type": "allowed_tools", "allowed_tools": 3}, set()),
    ],
)
def test_a_choice_of_tools_names_them_in_any_of_its_forms(choice, named):
    assert named_tools(request(ASKED, tool_choice=choice)) == named


@pytest.fixture
def gateway(tmp_path) -> Setting:
    return Setting(tmp_path, policies=(SELECTS,), deployments=(deployment(window=1000),))


async def test_a_request_that_is_over_leaves_with_its_relevant_tools_and_says_so(gateway):
    passed = await gateway(body(ASKED, tools=MANY), Script(says()))
    sent = passed.script.calls[0].fields
    names = [tool["function"]["name"] for tool in sent["tools"]]
    assert "get_weather" in names
    assert len(names) == 3
    assert sent["messages"] == ASKED
    row = passed.settled
    assert row["components"]["tools"][0] > 3 * row["components"]["tools"][1]
    assert row["edits"][0][2] == "tools_selected"
    assert passed.client.got["x-gateway-plan"].startswith("rewritten; tokens=")
    assert "tools_selected=1" in passed.client.got["x-gateway-plan"]


async def test_a_request_that_fits_keeps_all_its_tools(gateway):
    wide = replace(SELECTS, context_window=9000)
    gateway = replace(gateway, policies=(wide,), deployments=(deployment(window=9000),))
    passed = await gateway(body(ASKED, tools=MANY), Script(says()))
    assert len(passed.script.calls[0].fields["tools"]) == 20
    assert passed.client.got["x-gateway-plan"] == "unchanged"


async def test_a_tool_that_the_request_names_stays_beside_the_others(gateway):
    choice = {"type": "function", "function": {"name": "tool_9"}}
    passed = await gateway(body(ASKED, tools=MANY, tool_choice=choice), Script(says()))
    names = {tool["function"]["name"] for tool in passed.script.calls[0].fields["tools"]}
    assert {"tool_9", "get_weather"} <= names
    assert len(names) == 4


async def test_the_selection_does_not_move_while_the_conversation_goes_on(gateway):
    grown = [
        *ASKED,
        calls("c0 get_weather"),
        result("c0", "mild"),
        assistant("It is mild."),
        user("And the stock price?"),
    ]
    first = await gateway(body(ASKED, tools=MANY), Script(says()))
    then = await gateway(body(grown, tools=MANY), Script(says()))
    assert first.script.calls[0].fields["tools"] == then.script.calls[0].fields["tools"]


async def test_a_policy_that_observes_sends_all_tools_and_tells_what_it_would_do(gateway):
    passed = await replace(gateway, policies=(replace(SELECTS, mode="observe"),))(
        body(ASKED, tools=MANY), Script(says())
    )
    assert len(passed.script.calls[0].fields["tools"]) == 20
    assert "tools_selected=1" in passed.client.got["x-gateway-plan"]
    assert passed.client.got["x-gateway-plan"].startswith("observed")


async def test_under_strict_a_share_of_tools_is_reached_by_selecting(gateway):
    strict = replace(SELECTS, strict=True, context_window=3000)
    gateway = replace(gateway, policies=(strict,), deployments=(deployment(window=3000),))
    passed = await gateway(body(ASKED, tools=MANY), Script(says()))
    assert len(passed.script.calls[0].fields["tools"]) == 3


def test_explain_tells_of_the_selection():
    model = models_of({"asked": (deployment(window=1000),)}, unpriced=False)["asked"]
    told = dry_run(body(ASKED, tools=MANY), SELECTS, model, COUNTERS.for_encoding("o200k_base"))
    assert told["edits"][0]["remedy"] == "tools_selected"
    assert told["components"]["tools"]["before"] > told["components"]["tools"]["after"]
    assert json.loads(json.dumps(told["conversation"]))[0]["remedy"] is None

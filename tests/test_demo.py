"""The demo: a conversation fit to be shown, and a run of it that says what happened."""

import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.conversation import Message
from gateway.demo import conversation, runner, settings, shapes
from gateway.demo.shapes import SENDERS
from gateway.providers.anthropic import MESSAGES_API
from gateway.wire.chat.read import parse
from gateway.wire.legality import CHAT, violations
from gateway.wire.memo import Memo
from gateway.wire.shape import MESSAGES, RESPONSES

CHECKOUT = Path(__file__).resolve().parent.parent
RECORDING = conversation.load_conversation()
TURNS = RECORDING.turns()


def messages_of(turn: conversation.DemoTurn) -> tuple[Message, ...]:
    body = json.dumps({"model": "gpt-5", "messages": list(turn.messages), "tools": list(RECORDING.tools)}).encode()
    return parse(body, Memo()).conversation.messages


def test_it_is_long_and_has_several_users() -> None:
    assert len(TURNS) >= 24
    assert len({turn.user for turn in TURNS}) >= 3
    assert {turn.stream for turn in TURNS} == {True, False}


def test_every_request_of_it_is_legal() -> None:
    assert [turn.number for turn in TURNS if violations(messages_of(turn), CHAT)] == []


def test_every_request_of_it_is_as_legal_in_the_other_shapes() -> None:
    for turn in TURNS:
        items = {"model": "gpt-5", "input": shapes.responses_input(turn.messages)}
        asked = {"model": "gpt-5", "max_tokens": 9, "messages": shapes.anthropic_messages(turn.messages)}
        for shape, body, rules in ((RESPONSES, items, CHAT), (MESSAGES, asked, MESSAGES_API)):
            request = shape.read(json.dumps(body).encode(), Memo())
            assert violations(request.conversation.messages, rules) == ()
        roles = [message["role"] for message in asked["messages"]]  # type: ignore[attr-defined]
        assert roles == ["user", *["assistant", "user"] * (len(roles) // 2)]


def test_every_call_is_of_a_tool_that_is_defined_and_its_arguments_are_json() -> None:
    defined = {tool["function"]["name"] for tool in RECORDING.tools}
    calls = [call for message in RECORDING.messages for call in message.get("tool_calls") or ()]
    assert {call["function"]["name"] for call in calls} <= defined
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
    assert max(Counter(call["id"] for call in calls).values()) == 1


def test_it_holds_what_the_remedies_are_for() -> None:
    results = [message["content"] for message in RECORDING.messages if message["role"] == "tool"]
    assert max(Counter(results).values()) == 2, "one repeated result"
    assert any(result.startswith("{\n  ") for result in results), "indented JSON"
    assert any(result.count("\n") > 60 and "ERROR" in result for result in results), "a log"
    assert max(len(result) for result in results) > 8_000


def test_each_request_holds_everything_before_it() -> None:
    for turn, following in itertools.pairwise(TURNS):
        assert following.messages[: len(turn.messages)] == turn.messages
        assert following.messages[len(turn.messages)]["role"] == "assistant"


@pytest.mark.parametrize(
    ("header", "plan"),
    [
        ("unchanged", runner.PlanHeader("unchanged", None, None, ())),
        (
            "rewritten; tokens=45120/27644; stub=12; drop_oldest=9; first_changed=messages[3]",
            runner.PlanHeader("rewritten", 45120, 27644, (("stub", 12), ("drop_oldest", 9))),
        ),
        ("observed; tokens=9/8; stub=1; forced", runner.PlanHeader("observed", 9, 8, (("stub", 1),))),
    ],
)
def test_a_plan_header_is_read_back(header: str, plan: runner.PlanHeader) -> None:
    assert runner.read_plan(header) == plan


def test_gateway_demo_shows_every_turn_under_both_policies_and_ends_well() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert time.monotonic() - began < 60
    assert done.stderr == ""
    shown = done.stdout
    assert [shown.count(f"Policy {policy}") for policy in settings.POLICIES] == [1, 1]
    rows = re.findall(
        r"^ +(\d+)  (\w+) +(plain|stream) +([\d,]+) +([\d,]+) +(\d+)% +\$(\S+)  (.+)$", shown, re.MULTILINE
    )
    assert [int(row[0]) for row in rows] == [turn.number for turn in TURNS] * len(settings.POLICIES)
    sizes = [(int(row[3].replace(",", "")), int(row[4].replace(",", ""))) for row in rows]
    assert all(after <= 15_000 for _, after in sizes)
    assert any(after < before for before, after in sizes)
    done_by = " ".join(row[7] for row in rows)
    assert "stub" in done_by
    assert "drop_oldest" in done_by
    assert any(int(row[5]) > 50 for row in rows), "the provider's cache is kept warm"
    for user in {turn.user for turn in TURNS}:
        assert re.search(rf"^\W*{user}\b.*\d", shown.partition("gateway report")[2], re.MULTILINE)
    rows_of_shapes = re.findall(r"^(/v1/\S+) +(\d+) of (\d+) +([\d,]+) +([\d,]+) +\$\S+ +(.+?) *$", shown, re.MULTILINE)
    assert [row[0] for row in rows_of_shapes] == list(SENDERS)
    assert {row[2] for row in rows_of_shapes} == {str(len(TURNS))}
    assert len({(row[1], row[5]) for row in rows_of_shapes}) == 1, "one plan, whatever the shape"
    sums = [int(row[4].replace(",", "")) for row in rows_of_shapes]
    assert max(sums) < 1.01 * min(sums)
    assert re.search(r"gateway explain gw_[0-9A-HJKMNP-TV-Z]{26}", shown)

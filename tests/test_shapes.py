"""Shapes: what every one does alike, and how those still to come map onto the neutral values."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.budget.allocation import Window
from gateway.budget.components import dissect
from gateway.config.ladder import Ladder
from gateway.config.policy import Fold, Policy, Reserve
from gateway.conversation import Changes, Marker, last_unit, units
from gateway.memory import Memory
from gateway.prompt_cache.breakpoints import Breakpoint
from gateway.prompt_cache.breakpoints import callers as breakpoints_of
from gateway.prompt_cache.rules import CacheFacts
from gateway.request import Request
from gateway.rewriting.plan import Plan, Refusal, plan, recognition_of
from gateway.rewriting.voices import voices
from gateway.serving.fit import byte_sizes, fit
from gateway.wire.memo import Memo
from gateway.wire.shape import BY_PATH, CHAT, MESSAGES, RESPONSES, SHAPES, Shape, shape_of
from tests.in_messages import messages_of
from tests.items import as_items
from tests.passage import COUNTERS
from tests.talk import assistant, count, count_media, loop, request, system, user, words
from tests.test_fitting import model

BARE = Policy("bare", reserve=Reserve(0, 0), fold=Fold(keep_turns=0, keep_tool_results=0))
DROP = replace(BARE, ladder=Ladder((), (), (), ("drop_oldest",), ()))
TALK = [system("You help."), user("go"), *loop(2, 60), user("and now?")]

AGENT: dict[str, Any] = {
    "model": "gpt-5.6",
    "instructions": "You help.",
    "max_output_tokens": 500,
    "prompt_cache_key": "team",
    "tools": [{"type": "function", "name": "read", "parameters": {}}],
    "input": [
        {"role": "user", "content": "Compare both files."},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "…"},
        {"type": "function_call", "call_id": "c1", "name": "read", "arguments": '{"path": "a"}'},
        {"type": "function_call", "call_id": "c2", "name": "list", "arguments": '{"path": "b"}'},
        {"type": "function_call_output", "call_id": "c2", "output": words(40, "b")},
        {"type": "function_call_output", "call_id": "c1", "output": words(40, "a")},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "They differ."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "How?"}]},
    ],
}

CLAUDE: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 500,
    "metadata": {"user_id": "u1"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "system": [{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "tools": [{"name": "read", "input_schema": {}, "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Compare both files."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "…", "signature": "…"},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}},
                {"type": "tool_use", "id": "t2", "name": "list", "input": {"path": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": words(40, "a")},
                {"type": "tool_result", "tool_use_id": "t2", "content": words(40, "b")},
                {"type": "text", "text": words(30, "aside")},
                {"type": "text", "text": "And quickly.", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "assistant", "content": "They differ."},
        {"role": "user", "content": "How?"},
    ],
}


def parallel(turn: int) -> list[dict[str, Any]]:
    """Two results of one call said twice over, and an answer."""
    listed = [(f"c{turn}_{at}", orjson.dumps({"path": path}).decode()) for at, path in enumerate("ab")]
    calls = [{"id": one, "type": "function", "function": {"name": "read", "arguments": path}} for one, path in listed]
    results = [{"role": "tool", "tool_call_id": one, "content": words(60, f"{one[-1]}")} for one, _ in listed]
    said = {"role": "assistant", "content": "I read both.", "tool_calls": calls}
    return [user(f"Compare {turn}."), said, *results, assistant("They differ.")]


PARALLEL: dict[str, Any] = {"model": "m", "messages": [system("You help."), *parallel(1), user("How?")]}


def spans(came: Request) -> list[tuple[int, int]]:
    return [(unit.first, unit.after) for unit in units(came.conversation.messages)]


def decided(came: Request, policy: Policy, window: int) -> Plan | Refusal:
    taken = dissect(came.conversation, recognition_of(policy), count, count_media)
    return plan(taken, policy, Window(window, None, True, 0, 0), 0, (), count)


# ---------------------------------------------------------------- every shape


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_request_is_of_the_shape_that_read_it(shape: Shape):
    came = shape.read(shape.ask("m", "Say yes.", "Is it?", 10), Memo())
    assert (came.shape, came.model, came.answer_limit) == (shape.name, "m", 10)
    assert [message.text for message in came.conversation.messages] == ["Say yes.", "Is it?"]
    assert shape_of(came) is shape


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_request_that_nothing_is_done_to_leaves_as_it_came(shape: Shape):
    came = shape.read(shape.ask("m", "Say yes.", "Is it?", 10), Memo())
    assert shape.write(came, "m") == came.body
    left = shape.write(came, "m", Changes({}, frozenset({0})))
    assert [message.text for message in shape.read(left, Memo()).conversation.messages] == ["Is it?"]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_request_crosses_to_another_process_and_is_the_same(shape: Shape):
    came = shape.read(shape.ask("m", "Say yes.", "Is it?", 10), Memo())
    bare, numbers = shape.take_apart(came)
    assert (bare.body, bare.conversation.messages) == (b"", ())
    assert shape.put_together(bare, came.body, numbers, list(came.conversation.messages)) == came


def test_every_path_has_a_shape_that_the_table_lists():
    assert {shape.name for shape in BY_PATH.values()} == SHAPES.keys()


def test_a_chat_message_is_named_by_its_number():
    came = request(TALK)
    assert came.conversation.place(3) == "messages[3]"
    assert came.extent(0, 2) == came.body.index(b'"go"}') + 5 - came.body.index(b'{"role":"system"')
    assert came.extent(2, 2) == 0


# ---------------------------------------------------------------- Responses


def responses(body: dict[str, Any]) -> Request:
    return RESPONSES.read(orjson.dumps(body), Memo())


def test_calls_their_reasoning_and_their_results_are_one_unit_of_items():
    came = responses(AGENT)
    assert spans(came) == [(0, 1), (1, 2), (2, 7), (7, 8), (8, 9)]
    assert last_unit(came.conversation.messages[:7], 1) == units(came.conversation.messages)[2]


def test_results_of_items_are_known_by_the_id_of_their_call():
    taken = dissect(responses(AGENT).conversation, recognition_of(BARE), count, count_media)
    assert taken.tool_of == {5: "list", 6: "read"}


def as_three(chat: dict[str, Any]) -> list[Request]:
    """Read one conversation in every shape."""
    bodies = [(CHAT, chat), (RESPONSES, as_items(chat)), (MESSAGES, messages_of(chat))]
    return [shape.read(orjson.dumps(body), Memo()) for shape, body in bodies]


def test_one_conversation_counts_the_same_in_every_shape():
    read = as_three(PARALLEL)
    taken = [dissect(came.conversation, recognition_of(BARE), count, count_media) for came in read]
    assert len({one.total for one in taken}) == 1
    assert [message.joined for message in read[1].conversation.messages] == [False] * 3 + [True] * 2 + [False] * 4


def test_what_is_said_before_a_call_is_a_part_of_that_step_in_every_shape():
    heard = [voices(came.conversation.messages, Memory(0)) for came in as_three(PARALLEL)]
    assert heard[0] == heard[2] == ("rule", "said", "step", "result", "result", "answer", "said")
    assert heard[1] == ("rule", "said", "step", "step", "step", "result", "result", "answer", "said")


def test_items_are_named_as_the_client_knows_them():
    came = responses(AGENT)
    assert [came.conversation.place(index) for index in (0, 1, 8)] == ["instructions", "input[0]", "input[7]"]
    found = decided(came, DROP, 60)
    assert isinstance(found, Plan)
    assert found.changes is not None
    assert {2, 3, 4, 5, 6} <= found.changes.dropped
    assert "first_changed=input[1]" in found.summary
    long = {**AGENT, "input": [*AGENT["input"], {"role": "user", "content": words(90)}]}
    refused = decided(responses(long), DROP, 60)
    assert isinstance(refused, Refusal)
    assert refused.at == "input[8]"


async def test_a_conversation_that_the_provider_holds_a_part_of_leaves_as_it_came():
    asked = {**AGENT, "previous_response_id": "resp_1"}
    came, known = responses(asked), model()
    assert came.conversation.elsewhere == "previous_response_id"
    counter = COUNTERS.for_encoding("o200k_base")
    seen = (await fit(responses(AGENT), DROP, known, counter, Window(60, None, True, 0, 0))).plan
    assert seen is not None
    assert (await fit(came, DROP, known, counter, Window(60, None, True, 0, 0))).plan is None


def test_what_a_request_of_items_says_of_itself():
    came = responses(AGENT)
    assert (came.answer_limit, came.limited_by, came.caching.has_key) == (500, "max_output_tokens", True)
    assert (came.conversation.tools, came.conversation.messages[2].reasons) == (1, True)


# ---------------------------------------------------------------- Anthropic


def anthropic(body: dict[str, Any]) -> Request:
    return MESSAGES.read(orjson.dumps(body), Memo())


def test_results_beside_text_are_messages_of_their_own():
    came = anthropic(CLAUDE)
    messages, places = came.conversation.messages, came.conversation.places
    assert places == (
        "system[0]",
        "messages[0]",
        "messages[1]",
        "messages[2].content[0]",
        "messages[2].content[1]",
        "messages[2].content[2]",
        "messages[3]",
        "messages[4]",
    )
    assert [message.role for message in messages[3:6]] == ["tool", "tool", "user"]
    assert [message.call_id for message in messages[3:5]] == ["t1", "t2"]


def test_text_beside_results_is_a_unit_of_its_own():
    came = anthropic(CLAUDE)
    assert spans(came) == [(0, 1), (1, 2), (2, 5), (5, 6), (6, 7), (7, 8)]
    taken = dissect(came.conversation, recognition_of(BARE), count, count_media)
    assert taken.tool_of == {3: "read", 4: "list"}


def test_a_result_beside_text_may_be_dropped_without_it():
    came = anthropic(CLAUDE)
    found = decided(came, DROP, 140)
    assert isinstance(found, Plan)
    assert found.changes is not None
    assert found.changes.dropped == {2, 3, 4}
    assert "first_changed=messages[1]" in found.summary


def test_markers_on_blocks_are_breakpoints():
    came = anthropic(CLAUDE)
    assert came.conversation.messages[0].markers == (Marker("control", "1h"),)
    assert came.conversation.messages[5].markers == (Marker("control"),)
    assert came.caching.tool_markers == (Marker("control"),)


def test_the_markers_of_a_shape_are_read_alike():
    facts = CacheFacts("anthropic", "breakpoints", "cache_control", writes={300: 1, 3600: 2})  # type: ignore[dict-item]
    marked = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    came = request([system("s", **marked), user("u")], cache_control={"type": "ephemeral"})
    assert breakpoints_of(came, facts) == (Breakpoint(1, 3600, False), Breakpoint(2, 300, False))


def test_what_a_request_of_blocks_says_of_itself():
    came = anthropic(CLAUDE)
    assert (came.answer_limit, came.thinking, came.user) == (500, 2000, "u1")
    sizes = byte_sizes(came)
    assert sizes["input"] == len('"How?"')
    assert orjson.loads(came.body) == CLAUDE

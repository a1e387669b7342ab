"""Responses: how a request is read, and what of it is written anew."""

from typing import Any

import orjson
import pytest

from gateway.conversation import Changes, Insertion, PartEdit, Rest, units
from gateway.request import Marks, Request
from gateway.wire.errors import GatewayError
from gateway.wire.foreign import CHAT as CHAT_IDS
from gateway.wire.foreign import Reception
from gateway.wire.memo import Memo
from gateway.wire.outgoing import Additions
from gateway.wire.shape import RESPONSES

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read", "arguments": '{"path": "a"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "text of a"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA…"}


def read(*items: Any, **more: Any) -> Request:
    return RESPONSES.read(orjson.dumps({"model": "m", "input": list(items), **more}), Memo())


def refused(body: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        RESPONSES.read(body, Memo())
    return raised.value


def roles(came: Request) -> list[str]:
    return [message.role for message in came.conversation.messages]


def together(came: Request) -> list[tuple[int, int]]:
    return [(unit.first, unit.after) for unit in units(came.conversation.messages)]


def left(came: Request, changes: Changes, **more: Any) -> dict[str, Any]:
    written: dict[str, Any] = orjson.loads(RESPONSES.write(came, "m", changes, **more))
    return written


# ---------------------------------------------------------------- reading


def test_what_is_known_is_not_read_again():
    memo, body = Memo(), b'{"model": "m", "instructions": "Be brief.", "input": [{"role": "user", "content": "Hi"}]}'
    first, again = RESPONSES.read(body, memo), RESPONSES.read(body, memo)
    both = zip(first.conversation.messages, again.conversation.messages, strict=True)
    assert all(one is other for one, other in both)


def test_a_string_is_what_the_user_says():
    came = RESPONSES.read(b'{"model": "m", "instructions": "Be brief.", "input": "Hi"}', Memo())
    assert [(one.role, one.text) for one in came.conversation.messages] == [("system", "Be brief."), ("user", "Hi")]
    assert came.conversation.places == ("instructions", "input")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b'{"input": "x"}', "model"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": []}', "input"),
        (b'{"model": "m", "input": {}}', "input"),
        (b'{"model": "m", "input": ["x"]}', "input[0]"),
        (b'{"model": "m", "input": [{"role": "user", "role": "user"}]}', "input[0]"),
        (b'{"model": "m", "input": "x", "instructions": ["y"]}', "instructions"),
        (b'{"model": "m", "input": "x", "stream": "yes"}', "stream"),
        (b'{"model": "m", "input": "x", "input": "y"}', "input"),
    ],
)
def test_what_is_no_request_is_refused_by_name(body: bytes, param: str | None):
    error = refused(body)
    assert (error.status, error.param) == (400, param)


def test_every_kind_of_item_is_a_message():
    came = read(
        {"role": "developer", "content": "Rules."},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "See."}, {"type": "input_image", "image_url": "u"}],
        },
        REASONING,
        CALL,
        OUTPUT,
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "local_shell_call", "id": "l", "call_id": "c3", "action": {"command": ["ls"]}, "status": "completed"},
        {"type": "local_shell_call_output", "id": "c3", "output": "a b"},
        {"type": "shell_call", "call_id": "c4", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "c4", "output": [{"stdout": "a", "stderr": "!", "outcome": {}}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Both."}]},
        {"type": "hologram", "payload": [1, 2]},
    )
    assert roles(came) == [
        *("developer", "user", "assistant", "assistant", "tool", "assistant", "tool", "assistant", "tool"),
        *("assistant", "tool", "assistant", "assistant", "assistant"),
    ]
    texts = [message.text for message in came.conversation.messages]
    assert texts[4] == "text of a"
    assert texts[6] == "done"
    assert texts[8] == "a b"
    assert texts[10] == "a!"
    assert came.conversation.messages[1].media[0].kind == "image"
    assert came.conversation.messages[13].media[0].data == '{"type":"hologram","payload":[1,2]}'


def test_reasoning_and_what_follows_it_and_parallel_calls_go_together():
    second = {**CALL, "call_id": "c2"}
    came = read(
        {"role": "user", "content": "go"}, REASONING, CALL, REASONING, second, {**OUTPUT, "call_id": "c2"}, OUTPUT,
        REASONING, {"role": "assistant", "content": "done"}, {"role": "user", "content": "thanks"},
    )  # fmt: skip
    assert together(came) == [(0, 1), (1, 7), (7, 9), (9, 10)]


def test_an_id_that_comes_again_joins_nothing_across_turns():
    talk = [{"role": "user", "content": "go"}, CALL, OUTPUT]
    assert together(read(*talk, *talk)) == [(0, 1), (1, 3), (3, 4), (4, 6)]


def test_words_before_a_call_go_with_it_as_in_a_chat():
    came = read({"role": "user", "content": "go"}, {"role": "assistant", "content": "I look."}, CALL, OUTPUT)
    assert together(came) == [(0, 1), (1, 4)]


@pytest.mark.parametrize(
    "more", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "p"}}]
)
def test_what_the_provider_holds_is_told(more: dict[str, Any]):
    assert read({"role": "user", "content": "go"}, **more).conversation.elsewhere == next(iter(more))


def test_an_item_that_only_names_another_is_held_by_the_provider():
    came = read({"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "go"})
    assert came.conversation.elsewhere == "item_reference"


def test_a_request_says_what_budgets_and_books_need():
    came = read(
        {"role": "user", "content": "go"},
        max_output_tokens=50, safety_identifier="u", metadata={"tags": "a"}, service_tier="flex", prompt_cache_key="k",
        tools=[{"type": "function", "name": "f", "parameters": {}}], text={"format": {"type": "json_object"}},
    )  # fmt: skip
    assert (came.answer_limit, came.user, came.service_tier, came.caching.has_key) == (50, "u", "flex", True)
    assert (came.conversation.tools, came.conversation.required_word) == (1, "json")


# ---------------------------------------------------------------- writing


RAW = (
    b'{ "model":"asked" , "instructions":"Be \\u00e9.", "input":[ {"role":"user","content":"one"} ,'
    b'{"type":"function_call","call_id":"c1","name":"f","arguments":"{\\"n\\": 1.0}","x":1.50},'
    b'{"type":"function_call_output","call_id":"c1","output":"long text"}, {"role":"user","content":"two"}],'
    b'"temperature":1.0,"unheard_of":{"a":[1.50]} }'
)


def test_bytes_that_no_edit_touches_stay():
    came = RESPONSES.read(RAW, Memo())
    assert RESPONSES.write(came, "asked") == RAW
    assert RESPONSES.write(came, "named") == RAW.replace(b'"asked"', b'"named"')
    stub = RESPONSES.write(came, "asked", Changes({3: "cut"}))
    assert stub == RAW.replace(b'"long text"', b'"cut"')


def test_items_are_dropped_and_put_in():
    came = RESPONSES.read(RAW, Memo())
    written = left(came, Changes({}, frozenset({2, 3}), (Insertion(4, "note"),)))
    assert [item["content"] for item in written["input"]] == ["one", "note", "two"]
    assert left(came, Changes({}, frozenset({4})))["input"][-1]["output"] == "long text"
    assert left(came, Changes({}, frozenset({0})))["instructions"] is None


def test_a_message_of_ours_makes_a_list_of_a_string():
    came = RESPONSES.read(b'{"model":"m","instructions":"Be brief.","input":"Hi"}', Memo())
    written = left(came, Changes({1: "Ho"}, inserted=(Insertion(1, "note"),)))
    assert written["input"] == [{"role": "user", "content": "note"}, {"role": "user", "content": "Ho"}]


def test_parts_are_edited_each_by_itself():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    said = {"role": "user", "content": [{"type": "input_text", "text": "see"}, image, dict(image)]}
    came = read(said)
    edits = (PartEdit(0, "look"), PartEdit(1, "an image was here"), PartEdit(2, detail="low"))
    content = left(came, Changes({}, parts={0: edits}))["input"][0]["content"]
    assert content == [
        {"type": "input_text", "text": "look"},
        {"type": "input_text", "text": "an image was here"},
        {**image, "detail": "low"},
    ]
    gone = left(came, Changes({}, parts={0: (PartEdit(1), PartEdit(2))}))["input"][0]["content"]
    assert gone == [{"type": "input_text", "text": "see"}]


def test_an_output_of_parts_is_cut_to_one_text():
    came = read(CALL, {**OUTPUT, "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]})
    written = left(came, Changes({1: "short"}))
    assert written["input"][1]["output"] == [{"type": "input_text", "text": "short"}]


def test_volatile_text_moves_out_of_instructions():
    came = RESPONSES.read(b'{"model":"m","instructions":"Now it is noon. Be brief.","input":"Hi"}', Memo())
    changes = Changes({}, system={0: Rest("Be brief.", {0: "Be brief."})}, inserted=(Insertion(1, "It is noon."),))
    written = left(came, changes)
    assert (written["instructions"], written["input"][0]["content"]) == ("Be brief.", "It is noon.")


def test_reasoning_that_is_not_to_leave_is_no_item_any_more():
    came = read({"role": "user", "content": "go"}, REASONING, CALL, OUTPUT)
    kinds = [item.get("type") for item in left(came, Changes({}, unreasoned=frozenset({1})))["input"]]
    assert kinds == [None, "function_call", "function_call_output"]


def test_what_is_said_to_us_alone_does_not_leave():
    came = read({"role": "user", "content": "go"}, metadata={"tags": "a", "theirs": "b"})
    assert orjson.loads(RESPONSES.write(came, "m"))["metadata"] == {"theirs": "b"}


def test_defaults_of_a_deployment_are_said_in_this_shape():
    defaults = (("max_tokens", b"100"), ("reasoning_effort", b'"low"'), ("stop", b'"x"'), ("temperature", b"0.5"))
    came = read({"role": "user", "content": "go"}, temperature=1)
    written = orjson.loads(RESPONSES.write(came, "m", None, None, Additions(defaults)))
    assert written["max_output_tokens"] == 100
    assert written["reasoning"] == {"effort": "low"}
    assert written["temperature"] == 1
    assert "stop" not in written


def test_a_breakpoint_stands_at_the_end_of_a_message():
    came = read({"role": "user", "content": "go"}, CALL, OUTPUT)
    written = orjson.loads(RESPONSES.write(came, "m", None, Marks("breakpoint", {1: 1800, 3: 1800}, "key")))
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    assert written["input"][0]["content"] == [{"type": "input_text", "text": "go", **mark}]
    assert written["input"][2]["output"] == [{"type": "input_text", "text": "text of a", **mark}]
    assert written["prompt_cache_key"] == "key"
    assert RESPONSES.write(came, "m", None, Marks("control", {1: 300})) == came.body


def test_traces_of_another_provider_stay_behind():
    long = "call_" + "x" * 80
    ours = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gateway:e30="}
    came = read({"role": "user", "content": "go"}, ours, {**CALL, "call_id": long}, {**OUTPUT, "call_id": long})
    written = orjson.loads(RESPONSES.write(came, "m", None, None, Additions(takes=Reception(CHAT_IDS))))
    assert [item.get("type") for item in written["input"]] == [None, "function_call", "function_call_output"]
    assert written["input"][1]["call_id"] == written["input"][2]["call_id"]
    assert len(written["input"][1]["call_id"]) <= 64


def test_an_id_that_must_change_stays_where_it_is_said_as_text():
    long = "call_" + "x" * 80
    said = {"role": "user", "content": long}
    escaped = {**OUTPUT, "call_id": long, "output": long}
    body = orjson.dumps({"model": "m", "input": [said, {**CALL, "call_id": long}, escaped]})
    body = body.replace(b'"call_id":"call_', b'"call_id":"\\u0063all_')
    came = RESPONSES.read(body, Memo())
    written = orjson.loads(RESPONSES.write(came, "m", None, None, Additions(takes=Reception(CHAT_IDS))))["input"]
    assert (written[0]["content"], written[2]["output"]) == (long, long)
    assert written[1]["call_id"] == written[2]["call_id"] != long


def test_single_tools_can_be_left_out():
    tools: list[Any] = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b")]
    tools.append({"type": "web_search"})
    came = read({"role": "user", "content": "go"}, tools=tools, tool_choice={"type": "function", "name": "b"})
    assert [(one.name, one.is_demanded) for one in RESPONSES.tools(came)] == [("a", False), ("b", True), (None, False)]
    fewer = RESPONSES.with_tools(came, [1, 2], Memo())
    assert [one.name for one in RESPONSES.tools(fewer)] == ["b", None]


# ---------------------------------------------------------------- meaning


def test_a_message_means_the_same_in_other_bytes():
    one = read({"role": "user", "content": "go"})
    other = read({"type": "message", "content": [{"text": "go", "type": "input_text"}], "role": "user", "id": "msg_1"})
    assert RESPONSES.digest(one, 0)[0] == RESPONSES.digest(other, 0)[0]
    assert RESPONSES.digest_inserted("go")[0] == RESPONSES.digest(one, 0)[0]
    called = read(CALL, OUTPUT)
    assert RESPONSES.digest_reworded(called, 1, "text of a")[0] == RESPONSES.digest(called, 1)[0]


def test_the_head_of_a_request_begins_as_it_does():
    came = read({"role": "developer", "content": "Rules."}, {"role": "user", "content": "go"}, instructions="Be brief.")
    alone = orjson.loads(RESPONSES.head(came, 2))
    assert alone["instructions"] == "Be brief."
    assert [item["content"] for item in alone["input"]] == ["Rules.", "."]

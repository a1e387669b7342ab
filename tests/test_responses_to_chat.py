"""A Responses request as the chat completion that other deployments are asked for."""

from typing import Any

import orjson
import pytest

from gateway.conversation import Changes, Insertion
from gateway.request import Marks, Request
from gateway.wire.legality import violations
from gateway.wire.memo import Memo
from gateway.wire.responses.thinking import encrypted
from gateway.wire.shape import CHAT, RESPONSES

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read", "arguments": '{"path":  "a"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "text of a"}
USER = {"role": "user", "content": "go"}


def read(*items: Any, **more: Any) -> Request:
    return RESPONSES.read(orjson.dumps({"model": "m", "input": list(items), **more}), Memo())


def chat(came: Request, *more: Any) -> dict[str, Any]:
    written: dict[str, Any] = orjson.loads(RESPONSES.as_chat(came, "asked", *more))
    assert written["model"] == "asked"
    return written


def test_items_become_the_messages_of_a_chat():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}
    file = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}
    came = read(
        {"role": "developer", "content": "Rules."},
        {"role": "user", "content": [{"type": "input_text", "text": "See."}, image, file]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        CALL,
        {**CALL, "call_id": "c2"},
        {**OUTPUT, "call_id": "c2"},
        OUTPUT,
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        instructions="Be brief.",
    )
    messages = chat(came)["messages"]
    assert [message["role"] for message in messages] == [
        "system", "system", "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert messages[2]["content"] == [
        {"type": "text", "text": "See."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
    ]
    assert messages[3]["content"] == "I look."
    assert [call["id"] for call in messages[3]["tool_calls"]] == ["c1", "c2"]
    assert messages[3]["tool_calls"][0]["function"] == {"name": "read", "arguments": '{"path":  "a"}'}
    assert [message["tool_call_id"] for message in messages[4:6]] == ["c2", "c1"]
    assert messages[6]["refusal"] == "No."
    assert violations(CHAT.read(RESPONSES.as_chat(came, "m"), Memo()).conversation.messages) == ()


def test_a_result_that_stands_apart_follows_its_call_in_a_chat():
    messages = chat(read(USER, CALL, {"role": "user", "content": "wait"}, OUTPUT))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]


def test_an_id_that_comes_again_is_answered_each_time():
    messages = chat(read(USER, CALL, OUTPUT, USER, CALL, {**OUTPUT, "output": "later"}))["messages"]
    assert [message["content"] for message in messages if message["role"] == "tool"] == ["text of a", "later"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"] * 2


def test_settings_that_mean_the_same_go_along():
    came = read(
        USER,
        temperature=0.5, top_p=0.9, max_output_tokens=7, parallel_tool_calls=False, user="u", stream=True,
        reasoning={"effort": "low", "summary": "auto"}, store=True, include=["reasoning.encrypted_content"],
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
              "verbosity": "low"},
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "f"}, metadata={"a": "b"},
    )  # fmt: skip
    written = chat(came)
    assert {name: written[name] for name in ("temperature", "top_p", "max_tokens", "parallel_tool_calls", "user")} == {
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "parallel_tool_calls": False, "user": "u",
    }  # fmt: skip
    assert (written["reasoning_effort"], written["verbosity"]) == ("low", "low")
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert written["response_format"] == {"type": "json_schema", "json_schema": schema}
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert written["tools"] == [{"type": "function", "function": function}]
    assert written["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert written["stream_options"] == {"include_usage": True}
    assert written.keys().isdisjoint({"store", "include", "metadata", "reasoning", "text", "input"})


def test_custom_tools_and_namespaces_are_functions():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    inner = {"type": "function", "name": "find", "parameters": {"type": "object"}}
    came = read(
        USER,
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        {"type": "function_call", "call_id": "c2", "name": "find", "namespace": "crm", "arguments": "{}"},
        {**OUTPUT, "call_id": "c2"},
        tools=[
            {"type": "custom", "name": "patch", "description": "Edits.", "format": grammar},
            {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [inner]},
        ],
    )
    written = chat(came)
    patch, find = (tool["function"] for tool in written["tools"])
    assert patch["parameters"]["required"] == ["input"]
    assert "start: WORD" in patch["description"]
    assert find["name"] == "crm__find"
    calls = [call["function"] for message in written["messages"] for call in message.get("tool_calls", ())]
    assert calls == [
        {"name": "patch", "arguments": '{"input":"*** Begin"}'},
        {"name": "crm__find", "arguments": "{}"},
    ]


def test_only_allowed_tools_are_offered():
    tools: list[Any] = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b")]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    written = chat(read(USER, tools=tools, tool_choice=allowed))
    assert [tool["function"]["name"] for tool in written["tools"]] == ["b"]
    assert written["tool_choice"] == "required"


def test_thinking_comes_back_to_its_model_as_it_was():
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "sig=="}]
    said = {"reasoning_content": "Hm.", "thinking_blocks": blocks}
    ours = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted(said)}
    theirs = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"}
    messages = chat(read(USER, ours, CALL, OUTPUT, theirs, {"role": "assistant", "content": "Done."}))["messages"]
    assert messages[1]["thinking_blocks"] == blocks
    assert messages[1]["reasoning_content"] == "Hm."
    assert messages[3] == {"role": "assistant", "content": "Done."}


def test_changes_and_marks_are_those_of_the_items():
    came = read({"role": "developer", "content": "Rules."}, USER, CALL, OUTPUT, {"role": "user", "content": "and?"})
    changes = Changes({3: "cut"}, frozenset(), (Insertion(4, "note"),))
    marks = Marks("control", {4: 300, 6: 300})
    messages = chat(came, changes, marks)["messages"]
    assert [message.get("content") for message in messages] == ["Rules.", "go", None, "cut", "note", "and?"]
    assert [bool(message.get("cache_control")) for message in messages] == [False, False, False, True, False, True]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools[0] (file_search)"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice (web_search)"),
        ({"tools": [{"type": "web_search"}]}, None),
    ],
)
def test_what_no_chat_can_say_is_named(more: dict[str, Any], named: str | None):
    assert RESPONSES.untranslatable(read(USER, **more)) == named


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "item_reference"),
        ({"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}, "input[0] (a compaction)"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}, "input[0] (a file"),
        ({"role": "user", "content": [{"type": "input_file", "file_url": "https://a/b"}]}, "input[0] (a file"),
    ],
)
def test_an_item_that_no_chat_can_say_is_named(item: dict[str, Any], named: str):
    found = RESPONSES.untranslatable(read(item, USER))
    assert found is not None
    assert found.startswith(named)

"""Messages read and written: values out of their bytes, and edits spliced into those."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.conversation import Changes, Insertion, Marker, PartEdit, Rest
from gateway.providers.anthropic import TOOL_USE_IDS
from gateway.request import Marks, Request
from gateway.wire.errors import GatewayError
from gateway.wire.foreign import Reception
from gateway.wire.memo import Memo
from gateway.wire.messages.definitions import in_chats_form
from gateway.wire.outgoing import Additions
from gateway.wire.shape import MESSAGES

Wire = dict[str, Any]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
CALL = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
MARK = {"cache_control": {"type": "ephemeral"}}


def result(content: Any, **more: Any) -> Wire:
    return {"type": "tool_result", "tool_use_id": "t1", "content": content, **more}


def text(said: str, **more: Any) -> Wire:
    return {"type": "text", "text": said, **more}


def read(*messages: Any, **members: Any) -> Request:
    told = [{"role": "user", "content": one} if isinstance(one, str | list) else one for one in messages]
    return MESSAGES.read(orjson.dumps({"model": "m", "max_tokens": 9, "messages": told, **members}), Memo())


def said(*content: Any) -> Wire:
    return {"role": "assistant", "content": list(content)}


def left(came: Request, changes: Changes | None = None, marks: Marks | None = None, **more: Any) -> Wire:
    written: Wire = orjson.loads(MESSAGES.write(came, "m", changes, marks, Additions(**more)))
    return written


# ---------------------------------------------------------------- reading


def test_every_kind_of_block_says_what_counts_of_it():
    document = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}
    pdf = {"type": "document", "title": "p", "source": {"type": "base64", "media_type": "application/pdf", "data": "J"}}
    found = {"type": "search_result", "source": "s", "title": "t", "content": [text("c")]}
    held = {"type": "document", "source": {"type": "file", "file_id": "f"}}
    come = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    message = read([text("a"), IMAGE, document, pdf, found, held, come]).conversation.messages[0]
    assert message.parts == ("a", "", "T\nD", "", "s\nt\nc", "", None)
    assert [(one.kind, one.part) for one in message.media] == [("image", 1), ("file", 3), ("file", 5), ("other", 6)]
    assert message.media[0].data.startswith("data:image/png;base64,iVBOR")
    assert message.content == "other"


def test_calls_and_reasoning_stand_beside_text():
    came = read("go", said(THOUGHT, text("I read."), CALL), [result("R")])
    asked, got = came.conversation.messages[1:]
    assert (asked.text, asked.reasons, asked.calls[0].arguments, asked.content) == (
        "I read.",
        True,
        '{"path":"a"}',
        "parts",
    )
    assert (got.role, got.text, got.call_id) == ("tool", "R", "t1")


def test_a_call_alone_says_nothing_and_a_result_without_content_is_empty():
    came = read("go", said(CALL), [{"type": "tool_result", "tool_use_id": "t1"}])
    assert came.conversation.messages[1].content == "null"
    assert (came.conversation.messages[2].text, came.conversation.messages[2].content) == ("", "text")


def test_markers_count_wherever_they_stand():
    inside = result([text("a", **MARK), text("b")])
    came = read(
        [text("x", **MARK), text("y")],
        said(CALL),
        [inside, text("z", **MARK)],
        system=[text("s", cache_control={"type": "ephemeral", "ttl": "1h"})],
        cache_control={"type": "ephemeral"},
        tools=[{"name": "read", "input_schema": {}, **MARK}, {"name": "b", "input_schema": {}}],
    )
    messages = came.conversation.messages
    assert [one.markers for one in messages] == [
        (Marker("control", "1h"),),
        (Marker("control", None, whole=False),),
        (),
        (Marker("control", None, whole=False),),
        (Marker("control"),),
    ]
    assert came.caching.tool_markers == (Marker("control", None, whole=False),)
    assert came.caching.end_marker == Marker("control")


def test_a_tool_counts_as_the_same_tool_of_a_chat_and_without_its_marker():
    tool = {"name": "read", "description": "d", "input_schema": {"type": "object"}}
    came = read("go", tools=[{**tool, **MARK}])
    assert came.conversation.unmarked == (orjson.dumps([in_chats_form(tool)]).decode(),)
    assert (came.conversation.tools, came.may_select) == (1, True)


def test_the_schema_of_the_answer_counts():
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    for members in ({"output_config": {"format": wanted}}, {"output_format": wanted}):
        assert read("go", **members).conversation.definitions == ('{"type":"object"}',)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": {}}, "messages"),
        ({"model": "m", "messages": ["x"]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}], "system": 3}, "system"),
        ({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}, "stream"),
    ],
)
def test_what_is_no_request_is_refused_by_its_place(body: Wire, param: str):
    with pytest.raises(GatewayError) as refused:
        MESSAGES.read(orjson.dumps(body), Memo())
    assert (refused.value.status, refused.value.param) == (400, param)


def test_a_key_that_stands_twice_in_a_block_is_refused():
    body = b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}'
    with pytest.raises(GatewayError) as refused:
        MESSAGES.read(body, Memo())
    assert refused.value.param == "messages[0].content[0]"


# ---------------------------------------------------------------- writing


def test_bytes_are_kept_where_nothing_changes():
    body = b'{ "model":"a" ,"max_tokens" : 9,"x": 1.10, "messages":[ {"role":"user" , "content":"caf\\u00e9"} ] }'
    came = MESSAGES.read(body, Memo())
    assert MESSAGES.write(came, "a") == body
    assert MESSAGES.write(came, "b") == body.replace(b'"a"', b'"b"')


def test_a_result_is_reworded_in_its_own_block_and_its_neighbours_keep_their_bytes():
    came = read("go", said(CALL), [result("long long"), text("And?")])
    written = left(came, Changes({2: "short"}))
    assert written["messages"][2]["content"] == [result("short"), text("And?")]
    listed = read("go", said(CALL), [result([text("long", **MARK), IMAGE], is_error=True)])
    assert left(listed, Changes({2: "short"}))["messages"][2]["content"] == [
        result([text("short", **MARK)], is_error=True)
    ]
    bare = read("go", said(CALL), [{"type": "tool_result", "tool_use_id": "t1"}])
    assert left(bare, Changes({2: "short"}))["messages"][2]["content"] == [result("short")]


def test_a_call_and_signed_reasoning_stay_where_the_text_changes():
    came = read("go", said(THOUGHT, text("long"), text("more"), CALL), [result("R")])
    assert left(came, Changes({1: "short"}))["messages"][1] == said(THOUGHT, text("short"), CALL)
    assert left(came, Changes({}, unreasoned=frozenset({1})))["messages"][1] == said(text("long"), text("more"), CALL)


def test_what_is_dropped_goes_with_its_message_where_nothing_else_is_in_it():
    came = read("go", said(CALL), [result("R"), text("And?")], said(text("x")), "end", system=[text("s"), text("t")])
    assert [message.text for message in came.conversation.messages] == ["s", "t", "go", "", "R", "And?", "x", "end"]
    written = left(came, Changes({}, frozenset({1, 3, 4})))
    assert written["system"] == [text("s")]
    assert [one["content"] for one in written["messages"]] == ["go", [text("And?")], [text("x")], "end"]


def test_a_message_of_ours_stands_before_one_of_the_wire_or_behind_results():
    came = read("go", said(CALL), [result("R"), text("And?")], said(text("x")), "end")
    put = Changes({}, inserted=(Insertion(1, "A"), Insertion(3, "B"), Insertion(5, "C")))
    written = left(came, put)["messages"]
    assert [one["content"] for one in written] == [
        "go",
        "A",
        [CALL],
        [result("R"), text("B"), text("And?")],
        [text("x")],
        "C",
        "end",
    ]


def test_markers_of_ours_stand_on_the_last_block():
    came = read("go", said(CALL), [result("R"), text("And?")], tools=[{"name": "b", "input_schema": {}}], system="s")
    marks = Marks("control", {0: 300, 1: 3600, 2: 300, 4: 300, 5: 300})
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    for changes in (None, Changes({4: "And so?"})):
        written = left(came, changes, marks)
        asked = "And?" if changes is None else "And so?"
        assert written["tools"] == [{"name": "b", "input_schema": {}, **MARK}]
        assert written["system"] == [text("s", **hour)]
        assert written["messages"][0]["content"] == [text("go", **MARK)]
        assert written["messages"][2]["content"] == [result("R", **MARK), text(asked, **MARK)]


def test_no_marker_stands_on_reasoning_or_on_nothing():
    came = read([text("  ")], said(THOUGHT))
    assert not MESSAGES.may_mark(came, 0, "control")
    assert not MESSAGES.may_mark(came, 1, "control")
    assert left(came, None, Marks("control", {1: 300})) == orjson.loads(came.body)


def test_a_picture_gives_way_to_its_trace():
    came = read([text("see"), IMAGE])
    written = left(came, Changes({}, parts={0: (PartEdit(1, "[image 1 left out]"),)}))
    assert written["messages"][0]["content"] == [text("see"), text("[image 1 left out]")]


def test_moved_text_of_the_system_is_spliced():
    came = read("go", system=[text("now 12:00", **MARK), text("b")])
    written = left(came, Changes({}, system={0: Rest("now", {0: "now"})}))
    assert written["system"] == [text("now", **MARK), text("b")]
    whole = read("go", system="now 12:00")
    assert left(whole, Changes({}, system={0: Rest("now", {0: "now"})}))["system"] == "now"


def test_what_is_said_to_us_alone_does_not_leave():
    came = read("go", metadata={"user_id": "u", "tags": ["a"]})
    assert (came.user, came.metadata["tags"], left(came)["metadata"]) == ("u", ["a"], {"user_id": "u"})


def test_defaults_are_those_that_messages_have():
    came = MESSAGES.read(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', Memo())
    assert not MESSAGES.is_limited(came)
    written = left(came, defaults=(("stop", b'"x"'), ("seed", b"1"), ("temperature", b"0")), answer_limit=7)
    assert {name: written[name] for name in written.keys() - {"model", "messages"}} == {
        "stop_sequences": ["x"],
        "temperature": 0,
        "max_tokens": 7,
    }


def test_reasoning_of_others_and_their_ids_are_not_sent_to_anthropic():
    others = {"type": "thinking", "thinking": "x", "signature": "gateway:"}
    odd = {**CALL, "id": "a/b"}
    came = read("go", said(THOUGHT, others, odd), [{**result("R"), "tool_use_id": "a/b"}], said(others), "end")
    written = left(came, takes=Reception(TOOL_USE_IDS, frozenset({"unsigned"})))["messages"]
    assert written[1]["content"][0] == THOUGHT
    assert len(written[1]["content"]) == 2
    assert written[1]["content"][1]["id"] == written[2]["content"][0]["tool_use_id"] != "a/b"
    assert written[3]["content"] == "."


def test_an_id_that_must_change_stays_where_it_is_said_as_text():
    call = {**CALL, "id": "a/b", "input": {"ref": "a/b", "id": "a/b"}}
    came = read("a/b", said(call), [{**result("a/b"), "tool_use_id": "a/b"}, text("a/b")], "end")
    written = left(came, takes=Reception(TOOL_USE_IDS, frozenset({"unsigned"})))["messages"]
    assert (written[0]["content"], written[2]["content"][1]) == ("a/b", text("a/b"))
    assert written[1]["content"][0]["input"] == call["input"]
    assert written[2]["content"][0]["content"] == result("a/b")["content"]
    assert written[1]["content"][0]["id"] == written[2]["content"][0]["tool_use_id"] != "a/b"


def test_the_head_alone_ends_with_a_dot():
    came = read("go", system=[text("a"), text("b", **MARK)], tools=[{"name": "b", "input_schema": {}}])
    head = orjson.loads(MESSAGES.head(came, 2))
    assert head["system"] == [text("a"), text("b", **MARK)]
    assert (head["messages"], head["max_tokens"]) == ([{"role": "user", "content": "."}], 16)


def test_a_digest_is_of_the_meaning():
    plain, marked = read("go"), read([text("go", **MARK)])
    assert MESSAGES.digest(plain, 0) == MESSAGES.digest(marked, 0) == MESSAGES.digest_inserted("go")
    came = read("go", said(CALL), [result([text("long")])])
    changed = MESSAGES.message(came, 2, Changes({2: "short"}))
    assert MESSAGES.digest_reworded(came, 2, "short") == MESSAGES.digest_left(changed)


def test_tools_are_selected_by_their_bytes():
    tools = [{"name": "a", "description": "A", "input_schema": {}}, {"type": "web_search_20250305", "name": "w"}]
    came = read("go", tools=tools, tool_choice={"type": "tool", "name": "a"})
    listed = MESSAGES.tools(came)
    assert [(one.name, one.description, one.is_demanded) for one in listed] == [("a", "A", True), (None, "", False)]
    assert orjson.loads(MESSAGES.with_tools(came, [1], Memo()).body)["tools"] == tools[1:]

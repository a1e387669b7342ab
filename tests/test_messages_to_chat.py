"""Messages as chat completions, and chat completions as messages."""

from __future__ import annotations

from typing import Any

import anthropic
import orjson
import pytest

from gateway.conversation import Changes, Insertion
from gateway.request import Marks
from gateway.wire.answer import ErrorAnswer, Streaming
from gateway.wire.memo import Memo
from gateway.wire.messages.composing import EventGathering, event_bytes, streamed_events
from gateway.wire.outgoing import Additions, ChatForm
from gateway.wire.secrets import NO_SECRETS
from gateway.wire.shape import MESSAGES
from gateway.wire.sse import event, events, fields_of

Wire = dict[str, Any]
CLAUDE = Additions(chats=ChatForm(is_claude=True, takes_markers=True))
MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CALL = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}}
CALLED = {"id": "t1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}


def text(said: str, **more: Any) -> Wire:
    return {"type": "text", "text": said, **more}


def asked(*messages: Wire, **members: Any) -> Any:
    body = {"model": "m", "max_tokens": 9, "messages": list(messages), **members}
    return MESSAGES.read(orjson.dumps(body), Memo())


def user(*content: Any) -> Wire:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> Wire:
    return {"role": "assistant", "content": list(content)}


def as_chat(request: Any, additions: Additions = Additions(), **more: Any) -> Wire:  # noqa: B008  # a frozen value
    return dict(orjson.loads(MESSAGES.as_chat(request, "m", more.get("changes"), more.get("marks"), additions)))


def result(content: Any, **more: Any) -> Wire:
    return {"type": "tool_result", "tool_use_id": "t1", "content": content, **more}


# ---------------------------------------------------------------- requests


def test_members_that_mean_the_same_go_along_and_others_where_they_are_taken():
    came = asked(
        user(text("hi")),
        system=[text("a"), text("b")],
        temperature=0.5,
        top_k=3,
        stop_sequences=["x"],
        thinking={"type": "enabled", "budget_tokens": 1024},
        tools=[{"name": "read", "description": "d", "input_schema": {"type": "object"}, **MARK}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u"},
        stream=True,
    )
    plain = as_chat(came, Additions(chats=ChatForm(limit="max_completion_tokens", most_answer=5)))
    assert plain == {
        "model": "m",
        "messages": [{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "stop": ["x"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
        "user": "u",
        "tools": [
            {"type": "function", "function": {"name": "read", "description": "d", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }
    claude = as_chat(came, CLAUDE)
    assert (claude["top_k"], claude["thinking"]["budget_tokens"], claude["max_tokens"]) == (3, 1024, 9)
    assert claude["tools"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("members", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 4_095}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32_000}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, None),
        ({"thinking": {"type": "adaptive"}}, "medium"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "disabled"}}, None),
        ({"output_config": {"effort": "max"}}, "high"),
        ({}, None),
    ],
)
def test_a_budget_of_thinking_is_an_effort_for_models_that_are_not_claude(members: Wire, effort: str | None):
    came = asked(user(text("hi")), **members)
    assert as_chat(came).get("reasoning_effort") == effort
    assert "reasoning_effort" not in as_chat(came, Additions(chats=ChatForm(takes_effort=False)))
    assert "reasoning_effort" not in as_chat(came, CLAUDE)


def test_results_with_pictures_stand_as_each_deployment_takes_them():
    came = asked(user(text("go")), assistant(text("I read."), CALL), user(result([text("R"), PNG]), text("And?")))
    plain = as_chat(came)["messages"]
    assert plain[1] == {"role": "assistant", "content": "I read.", "tool_calls": [CALLED]}
    assert plain[2] == {"role": "tool", "tool_call_id": "t1", "content": "R"}
    assert plain[3]["content"][1:] == [SHOWN]
    assert plain[4] == {"role": "user", "content": "And?"}
    claude = as_chat(came, CLAUDE)["messages"]
    assert claude[2]["content"] == [text("R"), SHOWN]


def test_markers_and_changes_find_their_place():
    came = asked(user(text("go", **MARK)), assistant(CALL), user(result("long"), text("And?")), system="s")
    changes = Changes({3: "short"}, inserted=(Insertion(4, "note"),))
    written = as_chat(came, CLAUDE, changes=changes, marks=Marks("control", {1: 300, 5: 300}))["messages"]
    assert [one["role"] for one in written] == ["system", "user", "assistant", "tool", "user", "user"]
    assert written[0]["cache_control"] == {"type": "ephemeral"}
    assert written[1]["content"] == [text("go", **MARK)]
    assert (written[3]["content"], written[4]["content"]) == ("short", "note")
    assert "cache_control" not in orjson.dumps(as_chat(came)).decode()


def test_reasoning_goes_back_as_it_was_given():
    signed = {"type": "thinking", "thinking": "S", "signature": "c2ln"}
    chat = MESSAGES.listen_to_chat(asked(user(text("x"))), secrets=NO_SECRETS)
    details = [{"type": "reasoning.text", "text": "D", "signature": "z"}]
    message = {"role": "assistant", "content": "ok", "reasoning_details": details, "reasoning": "D"}
    chat.feed(orjson.dumps({"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
    whole: Any = chat.finish()
    block = orjson.loads(whole.body)["content"][0]
    assert (block["type"], block["thinking"]) == ("thinking", "D")
    came = asked(user(text("go")), assistant(block, text("ok")), user(text("x")), assistant(signed, CALL),
                 user(result("R")))  # fmt: skip
    written = as_chat(came)["messages"]
    assert written[1]["reasoning_details"] == details
    assert written[3]["thinking_blocks"] == [signed]
    bare = {"type": "thinking", "thinking": "B", "signature": "gateway:"}
    assert (
        as_chat(asked(user(text("go")), assistant(bare, CALL), user(result("R"))))["messages"][1]["reasoning_content"]
        == "B"
    )


def test_what_no_chat_can_say_is_named_by_its_place():
    held = {"type": "document", "source": {"type": "file", "file_id": "f"}}
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    assert MESSAGES.untranslatable(asked(user(text("x"), PNG))) is None
    assert str(MESSAGES.untranslatable(asked(user(text("x"), held)))).startswith("messages[0] (a file")
    assert str(MESSAGES.untranslatable(asked(user(text("x")), assistant(search)))).startswith("messages[1] (a block")
    assert MESSAGES.untranslatable(asked(user(text("x")), mcp_servers=[{"name": "a"}])) == "mcp_servers"


# ---------------------------------------------------------------- answers


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(orjson.dumps({"id": "c", "model": "up", "choices": [choice]}))


def call(index: int, call_id: str = "", name: str = "", arguments: str = "") -> Wire:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def heard(*chunks: bytes) -> tuple[Any, bytes]:
    listener = MESSAGES.listen_to_chat(asked(user(text("x")), stream=True), secrets=NO_SECRETS)
    out, relay = b"", None
    for one in chunks:
        if relay is None:
            opened = listener.feed(one)
            if isinstance(opened, Streaming):
                relay, out = opened.relay, opened.ready
            else:
                assert opened is None or isinstance(opened, ErrorAnswer)
        else:
            out += relay.feed(one)
    return relay, out


def gathered(stream: bytes) -> Wire:
    gathering = EventGathering()
    for one in events(stream):
        gathering.add(fields_of(one) or {})
    assert gathering.is_over
    return gathering.message()


def test_encrypted_reasoning_goes_back_though_a_stream_tells_it_last():
    items = [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"}]
    told = [
        chunk(role="assistant", reasoning_content="I look."),
        chunk(tool_calls=[call(0, "t1", "read", '{"path":"a"}')]),
    ]
    _, out = heard(*told, chunk("tool_calls", content="", reasoning_items=items), event(b"[DONE]"))
    content = gathered(out)["content"]
    assert [block["type"] for block in content] == ["thinking", "tool_use", "thinking"]
    anthropic.types.Message.model_validate(gathered(out))
    written = as_chat(asked(user(text("go")), assistant(*content), user(result("R"))))["messages"][1]
    assert written == {"role": "assistant", "content": None, "tool_calls": [CALLED], "reasoning_items": items}


def test_a_stream_has_the_order_of_events_and_calls_that_interleave_come_apart():
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}
    relay, out = heard(
        chunk(role="assistant", reasoning_content="Hm"),
        chunk(reasoning_content="m."),
        chunk(content="Hello"),
        chunk(tool_calls=[call(0, "a", "read", '{"p"'), call(1, "b", "list", "{")]),
        chunk(tool_calls=[call(0, arguments=":1}"), call(1, arguments="}")]),
        chunk("tool_calls"),
        event(orjson.dumps({"id": "c", "choices": [], "usage": usage})),
        event(b"[DONE]"),
    )
    assert relay.done
    message = gathered(out)
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hmm.", "signature": "gateway:"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "a", "name": "read", "input": {"p": 1}},
        {"type": "tool_use", "id": "b", "name": "list", "input": {}},
    ]
    assert (message["stop_reason"], message["model"]) == ("tool_use", "up")
    assert message["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 6,
        "output_tokens": 4,
    }
    kinds = [(fields_of(one) or {}).get("type") for one in events(out)]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    opened = [(fields_of(one) or {}).get("index") for one in events(out) if b"content_block_start" in one]
    assert opened == [0, 1, 2, 3]
    anthropic.types.Message.model_validate(message)


def test_a_stream_without_its_end_marker_is_ended():
    relay, out = heard(chunk(content="Hello"), chunk("length"))
    assert relay.finished
    message = gathered(out + relay.ending(b""))
    assert (message["stop_reason"], message["content"][0]["text"]) == ("max_tokens", "Hello")


def test_a_whole_answer_and_its_stream_say_the_same():
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, text("x"), CALL],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    assert gathered(streamed_events(message)) == message
    assert event_bytes({"type": "ping"}) == b'event: ping\ndata: {"type":"ping"}\n\n'

"""Answers to Responses requests: heard as they come, and made of the chunks of a chat. The official types judge."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.request import Request
from gateway.wire.answer import ErrorAnswer, Nothing, Streaming
from gateway.wire.chat.relay import DONE
from gateway.wire.chat_answers import TranslatedAnswer
from gateway.wire.errors import upstream_failed
from gateway.wire.memo import Memo
from gateway.wire.responses.answer import WholeResponse
from gateway.wire.responses.composing import as_events
from gateway.wire.responses.thinking import thinking_in
from gateway.wire.secrets import Secrets
from gateway.wire.shape import RESPONSES
from gateway.wire.sse import event, events, fields_of
from gateway.wire.usage import usage_from_openai

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ASKED = {"model": "m", "input": "Hi"}
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}],
}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"}


def whole(*output: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A whole response, as OpenAI gives it."""
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "m", "output": list(output),
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": USAGE, "service_tier": "default",
        "temperature": 1.0, "top_p": 1.0,
    } | more  # fmt: skip


def request(**more: Any) -> Request:
    return RESPONSES.read(orjson.dumps({**ASKED, **more}), Memo())


def said(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each proven to be one of OpenAI's, in order."""
    found = [fields for one in events(stream) if (fields := fields_of(one)) is not None]
    for one in events(stream):
        assert re.match(rb"event: ([\w.]+)\ndata: \{\"type\":\"\1\"", one), one
    for number, fields in enumerate(found):
        EVENT.validate_python(fields)
        assert fields["sequence_number"] == number
    return found


def heard(stream: bytes, step: int = 0) -> tuple[bytes, Any]:
    """What a client gets of a native stream that comes in pieces, and its relay."""
    listener = RESPONSES.listen(streamed=True, hold_back_usage=False, secrets=Secrets())
    out, relay = b"", None
    for at in range(0, len(stream), step or len(stream)):
        piece = stream[at : at + (step or len(stream))]
        if relay is not None:
            out += relay.feed(piece)
        elif isinstance(opened := listener.feed(piece), Streaming):
            out, relay = opened.ready, opened.relay
        else:
            assert opened is None, opened
    return out, relay


# ---------------------------------------------------------------- natively


STREAM = as_events(whole(MESSAGE, CALL))


@pytest.mark.parametrize("step", [0, 1, 7, 100])
def test_a_stream_passes_byte_for_byte(step: int):
    out, relay = heard(STREAM, step)
    assert out == STREAM
    assert (relay.done, relay.finished, relay.error, relay.service_tier) == (True, True, None, "default")
    used = usage_from_openai(relay.usage)
    assert used is not None
    assert (used.prompt, used.cached, used.completion, used.reasoning) == (10, 4, 5, 2)
    assert relay.said().texts == ("Hello.",)
    assert relay.said().arguments == ("{}",)


def test_nothing_is_passed_on_before_the_model_says_anything():
    listener = RESPONSES.listen(streamed=True, hold_back_usage=False, secrets=Secrets())
    first, second, third = list(events(STREAM))[:3]
    assert listener.feed(first + b"\n\n") is None
    assert listener.feed(second + b"\n\n") is None
    assert isinstance(listener.feed(third + b"\n\n"), Streaming)


def failed(**error: Any) -> bytes:
    begun = as_events(whole())[: as_events(whole()).index(b"event: response.in_progress")]
    fields = {"type": "response.failed", "sequence_number": 1, "response": whole(status="failed", error=error)}
    return begun + b"event: response.failed\ndata: " + orjson.dumps(fields) + b"\n\n"


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (failed(code="rate_limit_exceeded", message="Slow down."), 429),
        (failed(code="server_error", message="Oh."), 500),
        (b'event: error\ndata: {"type":"error","code":"invalid_request_error","message":"No.","param":null}\n\n', 400),
        (b'data: {"error":{"message":"busy","code":503}}\n\n', 503),
    ],
)
def test_a_failure_before_any_output_is_one_that_others_may_mend(stream: bytes, status: int):
    opened = RESPONSES.listen(streamed=True, hold_back_usage=False, secrets=Secrets()).feed(stream)
    assert isinstance(opened, ErrorAnswer)
    assert opened.error.status == status


def test_a_failure_after_output_is_shown_as_it_came():
    begun = STREAM[: STREAM.index(b"event: response.output_text.done")]
    out, relay = heard(begun + failed(code="server_error", message="Oh."), 50)
    assert b"response.failed" in out
    assert (relay.is_over(), relay.error.code, relay.error_is_shown) == (True, "server_error", True)


def test_a_stream_that_breaks_off_is_counted_by_its_words():
    begun = STREAM[: STREAM.index(b"event: response.output_text.done")]
    _, relay = heard(begun, 50)
    assert (relay.done, relay.finished, relay.seen_text()) == (False, False, "Hello.")


def test_a_last_event_that_is_too_long_to_be_held_is_passed_on_and_read():
    text = {"type": "output_text", "text": "word " * 20_000, "annotations": [], "logprobs": []}
    long = as_events(whole({**MESSAGE, "content": [text]}))
    listener = RESPONSES.listen(streamed=True, hold_back_usage=False, secrets=Secrets())
    opened = listener.feed(long[:2000])
    assert isinstance(opened, Streaming)
    opened.relay.passes_long_events = True
    out = opened.ready + b"".join([opened.relay.feed(long[at : at + 5000]) for at in range(2000, len(long), 5000)])
    assert out == long
    assert opened.relay.done
    assert opened.relay.usage == USAGE


def test_secrets_are_taken_out_of_what_may_be_an_error():
    listener = RESPONSES.listen(streamed=True, hold_back_usage=False, secrets=Secrets(["sk-very-secret"]))
    opened = listener.feed(failed(code="server_error", message="key sk-very-secret is bad"))
    assert isinstance(opened, ErrorAnswer)
    assert "sk-very-secret" not in str(opened.error.members)


def test_a_whole_answer_is_one_in_its_own_bytes():
    listener = RESPONSES.listen(streamed=False, hold_back_usage=False, secrets=Secrets())
    body = orjson.dumps(whole(MESSAGE, CALL))
    assert listener.feed(body) is None
    opened = listener.finish()
    assert isinstance(opened, WholeResponse)
    assert (opened.body, opened.first().text, opened.said().arguments) == (body, "Hello.", ("{}",))
    assert opened.seen_text() == "Hello.\n{}"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (orjson.dumps(whole(status="failed", error={"code": "server_error", "message": "Oh."})), ErrorAnswer),
        (b'{"error": {"message": "no"}}', ErrorAnswer),
        (b'{"detail": "not here"}', ErrorAnswer),
        (b"{}", Nothing),
        (b"", Nothing),
    ],
)
def test_a_body_that_is_no_answer_is_told_for_what_it_is(body: bytes, kind: type):
    listener = RESPONSES.listen(streamed=False, hold_back_usage=False, secrets=Secrets())
    listener.feed(body)
    assert isinstance(listener.finish(), kind)


def test_an_answer_in_the_other_form_is_given_as_it_was_asked_for():
    listener = RESPONSES.listen(streamed=True, hold_back_usage=False, secrets=Secrets())
    listener.feed(orjson.dumps(whole(MESSAGE, CALL)))
    opened = listener.finish()
    assert isinstance(opened, Streaming)
    assert said(opened.ready)[-1]["response"]["output"] == [MESSAGE, CALL]
    gathered = RESPONSES.listen(streamed=False, hold_back_usage=False, secrets=Secrets()).feed(STREAM)
    assert isinstance(gathered, WholeResponse)
    assert gathered.fields["output"] == [MESSAGE, CALL]


# ---------------------------------------------------------------- out of a chat


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(orjson.dumps({"id": "chatcmpl-1", "created": 7, "choices": [choice], **more}))


def call_piece(index: int, arguments: str, **function: Any) -> dict[str, Any]:
    named = {"id": f"c{index}"} if function else {}
    return {"tool_calls": [{"index": index, **named, "function": {"arguments": arguments, **function}}]}


LAST = event(
    orjson.dumps(
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
                "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2},
            },
        }
    )
)  # fmt: skip


def translated(*chunks: bytes, step: int = 0, **more: Any) -> list[dict[str, Any]]:
    """The events that a client gets of a chat's chunks."""
    listener = RESPONSES.listen_to_chat(request(stream=True, **more), secrets=Secrets())
    stream, out, relay = b"".join(chunks), b"", None
    for at in range(0, len(stream), step or len(stream)):
        piece = stream[at : at + (step or len(stream))]
        if relay is not None:
            out += relay.feed(piece)
        elif isinstance(opened := listener.feed(piece), Streaming):
            out, relay = opened.ready, opened.relay
    assert relay is not None
    if not relay.done:
        out += relay.finish()
        out += relay.ending(out)
    return said(out)


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [fields["type"].removeprefix("response.") for fields in found]


@pytest.mark.parametrize("step", [0, 1, 13])
def test_text_is_written_in_the_official_order(step: int):
    found = translated(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}),
                       chunk({}, "stop"), LAST, DONE, step=step)  # fmt: skip
    assert kinds(found) == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    response = found[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert response["usage"] == {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 13,
    }  # fmt: skip


def test_reasoning_text_and_parallel_calls_are_items_each():
    found = translated(
        chunk({"reasoning_content": "Let me "}), chunk({"reasoning_content": "see."}), chunk({"content": "I look."}),
        chunk(call_piece(0, "", name="f")), chunk(call_piece(0, '{"a":')), chunk(call_piece(0, "1}")),
        chunk(call_piece(1, "{}", name="g")), chunk({}, "tool_calls"), LAST, DONE,
    )  # fmt: skip
    assert kinds(found)[2:9] == [
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done"),
        "output_item.done",
    ]
    output = found[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[2:]] == [
        ("c0", "f", '{"a":1}'),
        ("c1", "g", "{}"),
    ]
    assert thinking_in(output[0]) == {"reasoning_content": "Let me see."}
    done = [fields["output_index"] for fields in found if fields["type"] == "response.output_item.done"]
    assert done == [0, 1, 2, 3]


def test_calls_that_are_written_at_the_same_time_stay_whole():
    found = translated(
        chunk(call_piece(0, '{"a"', name="f")), chunk(call_piece(1, '{"b"', name="g")), chunk(call_piece(0, ":1}")),
        chunk(call_piece(1, ":2}")), chunk({}, "tool_calls"), DONE,
    )  # fmt: skip
    assert [item["arguments"] for item in found[-1]["response"]["output"]] == ['{"a":1}', '{"b":2}']


def test_signed_thinking_comes_back_whole():
    found = translated(
        chunk({"reasoning_content": "Hm", "thinking_blocks": [{"type": "thinking", "thinking": "Hm"}]}),
        chunk({"reasoning_content": ".", "thinking_blocks": [{"type": "thinking", "thinking": "."}]}),
        chunk({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "sig=="}]}),
        chunk({"content": "Yes."}), chunk({}, "stop"), DONE,
    )  # fmt: skip
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "sig=="}]
    assert thinking_in(found[-1]["response"]["output"][0]) == {"reasoning_content": "Hm.", "thinking_blocks": blocks}


def test_a_custom_tool_gets_its_input_as_it_is():
    tools = [{"type": "custom", "name": "patch"}, {"type": "namespace", "name": "crm", "description": "d", "tools": [
        {"type": "function", "name": "find", "parameters": {}}]}]  # fmt: skip
    found = translated(
        chunk(call_piece(0, '{"input": "*** Be', name="patch")), chunk(call_piece(0, 'gin"}')),
        chunk(call_piece(1, "{}", name="crm__find")), chunk({}, "tool_calls"), DONE, tools=tools,
    )  # fmt: skip
    patch, find = found[-1]["response"]["output"]
    assert (patch["type"], patch["input"]) == ("custom_tool_call", "*** Begin")
    assert (find["name"], find["namespace"]) == ("find", "crm")


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete(finish: str, reason: str):
    found = translated(chunk({"content": "Hel"}), chunk({}, finish), DONE)
    assert kinds(found)[-1] == "incomplete"
    assert found[-1]["response"]["incomplete_details"] == {"reason": reason}


def test_a_refusal_is_a_part_of_its_own():
    found = translated(chunk({"refusal": "I "}), chunk({"refusal": "will not."}), chunk({}, "stop"), DONE)
    assert found[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]


def test_a_complete_answer_without_an_end_marker_ends_all_the_same():
    assert kinds(translated(chunk({"content": "Hi"}), chunk({}, "stop")))[-1] == "completed"


def test_a_whole_chat_is_a_whole_response():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [call]}
    body = {"id": "chatcmpl-1", "created": 7, "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    asked = request(tools=[{"type": "function", "name": "f", "parameters": {}, "strict": None}], instructions="Brief.")
    listener = RESPONSES.listen_to_chat(asked, secrets=Secrets())
    listener.feed(orjson.dumps({**body, "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}))
    opened = listener.finish()
    assert isinstance(opened, TranslatedAnswer)
    fields = orjson.loads(opened.body)
    read = Response.model_validate(fields)
    assert [item.type for item in read.output] == ["reasoning", "message", "function_call"]
    assert (read.instructions, read.status, read.output_text) == ("Brief.", "completed", "I look.")
    assert opened.said().texts == ("I look.",)


def test_an_error_of_a_chat_is_an_error():
    listener = RESPONSES.listen_to_chat(request(), secrets=Secrets())
    listener.feed(b'{"error": {"message": "no", "code": "rate_limit_exceeded"}}')
    assert isinstance(listener.finish(), ErrorAnswer)


def test_an_error_after_the_first_byte_is_told_to_every_program():
    told = RESPONSES.error_event(upstream_failed("reset", "It broke off."), "gw_1")
    first, second = said(told)
    assert (first["response"]["status"], second["error"]["code"]) == ("failed", second["code"])

"""What an answer is: told by its bytes, as soon as they tell it, and the same however they are cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.answer import ErrorAnswer, Nothing, Opened, Streaming
from gateway.wire.chat.completion import Completion
from gateway.wire.chat.opening import Opening
from gateway.wire.chat.relay import DONE, KEEP_BYTES, EventRelay
from gateway.wire.sse import event

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
WHOLE: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
FAILED = {"error": {"message": "no", "code": 503}}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    return said({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def said(fields: Any) -> bytes:
    return event(json.dumps(fields).encode())


ROLE = chunk({"role": "assistant", "content": ""})
STREAM = ROLE + chunk({"content": "hi"}) + chunk({}, "stop") + said({"choices": [], "usage": USAGE}) + DONE


def opened(*pieces: bytes, streamed: bool = True) -> tuple[Opened, int]:
    """Return what the bytes are, and how many pieces it took to know."""
    opening = Opening(streamed=streamed, hold_back_usage=True)
    for number, piece in enumerate(pieces):
        if (found := opening.feed(piece)) is not None:
            return found, number + 1
    return opening.finish(), len(pieces) + 1


# ---------------------------------------------------------------- output


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"content": [{"type": "text", "text": "a"}]},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f", "arguments": ""}},
        {"audio": {"data": "AAAA"}},
        {"images": [{"image_url": {"url": "data:image/png;base64,AAAA"}}]},
    ],
)
def test_what_a_model_says_is_output(delta):
    found, pieces = opened(ROLE, chunk(delta), DONE)
    assert isinstance(found, Streaming)
    assert (pieces, found.ready) == (2, ROLE + chunk(delta))


def test_a_finish_reason_is_output_and_an_empty_one_is_not():
    assert isinstance(opened(ROLE, chunk({}, "stop"))[0], Streaming)
    assert isinstance(opened(ROLE, chunk({}, ""))[0], Nothing)


@pytest.mark.parametrize(
    "nothing",
    [
        ROLE,
        b": OPENROUTER PROCESSING\n\n",
        b"event: ping\ndata: {}\n\n",
        b"retry: 3000\n\n",
        chunk({"role": "assistant", "content": None, "tool_calls": [], "refusal": None, "audio": {}}),
        chunk({"content": [{"type": "text", "text": ""}]}),
        chunk({}, usage={"prompt_tokens": 9, "completion_tokens": 0}),
        said({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
        said({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}}),
        said({"choices": None}),
        b"data: not json\n\n",
    ],
)
def test_all_else_is_none_and_an_error_after_it_is_a_failure(nothing):
    found, _ = opened(nothing, nothing, said(FAILED))
    assert isinstance(found, ErrorAnswer)
    assert (found.error.status, found.error.members["message"]) == (503, "no")
    assert isinstance(opened(nothing, DONE)[0], Nothing)
    assert isinstance(opened(nothing, chunk({"content": "a"}))[0], Streaming)


def test_an_error_in_the_same_piece_as_the_output_reached_nobody_either():
    assert isinstance(opened(ROLE + chunk({"content": "a"}) + said(FAILED))[0], ErrorAnswer)


def test_what_is_held_back_is_bounded():
    found, pieces = opened(*[ROLE] * KEEP_BYTES)
    assert isinstance(found, Streaming)
    assert pieces <= KEEP_BYTES // len(ROLE) + 1


def test_heartbeats_before_anything_else_are_kept_nowhere():
    opening = Opening(streamed=True, hold_back_usage=True)
    for _ in range(10_000):
        assert opening.feed(b": still here, and here for a long time to come\n\n") is None
    assert not opening._parts


# ---------------------------------------------------------------- what was asked for


def test_a_whole_answer_keeps_its_bytes_where_it_was_asked_for():
    body = b'{ "choices": [{"x": 1.10}],\n "n": 123456789012345678901234567890 }\n'
    found, _ = opened(body[:9], body[9:], streamed=False)
    assert isinstance(found, Completion)
    assert found.body == body


def test_a_whole_answer_becomes_a_stream_that_ends_where_a_stream_was_asked_for():
    found, _ = opened(json.dumps(WHOLE).encode())
    assert isinstance(found, Streaming)
    assert isinstance(found.relay, EventRelay)
    assert (found.relay.done, found.relay.usage, found.relay.finish_reason) == (True, USAGE, "stop")
    assert found.relay.said().texts == ("hi",)
    assert b"usage" not in found.ready


def test_a_whole_answer_inside_an_event_is_one():
    found, _ = opened(said(WHOLE), DONE)
    assert isinstance(found, Streaming)
    assert found.relay.said().texts == ("hi",)


def test_a_whole_answer_inside_an_event_waits_for_the_usage_behind_it():
    answer = {name: value for name, value in WHOLE.items() if name != "usage"}
    found, _ = opened(said(answer), said({"choices": [], "usage": USAGE}), DONE)
    assert isinstance(found, Streaming)
    assert (found.relay.said().texts, found.relay.usage) == (("hi",), USAGE)


def test_a_stream_is_gathered_where_a_whole_answer_was_asked_for():
    found, _ = opened(STREAM, streamed=False)
    assert isinstance(found, Completion)
    assert found.fields["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ]
    assert found.usage == USAGE


def test_one_chunk_as_an_object_is_put_into_the_shape_of_an_answer():
    found, _ = opened(ROLE.removeprefix(b"data: ").replace(b'"content": ""', b'"content": "hi"'), streamed=False)
    assert isinstance(found, Completion)
    assert found.fields["choices"][0]["message"]["content"] == "hi"


# ---------------------------------------------------------------- however it ends


def test_a_break_leaves_a_complete_answer_complete_and_says_what_came_of_another():
    def cut(pieces: bytes, streamed: bool) -> Opened:
        opening = Opening(streamed=streamed, hold_back_usage=True)
        found = opening.feed(pieces)
        assert found is None
        return opening.cut("it broke")

    body = json.dumps(WHOLE).encode()
    assert isinstance(cut(body, streamed=False), Completion)
    assert cut(body[:-5], streamed=False) == Nothing("it broke", begun=True)
    assert cut(b": beat\n\n  \n", streamed=False) == Nothing("it broke")
    assert isinstance(cut(STREAM.removesuffix(DONE), streamed=False), Completion)
    half = cut(ROLE + chunk({"content": "one"}), streamed=False)
    assert isinstance(half, Nothing)
    assert half.heard is not None
    assert (half.begun, half.heard.seen_text()) == (False, "one")
    waiting = cut(ROLE, streamed=True)
    assert isinstance(waiting, Nothing)
    assert not waiting.begun


# ---------------------------------------------------------------- always

ANSWERS = st.sampled_from(
    [
        STREAM,
        STREAM.replace(b"\n", b"\r\n"),
        b": beat\n\n: beat\n\n" + STREAM,
        b"\xef\xbb\xbf" + STREAM,
        b": beat\n\n" + said(FAILED),
        ROLE + said(FAILED) + DONE,
        ROLE + DONE,
        DONE,
        b"",
        b"\n \n",
        json.dumps(WHOLE).encode(),
        b" \r\n" + json.dumps(WHOLE, indent=1).encode() + b"\n",
        json.dumps(FAILED).encode(),
        b": beat\n\n" + json.dumps(FAILED).encode(),
        json.dumps([FAILED]).encode(),
        b'{"choices": null, "usage": {"prompt_tokens": 1}}',
        b'{"choices": [',
        b"<html>",
        b"dat",
    ]
)


@given(ANSWERS, st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_however_an_answer_is_cut_it_is_always_the_same(answer: bytes, cuts: list[int], streamed: bool):
    def kind(found: Opened) -> object:
        match found:
            case Streaming():
                return "stream"
            case ErrorAnswer():
                return found.error
            case Nothing():
                return found.begun
            case _:
                assert isinstance(found, Completion)
                return found.fields

    whole, _ = opened(answer, streamed=streamed)
    ends = sorted(min(cut, len(answer)) for cut in cuts)
    pieces = [answer[start:end] for start, end in zip([0, *ends], [*ends, len(answer)], strict=True)]
    assert kind(opened(*pieces, streamed=streamed)[0]) == kind(whole)
    assert kind(opened(*[answer[at : at + 1] for at in range(len(answer))], streamed=streamed)[0]) == kind(whole)


@given(st.lists(st.binary(max_size=30), max_size=6), st.booleans())
def test_any_bytes_are_always_something(pieces: list[bytes], streamed: bool):
    assert opened(*pieces, streamed=streamed)[0] is not None

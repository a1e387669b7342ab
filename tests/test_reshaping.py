"""A whole answer as a stream, and a stream as a whole answer: nothing is lost either way."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.chat.completion import Completion
from gateway.wire.chat.relay import DONE
from gateway.wire.chat.reshaping import Gathering, as_stream
from gateway.wire.sse import events, fields_of
from tests.conftest import examples

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def whole(*messages: dict[str, Any], **more: Any) -> Completion:
    choices = [{"index": n, "message": message, "finish_reason": "stop"} for n, message in enumerate(messages)]
    fields = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **more}
    return Completion(json.dumps(fields).encode(), fields)


def gathered(*chunks: dict[str, Any]) -> dict[str, Any]:
    gathering = Gathering()
    for chunk in chunks:
        gathering.add(chunk)
    found: dict[str, Any] = json.loads(gathering.completion().body)
    return found


def delta(piece: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": piece, **more}]}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": "4", "reasoning_content": "2+2", "annotations": [{"type": "url_citation"}]},
        {"role": "assistant", "content": None, "audio": {"id": "a", "data": "AAAA", "transcript": "hi"}},
        {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "half \ud83d"},
    ],
)
def test_an_answer_that_went_both_ways_is_what_it_was(message):
    answer = whole(message, {"role": "assistant", "content": "another"}, system_fingerprint="fp", usage=USAGE)
    stream = as_stream(answer)
    assert stream.endswith(DONE)
    chunks = [fields for one in events(stream) if (fields := fields_of(one)) is not None]
    assert all(chunk["object"] == "chat.completion.chunk" and chunk["id"] == "c" for chunk in chunks)
    back = gathered(*chunks)
    assert back == json.loads(answer.body)


def test_pieces_are_put_together_where_they_belong():
    found = gathered(
        delta({"role": "assistant", "content": ""}),
        delta(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        delta(
            {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{"}}]}
        ),
        delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]}),
        delta({"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]}),
        delta({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ":1}"}}]}),
        delta({}, finish_reason="tool_calls"),
    )
    calls = found["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in calls] == ["c1", "c2"]
    assert [call["function"] for call in calls] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert found["choices"][0]["finish_reason"] == "tool_calls"
    assert "index" not in calls[0]


def test_a_reason_that_came_is_not_taken_back_by_an_empty_chunk():
    found = gathered(delta({"content": "a"}), delta({}, finish_reason="stop"), delta({}, finish_reason=None))
    assert found["choices"][0]["finish_reason"] == "stop"


def test_text_before_or_behind_parts_becomes_a_part():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    found = gathered(delta({"content": [thinking]}), delta({"content": "so"}))
    assert found["choices"][0]["message"]["content"] == [thinking, {"type": "text", "text": "so"}]


def test_halves_of_a_surrogate_pair_in_two_chunks_meet():
    assert (
        gathered(delta({"content": "\ud83d"}), delta({"content": "\ude00"}))["choices"][0]["message"]["content"] == "😀"
    )


def test_logprobs_of_all_chunks_stand_in_one_list():
    one = {"content": [{"token": "a", "logprob": -0.5}], "refusal": None}
    found = gathered(delta({"content": "a"}, logprobs=one), delta({"content": "a"}, logprobs=one))
    assert len(found["choices"][0]["logprobs"]["content"]) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["index", "id", "text"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["content", "tool_calls", "audio", "role", "x"])


@settings(max_examples=examples(100))
@given(st.lists(st.dictionaries(NAMES, JSON), max_size=4))
def test_whatever_the_pieces_are_they_always_make_an_answer(pieces: list[dict[str, Any]]):
    found = gathered(*[delta(piece) for piece in pieces])
    assert len(found["choices"]) == (1 if pieces else 0)

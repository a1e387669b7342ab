"""A message without the reasoning it carries: all else as it came."""

import json
from typing import Any

import pytest

from gateway.conversation import Changes, Insertion
from gateway.wire.chat.reasoning import joined_details, reasons, without_reasoning
from gateway.wire.chat.write import sent
from tests.talk import assistant, calls, request, user

BLOCK = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


@pytest.mark.parametrize(
    ("came", "left"),
    [
        (b'{"role":"assistant","thinking_blocks":[{"a":1}],"content":"a"}', b'{"role":"assistant","content":"a"}'),
        (b'{"thinking_blocks":[],"role":"assistant"}', b'{"role":"assistant"}'),
        (b'{ "reasoning_content" : "b" , "n": 1.10 , "reasoning_details":null }', b'{"n": 1.10 }'),
        (b'{"role":"assistant", "x" : 1.0,"reasoning_content":"b"}', b'{"role":"assistant","x" : 1.0}'),
        (b'{"content":[{"type":"thinking","thinking":""},{"type":"text","text":"a" }]}',
         b'{"content":[{"type":"text","text":"a" }]}'),
        (b'{"content":[{"type":"redacted_thinking","data":""}],"tool_calls":[]}', b'{"content":null,"tool_calls":[]}'),
        (b'{"role":"assistant","content":[{"type":"text","text":"a"}]}',
         b'{"role":"assistant","content":[{"type":"text","text":"a"}]}'),
    ],
)  # fmt: skip
def test_only_reasoning_goes(came: bytes, left: bytes):
    assert without_reasoning(came) == left


@pytest.mark.parametrize(
    ("message", "carries"),
    [
        (assistant("a"), False),
        (assistant("a", reasoning_content="b"), True),
        (assistant("a", thinking_blocks=[BLOCK]), True),
        (assistant("a", thinking_blocks=[]), False),
        ({"role": "user", "content": [{"type": ["thinking"], "text": "a"}]}, False),
        (assistant("a", reasoning_details=[{}]), True),
        ({"role": "assistant", "content": [BLOCK]}, True),
        ({"role": "assistant", "content": [{"type": "text", "text": "thinking"}]}, False),
    ],
)
def test_reasoning_is_found_in_each_of_its_shapes(message: dict[str, Any], carries: bool):
    assert reasons(message) is carries
    assert request([user("a"), message]).conversation.messages[1].reasons is carries


def test_a_message_leaves_without_its_reasoning_beside_other_changes():
    came = request([user("a"), {**calls("c1 f"), "thinking_blocks": [BLOCK]}, assistant("b", reasoning_content="c")])
    changes = Changes({}, frozenset({0}), (Insertion(0, "ours"),), frozenset({1, 2}))
    out = json.loads(sent(came, came.model, changes))["messages"]
    assert out == [user("ours"), calls("c1 f"), assistant("b")]
    assert [message.reasons for message in changes.applied(came.conversation.messages)] == [False] * 3


def test_details_that_came_in_pieces_go_back_whole():
    text = {"type": "reasoning.text", "index": 0}
    pieces = [{**text, "text": "It is ", "signature": None}, {**text, "text": "so.", "format": "f"},
              {**text, "signature": "c2ln"}, {"type": "reasoning.encrypted", "data": "ZQ==", "index": 1}]  # fmt: skip
    assert joined_details([*pieces, "no object"]) == [
        {**text, "text": "It is so.", "signature": "c2ln", "format": "f"},
        {"type": "reasoning.encrypted", "data": "ZQ==", "index": 1},
    ]
    apart = [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}]
    assert joined_details(apart) == apart

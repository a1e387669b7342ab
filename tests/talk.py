"""Conversations as a test writes them: one short call for each message, in the wire's shape or as the neutral value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.budget.components import Anatomy, Recognition, dissect
from gateway.conversation import Conversation, Media, Message
from gateway.request import Request
from gateway.wire.chat.read import message_of, parse
from gateway.wire.memo import Memo

Wire = dict[str, Any]


def system(text: str, **more: Any) -> Wire:
    return {"role": "system", "content": text, **more}


def user(text: str, **more: Any) -> Wire:
    return {"role": "user", "content": text, **more}


def assistant(text: str, **more: Any) -> Wire:
    return {"role": "assistant", "content": text, **more}


def calls(*named: str) -> Wire:
    """An assistant message that calls tools: "c1 read {}" is id, tool and arguments."""
    listed = [call.split(" ", 2) for call in named]
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": one[0], "type": "function", "function": {"name": one[1], "arguments": "".join(one[2:]) or "{}"}}
            for one in listed
        ],
    }


def result(call_id: str, text: Any) -> Wire:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def words(number: int, word: str = "word") -> str:
    """So many words, each of which counts one."""
    return " ".join([word] * number)


def step(number: int, size: int, tool: str = "read") -> list[Wire]:
    """One step of an agent: a call, and a result of so many words, long ones so that the line of a stub has few."""
    return [calls(f"c{number} {tool}"), result(f"c{number}", words(size, f"result-{number}-".ljust(50, "-")))]


def loop(steps: int, size: int, first: int = 0) -> list[Wire]:
    return [message for number in range(first, first + steps) for message in step(number, size)]


def messages(listed: Sequence[Wire]) -> tuple[Message, ...]:
    return tuple(message_of(one) for one in listed)


def conversation(listed: Sequence[Wire], definitions: Sequence[str] = ()) -> Conversation:
    return Conversation(messages(listed), tuple(definitions), len(definitions))


def count(text: str) -> int:
    """Count words: what a test can add up in the head."""
    return len(text.split())


def count_media(part: Media) -> int:
    return 100


def anatomy(listed: Sequence[Wire], recognition: Recognition | None = None, tools: Sequence[str] = ()) -> Anatomy:
    return dissect(conversation(listed, tools), recognition or Recognition(), count, count_media)


def body(listed: Sequence[Wire], **fields: Any) -> bytes:
    return orjson.dumps({"model": "asked", "messages": listed, **fields})


def request(listed: Sequence[Wire], **fields: Any) -> Request:
    return parse(body(listed, **fields), Memo())

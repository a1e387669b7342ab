"""What the demo model says, and how that looks on the wire: whole, or as the events of a stream.

The words depend on the last message and the tools alone, so that a request and a shorter one with the same end are
answered alike. Where tools are defined and the last message is the user's, the answer may be a call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.routing.demo.prompt import as_list, as_object, meaning, unmarked_tools
from gateway.routing.demo.rules import wants_no_answer

CREATED: Final = 1_700_000_000
"""A constant in place of the time: equal requests get equal answers, to the byte."""

_OPENINGS: Final = ("I looked into this.", "Here is what I found.", "Done.", "Thank you for the details.")
_MIDDLES: Final = (
    "The records agree with what you describe.",
    "Two of the entries needed a second look, and both are in order.",
    "Nothing in the history contradicts it.",
    "The figures match to the last digit.",
    "I compared the newest result with the one before it.",
)
_CLOSINGS: Final = (
    "Shall I go on?",
    "Tell me if anything is missing.",
    "The next step is yours.",
    "That is all for now.",
)


@dataclass(frozen=True, slots=True)
class Said:
    """What the demo model answers: words, or one call."""

    text: str
    call: tuple[str, str, str] | None
    """Id, name and arguments."""
    tokens: int


def say(
    fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], call_id: str, count: Callable[[str], int]
) -> Said:
    """Choose the words, or the call, by a hash of the last message and the tools; nothing where nothing is wanted."""
    if wants_no_answer(fields):
        return Said("", None, 0)
    last = meaning(messages[-1]) if messages else b""
    seed = hashlib.sha256(last + b"\n" + orjson.dumps(unmarked_tools(fields), option=orjson.OPT_SORT_KEYS)).digest()
    tool = _wanted_tool(seed, fields, messages)
    if tool is not None:
        return Said("", (call_id, tool, "{}"), 8 + count(tool) + count("{}"))
    middles = " ".join(_MIDDLES[(seed[1] + step) % len(_MIDDLES)] for step in range(1 + seed[2] % len(_MIDDLES)))
    text = f"{_OPENINGS[seed[0] % len(_OPENINGS)]} {middles} {_CLOSINGS[seed[3] % len(_CLOSINGS)]}"
    return Said(text, None, count(text))


def _wanted_tool(seed: bytes, fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Name the tool to call: always where the choice demands one, else for half of the user's messages."""
    choice = fields.get("tool_choice")
    functions = [as_object(as_object(tool).get("function")) for tool in as_list(fields.get("tools"))]
    names = [function["name"] for function in functions if isinstance(function.get("name"), str)]
    if not names or choice == "none":
        return None
    if isinstance(choice, dict):
        named = as_object(choice.get("function")).get("name")
        return named if isinstance(named, str) else None
    asks = bool(messages) and messages[-1].get("role") == "user" and seed[4] % 2 == 0
    return names[seed[5] % len(names)] if choice == "required" or asks else None


def whole(head: Mapping[str, Any], said: Said, usage: Mapping[str, Any]) -> bytes:
    """Return the answer as one body."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
    if said.call is not None:
        message["tool_calls"] = [_call(*said.call)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
    return orjson.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def events(head: Mapping[str, Any], said: Said, usage: Mapping[str, Any] | None) -> Iterator[bytes]:
    """Yield the events of a stream: one a word, or a call in two pieces; the usage last where it was asked for."""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return (
            b"data: " + orjson.dumps({**head, "object": "chat.completion.chunk", "choices": choices, **more}) + b"\n\n"
        )

    def piece(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        silent = {} if usage is None else {"usage": None}
        return event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], **silent)

    yield piece({"role": "assistant", "content": None if said.call else "", "refusal": None})
    if said.call is not None:
        call_id, name, arguments = said.call
        yield piece({"tool_calls": [{"index": 0, **_call(call_id, name, "")}]})
        yield piece({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})
    for position, word in enumerate(said.text.split(" ") if said.text else ()):
        yield piece({"content": f" {word}" if position else word})
    yield piece({}, _finish(said))
    if usage is not None:
        yield event([], usage=usage)
    yield b"data: [DONE]\n\n"


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _finish(said: Said) -> str:
    if said.call is not None:
        return "tool_calls"
    return "stop" if said.text else "length"

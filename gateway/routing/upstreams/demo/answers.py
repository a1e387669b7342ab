"""Answers of the demo model, and their form on the wire: whole, or as the events of a stream.

The words depend on the last message and the tools alone, so that a request and a shorter one with the same end are
answered alike. The answer may be a call if tools are defined and the last message is the user's. The request's demands
on its form are obeyed: `wanted`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final

import orjson

from gateway.routing.upstreams.demo import wanted
from gateway.routing.upstreams.demo.prompt import as_list, as_object, content_text, meaning, unmarked_tools
from gateway.routing.upstreams.demo.rules import answer_limit, wants_no_answer
from gateway.routing.upstreams.demo.schemas import Material, names_in, value_for
from gateway.routing.upstreams.demo.wanted import CallableTool, CallKind, Choice

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
_PIECE: Final = 12
"""Characters of JSON in one event of a stream."""
_CALL_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class DemoCall:
    """One call."""

    id: str
    name: str
    arguments: str
    kind: CallKind = "function"


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """An answer of the demo model: words, JSON, or one call."""

    text: str
    call: DemoCall | None
    tokens: int
    is_json: bool = False
    is_cut: bool = False
    """Whether its limit ended it."""


def say(
    fields: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    call_id: str,
    count: Callable[[str], int],
    turn: int = 0,
) -> DemoAnswer:
    """Choose the words, or the call, by a hash of the last message and the tools; nothing where nothing is wanted.

    `turn` is the number of the answer, where several are asked for.
    """
    if wants_no_answer(fields):
        return DemoAnswer("", None, 0)
    last = meaning(messages[-1]) if messages else b""
    seed = hashlib.sha256(last + b"\n" + orjson.dumps(unmarked_tools(fields), option=orjson.OPT_SORT_KEYS)).digest()
    choice = wanted.choice(fields)
    tool = _tool_to_call(seed, choice, messages)
    if tool is not None:
        arguments = _arguments(tool, seed, messages, turn, whole=choice.named)
        call = DemoCall(f"{call_id}_{turn}" if turn else call_id, tool.name, arguments, tool.kind)
        return DemoAnswer("", call, _CALL_TOKENS + count(call.name) + count(call.arguments))
    form = wanted.form(fields, messages)
    if form is not None:
        text = orjson.dumps(value_for(form.schema, seed, _material(messages), turn)).decode()
        text = f"```json\n{text}\n```" if form.fenced else text
        return _within(answer_limit(fields), DemoAnswer(text, None, count(text), is_json=True), count)
    start, several = seed[1] + turn // len(_OPENINGS), 1 + seed[2] % len(_MIDDLES)
    middles = " ".join(_MIDDLES[(start + step) % len(_MIDDLES)] for step in range(several))
    text = f"{_OPENINGS[(seed[0] + turn) % len(_OPENINGS)]} {middles} {_CLOSINGS[seed[3] % len(_CLOSINGS)]}"
    return _within(answer_limit(fields), DemoAnswer(text, None, count(text)), count)


def _within(limit: int | None, said: DemoAnswer, count: Callable[[str], int]) -> DemoAnswer:
    """Cut what is said where its limit ends it. A call is never cut."""
    if limit is None or said.tokens <= limit:
        return said
    fits = bisect_right(range(1, len(said.text) + 1), limit, key=lambda upto: count(said.text[:upto]))
    text = said.text[:fits]
    return replace(said, text=text, tokens=count(text), is_cut=True)


def _tool_to_call(seed: bytes, choice: Choice, messages: Sequence[Mapping[str, Any]]) -> CallableTool | None:
    """Choose the tool to call: always where the choice demands one, else for half of the user's messages.

    Each tool has its turn, in the order in which they are defined, if a call is demanded again and again: so a loop
    that ends with a certain tool comes to its end.
    """
    if not choice.tools:
        return None
    if choice.must:
        called = _called(messages)
        return next((tool for tool in choice.tools if tool.name not in called), choice.tools[-1])
    asks = bool(messages) and messages[-1].get("role") == "user" and seed[4] % 2 == 0
    return choice.tools[seed[5] % len(choice.tools)] if asks else None


def _called(messages: Sequence[Mapping[str, Any]]) -> set[Any]:
    """Return the names of what was called since a user last spoke."""
    last = next((at for at in range(len(messages) - 1, -1, -1) if messages[at].get("role") == "user"), -1)
    called: set[Any] = set()
    for message in messages[last + 1 :]:
        calls = [as_object(call) for call in as_list(message.get("tool_calls"))]
        functions = [call.get("function") or call.get("custom") for call in calls]
        names = [as_object(function).get("name") for function in (*functions, message.get("function_call"))]
        called.update(name for name in names if isinstance(name, str))
    return called


def _arguments(
    tool: CallableTool, seed: bytes, messages: Sequence[Mapping[str, Any]], turn: int, *, whole: bool
) -> str:
    if tool.kind == "custom":
        found = _material(messages)
        return (found.names or found.sentences)[0]
    schema = {"type": "object", **as_object(tool.parameters)}
    made = value_for(schema, seed, _material(messages), turn, whole=whole)
    return orjson.dumps(made).decode()


def _material(messages: Sequence[Mapping[str, Any]]) -> Material:
    """Return what an answer in a given form is filled with: what the user named last, else words of ours."""
    said: Mapping[str, Any] = next((one for one in reversed(messages) if one.get("role") == "user"), {})
    return names_in(content_text(said.get("content")), _MIDDLES)


# ---------------------------------------------------------------- on the wire


def whole_answer(head: Mapping[str, Any], answers: Sequence[DemoAnswer], usage: Mapping[str, Any]) -> bytes:
    """Return the answers as one body."""
    choices = []
    for index, said in enumerate(answers):
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
        if said.call is not None:
            message |= _calling(said.call)
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": _finish(said)})
    return orjson.dumps({**head, "object": "chat.completion", "choices": choices, "usage": usage})


def stream_events(
    head: Mapping[str, Any], answers: Sequence[DemoAnswer], usage: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Yield the events of a stream: one a word, or a call in pieces; the usage last where it was asked for."""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return (
            b"data: " + orjson.dumps({**head, "object": "chat.completion.chunk", "choices": choices, **more}) + b"\n\n"
        )

    silent = {} if usage is None else {"usage": None}
    for pieces in zip_longest(*map(_pieces, answers)):
        for index, piece in enumerate(pieces):
            if piece is not None:
                yield event(
                    [{"index": index, "delta": piece[0], "logprobs": None, "finish_reason": piece[1]}], **silent
                )
    if usage is not None:
        yield event([], usage=usage)
    yield b"data: [DONE]\n\n"


def _pieces(said: DemoAnswer) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield an answer as deltas, the last one with its finish reason."""
    yield {"role": "assistant", "content": None if said.call else "", "refusal": None}, None
    call = said.call
    if call is not None:
        begun = _calling(DemoCall(call.id, call.name, "", call.kind), index=0)
        yield begun, None
        for piece in _cut(call.arguments):
            yield _more(call, piece), None
    elif said.is_json:
        for piece in _cut(said.text):
            yield {"content": piece}, None
    else:
        for position, word in enumerate(said.text.split(" ") if said.text else ()):
            yield {"content": f" {word}" if position else word}, None
    yield {}, _finish(said)


def _cut(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))


def _calling(call: DemoCall, **more: Any) -> dict[str, Any]:
    """Return the members of a message that makes a call."""
    if call.kind == "legacy":
        return {"function_call": {"name": call.name, "arguments": call.arguments}}
    said = "input" if call.kind == "custom" else "arguments"
    made = {"id": call.id, "type": call.kind, call.kind: {"name": call.name, said: call.arguments}}
    return {"tool_calls": [{**more, **made}]}


def _more(call: DemoCall, piece: str) -> dict[str, Any]:
    """Return the delta that goes on with a call's arguments."""
    if call.kind == "legacy":
        return {"function_call": {"arguments": piece}}
    said = "input" if call.kind == "custom" else "arguments"
    return {"tool_calls": [{"index": 0, call.kind: {said: piece}}]}


def _finish(said: DemoAnswer) -> str:
    if said.call is not None:
        return "function_call" if said.call.kind == "legacy" else "tool_calls"
    return "stop" if said.text and not said.is_cut else "length"

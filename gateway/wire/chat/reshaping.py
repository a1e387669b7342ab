"""An answer in the shape that was asked for: a whole one written as a stream, and a stream gathered into a whole. Pure.

Members that nobody here knows go along. Only an answer that came in the other shape is written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.wire import lenient
from gateway.wire.chat.completion import Completion
from gateway.wire.chat.relay import DONE
from gateway.wire.sse import event
from gateway.wire.usage import found_in, fuller

_DEEPEST: Final = 8
"""Levels to which pieces of a message are put together; what lies deeper comes whole in one chunk."""

_WHOLE_AT_ONCE: Final = frozenset({"id", "role", "type", "object", "index", "format", "signature", "name"})
"""Members that are said once, and that some engines say again in each chunk."""


def as_stream(whole: Completion) -> bytes:
    """Write a whole answer as the events of a stream, its usage and the end marker included."""
    fields = whole.fields
    head = {name: value for name, value in fields.items() if name not in ("choices", "usage", "object")}
    head = {**head, "object": "chat.completion.chunk"}
    choices = [choice for choice in fields.get("choices") or () if isinstance(choice, dict)]
    out = []
    for number, choice in enumerate(choices):
        index = choice.get("index", number)
        if "text" in choice and "message" not in choice:  # of a text completion, whose chunks are like the whole
            out.append({**head, "object": fields.get("object"), "choices": [{**choice, "index": index}]})
            continue
        rest = {name: value for name, value in choice.items() if name not in ("message", "finish_reason", "usage")}
        said = {**rest, "index": index, "delta": _delta(choice.get("message")), "finish_reason": None}
        ended = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        out += [{**head, "choices": [said]}, {**head, "choices": [ended]}]
    if (usage := found_in(fields)) is not None:
        out.append({**head, "choices": [], "usage": usage})
    return b"".join([event(lenient.write(chunk)) for chunk in out]) + DONE


def _delta(message: object) -> dict[str, Any]:
    said = {name: value for name, value in message.items() if value is not None} if isinstance(message, dict) else {}
    calls = said.get("tool_calls")
    if isinstance(calls, list):
        numbered = enumerate(calls)
        said["tool_calls"] = [{"index": n, **call} if isinstance(call, dict) else call for n, call in numbered]
    return {"role": "assistant", **said}


class Gathering:
    """Chunks of one stream, put together as they come."""

    __slots__ = ("_choices", "_head", "_usage")

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Mapping[str, Any] | None = None

    def add(self, fields: Mapping[str, Any]) -> None:
        """Take in one chunk."""
        choices = fields.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                number = choice.get("index")
                self._add_choice(number if isinstance(number, int) else 0, choice)
        for name, value in fields.items():
            if name not in ("choices", "usage", "error") and value is not None:
                self._head[name] = value
        if (usage := found_in(fields)) is not None:
            self._usage = fuller(self._usage, usage)

    def completion(self) -> Completion:
        """Return what has come so far as a whole answer."""
        choices = [self._choice(index) for index in sorted(self._choices)]
        fields = {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage}
        return Completion(lenient.write(fields), fields)

    def _add_choice(self, index: int, choice: Mapping[str, Any]) -> None:
        held = self._choices.setdefault(index, {"message": {}})
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message")
        if isinstance(delta, dict):
            _merge(held["message"], delta, _DEEPEST)
        rest = {name: value for name, value in choice.items() if name not in ("index", "delta", "message", "usage")}
        if not rest.get("finish_reason"):
            rest.pop("finish_reason", None)
        _merge(held, rest, _DEEPEST)

    def _choice(self, index: int) -> dict[str, Any]:
        held = self._choices[index]
        message = {"role": "assistant", "content": None, **held["message"]}
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [_unnumbered(call) for call in calls]
        return {"index": index, "finish_reason": None, **held, "message": message}


def _unnumbered(call: object) -> object:
    return {name: value for name, value in call.items() if name != "index"} if isinstance(call, dict) else call


def _merge(into: dict[str, Any], piece: Mapping[str, Any], levels: int) -> None:
    for name, value in piece.items():
        held = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif held is None or not levels or type(held) is not type(value):
            into[name] = _joined_kinds(held, _own(value, levels))
        elif isinstance(value, str):
            into[name] = _joined_texts(name, held, value)
        elif isinstance(value, dict):
            _merge(held, value, levels - 1)
        elif isinstance(value, list):
            _extend(held, value, levels - 1)
        else:
            into[name] = value


def _joined_kinds(held: Any, value: Any) -> Any:
    """Join what came as text with what comes as parts (Mistral changes over when it has thought)."""
    if isinstance(held, str) and isinstance(value, list):
        return [{"type": "text", "text": held}, *value] if held else value
    if isinstance(held, list) and isinstance(value, str):
        return [*held, {"type": "text", "text": value}] if value else held
    return value


def _own(value: Any, levels: int) -> Any:
    """Copy what later pieces are joined to: a chunk's own objects stay as they came."""
    if not levels or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [_own(inner, levels - 1) for inner in value]
    return {name: _own(inner, levels - 1) for name, inner in value.items()}


def _joined_texts(name: str, held: str, value: str) -> str:
    if name == "finish_reason" or (name in _WHOLE_AT_ONCE and (value.startswith(held) or name != "name")):
        return value or held
    return held + value


def _extend(held: list[Any], pieces: list[Any], levels: int) -> None:
    """Add pieces of a list; one with a number belongs to the member of that number."""
    for piece in pieces:
        known = _numbered(held, piece)
        if known is None:
            held.append(_own(piece, levels))
        else:
            _merge(known, piece, levels)


def _numbered(held: list[Any], piece: object) -> dict[str, Any] | None:
    number = piece.get("index") if isinstance(piece, dict) else None
    if not isinstance(number, int):
        return None
    same: Iterator[dict[str, Any]] = (one for one in held if isinstance(one, dict) and one.get("index") == number)
    return next(same, None)

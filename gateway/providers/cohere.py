"""Cohere: its API, and its stream of events as litellm's reader of it expects them. Pure.

Cohere writes the kind of an event into a line of its own and into `type`, and its facts into `delta`
(docs.cohere.com/reference/chat-stream). litellm 1.106 (`CohereV2ModelResponseIterator`) takes every line for JSON,
`data:` and empty ones too, looks for the end under `event` and `data`, and for calls one level higher than they are: a
stream as it comes fails on its first line, and has no end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.providers.provider import EMBEDDINGS, Provider

_REASONS: Final = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}
"""docs.cohere.com/reference/chat, `finish_reason`."""


class EventReader:
    """Turns the bytes of a stream into those that litellm reads; holds back what is no whole line yet."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> bytes:
        *lines, self._rest = (self._rest + part).split(b"\n")
        return b"".join(self._written(lines))

    def end(self) -> bytes:
        """Return what was still held back."""
        rest, self._rest = self._rest, b""
        return b"".join(self._written([rest]))

    def _written(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            if line.startswith(b"data:") and (event := _event(line[5:])) is not None:
                yield orjson.dumps(event) + b"\n"


def _event(text: bytes) -> Any:
    """Return an event as litellm reads it; None for what says nothing to it."""
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None  # `[DONE]`, which a proxy may add
    if not isinstance(event, dict):
        return None
    delta = event.get("delta")
    delta = delta if isinstance(delta, dict) else {}
    kind = event.get("type")
    if kind == "message-end":
        reason = delta.get("finish_reason")
        return {"event": kind, "data": {"delta": {**delta, "finish_reason": _REASONS.get(str(reason), reason)}}}
    if kind in ("tool-call-start", "tool-call-delta"):
        return _call(event, delta, starts=kind == "tool-call-start")
    return event if kind == "content-delta" else None


def _call(event: dict[str, Any], delta: dict[str, Any], *, starts: bool) -> Any:
    message = delta.get("message")
    call = message.get("tool_calls") if isinstance(message, dict) else None
    if not isinstance(call, dict):
        return None
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    told = {"id": call.get("id") if starts else None, "name": function.get("name") if starts else None}
    written = {**told, "arguments": function.get("arguments") or ""}
    return {"type": "tool-call-delta", "index": event.get("index", 0), "delta": {"tool_calls": [written]}}


COHERE_CHAT: Final = Provider(
    "translated",
    host="api.cohere.com",
    key_variables=("COHERE_API_KEY", "CO_API_KEY"),
    stream_reader=EventReader,
)

COHERE: Final = replace(COHERE_CHAT, operations=EMBEDDINGS | {"rerank"})

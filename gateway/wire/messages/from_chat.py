"""A chat completion as a message, whole and streamed. Pure.

A block is open at a time, in the order of platform.claude.com/docs/en/build-with-claude/streaming. Calls that come
piece by piece beside each other are put apart: the first passes as it comes, the others once they are complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.request import Request, Usage
from gateway.wire import lenient
from gateway.wire.chat.output import finish_of, spoken
from gateway.wire.chat.reasoning import joined_details
from gateway.wire.messages.composing import STOP, event_bytes
from gateway.wire.messages.thoughts import signature_for
from gateway.wire.usage import found_in, usage_from_openai

_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons"""


def usage_of(stated: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write usage as on Anthropic's wire, where input tokens leave out those of the cache."""
    read = usage_from_openai(stated) or Usage()
    return {
        "input_tokens": max(0, read.prompt - read.cached - read.cache_write),
        "cache_creation_input_tokens": read.cache_write,
        "cache_read_input_tokens": read.cached,
        "output_tokens": read.completion,
    }


def _reason(finish: str | None, *, calls: bool) -> str:
    if calls and finish in (None, "stop"):
        return "tool_use"
    return _REASONS.get(finish or "stop", "end_turn")


class Translation:
    """The way from one chat completion to the message that answers a request."""

    __slots__ = (
        *("_calls", "_details", "_finish", "_index", "_items", "_kind", "_model", "_open_call", "_signature"),
        "_started",
    )

    def __init__(self, request: Request) -> None:
        """Take the request that is answered."""
        self._model = request.model
        self._index = -1
        self._kind: str | None = None
        """The kind of the block that is open."""
        self._open_call: object = None
        self._calls: dict[object, dict[str, str]] = {}
        """The calls so far; of one that is not passed on as it comes, all that it says."""
        self._signature = ""
        self._details: list[Any] = []
        self._items: list[Any] = []
        self._finish: str | None = None
        self._started = False

    # ------------------------------------------------------------ whole

    def whole(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole chat completion as a message."""
        choices = fields.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        said = choice.get("message")
        content = list(_blocks(said if isinstance(said, dict) else {}))
        calls = any(block["type"] == "tool_use" for block in content)
        reason = _reason(finish_of(choice), calls=calls)
        return {
            **self._head(fields),
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage_of(found_in(fields)),
        }

    def _head(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        given, model = fields.get("id"), fields.get("model")
        message_id = f"msg_{given}" if isinstance(given, str) and given else "msg_gateway"
        named = model if isinstance(model, str) and model else self._model
        return {"id": message_id, "type": "message", "role": "assistant", "model": named}

    # ------------------------------------------------------------ streamed

    def take(self, fields: Mapping[str, Any]) -> bytes:
        """Take in a chunk; return the events to pass on now."""
        return b"".join(map(event_bytes, self._events(fields)))

    def end(self, usage: Mapping[str, Any] | None) -> bytes:
        """Return the events that end the stream, whose usage this is."""
        out = [*self._begun({}), *self._closed()]
        for key, call in self._calls.items():
            if call["arguments"] is not _PASSED:
                out += [*self._opened("call", _call_block(call, key)), *self._said_json(call["arguments"])]
                out += self._closed()
        reason = _reason(self._finish, calls=bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": None}
        out.append({"type": "message_delta", "delta": delta, "usage": usage_of(usage)})
        return b"".join([*map(event_bytes, out), STOP])

    def _begun(self, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if not self._started:
            self._started = True
            rest: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage_of(None)}
            yield {"type": "message_start", "message": {**self._head(fields), **rest}}

    def _events(self, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        choices = fields.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
        yield from self._begun(fields)
        if choice is None or choice.get("index") not in (None, 0):
            return
        delta = choice.get("delta")
        if isinstance(delta, dict):
            yield from self._reasoning(delta)
            for said in (delta.get("content"), delta.get("refusal")):
                for text in spoken(said):
                    yield from self._block("text", {"type": "text", "text": ""})
                    yield self._delta({"type": "text_delta", "text": text})
            for number, call in enumerate(_calls_in(delta)):
                yield from self._call(call, number)
        self._finish = finish_of(choice) or self._finish

    def _reasoning(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        blocks = [one for one in _listed(delta.get("thinking_blocks")) if isinstance(one, dict)]
        details = [one for one in _listed(delta.get("reasoning_details")) if isinstance(one, dict)]
        for block in blocks:
            if block.get("type") == "redacted_thinking":
                whole = {name: held for name, held in block.items() if name != "index"}
                yield from [*self._closed(), *self._opened("redacted", whole), *self._closed()]
                continue
            yield from self._thought(str(block.get("thinking") or ""))
            self._signature = str(block.get("signature") or self._signature)
        self._items = _listed(delta.get("reasoning_items")) or self._items
        if not blocks:
            text = delta.get("reasoning_content") or delta.get("reasoning")
            self._details += details
            if details or text or delta.get("reasoning_items"):
                yield from self._thought(text if isinstance(text, str) else "")

    def _thought(self, text: str) -> Iterator[dict[str, Any]]:
        yield from self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if text:
            yield self._delta({"type": "thinking_delta", "thinking": text})

    def _call(self, call: Mapping[str, Any], number: int) -> Iterator[dict[str, Any]]:
        key, function = call.get("index"), call.get("function")
        key = number if key is None else key
        function = function if isinstance(function, dict) else {}
        said, known = str(function.get("arguments") or ""), self._calls.get(key)
        if known is None:
            known = {"id": str(call.get("id") or ""), "name": str(function.get("name") or ""), "arguments": ""}
            self._calls[key] = known
            if self._kind != "call":
                yield from [*self._closed(), *self._opened("call", _call_block(known, key))]
                self._open_call, known["arguments"] = key, _PASSED
        if known["arguments"] is not _PASSED:
            known["arguments"] += said
        elif self._kind == "call" and self._open_call == key:
            yield from self._said_json(said)

    def _said_json(self, text: str) -> Iterator[dict[str, Any]]:
        if text:
            yield self._delta({"type": "input_json_delta", "partial_json": text})

    def _block(self, kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Open a block, unless one of its kind is."""
        if self._kind != kind:
            yield from [*self._closed(), *self._opened(kind, block)]

    def _opened(self, kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._index, self._kind = self._index + 1, kind
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _closed(self) -> Iterator[dict[str, Any]]:
        if self._kind is None:
            return
        if self._kind == "thinking":
            signature = self._signature or signature_for(joined_details(self._details), self._items)
            yield self._delta({"type": "signature_delta", "signature": signature})
            self._signature, self._details, self._items = "", [], []
        self._kind = None
        yield {"type": "content_block_stop", "index": self._index}


_PASSED: Final = "\0"
"""In the place of the arguments of a call that are passed on as they come."""


def _calls_in(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls: list[Mapping[str, Any]] = [call for call in _listed(said.get("tool_calls")) if isinstance(call, dict)]
    legacy = said.get("function_call")
    if isinstance(legacy, dict):
        calls.append({"index": "function_call", "function": legacy})
    return calls


def _call_block(call: Mapping[str, str], key: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": call["id"] or f"call_{key}", "name": call["name"], "input": {}}


def _blocks(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the blocks of a whole message of a chat."""
    yield from _thoughts(said)
    for content in (said.get("content"), said.get("refusal")):
        text = "".join(spoken(content))
        if text:
            yield {"type": "text", "text": text}
    for number, call in enumerate(_calls_in(said)):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        given = str(function.get("arguments") or "")
        read = lenient.read(given.encode("utf-8", "surrogatepass")) if given.strip() else {}
        known = {"id": str(call.get("id") or ""), "name": str(function.get("name") or "")}
        yield {**_call_block(known, number), "input": read if isinstance(read, dict) else {"arguments": given}}


def _thoughts(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    blocks = [block for block in _listed(said.get("thinking_blocks")) if isinstance(block, dict)]
    if blocks:
        yield from ({**block, "signature": block.get("signature") or signature_for()}
                    if block.get("type") == "thinking" else block for block in blocks)  # fmt: skip
        return
    details, items = _listed(said.get("reasoning_details")), _listed(said.get("reasoning_items"))
    text = said.get("reasoning_content") or said.get("reasoning")
    if details or items or text:
        told = text if isinstance(text, str) else ""
        yield {"type": "thinking", "thinking": told, "signature": signature_for(details, items)}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""Anthropic's Messages API, as docs.claude.com/en/api/messages and …/messages-streaming describe it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.providers.serving import Provider


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def tool_use(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


@dataclass
class Anthropic(Provider):
    """`content` is what it answers, `usage` what it reports; `count` and `window` make it refuse long prompts."""

    content: list[dict[str, Any]] = field(default_factory=lambda: [text("Hello there.")])
    stop_reason: str = "end_turn"
    usage: dict[str, Any] = field(default_factory=lambda: {"input_tokens": 12, "output_tokens": 5})
    count: Callable[[Any], int] | None = None
    """Tokens of a request body, as this server counts."""
    window: int = 200_000
    error_event: dict[str, Any] | None = None
    """In a stream: an error in place of the end."""

    async def respond(self, request: web.Request) -> web.StreamResponse:
        body = self.received[-1].body
        refusal = self._refused(request, body)
        if refusal is not None:
            return refusal
        headers = {"request-id": "req_anthropic_1", **self.headers}
        if body.get("stream"):
            self.headers = headers
            return await self.stream(request, list(self._events(body)))
        return web.json_response(self._message(body), headers=headers)

    def _refused(self, request: web.Request, body: Any) -> web.Response | None:
        if request.method != "POST" or request.path != "/v1/messages":
            return _error(404, "not_found_error", request.path)
        if "x-api-key" not in request.headers and "authorization" not in request.headers:
            return _error(401, "authentication_error", "x-api-key header is required")
        if "anthropic-version" not in request.headers:
            return _error(400, "invalid_request_error", "anthropic-version: header is required")
        for name in ("model", "messages", "max_tokens"):
            if name not in body:
                return _error(400, "invalid_request_error", f"{name}: Field required")
        problem = _illegal(body["messages"])
        if problem:
            return _error(400, "invalid_request_error", problem)
        if self.count is not None and (tokens := self.count(body)) > self.window:
            return _error(400, "invalid_request_error", f"prompt is too long: {tokens} tokens > {self.window} maximum")
        return None

    def _message(self, body: Any) -> dict[str, Any]:
        return {
            "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": self.content,
            "stop_reason": self.stop_reason,
            "stop_sequence": None,
            "usage": self.usage,
        }

    def _events(self, body: Any) -> Iterator[bytes]:
        # The input's usage comes first with a placeholder for the output; the last message_delta repeats it for good.
        start = {**self._message(body), "content": [], "stop_reason": None, "usage": {**self.usage, "output_tokens": 1}}
        yield _event("message_start", message=start)
        yield _event("ping")
        for index, block in enumerate(self.content):
            yield from _block_events(index, block)
        if self.error_event is not None:
            yield _event("error", error=self.error_event)
            return
        delta = {"stop_reason": self.stop_reason, "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage=self.usage)
        yield _event("message_stop")


def _block_events(index: int, block: dict[str, Any]) -> Iterator[bytes]:
    if block["type"] == "text":
        yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for piece in _pieces(block["text"]):
            yield _event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
    elif block["type"] == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        yield _event("content_block_start", index=index, content_block=empty)
        for piece in _pieces(block["thinking"]):
            yield _event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": piece})
        signed = {"type": "signature_delta", "signature": block["signature"]}
        yield _event("content_block_delta", index=index, delta=signed)
    else:
        yield _event("content_block_start", index=index, content_block={**block, "input": {}})
        yield _event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": ""})
        for piece in _pieces(json.dumps(block["input"])):
            yield _event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
    yield _event("content_block_stop", index=index)


def _pieces(words: str, size: int = 7) -> Iterator[str]:
    for start in range(0, len(words), size):
        yield words[start : start + size]


def _event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def _error(status: int, kind: str, message: str) -> web.Response:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_anthropic_1"}
    return web.json_response(body, status=status, headers={"request-id": "req_anthropic_1"})


def _illegal(messages: list[dict[str, Any]]) -> str | None:
    """Every `tool_use` is answered by a `tool_result` in the very next message, before any text."""
    for index, message in enumerate(messages):
        if message["role"] not in ("user", "assistant"):
            return f"messages.{index}.role: Input should be 'user' or 'assistant'"
        asked = [block["id"] for block in _blocks(message) if block["type"] == "tool_use"]
        if not asked:
            continue
        following = _blocks(messages[index + 1]) if index + 1 < len(messages) else []
        answered = [block["tool_use_id"] for block in following[: len(asked)] if block["type"] == "tool_result"]
        if sorted(asked) != sorted(answered):
            return (
                f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {asked}"
            )
    return None


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content

"""Gemini's generateContent and streamGenerateContent, as ai.google.dev/api/generate-content describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.providers.serving import Provider


@dataclass
class Gemini(Provider):
    """`parts` is what it answers, `usage` its `usageMetadata`."""

    parts: list[dict[str, Any]] = field(default_factory=lambda: [{"text": "Hello there."}])
    finish_reason: str = "STOP"
    usage: dict[str, Any] = field(
        default_factory=lambda: {"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17}
    )

    async def respond(self, request: web.Request) -> web.StreamResponse:
        body = self.received[-1].body
        _, _, method = request.path.rpartition(":")
        if method not in ("generateContent", "streamGenerateContent"):
            return _error(404, "NOT_FOUND", request.path)
        if "x-goog-api-key" not in request.headers and "key" not in request.query:
            return _error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
        problem = _illegal(body["contents"])
        if problem:
            return _error(400, "INVALID_ARGUMENT", problem)
        if method == "generateContent":
            return web.json_response(self._response(self.parts, final=True), headers=self.headers)
        assert request.query.get("alt") == "sse"
        return await self.stream(request, list(self._events()))

    def _response(self, parts: list[dict[str, Any]], final: bool) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if final:
            candidate["finishReason"] = self.finish_reason
        # Every chunk of a stream carries the usage so far; only the last one's is final.
        so_far = {**self.usage, "candidatesTokenCount": 1}
        return {
            "candidates": [candidate],
            "usageMetadata": self.usage if final else so_far,
            "modelVersion": "gemini-2.5-flash",
            "responseId": "wXqYaPnZ",
        }

    def _events(self) -> Iterator[bytes]:
        chunks: list[list[dict[str, Any]]] = []
        for part in self.parts:
            if set(part) == {"text"}:
                chunks += [[{"text": part["text"][start : start + 6]}] for start in range(0, len(part["text"]), 6)]
            else:
                chunks.append([part])
        for position, parts in enumerate(chunks):
            data = json.dumps(self._response(parts, final=position == len(chunks) - 1))
            yield f"data: {data}\r\n\r\n".encode()


def error(status: int, name: str, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name}}


def _error(status: int, name: str, message: str) -> web.Response:
    return web.json_response(error(status, name, message), status=status)


def _illegal(contents: list[dict[str, Any]]) -> str | None:
    """As many function responses as calls, in the very next turn."""
    for index, content in enumerate(contents):
        calls = sum("function_call" in part or "functionCall" in part for part in content["parts"])
        following = contents[index + 1]["parts"] if index + 1 < len(contents) else []
        responses = sum("function_response" in part or "functionResponse" in part for part in following)
        if calls and calls != responses:
            return (
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
    return None

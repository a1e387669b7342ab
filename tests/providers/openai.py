"""An OpenAI-compatible engine that answers with the very bytes it is given."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.providers.serving import Provider

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


@dataclass
class OpenAI(Provider):
    answer: bytes = field(default_factory=lambda: json.dumps(ANSWER).encode())
    events: list[bytes] = field(default_factory=list)
    pause: float = 0.0

    async def respond(self, request: web.Request) -> web.StreamResponse:
        if self.received[-1].body.get("stream"):
            return await self.stream(request, self.events, self.pause)
        return web.Response(
            status=self.status, body=self.answer, headers={"x-request-id": "req_1", **self.headers},
            content_type="application/json",
        )  # fmt: skip

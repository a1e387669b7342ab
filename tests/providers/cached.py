"""The demo provider under one set of rules, on a clock that a test sets, with tokens that are easy to follow: words."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.request import Usage
from gateway.routing.upstreams.demo import Demo
from gateway.routing.upstreams.upstream import Reply
from gateway.wire.usage import usage_from_openai
from tests.providers.deployments import deployment

PRIMING = 3
"""Tokens that every prompt has after its last message."""


def words(text: str) -> int:
    return len(text.split())


def text(tokens: int, about: str = "w") -> str:
    """So many words, whose first says what they are about."""
    return " ".join([about, *["word"] * (tokens - 1)])


def message(role: str, tokens: int, about: str = "w", **more: Any) -> dict[str, Any]:
    """A message of so many tokens, 4 of them its frame."""
    return {"role": role, "content": text(tokens - 4, about), **more}


def part(tokens: int, about: str = "w", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text(tokens, about), **more}


def tool(tokens: int, name: str = "look_up", **more: Any) -> dict[str, Any]:
    """A tool of so many tokens, give or take the frame of JSON, which has no blanks."""
    function = {"name": name, "description": text(tokens), "parameters": {"type": "object"}}
    return {"type": "function", "function": function, **more}


class Provider:
    """One deployment of the demo provider."""

    def __init__(self, model: str, **params: Any) -> None:
        self.now = 1_000_000.0
        self.demo = Demo(words, lambda: self.now)
        self.deployment = deployment(model, kind="demo", **params)

    async def begin(self, messages: list[dict[str, Any]], **fields: Any) -> Reply:
        """Send a request whose answer has not begun."""
        body = orjson.dumps({"model": "m", "messages": messages, **fields})
        return await self.demo.send(self.deployment, body, stream=False, request_id="gw_1")

    async def told(self, messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        """Return the usage as it stands on the wire."""
        reply = await self.begin(messages, **fields)
        answer = orjson.loads(await reply.read())
        assert reply.status == 200, answer
        usage: dict[str, Any] = answer["usage"]
        return usage

    async def usage(self, messages: list[dict[str, Any]], **fields: Any) -> Usage:
        """Return the usage as the books read it."""
        usage = usage_from_openai(await self.told(messages, **fields))
        assert usage is not None
        return usage

    async def charged(self, messages: list[dict[str, Any]], **fields: Any) -> tuple[int, int]:
        """Return the tokens read from and written to the cache."""
        usage = await self.usage(messages, **fields)
        return usage.cached, usage.cache_write

    async def refused(self, messages: list[dict[str, Any]], **fields: Any) -> str:
        """Return what a request is told that is answered 400."""
        reply = await self.begin(messages, **fields)
        answer = orjson.loads(await reply.read())
        assert reply.status == 400, answer
        said: str = answer["error"]["message"]
        return said

"""Models behind litellm, end to end: the openai client, the gateway as a program, providers with APIs of their own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.contract.running import KEYS, Gateway, config, start_gateway, write_setup
from tests.providers.anthropic import Anthropic, text, tool_use
from tests.providers.gemini import Gemini
from tests.providers.serving import AnyProvider, serving
from tests.upstream.counting import text_tokens

CLAUDE_USAGE = {
    "input_tokens": 40,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 60,
    "output_tokens": 20,
}
CLAUDE_COST = 40 * 3_000 + 1000 * 300 + 60 * 3_750 + 20 * 15_000
"""In nano-dollars, at 3, .30, 3.75 and 15 dollars a million tokens."""
GEMINI_USAGE = {
    "promptTokenCount": 1100,
    "cachedContentTokenCount": 1000,
    "candidatesTokenCount": 20,
    "totalTokenCount": 1120,
}
GEMINI_COST = 100 * 300 + 1000 * 30 + 20 * 2_500
"""At .30, .03 and 2.50 dollars a million tokens."""
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    for name in ("first", "second")
]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg"
    "=="
)
LOOP: list[Any] = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "Do both."}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"t{n}", "type": "function", "function": {"name": name, "arguments": json.dumps({"n": n})}}
            for n, name in ((1, "first"), (2, "second"))
        ],
    },
    {"role": "tool", "tool_call_id": "t1", "content": "one"},
    {"role": "tool", "tool_call_id": "t2", "content": "two"},
]


@asynccontextmanager
async def behind_the_gateway(
    folder: Path, provider: AnyProvider, model: str, info: dict[str, Any]
) -> AsyncIterator[tuple[AnyProvider, Gateway, openai.AsyncOpenAI]]:
    async with serving(provider) as server:
        entry = {
            "model_name": "it",
            "litellm_params": {"model": model, "api_base": server.url, "api_key": "sk-provider"},
            "model_info": info,
        }
        key = {"name": "main", "sha256": sha256(KEYS["main"].encode()).hexdigest(), "team": "contract"}
        changes = {"model_list": [entry], "fallbacks": [], "keys": [key]}
        path = write_setup(folder, config("http://127.0.0.1:9", **changes))
        gateway = await asyncio.to_thread(start_gateway, path)
        try:
            async with openai.AsyncOpenAI(
                base_url=gateway.url, api_key=KEYS["main"], max_retries=0, timeout=60
            ) as client:
                yield server, gateway, client
        finally:
            await asyncio.to_thread(gateway.program.stop)


async def settled(gateway: Gateway, user: str) -> dict[str, Any]:
    return await asyncio.to_thread(gateway.settled, user)


async def streamed(client: openai.AsyncOpenAI, **request: Any) -> tuple[str, list[str], Any]:
    """The text, the names of the calls, and the usage of a stream."""
    words, calls, usage = "", [], None
    async for chunk in await client.chat.completions.create(
        model="it", stream=True, stream_options={"include_usage": True}, **request
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            words += choice.delta.content or ""
            calls += [
                call.function.name for call in choice.delta.tool_calls or () if call.function and call.function.name
            ]
    return words, calls, usage


PROVIDERS = {
    "claude": (
        Anthropic(
            content=[text("Both at once."), tool_use("u1", "first", {"n": 1}), tool_use("u2", "second", {"n": 2})],
            stop_reason="tool_use",
            usage=CLAUDE_USAGE,
        ),
        "anthropic/claude-sonnet-4-5",
        CLAUDE_COST,
        60,
    ),
    "gemini": (
        Gemini(
            parts=[
                {"text": "Both at once."},
                {"functionCall": {"name": "first", "args": {"n": 1}}},
                {"functionCall": {"name": "second", "args": {"n": 2}}},
            ],
            usage=GEMINI_USAGE,
        ),
        "gemini/gemini-2.5-flash",
        GEMINI_COST,
        0,
    ),
}


@pytest.mark.parametrize("name", PROVIDERS)
async def test_every_kind_of_request_is_right_in_answer_and_ledger(name: str, tmp_path: Path):
    provider, model, cost, written = PROVIDERS[name]
    async with behind_the_gateway(tmp_path, provider, model, {}) as (server, gateway, client):
        plain = await client.chat.completions.create(model="it", messages=LOOP, tools=TOOLS, user="plain")
        words, calls, usage = await streamed(client, messages=LOOP, tools=TOOLS, user="streamed")
        rows = [await settled(gateway, user) for user in ("plain", "streamed")]
    message = plain.choices[0].message
    assert (message.content, words) == ("Both at once.", "Both at once.")
    assert [call.function.name for call in message.tool_calls or () if call.type == "function"] == ["first", "second"]
    assert calls == ["first", "second"]
    for counted in (plain.usage, usage):
        assert counted is not None
        assert counted.prompt_tokens_details is not None
        assert (counted.prompt_tokens, counted.completion_tokens) == (1100, 20)
        assert counted.prompt_tokens_details.cached_tokens == 1000
    for row in rows:
        assert (row["status"], row["prompt_tokens"], row["cached_tokens"]) == ("answered", 1100, 1000)
        assert (row["completion_tokens"], row.get("cache_write_tokens", 0), row["cost_nanousd"]) == (20, written, cost)
        assert "estimated" not in row
    assert b"iVBORw0KGgo" in server.received[0].raw
    assert b"one" in server.received[0].raw


def fifth_more(body: dict[str, Any]) -> int:
    """Count as a tokenizer would that makes 20% more of the same text."""
    texts = [block.get("text") or "" for message in body["messages"] for block in _blocks(message)]
    return int(1.2 * (3 + sum(4 + text_tokens(words) for words in texts)))


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"text": content}] if isinstance(content, str) else content


def chat(turns: int) -> list[dict[str, Any]]:
    said = "The parcel left the depot, was scanned twice and is on its way to the second address. " * 12
    return [{"role": ("user", "assistant")[turn % 2], "content": f"{turn}: {said}"} for turn in range(turns)]


async def test_a_provider_that_counts_a_fifth_more_is_served_after_one_more_plan(tmp_path: Path):
    info = {"max_input_tokens": 6000}
    provider = Anthropic(count=fifth_more, window=6000, usage={"input_tokens": 4321, "output_tokens": 5})
    async with behind_the_gateway(tmp_path, provider, "anthropic/claude-sonnet-4-5", info) as (server, gateway, client):
        fits_by_our_count: Any = chat(25)
        answer = await client.chat.completions.create(model="it", messages=fits_by_our_count, user="more")
        row = await settled(gateway, "more")
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(
                model="it", messages=[{"role": "user", "content": chat(1)[0]["content"] * 24}], user="nothing-to-cut"
            )
        refused_row = await settled(gateway, "nothing-to-cut")
    assert answer.choices[0].message.content == "Hello there."
    assert row["status"] == "answered"
    assert [(attempt["status"], attempt["error"]) for attempt in row["attempts"]] == [(400, "status"), (200, None)]
    assert row["plan"] == "rewritten"
    assert row["tokens_after"] * 1.2 <= 6000
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length is 6000 tokens. However, you requested" in str(refused.value)
    assert refused_row["status"] == "failed"
    assert len(server.received) == 3, "its policy declares a margin, and that is taken as it is"
    limits = [received.body["max_tokens"] for received in server.received]
    assert all(0 < limit < 6000 for limit in limits), "what the prompt leaves, not what the model could write"

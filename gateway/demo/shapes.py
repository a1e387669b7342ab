"""The demo's conversation in each of three shapes: chat completions, OpenAI's Responses, Anthropic's Messages.

The first two are sent as the `openai` client sends them, the third as any HTTP client can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import openai

from gateway.demo import settings
from gateway.demo.conversation import DemoTurn, Recording

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, as its answer tells of it."""

    headers: Mapping[str, str]
    prompt_tokens: int
    cached_tokens: int


def send_chat(client: openai.OpenAI, recording: Recording, turn: DemoTurn) -> Sent:
    """Send a turn as a chat completion, streamed or not."""
    completions = client.chat.completions.with_raw_response
    request: Json = {
        "model": settings.MODEL,
        "messages": list(turn.messages),
        "tools": list(recording.tools),
        "user": turn.user,
    }
    if turn.stream:
        raw: Any = completions.create(**request, stream=True, stream_options={"include_usage": True})
        usage = [chunk.usage for chunk in raw.parse() if chunk.usage is not None][-1]
    else:
        raw = completions.create(**request)
        usage = raw.parse().usage
    details = usage.prompt_tokens_details
    return Sent(raw.headers, usage.prompt_tokens, (details.cached_tokens or 0) if details is not None else 0)


def send_response(client: openai.OpenAI, recording: Recording, turn: DemoTurn) -> Sent:
    """Send a turn as Responses, streamed or not."""
    responses = client.responses.with_raw_response
    request: Json = {
        "model": settings.MODEL,
        "input": responses_input(turn.messages),
        "tools": responses_tools(recording.tools),
        "safety_identifier": turn.user,
        "store": False,
    }
    if turn.stream:
        raw: Any = responses.create(**request, stream=True)
        usage = [event.response.usage for event in raw.parse() if event.type == "response.completed"][-1]
    else:
        raw = responses.create(**request)
        usage = raw.parse().usage
    return Sent(raw.headers, usage.input_tokens, usage.input_tokens_details.cached_tokens)


def send_message(client: openai.OpenAI, recording: Recording, turn: DemoTurn) -> Sent:
    """Send a turn as a message of Anthropic's, streamed or not."""
    request: Json = {
        "model": settings.MODEL,
        "max_tokens": _MOST_ANSWER,
        "system": anthropic_system(turn.messages),
        "messages": anthropic_messages(turn.messages),
        "tools": anthropic_tools(recording.tools),
        "metadata": {"user_id": turn.user},
        "stream": turn.stream,
    }
    raw = client.post("/messages", cast_to=httpx.Response, body=request)
    if turn.stream:
        events = [json.loads(line[6:]) for line in raw.text.splitlines() if line.startswith("data: ")]
        usage = next(event["usage"] for event in events if event["type"] == "message_delta")
    else:
        usage = raw.json()["usage"]
    cached, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return Sent(raw.headers, usage["input_tokens"] + cached + written, cached)


_MOST_ANSWER: Final = 1_000

Sender = Callable[[openai.OpenAI, Recording, DemoTurn], Sent]
SENDERS: Final[Mapping[str, Sender]] = {
    "/v1/chat/completions": send_chat,
    "/v1/responses": send_response,
    "/v1/messages": send_message,
}
"""By the path that they ask at."""


# ---------------------------------------------------------------- shapes


def responses_input(messages: Sequence[Json]) -> list[Json]:
    """Write messages as items of Responses."""
    return [item for message in messages for item in _items(message)]


def responses_tools(tools: Sequence[Json]) -> list[Json]:
    """Write tools as Responses has them."""
    return [{"type": "function", **tool["function"]} for tool in tools]


def _items(message: Json) -> Iterator[Json]:
    if message["role"] == "tool":
        yield {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
        return
    if message.get("content"):
        yield {"role": message["role"], "content": message["content"]}
    for call in message.get("tool_calls") or ():
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}


def anthropic_system(messages: Sequence[Json]) -> str:
    """Return the leading system text, which Anthropic has apart."""
    return "\n\n".join(message["content"] for message in messages if message["role"] == "system")


def anthropic_messages(messages: Sequence[Json]) -> list[Json]:
    """Write messages as Anthropic's: results stand in the user's message, and roles take turns."""
    out: list[Json] = []
    for message in messages:
        if message["role"] == "system":
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = list(_blocks(message))
        if out and out[-1]["role"] == role:
            out[-1]["content"] += blocks
        else:
            out.append({"role": role, "content": blocks})
    return out


def anthropic_tools(tools: Sequence[Json]) -> list[Json]:
    """Write tools as Anthropic's."""
    functions = [tool["function"] for tool in tools]
    return [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]} for one in functions
    ]


def _blocks(message: Json) -> Iterator[Json]:
    if message["role"] == "tool":
        yield {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
        return
    if message.get("content"):
        yield {"type": "text", "text": message["content"]}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = json.loads(function["arguments"])
        yield {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}

"""What each provider's API answers, whole and as a stream: one short answer, one tool call, one bill.

As their own pages show it; nothing is taken from litellm. Every answer says `WORDS`, or calls `look_up` where the
request has tools, and costs 11 prompt tokens and 3 completion tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.providers.frames import frame

WORDS = "Fine, thanks."
ARGUMENTS = {"n": 1}
PROMPT, COMPLETION = 11, 3

Json = dict[str, Any]


@dataclass(frozen=True)
class Wire:
    """How one API answers."""

    whole: Callable[[Json], Json]
    stream: Callable[[Json], Iterator[bytes]]
    content_type: str = "text/event-stream"


def _data(*events: Json, end: bool = False) -> Iterator[bytes]:
    for event in events:
        yield f"data: {json.dumps(event)}\n\n".encode()
    if end:
        yield b"data: [DONE]\n\n"


def _named(*events: Json) -> Iterator[bytes]:
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _lines(*events: Json) -> Iterator[bytes]:
    for event in events:
        yield json.dumps(event).encode() + b"\n"


# ---- OpenAI: platform.openai.com/docs/api-reference/chat

_USAGE = {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": json.dumps(ARGUMENTS)}}


def _openai(body: Json) -> Json:
    said: Json = {"content": None, "tool_calls": [_CALL]} if body.get("tools") else {"content": WORDS}
    choice = {
        "index": 0,
        "message": {"role": "assistant", **said},
        "finish_reason": "tool_calls" if body.get("tools") else "stop",
    }
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body.get("model", "m")}
    return {**head, "choices": [choice], "usage": _USAGE}


def _openai_stream(body: Json) -> Iterator[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model", "m")}

    def chunk(delta: Json, reason: str | None = None, **more: Any) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}

    yield from _data(chunk({"role": "assistant", "content": ""}), chunk({"content": WORDS}), chunk({}, "stop"))
    yield from _data({**head, "choices": [], "usage": _USAGE}, end=True)


# ---- Anthropic: docs.claude.com/en/api/messages

_CLAUDE_USAGE = {"input_tokens": PROMPT, "output_tokens": COMPLETION}


def _anthropic(body: Json) -> Json:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": ARGUMENTS}
    tools = body.get("tools")
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model", "m"),
        "content": [call] if tools else [{"type": "text", "text": WORDS}],
        "stop_reason": "tool_use" if tools else "end_turn", "stop_sequence": None, "usage": _CLAUDE_USAGE,
    }  # fmt: skip


def _anthropic_stream(body: Json) -> Iterator[bytes]:
    start = {**_anthropic({"model": body.get("model")}), "content": [], "stop_reason": None}
    yield from _named(
        {"type": "message_start", "message": {**start, "usage": {**_CLAUDE_USAGE, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": _CLAUDE_USAGE},
        {"type": "message_stop"},
    )


# ---- Gemini and Vertex: ai.google.dev/api/generate-content

_GOOGLE_USAGE = {
    "promptTokenCount": PROMPT, "candidatesTokenCount": COMPLETION, "totalTokenCount": PROMPT + COMPLETION
}  # fmt: skip


def _google(body: Json) -> Json:
    call = {"functionCall": {"name": "look_up", "args": ARGUMENTS}}
    parts = [call] if body.get("tools") else [{"text": WORDS}]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": _GOOGLE_USAGE, "modelVersion": "m", "responseId": "r1"}


def _google_stream(body: Json) -> Iterator[bytes]:
    first = {"candidates": [{"content": {"role": "model", "parts": [{"text": WORDS[:5]}]}, "index": 0}]}
    last = {"content": {"role": "model", "parts": [{"text": WORDS[5:]}]}, "finishReason": "STOP", "index": 0}
    yield from _data(first, {"candidates": [last], "usageMetadata": _GOOGLE_USAGE})


# ---- Bedrock: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html

_AMAZON_USAGE = {"inputTokens": PROMPT, "outputTokens": COMPLETION, "totalTokens": PROMPT + COMPLETION}


def _bedrock(body: Json) -> Json:
    call = {"toolUse": {"toolUseId": "tooluse_1", "name": "look_up", "input": ARGUMENTS}}
    tools = body.get("toolConfig")
    return {
        "output": {"message": {"role": "assistant", "content": [call] if tools else [{"text": WORDS}]}},
        "stopReason": "tool_use" if tools else "end_turn",
        "usage": _AMAZON_USAGE,
        "metrics": {"latencyMs": 1},
    }


def _bedrock_stream(body: Json) -> Iterator[bytes]:
    yield frame("messageStart", {"role": "assistant"})
    yield frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": WORDS}})
    yield frame("contentBlockStop", {"contentBlockIndex": 0})
    yield frame("messageStop", {"stopReason": "end_turn"})
    yield frame("metadata", {"usage": _AMAZON_USAGE, "metrics": {"latencyMs": 1}})


# ---- Cohere: docs.cohere.com/reference/chat and …/chat-stream

_COHERE_USAGE = {
    "billed_units": {"input_tokens": PROMPT, "output_tokens": COMPLETION},
    "tokens": {"input_tokens": PROMPT, "output_tokens": COMPLETION},
}


def _cohere(body: Json) -> Json:
    said: Json = {"tool_calls": [_CALL], "tool_plan": "I look."} if body.get("tools") else {}
    content = [] if said else [{"type": "text", "text": WORDS}]
    return {
        "id": "c1",
        "finish_reason": "TOOL_CALL" if said else "COMPLETE",
        "message": {"role": "assistant", "content": content, **said},
        "usage": _COHERE_USAGE,
    }


def _cohere_stream(body: Json) -> Iterator[bytes]:
    yield from _named(
        {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": WORDS}}}},
        {"type": "content-end", "index": 0},
        {"type": "message-end", "id": "c1", "delta": {"finish_reason": "COMPLETE", "usage": _COHERE_USAGE}},
    )


# ---- Ollama: docs.ollama.com/api/chat and …/generate

_OLLAMA_END = {
    "done": True, "done_reason": "stop", "total_duration": 9, "load_duration": 1, "prompt_eval_duration": 1,
    "eval_duration": 1, "prompt_eval_count": PROMPT, "eval_count": COMPLETION,
}  # fmt: skip


def _ollama_head(body: Json) -> Json:
    return {"model": body.get("model", "m"), "created_at": "2025-05-24T02:12:05.859654Z"}


def _ollama_chat(body: Json) -> Json:
    call = {"function": {"name": "look_up", "arguments": ARGUMENTS}}
    said: Json = {"content": "", "tool_calls": [call]} if body.get("tools") else {"content": WORDS}
    return {**_ollama_head(body), "message": {"role": "assistant", **said}, **_OLLAMA_END}


def _ollama_chat_stream(body: Json) -> Iterator[bytes]:
    head = _ollama_head(body)
    yield from _lines(
        {**head, "message": {"role": "assistant", "content": WORDS}, "done": False},
        {**head, "message": {"role": "assistant", "content": ""}, **_OLLAMA_END},
    )


def _ollama(body: Json) -> Json:
    called = json.dumps({"name": "look_up", "arguments": ARGUMENTS})
    return {**_ollama_head(body), "response": called if body.get("format") == "json" else WORDS, **_OLLAMA_END}


def _ollama_stream(body: Json) -> Iterator[bytes]:
    head = _ollama_head(body)
    yield from _lines({**head, "response": WORDS, "done": False}, {**head, "response": "", **_OLLAMA_END})


# ---- OpenAI's other API: platform.openai.com/docs/api-reference/responses

_RESPONSES_USAGE = {
    "input_tokens": PROMPT, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": COMPLETION,
    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": PROMPT + COMPLETION,
}  # fmt: skip


def _responses(body: Json) -> Json:
    said = {"type": "output_text", "text": WORDS, "annotations": []}
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [said]}
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed", "name": "look_up",
        "arguments": json.dumps(ARGUMENTS),
    }  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": body.get("model", "m"),
        "output": [call if body.get("tools") else message], "usage": _RESPONSES_USAGE, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "temperature": 1.0, "top_p": 1.0,
    }  # fmt: skip


def _responses_stream(body: Json) -> Iterator[bytes]:
    whole = _responses(body)
    item = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield from _named(
        {
            "type": "response.created",
            "sequence_number": 0,
            "response": {**whole, "status": "in_progress", "output": []},
        },
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
        {"type": "response.output_text.delta", "sequence_number": 2, **where, "delta": WORDS},
        {"type": "response.completed", "sequence_number": 3, "response": whole},
    )


OPENAI = Wire(_openai, _openai_stream)
ANTHROPIC = Wire(_anthropic, _anthropic_stream)
GOOGLE = Wire(_google, _google_stream)
RESPONSES = Wire(_responses, _responses_stream)
BEDROCK = Wire(_bedrock, _bedrock_stream, "application/vnd.amazon.eventstream")
COHERE = Wire(_cohere, _cohere_stream)
OLLAMA = Wire(_ollama, _ollama_stream, "application/x-ndjson")
OLLAMA_CHAT = Wire(_ollama_chat, _ollama_chat_stream, "application/x-ndjson")

"""Answers in the forms of the APIs that are not OpenAI's: Messages, Converse, generateContent and Ollama's. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.matrix.features import COMPLETION, JSON_WORDS, PROMPT, SIGNATURE, Call, Said
from tests.matrix.openai_forms import pieces

Json = dict[str, Any]

FORM_TOOL: Final = "json_tool_call"
"""The tool by which litellm has a model that knows no schemas for answers write one."""


def _forced(tools: Any, said: Said) -> Said:
    """Return an answer as a model gives it that has to call the tool of the form."""
    if said.text == JSON_WORDS and any(FORM_TOOL in json.dumps(tool) for tool in tools or ()):
        return Said(calls=(Call("call_form000000", FORM_TOOL, json.loads(JSON_WORDS)),))
    return said


class Messages:
    """docs.claude.com/en/api/messages and …/messages-streaming."""

    def whole(self, body: Json, said: Said) -> Json:
        """Write a whole message."""
        said = _forced(body.get("tools"), said)
        return {
            "id": "msg_013Zva2CMHLNnX", "type": "message", "role": "assistant", "model": body.get("model", "m"),
            "content": list(_blocks(said)), "stop_reason": _stopped(said), "stop_sequence": None,
            "usage": _claude_usage(said),
        }  # fmt: skip

    def stream(self, body: Json, said: Said) -> Iterator[Json]:
        """Write a message's events."""
        whole = self.whole(body, said)
        begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
        yield {"type": "message_start", "message": begun}
        yield {"type": "ping"}
        for index, block in enumerate(whole["content"]):
            yield from _block_events(index, block)
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": whole["usage"]}
        yield {"type": "message_stop"}


def _stopped(said: Said) -> str:
    return "tool_use" if said.calls else "end_turn"


def _claude_usage(said: Said) -> Json:
    return {
        "input_tokens": PROMPT - said.cached - said.written,
        "cache_creation_input_tokens": said.written,
        "cache_read_input_tokens": said.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": said.written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": COMPLETION,
        "service_tier": "standard",
    }


def _blocks(said: Said) -> Iterator[Json]:
    if said.reasoning:
        yield {"type": "thinking", "thinking": said.reasoning, "signature": SIGNATURE}
    if said.text:
        yield {"type": "text", "text": said.text}
    for call in said.calls:
        yield {"type": "tool_use", "id": call.id.replace("call_", "toolu_"), "name": call.name,
               "input": dict(call.arguments)}  # fmt: skip


def _block_events(index: int, block: Json) -> Iterator[Json]:
    kind = block["type"]
    empty: Json = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
    yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty[kind]}}
    words = json.dumps(block["input"]) if kind == "tool_use" else block[kind]
    name, member = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking"),
                    "tool_use": ("input_json_delta", "partial_json")}[kind]  # fmt: skip
    for piece in pieces(words):
        yield {"type": "content_block_delta", "index": index, "delta": {"type": name, member: piece}}
    if kind == "thinking":
        signed = {"type": "signature_delta", "signature": block["signature"]}
        yield {"type": "content_block_delta", "index": index, "delta": signed}
    yield {"type": "content_block_stop", "index": index}


class Converse:
    """docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and …_ConverseStream.html.

    An event is `{NAME: PAYLOAD}`.
    """

    def whole(self, body: Json, said: Said) -> Json:
        """Write a whole answer."""
        said = _forced((body.get("toolConfig") or {}).get("tools"), said)
        content: list[Json] = []
        if said.reasoning:
            content.append({"reasoningContent": {"reasoningText": {"text": said.reasoning, "signature": SIGNATURE}}})
        content += [{"text": said.text}] if said.text else []
        content += [{"toolUse": {"toolUseId": _amazons(call), "name": call.name, "input": dict(call.arguments)}}
                    for call in said.calls]  # fmt: skip
        return {
            "output": {"message": {"role": "assistant", "content": content}}, "stopReason": _stopped(said),
            "usage": _amazon_usage(said), "metrics": {"latencyMs": 12},
        }  # fmt: skip

    def stream(self, body: Json, said: Said) -> Iterator[Json]:
        """Write an answer's events."""
        said = _forced((body.get("toolConfig") or {}).get("tools"), said)
        yield {"messageStart": {"role": "assistant"}}
        deltas: list[list[Json]] = []
        if said.reasoning:
            thought = [{"reasoningContent": {"text": piece}} for piece in pieces(said.reasoning)]
            deltas.append([*thought, {"reasoningContent": {"signature": SIGNATURE}}])
        deltas += [[{"text": piece} for piece in pieces(said.text)]] if said.text else []
        for at, block in enumerate(deltas):
            yield from ({"contentBlockDelta": {"contentBlockIndex": at, "delta": delta}} for delta in block)
            yield {"contentBlockStop": {"contentBlockIndex": at}}
        for at, call in enumerate(said.calls, len(deltas)):
            start = {"toolUse": {"toolUseId": _amazons(call), "name": call.name}}
            yield {"contentBlockStart": {"contentBlockIndex": at, "start": start}}
            for piece in pieces(json.dumps(call.arguments)):
                yield {"contentBlockDelta": {"contentBlockIndex": at, "delta": {"toolUse": {"input": piece}}}}
            yield {"contentBlockStop": {"contentBlockIndex": at}}
        yield {"messageStop": {"stopReason": _stopped(said)}}
        yield {"metadata": {"usage": _amazon_usage(said), "metrics": {"latencyMs": 12}}}


def _amazons(call: Call) -> str:
    return call.id.replace("call_", "tooluse_")


def _amazon_usage(said: Said) -> Json:
    """Count as Bedrock does: `inputTokens` without those of the cache (…/userguide/prompt-caching.html)."""
    return {
        "inputTokens": PROMPT - said.cached - said.written,
        "outputTokens": COMPLETION,
        "totalTokens": PROMPT + COMPLETION,
        "cacheReadInputTokens": said.cached,
        "cacheWriteInputTokens": said.written,
    }


class GenerateContent:
    """ai.google.dev/api/generate-content, …/gemini-api/docs/thinking and …/thought-signatures; Vertex alike."""

    def whole(self, body: Json, said: Said) -> Json:
        """Write a whole answer."""
        return _candidate(list(_google_parts(said)), said, ends=True)

    def stream(self, body: Json, said: Said) -> Iterator[Json]:
        """Write an answer's chunks, whose usage grows."""
        parts: list[Json] = []
        for part in _google_parts(said):
            words = part.get("text", "")
            parts += [{**part, "text": piece} for piece in pieces(words)] if words else [part]
        for number, part in enumerate(parts, 1):
            yield _candidate([part], said, ends=number == len(parts))


def _google_parts(said: Said) -> Iterator[Json]:
    if said.reasoning:
        yield {"text": said.reasoning, "thought": True}
    if said.text:
        yield {"text": said.text}
    for number, call in enumerate(said.calls):
        signed = {"thoughtSignature": SIGNATURE} if said.reasoning and not number else {}
        yield {"functionCall": {"name": call.name, "args": dict(call.arguments)}, **signed}


def _candidate(parts: list[Json], said: Said, *, ends: bool) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
    usage: Json = {"promptTokenCount": PROMPT, "candidatesTokenCount": COMPLETION - said.reasoned if ends else 1}
    usage |= {"totalTokenCount": PROMPT + COMPLETION}
    usage |= {"cachedContentTokenCount": said.cached} if said.cached else {}
    usage |= {"thoughtsTokenCount": said.reasoned} if said.reasoned else {}
    if ends:
        candidate["finishReason"] = "STOP"
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}


class Ollama:
    """docs.ollama.com/api/chat; it counts no cached tokens."""

    def whole(self, body: Json, said: Said) -> Json:
        """Write a whole answer."""
        return {**_ollama_head(body), "message": _ollama_message(said), **_OLLAMA_END}

    def stream(self, body: Json, said: Said) -> Iterator[Json]:
        """Write an answer's lines."""
        head = _ollama_head(body)
        deltas: list[Json] = [{"content": "", "thinking": piece} for piece in pieces(said.reasoning)]
        deltas += [{"content": piece} for piece in pieces(said.text)]
        deltas += [{"content": "", "tool_calls": [_ollama_call(call)]} for call in said.calls]
        for delta in deltas:
            yield {**head, "message": {"role": "assistant", **delta}, "done": False}
        yield {**head, "message": {"role": "assistant", "content": ""}, **_OLLAMA_END}


_OLLAMA_END: Final[Json] = {
    "done": True, "done_reason": "stop", "total_duration": 9, "load_duration": 1, "prompt_eval_count": PROMPT,
    "prompt_eval_duration": 3, "eval_count": COMPLETION, "eval_duration": 5,
}  # fmt: skip


def _ollama_head(body: Json) -> Json:
    return {"model": body.get("model", "m"), "created_at": "2026-12-01T00:00:00.000000Z"}


def _ollama_message(said: Said) -> Json:
    message: Json = {"role": "assistant", "content": said.text}
    message |= {"thinking": said.reasoning} if said.reasoning else {}
    return message | ({"tool_calls": [_ollama_call(call) for call in said.calls]} if said.calls else {})


def _ollama_call(call: Call) -> Json:
    return {"function": {"name": call.name, "arguments": dict(call.arguments)}}

"""Answers in the forms of OpenAI's two APIs, and of those whose chat completions differ from them. Pure.

platform.openai.com/docs/api-reference/chat, …/chat-streaming, …/responses and …/responses-streaming.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.matrix.features import COMPLETION, PROMPT, SIGNATURE, Call, Said

Json = dict[str, Any]


def pieces(words: str, size: int = 9) -> Iterator[str]:
    """Cut a text as a stream brings it."""
    for start in range(0, len(words), size):
        yield words[start : start + size]


# ---------------------------------------------------------------- chat completions


def openai_usage(said: Said) -> Json:
    return {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "prompt_tokens_details": {"cached_tokens": said.cached, "cache_write_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": said.reasoned, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


def deepseek_usage(said: Said) -> Json:
    """api-docs.deepseek.com/api/create-chat-completion, `usage`."""
    return {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "prompt_cache_hit_tokens": said.cached,
        "prompt_cache_miss_tokens": PROMPT - said.cached,
        "completion_tokens_details": {"reasoning_tokens": said.reasoned},
    }


def openrouter_usage(said: Said) -> Json:
    """openrouter.ai/docs/use-cases/usage-accounting."""
    return {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "cost": 0.0042,
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": said.cached, "cache_write_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": said.reasoned},
    }


def vllm_usage(said: Said) -> Json:
    """docs.vllm.ai, `UsageInfo` of the server with --enable-prompt-tokens-details."""
    return {
        "prompt_tokens": PROMPT,
        "total_tokens": PROMPT + COMPLETION,
        "completion_tokens": COMPLETION,
        "prompt_tokens_details": {"cached_tokens": said.cached},
    }


def mistral_usage(said: Said) -> Json:
    """docs.mistral.ai/studio-api/conversations/advanced/prompt-caching."""
    return {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "prompt_tokens_details": {"cached_tokens": said.cached},
    }


Member = Callable[[str, bool], Json]
"""Writes reasoning as members of a message or a delta; told whether it is the last of it."""


def _unsaid(words: str, ends: bool) -> Json:
    return {}


def _reasoning_content(words: str, ends: bool) -> Json:
    return {"reasoning_content": words}


def _reasoning(words: str, ends: bool) -> Json:
    return {"reasoning": words}


def _reasoning_details(words: str, ends: bool) -> Json:
    """openrouter.ai/docs/use-cases/reasoning-tokens."""
    detail = {"type": "reasoning.text", "text": words, "format": "anthropic-claude-v1", "index": 0}
    return {"reasoning": words, "reasoning_details": [{**detail, **({"signature": SIGNATURE} if ends else {})}]}


@dataclass(frozen=True)
class Chat:
    """One provider's chat completions."""

    usage: Callable[[Said], Json] = openai_usage
    reasoning: Member = _unsaid
    thinks_in_parts: bool = False
    """Whether reasoning stands in the content, as a part (docs.mistral.ai/capabilities/reasoning)."""
    whole_calls: bool = False
    """Whether a call comes in one piece, with the reason why the answer ended."""
    states_usage_at_end: bool = False
    """Whether the last chunk of the answer itself holds the usage."""

    def whole(self, body: Json, said: Said) -> Json:
        """Write a whole answer."""
        message: Json = {"role": "assistant", "content": said.text or None, **self._thinking(said.reasoning)}
        if said.calls:
            message["tool_calls"] = [_chat_call(call) for call in said.calls]
        choice = {"index": 0, "message": message, "finish_reason": _finish(said), "logprobs": None}
        return {**self._head(body, "chat.completion"), "choices": [choice], "usage": self.usage(said)}

    def stream(self, body: Json, said: Said) -> Iterator[Json]:
        """Write an answer's chunks."""
        head = self._head(body, "chat.completion.chunk")
        for delta in self._deltas(said):
            yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        last = {"tool_calls": _numbered(said.calls)} if said.calls and self.whole_calls else {}
        end: Json = {"index": 0, "delta": last or {"content": ""}, "finish_reason": _finish(said)}
        asked = (body.get("stream_options") or {}).get("include_usage")
        told = {"usage": self.usage(said)} if self.states_usage_at_end else {}
        yield {**head, "choices": [end], **told}
        if asked and not self.states_usage_at_end:
            yield {**head, "choices": [], "usage": self.usage(said)}

    def _deltas(self, said: Said) -> Iterator[Json]:
        yield {"role": "assistant", "content": ""}
        thoughts = list(pieces(said.reasoning))
        for number, piece in enumerate(thoughts, 1):
            yield self._thinking(piece, ends=number == len(thoughts))
        for piece in pieces(said.text):
            yield {"content": piece}
        for number, call in enumerate(() if self.whole_calls else said.calls):
            function = {"name": call.name, "arguments": ""}
            yield {"tool_calls": [{"index": number, "id": call.id, "type": "function", "function": function}]}
            for piece in pieces(json.dumps(call.arguments)):
                yield {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}

    def _thinking(self, words: str, *, ends: bool = True) -> Json:
        if not words:
            return {}
        if self.thinks_in_parts:
            return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": words}]}]}
        return self.reasoning(words, ends)

    def _head(self, body: Json, kind: str) -> Json:
        return {"id": "chatcmpl-1", "object": kind, "created": 1_764_547_200, "model": body.get("model", "m")}


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "stop"


def _chat_call(call: Call) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}


def _numbered(calls: Sequence[Call]) -> list[Json]:
    return [{"index": number, **_chat_call(call)} for number, call in enumerate(calls)]


OPENAI: Final = Chat()
DEEPSEEK: Final = Chat(deepseek_usage, _reasoning_content, states_usage_at_end=True)
OPENROUTER: Final = Chat(openrouter_usage, _reasoning_details)
VLLM: Final = Chat(vllm_usage, _reasoning)
MISTRAL: Final = Chat(mistral_usage, thinks_in_parts=True, whole_calls=True, states_usage_at_end=True)


# ---------------------------------------------------------------- Responses


class Responses:
    """Responses; reasoning is summed up, and encrypted, where the request asks for that
    (platform.openai.com/docs/guides/reasoning).
    """

    def whole(self, body: Json, said: Said) -> Json:
        """Write a whole response."""
        return {**_response(body), "status": "completed", "output": list(_items(body, said)), "usage": _usage(said)}

    def stream(self, body: Json, said: Said) -> Iterator[Json]:
        """Write a response's events."""
        for number, event in enumerate(self._events(body, said)):
            yield {**event, "sequence_number": number}

    def _events(self, body: Json, said: Said) -> Iterator[Json]:
        begun = {**_response(body), "status": "in_progress", "output": [], "usage": None}
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        for at, item in enumerate(_items(body, said)):
            place = {"item_id": item["id"], "output_index": at}
            writer = {"reasoning": _reasoning_events, "message": _message_events}.get(item["type"], _call_events)
            yield from writer(item, place)
            yield {"type": "response.output_item.done", "output_index": at, "item": item}
        yield {"type": "response.completed", "response": self.whole(body, said)}


def _response(body: Json) -> Json:
    return {
        "id": "resp_68a1", "object": "response", "created_at": 1_764_547_200, "model": body.get("model", "m"),
        "error": None, "incomplete_details": None, "instructions": body.get("instructions"), "metadata": {},
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": body.get("tools") or [],
        "top_p": 1.0, "max_output_tokens": body.get("max_output_tokens"), "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "text": {"format": {"type": "text"}},
        "truncation": "disabled", "store": False, "service_tier": "default", "background": False, "user": None,
    }  # fmt: skip


def _usage(said: Said) -> Json:
    return {
        "input_tokens": PROMPT,
        "input_tokens_details": {"cached_tokens": said.cached, "cache_write_tokens": 0},
        "output_tokens": COMPLETION,
        "output_tokens_details": {"reasoning_tokens": said.reasoned},
        "total_tokens": PROMPT + COMPLETION,
    }


def _items(body: Json, said: Said) -> Iterator[Json]:
    if said.reasoning:
        half = len(said.reasoning) // 2
        halves = (said.reasoning[:half], said.reasoning[half:])
        is_shown = (body.get("reasoning") or {}).get("summary") is not None
        summary = [{"type": "summary_text", "text": text} for text in halves if is_shown]
        hidden = "reasoning.encrypted_content" in (body.get("include") or ())
        item = {"type": "reasoning", "id": "rs_1", "summary": summary}
        yield item | ({"encrypted_content": SIGNATURE} if hidden else {})
    if said.text:
        part = {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}
        yield {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}
    for number, call in enumerate(said.calls):
        yield {
            "type": "function_call", "id": f"fc_{number}", "call_id": call.id, "status": "completed",
            "name": call.name, "arguments": json.dumps(call.arguments),
        }  # fmt: skip


def _reasoning_events(item: Json, place: Mapping[str, Any]) -> Iterator[Json]:
    yield {"type": "response.output_item.added", "output_index": place["output_index"], "item": {**item, "summary": []}}
    for number, part in enumerate(item["summary"]):
        where = {**place, "summary_index": number}
        yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.reasoning_summary_text.delta", **where, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **where, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **where, "part": part}


def _message_events(item: Json, place: Mapping[str, Any]) -> Iterator[Json]:
    part, where = item["content"][0], {**place, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": place["output_index"], "item": begun}
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}


def _call_events(item: Json, place: Mapping[str, Any]) -> Iterator[Json]:
    begun = {**item, "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": place["output_index"], "item": begun}
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}

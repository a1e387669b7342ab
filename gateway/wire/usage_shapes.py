"""The usage of answers in Responses' and Messages' own shape, put into the form of OpenAI's chat completions.

Pure. `wire/usage.py` reads that form into counts and bills, so each shape is mapped once and priced like the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.wire.usage import details, token_count

ChatUsage = dict[str, Any]
"""A `usage` object as chat completions have it."""

_RENAMED: Final = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"}
)
_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_LIFETIMES: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_BESIDE_COUNTS: Final = ("inference_geo", "speed", "service_tier", "server_tool_use")
_MOST_ITERATIONS: Final = 1_000
"""No answer is made in more passes of a model."""


def usage_of_responses(usage: object) -> ChatUsage | None:
    """Map the `usage` of a Responses answer (or of its `response.completed`); None = nothing usable in it.

    Members that both shapes share stay as they are, such as the bill of OpenRouter.
    https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = token_count(usage.get("input_tokens")), token_count(usage.get("output_tokens"))
    if prompt is None and completion is None:
        return None
    mapped = {name: value for name, value in usage.items() if name not in _RENAMED}
    total = token_count(usage.get("total_tokens"))
    return mapped | {
        "prompt_tokens": prompt or 0,
        "completion_tokens": completion or 0,
        "total_tokens": (prompt or 0) + (completion or 0) if total is None else total,
        "prompt_tokens_details": details(usage, "input_tokens_details"),
        "completion_tokens_details": details(usage, "output_tokens_details"),
    }


def usage_of_messages(*stated: object) -> ChatUsage | None:
    """Map the `usage` of a Messages answer; of a stream, those of its events in their order. None = nothing usable.

    Of a stream, `message_start` states the prompt and `message_delta` the rest, and counts are cumulative: of each
    the largest stands, since some servers leave the prompt at 0 in one of the two.
    https://platform.claude.com/docs/en/build-with-claude/streaming#event-types
    """
    objects = [usage for usage in stated if isinstance(usage, dict)]
    most = {name: _largest(objects, name) for name in _COUNTS}
    if most["input_tokens"] is None and most["output_tokens"] is None:
        return None
    by_lifetime = [details(usage, "cache_creation") for usage in objects]
    written = {name: _largest(by_lifetime, name) or 0 for name in _LIFETIMES}
    counts = {name: value or 0 for name, value in most.items()}
    counts["cache_creation_input_tokens"] = max(counts["cache_creation_input_tokens"], sum(written.values()))
    for compaction in _compactions(objects):
        for name in _COUNTS:
            counts[name] += token_count(compaction.get(name)) or 0
        for name in _LIFETIMES:
            written[name] += token_count(details(compaction, "cache_creation").get(name)) or 0
    named = {name: usage[name] for usage in objects for name in _BESIDE_COUNTS if usage.get(name) is not None}
    return named | _in_chat_form(counts, written)


def _in_chat_form(counts: Mapping[str, int], written: Mapping[str, int]) -> ChatUsage:
    """Return the counts with the prompt as the sum of its parts: Messages has read and written tokens beside it."""
    read, write = counts["cache_read_input_tokens"], counts["cache_creation_input_tokens"]
    prompt = counts["input_tokens"] + read + write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": counts["output_tokens"],
        "total_tokens": prompt + counts["output_tokens"],
        "prompt_tokens_details": {
            "cached_tokens": read,
            "cache_creation_tokens": write,
            "cache_creation_token_details": dict(written),
        },
    }


def _compactions(objects: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the passes in which the provider shortened the conversation: they are billed beside the counts on top.

    https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage
    """
    listed = next((usage["iterations"] for usage in reversed(objects) if usage.get("iterations")), None)
    iterations = listed[:_MOST_ITERATIONS] if isinstance(listed, list) else []
    return [one for one in iterations if isinstance(one, dict) and one.get("type") == "compaction"]


def _largest(objects: list[Any], name: str) -> int | None:
    return max((value for usage in objects if (value := token_count(usage.get(name))) is not None), default=None)

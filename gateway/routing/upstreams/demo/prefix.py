"""Caches that keep every prompt and read the longest run of messages sent before: OpenAI's up to GPT-5.5, Gemini's.

OpenAI up to GPT-5.5 (developers.openai.com/api/docs/guides/prompt-caching, read 2026-11): automatic from 1,024 tokens
on; cached tokens are reported in steps of 128; writing costs nothing extra; tools, their order and the response schema
are part of the prefix. Entries last up to 24 hours, the default since GPT-4.1, or, under `prompt_cache_retention:
in_memory`, 5 to 10 minutes without use: here 10. `prompt_cache_key` only says to which machine a request goes, and
there is one machine here. Real matching ends at intervals that depend on the model; here it ends with a message.

Gemini's implicit cache (ai.google.dev/gemini-api/docs/caching, read 2026-11): 2,048 tokens for Gemini 2.5, 4,096 from
Gemini 3 on; no marks, no price for writing; entries expire within 24 hours of their creation
(docs.cloud.google.com/…/context-cache-overview). It is best effort there. Here what is alive is always read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.routing.upstreams.demo.entries import CachedPrompt, Entries
from gateway.routing.upstreams.demo.prompt import Level, Prompt, answer_schema
from gateway.routing.upstreams.demo.rules import Charge, Complaint, answer_needed

DAY: Final = 86_400.0
IN_MEMORY: Final = 600.0


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The rules of OpenAI's models up to GPT-5.5."""

    refuses_later: bool = False
    """Whether what only later models take is refused, as OpenAI does, or passed over."""
    least: int = 1024
    step: int = 128

    def settings(self, fields: Mapping[str, Any]) -> Mapping[Level, Any]:
        """Return the response schema and the functions of old, which are rendered before the messages."""
        return {"tools": [answer_schema(fields), fields.get("functions")]}

    def complaint(self, fields: Mapping[str, Any], prompt: Prompt) -> Complaint | None:
        """Refuse what only GPT-5.6 and later take."""
        if not self.refuses_later:
            return answer_needed(fields)
        if fields.get("prompt_cache_options") is not None:
            return _unsupported("prompt_cache_options")
        if any(block.cache_breakpoint is not None for block in prompt.blocks):
            return _unsupported("prompt_cache_breakpoint")
        return answer_needed(fields)

    def charge(self, fields: Mapping[str, Any], prompt: Prompt, entries: Entries, now: float) -> Charge:
        lifetime = IN_MEMORY if fields.get("prompt_cache_retention") == "in_memory" else DAY
        read = _longest(prompt, entries, now)
        return Charge(
            read=read // self.step * self.step if read >= self.least else 0, entries=_ends(prompt, now, lifetime)
        )

    def usage(self, prompt: int, completion: int, charge: Charge) -> dict[str, Any]:
        return openai_usage(prompt, completion, {"cached_tokens": charge.read})


@dataclass(frozen=True, slots=True)
class Gemini:
    """The rules of Gemini's implicit cache."""

    least: int = 2048

    def settings(self, fields: Mapping[str, Any]) -> Mapping[Level, Any]:
        return {"tools": [answer_schema(fields), fields.get("functions")]}

    def complaint(self, fields: Mapping[str, Any], prompt: Prompt) -> Complaint | None:
        return answer_needed(fields)

    def charge(self, fields: Mapping[str, Any], prompt: Prompt, entries: Entries, now: float) -> Charge:
        read = _longest(prompt, entries, now)
        return Charge(read=read if read >= self.least else 0, entries=_ends(prompt, now, DAY))

    def usage(self, prompt: int, completion: int, charge: Charge) -> dict[str, Any]:
        """Return what LiteLLM makes of `usageMetadata`: without a hit Gemini does not speak of the cache at all."""
        read = {"cached_tokens": charge.read} if charge.read else {}
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {**read, "text_tokens": prompt - charge.read},
            "completion_tokens_details": {"text_tokens": completion},
        }
        return {**usage, "cache_read_input_tokens": charge.read} if charge.read else usage


def gemini_least(model: str) -> int:
    """Return the least length of a model: 2,048 tokens for Gemini 2.5 and where nothing is named, else 4,096."""
    return 4096 if model.startswith(("gemini-3", "gemini-4")) else 2048


def openai_usage(prompt: int, completion: int, cache: Mapping[str, int]) -> dict[str, Any]:
    """Return a usage object of OpenAI's; `cache` is what it says of the cache."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {**cache, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _longest(prompt: Prompt, entries: Entries, now: float) -> int:
    """Return the tokens of the longest run of tools and whole messages that is held without a gap."""
    read = 0
    for block in prompt.blocks:
        if not block.ends_message:
            continue
        if not entries.holds(block.link, now):
            break
        entries.use(block.link, now)
        read = block.upto
    return read


def _ends(prompt: Prompt, now: float, lifetime: float = math.inf) -> tuple[CachedPrompt, ...]:
    return tuple(CachedPrompt(block.link, now, lifetime) for block in prompt.blocks if block.ends_message)


def _unsupported(param: str) -> Complaint:
    return Complaint(f"Unsupported parameter: '{param}' is not supported with this model.", param)

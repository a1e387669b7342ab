"""What an answer says it used: OpenAI's `usage` object and its dialects, read into one value.

Pure. The prices of it stand in money/prices.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST_TOKENS = 10**12
"""No request has more: a larger number is garbage."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, as on OpenAI's wire: parts are contained in `prompt` and `completion`, never beside
    them.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    """Of `prompt`: read from the provider's cache."""
    cache_write: int = 0
    """Of `prompt`: written to the provider's cache, for whatever lifetime."""
    cache_write_1h: int = 0
    """Of `cache_write`: for an hour."""
    reasoning: int = 0
    """Of `completion`."""
    audio_prompt: int = 0
    audio_completion: int = 0
    image_prompt: int = 0
    image_completion: int = 0
    cached_audio: int = 0
    """Of both `cached` and `audio_prompt`."""
    modifiers: tuple[str, ...] = ()
    """What the provider says it charges extra for: where it ran (`us`), how fast (`fast`)."""
    estimated: bool = False
    """Counted by us, because the provider did not say."""


def usage_from_openai(usage: object, provider: str | None = None) -> Usage | None:
    """Read a `usage` object: OpenAI's, or what DeepSeek, xAI, Gemini, Anthropic and litellm make of it. None =
    nothing usable in it.

    A count that is not a whole number from 0 to 10**12 counts as absent. Where parts are larger than what should
    contain them, the provider does not include them, and they are added. `provider` matters for Gemini only, whose
    OpenAI-compatible endpoint shows the model's thinking nowhere but in `total_tokens`.
    """
    if not isinstance(usage, Mapping):
        return None
    prompt, completion, total = _main_counts(usage)
    if prompt is None or completion is None:
        return None
    given = _details(usage, "prompt_tokens_details", "input_tokens_details")
    made = _details(usage, "completion_tokens_details", "output_tokens_details")
    cached = _first(
        given.get("cached_tokens"), usage.get("cache_read_input_tokens"), usage.get("prompt_cache_hit_tokens")
    )
    written, written_1h = _cache_writes(usage, given)
    reasoning = _first(made.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    beyond = (total or 0) - prompt - completion
    if _leaves_out_cached(usage, prompt, cached + written, beyond):
        prompt, beyond = prompt + cached + written, 0
    if reasoning > completion or (reasoning and beyond == reasoning):  # xAI
        completion += reasoning
    elif beyond > 0 and not reasoning and provider in ("gemini", "vertex_ai"):
        completion, reasoning = completion + beyond, beyond
    cached_by_kind = _details(given, "cached_tokens_details")
    return Usage(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write=written,
        cache_write_1h=written_1h,
        reasoning=reasoning,
        audio_prompt=_first(given.get("audio_tokens")),
        audio_completion=_first(made.get("audio_tokens")),
        image_prompt=_first(given.get("image_tokens")),
        image_completion=_first(made.get("image_tokens")),
        cached_audio=_first(cached_by_kind.get("audio_tokens")) if cached_by_kind else 0,
        modifiers=_modifiers(usage),
    )


def _main_counts(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    prompt = _count(usage.get("prompt_tokens"))
    if prompt is None:
        prompt = _count(usage.get("input_tokens"))
    completion = _count(usage.get("completion_tokens"))
    if completion is None:
        completion = _count(usage.get("output_tokens"))
    total = _count(usage.get("total_tokens"))
    if prompt is None and completion is not None and total is not None and total >= completion:
        prompt = total - completion
    if completion is None and prompt is not None:
        completion = max(total - prompt, 0) if total is not None else 0
    return prompt, completion, total


def _leaves_out_cached(usage: Mapping[str, Any], prompt: int, cache_tokens: int, beyond: int) -> bool:
    """Say whether `prompt` is without the tokens that were read from or written to the cache.

    Anthropic's own wire (`input_tokens` beside `cache_read_input_tokens`) leaves them out; OpenAI's includes them;
    elsewhere the sums tell.
    """
    if not cache_tokens:
        return False
    is_anthropic = "prompt_tokens" not in usage and "cache_read_input_tokens" in usage
    return is_anthropic or cache_tokens > prompt or beyond == cache_tokens


def _cache_writes(usage: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens written to the cache, and how many of them for an hour."""
    written = _first(
        given.get("cache_creation_tokens"), given.get("cache_write_tokens"), usage.get("cache_creation_input_tokens")
    )
    by_lifetime = _details(usage, "cache_creation") or _details(given, "cache_creation_token_details")
    if not by_lifetime:
        return written, 0
    for_5m = _first(by_lifetime.get("ephemeral_5m_input_tokens"))
    for_1h = _first(by_lifetime.get("ephemeral_1h_input_tokens"))
    return max(written, for_5m + for_1h), for_1h


def _modifiers(usage: Mapping[str, Any]) -> tuple[str, ...]:
    if "inference_geo" not in usage and "speed" not in usage:
        return ()
    named = (usage.get("inference_geo"), usage.get("speed"))
    return tuple(name.lower() for name in named if isinstance(name, str))


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        value = usage.get(name)
        if isinstance(value, Mapping):
            return value
    return {}


def _first(*values: object) -> int:
    """Return the first positive count; providers repeat a figure under several names and leave zeros in the others."""
    for value in values:
        if value:
            number = _count(value)
            if number:
                return number
    return 0


def _count(value: object) -> int | None:
    if type(value) is int:
        return value if 0 <= value <= _MOST_TOKENS else None
    if isinstance(value, float) and value.is_integer():
        return _count(int(value))
    return None

"""The usage that an answer states: OpenAI's `usage` object and its dialects, read into one value.

Pure. A figure may be missing, a placeholder, or absurd: then a count of ours takes its place (`mended`). The prices of
it stand in money/prices/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from gateway.request import Usage

_MOST_TOKENS: Final = 2 * 10**7
"""No request has more (the largest windows take ten million): a larger number is garbage."""
_MOST_THINKING: Final = 10**6
"""A total that is larger than its parts by more than this implies nothing."""
_MOST_DOLLARS: Final = 10**5
"""No answer costs more."""


def found_in(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the usage object of an answer or an event, wherever it is put: on top (OpenAI), in a member beside the
    choices (Groq's `x_groq`), or in a choice (Moonshot). Of several, the one that says most.
    """
    found = [fields.get("usage")]
    found += [value.get("usage") for value in fields.values() if isinstance(value, dict)]
    choices = fields.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            found.append(choice.get("usage"))
            found += [value.get("usage") for value in choice.values() if isinstance(value, dict)]
    best: Mapping[str, Any] | None = None
    for usage in found:
        if isinstance(usage, dict):
            best = fuller(best, usage)
    return best


def says_less(usage: Mapping[str, Any], than: Mapping[str, Any]) -> bool:
    """Whether an object of usage tells of fewer tokens than another."""
    return sum(each or 0 for each in _main_counts(usage)[:2]) < sum(each or 0 for each in _main_counts(than)[:2])


def fuller(before: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what two objects of one answer say together: the later one's figures, where they are not fewer, and of
    the other one what this leaves at nothing.
    """
    if before is None:
        return usage
    less, more = (usage, before) if says_less(usage, before) else (before, usage)
    return {**less, **{name: value for name, value in more.items() if name not in less or value not in (None, 0)}}


def usage_from_openai(usage: object, ours: int | None = None) -> Usage | None:
    """Read a `usage` object: OpenAI's, or what DeepSeek, xAI, Gemini, Anthropic and litellm make of it. None =
    nothing usable in it.

    A count that is not a whole number from 0 to twenty million, or such a number as text, counts as absent; of an
    absent count nought is read. Parts that are larger than the sum which should contain them are not included in it,
    and are added, unless our own count of the prompt (`ours`, for a usage that `contradicts` itself) says that they are
    absurd. A total beyond all that is stated is thinking that shows nowhere else (Gemini's OpenAI-compatible endpoint).
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = _main_counts(usage)
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    given = details(usage, "prompt_tokens_details", "input_tokens_details")
    made = details(usage, "completion_tokens_details", "output_tokens_details")
    cached, written, written_1h = _cache_tokens(usage, given)
    reasoning = _first(made.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    beyond = (total or 0) - prompt - completion
    contradicts = cached + written > prompt and beyond != cached + written and not _is_anthropics(usage)
    mends = contradicts and ours is not None
    if mends:
        prompt = max(prompt, ours or 0)
        cached = min(cached, prompt)
        written = min(written, prompt - cached)
        written_1h = min(written_1h, written)
    elif _leaves_out_cached(usage, prompt, cached + written, beyond):
        prompt, beyond = prompt + cached + written, 0
    if reasoning > completion or (reasoning and beyond == reasoning):  # xAI
        completion += reasoning
    elif 0 < beyond <= _MOST_THINKING and completion and not reasoning and beyond not in _parts(usage, given, made):
        completion, reasoning = completion + beyond, beyond
    cached_by_kind = details(given, "cached_tokens_details")
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
        estimated=mends,
        contradicts=contradicts and not mends,
    )


def mended(said: Usage, prompt: int | None, completion: int | None) -> Usage:
    """Put our own counts where they are larger than a provider's placeholders, and mark it. None: not in doubt."""
    more_prompt = max(said.prompt, prompt or 0)
    more_completion = max(said.completion, completion or 0)
    if (more_prompt, more_completion) == (said.prompt, said.completion):
        return said
    return replace(said, prompt=more_prompt, completion=more_completion, estimated=True)


def billed_nanousd(usage: object) -> int | None:
    """Return the bill that OpenRouter states in its usage; None where it states none that can be one.

    Of a key of one's own (`is_byok`) the cost is only the fee, and what the model's provider takes stands beside it:
    https://openrouter.ai/docs/use-cases/usage-accounting
    """
    if not isinstance(usage, dict) or (cost := _dollars(usage.get("cost"))) is None:
        return None
    if usage.get("is_byok") is True:
        upstream = _dollars(details(usage, "cost_details").get("upstream_inference_cost"))
        if upstream is None:
            return None
        cost += upstream
    return round(cost * 10**9)


def _dollars(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(repr(value)) if 0 <= value <= _MOST_DOLLARS else None


def _parts(usage: Mapping[str, Any], *parts: Mapping[str, Any]) -> set[int]:
    """Return every other count that is stated, and their sum: any of them may be what a total holds besides."""
    counts = [token_count(value) for name, value in usage.items() if name not in _MAIN]
    counts += [token_count(value) for one in parts for value in one.values()]
    stated = [each for each in counts if each]
    return {*stated, sum(stated)}


_MAIN: Final = frozenset({"prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens"})


def _main_counts(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    prompt = token_count(usage.get("prompt_tokens"))
    if prompt is None:
        prompt = token_count(usage.get("input_tokens"))
    completion = token_count(usage.get("completion_tokens"))
    if completion is None:
        completion = token_count(usage.get("output_tokens"))
    total = token_count(usage.get("total_tokens"))
    if not prompt and completion is not None and total is not None and total >= completion:
        prompt = total - completion
    if not completion and prompt is not None:
        completion = max(total - prompt, 0) if total is not None else 0
    return prompt, completion, total


def _leaves_out_cached(usage: Mapping[str, Any], prompt: int, cache_tokens: int, beyond: int) -> bool:
    """Say whether `prompt` is without the tokens that were read from or written to the cache.

    Anthropic's own wire (`input_tokens` beside `cache_read_input_tokens`) leaves them out; OpenAI's includes them;
    elsewhere the sums tell.
    """
    if not cache_tokens:
        return False
    return _is_anthropics(usage) or cache_tokens > prompt or beyond == cache_tokens


def _is_anthropics(usage: Mapping[str, Any]) -> bool:
    return "prompt_tokens" not in usage and "cache_read_input_tokens" in usage


def _cache_tokens(usage: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the tokens read from the cache, written to it, and how many of these for an hour."""
    cached = _first(
        given.get("cached_tokens"), usage.get("cache_read_input_tokens"), usage.get("prompt_cache_hit_tokens")
    )
    written = _first(
        given.get("cache_creation_tokens"), given.get("cache_write_tokens"), usage.get("cache_creation_input_tokens")
    )
    by_lifetime = details(usage, "cache_creation") or details(given, "cache_creation_token_details")
    if not by_lifetime:
        return cached, written, 0
    for_5m = _first(by_lifetime.get("ephemeral_5m_input_tokens"))
    for_1h = _first(by_lifetime.get("ephemeral_1h_input_tokens"))
    return cached, max(written, for_5m + for_1h), for_1h


def _modifiers(usage: Mapping[str, Any]) -> tuple[str, ...]:
    if "inference_geo" not in usage and "speed" not in usage:
        return ()
    named = (usage.get("inference_geo"), usage.get("speed"))
    return tuple(name.lower() for name in named if isinstance(name, str))


def details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the first of these members that is an object; an empty one where none is."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, dict):  # not Mapping, which takes five times as long to tell
            return value
    return {}


def _first(*values: object) -> int:
    """Return the first positive count; providers repeat a figure under several names and leave zeros in the others."""
    for value in values:
        if value:
            number = token_count(value)
            if number:
                return number
    return 0


def token_count(value: object) -> int | None:
    """Return a count of tokens; None for what is no whole number from 0 to twenty million, nor such a one as text."""
    if type(value) is int:
        return value if 0 <= value <= _MOST_TOKENS else None
    if isinstance(value, float) and value.is_integer():
        return token_count(int(value))
    if isinstance(value, str) and len(value) <= 12 and value.isascii() and value.isdigit():
        return token_count(int(value))
    return None

"""What usage costs, to the nano-dollar.

Pure arithmetic over a price table that is handed in: no clock, no network, no float. Prices are Decimals taken from
the text of the table, because some are fractions of a nano-dollar. A cost is summed in whole numbers of the smallest
step that its rates share (so nothing is lost however many tokens there are) and rounded once, half to even.

Every token is charged once. The prompt's are: cached, written to the cache, audio, image, or plain; the completion's:
reasoning, audio, image, or plain. What the table does not price apart costs what it costs as text: a cache read
without a price of its own is plain input.

The keys are those of litellm's `model_prices_and_context_window.json`, in the table and in `model_info` alike:
`input_cost_per_token`, `cache_read_input_token_cost`, … with `_above_200k_tokens` (then the whole request is at that
step), `_priority`, `_flex`, `_batches`, or both, in this order. Not charged, since usage does not carry them:
searches and other tools that a provider runs for the model and bills by the call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Entry = Mapping[str, Any]

_MOST_TOKENS = 10**12
"""No request has more: a larger number is garbage."""

# ------------------------------------------------------------------------------------------------------------- usage


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


# ------------------------------------------------------------------------------------------------------------- rates


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars for one token of each class."""

    input: Decimal
    output: Decimal
    cached: Decimal
    cached_audio: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    reasoning: Decimal
    audio_prompt: Decimal
    audio_completion: Decimal
    image_prompt: Decimal
    image_completion: Decimal


_CLASSES = tuple(each.name for each in fields(Rates))


@dataclass(frozen=True, slots=True)
class Step:
    """The rates of every token of a request whose prompt has more than `above` tokens."""

    above: int
    rates: Rates
    digits: int = field(init=False, repr=False)
    """The weights are in units of 10**-digits dollars."""
    weights: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Turn the rates into whole numbers of one unit small enough for all of them."""
        values = [getattr(self.rates, name) for name in _CLASSES]
        digits = max(9, *(-int(value.normalize().as_tuple().exponent) for value in values))
        object.__setattr__(self, "digits", digits)
        object.__setattr__(self, "weights", tuple(int(value.scaleb(digits)) for value in values))

    def amount(self, usage: Usage) -> int:
        """Return the cost in units of 10**-digits dollars.

        Parts that overlap (cached audio that is not itemised, say) are cut so that no token is charged twice.
        """
        text, out, cached, cached_sound, write, write_1h, thought, sound, sound_out, image, image_out = self.weights
        read = min(usage.cached, usage.prompt)
        read_sound = min(usage.cached_audio, read)
        written = min(usage.cache_write, usage.prompt - read)
        written_1h = min(usage.cache_write_1h, written)
        left = usage.prompt - read - written
        audio = min(max(usage.audio_prompt - read_sound, 0), left)
        images = min(usage.image_prompt, left - audio)
        said = min(usage.audio_completion, usage.completion)
        drawn = min(usage.image_completion, usage.completion - said)
        thoughts = min(usage.reasoning, usage.completion - said - drawn)
        return (
            (left - audio - images) * text
            + (read - read_sound) * cached
            + read_sound * cached_sound
            + (written - written_1h) * write
            + written_1h * write_1h
            + audio * sound
            + images * image
            + (usage.completion - said - drawn - thoughts) * out
            + thoughts * thought
            + said * sound_out
            + drawn * image_out
        )


@dataclass(frozen=True, slots=True)
class OffPeak:
    """Hours in which another step applies, whatever the size of the prompt."""

    step: Step
    windows: tuple[tuple[frozenset[int] | None, int, int], ...]
    """ISO weekdays (None = all), first minute, minute after the last; UTC. A window may pass midnight; first = last
    is the whole day."""
    weekdays_in: tzinfo = UTC

    def covers(self, at: float) -> bool:
        """Say whether the moment (Unix seconds) is off-peak."""
        moment = datetime.fromtimestamp(at, UTC)
        minute = moment.hour * 60 + moment.minute
        weekday = moment.astimezone(self.weekdays_in).isoweekday()
        return any(
            (days is None or weekday in days)
            and (first <= minute < last if first < last else minute >= first or minute < last)
            for days, first, last in self.windows
        )


_SERVICE_TIERS = {
    "priority": "priority",
    "fast": "priority",
    "flex": "flex",
    "batch": "batches",
    "batches": "batches",
    "ultrafast": "ultrafast",
    "balanced": "balanced",
}
"""How a provider names the tier it served → how the table names its prices. Others (`default`, `standard`, `auto`,
`scale`) are plain."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one billed model costs."""

    model: str
    """Its key in the price table: what the request's price was looked up under."""
    steps: Mapping[str, tuple[Step, ...]] = field(hash=False)
    """By service tier (`""` = the plain one), ascending by `above`."""
    reaches_at_threshold: bool = False
    """A prompt of exactly the threshold is above it (xAI)."""
    per_request: Decimal = Decimal(0)
    multiplier: Decimal = Decimal(1)
    """On everything: where the deployment runs."""
    modifiers: Mapping[str, Decimal] = field(default_factory=dict, hash=False)
    """On everything, by what the usage says it was."""
    off_peak: OffPeak | None = field(default=None, hash=False)

    def __repr__(self) -> str:
        base = self.steps[""][0].rates
        return f"Price({self.model}: input {base.input}, cached {base.cached}, output {base.output})"

    def rates(self, prompt: int = 0, service_tier: str | None = None, at: float | None = None) -> Rates:
        """Return the dollars per token for a request with that many prompt tokens."""
        return self._step(prompt, service_tier, at).rates

    def cost(self, usage: Usage, service_tier: str | None = None, at: float | None = None) -> int:
        """Return the nano-dollars for this usage, rounded once, half to even.

        `service_tier` is the one the provider says it served; `at` (Unix seconds) matters where prices depend on the
        hour, and without it the dearer hour is charged.
        """
        step = self._step(usage.prompt, service_tier, at)
        amount, digits = step.amount(usage), step.digits
        if self.per_request:
            amount += int(self.per_request.scaleb(digits))
        for factor in self._factors(usage):
            numerator, decimals = _whole(factor)
            amount, digits = amount * numerator, digits + decimals
        return _rounded(amount, 10 ** (digits - 9))

    def _step(self, prompt: int, service_tier: str | None, at: float | None) -> Step:
        if self.off_peak is not None and at is not None and self.off_peak.covers(at):
            return self.off_peak.step
        tier = _SERVICE_TIERS.get(service_tier, "") if service_tier else ""
        steps = self.steps.get(tier) or self.steps[""]
        chosen = steps[0]
        for step in steps[1:]:
            if prompt > step.above or (self.reaches_at_threshold and prompt == step.above):
                chosen = step
        return chosen

    def _factors(self, usage: Usage) -> Iterator[Decimal]:
        if self.multiplier != 1:
            yield self.multiplier
        for name in usage.modifiers:
            if name in self.modifiers:
                yield self.modifiers[name]


def _whole(value: Decimal) -> tuple[int, int]:
    """Return (n, d) with value = n / 10**d."""
    decimals = max(0, -int(value.normalize().as_tuple().exponent))
    return int(value.scaleb(decimals)), decimals


def _rounded(amount: int, unit: int) -> int:
    whole, rest = divmod(amount, unit)
    if rest * 2 > unit or (rest * 2 == unit and whole % 2):
        whole += 1
    return whole


# ------------------------------------------------------------------------------------- from the table's keys to rates

_KEYS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cached_audio": "cache_read_input_audio_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_prompt": "input_cost_per_audio_token",
    "audio_completion": "output_cost_per_audio_token",
    "image_prompt": "input_cost_per_image_token",
    "image_completion": "output_cost_per_image_token",
}
_STANDS_IN = {
    "cached": "input",
    "cached_audio": "cached",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "reasoning": "output",
    "audio_prompt": "input",
    "audio_completion": "output",
    "image_prompt": "input",
    "image_completion": "output",
}
"""What a class costs that has no price of its own; each after what it refers to."""

_TIERS = tuple(dict.fromkeys(_SERVICE_TIERS.values()))
_PRICE_KEY = re.compile(rf"(?:{'|'.join(_KEYS.values())})(?:_above_(\d+)(k?)_tokens)?(?:_({'|'.join(_TIERS)}))?")


_BESIDE_TOKENS = re.compile(
    r"input_cost_per_request|tiered_pricing|off_peak_pricing|provider_specific_entry"
    r"|regional_(?:processing|endpoint)_uplift_multiplier\w*"
)


def is_price(key: str) -> bool:
    """Whether a key of the table, or of `model_info`, enters what requests cost here."""
    return _PRICE_KEY.fullmatch(key) is not None or _BESIDE_TOKENS.fullmatch(key) is not None


class PriceError(ValueError):
    """A price that is not an amount of money."""


def price_from(model: str, entry: Entry, region: str | None = None) -> Price | None:
    """Build the price of a table entry; None = it does not price both prompt and completion. Raises `PriceError`."""
    provider = entry.get("litellm_provider")
    if provider == "fireworks_ai" and entry.get(_KEYS["cached"]) is None and (plain := _amount(entry, _KEYS["input"])):
        entry = {
            **entry,
            _KEYS["cached"]: plain / 2,
        }  # https://fireworks.ai/docs/guides/prompt-caching: half, unless told
    steps = _tiered_steps(entry) or _flat_steps(entry)
    if not steps:
        return None
    return Price(
        model=model,
        steps=steps,
        reaches_at_threshold=provider == "xai",  # https://docs.x.ai/docs/models: the higher price from 200K tokens on
        per_request=_amount(entry, "input_cost_per_request") or Decimal(0),
        multiplier=_regional(entry, region),
        modifiers=_amounts(entry.get("provider_specific_entry")) if provider == "anthropic" else {},
        off_peak=_off_peak(entry, steps[""][0].rates),
    )


def _flat_steps(entry: Entry) -> dict[str, tuple[Step, ...]]:
    """Read `input_cost_per_token` and its variants: a ladder of steps for each service tier that has any price of its
    own.
    """
    found = [match for key in entry if (match := _PRICE_KEY.fullmatch(key))]
    thresholds = {
        (match[1] + match[2].replace("k", "000"), f"_above_{match[1]}{match[2]}_tokens") for match in found if match[1]
    }
    tiers = {"", *(match[3] for match in found if match[3])}
    steps: dict[str, tuple[Step, ...]] = {}
    for tier in tiers:
        suffix = f"_{tier}" if tier else ""
        prices = _tier_prices(entry, {}, "", suffix)
        ladder = [(0, prices)]
        for above, infix in sorted((int(number), infix) for number, infix in thresholds):
            if _names_a_price(entry, infix, suffix):
                prices = _tier_prices(entry, prices, infix, suffix)
                ladder.append((above, prices))
        complete = [(above, rates) for above, prices in ladder if (rates := _completed(prices))]
        if len(complete) == len(ladder):
            steps[tier] = tuple(Step(above, rates) for above, rates in complete)
    return steps if "" in steps else {}


def _names_a_price(entry: Entry, infix: str, suffix: str) -> bool:
    return any(entry.get(f"{key}{infix}{end}") is not None for key in _KEYS.values() for end in {suffix, ""})


def _tier_prices(entry: Entry, below: Mapping[str, Decimal], infix: str, suffix: str) -> dict[str, Decimal]:
    """Return the prices a step names: the tier's own, else the plain ones, else those of the step below.

    A tier with an output price but none for reasoning charges reasoning as output: the plain reasoning price is
    another tier's.
    """
    prices = dict(below)
    own: set[str] = set()
    for name, key in _KEYS.items():
        value = _amount(entry, f"{key}{infix}{suffix}")
        if value is not None:
            own.add(name)
        else:
            value = _amount(entry, f"{key}{infix}")
        if value is not None:
            prices[name] = value
    if "output" in own and "reasoning" not in own and (suffix or infix):
        prices.pop("reasoning", None)
    if "output" not in prices and "image_completion" in prices:
        prices["output"] = prices["image_completion"]  # a model that answers in images only
    return prices


def _tiered_steps(entry: Entry) -> dict[str, tuple[Step, ...]]:
    """Read `tiered_pricing` (Alibaba): ranges of prompt sizes, each with prices of its own for everything."""
    tiers = entry.get("tiered_pricing")
    if not isinstance(tiers, Sequence) or isinstance(tiers, str):
        return {}
    ladder: list[tuple[int, Rates]] = []
    for tier in tiers:
        if not isinstance(tier, Mapping) or not isinstance(tier.get("range"), Sequence) or len(tier["range"]) != 2:
            return {}
        prices = {name: value for name, key in _KEYS.items() if (value := _amount(tier, key)) is not None}
        if "output" not in prices and (whole := _amount(entry, _KEYS["output"])) is not None:
            prices["output"] = whole
        rates = _completed(prices)
        if rates is None:
            return {}
        ladder.append((int(tier["range"][0]), rates))
    return (
        {"": tuple(Step(above, rates) for above, rates in sorted(ladder, key=lambda each: each[0]))} if ladder else {}
    )


def _completed(prices: Mapping[str, Decimal]) -> Rates | None:
    if "input" not in prices or "output" not in prices:
        return None
    full = dict(prices)
    for name, other in _STANDS_IN.items():
        full.setdefault(name, full[other])
    return Rates(**full)


def _off_peak(entry: Entry, usual: Rates) -> OffPeak | None:
    block = entry.get("off_peak_pricing")
    if not isinstance(block, Mapping):
        return None
    own = {name: value for name, key in _KEYS.items() if (value := _amount(block, key)) is not None}
    rates = {name: own.get(name, getattr(usual, name)) for name in _CLASSES}
    for name, other in _STANDS_IN.items():  # a class that costs as another does so in these hours too
        if name not in own and getattr(usual, name) == getattr(usual, other):
            rates[name] = rates[other]
    windows = [(None, block.get("hours_utc"))]
    windows += [
        (rule.get("weekdays"), rule.get("hours_utc"))
        for rule in block.get("windows") or ()
        if isinstance(rule, Mapping)
    ]
    spans = tuple(
        (None if days is None else frozenset(days), first, last)
        for days, hours in windows
        for first, last in _spans(hours)
    )
    return OffPeak(Step(0, Rates(**rates)), spans, _zone(block.get("weekday_timezone"))) if spans else None


def _spans(hours: object) -> Iterator[tuple[int, int]]:
    """Read `"16:30-00:30"`, or a list of such, as minutes of the day."""
    for span in [hours] if isinstance(hours, str) else hours if isinstance(hours, Sequence) else ():
        match = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*", span)
        if match:
            first_hour, first_minute, last_hour, last_minute = map(int, match.groups())
            yield first_hour * 60 + first_minute, last_hour * 60 + last_minute


def _zone(name: object) -> tzinfo:
    try:
        return ZoneInfo(name) if isinstance(name, str) else UTC
    except ZoneInfoNotFoundError:  # a slim machine without zone data
        return UTC


def _regional(entry: Entry, region: str | None) -> Decimal:
    """Return the surcharge of a region: OpenAI's names one price per region, Vertex one for whatever is not global."""
    if not region or region == "global":
        return Decimal(1)
    named = _amount(entry, f"regional_processing_uplift_multiplier_{region}")
    return named or _amount(entry, "regional_endpoint_uplift_multiplier") or Decimal(1)


def _amounts(values: object) -> dict[str, Decimal]:
    if not isinstance(values, Mapping):
        return {}
    return {name: value for name in values if (value := _amount(values, name)) is not None}


def _amount(entry: Entry, key: str) -> Decimal | None:
    """Read an amount exactly; a float counts as the shortest decimal that stands for it, which is what was written."""
    value = entry.get(key)
    if value is None:
        return None
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite() or amount < 0 or amount.adjusted() > 9:
        raise PriceError(f"{key}: {value!r} is not an amount of dollars (1.25e-6, say)")
    return amount


# -------------------------------------------------------------------------------------------------------------- book


@dataclass(frozen=True, slots=True)
class Facts:
    """What the table knows of a model besides its price; None = nothing."""

    model: str | None = None
    """Its key in the table."""
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    mode: str | None = None


_DEMO: Entry = {
    "litellm_provider": "demo",
    "mode": "chat",
    "max_input_tokens": 128_000,
    "max_output_tokens": 16_384,
    "input_cost_per_token": Decimal("1e-6"),
    "cache_read_input_token_cost": Decimal("1e-7"),
    "output_cost_per_token": Decimal("4e-6"),
}

DEMO_ENTRIES: Mapping[str, Entry] = {
    "demo/demo": _DEMO,
    "demo/openai": _DEMO,
    "demo/openai-5.6": {
        **_DEMO,
        "max_input_tokens": 272_000,
        "cache_creation_input_token_cost": Decimal("1.25e-6"),
    },
    "demo/anthropic": {
        **_DEMO,
        "max_input_tokens": 200_000,
        "cache_creation_input_token_cost": Decimal("1.25e-6"),
        "cache_creation_input_token_cost_above_1hr": Decimal("2e-6"),
    },
    "demo/gemini": {**_DEMO, "max_input_tokens": 1_048_576},
    "demo/vllm": {**_DEMO, "max_input_tokens": 131_072, "cache_read_input_token_cost": Decimal(0)},
}
"""Models of our own, priced so that sums are easy to follow: a dollar for a million tokens, and what is read from or
written to the prompt cache at the multiples of the provider whose rules they obey. On an engine of one's own a cached
token costs nothing."""

_ANY_PROVIDER = ("demo", "litellm_proxy", "github")
"""Providers that stand in for others: a model's plain name is looked up whoever makes it."""

_CHAT = ("chat", "responses")

_SHARED_TABLES = {"azure_ai": ("azure", "openai"), "azure_text": ("azure",), "text-completion-openai": ("openai",)}

_BEDROCK_GEO = re.compile(r"(?:us|eu|au|jp|apac|ca|sa|global|us-gov)\.(?=.)")


class PriceBook:
    """The entries of the price table that the configured models need."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __repr__(self) -> str:
        return f"PriceBook({len(self._entries)} entries)"

    @classmethod
    def read(cls, table: bytes, models: Iterable[tuple[str, str]] | None = None) -> Self:
        """Parse the table and keep what `models`, pairs of provider and model, may be looked up under. None =
        everything.

        For a `base_model` in `model_info` add its pair too: `split(base_model)`.
        """
        entries: dict[str, Entry] = json.loads(table, parse_float=Decimal)
        if models is None:
            return cls(entries)
        wanted = {key for provider, model in models for key in _candidates(provider, model)}
        return cls({key: entries[key] for key in wanted if key in entries})

    def price(
        self, provider: str, model: str, overrides: Entry | None = None, region: str | None = None
    ) -> Price | None:
        """Return what the deployment's tokens cost; None = unpriced. Raises `PriceError` for an override that is no
        amount.

        `overrides` (`model_info`) replace the table key by key: a key that is not named keeps the table's price.
        `base_model` in it says under which name the provider bills. `region`: see `region_of`.
        """
        key, entry = self._entry(provider, model, overrides)
        return price_from(key or f"{provider}/{model}", entry, region)

    def facts(self, provider: str, model: str, overrides: Entry | None = None) -> Facts:
        """Return window, answer limit and kind of a model, as far as they are known."""
        key, entry = self._entry(provider, model, overrides)
        window = _limit(entry.get("max_input_tokens")) or _limit(entry.get("max_tokens"))
        mode = entry.get("mode")
        return Facts(key, window, _limit(entry.get("max_output_tokens")), mode if isinstance(mode, str) else None)

    def names(self, provider: str) -> Iterator[str]:
        """List what the chat models of a provider are called, without the provider before them."""
        for key, entry in {**self._entries, **DEMO_ENTRIES}.items():
            own = key.startswith(f"{provider}/")
            if entry.get("mode") in _CHAT and (own or ("/" not in key and _bills_as(provider, entry))):
                yield key.removeprefix(f"{provider}/")

    def _entry(self, provider: str, model: str, overrides: Entry | None) -> tuple[str | None, Entry]:
        base = (overrides or {}).get("base_model")
        if isinstance(base, str) and base:
            provider, model = split(base, provider)
        for key in _candidates(provider, model):
            entry = self._entries.get(key)
            if entry is None:
                entry = DEMO_ENTRIES.get(key)
            if entry is not None and (key.startswith(f"{provider}/") or _bills_as(provider, entry)):
                if _is_free(overrides):  # what the table says of cached tokens, or of long prompts, is of another offer
                    entry = {name: value for name, value in entry.items() if not is_price(name)}
                return key, {**entry, **{name: value for name, value in (overrides or {}).items() if value is not None}}
        return None, {"litellm_provider": provider, **(overrides or {})}


def _is_free(overrides: Entry | None) -> bool:
    """Whether prompt and answer both cost nothing, as on a machine of one's own."""
    return overrides is not None and not any(_amount(overrides, _KEYS[name]) != 0 for name in ("input", "output"))


def split(model: str, provider: str = "openai") -> tuple[str, str]:
    """Split `provider/model`; a name without a provider has the one given."""
    head, slash, tail = model.partition("/")
    return (head, tail) if slash else (provider, model)


def region_of(api_base: str | None, location: str | None = None) -> str | None:
    """Return the region that a deployment pays extra for: OpenAI's regional hosts, or Vertex's location."""
    if location:
        return location.lower()
    match = re.match(r"https?://(eu|us)\.api\.openai\.com(?:[:/]|$)", api_base or "")
    return match[1] if match else None


def _candidates(provider: str, model: str) -> list[str]:
    """Return the table keys a model may stand under, the most exact first."""
    names = [f"{provider}/{model}", model]
    if provider.startswith("bedrock") and (geo := _BEDROCK_GEO.match(model)):
        names.append(model[geo.end() :])
    if model.startswith("ft:"):  # ft:gpt-4o-2024-08-06:org::id
        names.append(":".join(model.split(":")[:2]))
    if provider == "demo" and "/" in model:  # demo/anthropic/claude-…: as Claude, else as demo/anthropic
        rules, _, name = model.partition("/")
        names += [name, f"demo/{rules}"]
    return names


def _bills_as(provider: str, entry: Entry) -> bool:
    """Say whether an entry without the provider in its key is that provider's."""
    owner = entry.get("litellm_provider")
    if not isinstance(owner, str) or owner == provider or provider in _ANY_PROVIDER:
        return True
    if provider.startswith("bedrock"):
        return owner.startswith("bedrock")
    return (provider == "vertex_ai" and owner.startswith("vertex_ai")) or owner in _SHARED_TABLES.get(provider, ())


def _limit(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or value <= 0:
        return None
    return int(value)

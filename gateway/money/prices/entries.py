"""Prices of a model, read from its entry in the price table. Pure: no network, no float.

The keys are those of litellm's `model_prices_and_context_window.json`, in the table and in `model_info` alike:
`input_cost_per_token`, `cache_read_input_token_cost`, … with `_above_200k_tokens` (then the whole request is at that
step), `_priority`, `_flex`, `_batches`, or both, in this order.

A class of tokens that the table does not price apart costs as much as text: a cache read without a price of its own is
plain input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.money.prices.rates import CLASSES, SERVICE_TIERS, OffPeak, Price, Rates, Step
from gateway.providers.table import billing_of

PriceEntry = Mapping[str, Any]
"""A model's entry in the price table, or what `model_info` puts over it."""

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
"""Prices of classes that have none of their own; each stands after the class that it refers to."""

_TIERS = tuple(dict.fromkeys(SERVICE_TIERS.values()))
_PRICE_KEY = re.compile(rf"(?:{'|'.join(_KEYS.values())})(?:_above_(\d+)(k?)_tokens)?(?:_({'|'.join(_TIERS)}))?")


_BESIDE_TOKENS = re.compile(
    r"input_cost_per_request|input_cost_per_query|tiered_pricing|off_peak_pricing|provider_specific_entry"
    r"|regional_(?:processing|endpoint)_uplift_multiplier\w*"
)


def is_price(key: str) -> bool:
    """Whether a key of the table, or of `model_info`, enters what requests cost here."""
    return _PRICE_KEY.fullmatch(key) is not None or _BESIDE_TOKENS.fullmatch(key) is not None


_WITHOUT_COMPLETIONS = frozenset({"embedding", "moderation", "rerank"})
"""Modes whose models write nothing, so that the prompt's price is all there is. A reranking may be priced by the search
besides (`input_cost_per_query`)."""


class PriceError(ValueError):
    """A price that is not an amount of money."""


def price_from(model: str, entry: PriceEntry, region: str | None = None) -> Price | None:
    """Build the price of a table entry; None = it does not price both prompt and completion. Raises `PriceError`."""
    provider = entry.get("litellm_provider")
    billing = billing_of(provider if isinstance(provider, str) else "")
    if (divisor := billing.cached_divisor) is not None and entry.get(_KEYS["cached"]) is None:
        plain = _amount(entry, _KEYS["input"])
        entry = {**entry, _KEYS["cached"]: plain / divisor} if plain else entry
    if entry.get("mode") in _WITHOUT_COMPLETIONS and entry.get(_KEYS["output"]) is None:
        entry = {**entry, _KEYS["output"]: 0}
    steps = _tiered_steps(entry) or _flat_steps(entry)
    if not steps:
        return None
    return Price(
        model=model,
        steps=steps,
        reaches_at_threshold=billing.reaches_at_threshold,
        per_request=_amount(entry, "input_cost_per_request") or Decimal(0),
        per_search=_amount(entry, "input_cost_per_query") or Decimal(0)
        if entry.get("mode") == "rerank"
        else Decimal(0),
        multiplier=_regional(entry, region),
        modifiers=_amounts(entry.get("provider_specific_entry")) if billing.has_modifiers else {},
        off_peak=_off_peak(entry, steps[""][0].rates),
    )


def _flat_steps(entry: PriceEntry) -> dict[str, tuple[Step, ...]]:
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


def _names_a_price(entry: PriceEntry, infix: str, suffix: str) -> bool:
    return any(entry.get(f"{key}{infix}{end}") is not None for key in _KEYS.values() for end in {suffix, ""})


def _tier_prices(entry: PriceEntry, below: Mapping[str, Decimal], infix: str, suffix: str) -> dict[str, Decimal]:
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


def _tiered_steps(entry: PriceEntry) -> dict[str, tuple[Step, ...]]:
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


def _off_peak(entry: PriceEntry, usual: Rates) -> OffPeak | None:
    block = entry.get("off_peak_pricing")
    if not isinstance(block, Mapping):
        return None
    own = {name: value for name, key in _KEYS.items() if (value := _amount(block, key)) is not None}
    rates = {name: own.get(name, getattr(usual, name)) for name in CLASSES}
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


def _regional(entry: PriceEntry, region: str | None) -> Decimal:
    """Return the surcharge of a region: OpenAI's names one price per region, Vertex one for whatever is not global."""
    if not region or region == "global":
        return Decimal(1)
    named = _amount(entry, f"regional_processing_uplift_multiplier_{region}")
    return named or _amount(entry, "regional_endpoint_uplift_multiplier") or Decimal(1)


def _amounts(values: object) -> dict[str, Decimal]:
    if not isinstance(values, Mapping):
        return {}
    return {name: value for name in values if (value := _amount(values, name)) is not None}


def _amount(entry: PriceEntry, key: str) -> Decimal | None:
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


def is_free(overrides: PriceEntry | None) -> bool:
    """Whether prompt and answer both cost nothing, as on a machine of one's own."""
    return overrides is not None and not any(_amount(overrides, _KEYS[name]) != 0 for name in ("input", "output"))

"""The price table, as far as the configured models need it. Pure: the table is handed in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Self

from gateway.money.prices.demo_models import DEMO_ENTRIES
from gateway.money.prices.entries import PriceEntry, is_free, is_price, price_from
from gateway.money.prices.names import behind_router, bills_as, candidates, split
from gateway.money.prices.rates import Price

_SERVED = ("chat", "responses", "embedding", "moderation", "rerank")


@dataclass(frozen=True, slots=True)
class ModelEntryFacts:
    """The table's facts about a model besides its price; None = nothing."""

    model: str | None = None
    """Its key in the table."""
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    mode: str | None = None
    reasons: bool | None = None
    """Whether it can be told how much to reason."""
    streams: bool = True
    """Whether its answers come as they are written."""


class PriceBook:
    """The entries of the price table that the configured models need."""

    def __init__(self, entries: Mapping[str, PriceEntry]) -> None:
        self._entries = entries

    def __repr__(self) -> str:
        return f"PriceBook({len(self._entries)} entries)"

    @classmethod
    def read(cls, table: bytes, models: Iterable[tuple[str, str]] | None = None) -> Self:
        """Parse the table and keep what `models`, pairs of provider and model, may be looked up under. None =
        everything.

        For a `base_model` in `model_info` add its pair too: `split(base_model)`.
        """
        entries: dict[str, PriceEntry] = json.loads(table, parse_float=Decimal)
        if models is None:
            return cls(entries)
        named = [name for pair in models for name in (pair, behind_router(*pair)) if name is not None]
        wanted = {key for provider, model in named for key in candidates(provider, model)}
        return cls({key: entries[key] for key in wanted if key in entries})

    def price(
        self, provider: str, model: str, overrides: PriceEntry | None = None, region: str | None = None
    ) -> Price | None:
        """Return what the deployment's tokens cost; None = unpriced. Raises `PriceError` for an override that is no
        amount.

        `overrides` (`model_info`) replace the table key by key: a key that is not named keeps the table's price.
        `base_model` in it says under which name the provider bills. `region`: see `region_of`.
        """
        key, entry = self._entry(provider, model, overrides)
        price = price_from(key or f"{provider}/{model}", entry, region)
        if price is not None or (behind := behind_router(provider, model)) is None:
            return price
        price = self.price(*behind, overrides)
        return None if price is None else replace(price, is_for_holds=True)

    def facts(self, provider: str, model: str, overrides: PriceEntry | None = None) -> ModelEntryFacts:
        """Return window, answer limit, kind and abilities of a model, as far as they are known."""
        key, entry = self._entry(provider, model, overrides)
        window = _limit(entry.get("max_input_tokens")) or _limit(entry.get("max_tokens"))
        mode = entry.get("mode")
        reasons = entry.get("supports_reasoning")
        return ModelEntryFacts(
            key,
            window,
            _limit(entry.get("max_output_tokens")),
            mode if isinstance(mode, str) else None,
            None if key is None and reasons is None else bool(reasons),
            streams=entry.get("supports_native_streaming") is not False,
        )

    def names(self, provider: str) -> Iterator[str]:
        """List what the models of a provider that are served are called, without the provider before them."""
        for key, entry in {**self._entries, **DEMO_ENTRIES}.items():
            own = key.startswith(f"{provider}/")
            if entry.get("mode") in _SERVED and (own or ("/" not in key and bills_as(provider, entry))):
                yield key.removeprefix(f"{provider}/")

    def _entry(self, provider: str, model: str, overrides: PriceEntry | None) -> tuple[str | None, PriceEntry]:
        base = (overrides or {}).get("base_model")
        if isinstance(base, str) and base:
            provider, model = split(base, provider)
        for key in candidates(provider, model):
            entry = self._entries.get(key)
            if entry is None:
                entry = DEMO_ENTRIES.get(key)
            if entry is not None and (key.startswith(f"{provider}/") or bills_as(provider, entry)):
                if is_free(overrides):  # what the table says of cached tokens, or of long prompts, is of another offer
                    entry = {name: value for name, value in entry.items() if not is_price(name)}
                return key, {**entry, **{name: value for name, value in (overrides or {}).items() if value is not None}}
        return None, {"litellm_provider": provider, **(overrides or {})}


def _limit(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or value <= 0:
        return None
    return int(value)

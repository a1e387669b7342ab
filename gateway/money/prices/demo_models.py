"""Prices of the demo provider's models, in the form of the price table."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gateway.money.prices.entries import PriceEntry

_DEMO: PriceEntry = {
    "litellm_provider": "demo",
    "mode": "chat",
    "max_input_tokens": 128_000,
    "max_output_tokens": 16_384,
    "input_cost_per_token": Decimal("1e-6"),
    "cache_read_input_token_cost": Decimal("1e-7"),
    "output_cost_per_token": Decimal("4e-6"),
}

DEMO_ENTRIES: Mapping[str, PriceEntry] = {
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
    "demo/embeddings": {
        "litellm_provider": "demo",
        "mode": "embedding",
        "max_input_tokens": 8_191,
        "input_cost_per_token": Decimal("1e-7"),
    },
    "demo/moderations": {"litellm_provider": "demo", "mode": "moderation", "input_cost_per_token": Decimal(0)},
    "demo/rerank": {
        "litellm_provider": "demo",
        "mode": "rerank",
        "input_cost_per_token": Decimal(0),
        "input_cost_per_query": Decimal("1e-3"),
    },
    "demo/vllm": {**_DEMO, "max_input_tokens": 131_072, "cache_read_input_token_cost": Decimal(0)},
}
"""Models of our own, priced so that sums are easy to follow: a dollar for a million tokens, and what is read from or
written to the prompt cache at the multiples of the provider whose rules they obey. On an engine of one's own a cached
token costs nothing."""

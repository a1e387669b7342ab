"""Fireworks AI."""

from __future__ import annotations

from typing import Final

from gateway.providers.provider import Billing, direct

FIREWORKS: Final = direct(
    "https://api.fireworks.ai/inference/v1",
    model_prefix="accounts/fireworks/models/",
    key_variables=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    # fireworks.ai/docs/guides/prompt-caching
    headers=frozenset({"x-session-affinity"}),
    billing=Billing(owners=("fireworks_ai-embedding-models",), cached_divisor=2),  # the same page: half, unless told
)

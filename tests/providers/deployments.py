"""Deployments at scripted providers, as tests need them."""

from __future__ import annotations

from typing import Any

from gateway.routing.deployment import Deployment, Kind, ModelFacts


def deployment(
    model: str = "openai/gpt-5",
    url: str | None = None,
    *,
    kind: Kind = "direct",
    name: str | None = None,
    timeout: float = 5.0,
    weight: float = 1.0,
    window: int | None = None,
    api_key: str | None = "sk-upstream",
    **params: Any,
) -> Deployment:
    provider, _, rest = model.partition("/")
    return Deployment(
        name=name or f"asked#0:{model}",
        model_name="asked",
        provider=provider,
        model=rest,
        kind=kind,
        facts=ModelFacts(provider, rest, window, None, shared=True, encoding="o200k_base", exact=False),
        price=None,
        api_base=url,
        api_key=api_key,
        timeout=timeout,
        weight=weight,
        params=params,
    )

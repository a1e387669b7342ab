"""OpenRouter: a router, which states its bill with every answer."""

from __future__ import annotations

from typing import Final

from gateway.providers.provider import Billing, Provider, direct

HOME: Final = "https://openrouter.ai/api/v1"

OPENROUTER: Final = direct(
    HOME,
    key_variables=("OPENROUTER_API_KEY", "OR_API_KEY"),
    # openrouter.ai/docs/app-attribution, and /docs/guides/routing/provider-selection for the betas of Claude
    headers=frozenset({"x-anthropic-beta", "http-referer", "x-title", "x-openrouter-title", "x-openrouter-categories"}),
    states_its_bill=True,
    ignores_effort=True,  # openrouter.ai/docs/api-reference/parameters: what a model does not take is ignored
    speaks={"responses": Provider("direct", HOME, "/responses")},  # openrouter.ai/docs/api-reference/responses
    # Makers whose names (openrouter.ai/models) are others than in the price table.
    billing=Billing(makers={"google": "gemini", "x-ai": "xai", "mistralai": "mistral", "meta-llama": "meta_llama"}),
)

"""xAI."""

from __future__ import annotations

from typing import Final

from gateway.providers.provider import Billing, Provider, direct

HOME: Final = "https://api.x.ai/v1"

XAI: Final = direct(
    HOME,
    # docs.x.ai/docs/guides/prompt-caching: sends a conversation to the server that has it
    headers=frozenset({"x-grok-conv-id"}),
    speaks={"responses": Provider("direct", HOME, "/responses")},  # docs.x.ai/docs/guides/chat
    billing=Billing(reaches_at_threshold=True),  # docs.x.ai/docs/models: the higher price from 200K tokens on
)

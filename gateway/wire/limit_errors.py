"""Errors for requests that limits refuse. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.wire.errors import GatewayError


def counters_unavailable() -> GatewayError:
    """Refuse because nobody can say what the caller's limits leave; nothing was sent upstream."""
    message = (
        "The gateway cannot reach the counters of its limits, so nothing was sent to the model. Try again shortly; the "
        "operator should check `state`, and may set `state: {on_store_down: allow}`."
    )
    return GatewayError(503, "server_error", message, code="counters_unavailable", headers={"retry-after": "2"})


def budget_exceeded(message: str, told: Mapping[str, Any]) -> GatewayError:
    """Refuse because a budget of the gateway's is used up: asking again is of no use before it begins anew."""
    headers = {"x-should-retry": "false"}
    return GatewayError(429, "budget_exceeded", message, code="insufficient_quota", headers=headers, extra=told)


def rate_limited(limit: str, party: str, seconds: int, told: Mapping[str, Any]) -> GatewayError:
    """Refuse because of a rate of the gateway's, or because of holds that will free up."""
    message = f"Limit of the gateway reached for {party}: {limit}. Try again in {seconds} seconds."
    headers = {"retry-after": str(seconds)}
    return GatewayError(429, "rate_limit_exceeded", message, code="rate_limit_exceeded", headers=headers, extra=told)

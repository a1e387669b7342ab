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


def budget_exceeded(party: str, spent: str, needs: str | None, seconds: int, told: Mapping[str, Any]) -> GatewayError:
    """Refuse because a budget of the gateway's does not pay for a request: asking the same again is of no use before it
    begins anew.

    `needs` is what the request may cost; None where nothing is left of the budget.
    """
    if needs is None:
        message = f"The gateway's budget for {party} is used up: {spent}."
    else:
        message = (
            f"The gateway's budget for {party} does not pay for this request: {spent}, and it may cost {needs}. Ask "
            "for a shorter answer, or a cheaper model."
        )
    message += f" It is this gateway's budget, not the provider's quota. It begins anew in {seconds} seconds."
    headers = {"x-should-retry": "false"}
    return GatewayError(429, "budget_exceeded", message, code="insufficient_quota", headers=headers, extra=told)


def budget_tightened(party: str, spent: str, at: str, seconds: int, told: Mapping[str, Any]) -> GatewayError:
    """Refuse because the policy serves nothing from a share of a budget on."""
    message = (
        f"The gateway's budget for {party} is nearly used up: {spent}, and the policy serves nothing from {at} on. "
        f"It is this gateway's budget, not the provider's quota. It begins anew in {seconds} seconds."
    )
    headers = {"x-should-retry": "false"}
    return GatewayError(429, "budget_exceeded", message, code="insufficient_quota", headers=headers, extra=told)


def answer_ended(party: str, tokens: int, cost: str) -> GatewayError:
    """End an answer under way, because the budget pays for no more of it."""
    message = (
        f"The gateway's budget for {party} ended this answer after about {tokens:,} tokens: it pays for no more of it. "
        f"What came until then costs {cost} and is entered. It is this gateway's budget, not the provider's quota."
    )
    headers = {"x-should-retry": "false"}
    return GatewayError(429, "budget_exceeded", message, code="insufficient_quota", headers=headers)


def rate_limited(limit: str, party: str, seconds: int, told: Mapping[str, Any] | None) -> GatewayError:
    """Refuse because of a rate of the gateway's, or because of holds that will free up."""
    message = f"Limit of the gateway reached for {party}: {limit}. Try again in {seconds} seconds."
    headers = {"retry-after": str(seconds)}
    return GatewayError(429, "rate_limit_exceeded", message, code="rate_limit_exceeded", headers=headers, extra=told)

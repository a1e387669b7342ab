"""The models of a caller, as clients are told of them: by name, with window and prices. Decides; sends nothing."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Final

from gateway.config.wildcards import is_pattern
from gateway.money.keys import Caller
from gateway.routing.deployment import Deployment
from gateway.routing.models import Model
from gateway.serving.admission import may_use, nearest_model
from gateway.serving.services import Gateway, Models
from gateway.wire import errors
from gateway.wire.operations import METERED, MODES, Operation

_AT_ONCE: Final = 8
"""Models that are described before others have their turn: the first time, one that asterisks cover takes a
millisecond."""


async def listed_models(gateway: Gateway, caller: Caller) -> dict[str, Any]:
    """List the models that a caller may ask for, in OpenAI's shape."""
    models, window = gateway.models, _policy_window(gateway, caller)
    every = models.names() if isinstance(models, Models) else ((name, name) for name in models)
    names = [name for name, declared in every if caller.may_use(name) or caller.may_use(declared)]
    listed = []
    for number, name in enumerate(names, 1):
        listed.append(described(name, models.get(name), window))
        if not number % _AT_ONCE:
            await asyncio.sleep(0)
    return {"object": "list", "data": listed}


def listed_model(gateway: Gateway, caller: Caller, name: str) -> dict[str, Any]:
    """Describe one model. Raises GatewayError: 403 not for this key, 404 no such model."""
    model = None if is_pattern(name) else gateway.models.get(name)
    if not may_use(caller, name, model):
        raise errors.model_not_allowed(name)
    if model is None or not model.is_served:
        raise errors.model_not_found(name, nearest_model(name, gateway.models, caller))
    return described(name, model, _policy_window(gateway, caller))


def _policy_window(gateway: Gateway, caller: Caller) -> int | None:
    return gateway.config.policy_for(caller.policy, caller.team).context_window


def described(name: str, model: Model | None, policy_window: int | None = None) -> dict[str, Any]:
    """Describe a model; a name with asterisks is said to be one, as it cannot be asked for as it stands.

    The window of a chat is never more than the policy's: a program that shortens its history by it does so in time.
    """
    told: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}
    if is_pattern(name):
        return told | {"wildcard": True}
    if model is None or not model.is_served:
        return told
    operation: Operation = "chat" if model.deployments else next(one for one in METERED if model.serving(one))
    first = model.serving(operation)[0]
    widths = [first.facts.window] if operation != "chat" else [model.window, policy_window]
    facts = {
        "mode": MODES[operation],
        "context_window": min((width for width in widths if width is not None), default=None),
        "max_completion_tokens": model.max_output if operation == "chat" else None,
        "pricing": _pricing(first),
    }
    return told | {name: fact for name, fact in facts.items() if fact is not None}


def _pricing(deployment: Deployment) -> dict[str, str] | None:
    """Return the prices in dollars for a token, as OpenRouter writes them (openrouter.ai/docs/api-reference/models)."""
    price = deployment.price
    if price is None:
        return None
    rates = price.rates()
    told = {"prompt": rates.input, "completion": rates.output, "input_cache_read": rates.cached}
    if price.per_search:
        told["search"] = price.per_search
    return {name: _plain(amount) for name, amount in told.items()}


def _plain(amount: Decimal) -> str:
    """Write an amount without an exponent."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

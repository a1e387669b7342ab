"""The usage of a key: each limit that binds it, what is spent, held and left of it, and when it begins anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from gateway.config.wildcards import is_pattern
from gateway.money.keys import Caller
from gateway.money.limits import Applied, Parties
from gateway.serving.admission import Received, caller_tags, caller_user, may_use
from gateway.serving.services import Gateway
from gateway.state import StateUnavailable
from gateway.state.counters import Balance
from gateway.wire.limit_errors import counters_unavailable

MOST_LISTED: Final = 200
"""Limits that are listed; of more there may be where each of many models has some."""


async def key_usage(gateway: Gateway, caller: Caller, headers: Received) -> dict[str, Any]:
    """Tell a key of its limits. User and tags are those that its headers name. Raises GatewayError (503)."""
    policy = gateway.config.policy_for(caller.policy, caller.team).name
    user, now = caller.user or caller_user(headers), gateway.now()
    told = {"object": "usage", "key": caller.key, "team": caller.team, "user": user, "policy": policy}
    applied: tuple[Applied, ...] = ()
    if gateway.limits is not None:
        parties = Parties(caller.key, caller.team, user, tuple(caller_tags(headers)))
        applied = gateway.limits.binding(parties, policy, _models(gateway, caller), now)
    listed = applied[:MOST_LISTED]
    balances = await _balances(gateway, listed, now)
    out = told | {"limits": [_described(*one) for one in zip(listed, balances, strict=True)]}
    return out if len(listed) == len(applied) else out | {"more": len(applied) - len(listed)}


def _models(gateway: Gateway, caller: Caller) -> Iterator[str]:
    """Name the models that a key may ask for, as far as they are declared by name."""
    models = gateway.models
    names = (name for name in (*models, *gateway.config.aliases) if not is_pattern(name))
    return (name for name in names if may_use(caller, name, models.get(name)))


async def _balances(gateway: Gateway, applied: tuple[Applied, ...], now: float) -> list[Balance]:
    if not applied or gateway.limiting is None:
        return []
    try:
        return await gateway.limiting.balances(applied, now)
    except StateUnavailable:
        raise counters_unavailable() from None


def _described(one: Applied, balance: Balance) -> dict[str, Any]:
    """Describe a limit; amounts of money are nano-dollars."""
    rule, unit, limit = one.rule, "_nanousd" if one.rule.kind == "money" else "", one.charge.limit
    is_parallel = rule.kind == "parallel"
    spent, held = balance.spent, balance.holds if is_parallel else balance.most
    told: dict[str, Any] = {"scope": one.party, "counts": rule.kind, "place": rule.place}
    if not is_parallel:
        told |= {"period": rule.period, "window": "rolling" if rule.is_rolling else "calendar"}
        told |= {"reset": one.ends, "resets_at": datetime.fromtimestamp(one.ends, UTC).isoformat()}
    told |= {f"limit{unit}": limit, f"spent{unit}": spent, f"held{unit}": held}
    told[f"remaining{unit}"] = None if limit is None else max(0, limit - spent - held)
    if rule.kind == "money":
        told |= {"soft_nanousd": one.soft, "holds": balance.holds}
    return told

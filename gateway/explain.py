"""A dry run: what would be done to a request, told in full. Decides with the same functions as the live path."""

from __future__ import annotations

from typing import Any

from gateway.admission import chosen
from gateway.budget.tokens import Counter
from gateway.fitting import Model, decided
from gateway.policy import Policy
from gateway.rewriting.plan import Refusal
from gateway.wire.chat import Memo, parse

_VERB = {"enforce": "rewritten", "observe": "observed"}


def dry_run(body: bytes, policy: Policy, model: Model, counter: Counter) -> dict[str, Any]:
    """Plan a request body under a policy.

    Returns {model, policy, window, budget, tokens, components: {name: {before, after, room}}, plan, edits, refusal}.
    Raises GatewayError for a body that is not a request.
    """
    request = parse(body, Memo())
    policy = chosen(policy, request, {})
    window = model.bounds(policy)
    found = decided(request, policy, model, window, counter)
    out: dict[str, Any] = {
        "model": model.name,
        "policy": str(policy),
        "mode": policy.mode,
        "window": {"policy": window.policy, "deployment": window.deployment, "reserve": window.reserve},
        "budget": window.budget(request.answer_limit or 0),
    }
    if isinstance(found, Refusal):
        sizes = {name: {"before": size, "after": size, "room": None} for name, size in found.before.items()}
        told = {
            "component": found.component,
            "tokens": found.tokens,
            "room": found.room,
            "at": found.at,
            "illegal": found.illegal,
        }
        return {
            **out,
            "tokens": [found.prompt_tokens, None],
            "components": sizes,
            "plan": "refused",
            "edits": [],
            "refusal": told,
        }
    rewritten = found.changes is not None
    return {
        **out,
        "tokens": [found.tokens_before, found.tokens_after],
        "components": {
            name: {"before": size, "after": found.after[name], "room": found.room.get(name)}
            for name, size in found.before.items()
        },
        "plan": f"{_VERB[policy.mode]}; {found.summary}" if rewritten and policy.mode != "off" else "unchanged",
        "edits": [
            {"at": e.at, "remedy": e.remedy, "tool": e.tool, "before": e.before, "after": e.after, "reason": e.reason}
            for e in found.edits
        ],
        "refusal": None,
    }

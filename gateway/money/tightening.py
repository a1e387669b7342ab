"""Steps that a policy takes as money runs low: how many are reached, and the policy under them. Pure.

Steps add up: one that is reached keeps what those before it set, unless it sets that itself. A window only ever gets
smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from gateway.config.limits import Tightening
from gateway.config.policy import Policy
from gateway.money.limits import Applied
from gateway.state.counters import Balance


class FullestBudget(NamedTuple):
    """The budget of a request of which the largest share is spent."""

    applied: Applied
    spent: int
    limit: int

    def has_reached(self, share: float) -> bool:
        """Say whether so much of it is spent, to the nano-dollar."""
        return self.spent >= Decimal(str(share)) * self.limit


def fullest_budget(applied: Sequence[Applied], balances: Sequence[Balance]) -> FullestBudget | None:
    """Return the fullest of a request's hard budgets; None where it has none. Holds do not count: they may end."""
    budgets = [
        FullestBudget(one, balance.spent, limit)
        for one, balance in zip(applied, balances, strict=True)
        if one.charge.kind == "money" and (limit := one.charge.limit)
    ]
    return max(budgets, key=lambda budget: budget.spent / budget.limit, default=None)


def steps_reached(policy: Policy, budget: FullestBudget) -> int:
    """Return how many steps of a policy are reached."""
    return sum(budget.has_reached(step.at) for step in policy.tighten)


def steps_together(policy: Policy, number: int) -> Tightening:
    """Return the first so many steps as one; at least one."""
    steps = sorted(policy.tighten, key=lambda step: step.at)[:number]
    windows = [step.context_window for step in steps if step.context_window is not None]
    models = [step.model for step in steps if step.model is not None]
    return Tightening(
        at=steps[-1].at,
        context_window=min(windows, default=None),
        model=models[-1] if models else None,
        summaries=all(step.summaries for step in steps),
        recall=all(step.recall for step in steps),
        refuse=any(step.refuse for step in steps),
    )


def tightened_policy(policy: Policy, step: Tightening) -> Policy:
    """Return a policy under a step. Its name stays, its digest is another: it decides other bytes."""
    windows = [one for one in (policy.context_window, step.context_window) if one is not None]
    out = replace(policy, context_window=min(windows, default=None))
    if not step.summaries:
        out = replace(out, summarize=replace(policy.summarize, enabled=False))
    return out if step.recall else replace(out, recall=0.0)


def step_text(step: Tightening, number: int, budget: str) -> str:
    """Say in a header which step a request is under."""
    told = [f"step={number}", f"at={step.at * 100:g}%"]
    if step.context_window is not None:
        told.append(f"context_window={step.context_window}")
    if step.model is not None:
        told.append(f"model={step.model}")
    told += [f"{name}=off" for name, stays in (("summaries", step.summaries), ("recall", step.recall)) if not stays]
    return "; ".join([*told, f"budget={budget}"] if budget else told)

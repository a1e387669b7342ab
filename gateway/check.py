"""What `gateway check` prints of sound files: each policy as absolute tokens, deployment by deployment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.budget.allocation import Window
from gateway.policy import Policy
from gateway.policy_schema import COMPONENTS


@dataclass(frozen=True, slots=True)
class Facts:
    """What a deployment is known to take."""

    deployment: str
    window: int | None
    """In tokens; None where neither the price table nor `model_info.max_input_tokens` says."""
    shared: bool = True
    """Whether the answer is taken out of the same window."""
    margin: float | int = 0
    """What `margin: auto` comes to for it now."""


@dataclass(frozen=True, slots=True)
class Row:
    """A policy, or a profile of it, on one deployment; all amounts in tokens, None where no window is known."""

    policy: str
    deployment: str
    window: int | None
    budget: int | None
    """Most prompt tokens of a request that does not say how long its answer may be."""
    shares: Mapping[str, int]
    """By component; empty where no window is known."""

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def rows(policies: Iterable[Policy], deployments: Sequence[Facts]) -> tuple[Row, ...]:
    """Return every policy and every profile on every deployment."""
    return tuple(
        _row(f"{policy.name}[{variant.profile}]" if variant.profile else policy.name, variant, facts)
        for policy in sorted(policies, key=lambda policy: policy.name)
        for variant in (policy, *(profile.policy for profile in policy.profiles))
        for facts in deployments
    )


def _row(name: str, policy: Policy, facts: Facts) -> Row:
    margin = facts.margin if policy.reserve.margin is None else policy.reserve.margin
    window = Window(policy.context_window, facts.window, facts.shared, policy.reserve.output, margin)
    budget = window.budget()
    bounds = [bound for bound in (policy.context_window, facts.window) if bound is not None]
    if budget is None:
        return Row(name, facts.deployment, None, None, {})
    shares = {component: int(budget * share) for component, share in policy.allocation.by_component().items()}
    return Row(name, facts.deployment, min(bounds), budget, shares)


def render(policies: Iterable[Policy], deployments: Sequence[Facts]) -> str:
    """Return the table, one block per policy with its rules in a sentence, ending in a newline."""
    blocks = []
    for policy in sorted(policies, key=lambda policy: policy.name):
        lines = [f"{policy}", *(f"  {told}" for told in _in_words(policy))]
        table: list[tuple[str, ...]] = [("", "window", "prompt", *COMPONENTS)]
        for row in rows([policy], deployments):
            name = row.policy.removeprefix(policy.name) + " " + row.deployment
            amounts = (row.window, row.budget, *(row.shares.get(c) for c in COMPONENTS))
            table.append((name.strip(), *("unknown" if amount is None else f"{amount:,}" for amount in amounts)))
        blocks.append("\n".join([*lines, *_aligned(table)]) + "\n")
    return "\n".join(blocks)


def _in_words(policy: Policy) -> Iterable[str]:
    margin = policy.reserve.margin
    told = "auto" if margin is None else f"{margin:.1%}" if isinstance(margin, float) else str(margin)
    strict = ", strict" if policy.strict else ""
    yield f"mode {policy.mode}{strict}; reserve {policy.reserve.output:,} for the answer, margin {told}"
    remedies = [
        f"{name} {' > '.join(steps)}"
        for name in ("tool_results", "documents", "examples", "history", "input")
        if (steps := getattr(policy.ladder, name))
    ]
    yield "ladder: " + ("; ".join(remedies) or "nothing is ever cut")
    yield f"fold: when the prompt is over, history down to {policy.fold.target:.0%} of what tools and system text leave"
    for profile in policy.profiles:
        yield f"profile {profile.name}: " + (f"when {profile.when.source}" if profile.when else "when asked for")


def _aligned(table: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()

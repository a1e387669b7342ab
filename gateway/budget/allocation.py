"""How a budget is shared between components: water-filling, so that nothing is cut while room stands unused.

Pure arithmetic in whole tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """What bounds a prompt. All in tokens."""

    policy: int | None
    """The policy's `context_window`; None is the deployment's own."""
    deployment: int | None
    """The deployment's context window; None where nobody has said."""
    shared: bool
    """Whether input and output share the deployment's window."""
    reserve: int
    margin: float | int
    """Kept free for the counter's error: tokens, or a share of the budget."""
    factor: float = 1.0
    """Tokens the provider counts for one of ours."""

    def budget(self, answer_limit: int = 0) -> int | None:
        """Most prompt tokens a request may have, in our count; None where nothing bounds it.

        An answer limit eats the deployment's window where input shares it, never the policy's.
        """
        bounds = []
        if self.policy is not None:
            bounds.append(self.policy - self.reserve)
        if self.deployment is not None:
            bounds.append(self.deployment - (max(self.reserve, answer_limit) if self.shared else 0))
        if not bounds:
            return None
        most = min(bounds)
        margin = self.margin if isinstance(self.margin, int) else int(most * self.margin)
        return max(0, int((most - margin) / self.factor))


def allocate(
    budget: int,
    demand: Mapping[str, int],
    shares: Mapping[str, float],
    borrow: Sequence[str],
    with_remedy: Collection[str],
) -> dict[str, int]:
    """Grant each component its room: what has no remedy first, the others by their shares, the rest along `borrow`.

    Grants never exceed demand, so their sum is at most max(budget, demand of what has no remedy).
    """
    grant = {name: tokens for name, tokens in demand.items() if name not in with_remedy}
    rest = max(0, budget - sum(grant.values()))
    bending = [name for name in demand if name in with_remedy]
    whole = sum(shares.get(name, 0.0) for name in bending) or 1.0
    for name in bending:
        grant[name] = min(demand[name], int(rest * shares.get(name, 0.0) / whole))
    left = rest - sum(grant[name] for name in bending)
    for name in (*borrow, *bending):
        if name in with_remedy and name in grant:
            more = min(left, demand[name] - grant[name])
            grant[name] += more
            left -= more
    return grant


def ceilings(budget: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Under `strict`, the most each component may take."""
    return {name: int(budget * share) for name, share in shares.items()}

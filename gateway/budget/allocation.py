"""How a budget is shared between components: water-filling, so that nothing is cut while room stands unused.

Pure arithmetic in whole tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.budget.calibration import EXACT, Calibration

LESS_ROOM = 0.85
"""Of what was sent, where an upstream finds it too long without saying by how much."""


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
    """Kept free by declaration: tokens, or a share of the budget."""
    calibration: Calibration = EXACT
    """How far the provider's count may be from ours."""
    at_most: int | None = None
    """A bound on the prompt, in our count, that nobody declared: what was sent was too long."""

    @property
    def width(self) -> int | None:
        """The window as the client is told of it; None where nobody has said."""
        return min((window for window in (self.policy, self.deployment) if window is not None), default=None)

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
            return self.at_most
        most = min(bounds)
        margin = self.margin if isinstance(self.margin, int) else int(most * self.margin)
        room = self.calibration.room(most - margin)
        return room if self.at_most is None else min(room, self.at_most)

    def seen_smaller(self, sent: int, counted: int | None, limit: int | None) -> Window:
        """Say what bounds a prompt once an upstream found one of `sent` tokens, by our count, too long.

        Where it said what it `counted` and its `limit`, its count is taken to be that much larger than ours; else
        there is 15% less room than what was sent took.
        """
        if counted is None or limit is None:
            return replace(self, at_most=int(LESS_ROOM * sent))
        known = [window for window in (self.deployment, limit) if window is not None]
        seen = replace(self.calibration, factor=max(1.0, counted / max(1, sent)), margin=0.0)
        return replace(self, deployment=min(known), calibration=seen)


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

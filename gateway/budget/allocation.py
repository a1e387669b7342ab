"""Division of a budget between components by water-filling: nothing is cut while room stands unused.

Pure arithmetic in whole tokens.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.budget.calibration import EXACT, Calibration

LESS_ROOM = 0.85
"""Of what was sent, where an upstream finds it too long without saying by how much."""
OTHER_TEXT = 0.10
"""By how much what a provider counts of one text may be off for another: what is left after a cut, or the next request.
Of a whole conversation, and of what was left of it, Gemma 3 made 1.23 and 1.39 of one of our tokens."""
_SPARE = 0.98
"""Of what is left, where it says by how much: what it leaves out is not counted by the piece."""


USUAL_RESERVE = 4000
"""Tokens kept free for the answer at most, where neither the policy nor the request says how many."""
LARGEST_RESERVE = 4
"""A reserve that nobody declared takes at most the window divided by this."""


def power_of_two(tokens: int) -> int:
    """Round up, so that answer limits that differ a little make no other budget."""
    return 1 << max(0, tokens - 1).bit_length()


def usual_reserve(declared: float | None, width: int | None, max_output: int | None) -> int:
    """Return how many tokens are kept free for the answer of a request that does not say how long it may be.

    `declared` is the policy's `reserve.output`: tokens, a share of the window, or None for auto; `width` is the
    smaller of the policy's and the deployment's window; `max_output` is the most that the model can write.
    """
    if declared is not None:
        return declared if isinstance(declared, int) else int(declared * (width or 0))
    quarter = USUAL_RESERVE if width is None else width // LARGEST_RESERVE
    return min(USUAL_RESERVE, quarter, USUAL_RESERVE if max_output is None else max_output)


@dataclass(frozen=True, slots=True)
class Window:
    """The bounds of a prompt. All in tokens."""

    policy: int | None
    """The policy's `context_window`; None is the deployment's own."""
    deployment: int | None
    """The deployment's context window; None where nobody has said."""
    shared: bool
    """Whether input and output share the deployment's window."""
    reserve: int
    """Kept free for the answer: as declared, or for a request that does not say how long its answer may be."""
    margin: float | int
    """Kept free by declaration: tokens, or a share of the budget."""
    calibration: Calibration = EXACT
    """The error of our count of what the provider counts."""
    at_most: int | None = None
    """A bound on the prompt, in our count, that nobody declared: what was sent was too long."""
    follows: int | None = None
    """The request's own answer limit, where the reserve follows it; None where it does not."""
    thinking: int = 0
    """Tokens of thinking that come on top of the reserve: the request limits thinking, and not the answer."""

    @property
    def width(self) -> int | None:
        """The window as the client is told of it; None where nobody has said."""
        return min((window for window in (self.policy, self.deployment) if window is not None), default=None)

    def budget(self, answer_limit: int = 0) -> int | None:
        """Most prompt tokens a request may have, in our count; None where nothing bounds it.

        Without an answer limit, the budget of all prefixes of a conversation. A limit eats the deployment's window
        where input shares it. The policy's window it eats where the reserve follows it, and at most a quarter of it.
        """
        bounds = []
        if self.policy is not None:
            bounds.append(self.policy - self._reserve_of_policy(self.policy, answer_limit))
        if self.deployment is not None:
            kept = self._reserve_of_deployment(self.deployment, answer_limit) if self.shared else 0
            bounds.append(self.deployment - kept)
        if not bounds:
            return self.at_most
        most = min(bounds)
        margin = self.margin if isinstance(self.margin, int) else int(most * self.margin)
        room = self.calibration.room(most - margin)
        return room if self.at_most is None else min(room, self.at_most)

    def kept_for(self, answer_limit: int = 0) -> int:
        """Return the tokens that are kept free for the answer, of the smaller window, in this request."""
        width = self.width
        if width is None:
            return answer_limit or self.reserve
        most = replace(self, margin=0, calibration=EXACT, at_most=None).budget(answer_limit)
        return width - (width if most is None else most)

    def _reserve_of_policy(self, window: int, answer_limit: int) -> int:
        if self.follows is None:
            return self.reserve
        return min(answer_limit or power_of_two(self.follows), window // LARGEST_RESERVE)

    def _reserve_of_deployment(self, window: int, answer_limit: int) -> int:
        if self.follows is None:
            return max(self.reserve + self.thinking, answer_limit)
        rounded = min(power_of_two(self.follows), max(self.follows, window // 2))
        return answer_limit or rounded

    def answer(self, prompt: int, most: int | None) -> int:
        """Return the answer limit of a request that names none, where the provider must be told one.

        The smaller of the model's cap (`most`) and of the tokens that a prompt of so many, by our count, leaves of the
        window; at least the reserve.
        """
        left = None
        if self.deployment is not None and self.shared:
            left = self.deployment - math.ceil(prompt * self.calibration.most)
        kept = max(1, self.reserve + self.thinking)
        longest = max(kept, min((end for end in (most, left) if end is not None), default=USUAL_RESERVE))
        return longest if most is None else min(most, longest)

    def narrowed(self, limit: int, factor: float) -> Window:
        """Say what bounds a prompt where the upstream has stated its `limit` before, and counts `factor` of our tokens.

        Its count was that of another request. It holds until more is known of how it counts.
        """
        known = [window for window in (self.deployment, limit) if window is not None]
        stated = replace(self.calibration, factor=factor, margin=OTHER_TEXT)
        unknown = self.calibration.version == 0 and factor > 1 and stated.most > self.calibration.most
        return replace(self, deployment=min(known), calibration=stated if unknown else self.calibration)

    def seen_smaller(self, sent: int, counted: int | None, limit: int | None, over: int | None = None) -> Window:
        """Say what bounds a prompt once an upstream found one of `sent` tokens, by our count, too long.

        An upstream that said what it `counted` and its `limit` is taken to count that much more than we do, and of
        other text a tenth more. One that said only its limit, or by how much that was passed (`over`), is believed.
        Else there is 15% less room than the prompt took.
        """
        known = [window for window in (self.deployment, limit) if window is not None]
        if counted is not None and limit is not None:
            factor = max(1.0, counted / max(1, sent))
            seen = replace(self.calibration, factor=factor, margin=OTHER_TEXT if factor > 1 else 0.0)
            return replace(self, deployment=min(known), calibration=seen)
        if over is not None and over < sent:
            return replace(self, at_most=int(_SPARE * (sent - over)))
        if limit is not None and limit < sent:
            return replace(self, deployment=min(known))
        return replace(self, at_most=int(LESS_ROOM * sent))


class Rooms(Protocol):
    """A policy's division of a budget."""

    def rooms(self, budget: int, among: Collection[str], /) -> Mapping[str, int]:
        """Divide a budget among components, in whole tokens."""
        ...


def allocate(
    budget: int,
    demand: Mapping[str, int],
    shares: Rooms,
    borrow: Sequence[str],
    with_remedy: Collection[str],
) -> dict[str, int]:
    """Grant each component its room: what has no remedy first, the others by their shares, the rest along `borrow`.

    Grants never exceed demand, so their sum is at most max(budget, demand of what has no remedy).
    """
    grant = {name: tokens for name, tokens in demand.items() if name not in with_remedy}
    rest = max(0, budget - sum(grant.values()))
    bending = [name for name in demand if name in with_remedy]
    rooms = shares.rooms(rest, bending)
    for name in bending:
        grant[name] = min(demand[name], rooms[name])
    left = rest - sum(grant[name] for name in bending)
    for name in (*borrow, *bending):
        if name in with_remedy and name in grant:
            more = min(left, demand[name] - grant[name])
            grant[name] += more
            left -= more
    return grant

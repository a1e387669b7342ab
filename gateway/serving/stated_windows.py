"""The windows that upstreams state when they find a prompt too long: which are believed, and what they leave. Pure."""

from __future__ import annotations

from gateway.budget.allocation import Window
from gateway.config.policy import Policy
from gateway.routing.too_long import Stated, TooLong

LEAST_WINDOW = 256
"""Tokens below which a window that an upstream states is not believed for the next request."""
MOST_FACTOR = 4.0
"""Tokens that one of ours is believed to be in the count of an upstream, at most."""


def believed(found: TooLong, ours: int, answer_limit: int) -> Stated | None:
    """Give the window and the count that an upstream stated; None where they are not believed.

    `ours` is our count of what was sent.
    """
    limit = found.limit
    if limit is None or limit < LEAST_WINDOW or 2 * (ours + answer_limit) < limit:
        return None  # a prompt that is nowhere near it was not refused for that: an error may quote what a client wrote
    factor = min(MOST_FACTOR, (found.tokens or 0) / max(1, ours))
    return Stated(limit, max(1.0, factor))


def narrowed(window: Window, policy: Policy, stated: Stated | None) -> Window:
    """Say what bounds a prompt once deployments have stated their windows."""
    if stated is None:
        return window
    declared = policy.reserve.margin is not None  # it is kept free, no more and no less
    return window.narrowed(stated.limit, 1.0 if declared else stated.factor)

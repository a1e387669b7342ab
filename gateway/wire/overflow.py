"""The numbers of a request that is longer than the window. Pure values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overflow:
    """The numbers of a request that is longer than the window, for shapes that say so in words of their own."""

    window: int
    prompt: int
    completion: int
    reason: str
    """The rest of what there is to say."""
    most: int | None = None
    """The highest answer limit with which this prompt fits."""
    is_the_limits: bool = False
    """Whether the answer limit is to blame, and not the conversation."""

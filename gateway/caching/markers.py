"""Where the breakpoints of a provider's prompt cache stand in a request: the caller's, and ours beside them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A place up to which a provider keeps a prompt."""

    link: int
    """Index into `Chain.links` of the request as it is sent: 0 is the tools, n the first n messages."""
    lifetime: int
    """In seconds."""
    ours: bool
    """False: the caller's, or the provider's own."""

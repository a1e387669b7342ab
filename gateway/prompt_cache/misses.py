"""Why less was read from a provider's cache than the conversation's previous request had left there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.prompt_cache.contents import Told, Trail, shared
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts

FIRST_SIGHT: Final = "first_sight"
EXPIRED: Final = "expired"
TOOLS: Final = "client_changed_tools"
SYSTEM: Final = "client_changed_system"
MESSAGE: Final = "client_changed"
OUR_FOLD: Final = "our_fold"
BELOW_MINIMUM: Final = "below_minimum"
OTHER_DEPLOYMENT: Final = "other_deployment"
UNMARKED: Final = "unmarked"
PROVIDER: Final = "provider_did_not"

WHAT_IT_MEANS: Final = {
    FIRST_SIGHT: "nothing like it was sent before",
    EXPIRED: "sent before, but longer ago than the provider keeps it",
    TOOLS: "the client's tools, or the schema of the answer, are not those of its previous request",
    SYSTEM: "the client's leading system text is not that of its previous request",
    MESSAGE: "the client changed or took out a message that it had sent before",
    OUR_FOLD: "the policy's rewriting changed text that had been sent before",
    BELOW_MINIMUM: "too short for the provider to keep",
    OTHER_DEPLOYMENT: "the previous request went to another deployment, which has a cache of its own",
    UNMARKED: "the provider keeps what a marker tells it to, and none stood within reach",
    PROVIDER: "it should have been there by the provider's own rules",
}
"""In the order in which a report lists them; `client_changed` has the index of the message after a colon."""


def readable(tokens: int, facts: CacheFacts) -> int:
    """Return how many of a beginning's tokens a provider says it read: none below the least length, then by steps."""
    return 0 if tokens < facts.least else tokens // facts.step * facts.step


@dataclass(frozen=True, slots=True)
class Figures:
    """Tokens of one answered request, by the provider's report and by what its cache was believed to hold."""

    prompt: int
    cached: int
    expected: int


@dataclass(frozen=True, slots=True)
class Miss:
    """Why less was read than could have been, and how many tokens less."""

    cause: str
    tokens: int


def miss_of(
    figures: Figures, sent: Told, came: Chain, previous: Trail | None, facts: CacheFacts, deployment: int, now: float
) -> Miss | None:
    """Name why less was read than the conversation's previous request had made possible; None: all of that was.

    `now` is when it was sent.
    """
    if figures.cached < figures.expected:
        return Miss(PROVIDER, figures.expected - figures.cached)
    if previous is None:
        return None if figures.cached else Miss(_never_or_long_ago(figures, sent, facts), 0)
    left = previous.came if previous.left is None else previous.left
    before = min(previous.tokens, figures.prompt)
    if before and not readable(before, facts):
        return None if figures.cached else Miss(BELOW_MINIMUM, 0)
    lost = max(0, readable(before, facts) - figures.cached)
    last, common = len(left) // 8 - 1, shared(left, sent.chain) - 1
    reached = -1 if sent.match.read is None else sent.match.read
    if (left and reached >= last) or (before and not lost):
        return None if figures.cached else Miss(BELOW_MINIMUM, 0)
    if reached < common and previous.deployment != deployment:
        return Miss(OTHER_DEPLOYMENT, lost)
    may_have_expired = not facts.refreshed or now - previous.at >= min(facts.writes, default=0)
    if reached < common and sent.match.gone is not None and may_have_expired:
        return Miss(EXPIRED, lost)
    if common < last:
        return Miss(_changed(came, previous, last - common), lost)
    return Miss(UNMARKED if facts.matching == "breakpoints" else PROVIDER, lost)


def _never_or_long_ago(figures: Figures, sent: Told, facts: CacheFacts) -> str:
    """Say why nothing was there, where the conversation is not known: another worker may have served it."""
    if figures.prompt < facts.least:
        return BELOW_MINIMUM
    return FIRST_SIGHT if sent.match.gone is None else EXPIRED


def _changed(came: Chain, previous: Trail, lost_by_us: int) -> str:
    """Name the first thing that is not as it was, by who changed more of the previous request's end."""
    kept = shared(previous.came, came)
    if len(previous.came) // 8 - kept < lost_by_us or kept == len(previous.came) // 8:
        return OUR_FOLD
    if kept == 0:
        return TOOLS
    return SYSTEM if kept <= previous.head else f"{MESSAGE}:{kept - 1}"

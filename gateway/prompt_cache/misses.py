"""The cause of a cache miss: less was read than the conversation's previous request had left to read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.prompt_cache.contents import RequestAtCache
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts
from gateway.prompt_cache.trails import Trail, common_links

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

MISS_MEANINGS: Final = {
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
"""The causes, in the order of the report. `client_changed` has the index of the message after a colon."""


def readable_tokens(tokens: int, facts: CacheFacts) -> int:
    """Return the tokens of a prefix that a provider reports as read: none below the least length, then in steps."""
    return 0 if tokens < facts.least else tokens // facts.step * facts.step


@dataclass(frozen=True, slots=True)
class TokenReport:
    """Tokens of one answered request: those that the provider reported, and those that its cache should have read."""

    prompt: int
    cached: int
    expected: int


@dataclass(frozen=True, slots=True)
class Miss:
    """The cause of a miss, and the number of tokens that it did not read."""

    cause: str
    tokens: int


def cause_of_miss(
    report: TokenReport,
    sent: RequestAtCache,
    identity: Chain,
    previous: Trail | None,
    facts: CacheFacts,
    deployment: int,
    now: float,
) -> Miss | None:
    """Name the cause of a miss; None if everything was read that the previous request had left.

    `now` is the time at which the request was sent.
    """
    if report.cached < report.expected:
        return Miss(PROVIDER, report.expected - report.cached)
    if previous is None:
        return None if report.cached else Miss(_never_or_long_ago(report, sent, facts), 0)
    readable = previous.original if previous.readable is None else previous.readable
    before = min(previous.tokens, report.prompt)
    if before and not readable_tokens(before, facts):
        return None if report.cached else Miss(BELOW_MINIMUM, 0)
    lost = max(0, readable_tokens(before, facts) - report.cached)
    last, common = len(readable) // 8 - 1, common_links(readable, sent.chain) - 1
    depth = -1 if sent.match.read is None else sent.match.read
    if (readable and depth >= last) or (before and not lost):
        return None if report.cached else Miss(BELOW_MINIMUM, 0)
    if depth < common and previous.deployment != deployment:
        return Miss(OTHER_DEPLOYMENT, lost)
    may_have_expired = not facts.refreshed or now - previous.at >= min(facts.writes, default=0)
    if depth < common and sent.match.expired is not None and may_have_expired:
        return Miss(EXPIRED, lost)
    if common < last:
        return Miss(_changed(identity, previous, last - common), lost)
    return Miss(UNMARKED if facts.matching == "breakpoints" else PROVIDER, lost)


def _never_or_long_ago(report: TokenReport, sent: RequestAtCache, facts: CacheFacts) -> str:
    """Name the cause for an unknown conversation. Another worker may have served it before."""
    if report.prompt < facts.least:
        return BELOW_MINIMUM
    return FIRST_SIGHT if sent.match.expired is None else EXPIRED


def _changed(identity: Chain, previous: Trail, lost_by_us: int) -> str:
    """Name the first difference, by the side that changed more of the previous request's end: the client or the
    gateway.
    """
    common = common_links(previous.original, identity)
    if len(previous.original) // 8 - common < lost_by_us or common == len(previous.original) // 8:
        return OUR_FOLD
    if common == 0:
        return TOOLS
    return SYSTEM if common <= previous.head else f"{MESSAGE}:{common - 1}"

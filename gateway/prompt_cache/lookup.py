"""One request at one provider cache: the lookup before it is sent, and the identity of the client who sent it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.budget.components import OVERHEAD_REPLY, fits_by_bytes
from gateway.conversation import Changes
from gateway.prompt_cache.contents import CachedPrefix, RequestAtCache
from gateway.prompt_cache.markers import StableEnds, find_stable_ends
from gateway.prompt_cache.misses import BELOW_MINIMUM
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts, CachingDeployment
from gateway.prompt_cache.trails import Trail
from gateway.wire.chat import ChatRequest


@dataclass(frozen=True, slots=True)
class ConversationOwner:
    """Whom a request is from, as far as caches and habits are concerned."""

    conversation: tuple[str, ...]
    """Whom conversations never pass between."""
    group: tuple[str, ...]
    """What the policy's `group_by` tells prefix groups apart by."""
    kind: str
    """Whose habits are learned together: a team, under one policy, of one model."""
    is_gateway: bool = False
    """Whether it is the gateway's own, a summary say: it goes on from nothing, nothing is learned from it, and nobody
    would have sent it without the gateway.
    """


@dataclass(slots=True)
class CacheLookup:
    """One request at one deployment: what its cache was believed to hold when it was sent."""

    request: ChatRequest
    changes: Changes | None
    facts: CacheFacts
    deployment: int
    scope: int
    head: int
    """How many leading system messages there are."""
    now: float
    sent: RequestAtCache
    """What leaves, with the caller's breakpoints and the provider's own, and ours once they are `marked`."""
    original: RequestAtCache
    """What it would be had everything always left as it came."""
    identity: Chain
    """The chain by which the client is told from others: as it came, without the system text that was moved."""
    previous: Trail | None
    """The conversation's last request."""
    owner: ConversationOwner
    group: int
    """Its prefix group: the same tools and system text, among those that the policy's `group_by` puts together."""
    is_accepted: bool = False
    cache_key: str | None = None
    """The `prompt_cache_key` that we give it, where the provider keeps apart what is sent with one."""
    prefix: CachedPrefix | None = None
    trail: Trail | None = None
    """Of the conversation, once it arrived; a request of our own leaves none."""

    @property
    def turn(self) -> int:
        """How many requests of the conversation were long enough to be cached, this one included if it is."""
        return 1 if self.previous is None else self.previous.turn + 1

    @property
    def is_first_turn(self) -> bool:
        """Whether none before it was: then it counts as the conversation's first."""
        return self.turn == 1

    @property
    def gap_seconds(self) -> float | None:
        """The time since the conversation's last request."""
        return None if self.previous is None else self.now - self.previous.at

    @property
    def stable_ends(self) -> StableEnds:
        """Where the conversation's next request will agree with this one."""
        return find_stable_ends(self.changes, len(self.request.conversation.messages))

    @property
    def readable_links(self) -> Sequence[int]:
        """The links that it leaves for the next request to read: none behind what was put in for it alone."""
        links, stable_end = self.sent.chain.links, self.stable_ends.stable_end
        if self.facts.matching != "breakpoints":
            return links if stable_end is None else links[: stable_end + 1]
        points = [point.link for point in self.sent.breakpoints if point.whole]
        if points and stable_end is None:
            return links
        return links[: max([link for link in points if stable_end is not None and link <= stable_end], default=-1) + 1]

    @property
    def is_original_uncached(self) -> bool:
        """Whether it left with its own text, which would have been neither read nor written had it left unmarked."""
        return (
            self.sent.chain is self.original.chain
            and not self.original.breakpoints
            and self.original.match.read is None
        )

    @property
    def is_billed_as_original(self) -> bool:
        """Whether nothing tells what was sent from what came, in this cache. Of our own requests nothing came."""
        if self.owner.is_gateway:
            return True
        sent, original = self.sent, self.original
        same = (
            sent.chain is original.chain and sent.breakpoints == original.breakpoints and sent.cache == original.cache
        )
        return same and sent.match.read == original.match.read


def is_uncacheable(deployment: CachingDeployment, request: ChatRequest) -> bool:
    """Whether nothing is known of a deployment's cache, or bytes prove that the request is too short for it."""
    facts = deployment.cache
    if facts.matching == "none" or fits_by_bytes(request.conversation, request.most_tokens, facts.least - 1):
        return True
    prompt = request.message_spans[-1].end - request.message_spans[0].start
    return prompt < facts.least and is_shorter(request, len(request.message_spans), facts.least - OVERHEAD_REPLY)


def miss_without_lookup(deployment: CachingDeployment, cache_lookup: CacheLookup | None) -> str | None:
    """Name the cause where a cache that we know of was not even looked at."""
    return BELOW_MINIMUM if cache_lookup is None and deployment.cache.matching != "none" else None


def is_shorter(request: ChatRequest, link: int, tokens: int) -> bool:
    """Whether bytes prove that tools and so many messages have fewer tokens."""
    conversation, spans = request.conversation, request.message_spans
    most = link + sum([len(text.encode()) for text in conversation.definitions])
    most += spans[link - 1].end - spans[0].start if link else 0
    return most < tokens and not any(message.media for message in conversation.messages[:link])


def opening_link(lookup: CacheLookup) -> int:
    """Return what stays with a conversation: its beginning, up to the first message after the system text."""
    links = lookup.identity.links
    return links[min(lookup.head + 1, len(links) - 1)]

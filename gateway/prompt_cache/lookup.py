"""One request at one provider cache: the lookup before it is sent, and the owner of its conversation. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.budget.components import OVERHEAD_REPLY, fits_by_bytes
from gateway.conversation import Changes
from gateway.prompt_cache.contents import CachedPrefix, RequestAtCache
from gateway.prompt_cache.markers import StableEnds, find_stable_ends
from gateway.prompt_cache.misses import BELOW_MINIMUM
from gateway.prompt_cache.prefixes import MOST_CHAINED, Chain
from gateway.prompt_cache.rules import CacheFacts, CachingDeployment
from gateway.prompt_cache.trails import Trail
from gateway.request import Request


@dataclass(frozen=True, slots=True)
class ConversationOwner:
    """The sender of a request, as prompt caches and habits distinguish senders."""

    conversation: tuple[str, ...]
    """Conversations never pass between two different values of this."""
    group: tuple[str, ...]
    """The values of the policy's `group_by`. Requests that differ here are never of one prefix group."""
    kind: str
    """Habits are learned for this: a team, under one policy, with one model."""
    is_gateway: bool = False
    """True if the gateway itself sends the request, for example to write a summary. Such a request continues no
    conversation and teaches no habits. Without the gateway it would not exist.
    """


@dataclass(slots=True)
class CacheLookup:
    """One request at one deployment, with the believed contents of its cache at the time of sending."""

    request: Request
    changes: Changes | None
    facts: CacheFacts
    deployment: int
    scope: int
    head: int
    """The number of leading system messages."""
    now: float
    sent: RequestAtCache
    """The request as it is sent, with the breakpoints of the caller and the provider; with ours too after `mark`."""
    original: RequestAtCache
    """The request as the client wrote it, at a cache that was only ever sent originals."""
    identity: Chain
    """Prefix hashes of the original request without moved volatile text. They identify the conversation."""
    previous: Trail | None
    """The previous request of the conversation."""
    owner: ConversationOwner
    group: int
    """The prefix group: the requests with the same tools and system text, and the same owner group."""
    is_accepted: bool = False
    cache_key: str | None = None
    """The `prompt_cache_key` that the gateway sets, for a provider that keeps requests apart by it."""
    prefix: CachedPrefix | None = None
    trail: Trail | None = None
    """The trail of this request, once the deployment accepted it. Requests of the gateway leave none."""

    @property
    def turn(self) -> int:
        """Return the number of the conversation's requests that were long enough for the cache, this one included."""
        return 1 if self.previous is None else self.previous.turn + 1

    @property
    def is_first_turn(self) -> bool:
        """True if the conversation had no such request before."""
        return self.turn == 1

    @property
    def gap_seconds(self) -> float | None:
        """Return the time since the previous request of the conversation."""
        return None if self.previous is None else self.now - self.previous.at

    @property
    def stable_ends(self) -> StableEnds:
        """Return the links up to which the next request of the conversation will agree with this one."""
        return find_stable_ends(self.changes, len(self.request.conversation.messages))

    @property
    def readable_links(self) -> Sequence[int]:
        """Return the links that the next request can read. A message inserted for this request alone ends them."""
        links, stable_end = self.sent.chain.links, self.stable_ends.stable_end
        if self.facts.matching != "breakpoints":
            return links if stable_end is None else links[: stable_end + 1]
        points = [point.link for point in self.sent.breakpoints if point.whole]
        if points and stable_end is None:
            return links
        return links[: max([link for link in points if stable_end is not None and link <= stable_end], default=-1) + 1]

    @property
    def is_original_uncached(self) -> bool:
        """True if the text was sent unchanged, and without our markers it would have been neither read nor written."""
        sent, original = self.sent, self.original
        return sent.chain is original.chain and not original.breakpoints and original.match.read is None

    @property
    def is_billed_as_original(self) -> bool:
        """True if the rewritten and the original request would be billed alike by this cache.

        Always true for requests of the gateway itself, which have no original.
        """
        if self.owner.is_gateway:
            return True
        sent, original = self.sent, self.original
        if sent.chain is not original.chain or sent.cache != original.cache:
            return False
        return sent.breakpoints == original.breakpoints and sent.match.read == original.match.read


def is_uncacheable(deployment: CachingDeployment, request: Request) -> bool:
    """Check whether a deployment's cache is unknown, or a request is too short for it by its bytes, or too long."""
    facts = deployment.cache
    if facts.matching == "none" or len(request.conversation.messages) > MOST_CHAINED:
        return True
    if fits_by_bytes(request.conversation, request.most_tokens, facts.least - 1):
        return True
    messages = len(request.conversation.messages)
    if request.extent(0, messages) >= facts.least:
        return False
    return is_shorter(request, messages, facts.least - OVERHEAD_REPLY)


def miss_without_lookup(deployment: CachingDeployment, cache_lookup: CacheLookup | None) -> str | None:
    """Return the cause of a miss without a lookup: the request was too short for a known cache."""
    return BELOW_MINIMUM if cache_lookup is None and deployment.cache.matching != "none" else None


def is_shorter(request: Request, link: int, tokens: int) -> bool:
    """Check whether bytes prove that the tools and the first `link` messages have fewer than `tokens` tokens."""
    conversation = request.conversation
    most = link + sum([len(text.encode()) for text in conversation.definitions])
    most += request.extent(0, link)
    return most < tokens and not any(message.media for message in conversation.messages[:link])


def opening_link(lookup: CacheLookup) -> int:
    """Return the link that stays the same throughout a conversation: up to the first message after the system text."""
    links = lookup.identity.links
    return links[min(lookup.head + 1, len(links) - 1)]

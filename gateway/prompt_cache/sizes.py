"""Tokens up to each link of a request, scaled to the provider's count, and the usage of the original request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from gateway.budget.components import OVERHEAD_REPLY, CountMedia, message_sizes
from gateway.budget.tokens import Counter
from gateway.conversation import Changes, Conversation, Message
from gateway.prompt_cache.breakpoints import Breakpoint
from gateway.prompt_cache.contents import Match
from gateway.prompt_cache.misses import readable_tokens
from gateway.prompt_cache.rules import HOUR, CacheFacts
from gateway.request import Usage


@dataclass(frozen=True, slots=True)
class PrefixSizes:
    """Tokens up to each link of a chain by our count, with the ratio to the provider's."""

    tokens: Sequence[int]
    provider_total: int
    own_total: int
    """Tokens of the same whole prompt: the provider's count, and ours."""

    @classmethod
    def of_whole(cls, tokens: int) -> PrefixSizes:
        """Return the sizes of a prompt of which only the provider's total is needed."""
        return cls((tokens - OVERHEAD_REPLY,), tokens, tokens)

    @property
    def whole(self) -> int:
        """Return the tokens of the whole prompt."""
        return self._scaled(self.tokens[-1] + OVERHEAD_REPLY)

    def up_to(self, link: int) -> int:
        return self._scaled(self.tokens[link])

    def _scaled(self, tokens: int) -> int:
        if self.own_total == self.provider_total:
            return tokens
        return (2 * tokens * self.provider_total + self.own_total) // (2 * self.own_total)


def prefix_sizes(
    conversation: Conversation, changes: Changes | None, usage: Usage | None, counter: Counter, count_media: CountMedia
) -> tuple[PrefixSizes, PrefixSizes]:
    """Count the sent and the original request link by link, and scale both by the provider's count of the sent one.

    Without `usage`, our count is used as the provider's.
    """
    tools = sum(map(counter.count, conversation.counted_definitions))
    original = cumulative_sizes(tools, conversation.messages, counter, count_media)
    sent = original
    if changes is not None:
        sent = cumulative_sizes(tools, changes.applied(conversation.messages), counter, count_media)
    ours = sent[-1] + OVERHEAD_REPLY
    provider_total = ours if usage is None else usage.prompt
    return PrefixSizes(sent, provider_total, ours), PrefixSizes(original, provider_total, ours)


def cumulative_sizes(tools: int, messages: Sequence[Message], counter: Counter, count_media: CountMedia) -> list[int]:
    return list(accumulate(message_sizes(messages, counter.count, count_media, counter.messages), initial=tools))


def inserted_texts(changes: Changes | None) -> list[str]:
    rests = [] if changes is None else [rest.text for rest in changes.system.values()]
    return [] if changes is None else [*changes.texts.values(), *rests, *(one.text for one in changes.inserted)]


def original_usage(
    usage: Usage, sizes: PrefixSizes, points: Sequence[Breakpoint], original_match: Match, facts: CacheFacts
) -> Usage:
    """Return the usage that the provider would have reported for the original request, with the same answer."""
    read = 0 if original_match.read is None else readable_tokens(sizes.up_to(original_match.read), facts)
    written = written_1h = 0
    if facts.matching == "breakpoints":
        ends = [(sizes.up_to(point.link), point.lifetime) for point in points]
        ends = [(tokens, lifetime) for tokens, lifetime in ends if tokens >= facts.least]
        last = max((tokens for tokens, _ in ends), default=0)
        last_1h = max((tokens for tokens, lifetime in ends if lifetime >= HOUR), default=0)
        written, written_1h = max(0, last - read), max(0, last_1h - read)
    return replace(usage, prompt=sizes.whole, cached=read, cache_write=written, cache_write_1h=written_1h)

"""Tokens up to each link of a request, by the provider's own measure, and what the original would have used. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from gateway.budget.components import OVERHEAD_REPLY, CountMedia, message_sizes
from gateway.budget.tokens import Counter
from gateway.conversation import Changes, Conversation, Message
from gateway.prompt_cache.contents import Match
from gateway.prompt_cache.markers import Breakpoint
from gateway.prompt_cache.misses import readable
from gateway.prompt_cache.prefixes import unmarked
from gateway.prompt_cache.rules import HOUR, CacheFacts
from gateway.wire.usage import Usage


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens up to each link of a chain by our count, and how they compare with the provider's."""

    tokens: Sequence[int]
    reported: int
    counted: int
    """Of the same whole prompt: the provider's figure and ours."""

    @classmethod
    def of_whole(cls, tokens: int) -> Sizes:
        """Take the provider's count of a prompt none of whose links is asked for."""
        return cls((tokens - OVERHEAD_REPLY,), tokens, tokens)

    @property
    def whole(self) -> int:
        """Tokens of the whole prompt."""
        return self._corrected(self.tokens[-1] + OVERHEAD_REPLY)

    def upto(self, link: int) -> int:
        return self._corrected(self.tokens[link])

    def _corrected(self, tokens: int) -> int:
        if self.counted == self.reported:
            return tokens
        return (2 * tokens * self.reported + self.counted) // (2 * self.counted)


def sizes_of(
    conversation: Conversation, changes: Changes | None, usage: Usage | None, counter: Counter, count_media: CountMedia
) -> tuple[Sizes, Sizes]:
    """Count what was sent and what came, link by link, and measure both by what the provider made of the first.

    Without `usage` our count is taken for the provider's.
    """
    tools = sum([counter.count(text) for text in map(unmarked, conversation.definitions)])
    came = cumulated(tools, conversation.messages, counter, count_media)
    sent = came
    if changes is not None:
        sent = cumulated(tools, changes.applied(conversation.messages), counter, count_media)
    ours = sent[-1] + OVERHEAD_REPLY
    reported = ours if usage is None else usage.prompt
    return Sizes(sent, reported, ours), Sizes(came, reported, ours)


def cumulated(tools: int, messages: Sequence[Message], counter: Counter, count_media: CountMedia) -> list[int]:
    return list(accumulate(message_sizes(messages, counter.count, count_media, counter.messages), initial=tools))


def new_texts(changes: Changes | None) -> list[str]:
    rests = [] if changes is None else [rest.text for rest in changes.system.values()]
    return [] if changes is None else [*changes.texts.values(), *rests, *(one.text for one in changes.inserted)]


def as_it_came(usage: Usage, sizes: Sizes, points: Sequence[Breakpoint], would_read: Match, facts: CacheFacts) -> Usage:
    """Return what the provider would have reported of the original, for the same answer."""
    read = 0 if would_read.read is None else readable(sizes.upto(would_read.read), facts)
    written = written_1h = 0
    if facts.matching == "breakpoints":
        ends = [(sizes.upto(point.link), point.lifetime) for point in points]
        ends = [(tokens, lifetime) for tokens, lifetime in ends if tokens >= facts.least]
        last = max((tokens for tokens, _ in ends), default=0)
        last_1h = max((tokens for tokens, lifetime in ends if lifetime >= HOUR), default=0)
        written, written_1h = max(0, last - read), max(0, last_1h - read)
    return replace(usage, prompt=sizes.whole, cached=read, cache_write=written, cache_write_1h=written_1h)

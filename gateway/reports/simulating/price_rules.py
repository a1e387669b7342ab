"""Charges of a provider for prompts: named rules, and the prompt cache that they assume.

The cache is a model of its own, written from what providers publish. A prompt is a chain of blocks, tool definitions
first, then the messages; what is read from the cache is the longest chain that was sent before and has not expired.
Pure: the time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.conversation import Conversation, Message


@dataclass(frozen=True, slots=True)
class Rule:
    """Prices of prompt tokens, as multiples of the plain price, and when they are read from the provider's cache."""

    read: float
    write: float
    """Of tokens that were not read, in a prompt long enough to be cached."""
    least: int
    """Tokens below which a prompt is not cached at all."""
    step: int
    """Reads are multiples of so many tokens."""
    lifetime: float
    """Seconds after which an unused prefix is gone; each read begins them anew."""

    def cost(self, tokens: int, cached: int) -> float:
        """Price a prompt, in tokens of the plain price."""
        return cached * self.read + (tokens - cached) * (self.write if tokens >= self.least else 1.0)


NEVER: Final = 2**62
"""As `least`: nothing is ever cached."""

RULES: Final[Mapping[str, Rule]] = {
    "cached .1 write 1.25": Rule(0.1, 1.25, 1024, 1, 300),
    "cached .1 write 1": Rule(0.1, 1.0, 1024, 128, 600),
    "cached .5 write 1": Rule(0.5, 1.0, 1024, 128, 600),
    "no cache": Rule(1.0, 1.0, NEVER, 1, math.inf),
}
"""By name. The first is Anthropic's (platform.claude.com/docs/en/build-with-claude/prompt-caching: writes 1.25, reads
.1, five minutes), the next two OpenAI's of GPT-5 and GPT-4o (platform.openai.com/docs/guides/prompt-caching: from 1,024
tokens on, steps of 128, five to ten minutes of inactivity; reads .1 and .5)."""

Chain = Sequence[tuple[int, int]]
"""For each block of a prompt: a key for everything up to its end, and how many tokens that is."""

_BLOCK_CHARS = 256
"""About half of the 128 tokens that OpenAI's cache works in."""


def chain(model: str, conversation: Conversation, tools_tokens: int, tokens: Sequence[int]) -> Chain:
    """Cut a prompt into blocks. Inside a message, its tokens are taken to be spread evenly over its text."""
    out: list[tuple[int, int]] = []
    key, at = hash(model), 0
    for text, size in _parts(conversation, tools_tokens, tokens):
        length = len(text)
        for start in range(0, length, _BLOCK_CHARS):
            key = hash((key, text[start : start + _BLOCK_CHARS]))
            out.append((key, at + size * min(start + _BLOCK_CHARS, length) // length))
        at += size
    return out


def _parts(conversation: Conversation, tools_tokens: int, tokens: Sequence[int]) -> Iterator[tuple[str, int]]:
    if conversation.definitions:
        yield "\n".join(conversation.definitions), tools_tokens
    for message, size in zip(conversation.messages, tokens, strict=True):
        yield _read_by_the_model(message), size


def _read_by_the_model(message: Message) -> str:
    parts = [message.role, message.name or "", message.call_id or "", message.text]
    parts += [text for call in message.calls for text in (call.id, call.name, call.arguments)]
    parts += [part.data for part in message.media]
    return "\0".join(parts)


@dataclass(slots=True)
class PrefixCache:
    """The prompts that one provider was sent under one rule."""

    rule: Rule
    _used: dict[int, float] = field(default_factory=dict, repr=False)

    def cached(self, prompt: Chain, now: float) -> int:
        """Return how many tokens of a prompt are read from the cache; then remember it."""
        if self.rule.least >= NEVER:
            return 0
        hit, used, lifetime = 0, self._used, self.rule.lifetime
        for key, upto in prompt:
            last = used.get(key)
            if last is None or now - last > lifetime:
                break
            hit = upto
        if prompt and prompt[-1][1] >= self.rule.least:
            used.update((key, now) for key, _ in prompt)
        hit -= hit % self.rule.step
        return hit if hit >= self.rule.least else 0

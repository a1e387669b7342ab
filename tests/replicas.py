"""Engines with prompt caches of their own, and conversations to play to them: what the choice of a deployment is for.

A cache here is blocks of text, evicted least recently used first and the end of a prompt before its beginning, as
vLLM does it (docs.vllm.ai/en/latest/design/prefix_caching). It knows nothing of the gateway's own caching.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from gateway.conversation import Conversation, Message
from gateway.wire.chat.read import message_of

BLOCK = 1024
"""Bytes of text in a block: coarser than an engine's 16 tokens, so that a test takes a second."""

Request = tuple[Conversation, Sequence[int]]
"""What is asked, and the blocks of its text, each named by all that stands before it."""


class PrefixCache:
    """The blocks that one engine has read lately."""

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._held: OrderedDict[int, None] = OrderedDict()

    def read(self, blocks: Sequence[int]) -> int:
        """Read a prompt; return how many of its blocks were there already."""
        hits = next((at for at, block in enumerate(blocks) if block not in self._held), len(blocks))
        for block in reversed(blocks):
            self._held[block] = None
            self._held.move_to_end(block)
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return hits


def requests_of(messages: Sequence[dict[str, Any]]) -> list[Request]:
    """Cut a conversation into its requests: one before each answer of the model."""
    read = [message_of(message) for message in messages]
    text, ends = bytearray(), []
    for message in read:
        text += _text(message)
        ends.append(len(text))
    chained, blocks = blake2b(digest_size=8), []
    for at in range(0, len(text) - BLOCK + 1, BLOCK):
        chained.update(text[at : at + BLOCK])
        blocks.append(int.from_bytes(chained.digest()))
    asked = next((at for at, message in enumerate(read) if message.role == "user"), len(read))
    cuts = [at for at, message in enumerate(read) if at > asked and message.role == "assistant"] or [len(read)]
    return [(Conversation(tuple(read[:at])), blocks[: ends[at - 1] // BLOCK]) for at in cuts]


def _text(message: Message) -> bytes:
    called = "".join(f"{call.name}({call.arguments})" for call in message.calls)
    return f"<{message.role}>{message.text}{called}".encode(errors="surrogatepass")


def made_up(number: int, prompts: int, draw: random.Random) -> list[dict[str, Any]]:
    """Make up a conversation under one of so many system prompts, each of some 2,000 tokens."""
    prompt = number % prompts
    messages = [
        {"role": "system", "content": _prose(random.Random(prompt), 1600)},
        {"role": "user", "content": f"Case {number}: {_prose(draw, 60)}"},
    ]
    for _ in range(draw.randint(3, 24)):
        messages += [
            {"role": "assistant", "content": _prose(draw, draw.randint(20, 120))},
            {"role": "user", "content": _prose(draw, draw.randint(20, 500))},
        ]
    return messages


def _prose(draw: random.Random, words: int) -> str:
    return " ".join(f"{draw.getrandbits(24):x}" for _ in range(words))


def interleaved(
    conversations: Sequence[list[Request]], draw: random.Random, starts_within: float = 1800.0
) -> list[tuple[float, int, Request]]:
    """Play conversations side by side: (seconds, number of the conversation, request), by time."""
    out = []
    for number, requests in enumerate(conversations):
        at = draw.uniform(0, starts_within)
        for request in requests:
            out.append((at, number, request))
            at += draw.lognormvariate(3.0, 1.0)
    return sorted(out, key=lambda one: one[0])


@dataclass(slots=True)
class Played:
    """What playing came to."""

    hits: int = 0
    blocks: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    """By the replica that served them."""
    served: dict[int, list[str]] = field(default_factory=dict)
    """By conversation: who served each of its requests."""

    @property
    def busiest(self) -> float:
        """The busiest replica's requests, as a multiple of the mean."""
        return max(self.requests.values()) * len(self.requests) / sum(self.requests.values())

    @property
    def moves(self) -> int:
        return sum(before != after for run in self.served.values() for before, after in pairwise(run))


def play(
    schedule: Iterable[tuple[float, int, Request]],
    caches: dict[str, PrefixCache],
    choose: Callable[[Conversation, float], str],
) -> Played:
    """Send each request to the replica that `choose` names."""
    out = Played(requests=Counter(dict.fromkeys(caches, 0)))
    for at, number, (conversation, blocks) in schedule:
        name = choose(conversation, at)
        out.hits += caches[name].read(blocks)
        out.blocks += len(blocks)
        out.requests[name] += 1
        out.served.setdefault(number, []).append(name)
    return out

"""The chain of a request: one number for each prefix of it. Pure.

Two requests share a prefix if their links there are equal. The first link covers the tools, functions and response
schema. Each message adds one link. A message is hashed by its meaning: the layout of its JSON, the order of its keys
and its cache markers make no difference to the model, and none to the hash. The name of the model is not covered,
because each deployment's cache has its own number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from gateway.conversation import RUN_OF_RESULTS, Changes, MessageDigest, leading_system
from gateway.memory import USUAL, Memory
from gateway.request import Request
from gateway.wire.shape import shape_of

_PRIME: Final = (1 << 60) - 93
_FACTOR: Final = 0x9E3779B97F4A7C1
"""A chain is a polynomial in the hashes of its messages (64 bits of BLAKE2b each) over the field of this prime. It
costs a tenth of a microsecond a message. Two different prefixes agree once in 2**60. A number below that takes 32
bytes.
"""

MOST_CHAINED: Final = 20_000
"""Most messages of a request that is looked up in a prompt cache: a chain of more holds up other requests."""

_LINK_BYTES: Final = 90
"""The size of a message in a remembered chain: three places in tuples, and two numbers."""
_NEAR: Final = 12
"""The most new messages at the end of a request for which its conversation's chain is extended."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The prefixes of a request, the shortest first."""

    links: tuple[int, ...]
    """links[i] covers the tools and the messages before message i. links[0] covers the tools alone, the last one
    everything.
    """
    message_hashes: tuple[int, ...]
    """The hash of each message alone, without the messages before it."""
    blocks: tuple[int, ...]
    """Positions up to each link, as Anthropic's look-back counts them: one for a tool, a text, an image, a block of
    thinking; one for a run of calls, and one for a run of results.
    """

    def common_links(self, other: Chain) -> int:
        """Count the links that two chains have in common, from the first on."""
        count = 0
        for ours, theirs in zip(self.links, other.links, strict=False):
            if ours != theirs:
                break
            count += 1
        return count


Settings = tuple[int, int | None]
"""A hash of settings by which a provider also keeps prompts apart, and the message from which on it does."""

_HASH: Final = itemgetter(0)


class Digests:
    """Hashes of known messages, and the chains of the latest requests. Bounded in bytes.

    A message read from the same bytes is the same object (`wire.memo.Memo`), and carries its own digest.
    """

    def __init__(self, most_bytes: int = USUAL.bytes_for("prefix digests")) -> None:
        self._digests: Memory[object, MessageDigest] = Memory(most_bytes // 2)
        self._chains: Memory[tuple[int, Settings, int], Chain] = Memory(most_bytes // 2)

    def digest_all(self, request: Request) -> list[MessageDigest]:
        """Return the digest of each message in its original form."""
        messages = request.conversation.messages
        digests = [message.digest for message in messages if message.digest]
        if len(digests) == len(messages):
            return digests
        digest = shape_of(request).digest
        return [message.digest or digest(request, index) for index, message in enumerate(messages)]

    def find_start(self, first: int, settings: Settings, hashes: tuple[int, ...]) -> tuple[Chain, int] | None:
        """Return the chain of an earlier request, and the number of these messages that it begins with."""
        for count in range(len(hashes), max(0, len(hashes) - _NEAR), -1):
            chain = self._chains.get((first, settings, hashes[count - 1]))
            if chain is not None and chain.message_hashes[:count] == hashes[:count]:
                return chain, count
        return None

    def remember(self, chain: Chain, settings: Settings) -> None:
        """Keep a chain for the next request of its conversation, whether its last message stays or is replaced."""
        for hashes in chain.message_hashes[-2:]:
            self._chains.put((chain.links[0], settings, hashes), chain, _LINK_BYTES * len(chain.links) // 2)

    def with_text(self, request: Request, index: int, text: str) -> MessageDigest:
        """Return the digest of a message whose content is replaced by a text."""
        own = request.conversation.messages[index].digest or shape_of(request).digest(request, index)
        key = (own[0], text)
        digest = self._digests.get(key)
        if digest is None:
            digest = shape_of(request).digest_reworded(request, index, text)
            self._digests.put(key, digest, len(text))
        return digest

    def digest_changed(self, request: Request, index: int, changes: Changes) -> MessageDigest:
        """Return the digest of a message as the changes leave it."""
        if index in changes.texts and index not in changes.system and index not in changes.unreasoned:
            return self.with_text(request, index, changes.texts[index])
        shape = shape_of(request)
        raw = shape.message(request, index, changes)
        key = (request.shape, raw)
        digest = self._digests.get(key)
        if digest is None:
            digest = shape.digest_left(raw)
            self._digests.put(key, digest, len(raw))
        return digest

    def digest_inserted(self, request: Request, text: str) -> MessageDigest:
        """Return the digest of a user message that the gateway inserts."""
        key = (request.shape, text)
        digest = self._digests.get(key)
        if digest is None:
            digest = shape_of(request).digest_inserted(text)
            self._digests.put(key, digest, len(text))
        return digest

    def definitions(self, request: Request) -> int:
        """Return the hash of the definitions that stand before the messages."""
        texts = request.conversation.definitions
        if not texts:
            return 1
        key = (request.shape, texts)
        digest = self._digests.get(key)
        if digest is None:
            digest = shape_of(request).definitions_hash(texts), 1
            self._digests.put(key, digest, sum(map(len, texts)))
        return digest[0]


def chain_of(request: Request, changes: Changes | None, digests: Digests, settings: int = 0) -> Chain:
    """Return the chain of a request, in its original form or as the changes leave it.

    `settings` is a hash by which a provider also keeps prompts apart, from the end of the leading system text on.
    """
    read = digests.digest_all(request) if changes is None else _changed_digests(request, changes, digests)
    hashes = tuple(map(_HASH, read))
    first = digests.definitions(request) % _PRIME
    head = leading_system(request.conversation.messages) if settings else None
    nothing = Chain((first,), (), (request.conversation.tools,))
    start, count = digests.find_start(first, (settings, head), hashes) or (nothing, 0)
    if count == len(hashes) == len(start.message_hashes):
        return start
    links, blocks = list(start.links[: count + 1]), list(start.blocks[: count + 1])
    link, total, follows = links[-1], blocks[-1], count > 0 and read[count - 1][1] == RUN_OF_RESULTS
    for index, (hashed, number) in enumerate(read[count:], count):
        link = (link * _FACTOR + hashed + (settings if index == head else 0)) % _PRIME
        if number == RUN_OF_RESULTS:
            total += not follows
            follows = True
        else:
            total += number
            follows = False
        links.append(link)
        blocks.append(total)
    chain = Chain(tuple(links), hashes, tuple(blocks))
    digests.remember(chain, (settings, head))
    return chain


def _changed_digests(request: Request, changes: Changes, digests: Digests) -> list[MessageDigest]:
    inserted: dict[int, list[MessageDigest]] = {}
    for one in changes.inserted:
        inserted.setdefault(one.before, []).append(digests.digest_inserted(request, one.text))
    out: list[MessageDigest] = []
    changed = changes.changed
    digest = shape_of(request).digest
    for index in range(len(request.conversation.messages)):
        out += inserted.get(index, ())
        if index not in changes.dropped:
            out.append(digests.digest_changed(request, index, changes) if index in changed else digest(request, index))
    return out


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def prefix_group(chain: Chain, leading: int, within: Sequence[str] = ()) -> int:
    """Return the prefix group of a request: its tools and its first `leading` messages.

    Requests that differ in `within` (the values of the policy's `group_by`: team, model) are never of one group. With
    the leading system messages, a group is everyone who uses one prompt. With one message more, it is a conversation
    and its branches.
    """
    prefix = chain.links[min(leading, len(chain.message_hashes))]
    return _hash("\n".join([f"{prefix:x}", *within]).encode("utf-8", "surrogatepass"))

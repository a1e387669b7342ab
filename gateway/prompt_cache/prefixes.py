"""The chain of a request: one number for each prefix of it. Pure.

Two requests share a prefix if their links there are equal. The first link covers the tools, functions and response
schema. Each message adds one link. A message is hashed by its meaning: the layout of its JSON, the order of its keys
and its cache markers make no difference to the model, and none to the hash. The name of the model is not covered,
because each deployment's cache has its own number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Final

import orjson

from gateway.conversation import RESULT_ROLES, Changes, leading_system
from gateway.memory import USUAL, Memory
from gateway.wire.chat import ChatRequest, message_left
from gateway.wire.lexical import value

_MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
"""Members that tell a provider where to write its cache. They are not text."""

_PRIME: Final = (1 << 60) - 93
_FACTOR: Final = 0x9E3779B97F4A7C1
"""A chain is a polynomial in the hashes of its messages (64 bits of BLAKE2b each) over the field of this prime. It
costs a tenth of a microsecond a message. Two different prefixes agree once in 2**60. A number below that takes 32
bytes.
"""

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


_MessageDigest = tuple[int, int]
"""The hash of a message, and its positions; `_RESULT` if it belongs to a run of results."""

Settings = tuple[int, int | None]
"""A hash of settings by which a provider also keeps prompts apart, and the message from which on it does."""

_RESULT: Final = -1
_HASH: Final = itemgetter(0)


class Digests:
    """Hashes of known messages, and the chains of the latest requests. Bounded in bytes.

    A message read from the same bytes is the same object (`wire.chat.Memo`), and carries its own digest.
    """

    def __init__(self, most_bytes: int = USUAL.bytes_for("prefix digests")) -> None:
        self._digests: Memory[object, _MessageDigest] = Memory(most_bytes // 2)
        self._chains: Memory[tuple[int, Settings, int], Chain] = Memory(most_bytes // 2)

    def digest(self, request: ChatRequest, index: int) -> _MessageDigest:
        """Return the digest of a message in its original form."""
        message = request.conversation.messages[index]
        if message.digest is not None:
            return message.digest
        raw = request.body[slice(*request.message_spans[index])]
        digest = _digest_of(value(raw), raw)
        object.__setattr__(message, "digest", digest)
        return digest

    def digest_all(self, request: ChatRequest) -> list[_MessageDigest]:
        """Return the digest of each message in its original form."""
        messages = request.conversation.messages
        digests = [message.digest for message in messages if message.digest]
        return (
            digests
            if len(digests) == len(messages)
            else [self.digest(request, index) for index in range(len(messages))]
        )

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

    def with_text(self, request: ChatRequest, index: int, text: str) -> _MessageDigest:
        """Return the digest of a message whose content is replaced by a text."""
        key = (self.digest(request, index)[0], text)
        digest = self._digests.get(key)
        if digest is None:
            start, end = request.message_spans[index]
            digest = _digest_of({**value(request.body[start:end]), "content": text})
            self._digests.put(key, digest, len(text))
        return digest

    def digest_changed(self, request: ChatRequest, index: int, changes: Changes) -> _MessageDigest:
        """Return the digest of a message as the changes leave it."""
        if index in changes.texts and index not in changes.system and index not in changes.unreasoned:
            return self.with_text(request, index, changes.texts[index])
        raw = message_left(request.body[slice(*request.message_spans[index])], changes, index)
        digest = self._digests.get(raw)
        if digest is None:
            digest = _digest_of(value(raw), raw)
            self._digests.put(raw, digest, len(raw))
        return digest

    def digest_inserted(self, text: str) -> _MessageDigest:
        """Return the digest of a user message that the gateway inserts."""
        key = (0, text)
        digest = self._digests.get(key)
        if digest is None:
            digest = _digest_of({"role": "user", "content": text})
            self._digests.put(key, digest, len(text))
        return digest

    def definitions(self, texts: tuple[str, ...]) -> int:
        """Return the hash of the definitions that stand before the messages."""
        if not texts:
            return 1
        digest = self._digests.get(texts)
        if digest is None:
            digest = _hash(b"\n".join([_canonical(value(text.encode()), text.encode()) for text in texts])), 1
            self._digests.put(texts, digest, sum(map(len, texts)))
        return digest[0]


def chain_of(request: ChatRequest, changes: Changes | None, digests: Digests, settings: int = 0) -> Chain:
    """Return the chain of a request, in its original form or as the changes leave it.

    `settings` is a hash by which a provider also keeps prompts apart, from the end of the leading system text on.
    """
    read = digests.digest_all(request) if changes is None else _changed_digests(request, changes, digests)
    hashes = tuple(map(_HASH, read))
    first = digests.definitions(request.conversation.definitions) % _PRIME
    head = leading_system(request.conversation.messages) if settings else None
    nothing = Chain((first,), (), (request.conversation.tools,))
    start, count = digests.find_start(first, (settings, head), hashes) or (nothing, 0)
    if count == len(hashes) == len(start.message_hashes):
        return start
    links, blocks = list(start.links[: count + 1]), list(start.blocks[: count + 1])
    link, total, follows = links[-1], blocks[-1], count > 0 and read[count - 1][1] == _RESULT
    for index, (hashed, number) in enumerate(read[count:], count):
        link = (link * _FACTOR + hashed + (settings if index == head else 0)) % _PRIME
        if number == _RESULT:
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


def without_markers(definition: str) -> str:
    """Return tools as minified JSON without their cache markers, which a provider does not count."""
    if not any(mark in definition for mark in _MARKS):
        return definition
    return orjson.dumps(_without_markers(value(definition.encode()))).decode()


def members_hash(request: ChatRequest, names: Sequence[str]) -> int:
    """Return the hash of these members of a request, by their original bytes; 0 if it has none of them."""
    members = [(name, request.body[slice(*request.spans[name])]) for name in names if name in request.spans]
    return _hash(b"\n".join([name.encode() + b" " + raw for name, raw in members])) if members else 0


def _changed_digests(request: ChatRequest, changes: Changes, digests: Digests) -> list[_MessageDigest]:
    inserted: dict[int, list[_MessageDigest]] = {}
    for one in changes.inserted:
        inserted.setdefault(one.before, []).append(digests.digest_inserted(one.text))
    out: list[_MessageDigest] = []
    changed = changes.changed
    for index in range(len(request.message_spans)):
        out += inserted.get(index, ())
        if index not in changes.dropped:
            out.append(
                digests.digest_changed(request, index, changes) if index in changed else digests.digest(request, index)
            )
    return out


# ---------------------------------------------------------------- what a message means


def _digest_of(fields: Any, raw: bytes = b"") -> _MessageDigest:
    """Hash one message. `raw` replaces a message that cannot be written anew (a number of 30 digits)."""
    if not isinstance(fields, Mapping):
        return _hash(raw), 1
    fields = _plain(fields)
    return _hash(_canonical(fields, raw)), _positions(fields)


def _positions(fields: Mapping[str, Any]) -> int:
    """Count the positions of one message, at least one."""
    role = fields.get("role")
    if isinstance(role, str) and role in RESULT_ROLES:
        return _RESULT
    content, thinking = fields.get("content"), fields.get("thinking_blocks")
    number = len(content) if isinstance(content, list) else 1 if content else 0
    number += len(thinking) if isinstance(thinking, list) else 0
    return max(1, number + (1 if fields.get("tool_calls") else 0))


def _plain(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace a content of one text part by its text. The model sees no difference; a marker needs the part."""
    content = fields.get("content")
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], Mapping):
        return fields
    only = _without_markers(content[0])
    if set(only) != {"type", "text"} or only["type"] != "text":
        return fields
    return {**fields, "content": only["text"]}


def _canonical(fields: Any, raw: bytes) -> bytes:
    if not raw or b"cache_control" in raw or b"prompt_cache_breakpoint" in raw:
        fields = _without_markers(fields)
    try:
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return raw


def _without_markers(read: Any) -> Any:
    """Remove the markers of a message or of definitions, wherever a provider reads them: beside a part or a tool."""
    if isinstance(read, Mapping):
        fields = {key: part for key, part in read.items() if key not in _MARKS}
        content = fields.get("content")
        if isinstance(content, list):
            fields["content"] = [_without_markers(part) for part in content]
        function = fields.get("function")
        if isinstance(function, Mapping):
            fields["function"] = {key: part for key, part in function.items() if key not in _MARKS}
        return fields
    return [_without_markers(part) for part in read] if isinstance(read, list) else read


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

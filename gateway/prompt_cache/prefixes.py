"""The chain of a request: one number for each beginning that it shares, or does not share, with other requests.

Pure. Block 0 is what stands before the messages (tools, functions, response schema), then comes one link a message. Two
requests share a beginning where a link of theirs is equal. A message counts by its meaning: how its JSON is set, in
which order its keys stand, and whether it carries a cache marker, say nothing to the model and do not change it. The
model's name is not in it: caches are kept for each deployment apart.
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
"""Members that tell a provider where to write its cache; they are no text."""

_PRIME: Final = (1 << 60) - 93
_FACTOR: Final = 0x9E3779B97F4A7C1
"""A chain is a polynomial in its messages' hashes (64 bits of BLAKE2b each) over the field of this prime, which costs
a tenth of a microsecond a message: two different beginnings agree once in 2**60. A number below that takes 32 bytes."""

_LINK_BYTES: Final = 90
"""What a message takes in a remembered chain: three places in tuples, and two numbers."""
_NEAR: Final = 12
"""How many messages at the end of a request may be new to its conversation for its chain to be extended."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A request's beginnings, the shortest first."""

    links: tuple[int, ...]
    """links[i] covers the tools and the messages before message i: links[0] the tools alone, the last one everything.
    """
    own: tuple[int, ...]
    """The hash of each message by itself, whatever stands before it."""
    blocks: tuple[int, ...]
    """Positions up to each link, as Anthropic's look-back counts them: one a tool, a text, an image, a block of
    thinking; one a run of calls, and one a run of results.
    """

    def shared(self, other: Chain) -> int:
        """Count the links that two chains have in common, from the first on."""
        count = 0
        for ours, theirs in zip(self.links, other.links, strict=False):
            if ours != theirs:
                break
            count += 1
        return count


_Told = tuple[int, int]
"""The hash of a message, and its positions; `_RESULT` where it joins a run of results."""

Settings = tuple[int, int | None]
"""What else tells prompts apart, and the message from which on it does."""

_RESULT: Final = -1
_HASH: Final = itemgetter(0)


class Digests:
    """Hashes of what was seen before, and the chains of the latest requests. Bounded in bytes.

    A message that was read from the same bytes is the same object (`wire.chat.Memo`), and carries its own.
    """

    def __init__(self, most_bytes: int = USUAL.bytes_for("prefix digests")) -> None:
        self._told: Memory[object, _Told] = Memory(most_bytes // 2)
        self._chains: Memory[tuple[int, Settings, int], Chain] = Memory(most_bytes // 2)

    def of(self, request: ChatRequest, index: int) -> _Told:
        """Return the hash and the positions of a message as it came."""
        message = request.conversation.messages[index]
        if message.digest is not None:
            return message.digest
        raw = request.body[slice(*request.message_spans[index])]
        told = _told(value(raw), raw)
        object.__setattr__(message, "digest", told)
        return told

    def of_all(self, request: ChatRequest) -> list[_Told]:
        """Return those of each message as it came."""
        messages = request.conversation.messages
        known = [message.digest for message in messages if message.digest]
        return known if len(known) == len(messages) else [self.of(request, index) for index in range(len(messages))]

    def begun(self, first: int, settings: Settings, own: tuple[int, ...]) -> tuple[Chain, int] | None:
        """Return a chain that an earlier request had, and with how many messages of these it begins."""
        for count in range(len(own), max(0, len(own) - _NEAR), -1):
            chain = self._chains.get((first, settings, own[count - 1]))
            if chain is not None and chain.own[:count] == own[:count]:
                return chain, count
        return None

    def keep(self, chain: Chain, settings: Settings) -> None:
        """Keep a chain for the next request of its conversation, whether its last message stays or is another."""
        for own in chain.own[-2:]:
            self._chains.put((chain.links[0], settings, own), chain, _LINK_BYTES * len(chain.links) // 2)

    def with_text(self, request: ChatRequest, index: int, text: str) -> _Told:
        """Return those of a message whose content is replaced by a text."""
        key = (self.of(request, index)[0], text)
        told = self._told.get(key)
        if told is None:
            start, end = request.message_spans[index]
            told = _told({**value(request.body[start:end]), "content": text})
            self._told.put(key, told, len(text))
        return told

    def left(self, request: ChatRequest, index: int, changes: Changes) -> _Told:
        """Return those of a message that leaves changed."""
        if index in changes.texts and index not in changes.system and index not in changes.unreasoned:
            return self.with_text(request, index, changes.texts[index])
        raw = message_left(request.body[slice(*request.message_spans[index])], changes, index)
        told = self._told.get(raw)
        if told is None:
            told = _told(value(raw), raw)
            self._told.put(raw, told, len(raw))
        return told

    def ours(self, text: str) -> _Told:
        """Return those of a user message that we put in."""
        key = (0, text)
        told = self._told.get(key)
        if told is None:
            told = _told({"role": "user", "content": text})
            self._told.put(key, told, len(text))
        return told

    def definitions(self, texts: tuple[str, ...]) -> int:
        """Return the hash of what stands before the messages."""
        if not texts:
            return 1
        told = self._told.get(texts)
        if told is None:
            told = _hash(b"\n".join([_canonical(value(text.encode()), text.encode()) for text in texts])), 1
            self._told.put(texts, told, sum(map(len, texts)))
        return told[0]


def chain_of(request: ChatRequest, changes: Changes | None, digests: Digests, settings: int = 0) -> Chain:
    """Return the chain of a request: as it came, or as the changes leave it.

    `settings` is what else tells two prompts apart from behind the leading system text on, for a provider that lets it.
    """
    read = digests.of_all(request) if changes is None else _changed(request, changes, digests)
    own = tuple(map(_HASH, read))
    first = digests.definitions(request.conversation.definitions) % _PRIME
    head = leading_system(request.conversation.messages) if settings else None
    nothing = Chain((first,), (), (request.conversation.tools,))
    known, count = digests.begun(first, (settings, head), own) or (nothing, 0)
    if count == len(own) == len(known.own):
        return known
    links, blocks = list(known.links[: count + 1]), list(known.blocks[: count + 1])
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
    chain = Chain(tuple(links), own, tuple(blocks))
    digests.keep(chain, (settings, head))
    return chain


def unmarked(definition: str) -> str:
    """Return tools, as minified JSON, without the cache markers in them, which a provider reads and does not count."""
    if not any(mark in definition for mark in _MARKS):
        return definition
    return orjson.dumps(_unmarked(value(definition.encode()))).decode()


def settings_of(request: ChatRequest, names: Sequence[str]) -> int:
    """Return the hash of these members of a request, as their bytes came; 0 where it has none of them."""
    said = [(name, request.body[slice(*request.spans[name])]) for name in names if name in request.spans]
    return _hash(b"\n".join([name.encode() + b" " + raw for name, raw in said])) if said else 0


def _changed(request: ChatRequest, changes: Changes, digests: Digests) -> list[_Told]:
    inserted: dict[int, list[_Told]] = {}
    for one in changes.inserted:
        inserted.setdefault(one.before, []).append(digests.ours(one.text))
    out: list[_Told] = []
    changed = changes.changed
    for index in range(len(request.message_spans)):
        out += inserted.get(index, ())
        if index not in changes.dropped:
            out.append(digests.left(request, index, changes) if index in changed else digests.of(request, index))
    return out


# ---------------------------------------------------------------- what a message means


def _told(fields: Any, raw: bytes = b"") -> _Told:
    """Hash one message; `raw` is what stands in for it where it cannot be written anew (a number of 30 digits)."""
    if not isinstance(fields, Mapping):
        return _hash(raw), 1
    fields = _plain(fields)
    return _hash(_canonical(fields, raw)), _positions(fields)


def _positions(fields: Mapping[str, Any]) -> int:
    """Count the positions of one message; it has one at least."""
    role = fields.get("role")
    if isinstance(role, str) and role in RESULT_ROLES:
        return _RESULT
    content, thinking = fields.get("content"), fields.get("thinking_blocks")
    number = len(content) if isinstance(content, list) else 1 if content else 0
    number += len(thinking) if isinstance(thinking, list) else 0
    return max(1, number + (1 if fields.get("tool_calls") else 0))


def _plain(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a content of one text part as that text, which is the same to the model: a marker needs the part."""
    content = fields.get("content")
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], Mapping):
        return fields
    only = _unmarked(content[0])
    if set(only) != {"type", "text"} or only["type"] != "text":
        return fields
    return {**fields, "content": only["text"]}


def _canonical(fields: Any, raw: bytes) -> bytes:
    if not raw or b"cache_control" in raw or b"prompt_cache_breakpoint" in raw:
        fields = _unmarked(fields)
    try:
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return raw


def _unmarked(read: Any) -> Any:
    """Take the markers out of a message or of definitions, wherever a provider reads them: beside a part or a tool."""
    if isinstance(read, Mapping):
        kept = {key: part for key, part in read.items() if key not in _MARKS}
        content = kept.get("content")
        if isinstance(content, list):
            kept["content"] = [_unmarked(part) for part in content]
        function = kept.get("function")
        if isinstance(function, Mapping):
            kept["function"] = {key: part for key, part in function.items() if key not in _MARKS}
        return kept
    return [_unmarked(part) for part in read] if isinstance(read, list) else read


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def group_of(chain: Chain, leading: int, within: Sequence[str] = ()) -> int:
    """Return the prefix group of a request: its tools and its first `leading` messages.

    Requests that differ in `within` (what the policy's `group_by` names: team, model) are never of one group. With the
    leading system messages a group is everyone who uses one prompt; with one message more, a conversation and its
    branches.
    """
    upto = chain.links[min(leading, len(chain.own))]
    return _hash("\n".join([f"{upto:x}", *within]).encode("utf-8", "surrogatepass"))

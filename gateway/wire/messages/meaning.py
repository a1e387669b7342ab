"""The meaning of messages and tools, by which prompt caches compare them. Pure.

The layout of JSON, the order of its keys and cache markers make no difference to a model, and none here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from gateway.conversation import RUN_OF_RESULTS, Changes, MessageDigest
from gateway.request import Request, Setting
from gateway.wire.lexical import value
from gateway.wire.messages.blocks import RESULT
from gateway.wire.messages.cache_marks import dumped, unmarked
from gateway.wire.messages.write import message_bytes

_SETTINGS: Final[Mapping[Setting, Sequence[str]]] = {
    "cache_key": (),
    "salt": (),
    "answer": ("tool_choice", "thinking", "output_config"),
}


def digest(request: Request, index: int) -> MessageDigest:
    """Return the digest of a message as it came. The message carries it from then on."""
    message = request.conversation.messages[index]
    if message.digest is None:
        object.__setattr__(message, "digest", digest_left(message_bytes(request, index)))
    assert message.digest is not None
    return message.digest


def digest_left(raw: bytes) -> MessageDigest:
    """Return the digest of a message by the bytes that it leaves as."""
    fields = value(raw)
    content = _plain(unmarked(fields.get("content")))
    try:
        meaning = dumped({**fields, "content": content})
    except orjson.JSONEncodeError:
        meaning = raw
    return _hash(meaning), _positions(content)


def digest_reworded(request: Request, index: int, text: str) -> MessageDigest:
    """Return the digest of a message whose content is replaced by a text."""
    return digest_left(message_bytes(request, index, Changes({index: text})))


def digest_inserted(text: str) -> MessageDigest:
    """Return the digest of a user message that the gateway inserts."""
    return digest_left(orjson.dumps({"role": "user", "content": text}))


def definitions_hash(texts: Sequence[str]) -> int:
    """Return the hash of the definitions that stand before the messages."""
    return _hash(b"\n".join([_canonical(text.encode()) for text in texts]))


def setting(request: Request, kind: Setting) -> int:
    """Return the hash of members by which providers keep requests apart, by their bytes; 0 if there are none."""
    spans, body = request.original.spans, request.body
    members = [(name, body[slice(*spans[name])]) for name in _SETTINGS[kind] if name in spans]
    return _hash(b"\n".join([name.encode() + b" " + raw for name, raw in members])) if members else 0


def _canonical(raw: bytes) -> bytes:
    try:
        return dumped(unmarked(value(raw)))
    except orjson.JSONEncodeError:
        return raw


def _plain(content: Any) -> Any:
    """Replace a content of one block of text by its text, inside a result too. The model sees no difference."""
    if not isinstance(content, list):
        return content
    if len(content) == 1 and isinstance(content[0], dict):
        only = content[0]
        if set(only) == {"type", "text"} and only["type"] == "text":
            return only["text"]
        if only.get("type") == RESULT:
            return [{**only, "content": _plain(only.get("content"))}]
    return content


def _positions(content: Any) -> int:
    """Count the positions of one message among those that a look-back counts, at least one."""
    if isinstance(content, list):
        if len(content) == 1 and isinstance(content[0], dict) and content[0].get("type") == RESULT:
            return RUN_OF_RESULTS
        return max(1, len(content))
    return 1


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")

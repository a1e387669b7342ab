"""The meaning of messages and tools, by which prompt caches compare them. Pure.

The layout of JSON, the order of its keys and cache markers make no difference to a model, and none here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from gateway.conversation import RESULT_ROLES, RUN_OF_RESULTS, MessageDigest
from gateway.request import Request, Setting
from gateway.wire.chat.cache_marks import unmarked
from gateway.wire.chat.write import message_bytes
from gateway.wire.lexical import value

_SETTINGS: Final[Mapping[Setting, Sequence[str]]] = {
    "cache_key": ("prompt_cache_key",),
    "salt": ("cache_salt",),
    "answer": ("tool_choice", "thinking", "reasoning_effort"),
}


def digest(request: Request, index: int) -> MessageDigest:
    """Return the digest of a message as it came. The message carries it from then on."""
    message = request.conversation.messages[index]
    if message.digest is not None:
        return message.digest
    raw = message_bytes(request, index)
    found = _digest_of(value(raw), raw)
    object.__setattr__(message, "digest", found)
    return found


def digest_left(raw: bytes) -> MessageDigest:
    """Return the digest of a message by the bytes that it leaves as."""
    return _digest_of(value(raw), raw)


def digest_reworded(request: Request, index: int, text: str) -> MessageDigest:
    """Return the digest of a message whose content is replaced by a text."""
    return _digest_of({**value(message_bytes(request, index)), "content": text})


def digest_inserted(text: str) -> MessageDigest:
    """Return the digest of a user message that the gateway inserts."""
    return _digest_of({"role": "user", "content": text})


def definitions_hash(texts: Sequence[str]) -> int:
    """Return the hash of the definitions that stand before the messages."""
    return _hash(b"\n".join([_canonical(value(text.encode()), text.encode()) for text in texts]))


def setting(request: Request, kind: Setting) -> int:
    """Return the hash of members by which providers keep requests apart, by their bytes; 0 if there are none."""
    spans, body = request.original.spans, request.body
    members = [(name, body[slice(*spans[name])]) for name in _SETTINGS[kind] if name in spans]
    return _hash(b"\n".join([name.encode() + b" " + raw for name, raw in members])) if members else 0


def _digest_of(fields: Any, raw: bytes = b"") -> MessageDigest:
    """Hash one message. `raw` replaces a message that cannot be written anew (a number of 30 digits)."""
    if not isinstance(fields, Mapping):
        return _hash(raw), 1
    fields = _plain(fields)
    return _hash(_canonical(fields, raw)), _positions(fields)


def _positions(fields: Mapping[str, Any]) -> int:
    """Count the positions of one message, at least one."""
    role = fields.get("role")
    if isinstance(role, str) and role in RESULT_ROLES:
        return RUN_OF_RESULTS
    content, thinking = fields.get("content"), fields.get("thinking_blocks")
    number = len(content) if isinstance(content, list) else 1 if content else 0
    number += len(thinking) if isinstance(thinking, list) else 0
    return max(1, number + (1 if fields.get("tool_calls") else 0))


def _plain(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace a content of one text part by its text. The model sees no difference; a marker needs the part."""
    content = fields.get("content")
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], Mapping):
        return fields
    only = unmarked(content[0])
    if set(only) != {"type", "text"} or only["type"] != "text":
        return fields
    return {**fields, "content": only["text"]}


def _canonical(fields: Any, raw: bytes) -> bytes:
    if not raw or b"cache_control" in raw or b"prompt_cache_breakpoint" in raw:
        fields = unmarked(fields)
    try:
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return raw


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")

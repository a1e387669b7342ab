"""The meaning of items and tools, by which prompt caches compare them. Pure.

The layout of JSON, the order of its keys and cache markers make no difference to a model, and none here; nor do ids of
items and their status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from gateway.conversation import RUN_OF_RESULTS, MessageDigest
from gateway.request import Request, Setting
from gateway.wire.chat.cache_marks import unmarked
from gateway.wire.lexical import value
from gateway.wire.responses.items import RESULTS, item_kind
from gateway.wire.responses.write import message_bytes

_SETTINGS: Final[Mapping[Setting, Sequence[str]]] = {
    "cache_key": ("prompt_cache_key",),
    "salt": (),
    "answer": ("tool_choice", "reasoning"),
}
_UNSAID: Final = frozenset({"id", "status", "type"})
"""Members of a message that the model does not see."""


def digest(request: Request, index: int) -> MessageDigest:
    """Return the digest of a message as it came. The message carries it from then on."""
    message = request.conversation.messages[index]
    if message.digest is not None:
        return message.digest
    raw = message_bytes(request, index)
    found = _digest_of(_object(value(raw), message.role), raw)
    object.__setattr__(message, "digest", found)
    return found


def digest_left(raw: bytes) -> MessageDigest:
    """Return the digest of a message by the bytes that it leaves as."""
    return _digest_of(_object(value(raw), "system"), raw)


def digest_reworded(request: Request, index: int, text: str) -> MessageDigest:
    """Return the digest of a message whose content is replaced by a text."""
    message = request.conversation.messages[index]
    fields = _object(value(message_bytes(request, index)), message.role)
    return _digest_of({**fields, "output" if "output" in fields else "content": text})


def digest_inserted(text: str) -> MessageDigest:
    """Return the digest of a user message that the gateway inserts."""
    return _digest_of({"role": "user", "content": text})


def definitions_hash(texts: Sequence[str]) -> int:
    """Return the hash of the definitions that stand before the messages."""
    return _hash(b"\n".join([_written(value(text.encode()), text.encode()) for text in texts]))


def setting(request: Request, kind: Setting) -> int:
    """Return the hash of members by which providers keep requests apart, by their bytes; 0 if there are none."""
    spans, body = request.original.spans, request.body
    members = [(name, body[slice(*spans[name])]) for name in _SETTINGS[kind] if name in spans]
    return _hash(b"\n".join([name.encode() + b" " + raw for name, raw in members])) if members else 0


def _object(read: Any, role: str) -> Mapping[str, Any]:
    """Return a message as an object; a string is what somebody says."""
    return read if isinstance(read, dict) else {"role": role, "content": read}


def _digest_of(fields: Mapping[str, Any], raw: bytes = b"") -> MessageDigest:
    kind = item_kind(fields)
    said = {name: held for name, held in fields.items() if name not in _UNSAID} if kind == "message" else fields
    name = "output" if kind in RESULTS else "content"
    held = said.get(name)
    if isinstance(held, list):
        parts = [unmarked(part) for part in held]
        only = parts[0] if len(parts) == 1 and isinstance(parts[0], dict) else {}
        is_text = isinstance(only.get("text"), str) and only.get("type") in ("input_text", "output_text")
        said = {**said, name: only["text"] if is_text else parts}
    positions = RUN_OF_RESULTS if kind in RESULTS else max(1, len(held) if isinstance(held, list) else 1)
    return _hash(_written(said, raw)), positions


def _written(fields: Any, raw: bytes) -> bytes:
    try:
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return raw


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")

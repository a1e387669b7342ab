"""Reasoning that a model of another wire gave, on its way through an item's `encrypted_content`, and back. Pure.

A client returns that text as it came, and so the model gets its thinking back with every signature as it was.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from gateway.wire import lenient
from gateway.wire.chat.reasoning import MEMBERS
from gateway.wire.responses.items import OURS

MOST_BYTES: Final = 4_000_000
"""Of thinking that is read again."""


def encrypted(thinking: Mapping[str, Any]) -> str:
    """Write the members of a chat's message that hold thinking as one text."""
    return OURS + base64.b64encode(lenient.write(dict(thinking))).decode()


def thinking_in(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return those members out of an item of reasoning; none where it is another provider's, or was changed."""
    text = item.get("encrypted_content")
    if not isinstance(text, str) or not text.startswith(OURS) or len(text) > MOST_BYTES:
        return {}
    try:
        read = lenient.read(base64.b64decode(text.removeprefix(OURS), validate=True))
    except (binascii.Error, ValueError):
        return {}
    return {name: read[name] for name in MEMBERS if name in read} if isinstance(read, dict) else {}


def joined_blocks(pieces: list[Any]) -> list[dict[str, Any]]:
    """Put thinking blocks together that came in pieces: a signature ends one."""
    out: list[dict[str, Any]] = []
    is_open = False
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        if piece.get("type") != "thinking":
            out.append({name: held for name, held in piece.items() if name != "index"})
            is_open = False
            continue
        if not is_open:
            out.append({"type": "thinking", "thinking": ""})
        out[-1]["thinking"] += str(piece.get("thinking") or "")
        if piece.get("signature"):
            out[-1]["signature"] = piece["signature"]
        is_open = not piece.get("signature")
    return out

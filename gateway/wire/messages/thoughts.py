"""Reasoning of other providers on its way through blocks of thinking, and back. Pure.

Anthropic's own blocks are signed. What another provider gave has no signature of theirs: in its place stands how it has
to go back, so that a client which sends its blocks as it got them gives every model its own reasoning.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.wire import lenient

OURS: Final = "gateway:"
"""Before what stands in the place of a signature."""


def signature_for(details: Sequence[Any] = (), items: Sequence[Any] = ()) -> str:
    """Write what stands in the place of a signature: OpenRouter's `reasoning_details`, or the items of reasoning that
    litellm hands on of OpenAI's Responses, where there are any.
    """
    held: Any = {_ITEMS: list(items)} if items else list(details)
    return OURS + (base64.b64encode(lenient.write(held)).decode() if held else "")


def is_ours(signature: object) -> bool:
    """Whether a signature is one of these, or none at all."""
    return not isinstance(signature, str) or not signature or signature.startswith(OURS)


def as_members(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the members of a chat's message that hold this reasoning as its provider gave it."""
    own = [block for block in blocks if block.get("type") == "thinking" and is_ours(block.get("signature"))]
    signed = [block for block in blocks if block not in own]
    out: dict[str, Any] = {"thinking_blocks": signed} if signed else {}
    if own:
        held = [_held(block.get("signature")) for block in own]
        for name in ("reasoning_details", _ITEMS):
            out |= {name: listed} if (listed := [one for each in held for one in each.get(name, ())]) else {}
        if not any(held):
            out["reasoning_content"] = "\n".join([str(block.get("thinking") or "") for block in own])
    return out


_ITEMS: Final = "reasoning_items"


def _held(signature: object) -> Mapping[str, list[Any]]:
    """Return what stands in the place of a signature, by the member of a chat's message that it is."""
    if not isinstance(signature, str) or len(signature) <= len(OURS):
        return {}
    try:
        read = lenient.read(base64.b64decode(signature.removeprefix(OURS), validate=True))
    except ValueError:
        return {}
    items = read.get(_ITEMS) if isinstance(read, dict) else None
    if isinstance(items, list):
        return {_ITEMS: items}
    return {"reasoning_details": read} if isinstance(read, list) else {}

"""The reasoning that an assistant's message carries back to its model, and the message without it.

litellm gives Claude's as `thinking_blocks` (signed) with `reasoning_content` beside them, or as parts of the content;
OpenRouter as `reasoning_details`. All other members keep their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.wire.lexical import Span, array_spans, object_spans, splice, value

MEMBERS: Final = ("thinking_blocks", "reasoning_content", "reasoning_details")
PARTS: Final = ("thinking", "redacted_thinking")
"""Types of parts; no set, as what a client calls a type may be anything."""


def reasons(fields: Mapping[str, Any]) -> bool:
    """Whether a message carries reasoning."""
    if fields.get("thinking_blocks") or fields.get("reasoning_content") or fields.get("reasoning_details"):
        return True
    content = fields.get("content")
    if isinstance(content, list):
        return any(isinstance(part, dict) and part.get("type") in PARTS for part in content)
    return False


def without(raw: bytes) -> bytes:
    """Return a message without its reasoning."""
    spans = object_spans(raw)
    content = spans.get("content")
    if content is not None and raw[content.start : content.start + 1] == b"[":
        said = _without_parts(raw, content)
        if said is not None:
            raw = splice(raw, [(*content, said)])
            spans = object_spans(raw)
    return _without_members(raw, spans) if any(name in spans for name in MEMBERS) else raw


def _without_parts(raw: bytes, content: Span) -> bytes | None:
    """Write the content without parts of reasoning, as null where nothing is left; None where there are none."""
    spans = array_spans(raw, content)
    kept = [
        span
        for span, part in zip(spans, value(raw[content.start : content.end]), strict=True)
        if not (isinstance(part, dict) and part.get("type") in PARTS)
    ]
    if len(kept) == len(spans):
        return None
    return b"[" + b",".join([raw[start:end] for start, end in kept]) + b"]" if kept else b"null"


def _without_members(raw: bytes, spans: Mapping[str, Span]) -> bytes:
    start = raw.index(b"{") + 1
    members: list[bytes] = []
    for name, span in spans.items():
        if name not in MEMBERS:
            members.append(raw[start : span.end].lstrip(b" \t\r\n,"))
        start = span.end
    return b"{" + b",".join(members) + raw[start:]

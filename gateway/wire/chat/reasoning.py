"""The reasoning that an assistant's message carries back to its model, and the message without it.

litellm gives Claude's as `thinking_blocks` (signed) with `reasoning_content` beside them, or as parts of the content,
and that of OpenAI's Responses as `reasoning_items` (encrypted); OpenRouter gives `reasoning_details`. All other members
keep their bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from gateway.wire.lexical import DuplicateKey, Span, array_spans, object_spans, splice, value

MEMBERS: Final = ("thinking_blocks", "reasoning_content", "reasoning_details", "reasoning_items")
PARTS: Final = ("thinking", "redacted_thinking")
"""Types of parts; no set, as what a client calls a type may be anything."""


def reasons(fields: Mapping[str, Any]) -> bool:
    """Whether a message carries reasoning."""
    if fields.get("thinking_blocks") or fields.get("reasoning_content") or fields.get("reasoning_details"):
        return True
    if fields.get("reasoning_items"):
        return True
    content = fields.get("content")
    if isinstance(content, list):
        return any(isinstance(part, dict) and part.get("type") in PARTS for part in content)
    return False


_GROWS: Final = ("text", "summary", "data")


def joined_details(pieces: Sequence[Any]) -> list[dict[str, Any]]:
    """Put `reasoning_details` together that came in pieces: those of one index are one
    (openrouter.ai/docs/use-cases/reasoning-tokens).
    """
    out: list[dict[str, Any]] = []
    grown: list[dict[str, list[str]]] = []
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        last = out[-1] if out else {}
        if piece.get("index") is None or any(piece.get(name) != last.get(name) for name in ("index", "type")):
            last = {}
            out.append(last)
            grown.append({})
        last |= {name: held for name, held in piece.items() if held is not None or name not in last}
        for name in _GROWS:
            if isinstance(said := piece.get(name), str):
                grown[-1].setdefault(name, []).append(said)
    for whole, texts in zip(out, grown, strict=True):
        whole |= {name: "".join(said) for name, said in texts.items()}
    return out


def without_reasoning(raw: bytes) -> bytes:
    """Return a message without its reasoning."""
    return without_members(without_parts(raw), MEMBERS)


def without_parts(raw: bytes) -> bytes:
    """Return a message without parts of reasoning in its content, which is null where nothing is left."""
    content = object_spans(raw).get("content")
    if content is None or raw[content.start : content.start + 1] != b"[":
        return raw
    said = _spoken(raw, content)
    return raw if said is None else splice(raw, [(*content, said)])


def _spoken(raw: bytes, content: Span) -> bytes | None:
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


def without_members(raw: bytes, names: Collection[str]) -> bytes:
    """Return an object without these members; the others keep their bytes."""
    try:
        spans = object_spans(raw)
    except DuplicateKey:
        return raw
    if not any(name in spans for name in names):
        return raw
    start = raw.index(b"{") + 1
    members: list[bytes] = []
    for name, span in spans.items():
        if name not in names:
            members.append(raw[start : span.end].lstrip(b" \t\r\n,"))
        start = span.end
    return b"{" + b",".join(members) + raw[start:]

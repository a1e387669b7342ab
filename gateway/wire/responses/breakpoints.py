"""Breakpoints for OpenAI's prompt cache, in the bytes of items: `prompt_cache_breakpoint`, a member of the last part.

A content that is a string becomes one part. Source: developers.openai.com/api/docs/guides/prompt-caching, and the types
of the installed `openai` (`ResponseInputTextParam`). Marks of Anthropic's form have no place here: a request that
leaves as a chat gets them there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

from gateway.conversation import Changes, sent_messages
from gateway.request import Marks, Request
from gateway.wire.lexical import DuplicateKey, array_spans, object_spans, splice, value
from gateway.wire.responses.parts import MARKED_TYPES, Edit, content_of

_BREAKPOINT: Final = b'"prompt_cache_breakpoint":{"mode":"explicit"}'


def broken_up(
    request: Request, changes: Changes | None, marks: Marks | None, left: Callable[[int], bytes]
) -> dict[int, bytes]:
    """Return the bytes of each message of the request that gets a breakpoint. `left` gives those that it leaves as."""
    if marks is None or marks.form != "breakpoint" or not marks.places:
        return {}
    sent = sent_messages(changes, len(request.original.messages))
    out = {}
    for link in marks.places:
        index = sent[link - 1] if 0 < link <= len(sent) else -1
        if index >= request.original.instructions and not (request.original.is_text and changes is not None):
            out[index] = with_breakpoint(left(index))
    return out


def marked_insertion(text: str, number: int, count: int, marks: Marks | None, changes: Changes) -> bytes:
    """Write a message of ours, the n-th one, with its breakpoint where it gets one."""
    raw = orjson.dumps({"role": "user", "content": text})
    if marks is None or marks.form != "breakpoint":
        return raw
    sent = sent_messages(changes, count)
    is_marked = any(0 < link <= len(sent) and sent[link - 1] == -1 - number for link in marks.places)
    return with_breakpoint(raw) if is_marked else raw


def may_end(raw: bytes) -> bool:
    """Whether a message can be marked: its end says something, in a shape that is known, and has no breakpoint yet."""
    return bool(_edits(raw))


def with_breakpoint(raw: bytes) -> bytes:
    """Return a message with a breakpoint at its end; as it is where it cannot carry one."""
    edits = _edits(raw)
    if raw[:1] == b'"' and edits:
        return b'[{"role":"user","content":' + splice(raw, edits) + b"}]"
    return splice(raw, edits)


def _edits(raw: bytes) -> list[Edit]:
    start, end = content_of(raw)
    if raw[start : start + 1] == b'"':
        if not value(raw[start:end]).strip():
            return []
        return [(start, start, b'[{"type":"input_text","text":'), (end, end, b"," + _BREAKPOINT + b"}]")]
    if raw[start : start + 1] != b"[":
        return []
    parts = array_spans(raw, content_of(raw))
    try:
        read = value(raw[slice(*parts[-1])]) if parts else None
        known = {} if read is None else object_spans(raw[slice(*parts[-1])])
    except DuplicateKey:
        return []
    if not isinstance(read, dict) or read.get("type") not in MARKED_TYPES or "prompt_cache_breakpoint" in known:
        return []
    if read["type"] == "input_text" and not str(read.get("text") or "").strip():
        return []
    at = raw.rindex(b"}", parts[-1].start, parts[-1].end)
    return [(at, at, b"," + _BREAKPOINT)]

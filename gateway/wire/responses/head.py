"""The head of a request as a request of its own: tools and leading system text, byte for byte, and next to nothing
behind them.
"""

from __future__ import annotations

from typing import Final

from gateway.request import HEAD_ANSWER_TOKENS, Request

MEMBERS: Final = (
    *("model", "tools", "text", "instructions", "service_tier"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
)
"""The members that go along: those that the provider renders before the input, and those that say where, how and for
how long it caches it."""


def alone(request: Request, head: int) -> bytes:
    """Write a request that begins as this one does, up to its first `head` messages, and says only `.` after them."""
    places, body = request.original, request.body
    spans, items = places.spans, places.messages[places.instructions : head]
    out = [b'"%b":%b' % (name.encode(), body[slice(*spans[name])]) for name in MEMBERS if name in spans]
    said = b"".join([body[start:end] + b"," for start, end in items if not places.is_text])
    out.append(b'"input":[%b{"role":"user","content":"."}]' % said)
    out.append(b'"max_output_tokens":%d,"store":false' % HEAD_ANSWER_TOKENS)
    return b"{%b}" % b",".join(out)

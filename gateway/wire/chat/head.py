"""The head of a request as a request of its own: tools and leading system messages, byte for byte, and next to nothing
behind them.
"""

from __future__ import annotations

from typing import Final

from gateway.request import HEAD_ANSWER_TOKENS, Request

MEMBERS: Final = (
    "model",
    "tools",
    "functions",
    "response_format",
    "web_search_options",
    "speed",
    "service_tier",
    "cache_salt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)
"""The members that go along: those that providers render before the messages, and those that say where, how and for how
long they cache it (the sources stand in providers/*.yaml). The form of the answer changes no prefix up to
here."""


def alone(request: Request, head: int) -> bytes:
    """Write a request that begins as this one does, up to its first `head` messages, and says only `.` after them."""
    body, spans, messages = request.body, request.original.spans, request.original.messages
    out = [b'"%b":%b' % (name.encode(), body[slice(*spans[name])]) for name in MEMBERS if name in spans]
    said = body[messages[0].start : messages[head - 1].end]
    out.append(b'"messages":[%b,{"role":"user","content":"."}]' % said)
    is_older = "max_tokens" in spans and "max_completion_tokens" not in spans
    out.append(b'"%b":%d' % (b"max_tokens" if is_older else b"max_completion_tokens", HEAD_ANSWER_TOKENS))
    return b"{%b}" % b",".join(out)

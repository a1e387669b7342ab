"""The head of a request as a request of its own: tools and leading system text, byte for byte, and next to nothing
behind them.
"""

from __future__ import annotations

from typing import Final

from gateway.request import HEAD_ANSWER_TOKENS, Request
from gateway.wire.messages.write import content_bytes

MEMBERS: Final = ("model", "tools", "speed", "service_tier", "inference_geo", "mcp_servers", "container")
"""The members that go along: those that are rendered before the messages, and those that say where and how they are."""


def alone(request: Request, head: int) -> bytes:
    """Write a request that begins as this one does, up to its first `head` messages, and says only `.` after them."""
    places, body = request.original, request.body
    out = [b'"%b":%b' % (name.encode(), body[slice(*places.spans[name])]) for name in MEMBERS if name in places.spans]
    system = [index for index in range(head) if places.owners[index] < 0]
    if system:
        out.append(b'"system":%b' % _system(request, system))
    after = max((places.owners[index] for index in range(head)), default=-1) + 1
    said = body[places.wire[0].start : places.wire[after - 1].end] + b"," if after else b""
    out.append(b'"messages":[%b{"role":"user","content":"."}],"max_tokens":%d' % (said, HEAD_ANSWER_TOKENS))
    return b"{%b}" % b",".join(out)


def _system(request: Request, indexes: list[int]) -> bytes:
    first = content_bytes(request, 0)
    if first[:1] == b'"':
        return first
    return b"[" + b",".join([content_bytes(request, index)[1:-1] for index in indexes]) + b"]"

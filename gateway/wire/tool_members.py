"""Tools of a request's body, in any shape: read as they stand there, and some of them left out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.request import Request
from gateway.wire.lexical import array_spans, splice, value


def member(request: Request, name: str) -> Any:
    """Read a member of a request's body; None where there is none."""
    span = request.original.spans.get(name)
    return None if span is None else value(request.body[span.start : span.end])


def definitions_of(request: Request) -> list[dict[str, Any]]:
    """Return the definitions under `tools`, as they are; what is no object is an empty one."""
    read = member(request, "tools")
    return [tool if isinstance(tool, dict) else {} for tool in read] if isinstance(read, list) else []


def body_with_tools(request: Request, stay: Sequence[int]) -> bytes:
    """Return a body with these of its tools alone, by index; each keeps its bytes."""
    body, within = request.body, request.original.spans["tools"]
    tools = array_spans(body, within)
    left = b"[" + b",".join([body[tools[i].start : tools[i].end] for i in stay]) + b"]"
    return splice(body, [(*within, left)])

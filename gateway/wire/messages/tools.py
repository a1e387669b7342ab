"""The tool definitions of a Messages request, and the request with some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.request import Request, Tool, with_limit
from gateway.wire.lexical import array_spans, splice, value
from gateway.wire.memo import Memo
from gateway.wire.messages.definitions import is_clients
from gateway.wire.messages.read import parse


def member(request: Request, name: str) -> Any:
    """Read a member of the body; None where there is none."""
    span = request.original.spans.get(name)
    return None if span is None else value(request.body[span.start : span.end])


def tools_of(request: Request) -> list[Tool]:
    """List the definitions under `tools`, as far as their selection needs them."""
    choice, read = member(request, "tool_choice"), member(request, "tools")
    named = choice.get("name") if isinstance(choice, dict) else None
    return [_tool(tool, named) for tool in read] if isinstance(read, list) else []


def _tool(tool: Any, named: Any) -> Tool:
    if not is_clients(tool) or not isinstance(tool.get("name"), str):
        return Tool(None, "", isinstance(tool, dict) and "cache_control" in tool)
    described = tool.get("description")
    text = described if isinstance(described, str) else ""
    return Tool(tool["name"], text, "cache_control" in tool, tool["name"] == named)


def with_tools(request: Request, stay: Sequence[int], memo: Memo) -> Request:
    """Return the request with these of its tools alone, by index; each keeps its bytes."""
    body, within = request.body, request.original.spans["tools"]
    tools = array_spans(body, within)
    left = b"[" + b",".join([body[tools[i].start : tools[i].end] for i in stay]) + b"]"
    return with_limit(parse(splice(body, [(*within, left)]), memo), request.answer_limit)

"""The tool definitions of a Messages request, and the request with some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.request import Request, Tool, with_limit
from gateway.wire.memo import Memo
from gateway.wire.messages.definitions import is_clients
from gateway.wire.messages.read import parse
from gateway.wire.tool_members import body_with_tools, member


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
    return with_limit(parse(body_with_tools(request, stay), memo), request.answer_limit)

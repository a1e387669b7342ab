"""The tool definitions of a chat request, and the request with some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.request import Request, Tool, with_limit
from gateway.wire.chat.cache_marks import is_marked_tool
from gateway.wire.chat.read import parse
from gateway.wire.memo import Memo
from gateway.wire.tool_members import body_with_tools, definitions_of, member


def tools_of(request: Request) -> list[Tool]:
    """List the definitions under `tools`, as far as their selection needs them."""
    named = named_tools(request)
    return [
        Tool(name, _description(tool), is_marked_tool(tool), name in named)
        for tool in definitions_of(request)
        for name in (tool_name(tool),)
    ]


def named_tools(request: Request) -> frozenset[str]:
    """List the tools that `tool_choice` names, in any of its forms."""
    choice = member(request, "tool_choice")
    if not isinstance(choice, dict):
        return frozenset()
    allowed = choice.get("allowed_tools")
    listed = allowed.get("tools") if isinstance(allowed, dict) else None
    chosen = [choice, *(listed if isinstance(listed, list) else [])]
    return frozenset(name for one in chosen if isinstance(one, dict) and (name := tool_name(one)) is not None)


def tool_name(tool: Mapping[str, Any]) -> str | None:
    """Return the name of a function or custom tool; None for a provider's own."""
    function = tool.get("function") or tool.get("custom")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _description(tool: Mapping[str, Any]) -> str:
    function = tool.get("function") or tool.get("custom")
    description = function.get("description") if isinstance(function, dict) else None
    return description if isinstance(description, str) else ""


def with_tools(request: Request, stay: Sequence[int], memo: Memo) -> Request:
    """Return the request with these of its tools alone, by index; each keeps its bytes."""
    return with_limit(parse(body_with_tools(request, stay), memo), request.answer_limit)

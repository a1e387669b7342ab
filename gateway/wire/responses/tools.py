"""The tool definitions of a Responses request, and the request with some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.request import Request, Tool, with_limit
from gateway.wire.memo import Memo
from gateway.wire.responses.read import parse
from gateway.wire.tool_members import body_with_tools, definitions_of, member

_CLIENTS: Final = ("function", "custom")
"""Types of tools that the client runs, and of which one can go without the others."""


def tools_of(request: Request) -> list[Tool]:
    """List the definitions under `tools`, as far as their selection needs them."""
    named = _named(request)
    return [
        Tool(name, _text(tool.get("description")), is_demanded=name in named)
        for tool in definitions_of(request)
        for name in (tool_name(tool),)
    ]


def _named(request: Request) -> frozenset[str]:
    """List the tools that `tool_choice` names, in any of its forms."""
    choice = member(request, "tool_choice")
    if not isinstance(choice, dict):
        return frozenset()
    allowed = choice.get("tools")
    chosen = [choice, *(allowed if isinstance(allowed, list) else [])]
    return frozenset(name for one in chosen if isinstance(one, dict) and (name := tool_name(one)) is not None)


def tool_name(tool: Mapping[str, Any]) -> str | None:
    """Return the name of a function or custom tool; None for a provider's own, and for a namespace of several."""
    name = tool.get("name")
    return name if isinstance(name, str) and tool.get("type") in _CLIENTS else None


def _text(held: Any) -> str:
    return held if isinstance(held, str) else ""


def with_tools(request: Request, stay: Sequence[int], memo: Memo) -> Request:
    """Return the request with these of its tools alone, by index; each keeps its bytes."""
    return with_limit(parse(body_with_tools(request, stay), memo), request.answer_limit)

"""The tools of a Responses request as those of a chat, and the calls of a chat as items again. Pure.

A custom tool, whose input is any text, becomes a function with that text as its one argument. A tool of a namespace is
called `NAMESPACE__NAME`. A provider's own tools have no counterpart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.request import Request
from gateway.wire import lenient
from gateway.wire.responses.items import CALLS, HARMLESS
from gateway.wire.tool_members import member

INPUT: Final = "input"
"""The argument of a function that stands for a custom tool."""
_BETWEEN: Final = "__"
_GRAMMAR: Final = "\n\nThe input must match this {syntax} grammar:\n{definition}"


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A tool as the client knows it."""

    name: str
    is_custom: bool = False
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class ChatTools:
    """The client's tools by the names that a chat calls them by."""

    by_name: Mapping[str, CalledTool] = field(default_factory=dict)

    def called(self, name: str) -> CalledTool:
        """Return the tool that a chat has called; one that nobody knows is a function."""
        return self.by_name.get(name) or CalledTool(name)

    def call(self, item: Mapping[str, Any], kind: str) -> dict[str, Any]:
        """Write an item that calls as a call of a chat."""
        said = item.get(CALLS[kind])
        if kind == "custom_tool_call":
            said = orjson.dumps({INPUT: said}).decode()
        elif not isinstance(said, str):
            said = orjson.dumps(said).decode()
        name = item.get("name")
        named = chat_name(name, item.get("namespace")) if isinstance(name, str) else kind.removesuffix("_call")
        return {"id": item["call_id"], "type": "function", "function": {"name": named, "arguments": said}}


def chat_name(name: str, namespace: Any) -> str:
    """Return the name of a tool in a chat, where there are no namespaces."""
    return f"{namespace}{_BETWEEN}{name}" if isinstance(namespace, str) and namespace else name


def tools_in(request: Request) -> ChatTools:
    """List the tools of a request that a chat can have."""
    found = {}
    for tool, namespace in _listed(member(request, "tools")):
        name = tool["name"]
        found[chat_name(name, namespace)] = CalledTool(name, tool.get("type") == "custom", namespace)
    return ChatTools(found)


def _listed(tools: Any, namespace: str | None = None) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            continue
        if tool.get("type") == "namespace" and namespace is None:
            yield from _listed(tool.get("tools"), tool["name"])
        elif tool.get("type") in ("function", "custom"):
            yield tool, namespace


def chat_tools(request: Request) -> list[dict[str, Any]]:
    """Write the tools of a request as those of a chat, as far as its choice allows them."""
    allowed = _allowed(member(request, "tool_choice"))
    written = [_written(tool, namespace) for tool, namespace in _listed(member(request, "tools"))]
    return [tool for tool in written if allowed is None or tool["function"]["name"] in allowed]


def _written(tool: Mapping[str, Any], namespace: str | None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": chat_name(tool["name"], namespace)}
    if tool.get("type") == "custom":
        only = {"type": "string", "description": "The whole input of the tool, as it is."}
        function["description"] = f"{tool.get('description') or ''}{_grammar(tool.get('format'))}"
        function["parameters"] = {"type": "object", "properties": {INPUT: only}, "required": [INPUT]}
        return {"type": "function", "function": function}
    function |= {name: tool[name] for name in ("description", "parameters", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _grammar(form: Any) -> str:
    if not isinstance(form, dict) or form.get("type") != "grammar":
        return ""
    return _GRAMMAR.format(syntax=form.get("syntax"), definition=form.get("definition"))


def chat_choice(choice: Any) -> Any:
    """Write the choice of a tool as a chat's; None where there is none."""
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "allowed_tools":
        return choice.get("mode") or "auto"
    name = choice.get("name")
    if choice.get("type") not in ("function", "custom") or not isinstance(name, str):
        return None
    return {"type": "function", "function": {"name": chat_name(name, choice.get("namespace"))}}


def _allowed(choice: Any) -> frozenset[str] | None:
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return None
    tools: Sequence[Any] = choice.get("tools") or ()
    return frozenset(
        chat_name(one["name"], one.get("namespace"))
        for one in tools
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    )


def untranslatable_tool(request: Request) -> str | None:
    """Name a tool that a chat cannot have, and that the request depends on; None where there is none."""
    tools = member(request, "tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in ("function", "custom", "namespace", *HARMLESS):
            return f"tools[{number}] ({kind})"
    choice = member(request, "tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else None
    return None if kind in (None, "function", "custom", "allowed_tools") else f"tool_choice ({kind})"


def custom_input(arguments: str) -> str:
    """Return the text that a custom tool was called with; all of the arguments where they have another form."""
    read = lenient.read(arguments.encode("utf-8", "surrogatepass"))
    said = read.get(INPUT) if isinstance(read, dict) else None
    return said if isinstance(said, str) else arguments

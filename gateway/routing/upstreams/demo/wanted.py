"""The demands of a request on the form of its answer: JSON, a call of some tool, several answers.

Read as the models read it, from the request and from its prompt: where nothing but the prompt holds a JSON Schema, as
frameworks write it for models without structured output, that is the form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from gateway.routing.upstreams.demo.prompt import SYSTEM_ROLES, as_list, as_object, content_text
from gateway.routing.upstreams.demo.rules import Complaint

MOST_CHOICES: Final = 128
"""Source: platform.openai.com/docs/api-reference/chat/create, `n`."""

_FORMS: Final = ("text", "json_object", "json_schema")
_MOST_READ: Final = 60_000
"""Characters of a prompt's end that are looked through for a schema."""
_MOST_TRIES: Final = 200
_MOST_KEYS: Final = 20
_QUOTED: Final = re.compile(r"""(['"`])([A-Za-z_]\w{0,40})\1""")

CallKind = Literal["function", "custom", "legacy"]


@dataclass(frozen=True, slots=True)
class CallableTool:
    """Something that may be called."""

    name: str
    parameters: Any
    """The schema of its arguments; a custom tool has none."""
    kind: CallKind


@dataclass(frozen=True, slots=True)
class Choice:
    """The tools that may be called, and whether one has to be."""

    tools: tuple[CallableTool, ...]
    must: bool
    named: bool = False
    """Whether it is one by its name: then its arguments are the answer, as frameworks for structured output ask."""


def choices(fields: Mapping[str, Any]) -> int:
    """Return how many answers are asked for."""
    number = fields.get("n")
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 1


def complaint(fields: Mapping[str, Any]) -> Complaint | None:
    """Refuse a form that no answer can have, in OpenAI's words."""
    number, form = fields.get("n"), as_object(fields.get("response_format")).get("type")
    if number is not None and not (isinstance(number, int) and 1 <= number <= MOST_CHOICES):
        return Complaint(f"Invalid 'n': expected an integer from 1 to {MOST_CHOICES}.", "n")
    if form is not None and form not in _FORMS:
        supported = ", ".join(f"'{each}'" for each in _FORMS)
        return Complaint(f"Invalid value: {str(form)[:80]!r}. Supported values are: {supported}.", "response_format")
    named = _named(fields.get("tool_choice"))
    if named is not None and all(tool.name != named for tool in tools(fields)):
        return Complaint(f"Tool choice {named[:80]!r} not found in 'tools' parameter.", "tool_choice")
    return None


def tools(fields: Mapping[str, Any]) -> list[CallableTool]:
    """List what may be called: tools, and the functions that older programs define."""
    found = []
    for tool in map(as_object, as_list(fields.get("tools"))):
        kind: CallKind = "custom" if tool.get("type") == "custom" else "function"
        definition = as_object(tool.get(kind))
        if _is_named(definition):
            found.append(CallableTool(definition["name"], definition.get("parameters"), kind))
    functions = [as_object(function) for function in as_list(fields.get("functions"))]
    legacy = [CallableTool(each["name"], each.get("parameters"), "legacy") for each in functions if _is_named(each)]
    return [*found, *legacy]


def _is_named(definition: Mapping[str, Any]) -> bool:
    return isinstance(definition.get("name"), str)


def choice(fields: Mapping[str, Any]) -> Choice:
    """Read `tool_choice`, and `function_call` of older programs."""
    every = tools(fields)
    legacy, wanted = fields.get("function_call"), fields.get("tool_choice")
    if wanted is None and legacy is not None:
        wanted = {"function": legacy} if isinstance(legacy, dict) else legacy
    if wanted == "none":
        return Choice((), must=False)
    if (named := _named(wanted)) is not None:
        return Choice(tuple(tool for tool in every if tool.name == named)[:1], must=True, named=True)
    allowed = as_object(as_object(wanted).get("allowed_tools"))
    if allowed:
        names = {_named(tool) for tool in as_list(allowed.get("tools"))}
        listed = tuple(tool for tool in every if tool.name in names)
        return Choice(listed, must=bool(listed) and allowed.get("mode") == "required")
    return Choice(tuple(every), must=bool(every) and wanted == "required")


def _named(chosen: Any) -> str | None:
    read = as_object(chosen)
    name = as_object(read.get("function") or read.get("custom")).get("name")
    return name if isinstance(name, str) else None


# ---------------------------------------------------------------- JSON


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """JSON is asked for."""

    schema: Any
    fenced: bool = False
    """Whether nobody but the prompt asks for it: it then stands in a code block, as models write it."""


def form(fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> AnswerForm | None:
    """Say which JSON is asked for; None where words are."""
    wanted = as_object(fields.get("response_format"))
    if wanted.get("type") == "json_schema":
        return AnswerForm(as_object(wanted.get("json_schema")).get("schema"))
    if wanted.get("type") != "json_object" and (wanted or tools(fields)):
        return None
    texts = _instructions(messages)
    found = [each for text in texts for each in _objects(text)]
    schemas = [each for each in found if _is_schema(each)]
    if wanted.get("type") != "json_object":
        return AnswerForm(schemas[-1], fenced=True) if schemas else None
    if schemas:
        return AnswerForm(schemas[-1])
    return AnswerForm(_like(found[-1]) if found else _keyed(texts))


def _instructions(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells the model what to do: system texts, and the last message where it is a user's."""
    told = [one for one in messages if one.get("role") in SYSTEM_ROLES]
    told += [one for one in messages[-1:] if one.get("role") == "user"]
    return [content_text(one.get("content"))[-_MOST_READ:] for one in told]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, the outermost ones; what cannot be written again is none."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_MOST_TRIES):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            found, end = decoder.raw_decode(text, at)
            read = orjson.loads(orjson.dumps(found))
        except (ValueError, TypeError, RecursionError):
            at += 1
        else:
            at = end
            yield read


def _is_schema(found: Mapping[str, Any]) -> bool:
    return isinstance(found.get("properties"), dict) or "$schema" in found or (
        found.get("type") == "array" and isinstance(found.get("items"), dict)
    )  # fmt: skip


def _like(example: Any, depth: int = 0) -> dict[str, Any]:
    """Make a schema of an example."""
    match example:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case dict() if depth < 8:
            members = {name: _like(each, depth + 1) for name, each in example.items()}
            return {"type": "object", "properties": members, "required": list(members)}
        case list() if depth < 8:
            return {"type": "array", "items": _like(example[0], depth + 1) if example else {}}
    return {"type": "string"}


def _keyed(texts: Sequence[str]) -> dict[str, Any]:
    """Make a schema of the names that a prompt puts in quotes; of one answer where there are none."""
    quoted = dict.fromkeys(found[1] for text in texts for found in _QUOTED.findall(text))
    names = list(quoted)[:_MOST_KEYS] or ["answer"]
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}

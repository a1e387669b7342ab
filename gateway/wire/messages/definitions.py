"""The tools of a Messages request, and the form of its answer: as they count, and as they are marked. Pure.

A tool of the client's counts as the same tool in a chat completion: the same conversation is planned alike in both, and
what a provider renders of it is no more.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from gateway.conversation import Marker
from gateway.wire.chat.cache_marks import marker_of
from gateway.wire.errors import invalid_request
from gateway.wire.lexical import NotJSON, Span, array_spans, value
from gateway.wire.memo import Memo

_LONG_NUMBER: Final = re.compile(rb"[\d.eE+-]{300}")
"""A number that does not read as itself, so that only the bytes as they came can be counted."""


class Definitions(NamedTuple):
    """The tools and the answer's schema of a request."""

    texts: tuple[str, ...] = ()
    """Each as the minified JSON that counts."""
    tools: int = 0
    """The number of tools."""
    size: int = 0
    """Bytes of `tools` as they came."""
    grown: int = 0
    """Bytes by which what counts may be longer than in the body."""
    markers: tuple[Marker, ...] = ()
    """The client's markers on tools."""
    end: int | None = None
    """The place among the bytes of `tools` for a marker behind the last one; None where none can stand."""
    unmarked: tuple[str, ...] | None = None
    """The texts without cache markers, where there are any."""


NO_DEFINITIONS: Final = Definitions()


def read_definitions(body: bytes, spans: Mapping[str, Span], fields: Mapping[str, Any], memo: Memo) -> Definitions:
    """Read the tools, and the schema of the answer."""
    found = NO_DEFINITIONS
    if "tools" in spans:
        raw = body[slice(*spans["tools"])]
        key = b"messages' tools" + raw
        known: Definitions | None = memo.get(key)
        if known is None:
            known = _tools(raw)
            memo.keep(key, known, sum(map(sys.getsizeof, (*known.texts, *(known.unmarked or ())))))
        found = known
    schema = schema_of(fields)
    if schema is None:
        return found
    text = orjson.dumps(schema).decode()
    unmarked = None if found.unmarked is None else (*found.unmarked, text)
    return found._replace(texts=(*found.texts, text), grown=found.grown + len(text), unmarked=unmarked)


def schema_of(fields: Mapping[str, Any]) -> Any:
    """Return the schema that the answer must have (platform.claude.com/docs/en/build-with-claude/structured-outputs:
    `output_config.format`, and `output_format` under the older beta); None where there is none.
    """
    config = fields.get("output_config")
    for wanted in (config.get("format") if isinstance(config, dict) else None, fields.get("output_format")):
        if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
            return wanted.get("schema")
    return None


def _tools(raw: bytes) -> Definitions:
    try:
        read = value(raw)
        spans = array_spans(raw, Span(0, len(raw))) if raw[:1] == b"[" else []
    except NotJSON as error:
        raise invalid_request(f"`tools` is not valid JSON: {error}.", "tools") from None
    if not isinstance(read, list) or not read:
        return Definitions(size=len(raw))
    last = read[-1]
    marked = [marker_of("control", _control(tool), whole=at == len(read) - 1) for at, tool in enumerate(read)]
    if _LONG_NUMBER.search(raw):
        text = plain = raw.decode()
    else:
        text = orjson.dumps([in_chats_form(tool) for tool in read]).decode()
        is_marked = any(marker is not None for marker in marked)
        plain = orjson.dumps([in_chats_form(_unmarked(tool)) for tool in read]).decode() if is_marked else text
    return Definitions(
        texts=(text,),
        tools=len(read),
        size=len(raw),
        grown=max(0, len(text.encode()) - len(raw)),
        markers=tuple([marker for marker in marked if marker is not None]),
        end=raw.rindex(b"}", *spans[-1]) if isinstance(last, dict) and last and _control(last) is None else None,
        unmarked=None if plain is text else (plain,),
    )


def _control(tool: Any) -> Any:
    return tool.get("cache_control") if isinstance(tool, dict) else None


def _unmarked(tool: Any) -> Any:
    return {name: held for name, held in tool.items() if name != "cache_control"} if isinstance(tool, dict) else tool


def is_clients(tool: Any) -> bool:
    """Whether a tool is a function of the client's, and none that the provider knows by its type."""
    return isinstance(tool, dict) and tool.get("type") in (None, "custom") and "input_schema" in tool


def in_chats_form(tool: Any) -> Any:
    """Return a tool of the client's as chat completions write it; another as it is."""
    if not is_clients(tool):
        return tool
    named = {"name": tool.get("name"), "description": tool.get("description"), "parameters": tool["input_schema"]}
    function = {name: held for name, held in named.items() if held is not None}
    rest = {name: held for name, held in tool.items() if name not in ("name", "description", "input_schema", "type")}
    return {"type": "function", "function": function, **rest}

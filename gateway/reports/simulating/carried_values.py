"""Carried values: what an answer used that only an older message told. Those are what a rewrite can lose.

A value (gateway/values.py) of the answer's text or of its calls' arguments is carried when it stands in an older
message than the last two, and nowhere in system text, in tool definitions or in the last two. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.conversation import Conversation, Message, units
from gateway.values import values

_RECENT = 2
_BY_CHANCE = 2
"""Digits up to which a bare number stands in almost any text by chance, and tells nothing."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A value that an answer used, and where in its request it stood last."""

    value: str
    at: int
    """Index of the message."""
    tool: str
    """The tool whose result that message is; else its role."""
    used_by: str
    """`text`, or the name of the tool that was called with it."""


def carried(conversation: Conversation, answer: Message) -> tuple[Carried, ...]:
    """Find the carried values of the answer to a request, in the order in which it uses them, each once."""
    messages = conversation.messages
    recent = max(0, len(messages) - _RECENT)
    texts = [said(message) for message in messages]
    near = "\n".join(
        [*conversation.definitions, *(t for i, t in enumerate(texts) if i >= recent or messages[i].is_system)]
    )
    older = [i for i in range(recent - 1, -1, -1) if not messages[i].is_system]
    tools = _tools(conversation)
    found: dict[str, Carried | None] = {}
    for value, used_by in _used(answer):
        if value in found:
            continue
        holder = None if stands_in(value, near) else next((i for i in older if stands_in(value, texts[i])), None)
        told = None if holder is None else Carried(value, holder, tools.get(holder, messages[holder].role), used_by)
        found[value] = told
    return tuple(one for one in found.values() if one is not None)


def lost(wanted: Iterable[Carried], sent: Conversation) -> list[Carried]:
    """Return those that stand nowhere in the request as it left."""
    whole = "\n".join(map(said, sent.messages))
    return [one for one in wanted if not stands_in(one.value, whole)]


def stands_in(value: str, text: str) -> bool:
    """Whether a text holds a value as a value: not inside a longer word or number."""
    return value in text and _alone(value).search(text) is not None


@lru_cache(4096)
def _alone(value: str) -> re.Pattern[str]:
    before = r"(?<!\w)" if re.match(r"\w", value) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", value) else ""
    if value[0].isdigit():
        before += r"(?<!\d[.,])"
    if value[-1].isdigit():
        after += r"(?![.,]\d)"
    return re.compile(before + re.escape(value) + after)


def said(message: Message) -> str:
    """Return the text of a message and of its calls' arguments."""
    if not message.calls:
        return message.text
    return "\n".join([message.text, *(_told(call.arguments) for call in message.calls)])


@lru_cache(4096)
def _told(arguments: str) -> str:
    """Return the texts and numbers that arguments hold, numbers as they were written."""
    try:
        read = json.loads(arguments, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return arguments
    return "\n".join(_leaves(read))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)


def _used(answer: Message) -> Iterator[tuple[str, str]]:
    for call in answer.calls:
        for value in _telling(_told(call.arguments)):
            yield value, call.name or "a tool"
    for value in _telling(answer.text):
        yield value, "text"


def _telling(text: str) -> Iterator[str]:
    return (value for _, _, value in values(text) if len(value) > _BY_CHANCE or not value.isdigit())


def _tools(conversation: Conversation) -> Mapping[int, str]:
    """Name the tool of each result, by the message's index."""
    messages = conversation.messages
    out: dict[int, str] = {}
    for unit in units(messages):
        names = {call.id: call.name for call in messages[unit.first].calls}
        for index in unit:
            if messages[index].is_result:
                out[index] = names.get(messages[index].call_id or "") or messages[index].name or "tool"
    return out

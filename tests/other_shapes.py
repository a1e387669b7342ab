"""How requests of a shape that is still to come map onto the neutral values: Anthropic's blocks.

A sketch of a reader for the tests, over the members that their example payload has. Source:
https://platform.claude.com/docs/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import orjson

from gateway.conversation import Call, Conversation, Marker, Message, joined_text
from gateway.request import Caching, Request

Wire = dict[str, Any]
Placed = tuple[Message, str]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The `original` of a sketch: the bytes of each message."""

    sizes: tuple[int, ...]

    def extent(self, first: int, after: int) -> int:
        return sum(self.sizes[first:after])


def request_of(shape: str, body: Wire, placed: Sequence[Placed], **more: Any) -> Request:
    """Put a request together out of its messages, each with its place."""
    raw = orjson.dumps(body)
    messages, places = tuple([one for one, _ in placed]), tuple([place for _, place in placed])
    definitions = tuple([orjson.dumps(body["tools"]).decode()] if body.get("tools") else [])
    conversation = Conversation(messages, definitions, len(body.get("tools", ())), places=places)
    elsewhere = next((name for name in ("previous_response_id", "conversation") if body.get(name)), None)
    return Request(
        shape=shape,
        body=raw,
        original=Sizes(tuple([len(message.text.encode()) for message in messages])),
        model=body["model"],
        conversation=replace(conversation, elsewhere=elsewhere),
        most_tokens=len(raw) + len(messages),
        stream=body.get("stream", False),
        asks_usage=True,
        metadata=body.get("metadata", {}),
        choices=1,
        service_tier=body.get("service_tier"),
        **more,
    )


# ---------------------------------------------------------------- Anthropic


def anthropic(body: Wire) -> Request:
    """Read a request of Anthropic's Messages API: its results are messages, wherever they stand."""
    placed = list(_system(body.get("system", [])))
    for index, message in enumerate(body["messages"]):
        placed += _blocks(message, f"messages[{index}]")
    budget = body.get("thinking", {}).get("budget_tokens", 0)
    return request_of(
        "messages",
        body,
        placed,
        answer_limit=body["max_tokens"],
        limited_by="max_tokens",
        thinking=budget,
        user=body.get("metadata", {}).get("user_id"),
        caching=Caching(tool_markers=tuple(_markers(body.get("tools", [])))),
    )


def _system(system: str | list[Wire]) -> Iterator[Placed]:
    if isinstance(system, str):
        yield Message("system", system), "system"
        return
    for index, block in enumerate(system):
        yield _said("system", [block]), f"system[{index}]"


def _blocks(message: Wire, place: str) -> Iterator[Placed]:
    """Yield a message for each result, and one for each run of other blocks."""
    content = message["content"]
    if isinstance(content, str):
        yield Message(message["role"], content), place
        return
    numbered = list(enumerate(content))
    for is_result, run in groupby(numbered, key=lambda one: one[1]["type"] == "tool_result"):
        blocks = list(run)
        if is_result:
            yield from ((_result(block), f"{place}.content[{number}]") for number, block in blocks)
        else:
            said = _said(message["role"], [block for _, block in blocks])
            yield said, place if len(blocks) == len(content) else f"{place}.content[{blocks[0][0]}]"


def _said(role: str, blocks: Sequence[Wire]) -> Message:
    used = [block for block in blocks if block["type"] == "tool_use"]
    parts = tuple([block.get("text", "") for block in blocks if block["type"] in ("text", "image")])
    return Message(
        role,
        joined_text(parts),
        calls=tuple([Call(block["id"], block["name"], orjson.dumps(block["input"]).decode()) for block in used]),
        parts=parts,
        content="parts",
        reasons=any(block["type"] == "thinking" for block in blocks),
        markers=tuple(_markers(blocks)),
    )


def _result(block: Wire) -> Message:
    return Message("tool", block["content"], call_id=block["tool_use_id"], markers=tuple(_markers([block])))


def _markers(blocks: Sequence[Mapping[str, Any]]) -> Iterator[Marker]:
    for number, block in enumerate(blocks):
        if "cache_control" in block:
            yield Marker("control", block["cache_control"].get("ttl"), whole=number == len(blocks) - 1)

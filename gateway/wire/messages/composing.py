"""Events of a message's stream, written and put together. Pure.

The order is that of platform.claude.com/docs/en/build-with-claude/streaming: `message_start`, for each block
`content_block_start`, deltas and `content_block_stop`, then `message_delta` and `message_stop`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.wire import lenient

_GROWN: Final[Mapping[str, tuple[str, str]]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "compaction_delta": ("content", "content"),
}
"""By the type of a delta: the member of it that is added to which member of its block."""


def event_bytes(fields: Mapping[str, Any]) -> bytes:
    """Write an event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (str(fields["type"]).encode(), lenient.write(fields))


STOP: Final = event_bytes({"type": "message_stop"})


def streamed_events(message: Mapping[str, Any]) -> bytes:
    """Write a whole message as the events of a stream."""
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    usage = message.get("usage") or {}
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    out = [event_bytes({"type": "message_start", "message": start})]
    for index, block in enumerate(blocks):
        out += [event_bytes({"index": index, **event}) for event in _of_block(block)]
    ended = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    out.append(event_bytes({"type": "message_delta", "delta": ended, "usage": usage}))
    return b"".join([*out, STOP])


def _of_block(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block.get("type")
    deltas: list[dict[str, Any]] = []
    start = dict(block)
    if kind == "text" and isinstance(block.get("text"), str):
        start["text"], deltas = "", [{"type": "text_delta", "text": block["text"]}]
    elif kind == "thinking":
        start |= {"thinking": "", "signature": ""}
        deltas = [
            {"type": "thinking_delta", "thinking": block.get("thinking") or ""},
            {"type": "signature_delta", "signature": block.get("signature") or ""},
        ]
    elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        start["input"] = {}
        deltas = [{"type": "input_json_delta", "partial_json": lenient.write(block.get("input") or {}).decode()}]
    yield {"type": "content_block_start", "content_block": start}
    yield from ({"type": "content_block_delta", "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop"}


class EventGathering:
    """Events of one stream, put together as they come."""

    __slots__ = ("_blocks", "_inputs", "_message", "is_over")

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}
        self.is_over = False
        """Whether the last event was seen."""

    def add(self, fields: Mapping[str, Any]) -> None:
        """Take in one event."""
        number = fields.get("index")
        index = number if isinstance(number, int) else 0
        match fields:
            case {"type": "message_start", "message": dict(message)}:
                self._message = dict(message)
            case {"type": "content_block_start", "content_block": dict(block)}:
                self._blocks[index] = dict(block)
            case {"type": "content_block_delta", "delta": dict(delta)}:
                self._grow(index, self._blocks.setdefault(index, {"type": "text", "text": ""}), delta)
            case {"type": "message_delta", "delta": dict(delta)}:
                self._message |= delta
                if isinstance(usage := fields.get("usage"), dict):
                    self._message["usage"] = merged_usage(self._message.get("usage"), usage)
            case {"type": "message_stop"}:
                self.is_over = True

    def message(self) -> dict[str, Any]:
        """Return what has come so far as a whole message."""
        for index, pieces in self._inputs.items():
            read = lenient.read("".join(pieces).encode("utf-8", "surrogatepass")) if "".join(pieces).strip() else {}
            self._blocks[index]["input"] = read if isinstance(read, dict) else {}
        return {**self._message, "content": [self._blocks[index] for index in sorted(self._blocks)]}

    def _grow(self, index: int, block: dict[str, Any], delta: Mapping[str, Any]) -> None:
        kind = str(delta.get("type"))
        if kind in _GROWN:
            source, target = _GROWN[kind]
            block[target] = str(block.get(target) or "") + str(delta.get(source) or "")
        elif kind == "signature_delta":
            block["signature"] = delta.get("signature")
        elif kind == "input_json_delta":
            self._inputs.setdefault(index, []).append(str(delta.get("partial_json") or ""))
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta.get("citation")]


def merged_usage(before: object, usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two objects of usage of one stream say together: counts are totals, so the later one's count, where
    it says any.
    """
    known = before if isinstance(before, dict) else {}
    return {**known, **{name: said for name, said in usage.items() if name not in known or said not in (None, 0)}}

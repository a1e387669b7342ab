"""Cache markers of ours, written into blocks, and those of the client's, as the changes leave them. Pure.

A marker stands on the last block of a message: text, media or a result
(platform.claude.com/docs/en/build-with-claude/prompt-caching). Not on reasoning, nor on a text that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from gateway.conversation import Changes, Marker, sent_messages
from gateway.request import Marks
from gateway.wire.chat.cache_marks import HOUR
from gateway.wire.lexical import Span, array_spans, value
from gateway.wire.messages.blocks import RESULT, block_markers, result_message
from gateway.wire.messages.parts import text_block

_CONTROL: Final = b'"cache_control":{"type":"ephemeral"}'
_CONTROL_HOUR: Final = b'"cache_control":{"type":"ephemeral","ttl":"1h"}'
_CARRY: Final = ("text", "image", "document", "search_result", RESULT)


def marker(lifetime: int) -> bytes:
    """Write a marker for a lifetime in seconds."""
    return _CONTROL_HOUR if lifetime >= HOUR else _CONTROL


def by_message(changes: Changes | None, count: int, marks: Marks | None) -> dict[int, bytes]:
    """Give the marker of each message that gets one, named as in `sent_messages`."""
    if marks is None or marks.form != "control":
        return {}
    sent = sent_messages(changes, count)
    return {sent[link - 1]: marker(life) for link, life in marks.places.items() if 0 < link <= len(sent)}


def marked(content: bytes, written: bytes) -> bytes:
    """Return a content with a marker at its end; as it is where it cannot carry one."""
    if content[:1] == b'"':
        text = value(content)
        return b"[" + text_block(text, written) + b"]" if text.strip() else content
    at = marker_place(content)
    return content if at is None else content[:at] + b"," + written + content[at:]


def marker_place(content: bytes) -> int | None:
    """Find where the members of the last block end; None where that block cannot carry a marker."""
    if content[:1] != b"[":
        return None
    spans = array_spans(content, Span(0, len(content)))
    last = value(content[slice(*spans[-1])]) if spans else None
    return spans[-1].end - 1 if _may_carry(last) else None


def _may_carry(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _CARRY or "cache_control" in block:
        return False
    text = block.get("text")
    return block["type"] != "text" or (isinstance(text, str) and bool(text.strip()))


def markers_in(content: bytes) -> tuple[Marker, ...]:
    """List the client's markers in a content as it leaves."""
    read = value(content)
    if not isinstance(read, list):
        return ()
    blocks = [block if isinstance(block, dict) else {} for block in read]
    if len(blocks) == 1 and blocks[0].get("type") == RESULT:
        return result_message(blocks[0]).markers
    return block_markers(blocks)


def of_tools(tools_end: int | None, marks: Marks | None) -> Iterator[tuple[int, int, bytes]]:
    """Yield the splice of a marker behind the tools."""
    if marks is not None and 0 in marks.places and marks.form == "control" and tools_end is not None:
        yield tools_end, tools_end, b"," + marker(marks.places[0])


def unmarked(read: Any) -> Any:
    """Remove the markers of a message, wherever a provider reads them."""
    if isinstance(read, dict):
        fields = {name: held for name, held in read.items() if name != "cache_control"}
        for name in ("content", "source"):
            if isinstance(fields.get(name), list | dict):
                fields[name] = unmarked(fields[name])
        return fields
    return [unmarked(one) for one in read] if isinstance(read, list) else read


def dumped(read: Any) -> bytes:
    """Write what was read, in an order that is the same for the same meaning."""
    return orjson.dumps(read, option=orjson.OPT_SORT_KEYS)

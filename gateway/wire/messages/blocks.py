"""The content of Messages, block by block: its texts, media, calls and cache markers. Pure and total.

Source of the blocks: https://platform.claude.com/docs/en/api/messages/create. A block that nobody here knows rides
along: it is counted by its JSON and never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import orjson

from gateway.conversation import Call, Marker, Media, Message, joined_text
from gateway.wire.chat.cache_marks import marker_of
from gateway.wire.messages.thoughts import is_ours

Block = Mapping[str, Any]

THINKING: Final = ("thinking", "redacted_thinking")
"""Types of blocks that hold reasoning; no set, as what a client calls a type may be anything."""
RESULT: Final = "tool_result"
CALL: Final = "tool_use"

_UNSIGNED: Final = "unsigned"


def said_message(role: str, blocks: Sequence[Any]) -> Message:
    """Read a run of blocks that are no results as one message."""
    known = [block if isinstance(block, dict) else {} for block in blocks]
    parts = tuple([block_text(block) for block in known])
    media = tuple([one for number, block in enumerate(known) for one in block_media(block, number)])
    calls = tuple([_call(block) for block in known if block.get("type") == CALL])
    thoughts = [block for block in known if block.get("type") in THINKING]
    return Message(
        role=role,
        text=joined_text(parts),
        parts=parts,
        calls=calls,
        media=media,
        content=_form(known, parts, media),
        reasons=bool(thoughts),
        speaks_otherwise=bool(thoughts),
        markers=block_markers(known),
        foreign=(_UNSIGNED,) if any(map(is_unsigned, thoughts)) else (),
    )


def result_message(block: Block) -> Message:
    """Read a result as a message of its own."""
    content, call_id = block.get("content"), block.get("tool_use_id")
    own = marker_of("control", block.get("cache_control"))
    call_id = call_id if isinstance(call_id, str) else None
    if isinstance(content, str) or "content" not in block:
        return Message("tool", content or "", call_id=call_id, markers=() if own is None else (own,))
    if not isinstance(content, list):
        return Message("tool", call_id=call_id, content="other", markers=() if own is None else (own,))
    inner = said_message("tool", content)
    markers = inner.markers if own is None else (*(_inside(one) for one in inner.markers), own)
    return Message(
        role="tool",
        text=inner.text,
        parts=inner.parts,
        media=inner.media,
        content=inner.content,
        call_id=call_id,
        markers=markers,
    )


def _inside(marker: Marker) -> Marker:
    return Marker(marker.form, marker.ttl, whole=False)


def _form(
    blocks: Sequence[Block], parts: Sequence[str | None], media: Sequence[Media]
) -> Literal["parts", "null", "other"]:
    """Say whether a text can take the place of what is said: not where a block is none of those that are known."""
    if any(not _is_known(block) for block in blocks):
        return "other"
    said = media or any(part is not None for part in parts) or not blocks
    return "parts" if said else "null"


def _is_known(block: Block) -> bool:
    match block:
        case {"type": "text", "text": str()}:
            return True
        case {"type": "image"} | {"type": "document", "source": {"type": "base64" | "url" | "file"}}:
            return True
        case {"type": "tool_use" | "thinking" | "redacted_thinking"}:
            return True
    return False


# ---------------------------------------------------------------- one block


def block_text(block: Block) -> str | None:
    """Return the text of a block: "" of media, None where it is said elsewhere, or nobody knows what it is."""
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return _titled(block, text)
        case {"type": "document", "source": {"type": "content", "content": content}}:
            return _titled(block, _text_inside(content))
        case {"type": "search_result", "content": content}:
            return _titled(block, _text_inside(content))
        case {"type": "image" | "document"}:
            return ""
    return None


def _titled(block: Block, text: str) -> str:
    """Return a document's text behind what names it: the model reads both."""
    named = [said for name in ("source", "title", "context") if isinstance(said := block.get(name), str) and said]
    return "\n".join([*named, text])


def _text_inside(content: Any) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return joined_text([block_text(block) for block in blocks if isinstance(block, dict)])


def block_media(block: Block, number: int) -> Iterator[Media]:
    """Yield what of a block is not text, by its number in the content."""
    match block:
        case {"type": "image", **rest}:
            yield Media("image", _address(rest.get("source")), part=number, is_foreign=True)
        case {"type": "document", "source": {"type": "text"}}:
            return
        case {"type": "document", "source": {"type": "content", "content": list(content)}} | {
            "type": "search_result",
            "content": list(content),
        }:
            for inner in content:
                yield from (one for one in block_media(inner, number) if one.kind != "other")
        case {"type": "document", **rest} | {"type": "container_upload", **rest}:
            title = rest.get("title")
            name = title if isinstance(title, str) else None
            yield Media("file", _address(rest.get("source")), part=number, name=name, is_foreign=True)
        case {"type": "text" | "tool_use" | "thinking" | "redacted_thinking" | "search_result"}:
            return
        case {}:
            yield Media("other", orjson.dumps(block).decode(), part=number, is_foreign=True)


def _address(source: Any) -> str:
    """Return an image or file as chat completions name it: a `data:` URL, an address, or nothing of what is stored."""
    match source:
        case {"type": "base64", "data": str(data), **rest}:
            return f"data:{rest.get('media_type')};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
    return ""


def _call(block: Block) -> Call:
    call_id, name, given = block.get("id"), block.get("name"), block.get("input")
    arguments = given if isinstance(given, str) else orjson.dumps({} if given is None else given).decode()
    return Call(call_id if isinstance(call_id, str) else "", name if isinstance(name, str) else "", arguments)


def is_unsigned(block: Block) -> bool:
    """Whether a block is thinking that no model of Anthropic's signed: of another provider, written by us."""
    return block.get("type") == "thinking" and is_ours(block.get("signature"))


# ---------------------------------------------------------------- cache markers


def block_markers(blocks: Sequence[Block]) -> tuple[Marker, ...]:
    """List the markers of blocks, of those inside a result too."""
    found: list[Marker] = []
    last = len(blocks) - 1
    for number, block in enumerate(blocks):
        for written, ends in _written(block):
            marker = marker_of("control", written, whole=ends and number == last)
            if marker is not None:
                found.append(marker)
    return tuple(found)


def _written(block: Block) -> Iterator[tuple[Any, bool]]:
    """Yield what may be markers of a block, each with True if it stands at the block's end."""
    if block.get("type") in (RESULT, "document", "search_result"):
        content = block.get("content") if block.get("type") != "document" else (block.get("source") or {})
        content = content.get("content") if isinstance(content, dict) else content
        for inner in content if isinstance(content, list) else ():
            if isinstance(inner, dict) and "cache_control" in inner:
                yield inner["cache_control"], False
    if "cache_control" in block:
        yield block["cache_control"], True

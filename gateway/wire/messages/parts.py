"""The content of one message, or of one result, changed: edits spliced into its bytes. Pure.

A content is a string, which is part 0, or a list of blocks. A block that is not changed keeps its bytes, cache markers
included; reasoning and calls always do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.conversation import PartEdit
from gateway.wire.lexical import DuplicateKey, Span, array_spans, object_spans, splice, value
from gateway.wire.messages.blocks import CALL, THINKING, is_unsigned

_STAYS: Final = (*THINKING, CALL)
"""Types of blocks that no text takes the place of."""


def with_text(content: bytes, text: str) -> bytes:
    """Put a text in the place of what is said; the first block of text keeps its other members."""
    if content[:1] != b"[":
        return orjson.dumps(text)
    blocks, read = _blocks(content), _read(content)
    spoken = [at for at, block in enumerate(read) if block.get("type") not in _STAYS]
    at = next((at for at in spoken if block_is_text(read[at])), spoken[0] if spoken else None)
    if at is None:
        return _listed([*blocks, text_block(text)])
    markers = [read[one]["cache_control"] for one in spoken if "cache_control" in read[one]]
    anew = _with_member(blocks[at], text) if block_is_text(read[at]) else text_block(text)
    if markers and "cache_control" not in value(anew):
        anew = anew[:-1] + b',"cache_control":' + orjson.dumps(markers[0]) + b"}"
    left = [anew if number == at else block for number, block in enumerate(blocks)]
    return _listed([block for number, block in enumerate(left) if number == at or number not in spoken])


def spliced_parts(content: bytes, edits: Iterable[PartEdit]) -> bytes:
    """Change single parts."""
    edit_of = {edit.part: edit for edit in edits if edit.detail is None}
    if content[:1] != b"[":
        edit = edit_of.get(0)
        return content if edit is None or edit.text is None else orjson.dumps(edit.text)
    left = [_edited(block, edit_of.get(number)) for number, block in enumerate(_blocks(content))]
    return _listed([block for block in left if block is not None])


def with_texts(content: bytes, texts: Mapping[int, str]) -> bytes:
    """Put new texts in the place of those of parts, by their number."""
    return spliced_parts(content, [PartEdit(number, text) for number, text in texts.items()])


def without_thinking(content: bytes, *, unsigned_alone: bool = False) -> bytes:
    """Leave reasoning out, or that alone which no model of Anthropic's signed."""
    if content[:1] != b"[":
        return content
    blocks, read = _blocks(content), _read(content)
    kept = [
        block
        for block, said in zip(blocks, read, strict=True)
        if not (is_unsigned(said) if unsigned_alone else said.get("type") in THINKING)
    ]
    return content if len(kept) == len(blocks) else _listed(kept)


def block_is_text(block: Mapping[str, Any]) -> bool:
    """Whether a block is nothing but text."""
    return block.get("type") == "text" and isinstance(block.get("text"), str)


def text_block(text: str, marker: bytes = b"") -> bytes:
    """Write a block of text, with a cache marker or without."""
    return b'{"type":"text","text":' + orjson.dumps(text) + (b"," + marker if marker else b"") + b"}"


def _edited(block: bytes, edit: PartEdit | None) -> bytes | None:
    """Return one block as it leaves; None where it goes."""
    if edit is None:
        return block
    if edit.text is None:
        return None
    read = value(block)
    if block_is_text(read):
        return _with_member(block, edit.text)
    control = read.get("cache_control")
    return text_block(edit.text, b"" if control is None else b'"cache_control":' + orjson.dumps(control))


def _with_member(block: bytes, text: str) -> bytes:
    try:
        return splice(block, [(*object_spans(block)["text"], orjson.dumps(text))])
    except DuplicateKey:  # only the last of the two is what the provider reads: so it is written
        return orjson.dumps({**value(block), "text": text})


def _blocks(content: bytes) -> list[bytes]:
    return [content[start:end] for start, end in array_spans(content, Span(0, len(content)))]


def _read(content: bytes) -> list[Mapping[str, Any]]:
    return [block if isinstance(block, dict) else {} for block in value(content)]


def _listed(blocks: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(blocks) + b"]"

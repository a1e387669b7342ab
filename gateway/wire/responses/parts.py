"""The content of an item by its parts: their texts and media, and changes spliced into their bytes. Pure.

A content is a string or a list of parts, under `content`, or under `output` in the result of a call. Instructions, and
an input that is a string, are nothing but a content. A part that is not changed keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.conversation import Media, PartEdit
from gateway.wire.lexical import DuplicateKey, Span, array_spans, object_spans, splice, value
from gateway.wire.media import media_of

Edit = tuple[int, int, bytes]

_QUOTE: Final = b'"'
_MARKER: Final = "prompt_cache_breakpoint"
MARKED_TYPES: Final = ("input_text", "input_image", "input_file")
"""Types of parts that carry a breakpoint."""


def text_of(part: Mapping[str, Any]) -> str:
    """Return the text of a part."""
    text = part.get("text")
    return text if isinstance(text, str) else ""


def media_in(part: Any, number: int) -> Media | None:
    """Read a part that is not text, by its number in the content."""
    match part:
        case {"type": "input_image"}:
            url = part.get("image_url")
            return Media("image", _string(url) or "", _string(part.get("detail")), number)
        case {"type": "input_file"}:
            data = _string(part.get("file_data")) or _string(part.get("file_url")) or ""
            return Media("file", data, part=number, name=_string(part.get("filename")))
    return media_of(part, number)


def content_of(raw: bytes) -> Span:
    """Locate the content of an item, or of a string that is one."""
    if raw[:1] == _QUOTE:
        return Span(0, len(raw))
    spans = object_spans(raw)
    return spans.get("output") or spans.get("content") or Span(0, 0)


def part_edits(raw: bytes, texts: Mapping[int, str]) -> list[Edit]:
    """Turn new texts, by the number of their part, into splices of the bytes of one item."""
    content = content_of(raw)
    if raw[content.start : content.start + 1] == _QUOTE:
        return [(*content, orjson.dumps(texts[0]))]
    out: list[Edit] = []
    parts = array_spans(raw, content)
    for number, text in texts.items():
        start, end = parts[number]
        within = object_spans(raw[start:end])["text"]
        out.append((start + within.start, start + within.end, orjson.dumps(text)))
    return out


def with_text(raw: bytes, text: str) -> bytes:
    """Put a text in the place of the content, in the shape that it had: a string, or a list of one part, which keeps
    the other members of the first text.
    """
    content = content_of(raw)
    if raw[content.start : content.start + 1] != b"[":
        return splice(raw, [(*content, orjson.dumps(text))])
    for start, end in array_spans(raw, content):
        part = value(raw[start:end])
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return splice(raw, [(*content, b"[" + _with_text(raw[start:end], text) + b"]")])
    return splice(raw, [(*content, b"[" + _text_part(text) + b"]")])


def spliced_parts(raw: bytes, edits: Iterable[PartEdit]) -> bytes:
    """Change single parts of an item whose content is a list; the others keep their bytes."""
    content = content_of(raw)
    edit_of = {edit.part: edit for edit in edits}
    left = [_edited(raw[slice(*part)], edit_of.get(number)) for number, part in enumerate(array_spans(raw, content))]
    return splice(raw, [(*content, b"[" + b",".join([part for part in left if part is not None]) + b"]")])


def _edited(part: bytes, edit: PartEdit | None) -> bytes | None:
    """Return one part as it leaves; None where it goes."""
    if edit is None:
        return part
    if edit.text is None:
        return None if edit.detail is None else _with_member(part, "detail", edit.detail)
    if isinstance(value(part).get("text"), str):
        return _with_text(part, edit.text)
    kept = {name: held for name, held in value(part).items() if name == _MARKER}
    return _text_part(edit.text, kept)


def _with_text(part: bytes, text: str) -> bytes:
    return _with_member(part, "text", text)


def _with_member(part: bytes, name: str, said: str) -> bytes:
    """Write a member of a part anew, or add it."""
    try:
        members = object_spans(part)
    except DuplicateKey:  # only the last of the two is what the provider reads: so it is written
        return orjson.dumps({**value(part), name: said})
    if name in members:
        return splice(part, [(*members[name], orjson.dumps(said))])
    at = part.index(b"{") + 1
    return splice(part, [(at, at, b'"%b":%b%b' % (name.encode(), orjson.dumps(said), b"," if members else b""))])


def _text_part(text: str, more: Mapping[str, Any] | None = None) -> bytes:
    return orjson.dumps({"type": "input_text", "text": text, **(more or {})})


def _string(held: Any) -> str | None:
    return held if isinstance(held, str) else None

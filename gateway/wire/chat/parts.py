"""The content of one message by its parts: their texts, and changes spliced into their bytes. Pure.

A content that is a string is one part, number 0. A part that is not changed keeps its bytes, cache markers included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gateway.conversation import PartEdit
from gateway.wire.lexical import DuplicateKey, Span, array_spans, object_spans, splice, value

Edit = tuple[int, int, bytes]

_QUOTE = ord('"')
_MARKERS = ("cache_control", "prompt_cache_breakpoint")


def part_edits(raw: bytes, texts: Mapping[int, str]) -> list[Edit]:
    """Turn new texts, by the number of their part, into splices of the bytes of one message."""
    content = _content(raw)
    if raw[content.start : content.start + 1] == b'"':
        return [(*content, orjson.dumps(texts[0]))]
    out: list[Edit] = []
    parts = array_spans(raw, content)
    for number, text in texts.items():
        start, end = parts[number]
        within = object_spans(raw[start:end])["text"]
        out.append((start + within.start, start + within.end, orjson.dumps(text)))
    return out


def with_text(raw: bytes, text: str) -> bytes:
    """Put a text in the place of a message's content, in the shape that it had: a string, or a list of one part.

    A single part of text keeps its other members; of several parts the first cache marker is kept.
    """
    content = _content(raw)
    if raw[content.start : content.start + 1] != b"[":
        return splice(raw, [(*content, orjson.dumps(text))])
    read = value(raw[slice(*content)])
    if len(read) == 1 and isinstance(read[0], dict) and isinstance(read[0].get("text"), str):
        return spliced_parts(raw, (PartEdit(0, text),))
    members = [(name, part[name]) for part in read if isinstance(part, dict) for name in _MARKERS if name in part]
    written = {"type": "text", "text": text, **dict(members[:1])}
    return splice(raw, [(*content, orjson.dumps([written]))])


def spliced_parts(raw: bytes, edits: Iterable[PartEdit]) -> bytes:
    """Change single parts of a message whose content is a list; the others keep their bytes."""
    content = _content(raw)
    parts = array_spans(raw, content)
    edit_of = {edit.part: edit for edit in edits}
    if any(edit.text is None and edit.detail is None for edit in edit_of.values()):
        kept = [raw[slice(*part)] for part in parts]
        left = [_edited(part, edit_of.get(number)) for number, part in enumerate(kept)]
        return splice(raw, [(*content, b"[" + b",".join([part for part in left if part is not None]) + b"]")])
    return splice(
        raw, [(*parts[number], _edited(raw[slice(*parts[number])], edit) or b"") for number, edit in edit_of.items()]
    )


def _edited(part: bytes, edit: PartEdit | None) -> bytes | None:
    """Return one part as it leaves; None where it goes."""
    if edit is None:
        return part
    if edit.text is None and edit.detail is None:
        return None
    try:
        members = object_spans(part)
        if edit.text is None:
            return _with_detail(part, members["image_url"], edit.detail or "")
        if "text" in members and part[members["text"].start] == _QUOTE:
            return splice(part, [(*members["text"], orjson.dumps(edit.text))])
    except DuplicateKey:  # only the last of the two is what the provider reads: so it is written
        return _anew(value(part), edit)
    kept = b"".join(
        [b"," + orjson.dumps(name) + b":" + part[slice(*members[name])] for name in _MARKERS if name in members]
    )
    return b'{"type":"text","text":' + orjson.dumps(edit.text) + kept + b"}"


def _with_detail(part: bytes, image: Span, detail: str) -> bytes:
    said = orjson.dumps(detail)
    if part[image.start : image.start + 1] == b'"':
        return splice(part, [(*image, b'{"url":' + part[slice(*image)] + b',"detail":' + said + b"}")])
    members = object_spans(part[slice(*image)])
    if "detail" in members:
        start, end = members["detail"]
        return splice(part, [(image.start + start, image.start + end, said)])
    return splice(part, [(image.start + 1, image.start + 1, b'"detail":' + said + b",")])


def _anew(part: dict[str, Any], edit: PartEdit) -> bytes:
    if edit.text is not None:
        markers = {name: part[name] for name in _MARKERS if name in part}
        return orjson.dumps({"type": "text", "text": edit.text, **markers})
    image = part["image_url"] if isinstance(part["image_url"], dict) else {"url": part["image_url"]}
    return orjson.dumps({**part, "image_url": {**image, "detail": edit.detail}})


def _content(raw: bytes) -> Span:
    return object_spans(raw).get("content", Span(0, 0))

"""The texts of one message by the parts they stand in, and new ones spliced in: parts and their markers stay.

A content that is a string is one part, number 0. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from gateway.wire.lexical import Span, array_spans, object_spans, value

Edit = tuple[int, int, bytes]


def part_texts(raw: bytes, *, every: bool = False) -> dict[int, str]:
    """Return the text of each part of a message that has one, by its number; of `every` part, "" where it has none."""
    content = value(raw[slice(*_content(raw))])
    if isinstance(content, str):
        return {0: content}
    parts = content if isinstance(content, list) else []
    texts = {number: part.get("text") for number, part in enumerate(parts) if isinstance(part, dict)}
    return {number: text if isinstance(text, str) else "" for number, text in texts.items() if every or text}


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


def _content(raw: bytes) -> Span:
    return object_spans(raw).get("content", Span(0, 0))

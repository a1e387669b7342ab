"""Long text that says little: encoded bytes, the markup of a web page. Only for a text that must fit a room."""

from __future__ import annotations

import html
import re

_ENCODED = re.compile(r"[A-Za-z0-9+/_=-]{200,}+")
_BEGINNING, _END = 24, 8
_PAGE = re.compile(r"(?i)<!doctype html|<html\b|<body\b")
_SILENT = re.compile(r"(?is)<(script|style|svg|noscript)\b[^>]{0,2000}>.*?(?:</\1>|\Z)|<!--.*?(?:-->|\Z)")
_TAG = re.compile(r"<(/?[A-Za-z][\w:-]{0,30})([^<>]{0,4000})>")
_SAID_BY_TAG = re.compile(
    r"(?i)\b(href|src|name|value|content|action|alt|title)\s?=\s?(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))"
)
_BLOCK = re.compile(
    r"(?i)/?(?:p|div|li|tr|[bh]r|h[1-6]|table|[uo]l|section|article|header|footer|form|title|option|pre)/?\Z"
)
_SPACES = re.compile(r"[ \t]{2,}")
_BLANK_LINES = re.compile(r"\n\s*\n")
_LEAST_TAGS = 10


def without_bulk(text: str) -> str:
    """Leave out what nobody reads: the middle of encoded bytes, the markup of a web page."""
    if len(text) >= 200:
        text = _ENCODED.sub(_encoded, text)
    if text.count("</") >= _LEAST_TAGS and _PAGE.search(text):
        text = _page(text)
    return text


def _encoded(found: re.Match[str]) -> str:
    said = found[0]
    if _is_path(said):
        return said
    return f"{said[:_BEGINNING]}[… {len(said) - _BEGINNING - _END:,} characters …]{said[-_END:]}"


def _is_path(said: str) -> bool:
    """Tell a deep path from encoded bytes: its parts are words."""
    parts = [part for part in said.split("/") if part]
    return len(parts) * 40 > len(said) and sum(map(str.islower, parts)) * 2 > len(parts)


def _page(text: str) -> str:
    text = _TAG.sub(_tag, _SILENT.sub(" ", text))
    return _BLANK_LINES.sub("\n", _SPACES.sub(" ", html.unescape(text)))


def _tag(found: re.Match[str]) -> str:
    attributes = [f"{m[1].lower()}={m[2] or m[3] or m[4] or ''}" for m in _SAID_BY_TAG.finditer(found[2])]
    said = f"({' '.join(attributes)})" if attributes else ""
    return ("\n" if _BLOCK.match(found[1]) else "") + said

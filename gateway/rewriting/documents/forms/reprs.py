"""Objects as programs print them: `Name(arg='…')`, `arg='…' other={…}`, `{'key': '…'}`, several in a row. Pure.

Read lexically: strings, brackets and names, without knowing what the names mean. Only the insides of long strings are
cut, so that the rest is still an object.
"""

from __future__ import annotations

import re

from gateway.rewriting.documents.forms.document import Document, total_characters

_OPENING = re.compile(
    r"(?<![\w.'\"])(?P<name>(?:[A-Za-z_]\w{0,40}\.){0,4}[A-Z_]\w{0,60}|[a-z]\w{0,60})\("
    r"(?=\s{0,8}(?:[A-Za-z_]\w{0,60}=|['\"]))|(?P<dict>\{)(?=\s{0,8}'[\w $.-]{1,60}'\s{0,2}:)"
)
_PAIR = re.compile(r"(?<![\w.])(?P<name>[A-Za-z_]\w{0,60})=(?=['\"{\[(])")
_TOKEN = re.compile(r"'''|\"\"\"|'(?:[^'\\\n]|\\.)*+'|\"(?:[^\"\\\n]|\\.)*+\"|[()\[\]{}]|'|\"", re.DOTALL)
_SIGNS = ("='", '="', "('", '("', "{'", ": '")
"""One of these stands in every text that has such an object."""
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_BETWEEN = " \t\r\n,;"
_MOST_BROKEN, _DEEPEST = 24, 60
_LONG_STRING_CHARS = 200
_LEAST_STRING_CHARS = 40
"""An object without a string so long is a call or a value, not something to be read."""
_TITLE = re.compile(
    r"\b(?:title|name|source|file_name|filename|path|url|id)['\"]?\s{0,2}[=:]\s{0,2}(['\"])([^'\"\n]{1,200})\1"
)
_MOST_OBJECTS = 20_000


def find_reprs(text: str) -> list[Document]:
    """Locate the objects of a text that stand in a row with others of their name; the rows with the most text."""
    if not any(sign in text for sign in _SIGNS):
        return []
    objects = _objects(text) or _pairs(text)
    out: list[Document] = []
    row: list[Document] = []
    named = ""
    for name, document in objects:
        if row and (name != named or text[row[-1].end : document.start].strip(_BETWEEN)):
            out += row if len(row) > 1 else []
            row = []
        row, named = [*row, document] if not row else _with(row, document), name
    out += row if len(row) > 1 else []
    return out if total_characters(out) and any(document.bodies for document in out) else []


def _with(row: list[Document], document: Document) -> list[Document]:
    row.append(document)
    return row


def _objects(text: str) -> list[tuple[str, Document]]:
    """Read `Name(…)` and `{'key': …}`, the outermost of each."""
    out: list[tuple[str, Document]] = []
    at = broken = 0
    while broken < _MOST_BROKEN and len(out) < _MOST_OBJECTS and (found := _OPENING.search(text, at)):
        opening = found.end() - 1 if found["name"] else found.start()
        end, strings = _balanced(text, opening)
        if end < 0:
            broken += 1
            at = found.end()
            continue
        name = found["name"] or "{"
        if max((b - a for a, b in strings), default=0) >= _LEAST_STRING_CHARS:
            out.append((name, _document(text, found.start(), end, strings)))
            at = end
        else:
            deeper = bool(found["name"]) and end - opening > 2 * _LEAST_STRING_CHARS
            broken += deeper
            at = found.end() if deeper else end
    return out


def _pairs(text: str) -> list[tuple[str, Document]]:
    """Read rows of `name=value other=value`; a row begins where the name that came first comes again."""
    out: list[tuple[str, Document]] = []
    at = broken = 0
    first, start, end = "", -1, -1
    strings: list[tuple[int, int]] = []
    while broken < _MOST_BROKEN and len(out) < _MOST_OBJECTS and (found := _PAIR.search(text, at)):
        stop, inside = _value(text, found.end())
        if stop < 0:
            broken += 1
            at = found.end()
            continue
        apart = start < 0 or text[end : found.start()].strip(_BETWEEN + "[]")
        if apart or found["name"] == first:
            if start >= 0:
                out.append((first, _document(text, start, end, strings)))
            first, start, strings = found["name"], found.start(), []
        end, at = stop, stop
        strings += inside
    if start >= 0:
        out.append((first, _document(text, start, end, strings)))
    return [
        (name, document)
        for name, document in out
        if document.bodies or document.end - document.start > _LEAST_STRING_CHARS
    ]


def _value(text: str, at: int) -> tuple[int, list[tuple[int, int]]]:
    """Read one value: where it ends, and the insides of its strings; -1 where it does not end."""
    if text[at] in _CLOSES:
        return _balanced(text, at)
    token = _TOKEN.match(text, at)
    if token is None or len(token[0]) < 2 or token[0] in ("'''", '"""'):
        return -1, []
    return token.end(), [(token.start() + 1, token.end() - 1)]


def _balanced(text: str, opening: int) -> tuple[int, list[tuple[int, int]]]:
    """Find the end of what a bracket opens, and the insides of the strings in it; -1 where it is not closed."""
    open_: list[str] = []
    strings: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(text, opening):
        said = token[0]
        if said in _CLOSES:
            open_.append(_CLOSES[said])
            if len(open_) > _DEEPEST:
                return -1, []
        elif len(said) == 1:
            if said in "'\"" or said != open_.pop():
                return -1, []
            if not open_:
                return token.end(), strings
        elif said in ("'''", '"""'):
            return -1, []
        else:
            strings.append((token.start() + 1, token.end() - 1))
    return -1, []


def _document(text: str, start: int, end: int, strings: list[tuple[int, int]]) -> Document:
    title = _TITLE.search(text, start, end)
    bodies = tuple((a, b) for a, b in strings if b - a >= _LONG_STRING_CHARS)
    return Document(start, end, title[2] if title else "", bodies, 0, "repr")

"""Elements of one name in a row: the rows of XML data, found by how often they come, whatever they are called. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.rewriting.documents.forms.document import Document

_TAG = re.compile(r"<(?P<close>/?)(?P<name>[^\W\d_][\w:.-]{0,60})(?P<rest>(?:\s[^<>]{0,600}?)?)(?P<empty>/?)>")
_LEAST_ROWS = 8
_LEAST_CHARS = 24
_MOST_TAGS = 60_000
_ATTRIBUTE = re.compile(r"""\b(?:title|name|id|key|url|source)\s?=\s?["']([^"'<>]{1,200})""", re.IGNORECASE)
_CODE_WORDS = (
    "a abbr article aside b body br button code col dd div dl dt em fieldset figure footer form g h1 h2 h3 h4 h5 h6"
    " head header hr html i img input label legend li line link main meta nav ol option p path pre rect script section"
    " select small span strong style sub sup svg symbol table tbody td template textarea tfoot th thead tr u ul use"
    " video dependency plugin exclusion property bean import include target reference package string color dimen"
)
_CODE = frozenset(_CODE_WORDS.split())
"""Elements of pages, drawings and build files: text to be worked on."""
_DIRECT_WORDS = "example instruction rule step task requirement question answer thinking user assistant system"
_DIRECTS = frozenset(_DIRECT_WORDS.split())
"""Elements of what a model is told to do."""


def find_elements(text: str) -> list[Document]:
    """Locate the longest row of like elements that have nothing but white space between them."""
    if text.count("<") < _LEAST_ROWS:
        return []
    runs = [run for run in _runs(text) if len(run) >= _LEAST_ROWS]
    best = max(runs, key=lambda run: run[-1][1] - run[0][0], default=[])
    return [Document(start, end, _title(text, start), (), 0) for start, end in best]


def _runs(text: str) -> list[list[tuple[int, int]]]:
    """Gather siblings of one name that follow each other."""
    out: list[list[tuple[int, int]]] = []
    above: list[tuple[str, int]] = []
    latest: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for number, tag in enumerate(_TAG.finditer(text)):
        if number > _MOST_TAGS:
            break
        name = tag["name"]
        if tag["close"]:
            while above and above[-1][0] != name and len(above) > 1 and any(name == one for one, _ in above[-8:]):
                above.pop()
            if not above or above[-1][0] != name:
                continue
            start = above.pop()[1]
        elif tag["empty"] or tag["rest"].endswith("/"):
            start = tag.start()
        else:
            above.append((name, tag.start()))
            continue
        if name.casefold() in _CODE or name.casefold() in _DIRECTS or tag.end() - start < _LEAST_CHARS:
            continue
        _append(text, out, latest, (len(above), name), (start, tag.end()))
    return out


def _append(
    text: str,
    out: list[list[tuple[int, int]]],
    latest: dict[tuple[int, str], list[tuple[int, int]]],
    key: tuple[int, str],
    span: tuple[int, int],
) -> None:
    run = latest.get(key)
    if run is None or _differs(text, run, span):
        run = latest[key] = []
        out.append(run)
    run.append(span)


def _differs(text: str, run: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool:
    """Tell whether something stands between an element and the row before it."""
    between = span[0] - run[-1][1]
    return between > 400 or bool(text[run[-1][1] : span[0]].strip())


def _title(text: str, start: int) -> str:
    found = _ATTRIBUTE.search(text, start, text.find(">", start))
    return found[1] if found else ""

"""The lines of code that define something: how they are told, what they name, and the lines of their bodies.

Lines of code that a tool printed with numbers are read without them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from gateway.rewriting.history.snippets import LONGEST_PART

_MOST_BODY_LINES, _MOST_BODY_CHARS = 60, 3000
_NUMBERED = re.compile(r"\s*\d{1,7}(?:[\t:→|]|-(?=\s)| \|)[ \t]?")

_MODIFIER = (
    r"(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\(\w{1,20}\))?|override|virtual"
    r"|inline|constexpr|sealed|partial|open|suspend|data|unsafe|extern|declare|local|synchronized|native)\s+"
)
_KEYWORD = (
    r"(?:def|class|func|fn|function|fun|interface|struct|enum|trait|type|module|namespace|impl|sub|proc|record|object|protocol"
    r"|extension|macro_rules!|defmodule|defp|macro|CREATE TABLE|create table)"
)
_SIGNATURE = re.compile(
    rf"[ \t]*(?:(?:{_MODIFIER}){{0,6}}{_KEYWORD}\s+(?:\([^()]{{0,80}}\)\s?)?(?P<name>[A-Za-z_$~][\w$.:]{{0,80}})"
    r"(?=\s*[(<{:\[=]|\s*$|\s+(?:extends|implements|where|struct|interface|is|for|do)\b)"
    rf"|(?:{_MODIFIER}){{1,6}}[\w<>\[\],.?]{{1,60}}\s+(?P<method>\w{{1,80}})\s*\("
    r"|(?:const|let|var)\s+(?P<arrow>\w{1,80})\s*=\s*(?:async\s*)?(?:function\b|\()"
    r"|[A-Za-z_][\w \t*&<>:]{0,60}?[ \t*&](?P<c>\w{1,80})\([^;{}()]{0,160}\)[ \t]*\{[ \t]*$)"
)
SIGNS_OF_CODE = re.compile(r"[{};=()<>\[\]|&$\\/]")
_CLOSES = re.compile(r"\s*(?:[}\])]|end\b|fi\b|done\b)")


def is_code(lines: Sequence[str]) -> bool:
    """Tell whether a text is code: many lines define something, or end as statements do."""
    some = [line for line in islice(lines, 400) if line.strip()]
    signs = sum(
        (line.rstrip()[-1] in "{};,(:[" and SIGNS_OF_CODE.search(line) is not None) or signature_of(line) is not None
        for line in some
    )
    return 10 * signs > 3 * len(some)


@lru_cache(8192)
def signature_of(line: str) -> tuple[str, str] | None:
    """Find the name that a line defines, and the line as it is said."""
    if len(line) > LONGEST_PART or not _MAY_DEFINE.search(line):
        return None
    bare = without_number(line)
    found = _SIGNATURE.match(bare)
    if found is None:
        return None
    name = found["name"] or found["method"] or found["arrow"] or found["c"]
    name = name.strip(".:")
    return (name, bare.strip()) if name not in ("if", "for", "while", "switch", "return", "else") else None


_MAY_DEFINE = re.compile(r"[({:]|\bclass\b|\bstruct\b|\bmodule\b")


def without_number(line: str) -> str:
    found = _NUMBERED.match(line)
    return line if found is None else line[found.end() :]


def number_of(line: str, at: int) -> int:
    """Give the number that a line says it has, else its place."""
    found = _NUMBERED.match(line)
    return at + 1 if found is None else int(re.sub(r"\D", "", found[0]))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def body_of(lines: Sequence[str], at: int) -> str:
    """Take the lines of a definition: those indented deeper, and the one that closes it."""
    first = without_number(lines[at])
    indent = _indent(first)
    out, size, end = [first], len(first), at + 1
    while end < len(lines):
        line = without_number(lines[end])
        if line.strip() and _indent(line) <= indent:
            if _CLOSES.match(line):
                out.append(line)
            break
        out.append(line)
        size += len(line)
        if len(out) > _MOST_BODY_LINES or size > _MOST_BODY_CHARS:
            return ""
        end += 1
    while out and not out[-1].strip():
        out.pop()
    return "\n".join(out) if len(out) > 1 else ""

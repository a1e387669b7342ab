"""Text by lines, said in fewer tokens without loss: colours, numbered lines, search hits, trees, repeats, padding.

Each form reads as itself: numbered lines keep every tenth number, hits in one file stand under its name, a line that
is repeated is followed by how often.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COLOUR = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
_BLANK_END = re.compile(r"(?<![ \t])[ \t]++$", re.MULTILINE)
_MANY_BLANK = re.compile(r"\n{4,}")
_NUMBERED = re.compile(r"[ \t]*(\d{1,7})(\t|:|→| ?\|)(.*)", re.DOTALL)
_LOOKS_NUMBERED = re.compile(r"[ \t]*\d{1,7}[\t:→|]|[ \t]*\d{1,7} \|")
_HIT = re.compile(r"([^\s:]{1,1000}+):(\d{1,7}[:-])(.*)", re.DOTALL)
_TREE = re.compile(r"^(?:(?:│|\|)(?:   |\u00a0\u00a0 )|    |\u00a0{4})*(?:├──|└──|\|--|`--|\+---?) ", re.MULTILINE)

_PATH = re.compile(r"[^\s:;,(){}\[\]\"'=<>*|]+/[^\s:;,(){}\[\]\"'=<>*|/]+\Z")
_ANY_HIT = re.compile(r"^[^\s:]{1,1000}+:\d{1,7}[:-]", re.MULTILINE)
_ANY_PATH = re.compile(r"^[^\s/]*+/\S*$", re.MULTILINE)
_ANY_NUMBERED = re.compile(r"^[ \t]*+\d{1,7}[ \t:→|]", re.MULTILINE)
_LONG_RUN = 200
"""Times a character must follow itself to be counted."""
_LEAST_LISTING = 8
"""Paths that make a listing."""
_LEAST_RUN = 4
"""Lines that must follow each other to be said as a run."""
_LONGEST_PERIOD = 12
"""Lines of a block that is looked for again right behind itself."""


def shorten(text: str) -> str:
    """Say the text in fewer tokens; the words, their order and the line numbers can be read back."""
    return thinned(tidy(text))


def repeated_characters(text: str) -> str:
    """Count a character that is repeated hundreds of times: `[= × 300]`."""
    if len(text) < _LONG_RUN:
        return text
    for character in sorted(set(text)):
        if character not in "\n\t\x00" and character * _LONG_RUN in text:
            shown = "space" if character == " " else character
            pattern = re.compile(re.escape(character) + f"{{{_LONG_RUN},}}+")
            text = pattern.sub(lambda found, shown=shown: f"[{shown} × {len(found[0])}]", text)  # type: ignore[misc]
    return text


def is_numbered(line: str) -> bool:
    """Tell whether a line begins with its number, or with the file and the number that it has there."""
    return _LOOKS_NUMBERED.match(line) is not None or (":" in line and _HIT.match(line) is not None)


def thinned(text: str) -> str:
    """Leave out the numbers of numbered lines that their neighbours tell."""
    return "\n".join(_numbers(text.split("\n"))) if _ANY_NUMBERED.search(text) else text


def tidy(text: str) -> str:
    """Say the text in fewer tokens, with the number of every line."""
    text = _clean(text)
    lines = repeated_characters(text).split("\n")
    if _ANY_HIT.search(text):
        lines = _hits(lines)
    if _ANY_PATH.search(text):
        lines = _paths(lines)
    return "\n".join(_repeats(lines))


def grouped(text: str) -> str:
    """Put hits in one file under its name, and leave out the numbers that their neighbours tell."""
    if _ANY_HIT.search(text):
        text = "\n".join(_hits(text.split("\n")))
    return thinned(text)


def bare(text: str) -> str:
    """Leave out of each line what says nothing, and count lines that follow themselves; no lines are put together."""
    return "\n".join(_repeats(repeated_characters(_clean(text)).split("\n")))


def _clean(text: str) -> str:
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    text = _MANY_BLANK.sub("\n\n\n", _BLANK_END.sub("", text))
    if "── " in text or "-- " in text:
        text = _TREE.sub(lambda found: "  " * (len(found[0]) // 4), text)
    return text


# ---------------------------------------------------------------- numbered lines


def _numbers(lines: list[str]) -> list[str]:
    """Leave the numbers of numbered lines that follow each other only on the first, the last and every tenth."""
    out: list[str] = []
    run: list[tuple[int, str, str]] = []
    for line in lines:
        found = _NUMBERED.match(line)
        if found is not None and run and int(found[1]) == run[-1][0] + 1 and found[2] == run[-1][1]:
            run.append((int(found[1]), found[2], found[3]))
            continue
        out += _numbered(run)
        run = [(int(found[1]), found[2], found[3])] if found is not None else []
        if found is None:
            out.append(line)
    return out + _numbered(run)


def _numbered(run: Sequence[tuple[int, str, str]]) -> list[str]:
    last = len(run) - 1
    sparse = last >= _LEAST_RUN and not any(_LOOKS_NUMBERED.match(said) for _, _, said in run)
    return [
        said if sparse and 0 < i < last and number % 10 else f"{number}{mark}{said}"
        for i, (number, mark, said) in enumerate(run)
    ]


# ---------------------------------------------------------------- hits and repeats


def _hits(lines: list[str]) -> list[str]:
    """Put lines of a search (`file:line:text`) under the name of their file."""
    out: list[str] = []
    run: list[tuple[str, str]] = []
    file = ""
    for line in lines:
        found = _HIT.match(line) if ":" in line else None
        found = found if found is not None and ("." in found[1] or "/" in found[1]) else None
        if found is not None and found[1] == file:
            run.append((found[2], found[3]))
            continue
        out += _under(file, run)
        file, run = (found[1], [(found[2], found[3])]) if found is not None else ("", [])
        if found is None:
            out.append(line)
    return out + _under(file, run)


def _under(file: str, run: Sequence[tuple[str, str]]) -> list[str]:
    if len(run) < 2:
        return [f"{file}:{mark}{said}" for mark, said in run]
    return [f"{file}:", *[f"{mark}{said}" for mark, said in run]]


def _paths(lines: list[str]) -> list[str]:
    """Put the paths of a listing under their folders, where the folders are most of it."""
    out: list[str] = []
    run: list[str] = []
    for line in lines:
        if "/" in line and _PATH.match(line):
            run.append(line)
            continue
        out += _by_folder(run)
        run = []
        out.append(line)
    return out + _by_folder(run)


def _by_folder(run: list[str]) -> list[str]:
    if len(run) < _LEAST_LISTING or len(set(run)) < len(run):
        return run
    folders: dict[str, list[str]] = {}
    for path in run:
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, []).append(name)
    said = [
        f"{folder}/{names[0]}" if len(names) == 1 else f"{folder}/: {' '.join(names)}"
        for folder, names in folders.items()
    ]
    return said if 10 * sum(map(len, said)) < 7 * sum(map(len, run)) else run


def _repeats(lines: list[str]) -> list[str]:
    """Count a line, or a block of lines, that follows itself."""
    if len(set(lines)) == len(lines):
        return lines
    out: list[str] = []
    at, total = 0, len(lines)
    where: dict[str, int] = {}
    while at < total:
        line = lines[at]
        before = where.get(line)
        period = at - before if before is not None else 0
        times = 0
        if 0 < period <= _LONGEST_PERIOD and len(out) >= period:
            times = _times(lines, at, period)
        block = lines[at : at + period]
        if times:
            worth = sum(map(len, block)) * times > 30 and any(map(str.strip, block))
            said = "line above" if period == 1 else f"{period} lines above"
            out += [f"[{said}: {times + 1} times]"] if worth else lines[at : at + times * period]
            at += times * period
            where.clear()
            continue
        where[line] = at
        out.append(line)
        at += 1
    return out


def _times(lines: Sequence[str], at: int, period: int) -> int:
    """Count how often the block of `period` lines before `at` comes again from there on."""
    end = at
    while end < len(lines) and lines[end] == lines[end - period]:
        end += 1
    return (end - at) // period

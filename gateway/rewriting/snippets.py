"""What a message holds, in short labelled pieces: `item_id 8349118980, price 53.43`.

By rule: records are read by their members, lines by the words around each value, calls with their arguments; and the
sentences that a policy preserves. artifacts.py chooses among the pieces. Pure; linear in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from gateway.conversation import Call, Message
from gateway.memory import Memory
from gateway.rewriting.shapes import bulk, literals
from gateway.rewriting.shapes.values import NotAValue, Number, read
from gateway.values import is_value, values

Count = Callable[[str], int]

MOST_CHARS = 400_000
"""Characters of one text that are read, half of them from its end: some 100,000 tokens. No list has room for a
hundredth of what stands in there."""
_MOST_ENCODED = 3
_LONGEST_LEAF = 60
"""Characters of a string in a record that is said whole; a longer one is read as prose."""
_LONGEST_TITLE, _MEMBERS_TITLED = 40, 4
_LONGEST_LINE = 160
_LONGEST_WINDOW = 100

_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_BREAK = re.compile(r"[.;!?:|]\s|[\t()\[\]{}<>|]")
_SPACES = re.compile(r"\s+")
_BEFORE, _AFTER = 3, 1
"""Words of prose that a value is said with."""
_REACH = 48
"""Characters in which those words are looked for."""

_NUMBERED = r"\s*(?:\d+[\t:|-]\s*)?(?:[+>|]\s*)?"
_DEFINES = re.compile(
    _NUMBERED + r"(?:(?:from|import|package|use|using|require|include|\#include|def|class|func|fn|function|interface|"
    r"struct|enum|trait|type|module|namespace|public|private|protected|static|export|async def)\s|@\w)"
)
_FAILS = re.compile(
    r"(?i)\b(?:error|exception|traceback|failed|failure|denied|fatal|refused|invalid|not found)\b|Error:"
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a message as the list would say it."""

    text: str
    values: tuple[str, ...]
    title: str = ""
    """What the record that it stands in is called."""
    argument: bool = False
    """Whether it stands in a call."""
    worth: float = 0.0
    """By where it stands: a definition, an error, an argument."""


def snippets(message: Message) -> tuple[Snippet, ...]:
    """Read a message into the pieces that hold a value, in order; its calls first."""
    return (*[piece for call in message.calls for piece in _of_call(call)], *of_text(message.text))


def _of_call(call: Call) -> Iterator[Snippet]:
    """Say a call in one line, with its short arguments whole; what a long one holds is read as a text."""
    arguments = _read(call.arguments)
    if not isinstance(arguments, dict):
        arguments = {"": call.arguments}
    short: list[str] = []
    held: list[str] = []
    long: list[Snippet] = []
    for key, value in arguments.items():
        said = _SPACES.sub(" ", str(value)) if not isinstance(value, dict | list) else ""
        if said and len(said) <= _LONGEST_LINE:
            short.append(f"{key}: {said}" if key else said)
            held += [str(value), *[inner for _, _, inner in values(said)]]
        else:
            long += [replace(piece, argument=True) for piece in (_of_value(value) if not said else of_text(str(value)))]
    line = f"{call.name}({', '.join(short)}{', …' if long and short else '…' if long else ''})"
    yield Snippet(line, tuple(dict.fromkeys(held)) or (line,), argument=True, worth=0.5)
    yield from long


def of_text(text: str) -> tuple[Snippet, ...]:
    """Read a text: records by their members, lines by the words around each value. Of an endless one, its two ends."""
    if len(text) > MOST_CHARS:
        half = MOST_CHARS // 2
        return (*_of_lines(bulk.readable(text[:half])), *_of_lines(bulk.readable(text[-half:])))
    for _ in range(_MOST_ENCODED):
        value = _read(text)
        if isinstance(value, str):
            text = value
            continue
        if value is not None:
            return tuple(_of_value(value))
        literal = literals.longest(text)
        if literal is None:
            break
        text = literal.said
    return tuple(_of_lines(bulk.readable(text)))


def _read(text: str) -> Any | None:
    body = text.strip()
    if body[:1] == '"' == body[-1:]:
        return _string(body)
    if body[:1] not in ("{", "["):
        return None
    try:
        return read(body)
    except NotAValue:
        return None


def _string(body: str) -> str | None:
    try:
        said = json.loads(body)
    except ValueError:
        return None
    return said if isinstance(said, str) else None


def _of_value(root: Any) -> Iterator[Snippet]:
    """Walk records in order, without recursion: what is nested deep is read too."""
    stack: list[tuple[str, Any, str]] = [("", root, "")]
    while stack:
        key, value, title = stack.pop()
        if isinstance(value, dict):
            title = _title(value) or title
            stack += [(str(name), inner, title) for name, inner in reversed(value.items())]
            if key and is_value(key):
                yield Snippet(key, (key,), title)
        elif isinstance(value, list):
            stack += [(key, inner, title) for inner in reversed(value)]
        elif isinstance(value, str) and value:
            yield from _of_leaf(key, value, title)


def _title(record: Mapping[str, Any]) -> str:
    """Find what a record is called: the first of its strings that is words."""
    for value in islice(record.values(), _MEMBERS_TITLED):
        words = isinstance(value, str) and not isinstance(value, Number) and 2 < len(value) <= _LONGEST_TITLE
        if words and (" " in value or not is_value(value)) and not value.startswith("http"):
            return str(value)
    return ""


def _of_leaf(key: str, value: str, title: str) -> Iterator[Snippet]:
    if len(value) > _LONGEST_LEAF and not (is_value(value) and " " not in value):
        yield from of_text(value) if "\n" in value or value[:1] in ("{", "[") else _of_line(value)
        return
    if isinstance(value, Number):
        if len(value) > 1:
            yield Snippet(f"{key} {value}".lstrip(), (str(value),), title)
        return
    held = tuple([said for _, _, said in values(value)])
    if held:
        whole = _SPACES.sub(" ", value)
        yield Snippet(f"{key} {whole}".lstrip(), tuple(dict.fromkeys((value, *held))), title)


def _of_lines(text: str) -> Iterator[Snippet]:
    for line in text.splitlines():
        if not line or line.isspace():
            continue
        defines = _DEFINES.match(line) is not None
        if (defines or _FAILS.search(line[:400])) and len(line) <= 2 * _LONGEST_LINE:
            said = _SPACES.sub(" ", line.strip())[:_LONGEST_LINE]
            held = tuple([value for _, _, value in values(said)])
            if held or not defines:
                yield Snippet(said, held or (said,), worth=0.8 if defines else 0.0)
                continue
        yield from _of_line(line)


def _of_line(line: str) -> Iterator[Snippet]:
    """Cut the values of a line out with the words around them; windows that touch are one."""
    start = end = -1
    held: list[str] = []
    for first, after, value in values(line):
        left, right = _around(line, first, after)
        if held and left <= end + 1 and right - start <= _LONGEST_WINDOW:
            end = max(end, right)
            held.append(value)
            continue
        end = min(end, first)  # the word behind a value may be where the next one begins
        if held:
            yield _window(line, start, end, held)
        start, end, held = max(left, end), right, [value]
    if held:
        yield _window(line, start, end, held)


def _window(line: str, start: int, end: int, held: list[str]) -> Snippet:
    return Snippet(_SPACES.sub(" ", line[start:end]).strip(" ,;:|*-`\"'"), tuple(dict.fromkeys(held)))


def _around(line: str, start: int, end: int) -> tuple[int, int]:
    left = line[max(0, start - _REACH) : start]
    cut = max((found.end() for found in _BREAK.finditer(left)), default=0)
    words = list(_WORD.finditer(left, cut))[-_BEFORE:]
    first = words[0].start() if words else len(left)
    right = line[end : end + _REACH]
    stop = _BREAK.search(right)
    after = list(_WORD.finditer(right, 0, stop.start() if stop else len(right)))[:_AFTER]
    return start - (len(left) - first), end + (after[-1].end() if after else 0)


# ---------------------------------------------------------------- what is remembered, and what is preserved


_LARGE_CHARS = 64_000
"""Characters from which on a text's pieces may be more than the memory takes."""


class Reader:
    """Reads messages into snippets, and remembers them; sentences that `preserve` names come before everything."""

    def __init__(self, memory: Memory[Hashable, tuple[object, ...]], preserve: tuple[str, ...] = ()) -> None:
        self._memory, self._preserve = memory, preserve
        self._large: dict[Hashable, tuple[object, ...]] = {}
        """What the memory may be too small for; it is asked for several times in one walk."""

    def snippets(self, message: Message) -> tuple[Snippet, ...]:
        key = (message.role, message.text, message.calls, self._preserve)
        found = self._memory.get(key)
        if found is None:
            found = self._large.get(key)
        if found is None:
            found = (*preserved(message.text, self._preserve), *snippets(message))
            self._memory.put(key, found, 150 * len(found) + 2 * len(message.text))
            if len(message.text) > _LARGE_CHARS:
                self._large[key] = found
        return cast("tuple[Snippet, ...]", found)

    def values(self, message: Message) -> Iterator[str]:
        return (value for piece in self.snippets(message) for value in piece.values)


_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_LONGEST_SENTENCE = 300


def preserved(text: str, patterns: tuple[str, ...]) -> Iterator[Snippet]:
    """Find the sentences that a policy preserves."""
    if not patterns:
        return
    compiled = [re.compile(pattern) for pattern in patterns]
    for sentence in _SENTENCE.finditer(text):
        said = sentence[0].strip()[:_LONGEST_SENTENCE]
        if said and any(pattern.search(said) for pattern in compiled):
            yield Snippet(_SPACES.sub(" ", said), (said, *[value for _, _, value in values(said)]), worth=100.0)

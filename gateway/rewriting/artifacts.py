"""The artifact list of a fold: the values that only the fold holds, each with the words that say what it is.

By rule, and part of the frozen fold: `snippets` reads a message into short labelled pieces (`item_id 8349118980, price
53.43`), `listed` chooses those that later steps are likely to use and that stand nowhere else, and prints them by
message. Pure; linear in the text.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from math import log2
from typing import Any, cast

from gateway.conversation import Call, Message
from gateway.rewriting.memory import Memory
from gateway.rewriting.shapes import bulk, literals
from gateway.rewriting.shapes.values import NotAValue, Number, read
from gateway.values import is_value, values

Count = Callable[[str], int]

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


@dataclass(frozen=True, slots=True)
class Source:
    """A message that a fold takes away."""

    at: int
    who: str
    """The tool of a result, else the role."""
    snippets: tuple[Snippet, ...]


# ---------------------------------------------------------------- reading


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
    """Read a text: records by their members, lines by the words around each value."""
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


# ---------------------------------------------------------------- choosing

# The weights below are those of a logistic regression, rounded: which values of folded messages did the later steps of
# recorded conversations use? Over six kinds of traffic it ranks .74 to .88 of the pairs right (area under the curve),
# and .65 to .80 of a kind that it was not fitted on.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T_ ]?\d\d[:.]?\d\d|\d\d:\d\d:\d\d")
_CAMEL = re.compile(r"[a-z][A-Z]")
_LONG = 40
_ROUNDS, _FULL = 4, 0.97
_AGAIN = 0.15
"""What the second piece of a message is worth less than the first; doubling the pieces costs as much again."""
_ARGUMENT, _ASSISTANT, _USER, _RESULT = 1, 2, 4, 8


class Seen:
    """Where each value of a conversation was seen so far: in what kinds of message, and in how many."""

    __slots__ = ("kinds", "messages")

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.messages: dict[str, int] = {}

    def add(self, message: Message, pieces: Iterable[Snippet]) -> None:
        kind = _RESULT if message.is_result else _USER if message.role == "user" else _ASSISTANT
        new: dict[str, int] = defaultdict(int)
        for piece in pieces:
            for value in piece.values:
                new[value] |= _ARGUMENT if piece.argument else kind
        for value, bits in new.items():
            self.kinds[value] = self.kinds.get(value, 0) | bits
            self.messages[value] = self.messages.get(value, 0) + 1

    def worth(self, value: str) -> float:
        """Score how likely a value is used again."""
        kinds, messages = self.kinds.get(value, 0), self.messages.get(value, 0)
        score = shape(value) + 0.4 * min(messages - 1, 4)
        if kinds & _ARGUMENT:
            score += 0.8
        if kinds & _ASSISTANT:
            score += 0.9 if kinds & (_RESULT | _USER) else 0.4
        return score


@lru_cache(65_536)
def shape(value: str) -> float:
    """Score a value by its looks: an id or a name out of code comes again, a small number seldom does."""
    score = 0.0
    if not any(map(str.isalpha, value)):
        digits = sum(map(str.isdigit, value))
        if value.isdigit() or digits < 3:
            score -= 4.0 if digits < 3 else 1.3 if digits < 5 else 0.3
        elif "-" in value or ":" in value:
            score -= 0.5
    elif value.isupper() and value.isalpha():
        score -= 2.0
    elif _MOMENT.match(value):
        score -= 1.0
    elif _CAMEL.search(value) or "/" in value:
        score += 0.3
    if " " in value:
        score -= 1.0
    if len(value) > _LONG:
        score -= 1.0
    return score


def seen_in(messages: Sequence[Message], head: int, reader: Reader) -> Seen:
    """Gather where the values of messages were seen, leading system text aside."""
    seen = Seen()
    for message in messages[head:]:
        seen.add(message, reader.snippets(message))
    return seen


class Reader:
    """Reads messages into snippets, and remembers them; sentences that `preserve` names come before everything."""

    def __init__(self, memory: Memory[Hashable, tuple[object, ...]], preserve: tuple[str, ...] = ()) -> None:
        self._memory, self._preserve = memory, preserve

    def snippets(self, message: Message) -> tuple[Snippet, ...]:
        key = (message.role, message.text, message.calls, self._preserve)
        found = self._memory.get(key)
        if found is None:
            found = (*preserved(message.text, self._preserve), *snippets(message))
            self._memory.put(key, found, 150 * len(found) + 2 * len(message.text))
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


def listed(
    sources: Sequence[Source], seen: Seen, elsewhere: AbstractSet[str], room: int, count: Count
) -> tuple[str, frozenset[str]]:
    """Write the list in at most `room` tokens: the text and the values it holds.

    `elsewhere` are values that need no place here: they stand in what stays, or in an earlier list.
    """
    candidates: list[tuple[float, int, int]] = []
    done: set[str] = set()
    for number in range(len(sources) - 1, -1, -1):
        for place, piece in enumerate(sources[number].snippets):
            new = [value for value in piece.values if value not in elsewhere and value not in done]
            if new:
                done.update(new)
                candidates.append((-max(map(seen.worth, new)) - piece.worth, -number, place))
    candidates = _in_turns(candidates)
    said, kept, aim = "", list[tuple[int, int]](), room
    for _ in range(_ROUNDS):
        chosen = _chosen(sources, candidates, aim, count)
        text = _written(sources, chosen)
        size = count(text)
        if size <= room and len(chosen) > len(kept):
            said, kept = text, chosen
        if _FULL * room <= size <= room or (size <= room and len(chosen) == len(candidates)):
            break
        aim += room - size  # in one line, pieces take other numbers of tokens than each for itself
    return said, frozenset(v for n, p in kept for v in sources[n].snippets[p].values)


def _chosen(
    sources: Sequence[Source], candidates: Sequence[tuple[float, int, int]], room: int, count: Count
) -> list[tuple[int, int]]:
    """Take pieces in their order while they fit, each counted for itself with the names that come before it."""
    chosen: list[tuple[int, int]] = []
    titled: set[tuple[int, str]] = set()
    named: set[int] = set()
    for _, number, place in candidates:
        piece = sources[-number].snippets[place]
        size = count(piece.text) + 1
        if number not in named:
            size += count(_name(sources[-number])) + 1
        title = (-number, piece.title)
        if piece.title and title not in titled:
            size += count(piece.title) + 1
        if size <= room:
            room -= size
            chosen.append((-number, place))
            titled.add(title)
            named.add(number)
    chosen.sort()
    return chosen


def _in_turns(candidates: Sequence[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """Order by worth; the more a message has said already, the less its next piece is worth."""
    said: dict[int, int] = defaultdict(int)
    out: list[tuple[float, int, int]] = []
    for worth, number, place in sorted(candidates):
        said[number] += 1
        out.append((worth + round(_AGAIN * log2(said[number]), 6), number, place))
    return sorted(out)


def _name(source: Source) -> str:
    """Write how the line of a message begins."""
    return f"[{source.at}] {source.who}: "


def _written(sources: Sequence[Source], chosen: Sequence[tuple[int, int]]) -> str:
    lines: list[str] = []
    last, title = -1, ""
    for number, place in chosen:
        source, piece = sources[number], sources[number].snippets[place]
        if number != last:
            lines.append(_name(source))
            last, title = number, ""
        elif not lines[-1].endswith(": "):
            lines[-1] += ", " if piece.title == title else "; "
        if piece.title != title and piece.title:
            lines[-1] += f"{piece.title}: "
        title = piece.title
        lines[-1] += piece.text
    return "\n".join(lines)

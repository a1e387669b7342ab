"""The artifact list of a fold: the values that only the fold holds, each with the words that say what it is.

By rule, and part of the frozen fold: of the pieces that messages were read into (snippets.py), `listed` chooses those
that later steps are likely to use and that stand nowhere else, and prints them by message. Pure; linear in the text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from math import log2

from gateway.conversation import Message
from gateway.rewriting.snippets import Reader, Snippet

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Source:
    """A message that a fold takes away."""

    at: int
    who: str
    """The tool of a result, else the role."""
    snippets: tuple[Snippet, ...]


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

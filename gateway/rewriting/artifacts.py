"""The artifact list of a fold: the values that only the fold holds, each with the words that say what it is.

By rule, and part of the frozen fold: of the pieces that messages were read into (snippets.py), `listed` chooses those
that later steps are likely to use and that stand nowhere else, and prints them by message. Pure; linear in the text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from math import log2

from gateway.conversation import Message
from gateway.rewriting.snippets import Snippet

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A snippet, and where in the conversation it stands."""

    at: int
    """Index of its message."""
    place: int
    """Its number in the message."""
    who: str
    """The tool of a result, else the role."""
    said: Snippet


def pieces_of(at: int, who: str, snippets: Iterable[Snippet]) -> Iterator[Piece]:
    """Give what a message was read into its place."""
    return (Piece(at, place, who, said) for place, said in enumerate(snippets))


# The weights below are those of a logistic regression, rounded: which values of folded messages did the later steps of
# recorded conversations use? Over six kinds of traffic it ranks .74 to .88 of the pairs right (area under the curve),
# and .65 to .80 of a kind that it was not fitted on.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T_ ]?\d\d[:.]?\d\d|\d\d:\d\d:\d\d")
_CAMEL = re.compile(r"[a-z][A-Z]")
_LONG = 40
_ROUNDS, _FULL = 4, 0.97
_AGAIN = 0.15
"""What the second piece of a message is worth less than the first; doubling the pieces costs as much again."""
_CHARS_PER_TOKEN = 4
_LEAST_PIECE = 2
"""Tokens below which no piece fits a list any more: one, and what parts it from the next."""
_MOST_TOO_LONG = 40
"""Pieces in a row that do not fit any more, after which the list is full."""
_ARGUMENT, _ASSISTANT, _USER, _RESULT = 1, 2, 4, 8


class Seen:
    """Where each value of a conversation was seen so far: in what kinds of message, and in how many."""

    __slots__ = ("kinds", "messages")

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.messages: dict[str, int] = {}

    def __copy__(self) -> Seen:
        out = Seen()
        out.kinds, out.messages = dict(self.kinds), dict(self.messages)
        return out

    def __len__(self) -> int:
        return len(self.kinds)

    def keep(self, wanted: AbstractSet[str]) -> None:
        """Forget all other values."""
        self.kinds = {value: bits for value, bits in self.kinds.items() if value in wanted}
        self.messages = {value: number for value, number in self.messages.items() if value in wanted}

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
        if "/" in value and self.kinds.get(_stem(value), 0) & (_ASSISTANT | _USER | _ARGUMENT):
            score += 0.5  # a file is opened because its class or module was spoken of
        return score


def _stem(path: str) -> str:
    """Give the name of a file without folders and endings."""
    return path.rpartition("/")[2].partition(".")[0]


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


def ranked(pieces: Iterable[Piece], seen: Seen, elsewhere: AbstractSet[str] = frozenset()) -> list[Piece]:
    """Order the pieces that hold a value of their own by worth; of equal ones the newest first.

    A value is said where it stands last. The more a message has said already, the less its next piece is worth.
    """
    candidates: list[tuple[float, int, int, Piece]] = []
    done: set[str] = set()
    worth = seen.worth
    for piece in sorted(pieces, key=_newest_first):
        said = piece.said
        new = [value for value in said.values if value not in elsewhere and value not in done]
        if new:
            done.update(new)
            candidates.append((-max(map(worth, new)) - said.worth, -piece.at, piece.place, piece))
    candidates.sort()
    told: dict[int, int] = defaultdict(int)
    out: list[tuple[float, int, int, Piece]] = []
    for less, at, place, piece in candidates:
        told[at] += 1
        out.append((less + _again(told[at]), at, place, piece))
    out.sort()
    return [piece for _, _, _, piece in out]


def best(order: Iterable[Piece], most_tokens: int) -> tuple[Piece, ...]:
    """Keep what the lists still to come may want to say: the first pieces, in about so many tokens.

    So a list is written from what this leaves of all that is gone, and its price does not grow with the conversation.
    """
    kept: list[Piece] = []
    for piece in order:
        most_tokens -= len(piece.said.text) // _CHARS_PER_TOKEN + 1
        if most_tokens < 0:
            break
        kept.append(piece)
    return tuple(kept)


def listed(
    pieces: Iterable[Piece], seen: Seen, elsewhere: AbstractSet[str], room: int, count: Count
) -> tuple[str, frozenset[str]]:
    """Write the list in at most `room` tokens: the text and the values it holds.

    `elsewhere` are values that need no place here: they stand in what stays, or in an earlier list.
    """
    candidates = ranked(pieces, seen, elsewhere)
    said, kept, aim = "", list[Piece](), room
    for _ in range(_ROUNDS):
        chosen = _chosen(candidates, aim, count)
        text = _written(chosen)
        size = count(text)
        if size <= room and len(chosen) > len(kept):
            said, kept = text, chosen
        if _FULL * room <= size <= room or (size <= room and len(chosen) == len(candidates)):
            break
        aim += room - size  # in one line, pieces take other numbers of tokens than each for itself
    return said, frozenset(value for piece in kept for value in piece.said.values)


def _newest_first(piece: Piece) -> tuple[int, int]:
    return -piece.at, piece.place


@lru_cache(65_536)
def _again(number: int) -> float:
    """Say what the so-manieth piece of a message is worth less than the first."""
    return round(_AGAIN * log2(number), 6)


def _chosen(candidates: Sequence[Piece], room: int, count: Count) -> list[Piece]:
    """Take pieces in their order while they fit, each counted for itself with the names that come before it."""
    chosen: list[Piece] = []
    titled: set[tuple[int, str]] = set()
    named: set[int] = set()
    misses = 0
    for piece in candidates:
        if room < _LEAST_PIECE or misses > _MOST_TOO_LONG:
            break
        size = count(piece.said.text) + 1
        if piece.at not in named:
            size += count(_name(piece)) + 1
        title = (piece.at, piece.said.title)
        if piece.said.title and title not in titled:
            size += count(piece.said.title) + 1
        if size <= room:
            room -= size
            chosen.append(piece)
            titled.add(title)
            named.add(piece.at)
            misses = 0
        else:
            misses += 1
    return sorted(chosen, key=_order)


def _order(piece: Piece) -> tuple[int, int]:
    return piece.at, piece.place


def _name(piece: Piece) -> str:
    """Write how the line of a message begins."""
    return f"[{piece.at}] {piece.who}: "


def _written(chosen: Sequence[Piece]) -> str:
    lines: list[str] = []
    last, title = -1, ""
    for piece in chosen:
        said = piece.said
        if piece.at != last:
            lines.append(_name(piece))
            last, title = piece.at, ""
        elif not lines[-1].endswith(": "):
            lines[-1] += ", " if said.title == title else "; "
        if said.title != title and said.title:
            lines[-1] += f"{said.title}: "
        title = said.title
        lines[-1] += said.text
    return "\n".join(lines)

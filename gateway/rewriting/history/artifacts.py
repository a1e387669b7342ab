"""The artifact list of a fold: whole sentences, rows and lines that only the fold holds, quoted message by message.

By rule, and part of the frozen fold: of the pieces that messages were read into (snippets.py), `listed` chooses those
that later steps are likely to need and that stand nowhere else. Each line names its message and speaker, and quotes.
Pure; linear in the text.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heapreplace
from math import exp, log, log2

from gateway.conversation import Message
from gateway.rewriting.history.snippets import PRESERVED, Snippet, estimated_tokens
from gateway.rewriting.ours import quoted, sendable
from gateway.rewriting.results.shapes.rows import quoted_cell

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class PlacedSnippet:
    """A snippet, and where in the conversation it stands."""

    at: int
    """Index of its message."""
    place: int
    """Its number in the message."""
    who: str
    """Its speaker: a name, the tool of a result and the file it was called with, else the role."""
    said: Snippet
    speaker: str = ""
    """The role of its message."""


def pieces_of(at: int, who: str, snippets: Iterable[Snippet], speaker: str = "") -> Iterator[PlacedSnippet]:
    """Give what a message was read into its place."""
    return (PlacedSnippet(at, place, who, said, speaker) for place, said in enumerate(snippets))


class Speakers:
    """The speakers of the messages of a conversation, and the results that read anew what an older one did."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._calls: dict[str, tuple[str, str]] = {}
        """By id: the newest call, its name and its arguments."""
        self._asked: dict[int, tuple[str, str]] = {}
        self._readings: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._upto = 0

    def _read(self, upto: int) -> None:
        for index in range(self._upto, min(upto, len(self._messages))):
            message = self._messages[index]
            for call in message.calls:
                self._calls[call.id] = (call.name, call.arguments)
            if message.is_result:
                asked = self._calls.get(message.call_id or "", (message.name or message.role, ""))
                self._asked[index] = asked
                self._readings[asked].append(index)
        self._upto = max(self._upto, upto)

    def who(self, index: int) -> str:
        """Name the speaker: the name of the message, the tool of a result with its file, else the role."""
        self._read(index + 1)
        message = self._messages[index]
        tool, arguments = self._asked.get(index, ("", ""))
        name = message.name or tool or message.role
        if message.is_result:
            return _named(" ".join([name, *_file_of(arguments)]))
        return _named(name if name == message.role else f"{message.role} {name}")

    def newer(self, index: int, upto: int) -> int | None:
        """Find the newest result before `upto` that answers the same call as this one, later."""
        self._read(upto)
        asked = self._asked.get(index)
        if asked is None or not asked[1]:
            return None
        later = [at for at in self._readings[asked][-_MOST_READINGS:] if index < at < upto]
        return later[-1] if later else None


_MOST_READINGS = 64
_ARGUMENT_TEXT = re.compile(r'"([^"\\]{2,80})"\s*[,}]')


@lru_cache(4096)
def _file_of(arguments: str) -> tuple[str, ...]:
    """Find the file, or other short place, that a call names: its first argument that looks like a path."""
    return next(
        ((said,) for said in _ARGUMENT_TEXT.findall(arguments[:2000]) if "." in said[1:] and " " not in said), ()
    )


def _named(name: str) -> str:
    """Write a name so that it cannot be taken for anything else: names are foreign text too."""
    name = " ".join(name.split())
    return name if len(name) <= 100 and not set(name) & set('"`[]{}<>') else "…"


def current(pieces: Iterable[PlacedSnippet], newer: Callable[[int], Iterable[Snippet]]) -> Iterator[PlacedSnippet]:
    """Leave out what a newer reading says anew: the same call, answered in the same shape. `newer` gives its pieces."""
    shapes: dict[int, frozenset[tuple[object, ...]]] = {}
    for piece in pieces:
        found = shapes.get(piece.at)
        if found is None:
            found = shapes[piece.at] = frozenset(map(_shape_of, newer(piece.at)))
        if not found or piece.said.worth >= PRESERVED or _shape_of(piece.said) not in found:
            yield piece


_DIGITS = re.compile(r"\d+")


def _shape_of(said: Snippet) -> tuple[object, ...]:
    """Tell what a piece is about, without its readings."""
    if said.kind == "row":
        is_one_of_many = len(said.cells) > 1 and said.names[0] not in ("", "status", "state")
        return (said.title, said.names, said.cells[0] if is_one_of_many and not said.cells[0].isdigit() else "")
    return (said.kind, _DIGITS.sub("#", said.text))


# The weights below are those of a logistic regression, rounded: which values of folded messages did the later steps of
# recorded conversations use? Over six kinds of traffic it ranks .74 to .88 of the pairs right (area under the curve),
# and .65 to .80 of a kind that it was not fitted on.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T_ ]?\d\d[:.]?\d\d|\d\d:\d\d:\d\d")
_CAMEL = re.compile(r"[a-z][A-Z]")
_LONG = 40
_ROUNDS, _FULL = 4, 0.95
_AGAIN = 0.15
"""The loss of worth from the first piece of a message to the second; doubling the pieces costs as much again."""
_OVERHEAD = 6
"""Tokens of a piece beside its own: the line's beginning, quotes, what parts it from the next."""
_LEAST_PIECE = 2
"""Tokens below which no piece fits a list any more: one, and what parts it from the next."""
_MOST_TRIES, _LEAST_FILL = 12, 8
"""Times that a piece is tried in what room is left, and tokens below which none is."""
_MOST_TOO_LONG = 40
"""Pieces in a row that do not fit any more, after which the list is full."""
_MOST_LOOKS = 8
"""Times that a piece is weighed again, on average, as others say what it holds."""
_LESS = 1e-9
_SHARPNESS = 2.0
"""The weight of a value that is one better in worth: as a power of e."""
_SPOKEN_WORD, _MOST_SPOKEN_WORDS, _MOST_SPOKEN_WORTH = 0.1, 3, 1.5
"""The gain of a record for a rare word of it that somebody spoke, the number of words that count, and the most for
all."""
_SPOKEN_OF = 3.0
"""The worth of a definition that somebody speaks of."""
_ARGUMENT, _ASSISTANT, _USER, _RESULT = 1, 2, 4, 8
_WORDS = {"user": 0.5, "system": 0.5, "developer": 0.5, "assistant": 0.02}
"""The worth of a token of a sentence for its words alone, by its speaker; of a result its values count."""
_RESULT_WORDS = 0.01
_MOST_SPOKEN = 2_000
"""Words of people that are remembered, to know which function they speak of."""
_WORD = re.compile(r"[^\W\d]\w{2,}")


@lru_cache(32_768)
def _words(text: str) -> tuple[str, ...]:
    """List the words of a text, each once, in folded case."""
    return tuple(dict.fromkeys(_WORD.findall(text.casefold())))


class ValuePlaces:
    """The places of each value of a conversation so far: kinds of message, and their number."""

    __slots__ = ("kinds", "messages", "spoken")

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.messages: dict[str, int] = {}
        self.spoken: dict[str, None] = {}
        """Words that people said, the newest last."""

    def __copy__(self) -> ValuePlaces:
        out = ValuePlaces()
        out.kinds, out.messages, out.spoken = dict(self.kinds), dict(self.messages), dict(self.spoken)
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
            bits = _ARGUMENT if piece.argument else kind
            for value in piece.values:
                new[value] |= bits
            if piece.kind == "sentence":
                new[piece.text] |= bits
        for value, bits in new.items():
            self.kinds[value] = self.kinds.get(value, 0) | bits
            self.messages[value] = self.messages.get(value, 0) + 1
        if kind != _RESULT:
            for word in _words(message.text[-8 * _MOST_SPOKEN :]):
                self.spoken.pop(word, None)
                self.spoken[word] = None
            while len(self.spoken) > _MOST_SPOKEN:
                del self.spoken[next(iter(self.spoken))]

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

    def speaks_of(self, name: str) -> bool:
        """Whether a person, the assistant or a call names what is defined there."""
        return name.casefold() in self.spoken or bool(self.kinds.get(name, 0) & (_ASSISTANT | _USER | _ARGUMENT))


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
    elif value.isalpha():
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


# ---------------------------------------------------------------- ranking


@dataclass(slots=True)
class _Candidate:
    """A piece, and what of its worth does not change while others are chosen."""

    piece: PlacedSnippet
    values: tuple[tuple[str, float], ...]
    """The values in it that stand nowhere else, with their weights."""
    words: float
    """Its worth without a value."""
    fixed: float
    """The terms that are added to the logarithm of its worth: its kind, its cost, whether it was spoken of."""
    needs_value: bool
    first: float = 0.0
    """Its score before anything is chosen."""


class _Ranking:
    """Pieces weighed by what each adds, for a token, to what is said already."""

    def __init__(self, pieces: Iterable[PlacedSnippet], seen: ValuePlaces, elsewhere: AbstractSet[str]) -> None:
        self.seen = seen
        self._weights: dict[str, float] = {}
        self.nothing_new: list[PlacedSnippet] = []
        weighed = list(pieces)
        spoken = _Spoken(weighed, seen.spoken)
        self.candidates: list[_Candidate] = []
        for piece in weighed:
            one = self._weighed(piece, elsewhere, spoken)
            if one is None:
                self.nothing_new.append(piece)
            else:
                one.first = _score(one, one.values)
                self.candidates.append(one)
        self._spread_over_messages()
        self._heap = [(-one.first, -one.piece.at, one.piece.place, n) for n, one in enumerate(self.candidates)]
        heapify(self._heap)

    def _spread_over_messages(self) -> None:
        """Count a piece for less, the more pieces of its message are better."""
        number: dict[int, int] = defaultdict(int)
        for one in sorted(self.candidates, key=lambda one: (-one.first, one.piece.place)):
            at = one.piece.at
            number[at] += 1
            one.fixed -= _again(number[at])
            one.first -= _again(number[at])

    def _weighed(self, piece: PlacedSnippet, elsewhere: AbstractSet[str], spoken: _Spoken) -> _Candidate | None:
        said = piece.said
        size = estimated_tokens(said.text)
        words, needs_value = 0.0, True
        if said.kind == "sentence":
            if said.text in elsewhere:
                return None
            again = self.seen.messages.get(said.text, 1)
            words = size * (_RESULT_WORDS if said.argument else _WORDS.get(piece.speaker, _RESULT_WORDS)) / again**2
            needs_value = False
        if said.worth >= 1.0:
            words += 1.0  # what stands out needs no value
            needs_value = False
        if said.name and self.seen.speaks_of(said.name):
            words += _SPOKEN_OF
        values = tuple([(value, self._weight(value)) for value in said.values if value not in elsewhere])
        if needs_value and not values:
            return None
        fixed = said.worth - log(size + _OVERHEAD)
        if said.kind in ("row", "line", "entry"):
            fixed += spoken.weight(said.text)
        return _Candidate(piece, values, words, fixed, needs_value)

    def _weight(self, value: str) -> float:
        weight = self._weights.get(value)
        if weight is None:
            weight = self._weights[value] = exp(_SHARPNESS * self.seen.worth(value))
        return weight

    def choosing(self) -> _Choosing:
        """Begin to choose, with nothing said yet."""
        return _Choosing(self.candidates, self._heap.copy())


class _Choosing:
    """Pieces one after another, the best of those left each time."""

    def __init__(self, candidates: Sequence[_Candidate], heap: list[tuple[float, int, int, int]]) -> None:
        self._candidates, self._heap = candidates, heap
        self._done: set[str] = set()
        self._left: dict[int, tuple[tuple[str, float], ...]] = {}

    def take(self, piece: PlacedSnippet) -> None:
        """Count a piece as said."""
        self._done.update(piece.said.values)
        self._done.add(piece.said.text)

    def __iter__(self) -> Iterator[PlacedSnippet]:
        """Yield what is best, until nothing new is left. A score only falls: what leads and is up to date is best."""
        heap, looks = self._heap, _MOST_LOOKS * len(self._heap)
        while heap:
            less, at, place, n = heap[0]
            now = -self._now(n)
            looks -= 1
            if now == -_NOTHING:
                heappop(heap)
            elif now > less + _LESS and looks > 0:
                heapreplace(heap, (now, at, place, n))
            else:
                heappop(heap)
                yield self._candidates[n].piece

    def _now(self, n: int) -> float:
        """Score what a piece adds to what is said by now."""
        one, done = self._candidates[n], self._done
        values = self._left.get(n, one.values)
        if not done.isdisjoint([value for value, _ in values]):
            values = self._left[n] = tuple([pair for pair in values if pair[0] not in done])
        if (one.needs_value and not values) or one.piece.said.text in done:
            return _NOTHING
        return _score(one, values)


def _score(one: _Candidate, values: Iterable[tuple[str, float]]) -> float:
    return log(one.words + sum([weight for _, weight in values]) + _LESS) + one.fixed


class _Spoken:
    """The records and lines that hold words which somebody spoke; a word that few of them hold tells most."""

    def __init__(self, pieces: Iterable[PlacedSnippet], spoken: Mapping[str, None]) -> None:
        self._often: dict[str, int] = defaultdict(int)
        self._all = 1
        for piece in pieces:
            if piece.said.kind in ("row", "line", "entry"):
                self._all += 1
                for word in _words(piece.said.text):
                    if word in spoken:
                        self._often[word] += 1

    def weight(self, text: str) -> float:
        """Weigh how much of a record was spoken of."""
        often = self._often
        rarest = sorted([often[word] for word in _words(text) if word in often])[:_MOST_SPOKEN_WORDS]
        return min(_SPOKEN_WORD * sum([log(self._all / number) for number in rarest]), _MOST_SPOKEN_WORTH)


_NOTHING = float("-inf")


def ranked_snippets(
    pieces: Iterable[PlacedSnippet], seen: ValuePlaces, elsewhere: AbstractSet[str] = frozenset()
) -> Iterator[PlacedSnippet]:
    """Order the pieces by what each adds to those before it for its tokens; of equal ones the newest first.

    Lazily. A piece that holds nothing new comes last: it says the same if the better piece finds no room.
    """
    ranking = _Ranking(pieces, seen, elsewhere)
    chosen: set[tuple[int, int]] = set()
    choosing = ranking.choosing()
    for piece in choosing:
        choosing.take(piece)
        chosen.add((piece.at, piece.place))
        yield piece
    left = [one.piece for one in ranking.candidates if (one.piece.at, one.piece.place) not in chosen]
    yield from sorted([*left, *ranking.nothing_new], key=_newest_first)


def _newest_first(piece: PlacedSnippet) -> tuple[int, int, str]:
    return -piece.at, piece.place, piece.who


def best(order: Iterable[PlacedSnippet], most_tokens: int) -> tuple[PlacedSnippet, ...]:
    """Keep what the lists still to come may want to say: the first pieces, in about so many tokens.

    So a list is written from what this leaves of all that is gone, and its price does not grow with the conversation.
    """
    kept: list[PlacedSnippet] = []
    for piece in order:
        most_tokens -= estimated_tokens(piece.said.text)
        if most_tokens < 0:
            break
        kept.append(piece)
    return tuple(kept)


def said_by(pieces: Iterable[PlacedSnippet]) -> frozenset[str]:
    """List the values and the sentences of pieces: what a conversation is remembered by."""
    held = {value for piece in pieces for value in piece.said.values}
    return frozenset(held | {piece.said.text for piece in pieces if piece.said.kind != "row"})


def listed(
    pieces: Iterable[PlacedSnippet], seen: ValuePlaces, elsewhere: AbstractSet[str], room: int, count: Count
) -> tuple[str, frozenset[str]]:
    """Write the list in at most `room` tokens: the text, and the values and sentences it holds.

    `elsewhere` is what needs no place here: it stands in what stays, or in an earlier list.
    """
    ranking = _Ranking(pieces, seen, elsewhere)
    said, kept, aim = "", list[PlacedSnippet](), room
    for _ in range(_ROUNDS):
        chosen = _chosen(ranking, aim, count)
        text = _written(chosen, seen)
        size = count(text)
        if size <= room and len(chosen) > len(kept):
            said, kept = text, chosen
        if _FULL * room <= size <= room or (size <= room and len(chosen) == len(ranking.candidates)):
            break
        aim += room - size  # in one line, pieces take other numbers of tokens than each for itself
    said, kept = _filled(said, kept, ranking, room, count)
    return said, said_by(kept)


def _filled(
    said: str, kept: list[PlacedSnippet], ranking: _Ranking, room: int, count: Count
) -> tuple[str, list[PlacedSnippet]]:
    """Add what still fits, each piece counted as it is written: the estimates of `_chosen` leave some room."""
    choosing = ranking.choosing()
    for piece in kept:
        choosing.take(piece)
    left, tries = room - count(said), _MOST_TRIES
    for piece in choosing:
        if tries == 0 or left < _LEAST_FILL:
            break
        if estimated_tokens(piece.said.text) > left + left // 4:
            continue
        tries -= 1
        more = sorted([*kept, piece], key=_order)
        text = _written(more, ranking.seen)
        size = count(text)
        if size <= room:
            said, kept, left = text, more, room - size
            choosing.take(piece)
    return said, kept


@lru_cache(65_536)
def _again(number: int) -> float:
    """Say what the so-manieth piece of a message is worth less than the first."""
    return round(_AGAIN * log2(number), 6)


def _chosen(ranking: _Ranking, room: int, count: Count) -> list[PlacedSnippet]:
    """Take the best pieces while they fit, each counted with what it adds to its line."""
    chosen: list[PlacedSnippet] = []
    named: set[int] = set()
    groups: set[tuple[object, ...]] = set()
    misses = 0
    choosing = ranking.choosing()
    for piece in choosing:
        if room < _LEAST_PIECE or misses > _MOST_TOO_LONG:
            break
        group = _group_of(piece)
        size = _size(piece, ranking.seen, count, named, is_in_table=group in groups)
        if size > room:
            misses += 1
            continue
        room, misses = room - size, 0
        chosen.append(piece)
        choosing.take(piece)
        named.add(piece.at)
        if piece.said.kind in ("row", "call"):
            groups.add(group)
    return sorted(chosen, key=_order)


def _size(piece: PlacedSnippet, seen: ValuePlaces, count: Count, named: AbstractSet[int], *, is_in_table: bool) -> int:
    """Count about what a piece adds to the list."""
    said = piece.said
    cells = said.cells if said.names[-1:] != ("",) else (said.text.partition(", ")[2],)
    size = 3 + count(", ".join(cells) if is_in_table else _text_of(said, seen))
    if piece.at not in named and not is_in_table:
        size += count(_name([piece])) + 3
    if said.title and said.kind != "call":
        size += count(said.title) + 1
    return size


def _order(piece: PlacedSnippet) -> tuple[int, int, str]:
    return piece.at, piece.place, piece.who


# ---------------------------------------------------------------- writing


_LEAST_TABLE = 2
"""Rows of one kind that are written under a header."""


def _text_of(said: Snippet, seen: ValuePlaces) -> str:
    """Say a definition with its body where somebody speaks of it."""
    return said.body if said.body and seen.speaks_of(said.name) else said.text


def _name(group: Sequence[PlacedSnippet]) -> str:
    """Write how a line begins: the numbers of its messages, and who speaks."""
    numbers = dict.fromkeys(piece.at for piece in group)
    who = group[0].who if len({piece.who for piece in group}) == 1 else group[0].who.partition(" ")[0]
    return f"[{', '.join(map(str, numbers))}] {who}: "


def _written(chosen: Sequence[PlacedSnippet], seen: ValuePlaces) -> str:
    """Write a line for each message, in order; rows of one kind under one header, where their first one stands."""
    like: dict[tuple[object, ...], list[PlacedSnippet]] = {}
    for piece in chosen:
        like.setdefault(_group_of(piece), []).append(piece)
    lines: list[str] = []
    last = ""
    for group in like.values():
        name = _name(group)
        said = _quoted(group, seen)
        if name == last and "\n" not in said and "\n" not in lines[-1]:  # a fence ends only at the end of a line
            lines[-1] += f" {said}"
        else:
            lines.append(f"{name}{said}".replace(" \n", "\n", 1))
        last = name
    return "\n".join([line.rstrip() for line in lines])


def _group_of(piece: PlacedSnippet) -> tuple[object, ...]:
    """Tell what a piece is written together with: rows with those of the same fields, others with their message's."""
    said = piece.said
    if said.kind == "row" and said.names[-1] == "":
        return ("part", piece.at, said.title, said.names[0], said.cells[0])
    if said.kind == "row" and len(said.names) > 1:
        return ("row", piece.who.partition(" ")[0], said.title.rpartition(" ")[2], said.names)
    if said.kind == "call":
        return ("call", piece.who, said.title, said.names)
    return (said.kind, piece.at, said.title)


def _quoted(group: Sequence[PlacedSnippet], seen: ValuePlaces) -> str:
    """Quote pieces that belong together."""
    said = [piece.said for piece in group]
    about = f"{_quote(said[0].title)}: " if said[0].title else ""
    match said[0].kind:
        case "row":
            return _rows(said)
        case "line":
            return about + _lines(said, seen)
        case "media":
            return " ".join([f"[{one.text}]" for one in said])
        case "entry":
            rest = said[0].of - len(said)
            return about + _quote(" ".join([one.text for one in said])) + (f" (… {rest} more)" if rest > 0 else "")
        case "call":
            return _calls(said)
        case _:
            return about + _quote(_joined(said))


def _joined(sentences: Sequence[Snippet]) -> str:
    """Join the sentences of a message; `…` where some were left out between them."""
    out, before = "", 0
    for said in sentences:
        gap = "" if not out else " " if before and said.line == before + 1 else " … "
        out += gap + said.text
        before = said.line
    return out.replace("… …", "…")


def _rows(rows: Sequence[Snippet]) -> str:
    """Write one row with the name of each field, several under a header, with what each belongs to."""
    if len(rows) > 1 and rows[0].names[-1] == "":
        return _parts_of_one(rows)
    titles = {row.title: None for row in rows}
    about = f"{_quote(rows[0].title)}: " if len(titles) == 1 and rows[0].title else ""
    if len(rows) < _LEAST_TABLE:
        return about + " ".join(
            [_quote(f"{row.title}: {row.text}" if len(titles) > 1 and row.title else row.text) for row in rows]
        )
    header = list(map(quoted_cell, rows[0].names))
    cells = [list(row.cells) for row in rows]
    if len(titles) > 1:
        header.append("of")
        cells = [[*row, quoted_cell(said.title)] for row, said in zip(cells, rows, strict=True)]
    return about + "\n" + quoted("\n".join([",".join(header), *map(",".join, cells)]))


def _parts_of_one(rows: Sequence[Snippet]) -> str:
    """Write parts of one record together, its id once."""
    about = f"{_quote(rows[0].title)}: " if rows[0].title else ""
    said = [f"{rows[0].names[0]}: {rows[0].cells[0]}"]
    for row in rows:
        said += [f"{name}: {cell}" for name, cell in zip(row.names[1:-1], row.cells[1:-1], strict=True) if cell]
        said.append("…")
    return about + _quote(", ".join(said))


def _calls(calls: Sequence[Snippet]) -> str:
    """Write calls of one tool together: the names of their arguments once."""
    if len(calls) == 1 or not any(calls[0].names):
        return " ".join([_quote(call.text) for call in calls])
    names = ", ".join(map(quoted_cell, calls[0].names))
    return _quote(f"{calls[0].title}({names})") + " " + " ".join([_quote(", ".join(call.cells)) for call in calls])


def _lines(lines: Sequence[Snippet], seen: ValuePlaces) -> str:
    """Write lines with their numbers."""
    numbered: dict[int, str] = {}
    for line in lines:
        for number, text in enumerate(_text_of(line, seen).split("\n"), line.line):
            numbered.setdefault(number, text)
    if len(numbered) == 1:
        return f"line {lines[0].line} {_quote(lines[0].text)}"
    return "\n" + quoted("\n".join([f"{number}: {text}" for number, text in numbered.items()]))


def _quote(text: str) -> str:
    return json.dumps(sendable(text), ensure_ascii=False)

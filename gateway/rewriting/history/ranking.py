"""The order of placed snippets: each by what it adds, for a token, to what is said already.

value_places.py says what a value is worth; here its pieces are weighed against each other, and what one has said counts
no more for the next. artifacts.py takes them in this order while they fit. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heapreplace
from math import exp, log, log2

from gateway.rewriting.history.placed_snippets import PlacedSnippet
from gateway.rewriting.history.snippets import estimated_tokens
from gateway.rewriting.history.value_places import ValuePlaces, words_in

# These weights were fitted with those of value_places.py.
_AGAIN = 0.15
"""The loss of worth from the first piece of a message to the second; doubling the pieces costs as much again."""
_OVERHEAD = 6
"""Tokens of a piece beside its own: the line's beginning, quotes, what parts it from the next."""
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
_WORDS = {"user": 0.5, "system": 0.5, "developer": 0.5, "assistant": 0.02}
"""The worth of a token of a sentence for its words alone, by its speaker; of a result its values count."""
_RESULT_WORDS = 0.01


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


class Ranking:
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

    def choosing(self) -> Choosing:
        """Begin to choose, with nothing said yet."""
        return Choosing(self.candidates, self._heap.copy())


class Choosing:
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
                for word in words_in(piece.said.text):
                    if word in spoken:
                        self._often[word] += 1

    def weight(self, text: str) -> float:
        """Weigh how much of a record was spoken of."""
        often = self._often
        rarest = sorted([often[word] for word in words_in(text) if word in often])[:_MOST_SPOKEN_WORDS]
        return min(_SPOKEN_WORD * sum([log(self._all / number) for number in rarest]), _MOST_SPOKEN_WORTH)


_NOTHING = float("-inf")


def ranked_snippets(
    pieces: Iterable[PlacedSnippet], seen: ValuePlaces, elsewhere: AbstractSet[str] = frozenset()
) -> Iterator[PlacedSnippet]:
    """Order the pieces by what each adds to those before it for its tokens; of equal ones the newest first.

    Lazily. A piece that holds nothing new comes last: it says the same if the better piece finds no room.
    """
    ranking = Ranking(pieces, seen, elsewhere)
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


@lru_cache(65_536)
def _again(number: int) -> float:
    """Say what the so-manieth piece of a message is worth less than the first."""
    return round(_AGAIN * log2(number), 6)

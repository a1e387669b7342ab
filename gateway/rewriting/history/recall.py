"""Short excerpts of folded messages that the current input asks for, with their place. Pure.

Passages (passages.py) of the folded messages are scored by BM25 against the question (question.py), helped by their own
message and by the message they answer; then the best are taken one by one, each weighed by what it says that no taken
one says yet. They are printed in the order of the conversation (excerpt_text.py). warrant.py says how many tokens they
may take.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat

from gateway.rewriting.history.excerpt_text import HEADER, place_of, quoted_pieces
from gateway.rewriting.history.folded_messages import FoldedPart
from gateway.rewriting.history.question import AskedTerms, FoldedView, passage_scores

Count = Callable[[str], int]


def excerpts(
    view: FoldedView, wanted: AskedTerms | None, room: int, count: Count, standing: Sequence[str] = ()
) -> str | None:
    """Write the body of the message that stands right before the final unit: at most `room` tokens, or None.

    `standing` is what stands in the request anyway: what it says is not said again for its own sake.
    """
    if wanted is None:
        return None
    said = set[int]().union(*[bag for text in standing for bag in view.read(text).bags])
    return _Choice(view, _relevances(view, wanted), said, count).written(room)


def _relevances(view: FoldedView, wanted: AskedTerms) -> list[float]:
    """Give each passage its relevance: its own score, its message's, and that of the message it answers."""
    total, scores = wanted.total, passage_scores(view, wanted)
    covered = [0.0] * len(view.readings)
    for term, weight in wanted.terms.items():
        for place in view.within(term):
            covered[place] += weight
    covered = [weight / total for weight in covered]
    asked = _question_before(view.parts)
    at = 0
    out: list[float] = []
    for place, (part, reading) in enumerate(zip(view.parts, view.readings, strict=True)):
        around = (_OWN_DOCUMENT if part.kind == "document" else _OWN_MESSAGE) * covered[place]
        by_user = part.message.role == "user" and part.kind == "said"
        if by_user:
            answered = place + 1 < len(view.parts) and view.parts[place + 1].message.role != "user"
            around += _MESSAGE_AFTER * covered[place + 1] if answered else 0.0
        elif part.kind == "said" and place:
            around += _MESSAGE_BEFORE * covered[asked[place]]
        said = _SAID_BY_USER if by_user else 0.0
        own = [0.0, *scores[at : at + len(reading.spans)], 0.0]
        at += len(reading.spans)
        if part.kind == "around" or (not around and not any(own)):
            out += [0.0] * len(reading.spans)
            continue
        for before, here, behind in zip(own, own[1:], own[2:], strict=False):
            matched = here + _BESIDE * max(before, behind) + around
            out.append(matched + said if matched else 0.0)
    return out


def _question_before(parts: Sequence[FoldedPart]) -> list[int]:
    """Find the part before each one; of what answers a message with documents, what was said around them."""
    out, around = [], 0
    for place, part in enumerate(parts):
        before = max(0, place - 1)
        out.append(around if parts[before].kind == "document" and part.kind == "said" else before)
        if part.kind == "around":
            around = place
    return out


# Found by trial on long chats and agent sessions that were asked about what had been folded. All are flat optima.
# Shares of what the question asks for that a passage is given for its surroundings. An answer seldom repeats the words
# of its question, so what follows a match counts most.
_OWN_MESSAGE, _OWN_DOCUMENT, _MESSAGE_BEFORE, _MESSAGE_AFTER = 0.35, 1.0, 0.5, 0.1
_BESIDE = 0.5
# The same for what the user said, where anything in it or around it matches: it is short, not said again, and holds the
# facts and wishes that all the rest follows from.
_SAID_BY_USER = 0.25
# Below this share of the best passage's relevance nothing is brought back.
_FLOOR = 0.05
# So many are weighed at most, the most relevant: a question costs no more the longer a chat is.
_MOST_WEIGHED = 3_000
# A term is worth what the relevant passages say it (the share of what they say together), and, for the rest, how common
# it is in all that is folded: an answer is made of the words that its sources are made of.
_OF_THE_RELEVANT = 0.7
_FENCE_TOKENS, _COMMON_WORTH, _FEW_PASSAGES = 4, 0.04, 2
_PLACE_TOKENS, _GAP_TOKENS, _LEAST_TOKENS, _MOST_CHARS_OF_A_TOKEN = 8, 2, 10, 6
_MOST_TOO_LONG = 20
# What is most relevant comes first, to so many tokens; behind it what adds most to the picture.
_NARROW_TOKENS, _NARROW_PASSAGES = 2_000, 300
_GOES, _WORTH_ANOTHER_GO = 3, 40
_NOTHING = repeat(0.0)


class _Choice:
    """The greedy choice of passages: what each says that is not said yet, by what it is worth, for its length.

    It maximises what the excerpts cover of the answer that is to be expected (a weighted maximum coverage, Nemhauser
    et al. 1978: the greedy choice is within 1 - 1/e of the best one).
    """

    def __init__(self, view: FoldedView, relevances: Sequence[float], said: AbstractSet[int], count: Count) -> None:
        """Take each passage's relevance, and the terms that are said anyway."""
        index = view.index
        self.parts, self.index, self.count = view.parts, index, count
        self.bags, self.spans, self.message_of = index.bags, index.spans, index.reading_of
        top = max(relevances, default=0.0) or 1.0
        self.relevance = [relevance / top for relevance in relevances]
        """As a share of the best one's."""
        least = max(_FLOOR, sorted(self.relevance)[-_MOST_WEIGHED:][0])
        self.able = [i for i, share in enumerate(self.relevance) if share >= least and self.bags[i]]
        self.worth = self._worths(said)
        """The worth of each term that is not said yet."""
        self.taken: dict[int, int] = {}
        """The number of passages chosen of each part."""
        self.chosen: list[int] = []
        self.sizes: dict[int, int] = {}

    def _worths(self, said: AbstractSet[int]) -> dict[int, float]:
        """Weigh every term that is not said yet by how much the relevant passages, and all, speak of it."""
        spoken: dict[int, float] = defaultdict(float)
        bags, shares = self.bags, self.relevance
        for i in self.able:
            share = shares[i]
            for term in bags[i]:
                spoken[term] += share
        for term in said:
            spoken.pop(term, None)
        every, found_in, sqrt = len(self.index), self.index.found_in, math.sqrt
        common = max(_FEW_PASSAGES, _COMMON_WORTH * every)
        found = {term: number for term in spoken if (number := found_in(term)) <= common}
        most = max(map(spoken.__getitem__, found), default=1.0)
        return {
            term: _OF_THE_RELEVANT * spoken[term] / most + (1 - _OF_THE_RELEVANT) * sqrt(number / every)
            for term, number in found.items()
        }

    def written(self, room: int) -> str | None:
        """Choose and print what fits; the whole takes fewer tokens than its parts, so another go fills the rest."""
        best = heapq.nsmallest(_NARROW_PASSAGES, self.able, key=lambda i: (-self.relevance[i], i))
        spare = room - self.count(HEADER) - 2
        self._take(min(spare, _NARROW_TOKENS), self._heap(best, narrow=True), narrow=True)
        taken = set(self.chosen)
        heap = self._heap([i for i in self.able if i not in taken], narrow=False)
        for _ in range(_GOES):
            text = self._text()
            spare = room - self.count(text)
            if spare < _WORTH_ANOTHER_GO or not heap:
                break
            self._take(spare, heap, narrow=False)
        text = self._text()
        while self.chosen and self.count(text) > room:
            self.chosen.pop()
            text = self._text()
        return text if self.chosen else None

    def _heap(self, passages: Iterable[int], *, narrow: bool) -> list[tuple[float, int, int]]:
        """Order passages by what they gain now: its negative, the passage, and how many were chosen by then."""
        heap = [(-self._gain(i, narrow), i, len(self.chosen)) for i in passages]
        heapq.heapify(heap)
        return heap

    def _take(self, room: int, heap: list[tuple[float, int, int]], *, narrow: bool) -> None:
        """Take passages of at most `room` tokens, the most wanted first; `narrow` goes by relevance above all.

        Gains only ever shrink, so a passage is weighed anew only when its last weight brings it to the top.
        """
        too_long: list[tuple[float, int, int]] = []
        while heap and len(too_long) < _MOST_TOO_LONG:
            top = heap[0]
            _, i, weighed = top
            if weighed < len(self.chosen) or i not in self.sizes:
                self._size(i)
                heapq.heapreplace(heap, (-self._gain(i, narrow), i, len(self.chosen)))
                continue
            heapq.heappop(heap)
            tokens = self._tokens(i)
            if tokens > room:
                too_long.append(top)
                continue
            room -= tokens
            self._choose(i)
        for one in too_long:
            heapq.heappush(heap, one)

    def _choose(self, i: int) -> None:
        message = self.message_of[i]
        self.chosen.append(i)
        self.taken[message] = self.taken.get(message, 0) + 1
        for term in self.bags[i]:
            self.worth.pop(term, None)

    def _gain(self, i: int, narrow: bool) -> float:
        """Weigh what a passage says that is not said yet.

        One that was not counted yet is taken for short, so that only what comes to the top is.
        """
        around = _GAP_TOKENS if self.message_of[i] in self.taken else _PLACE_TOKENS
        size = self.sizes.get(i)
        if size is None:
            start, end = self.spans[i]
            size = (end - start) // _MOST_CHARS_OF_A_TOKEN
        share = self.relevance[i]
        new = sum(map(self.worth.get, self.bags[i], _NOTHING))
        return new * (share * share * share if narrow else share) / max(_LEAST_TOKENS, size + around)

    def _size(self, i: int) -> int:
        size = self.sizes.get(i)
        if size is None:
            start, end = self.spans[i]
            size = self.sizes[i] = self.count(self.parts[self.message_of[i]].text[start:end].strip())
        return size

    def _tokens(self, i: int) -> int:
        message = self.message_of[i]
        place = 0 if message in self.taken else self.count(place_of(self.parts[message].message)) + _FENCE_TOKENS
        return self._size(i) + place + 1

    def _text(self) -> str:
        """Print what was chosen, in the order of the conversation, each message under its number and its speaker; what
        stood side by side stands so again.
        """
        pieces: dict[int, list[tuple[int, int]]] = {}
        for i in sorted(self.chosen):
            start, end = self.spans[i]
            spans = pieces.setdefault(self.message_of[i], [])
            if spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        lines = [HEADER]
        for at, spans in pieces.items():
            part = self.parts[at]
            said = quoted_pieces([part.text[start:end].strip() for start, end in spans])
            place = place_of(part.message)
            lines.append(f"{place.rstrip()}\n{said}" if "\n" in said else f"{place}{said}")
        return "\n".join(lines)

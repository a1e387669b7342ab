"""What the current input asks for and a fold holds, brought back as short excerpts with their place. Pure.

Passages of the folded messages are scored by BM25 against the question, helped by their own message and by the message
they answer; then the best are taken one by one, each weighed by what it says that no taken one says yet. They are
printed in the order of the conversation, word for word. A question that names nothing brings nothing back.
"""

from __future__ import annotations

import heapq
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.rewriting.relevance import WORD, Index, Memory, Reading, number, of_word
from gateway.values import values

Count = Callable[[str], int]

HEADER = "Excerpts from earlier messages that are left out above, word for word, for what is asked next:"
GAP = " […] "

_AIM_CHARS, _MOST_CHARS, _LEAST_CHARS = 320, 640, 100
"""A passage is closed from the first on, never longer than the second; a blank line closes it from the third on."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A message that is not in the request any more, or not whole."""

    at: int
    """Its index in the conversation."""
    tool: str | None
    role: str
    text: str


def is_excerpt(text: str) -> bool:
    """Whether a message of ours is of excerpts: for one request alone."""
    return text.startswith(HEADER)


def asks_back(question: str, folded: Sequence[Folded], standing: Sequence[str], memory: Memory) -> float:
    """Score whether a message asks for what is folded; what is above 0 does.

    An excerpt is paid for at the full price, and the message behind it once more with the next request, so it must be
    asked for: by a question, short and with few names of its own, whose words are found together in what is folded and
    not in what still stands. Who carries on with the conversation says more, and newer things.
    """
    asked = asked_for(question)
    new = sum(1 for _ in islice(values(question), _MOST_VALUES))
    carries_on = _PER_TERM * len(asked) + _PER_CHAR * len(question) + _PER_VALUE * new - _ASKING_BACK
    carries_on -= _SAID_BEFORE if _BACK.search(question) else 0.0
    if not asked or _ASKS.search(question) is None or carries_on >= _MISSING + _FOUND:
        return -1.0
    index = memory.index([memory.read(message.text, paragraphs(message.text)) for message in folded])
    terms = index.weighed(asked)
    if not terms:
        return -1.0
    missing = dict(terms)
    for text in standing:
        for term in memory.read(text, paragraphs(text)).held(missing):
            del missing[term]
    total = sum(terms.values())
    best = max(index.scores(terms)) / total
    return _MISSING * sum(missing.values()) / total + _FOUND * best - carries_on


# Fitted on long chats, as the odds that a message is a question about them (against one that carries on).
_MISSING, _FOUND, _PER_TERM, _PER_CHAR, _PER_VALUE, _ASKING_BACK = 5.0, 2.3, 0.16, 0.0065, 0.4, 1.2
_SAID_BEFORE = 2.0
_MOST_VALUES = 8
_BACK = re.compile(
    r"\b(?:summar(?:y|i[sz]e)|recap|so far|earlier|previous(?:ly)?|throughout|conversations?|remember|remind|in order"
    r"|(?:did|have|had|was|were) (?:i|we|you|my|our)"
    r"|(?:i|we|you) (?:said|told|gave|mentioned|decided|recommended|suggested))\b",
    re.IGNORECASE,
)


def excerpts(
    question: str, folded: Sequence[Folded], room: int, count: Count, memory: Memory | None = None
) -> str | None:
    """Write the body of the message that stands right before the final unit: at most `room` tokens, or None.

    `memory` is what the process remembers of texts; without one everything is read anew, to the same end.
    """
    memory = Memory() if memory is None else memory
    folded = [message for message in folded if not message.text.startswith(HEADER)]
    readings = [memory.read(message.text, paragraphs(message.text)) for message in folded]
    index = memory.index(readings)
    wanted = _wanted(question, index)
    if wanted is None:
        return None
    passages = _passages(folded, readings, wanted)
    return _Choice(folded, passages, index, count).written(room)


# ---------------------------------------------------------------- passages


def paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into passages of some 320 characters: at blank lines, else at lines, sentences, rows, words."""
    held: tuple[int, int] | None = None
    for piece in _pieces(text):
        if held is not None and piece[1] - piece[0] < _LEAST_CHARS and piece[1] == len(text):
            held = (held[0], piece[1])
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    start = at = 0
    size = len(text)
    while at < size:
        end = text.find("\n", at) + 1 or size
        if end - start > _MOST_CHARS:
            if at > start:
                yield start, at
                start = at
            while end - start > _MOST_CHARS:
                cut = _cut(text, start, start + _MOST_CHARS)
                yield start, cut
                start = cut
        blank = end == size or text[end] in "\r\n"
        if end - start >= (_LEAST_CHARS if blank else _AIM_CHARS):
            yield start, end
            start = end
        at = end
    if start < size:
        yield start, size


# What ends a sentence, a row or record, a field, a word: the earlier in this list, the better the cut.
_CUTS = tuple(
    re.compile(ending)
    for ending in (r"[.!?…][\"'”’)\]*]{0,3}\s|[\u3002\uff01\uff1f]", r"[}\]][,;]?\s?(?=[{\[\"])", r"[,;]\s?", r"\s")
)


def _cut(text: str, start: int, end: int) -> int:
    """Find where a long line is best cut in its second half: after a sentence, a row, a field or a word."""
    for ending in _CUTS:
        ends = [found.end() for found in ending.finditer(text, start + _AIM_CHARS // 2, end)]
        if ends:
            return ends[-1]
    return end


# ---------------------------------------------------------------- the question


_MOST_TERMS = 48
_TELLING = 1.6
"""What a name, a number or a code name counts, where another word counts 1."""
_FEEDBACK, _FEEDBACK_PASSAGES, _FEEDBACK_TERMS = 0.3, 8, 20

_COMMON_WORDS = """\
a about above after again all also am an and any are as at be because been before being but by can cannot could did do
does doing don't down each few for from further get give go had has have having he her here hers him his how i i'd i'll
i'm i've if in into is it it's its just let like make may me might more most must my no nor not now of off ok okay on
once only or other our out over own please really said same she should so some such tell than thank thanks that that's
the their them then there these they thing this those through to too under until up us very want was we well were what
when where which while who whom why will with would yes you your yours
great good sure hello hi hey bye nice fine perfect cool today
bit continue elaborate explain help makes much sense sounds understand
"""
_COMMON = frozenset(number(term) for word in _COMMON_WORDS.split() for term in of_word(word)) | frozenset(
    number(letters) for letters in ("s", "t", "m", "ve", "ll", "re", "d")
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the question asks for, each term with its weight, and what its best passages speak of besides."""

    terms: dict[int, float]
    scores: list[float]
    """Of each passage, as a share of the most that a passage could have."""


def _wanted(question: str, index: Index) -> _Wanted | None:
    """Read the question; None where it asks for nothing that the passages hold."""
    asked = asked_for(question)
    terms = index.weighed(asked)
    if len(terms) > _MOST_TERMS:
        terms = dict(sorted(terms.items(), key=lambda item: -item[1])[:_MOST_TERMS])
    total = sum(terms.values())
    scores = index.scores(terms)
    best = sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: (-scores[i], i))
    if not best or not _telling(question, asked, terms, index.bags[best[0]]):
        return None
    spoken: dict[int, float] = {}
    for i in best[:_FEEDBACK_PASSAGES]:
        for term in index.bags[i]:
            spoken[term] = spoken.get(term, 0.0) + scores[i]
    # Words that the best passages share and most others lack stand beside the question's own (Lavrenko and Croft's
    # relevance model, 2001).
    most = len(scores) / 10
    rare = [
        (-score * index.idf(term), term)
        for term, score in spoken.items()
        if term not in terms and term not in _COMMON and 1 < index.found_in(term) < most
    ]
    added = heapq.nsmallest(_FEEDBACK_TERMS, rare)
    mass = sum(score for score, _ in added)
    more = {term: _FEEDBACK * total * score / mass for score, term in added}
    return _Wanted(terms, [score / total for score in index.scores({**terms, **more})])


_BEFORE_A_NAME = " \"'\u201c\u2018(*#-"


def asked_for(question: str) -> dict[int, float]:
    """Weigh the terms of a question: names, numbers and code names tell more than other words."""
    out: dict[int, float] = {}
    for found in WORD.finditer(question):
        word, before = found.group(), question[max(0, found.start() - 3) : found.start()]
        name = word[0].isupper() and before.strip(_BEFORE_A_NAME)[-1:] not in ("", ".", "!", "?", "\n", ":")
        name = name or (word[0].isupper() and not before.endswith((" ", "\n")) and before != "")
        weight = _TELLING if name or not word.replace("'", "").replace("’", "").isalpha() else 1.0
        for term in map(number, of_word(word)):
            if term not in _COMMON:
                out[term] = max(out.get(term, 0.0), weight)
    return out


_ASKS = re.compile(r"\?\s*$|\?\s|\b(?:who|what|when|where|which|why|how)\b", re.IGNORECASE)


def _telling(question: str, asked: dict[int, float], terms: dict[int, float], best: array[int]) -> bool:
    """Tell whether the best passage is a match at all: two of the words, a telling one, or one of a real question."""
    matched = [term for term in best if term in terms]
    return len(matched) > 1 or any(asked[term] > 1 for term in matched) or _ASKS.search(question) is not None


# ---------------------------------------------------------------- the choice


@dataclass(slots=True)
class _Passage:
    message: int
    start: int
    end: int
    bag: array[int]
    relevance: float


def _passages(folded: Sequence[Folded], readings: Sequence[Reading], wanted: _Wanted) -> list[_Passage]:
    """Give each passage its relevance: its own score, its message's, and that of the message it answers."""
    total = sum(wanted.terms.values())
    covered = [sum(reading.held(wanted.terms).values()) / total for reading in readings]
    at = 0
    out: list[_Passage] = []
    for place, (message, reading) in enumerate(zip(folded, readings, strict=True)):
        around = _OWN_MESSAGE * covered[place]
        if message.role == "user":
            answered = place + 1 < len(folded) and folded[place + 1].role != "user"
            around += _MESSAGE_AFTER * covered[place + 1] if answered else 0.0
        elif place:
            around += _MESSAGE_BEFORE * covered[place - 1]
        said = _SAID_BY_USER if message.role == "user" else 0.0
        for (start, end), bag in zip(reading.spans, reading.bags, strict=True):
            matched = wanted.scores[at] + around
            out.append(_Passage(place, start, end, bag, matched + said if matched else 0.0))
            at += 1
    return out


# Found by trial on long chats and agent sessions that were asked about what had been folded. All are flat optima.
# Shares of what the question asks for that a passage is given for its surroundings. An answer seldom repeats the words
# of its question, so what follows a match counts most.
_OWN_MESSAGE, _MESSAGE_BEFORE, _MESSAGE_AFTER = 0.35, 0.5, 0.1
# The same for what the user said, where anything in it or around it matches: it is short, not said again, and holds the
# facts and wishes that all the rest follows from.
_SAID_BY_USER = 0.25
# Below this share of the best passage's relevance nothing is brought back.
_FLOOR = 0.1
# How much of a passage's worth goes with what is new in it; all of it once this share of the room is full.
_NOVELTY, _LATE_FROM = 0.8, 0.6
# How much less each further passage of one message is worth.
_SPREAD = 0.3
# What a passage of so many tokens costs: its length to the power of .6, rounded so that every machine has the same.
_COSTS = tuple(round(math.pow(max(20, tokens), 0.6), 6) for tokens in range(1024))
_MOST_TOO_LONG = 20
_WORTH_A_SECOND_GO = 40


class _Choice:
    """The greedy choice of passages: relevance for its length, times what is new in it."""

    def __init__(self, folded: Sequence[Folded], passages: Sequence[_Passage], index: Index, count: Count) -> None:
        self.folded, self.passages, self.index, self.count = folded, passages, index, count
        self.seen: set[int] = set()
        self.taken: Counter[int] = Counter()
        self.chosen: list[int] = []
        self.sizes: dict[int, int] = {}
        self.left: list[int] = []
        self.rarity: dict[int, float] = {}
        self.novelty = _NOVELTY

    def written(self, room: int) -> str | None:
        """Choose and print what fits; the whole takes fewer tokens than its parts, so a second go fills the rest."""
        self._take(room - self.count(HEADER) - 2, self._candidates(room))
        text = self._text()
        spare = room - self.count(text)
        if spare >= _WORTH_A_SECOND_GO:
            self._take(spare, self.left)
            text = self._text()
        while self.chosen and self.count(text) > room:
            self.chosen.pop()
            text = self._text()
        return text if self.chosen else None

    def _take(self, room: int, candidates: Sequence[int]) -> None:
        """Take passages of at most `room` tokens, the most wanted first.

        Gains only ever shrink, so a passage is weighed anew only when its last weight brings it to the top.
        """
        heap = [(-self._worth(i), i, -1) for i in candidates]
        heapq.heapify(heap)
        late = room * (1 - _LATE_FROM)
        taken = 0
        too_long: list[int] = []
        while heap and len(too_long) < _MOST_TOO_LONG:
            _, i, weighed = heap[0]
            if weighed < taken:
                heapq.heapreplace(heap, (-self._gain(i), i, taken))
                continue
            heapq.heappop(heap)
            tokens = self._tokens(i)
            if tokens > room:
                too_long.append(i)
                continue
            room -= tokens
            taken += 1
            self.chosen.append(i)
            self.taken[self.passages[i].message] += 1
            self.seen.update(self.passages[i].bag)
            if room < late:
                self.novelty = 1.0
        self.left = [*too_long, *[i for _, i, _ in heap]]

    def _text(self) -> str:
        return _written(self.folded, [self.passages[i] for i in sorted(self.chosen)])

    def _candidates(self, room: int) -> list[int]:
        """List what is relevant enough; no more than could be taken several times over."""
        floor = _FLOOR * max(passage.relevance for passage in self.passages)
        found = [i for i, passage in enumerate(self.passages) if passage.relevance >= floor > 0 and passage.bag]
        return heapq.nsmallest(100 + room // 12, found, key=lambda i: (-self._rough_worth(self.passages[i]), i))

    def _rough_worth(self, passage: _Passage) -> float:
        return passage.relevance / _COSTS[min(1023, (passage.end - passage.start) // 4)]

    def _worth(self, i: int) -> float:
        """Weigh relevance against length; a bound on what the passage can gain."""
        return self.passages[i].relevance / _COSTS[min(1023, self._size(i))]

    def _gain(self, i: int) -> float:
        passage, rarity = self.passages[i], self.rarity
        new = whole = 0.0
        for term in passage.bag:
            value = rarity.get(term)
            if value is None:
                value = rarity[term] = self.index.idf(term)
            whole += value
            if term not in self.seen:
                new += value
        share = 1 - self.novelty + self.novelty * new / whole if whole else 0.0
        return self._worth(i) * share / (1 + _SPREAD * self.taken[passage.message])

    def _size(self, i: int) -> int:
        size = self.sizes.get(i)
        if size is None:
            passage = self.passages[i]
            text = self.folded[passage.message].text[passage.start : passage.end]
            size = self.sizes[i] = self.count(text.strip())
        return size

    def _tokens(self, i: int) -> int:
        passage = self.passages[i]
        message = self.folded[passage.message]
        place = 0 if self.taken[passage.message] else self.count(_place(message)) + 1
        return self._size(i) + place + 1


# ---------------------------------------------------------------- what is printed


def _place(message: Folded) -> str:
    return f"messages[{message.at}], {message.tool or message.role}: "


def _written(folded: Sequence[Folded], chosen: Sequence[_Passage]) -> str:
    """Print passages, given in order, a message a line; what stood side by side stands so again."""
    pieces: dict[int, list[tuple[int, int]]] = {}
    for passage in chosen:
        spans = pieces.setdefault(passage.message, [])
        if spans and spans[-1][1] == passage.start:
            spans[-1] = (spans[-1][0], passage.end)
        else:
            spans.append((passage.start, passage.end))
    lines = [HEADER]
    for at, spans in pieces.items():
        message = folded[at]
        lines.append(_place(message) + GAP.join([message.text[start:end].strip() for start, end in spans]))
    return "\n".join(lines)

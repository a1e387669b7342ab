"""Short excerpts of folded messages that the current input asks for, with their place. Pure.

Passages of the folded messages are scored by BM25 against the question, helped by their own message and by the message
they answer; then the best are taken one by one, each weighed by what it says that no taken one says yet. They are
printed in the order of the conversation, quoted word for word, each message under its number and its speaker.

No word of any language decides. Common words are those that stand in many messages of this conversation. A message asks
for something that is gone if its words stand in the fold, and not in the messages that are still there.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Literal, NamedTuple

from gateway.rewriting.documents.relevance import PAIRED, WORD, Index, Reading, ReadingMemory, of_word, term_number
from gateway.rewriting.language import clauses, language_of, sentences
from gateway.rewriting.ours import QUOTED, quoted
from gateway.rewriting.results.records import record_sets

Count = Callable[[str], int]
_Within = Callable[[int], set[int]]

HEADER = f"[… {QUOTED}]"
"""Stands above the excerpts; they are what stands right before the question."""
GAP = " […] "


class FoldedMessage(NamedTuple):
    """A message that is not in the request any more, or not whole."""

    at: int
    """Its index in the conversation."""
    tool: str | None
    role: str
    text: str
    name: str | None = None
    media: tuple[str, ...] = ()
    """The kinds of its parts that are no text."""
    documents: tuple[tuple[int, int], ...] = ()
    """The places of documents in its text: each is weighed by itself, and the words around them stay folded."""


# ---------------------------------------------------------------- the search, and what relevance warrants


class Search:
    """A question, and what of the folded messages it asks for: read once, for its worth and for the excerpts.

    `memory` is what the process remembers of texts; without one everything is read anew, to the same end.
    """

    def __init__(self, question: str, folded: Sequence[FoldedMessage], memory: ReadingMemory | None = None) -> None:
        self.question = question
        self.view = _view(question, folded, ReadingMemory() if memory is None else memory)
        self.wanted = _wanted(question, self.view)

    def warranted(self, room: int, standing: Sequence[str] = (), before: Sequence[str] = ()) -> int:
        """Say how many tokens of excerpts, up to `room`, the relevance of what is folded is worth.

        `standing` is what the request says anyway, the last exchange last; `before` is what the user said, newest last.
        """
        if self.wanted is None:
            return 0
        room = min(room, _BY_CHANCE) if self.wanted.alone else room
        signs = _signs(self.question, self.view, standing, before)
        worth = int(room * math.exp(min(0.0, round(_STEEPNESS * _odds(signs), 6))))
        if signs.clauses == 0 and signs.gone >= _NAMED:
            worth = max(worth, min(room, _A_LITTLE))
        return worth if worth >= _LEAST_TOKENS_WORTH else 0

    def excerpts(self, room: int, count: Count, standing: Sequence[str] = ()) -> str | None:
        """Write the body of the message that stands right before the final unit: at most `room` tokens, or None.

        `standing` is what stands in the request anyway: what it says is not said again for its own sake.
        """
        if self.wanted is None:
            return None
        said = set[int]().union(*[bag for text in standing for bag in self.view.read(text).bags])
        return _Choice(self.view, _relevances(self.view, self.wanted), said, count).written(room)


@dataclass(frozen=True, slots=True)
class _Signs:
    """The overlap of a message with messages that are gone and with those still there; shares are of the rarity of its
    words.
    """

    clauses: float
    """The logarithm of its length as a multiple of a short question."""
    asks: float
    """Whether it has a question mark; between the two where its speaker never writes one."""
    new: float
    """The share that nobody has said yet."""
    gone: float
    """The share that only what is folded says."""
    last: float
    """The share that the last exchange says."""
    ahead: float
    """The lead of the best folded message over the best that stands."""
    usual: float
    """The share of its speaker's messages that begin with the same word, less where most of them do."""
    longer: float
    """The share of its speaker's messages that are no longer, nearer to even where they all begin alike."""


def _signs(question: str, view: _View, standing: Sequence[str], before: Sequence[str]) -> _Signs:
    """Weigh the words of a question by how few messages say them, and add up where they stand."""
    asked = view.asked
    stands = [asked.keys() & set[int]().union(*view.read(text).bags) for text in standing]
    messages = len({part.message.at for part in view.parts}) + len(stands)
    best: dict[int, float] = defaultdict(float)
    """The terms that each folded message covers, with all of its documents."""
    weights, new, gone = {}, 0.0, 0.0
    for term in asked:
        holds = {view.parts[reading].message.at for reading in view.within(term)}
        folded, still = len(holds), sum(term in one for one in stands)
        rarity = math.log(1 + (messages - folded - still + 0.5) / (folded + still + 0.5))
        weight = weights[term] = min(1.0, asked[term]) * round(rarity, 6)
        new += 0.0 if folded or still else weight
        gone += weight if folded and not still else 0.0
        for at in holds:
            best[at] += weight
    total = sum(weights.values()) or 1.0
    covers = [sum(weights[term] for term in one) for one in stands]
    last = sum(weights[term] for term in asked if any(term in one for one in stands[-_LAST_EXCHANGE:]))
    before = before[-_USUAL:]
    knows = len(before) >= _LEAST_USUAL
    usual, longer = _habits(question, before) if knows else (0.0, _LONGER)
    silent = knows and sum(_MARK.search(text) is not None for text in before) < _SELDOM * len(before)
    return _Signs(
        clauses=round(math.log(max(1.0, sum(1 for _ in clauses(question)) / _SHORTLY)), 6),
        asks=1.0 if _MARK.search(question) else 0.5 if silent else 0.0,
        new=new / total,
        gone=gone / total,
        last=last / total,
        ahead=(max(best.values(), default=0.0) - max(covers, default=0.0)) / total,
        usual=usual,
        longer=longer,
    )


def _habits(question: str, before: Sequence[str]) -> tuple[float, float]:
    """Say how usual the beginning and the length of a message are.

    Neither says anything if all messages of its speaker begin alike: he may well only ask.
    """
    often, begins = Counter(map(_beginning, before)), _beginning(question)
    alike = sum(number * number for number in often.values()) / len(before) ** 2
    usual = often[begins] / len(before)
    longer = sum(len(text) <= len(question) for text in before) / len(before)
    return usual * (1 - alike), longer * (1 - alike) + _LONGER * alike


def _beginning(text: str) -> tuple[int, ...]:
    """Give the first term of a text."""
    found = WORD.search(text[:_BEGINNING_CHARS])
    return () if found is None else tuple(map(term_number, of_word(found.group())[:1]))


_LAST_EXCHANGE, _USUAL, _LEAST_USUAL, _SELDOM, _SHORTLY, _BEGINNING_CHARS = 2, 40, 4, 0.2, 2, 80
_LONGER = 0.2
"""The share that is assumed if there are too few messages to tell."""
_MARK = re.compile("[?\u037e\u055e\u061f\u1367\u1945\u2047-\u2049\u2cfa\ua60f\ufe16\ufe56\uff1f]")


def _odds(signs: _Signs) -> float:
    """Weigh the signs that a message asks for what is gone: its log odds.

    A speaker who asks for it asks at once and shortly, of a subject that the last exchange did not touch. A speaker who
    carries on says something new, in several clauses, begins as he always does, or speaks of what he was just told.
    """
    return (
        _ODDS
        + _PER_CLAUSE * signs.clauses
        + _ASKING * signs.asks
        + _NEW * signs.new
        + _GONE * signs.gone
        + _LAST * signs.last
        + _AHEAD * signs.ahead
        + _CLEARLY * max(0.0, signs.ahead - _CLEAR)
        + _AS_USUAL * signs.usual
        + _PER_LONGER * signs.longer
    )


# As a logistic regression weighs them, rounded: 1,750 messages that carry long chats on, and 195 questions about those.
_ODDS, _PER_CLAUSE, _ASKING, _AS_USUAL, _PER_LONGER = -2.6, -2.9, 4.2, -8.5, -3.7
_NEW, _GONE, _LAST, _AHEAD = -1.5, 1.0, -2.8, 5.3
_CLEARLY, _CLEAR = 5.0, 0.25
"""Relevance that is clear by itself: from so much ahead on."""
_STEEPNESS = 2.0
"""The fall of the worth with odds below even."""
_NAMED, _A_LITTLE = 0.2, 300
"""A speaker who says shortly what only the fold says, to this share, is given so many tokens, whatever his habits."""
_LEAST_TOKENS_WORTH, _BY_CHANCE = 60, 400


# ---------------------------------------------------------------- what is searched


class _Part(NamedTuple):
    """A text that is weighed by itself: a message, a document in one, or the words around the documents."""

    message: FoldedMessage
    text: str
    kind: Literal["said", "document", "around"] = "said"


@dataclass(frozen=True, slots=True)
class _Read:
    """The folded messages as they are searched, whatever is asked."""

    messages: int
    parts: Sequence[_Part]
    readings: Sequence[Reading]
    index: Index
    language: str


@dataclass(frozen=True, slots=True)
class _View:
    """The folded messages, and what is asked of them."""

    parts: Sequence[_Part]
    readings: Sequence[Reading]
    index: Index
    language: str
    asked: Mapping[int, float]
    memory: ReadingMemory
    within: _Within
    """The readings that a term stands in."""

    def read(self, text: str) -> Reading:
        return self.memory.read(text, passages_of(text), self.language)


def _view(question: str, folded: Sequence[FoldedMessage], memory: ReadingMemory) -> _View:
    """See what is folded as it bears on a question. Between two folds only the question changes."""
    key = hash(tuple(folded))
    read = memory.view(key)
    if not isinstance(read, _Read) or read.messages != len(folded):
        read = _read(folded, memory)
        memory.keep(key, read.index, read)
    index, language = read.index, read.language
    asked = _asked_for(question, index, language)
    return _View(read.parts, read.readings, index, language, asked, memory, cache(index.readings_with))


def _read(folded: Sequence[FoldedMessage], memory: ReadingMemory) -> _Read:
    """Read what is folded, in the language that its beginning is in."""
    parts = [part for message in folded for part in _parts(message)]
    sample = "\n".join([message.text[:_SAMPLE_CHARS] for message in folded[:_SAMPLE_MESSAGES]])
    language = language_of(sample)
    readings = [memory.read(part.text, passages_of(part.text), language) for part in parts]
    return _Read(len(folded), parts, readings, memory.index(readings), language)


_SAMPLE_MESSAGES, _SAMPLE_CHARS = 20, 200


def _parts(message: FoldedMessage) -> Iterator[_Part]:
    """Take a message apart into its documents and what is said around them."""
    if not message.documents:
        yield _Part(message, message.text)
        return
    at, around = 0, []
    for start, end in message.documents:
        around.append(message.text[at:start])
        at = end
    around.append(message.text[at:])
    yield _Part(message, "\n".join([text.strip() for text in around if text.strip()]), "around")
    for start, end in message.documents:
        yield _Part(message, message.text[start:end], "document")


# ---------------------------------------------------------------- passages


def passages_of(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into passages of some 100 characters: whole records, else whole lines and sentences.

    A long sentence is cut into its clauses; nothing is cut inside one.
    """
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


_AIM_CHARS, _LONG_CHARS, _LEAST_CHARS = 100, 240, 40
"""A passage is closed from the first on, a sentence cut from the second on; a blank line closes from the third on."""
_RECORD_CHARS = 600
"""A longer record is cut as other text is."""


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Gather what may not be cut until it is a passage."""
    start = 0
    for begin, end in _units(text):
        if begin > start and end - start > _LONG_CHARS:
            yield start, begin
            start = begin
        blank = _BLANK.search(text, max(begin, end - _BLANK_CHARS), end) is not None
        if end - start >= (_LEAST_CHARS if blank else _AIM_CHARS):
            yield start, end
            start = end
    if start < len(text):
        yield start, len(text)


_BLANK, _BLANK_CHARS = re.compile(r"\n[ \t\r]*\n"), 12


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into what is kept whole: records, each with what separates it from the next, sentences and clauses."""
    at = 0
    for start, end in sorted(span for records in record_sets(text) for span in records):
        if end - start > _RECORD_CHARS or start < at:
            continue
        if at < start:
            yield from _said(text, at, start)
        at = end + len(text[end : end + _SEPARATOR_CHARS]) - len(text[end : end + _SEPARATOR_CHARS].lstrip(" \t\r\n,"))
        yield start, at
    if at < len(text):
        yield from _said(text, at, len(text))


_SEPARATOR_CHARS = 40


def _said(text: str, first: int, after: int) -> Iterator[tuple[int, int]]:
    """Cut a part of a text into its sentences, a long one into clauses that are gathered as far as they fit."""
    part = text if first == 0 and after == len(text) else text[first:after]
    for start, end in sentences(part):
        at = start
        if end - start > _LONG_CHARS:
            for begin, stop in clauses(part[start:end]):
                if start + begin > at and start + stop - at > _LONG_CHARS:
                    yield first + at, first + start + begin
                    at = start + begin
        yield first + at, first + end


# ---------------------------------------------------------------- the question


_MOST_TERMS = 48
_KNOWN, _CHANCE_MESSAGES = 0.1, 2
"""The share of a question's words that must be known, for it to be one about earlier messages."""
_PER_LETTER = 0.2
"""Words that are used most are the shortest, in every language (Zipf, 1935): one of five letters counts 1."""
_TELLING = 1.6
"""The weight of a name, a number or a code name, if another word counts 1."""
_COMMON, _COMMON_PASSAGES, _SEVERAL_PASSAGES, _FEW_MESSAGES = 0.5, 0.1, 8, 8
"""A word in this share of all messages says nothing; of few messages, or of passages, in the second."""
_FEEDBACK, _FEEDBACK_PASSAGES, _FEEDBACK_TERMS = 0.3, 8, 20


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The terms of the question with their weights, and the passages that hold them."""

    terms: dict[int, float]
    scores: list[float]
    """Of each passage."""
    best: list[int]
    """The passages that hold most, best first."""
    alone: bool
    """Whether no more than one word of the question is in any of them: it may stand there by chance."""

    @property
    def total(self) -> float:
        """The most that a passage could have."""
        return sum(self.terms.values())


def _wanted(question: str, view: _View) -> _Wanted | None:
    """Read the question; None where it asks for nothing that the passages hold."""
    index, asked = view.index, view.asked
    terms = index.weighed(asked)
    if len(terms) > _MOST_TERMS:
        terms = dict(sorted(terms.items(), key=lambda item: -item[1])[:_MOST_TERMS])
    scores = index.scores(terms)
    least = min(heapq.nlargest(_FEEDBACK_PASSAGES, scores), default=0.0)
    holding = sorted((-score, i) for i, score in enumerate(scores) if score >= least and score > 0)
    best = [i for _, i in holding[:_FEEDBACK_PASSAGES]]
    known = sum(asked[term] for term in terms)
    if not best or known < _KNOWN * sum(asked.values()):
        return None
    matched = [term for term in index.bags[best[0]] if term in terms]
    alone = len(matched) < 2 and asked[matched[0]] <= 1
    if alone and _MARK.search(question) is None and len(view.within(matched[0])) > _CHANCE_MESSAGES:
        return None
    return _Wanted(terms, scores, best, len(terms) < 2)


def _scores(view: _View, wanted: _Wanted) -> list[float]:
    """Score each passage by the question and by what its best passages speak of besides, as a share of the most.

    Words that the best passages share and most others lack stand beside the question's own (Lavrenko and Croft's
    relevance model, 2001).
    """
    index, terms, total = view.index, wanted.terms, wanted.total
    spoken: dict[int, float] = {}
    for i in wanted.best:
        for term in index.bags[i]:
            spoken[term] = spoken.get(term, 0.0) + wanted.scores[i]
    most = len(wanted.scores) / 10
    rare = [
        (-score * index.idf(term), term)
        for term, score in spoken.items()
        if term not in terms and 1 < index.found_in(term) < most
    ]
    added = heapq.nsmallest(_FEEDBACK_TERMS, rare)
    mass = sum(score for score, _ in added)
    more = {term: _FEEDBACK * total * score / mass for score, term in added}
    return [score / total for score in index.scores(more, wanted.scores)]


_BEFORE_A_NAME = " \"'\u201c\u2018(*#-"


def _asked_for(question: str, index: Index, language: str) -> dict[int, float]:
    """Weigh the terms of a question: names, numbers and code names tell more than other words, common words less."""
    out: dict[int, float] = {}
    for found in WORD.finditer(question):
        word, before = found.group(), question[max(0, found.start() - 3) : found.start()]
        name = word[0].isupper() and before.strip(_BEFORE_A_NAME)[-1:] not in ("", ".", "!", "?", "\n", ":")
        name = name or (word[0].isupper() and not before.endswith((" ", "\n")) and before != "")
        telling = name or any(ch.isdigit() or ch in "_@/#" for ch in word)
        weight = _TELLING if telling else 1.0 if PAIRED.search(word) else min(1.0, _PER_LETTER * len(word))
        for term in map(term_number, of_word(word, language)):
            tells = weight * _rarity(term, index)
            if tells > 0:
                out[term] = max(out.get(term, 0.0), tells)
    return out


def _rarity(term: int, index: Index) -> float:
    """Say how far a term is from being common here: 1 where nothing says it, 0 where most messages do."""
    common = index.found_in(term) / max(_SEVERAL_PASSAGES, _COMMON_PASSAGES * len(index))
    if len(index.readings) >= _FEW_MESSAGES:
        common = index.readings_number(term) / (_COMMON * len(index.readings))
    return max(0.0, 1 - round(common, 6))


# ---------------------------------------------------------------- the choice


def _relevances(view: _View, wanted: _Wanted) -> list[float]:
    """Give each passage its relevance: its own score, its message's, and that of the message it answers."""
    total, scores = wanted.total, _scores(view, wanted)
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


def _question_before(parts: Sequence[_Part]) -> list[int]:
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

    def __init__(self, view: _View, relevances: Sequence[float], said: AbstractSet[int], count: Count) -> None:
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
        place = 0 if message in self.taken else self.count(_place(self.parts[message].message)) + _FENCE_TOKENS
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
            said = _quoted([part.text[start:end].strip() for start, end in spans])
            place = _place(part.message)
            lines.append(f"{place.rstrip()}\n{said}" if "\n" in said else f"{place}{said}")
        return "\n".join(lines)


def _place(message: FoldedMessage) -> str:
    """Say which message it is, who speaks, and what of it is no text."""
    speaker = message.name or message.tool or message.role
    if not _NAME.fullmatch(speaker):
        speaker = _string(speaker)
    media = "".join([f"[{kind}] " for kind in message.media[:_MOST_MEDIA]])
    return f"messages[{message.at}] {speaker}: {media}"


_NAME, _MOST_MEDIA = re.compile(r"[\w .@+-]{1,64}"), 8


def _quoted(pieces: Sequence[str]) -> str:
    """Quote pieces of one message: side by side where each is a line, else in one fence with a gap between them.

    A line that begins as a speaker's would (`System: …`) is never one of its own.
    """
    if any(_LIKE_A_SPEAKER.search(piece) for piece in pieces):
        return GAP.join([" ".join([_string(line) for line in piece.split("\n") if line.strip()]) for piece in pieces])
    return quoted(GAP_LINE.join(pieces))


def _string(line: str) -> str:
    """Quote a line so that it stays in the line that it is quoted in."""
    return json.dumps(line, ensure_ascii=False)


_LIKE_A_SPEAKER = re.compile(r"^[ \t]*[^\W\d_]{2,12}[ \t]?[:\uff1a]", re.MULTILINE)
GAP_LINE = "\n[…]\n"

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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice, repeat

from gateway.memory import Memory as Remembered
from gateway.rewriting.relevance import WORD, Index, Memory, Reading, number, of_word
from gateway.values import values

Count = Callable[[str], int]
Scores = Remembered[tuple[int, int], float]
"""What messages scored, by the interpreter's hash of their text and its length."""

HEADER = "Excerpts from earlier messages that are left out above, word for word, for what is asked next:"
GAP = " […] "

_AIM_CHARS, _MOST_CHARS, _LEAST_CHARS = 100, 200, 40
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


def asks_now(message: str, before: Sequence[str], scores: Scores | None = None) -> float:
    """Score as `asks_back` does a message that comes after others of its user, the newest last.

    Who asks like this all the time is not asking about what is gone, and excerpts at every turn would cost more than
    sending everything. `scores` is what the process remembers.
    """

    def score(text: str) -> float:
        key = hash(text), len(text)
        found = None if scores is None else scores.get(key)
        if found is None:
            found = asks_back(text)
            if scores is not None:
                scores.put(key, found, 0)
        return found

    usual = sum(score(one) > 0 for one in before[-USUAL:]) if len(before) >= USUAL else 0
    return score(message) - _PER_USUAL * usual


USUAL = 12
"""How many messages before it say what is usual; of fewer nothing is."""
_PER_USUAL = 0.8


def asks_back(message: str) -> float:
    """Score whether a user's message asks for what was said long ago: above 0 it does, down to `PERHAPS` it may.

    An excerpt is paid for at the full price, so it must be asked for. Who asks about the past asks at once, shortly,
    and of himself or of what was said; who carries on tells what is new first, or answers what he was just told. The
    text alone decides, so that a message says the same in every later request of its conversation.
    """
    begins = _BEGINS.match(message) is not None
    new = sum(1 for _ in islice(values(message), _MOST_VALUES))
    score = _ODDS - _PER_LENGTH * round(math.log1p(len(message.split())), 6) - _PER_VALUE * new
    score += _BEGINS_ASKING if begins else 0.0
    score += _OF_ONESELF if begins and _SELF.search(message) else 0.0
    score += _ASKS_AT_ALL if "?" in message else 0.0
    score += _ASKS_APART if _APART.search(message) else 0.0
    score += _OF_THE_PAST if _BACK.search(message) else 0.0
    score += _ADVICE if _ADVISES.search(message) else 0.0
    score -= _ANSWERS if _TO_THE_LAST.match(message) else 0.0
    return score


# The log odds that a message is a question about a long chat, against one that carries it on, as a logistic regression
# weighs them, rounded: 1,700 messages of long chats and 195 questions about those (docs/decisions/0007).
_ODDS, _BEGINS_ASKING, _OF_ONESELF, _ASKS_AT_ALL, _OF_THE_PAST, _ANSWERS = -1.6, 1.4, 1.85, 1.8, 1.45, 2.3
_ASKS_APART, _ADVICE = 1.5, 2.6
_PER_LENGTH, _PER_VALUE = 0.24, 0.55
PERHAPS = -1.6
BESIDE_TOOLS = 1.5
"""The least where the model has tools: most questions are for those."""
_MOST_VALUES = 8
_ASKING_WORD = (
    r"(?:who|whom|whose|what|when|where|which|why|how|do|does|did|is|are|was|were|am|have|has|had|can|could|will|would"
    r"|should|shall|may|might|list|name|summari[sz]e|recap|remind|tell|give|recall|describe|walk|show|review|find"
    r"|explain|compare|outline|write|create|add|provide)"
)
_BEGINS = re.compile(
    r"\W*(?:\w+:\s+)?(?:(?:by|in|on|at|for|from|to|with|of|between|besides|after|before|during|about|since|until)\s+)?"
    + _ASKING_WORD
    + r"\b",
    re.IGNORECASE,
)
_APART = re.compile(r"[.!?]\s+" + _ASKING_WORD + r"\b[^.!?]{0,400}\?", re.IGNORECASE)
"""A question in a sentence of its own, behind what it is about."""
_ADVISES = re.compile(r"\byou (?:\w+ )?(?:suggest|recommend|advise)", re.IGNORECASE)
_SELF = re.compile(r"\b(?:i|my|me|mine|we|our|us)\b", re.IGNORECASE)
_TO_THE_LAST = re.compile(
    r"\W*(?:hmm+|ok(?:ay)?|got it|sounds|thanks?|thank you|yeah|yes|no|nope|sure|great|cool|absolutely|perfect"
    r"|i|i['\u2019]\w+|that|it|this)\b",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"\b(?:summar(?:y|i[sz]e)|recap|so far|earlier|previous(?:ly)?|throughout|conversations?|remember|remind|in order"
    r"|(?:did|have|had|was|were) (?:i|we|you|my|our)"
    r"|(?:i|we|you) (?:said|told|gave|mentioned|decided|recommended|suggested))\b",
    re.IGNORECASE,
)


def excerpts(
    question: str,
    folded: Sequence[Folded],
    room: int,
    count: Count,
    memory: Memory | None = None,
    standing: Sequence[str] = (),
) -> str | None:
    """Write the body of the message that stands right before the final unit: at most `room` tokens, or None.

    `standing` is what stands in the request anyway: what it says is not said again for its own sake. `memory` is what
    the process remembers of texts; without one everything is read anew, to the same end.
    """
    memory = Memory() if memory is None else memory
    folded = [message for message in folded if not message.text.startswith(HEADER)]
    readings = [memory.read(message.text, paragraphs(message.text)) for message in folded]
    index = memory.index(readings)
    wanted = _wanted(question, index)
    if wanted is None:
        return None
    relevances = _relevances(folded, readings, index, wanted)
    said = {term for text in standing for bag in memory.read(text, paragraphs(text)).bags for term in bag}
    return _Choice(folded, index, relevances, said, count).written(room)


# ---------------------------------------------------------------- passages


def paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into passages of some 100 characters: at blank lines, else at lines, sentences, rows, words."""
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
_KNOWN = 0.5
"""What must be known of the words of a question, for it to be one about what was said."""
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
    known = sum(asked[term] for term in terms)
    if known < _KNOWN * sum(asked.values()):
        return None
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


def _relevances(folded: Sequence[Folded], readings: Sequence[Reading], index: Index, wanted: _Wanted) -> list[float]:
    """Give each passage its relevance: its own score, its message's, and that of the message it answers."""
    total = sum(wanted.terms.values())
    covered = [weight / total for weight in index.covered(wanted.terms)]
    at = 0
    out: list[float] = []
    for place, (message, reading) in enumerate(zip(folded, readings, strict=True)):
        around = _OWN_MESSAGE * covered[place]
        if message.role == "user":
            answered = place + 1 < len(folded) and folded[place + 1].role != "user"
            around += _MESSAGE_AFTER * covered[place + 1] if answered else 0.0
        elif place:
            around += _MESSAGE_BEFORE * covered[place - 1]
        said = _SAID_BY_USER if message.role == "user" else 0.0
        own = [0.0, *wanted.scores[at : at + len(reading.spans)], 0.0]
        at += len(reading.spans)
        if not around and not any(own):
            out += [0.0] * len(reading.spans)
            continue
        for before, here, behind in zip(own, own[1:], own[2:], strict=False):
            matched = here + _BESIDE * max(before, behind) + around
            out.append(matched + said if matched else 0.0)
    return out


# Found by trial on long chats and agent sessions that were asked about what had been folded. All are flat optima.
# Shares of what the question asks for that a passage is given for its surroundings. An answer seldom repeats the words
# of its question, so what follows a match counts most.
_OWN_MESSAGE, _MESSAGE_BEFORE, _MESSAGE_AFTER = 0.35, 0.5, 0.1
_BESIDE = 0.5
# The same for what the user said, where anything in it or around it matches: it is short, not said again, and holds the
# facts and wishes that all the rest follows from.
_SAID_BY_USER = 0.25
# Below this share of the best passage's relevance nothing is brought back.
_FLOOR = 0.02
# So many are weighed at most, the most relevant: a question costs no more the longer a chat is.
_MOST_WEIGHED = 3_000
# A term is worth what the relevant passages say it (the share of what they say together), and, for the rest, how common
# it is in all that is folded: an answer is made of the words that its sources are made of.
_OF_THE_RELEVANT = 0.7
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

    def __init__(
        self, folded: Sequence[Folded], index: Index, relevances: Sequence[float], said: AbstractSet[int], count: Count
    ) -> None:
        """Take each passage's relevance, and the terms that are said anyway."""
        self.folded, self.index, self.count = folded, index, count
        self.bags, self.spans, self.message_of = index.bags, index.spans, index.reading_of
        top = max(relevances, default=0.0) or 1.0
        self.relevance = [relevance / top for relevance in relevances]
        """As a share of the best one's."""
        least = max(_FLOOR, sorted(self.relevance)[-_MOST_WEIGHED:][0])
        self.able = [i for i, share in enumerate(self.relevance) if share >= least and self.bags[i]]
        self.worth = self._worths({*_COMMON, *said})
        """What each term is worth that is not said yet."""
        self.taken: dict[int, int] = {}
        """How many passages of each message were chosen."""
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
        most, every = max(spoken.values(), default=1.0), len(self.index)
        found_in, sqrt = self.index.found_in, math.sqrt
        return {
            term: _OF_THE_RELEVANT * share / most + (1 - _OF_THE_RELEVANT) * sqrt(found_in(term) / every)
            for term, share in spoken.items()
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
            size = self.sizes[i] = self.count(self.folded[self.message_of[i]].text[start:end].strip())
        return size

    def _tokens(self, i: int) -> int:
        message = self.message_of[i]
        place = 0 if message in self.taken else self.count(_place(self.folded[message])) + 1
        return self._size(i) + place + 1

    def _text(self) -> str:
        """Print what was chosen, in the order of the conversation, a message a line; what stood side by side stands so
        again.
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
            message = self.folded[at]
            lines.append(_place(message) + GAP.join([message.text[start:end].strip() for start, end in spans]))
        return "\n".join(lines)


def _place(message: Folded) -> str:
    return f"messages[{message.at}], {message.tool or message.role}: "

"""The question as it is asked of folded messages: its terms, their weights, and the passages that hold them.

No word of any language decides. Common words are those that stand in many messages of this conversation. Pure.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gateway.rewriting.documents.relevance import PAIRED, WORD, Index, Reading, ReadingMemory, of_word, term_number
from gateway.rewriting.history.folded_messages import FoldedMessage, FoldedPart, parts_of
from gateway.rewriting.history.passages import passages_of
from gateway.rewriting.language import language_of

QUESTION_MARK = re.compile("[?\u037e\u055e\u061f\u1367\u1945\u2047-\u2049\u2cfa\ua60f\ufe16\ufe56\uff1f]")


@dataclass(frozen=True, slots=True)
class _FoldedReading:
    """The folded messages as they are searched, whatever is asked."""

    messages: int
    parts: Sequence[FoldedPart]
    readings: Sequence[Reading]
    index: Index
    language: str


@dataclass(frozen=True, slots=True)
class FoldedView:
    """The folded messages, and what is asked of them."""

    parts: Sequence[FoldedPart]
    readings: Sequence[Reading]
    index: Index
    language: str
    asked: Mapping[int, float]
    memory: ReadingMemory
    within: Callable[[int], set[int]]
    """The readings that a term stands in."""

    def read(self, text: str) -> Reading:
        return self.memory.read(text, passages_of(text), self.language)


def view_of(question: str, folded: Sequence[FoldedMessage], memory: ReadingMemory) -> FoldedView:
    """See what is folded as it bears on a question. Between two folds only the question changes."""
    key = hash(tuple(folded))
    read = memory.view(key)
    if not isinstance(read, _FoldedReading) or read.messages != len(folded):
        read = _reading_of(folded, memory)
        memory.keep(key, read.index, read)
    index, language = read.index, read.language
    asked = asked_for(question, index, language)
    return FoldedView(read.parts, read.readings, index, language, asked, memory, cache(index.readings_with))


def _reading_of(folded: Sequence[FoldedMessage], memory: ReadingMemory) -> _FoldedReading:
    """Read what is folded, in the language that its beginning is in."""
    parts = [part for message in folded for part in parts_of(message)]
    sample = "\n".join([message.text[:_SAMPLE_CHARS] for message in folded[:_SAMPLE_MESSAGES]])
    language = language_of(sample)
    readings = [memory.read(part.text, passages_of(part.text), language) for part in parts]
    return _FoldedReading(len(folded), parts, readings, memory.index(readings), language)


_SAMPLE_MESSAGES, _SAMPLE_CHARS = 20, 200
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
class AskedTerms:
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


def asked_terms(question: str, view: FoldedView) -> AskedTerms | None:
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
    if alone and QUESTION_MARK.search(question) is None and len(view.within(matched[0])) > _CHANCE_MESSAGES:
        return None
    return AskedTerms(terms, scores, best, len(terms) < 2)


def passage_scores(view: FoldedView, wanted: AskedTerms) -> list[float]:
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


def asked_for(question: str, index: Index, language: str = "") -> dict[int, float]:
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

"""The tokens of excerpts that the relevance of what is folded warrants: how likely a message asks for what is gone.

No word of any language decides. A message asks for something that is gone if its words stand in the fold, and not in
the messages that are still there. recall.py writes the excerpts. Pure.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.rewriting.documents.relevance import WORD, of_word, term_number
from gateway.rewriting.history.question import QUESTION_MARK, AskedTerms, FoldedView
from gateway.rewriting.language import clauses


def warranted(
    question: str,
    view: FoldedView,
    wanted: AskedTerms | None,
    room: int,
    standing: Sequence[str],
    before: Sequence[str],
) -> int:
    """Say how many tokens of excerpts, up to `room`, the relevance of what is folded is worth.

    `standing` is what the request says anyway, the last exchange last; `before` is what the user said, newest last.
    """
    if wanted is None:
        return 0
    room = min(room, _BY_CHANCE) if wanted.alone else room
    signs = _signs(question, view, standing, before)
    worth = int(room * math.exp(min(0.0, round(_STEEPNESS * _odds(signs), 6))))
    if signs.clauses == 0 and signs.gone >= _NAMED:
        worth = max(worth, min(room, _A_LITTLE))
    return worth if worth >= _LEAST_TOKENS_WORTH else 0


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


def _signs(question: str, view: FoldedView, standing: Sequence[str], before: Sequence[str]) -> _Signs:
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
    silent = knows and sum(QUESTION_MARK.search(text) is not None for text in before) < _SELDOM * len(before)
    return _Signs(
        clauses=round(math.log(max(1.0, sum(1 for _ in clauses(question)) / _SHORTLY)), 6),
        asks=1.0 if QUESTION_MARK.search(question) else 0.5 if silent else 0.0,
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

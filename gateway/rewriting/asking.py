"""Whether a message sounds, in English, as if it asked for what was said long ago. Pure.

Only folds that are deepened for a question still ask; excerpts are bought by relevance (recall.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice

from gateway.memory import Memory as Remembered
from gateway.values import values

Scores = Remembered[tuple[int, int], float]
"""What messages scored, by the interpreter's hash of their text and its length."""


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

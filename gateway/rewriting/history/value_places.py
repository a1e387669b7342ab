"""The places of the values of a conversation, and how likely each value is used again.

A value is worth most that people, the assistant or a call named, that several messages hold, and that looks like an id.
ranking.py weighs pieces by it. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache

from gateway.conversation import Message
from gateway.rewriting.history.snippets import Snippet

# The weights below are those of a logistic regression, rounded: which values of folded messages did the later steps of
# recorded conversations use? Over six kinds of traffic it ranks .74 to .88 of the pairs right (area under the curve),
# and .65 to .80 of a kind that it was not fitted on.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T_ ]?\d\d[:.]?\d\d|\d\d:\d\d:\d\d")
_CAMEL = re.compile(r"[a-z][A-Z]")
_LONG = 40
_ARGUMENT, _ASSISTANT, _USER, _RESULT = 1, 2, 4, 8
_MOST_SPOKEN = 2_000
"""Words of people that are remembered, to know which function they speak of."""
_WORD = re.compile(r"[^\W\d]\w{2,}")


@lru_cache(32_768)
def words_in(text: str) -> tuple[str, ...]:
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
            for word in words_in(message.text[-8 * _MOST_SPOKEN :]):
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

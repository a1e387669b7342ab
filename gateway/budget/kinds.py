"""Shares of a text that are words, ids and numbers, or another script: tokenizers differ by these.

Pure. A text's tokens are shared out by its characters: its own count stays the sum. A run of characters with a digit in
it is an id; a character outside ASCII is another script; the rest, punctuation included, is words. One pass in C over
the bytes, in slices, so that no text takes more memory than a slice does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.conversation import Message

_SLICE_CHARS: Final = 64 * 1024
_SPACES: Final = b" \t\r\n\v\f"
_DIGITS: Final = b"0123456789"
_HIGH: Final = bytes(range(0x80, 0x100))
_INSIDE_IDS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_IDS_ONLY: Final = bytes([code if code in _INSIDE_IDS else 0x20 for code in range(256)])

# Tokens of o200k_base for a hundred characters (bytes of another script) of each kind, about: only their relation to
# one another counts, and only in texts of several kinds.
_WORDS_WEIGHT: Final = 28
_IDS_WEIGHT: Final = 60
_OTHERS_WEIGHT: Final = 18


class Kinds(NamedTuple):
    """Tokens by our count, by the kind of text that they are of."""

    words: int = 0
    ids: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        return self.words + self.ids + self.others


NAMES: Final = Kinds._fields

Weights = tuple[int, int]
"""The weight of a token of ids, and of another script, in percent of a token of words."""

EVEN: Final[Weights] = (100, 100)


def kinds_of(text: str, tokens: int) -> Kinds:
    """Share out the tokens of a text by kind."""
    words, ids, others = _characters(text)
    words, ids, others = words * _WORDS_WEIGHT, ids * _IDS_WEIGHT, others * _OTHERS_WEIGHT
    whole = words + ids + others
    if not whole:
        return Kinds(tokens)
    own, foreign = tokens * ids // whole, tokens * others // whole
    return Kinds(tokens - own - foreign, own, foreign)


def _characters(text: str) -> tuple[int, int, int]:
    words = ids = others = 0
    for start in range(0, len(text), _SLICE_CHARS):
        data = text[start : start + _SLICE_CHARS].encode("utf-8", "surrogatepass")
        said = data.translate(None, _HIGH)
        high, digits = len(data) - len(said), len(said) - len(said.translate(None, _DIGITS))
        own = 0
        if digits:
            runs = data.translate(_IDS_ONLY).split()
            own = sum([len(run) for run in runs if not run.isalpha() and _has_digit(run)])
        words += len(said.translate(None, _SPACES)) - own
        ids += own
        others += high
    return words, ids, others


def _has_digit(run: bytes) -> bool:
    return len(run.translate(None, _DIGITS)) < len(run)


def weighed(kinds: Kinds, weights: Weights) -> int:
    """Count tokens of each kind for what they weigh, rounded up."""
    ids, others = weights
    return kinds.total - (kinds.ids * (100 - ids) + kinds.others * (100 - others)) // 100


def kinds_of_message(message: Message, tokens: int, count: Callable[[str], int]) -> Kinds:
    """Share out the tokens of a whole message without media; what is not text counts as words."""
    own = [kinds_of(text, count(text)) for text in (message.text, *(call.arguments for call in message.calls))]
    ids, others = sum([one.ids for one in own]), sum([one.others for one in own])
    return Kinds(tokens - ids - others, ids, others)

"""Relevance of passages to a question: terms, and BM25 over passages. Pure: no clock, no randomness.

A term is a word in folded case, without its ending; a code name, path or number counts whole and by its parts
(`getUserName` also as get, user, name). Words of scripts that are not spaced, and those of Hangul, whose endings are
many, count as pairs of letters. Inside, a term is the CRC-32 of its text: four bytes, equal in every process. Two terms
that share a number are taken for one word, which costs a little precision and nothing else.
"""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import is_
from zlib import crc32

from gateway.memory import USUAL
from gateway.memory import Memory as Remembered
from gateway.rewriting.language import STEMMED, without_ending

# Signs that are written on or behind a letter and that Python counts as no letters: of Hebrew, Arabic and Persian, of
# the scripts of India (all but the danda), of Thai, Lao, Burmese and Khmer.
_SIGNS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8"
    "\u0900-\u0963\u0971-\u0df3\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u200c\u200d"
)
# A word, with the marks that hold names, paths, addresses, dates and amounts together. Every repeated group begins with
# a mark that no word holds, so there is one way to match and the time is linear.
WORD = re.compile(rf"[\w{_SIGNS}]+(?:[-./@:'’+#][\w{_SIGNS}]+|,\d{{3}}(?!\d))*")
_PART = re.compile(r"[^\W\d_]+|\d+")
_AMOUNT = re.compile(r"\d+(?:\.\d+)?\Z")
_HUMP = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# From Thai to Hangul, ideographs and kana: their words are read as pairs of letters.
PAIRED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
_MOST_PARTS = 12
_LONGEST_WORD_CHARS, _LONGEST_RUN_CHARS = 80, 400

K1, B = 1.2, 0.6
"""Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), §3.4: k1 1.2 to 2, b .5 to .8."""


def terms(text: str, language: str = "") -> tuple[str, ...]:
    """List the terms of a text in order, repeated ones too."""
    return tuple(term for word in WORD.findall(text) for term in of_word(word, language))


def of_word(word: str, language: str = "") -> tuple[str, ...]:
    """List the terms of one word: itself first, then its parts where it has several.

    `language` is the one whose endings are taken off words in Latin letters; other scripts say it themselves.
    """
    if not word.isascii() and PAIRED.search(word):
        return _pairs(word[:_LONGEST_RUN_CHARS], language)
    word = word[:_LONGEST_WORD_CHARS]
    if word.isascii():
        if word.isalpha() and not _HUMP.search(word):
            return (stem(word.lower(), language),)
        whole = word.lower()
    else:
        if not _JOINING.search(word):
            return _other(word.casefold(), language)
        whole = _plain(word)
    whole = whole.replace(",", "").replace("’", "'")
    parts = _PART.findall(_HUMP.sub(" ", _plain(word) if not word.isascii() else word))
    if len(parts) < 2 or _AMOUNT.match(whole):
        return (stem(whole, language),)
    if whole.endswith("'s"):
        return (stem(whole[:-2], language),)
    smaller = [stem(part.lower(), language) for part in parts[:_MOST_PARTS] if len(part) > 1]
    return tuple(dict.fromkeys((whole, *smaller)))


_JOINING = re.compile(r"[\d_./@:'’+#,-]")


def _pairs(word: str, language: str) -> tuple[str, ...]:
    """List pairs of letters, and the terms of what stands between them in other scripts."""
    out: list[str] = []
    at = 0
    for run in PAIRED.finditer(word):
        for other in WORD.findall(word[at : run.start()]):
            out += of_word(other, language)
        letters, at = run.group(), run.end()
        out += [letters[i : i + 2] for i in range(max(1, len(letters) - 1))]
    for other in WORD.findall(word[at:]):
        out += of_word(other, language)
    return tuple(out)


def _other(word: str, language: str) -> tuple[str, ...]:
    """List the terms of a word with letters beyond ASCII: without its ending, and without a Hebrew prefix."""
    first = word[0]
    if "\u05d0" <= first <= "\u05ea":
        bare = _plain(word)
        return (bare, bare[1:]) if len(bare) > _LEAST_HEBREW and first in _HEBREW_PREFIXES else (bare,)
    for low, high, name in _BY_SCRIPT:
        if low <= first <= high:
            return (_plain(without_ending(word, name)),)
    return (_plain(without_ending(word, language)) if language in STEMMED else stem(_plain(word)),)


_HEBREW_PREFIXES, _LEAST_HEBREW = frozenset("והבלמשכ"), 3
"""And, the, in, to, from, that, as: written in one with the word."""
_BY_SCRIPT = (
    ("\u0370", "\u03ff", "greek"),
    ("\u0400", "\u052f", "russian"),
    ("\u0531", "\u0587", "armenian"),
    ("\u0600", "\u06ff", "arabic"),
    ("\u0900", "\u097f", "hindi"),
    ("\u0b80", "\u0bff", "tamil"),
    ("\u1f00", "\u1fff", "greek"),
)


def stem(word: str, language: str = "") -> str:
    """Take off a word's ending; of English a plural's alone: orders and order are one term.

    Endings of English verbs are left on: taking them off found no more of what was asked for, and made words look told
    already that are not (`focus`, `focused`).
    """
    if language in STEMMED and word.isalpha():
        return _plain(without_ending(word, language))
    if len(word) < 4 or word[-1] != "s" or word[-2] in "su'" or not word.isalpha():
        return word
    return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]


def _plain(word: str) -> str:
    """Fold case and take off accents, so that José and JOSE are one word."""
    return "".join(ch for ch in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(ch))


# ---------------------------------------------------------------- what is remembered of a text


@dataclass(frozen=True, slots=True)
class Reading:
    """A text cut into passages, and the terms of each."""

    spans: tuple[tuple[int, int], ...]
    bags: tuple[array[int], ...]
    """For each passage its different terms by number, in order of appearance."""
    often: tuple[bytes, ...]
    """The number of times that each of them stands there, at most 255."""
    lengths: tuple[int, ...]
    """Words in each passage."""

    @property
    def held_bytes(self) -> int:
        return 160 + sum(5 * len(bag) for bag in self.bags) + 330 * len(self.spans)


_KEPT_PASSAGES = 20_000
"""Of all indexes that are kept: some 900 bytes each, with what they were made of."""

_KEPT_NUMBERS = 2_000
"""Terms of which an index remembers in how many readings they stand: 100 bytes each."""


class ReadingMemory:
    """Readings of texts, by their content, so that a known text is never read twice. Bounded in bytes.

    Keyed by the interpreter's 64-bit hash of the text and checked by its length, as the counts are.
    """

    def __init__(self, most_bytes: int = USUAL.bytes_for("planning") // 6) -> None:
        self._readings: Remembered[int, tuple[int, Reading]] = Remembered(most_bytes)
        self._most_words = most_bytes // 2048
        self._words: dict[str, dict[str, tuple[int, ...]]] = {}
        """By language and word."""
        self._indexes: list[Index] = []
        self._views: list[tuple[int, Index, object]] = []
        self.cuts: Remembered[Hashable, tuple[tuple[int, int], ...]] = Remembered(most_bytes // 4)
        """The places of documents in texts, by whatever decides it."""

    def __len__(self) -> int:
        return len(self._readings)

    def get(self, text: str, language: str = "") -> Reading | None:
        key = hash((text, language)) if language else hash(text)
        found = self._readings.get(key)
        return found[1] if found is not None and found[0] == len(text) else None

    def read(self, text: str, spans: Iterable[tuple[int, int]], language: str = "") -> Reading:
        """Return the terms of the passages of a text; `spans` is asked only where the text is not known."""
        found = self.get(text, language)
        if found is None:
            found = self._reading(text, tuple(spans), language)
            key = hash((text, language)) if language else hash(text)
            self._readings.put(key, (len(text), found), found.held_bytes)
        return found

    def index(self, readings: Sequence[Reading]) -> Index:
        """Return the index of these readings: one that is known, or of some of them and continued by the others.

        They may stand in another order: what a later fold leaves out stood between what earlier ones did.
        """
        same = (one for one in self._indexes if len(one.readings) == len(readings))
        out = known = next((one for one in same if all(map(is_, one.readings, readings))), None)
        if out is None:
            each = _each(readings)
            of_some = [one for one in self._indexes if one.each <= each]
            known = max(of_some, key=lambda one: len(one.readings), default=None)
            out = Index(readings, known)
        kept, room = [out], _KEPT_PASSAGES - len(out)
        for one in reversed(self._indexes):
            room -= len(one)
            if one is not known and one is not out and room >= 0:
                kept.append(one)
        self._indexes = kept[::-1] if len(out) <= _KEPT_PASSAGES else self._indexes
        return out

    def view(self, key: int) -> object | None:
        """Return what was kept beside an index by this key, while that is kept itself."""
        for known, index, view in self._views:
            if known == key:
                self._indexes = [*[one for one in self._indexes if one is not index], index]
                return view
        return None

    def keep(self, key: int, index: Index, view: object) -> None:
        """Keep something beside an index, as long as that is kept."""
        held = set(map(id, self._indexes))
        views = [*[one for one in self._views if one[0] != key], (key, index, view)]
        self._views = [one for one in views if id(one[1]) in held]

    def numbers(self, text: str, language: str = "") -> list[int]:
        """List the terms of a text by number, in order."""
        words = self._words.setdefault(language, {})
        out: list[int] = []
        for word in WORD.findall(text):
            known = words.get(word)
            out.extend(self._learn(word, language) if known is None else known)
        return out

    def _reading(self, text: str, spans: tuple[tuple[int, int], ...], language: str) -> Reading:
        bags, often, lengths = [], [], []
        for start, end in spans:
            numbers = self.numbers(text[start:end], language)
            bag = Counter(numbers)
            bags.append(array("I", bag))
            often.append(bytes([min(n, 255) for n in bag.values()]))
            lengths.append(len(numbers))
        return Reading(spans, tuple(bags), tuple(often), tuple(lengths))

    def _learn(self, word: str, language: str) -> tuple[int, ...]:
        if sum(map(len, self._words.values())) >= self._most_words:
            for words in self._words.values():
                words.clear()
        out = tuple([term_number(term) for term in of_word(word, language)])
        if len(word) <= _LONGEST_WORD_CHARS:
            self._words[language][word] = out
        return out


def term_number(term: str) -> int:
    """Give the number that stands for a term."""
    return crc32(term.encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------- scores


class Corpus:
    """Passages that can be asked which of them a query speaks of."""

    def __init__(self, passages: Sequence[str], memory: ReadingMemory | None = None) -> None:
        self._memory = ReadingMemory() if memory is None else memory
        readings = [self._memory.read(text, ((0, len(text)),)) for text in passages]
        self._index = Index(readings)

    def scores(self, query: str) -> list[float]:
        """Give each passage its BM25 score; each different term of the query counts once."""
        wanted = dict.fromkeys(self._memory.numbers(query), 1.0)
        return self._index.scores(self._index.weighed(wanted))


class Postings:
    """The places of each term in a row of passages that only grows. Several indexes look at beginnings of one row."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.passages = 0
        self.places: dict[int, array[int]] = {}
        """By term: the passages that it stands in, in order."""
        self.often: dict[int, bytearray] = {}
        """By term: how often it stands in each of them."""
        self._end = [0]
        """The number of readings. One caller at a time may append, and others may read meanwhile."""

    def continued(self, at: int, readings: Iterable[Reading]) -> bool:
        """Append readings behind the first `at`; False where others stand there, or are being put there."""
        try:
            end = self._end.pop()  # one step, which no other thread comes between
        except IndexError:
            return False
        if end == at:
            for reading in readings:
                self._append(reading)
        self._end.append(len(self.readings))
        return end == at

    def _append(self, reading: Reading) -> None:
        places, often, passage = self.places, self.often, self.passages
        for bag, times in zip(reading.bags, reading.often, strict=True):
            for term, number in zip(bag, times, strict=True):
                found = places.get(term)
                if found is None:
                    often[term] = bytearray((number,))
                    places[term] = array("I", (passage,))
                else:
                    found.append(passage)
                    often[term].append(number)
            passage += 1
        self.passages = passage
        self.readings.append(reading)


def _each(readings: Iterable[Reading]) -> frozenset[int]:
    """Tell the readings apart, one that comes several times by its number too. Good while they are held."""
    keys = list(map(id, readings))
    each = frozenset(keys)
    if len(each) == len(keys):
        return each
    times: dict[int, int] = {}
    out = set()
    for key in keys:
        number = times[key] = times.get(key, -1) + 1
        out.add(key + (number << 64))
    return frozenset(out)


class Index:
    """The passages of several readings in one row, with what BM25 needs to know of all of them."""

    def __init__(self, readings: Sequence[Reading], before: Index | None = None) -> None:
        """Take the readings; `before` is an index of some of them, which is continued where that can be."""
        self.readings = tuple(readings)
        self.postings: Postings = Postings() if before is None else before.postings
        known = 0 if before is None else len(before.readings)
        if not self.postings.continued(known, self._others(before)):
            self.postings = Postings()
            self.postings.continued(0, self.readings)
        self.bags = [bag for reading in self.readings for bag in reading.bags]
        """The terms of each passage."""
        self.spans = [span for reading in self.readings for span in reading.spans]
        """The place of each passage in its text."""
        self.reading_of = [at for at, reading in enumerate(self.readings) for _ in reading.spans]
        """The reading that each passage is of."""
        self._passages = len(self.bags)
        self._order, self._reading_at = self._placed()
        self._norms = self._measured()
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return self._passages

    @cached_property
    def each(self) -> frozenset[int]:
        """The readings, apart from one another."""
        return _each(self.readings)

    def _others(self, before: Index | None) -> Sequence[Reading]:
        """List the readings that another index does not have."""
        if before is None:
            return self.readings
        left = Counter(map(id, before.readings))
        out = []
        for reading in self.readings:
            if left[id(reading)]:
                left[id(reading)] -= 1
            else:
                out.append(reading)
        return out

    def _placed(self) -> tuple[Sequence[int] | None, Sequence[int]]:
        """Return the place in the row of each passage, None where it is the same; and by place its reading here."""
        row = self.postings.readings[: len(self.readings)]
        if all(map(is_, row, self.readings)):
            return None, self.reading_of
        numbers: dict[int, list[int]] = {}
        for number in range(len(self.readings) - 1, -1, -1):
            numbers.setdefault(id(self.readings[number]), []).append(number)
        here = [numbers[id(reading)].pop() for reading in row]
        starts, at = [0] * len(row), 0
        reading_at = array("I")
        for number, reading in zip(here, row, strict=True):
            starts[number] = at
            at += len(reading.spans)
            reading_at.extend([number] * len(reading.spans))
        order = array("I")
        for start, reading in zip(starts, self.readings, strict=True):
            order.extend(range(start, start + len(reading.spans)))
        return order, reading_at

    def _measured(self) -> list[float]:
        """Weigh the length of each passage against the average, by its place in the row."""
        row = self.postings.readings[: len(self.readings)]
        average = max(1.0, sum(sum(reading.lengths) for reading in row) / max(1, self._passages))
        least, longer = K1 * (1 - B), K1 * B / average
        return [least + longer * length for reading in row for length in reading.lengths]

    def found_in(self, term: int) -> int:
        """In how many passages a term stands."""
        places = self.postings.places.get(term)
        if places is None:
            return 0
        return len(places) if places[-1] < self._passages else bisect_left(places, self._passages)

    def readings_with(self, term: int) -> set[int]:
        """Find the readings that a term stands in."""
        places = self.postings.places.get(term, ())
        return set(map(self._reading_at.__getitem__, places[: self.found_in(term)]))

    def readings_number(self, term: int) -> int:
        """In how many readings a term stands; remembered, for the most common words are in every question."""
        number = self._numbers.get(term)
        if number is None:
            if len(self._numbers) >= _KEPT_NUMBERS:
                self._numbers.clear()
            number = self._numbers[term] = len(self.readings_with(term))
        return number

    def idf(self, term: int) -> float:
        """Say how rare a term is; rounded, so that every machine's logarithm gives the same."""
        found = self.found_in(term)
        return round(math.log(1 + (self._passages - found + 0.5) / (found + 0.5)), 6)

    def weighed(self, wanted: Mapping[int, float]) -> dict[int, float]:
        """Multiply each wanted term that occurs by its rarity."""
        return {term: weight * self.idf(term) for term, weight in wanted.items() if self.found_in(term)}

    def scores(self, weights: Mapping[int, float], onto: Sequence[float] | None = None) -> list[float]:
        """Add up what each passage holds of the weights; `onto` its scores for weights that come before these."""
        out = [0.0] * self._passages
        if onto is not None:
            for at, score in zip(self._order or range(self._passages), onto, strict=True):
                out[at] = score
        norms, often = self._norms, self.postings.often
        for term, weight in weights.items():
            places = self.postings.places.get(term)
            if places is None:
                continue
            for passage, times in zip(places[: self.found_in(term)], often[term], strict=False):
                out[passage] += weight * times * (K1 + 1) / (times + norms[passage])
        return out if self._order is None else [out[at] for at in self._order]

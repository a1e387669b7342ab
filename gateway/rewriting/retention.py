"""Values that a rewrite took away, and those of them that an answer used all the same: the measure of whether cutting
hurt.

Of the values of the messages as they came (`gateway/values.py`: ids, numbers, paths, names), those are *removed* that
stand nowhere in what is sent: tools, system text and our own lines included, as a part of a longer value too, and in
whatever escaping. A *miss* is a removed value that the answer used, in its text or in an argument of a call. Pure: no
clock, no randomness; what is known of a text is kept by its content, so that a conversation that grows by one turn
costs one turn.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gateway.conversation import Changes, Conversation, Message
from gateway.memory import Memory
from gateway.values import distinct, values

MOST_SAID_CHARS = 1_000_000
"""Characters of an answer that are looked through: nobody reads an answer beyond them."""
MOST_WORDINGS = 16
"""The number of arguments without a value of their own that are looked for word by word, and their length: a name, a
title, a place. Longer ones are prose, which a model writes by itself."""
_WORDING_CHARS = range(3, 81)
_LEAST_USED_CHARS = 3
"""Two characters (`42`, `h2`) are written by chance too often to say that anything was missed."""
_MOST_PARTS = 12
"""Words that a part of a longer value may have: with a bound, reading stays linear in the text."""


Values = Memory[Hashable, "array[int]"]
"""The values of texts, by the texts' content: eight bytes a value, the interpreter's 64-bit hash of it, which is good
for as long as the process."""


def spoken_values(text: str) -> set[str]:
    """Return the values of a text, each once, as they are written outside of JSON and without a sentence's end."""
    return {_bare(value) for value in distinct(without_escapes(text))}


def values_in_order(text: str) -> list[str]:
    """Return the same values in the order in which they stand."""
    return list(dict.fromkeys(_bare(value) for _, _, value in values(without_escapes(text))))


def value_parts(value: str) -> Iterator[str]:
    """Yield what stands inside a value, from one word of it to another: `src/a.py` in `lib/src/a.py:12`."""
    words = [word.span() for word in _WORD.finditer(value)]
    if len(words) < 2:
        return
    for number, (first, _) in enumerate(words):
        before = value[words[number - 1][1] if number else 0 : first]
        lead = len(before) - len(before.rstrip(_LEADS))
        for _, end in words[number : number + _MOST_PARTS]:
            yield value[first:end]
            if lead:
                yield value[first - lead : end]


def without_escapes(text: str) -> str:
    r"""Undo the escapes of JSON (`\u00e9`, `\/`, `\n`), however deep they are quoted in one another."""
    return _ESCAPED.sub(_unescaped, text) if "\\" in text else text


def _unescaped(escape: re.Match[str]) -> str:
    letter, mark = escape.groups()
    return chr(int(letter, 16)) if letter else mark if mark in ('"', "/") else " "


def _bare(value: str) -> str:
    return value.rstrip(_SENTENCE_ENDS) or value


_ESCAPED = re.compile(r'\\{1,16}(?:u([\da-fA-F]{4})|([nrt"/]))')
_WORD = re.compile(r"\w+")
_LEADS = "#~./"
_SENTENCE_ENDS = ".,;:!?"


def value_hashes(text: str, known: Values) -> array[int]:
    """Return the hash of each value of a text, each once, in no order; a known text is not read again."""
    return _read(text, known, "values", spoken_values)


def read_within(text: str, known: Values) -> array[int]:
    """Return the hash of each part of a text's values."""
    return _read(text, known, "parts", _parts_of)


def read_all(texts: tuple[str, ...], known: Values) -> array[int]:
    """Return the hash of each value of several texts, each once: what a fold left out is the same turn after turn."""
    key = hash(texts), len(texts), "all"
    found = known.get(key)
    if found is None:
        every: set[int] = set()
        for text in texts:
            every.update(value_hashes(text, known))
        found = array("q", every)
        known.put(key, found, 8 * len(found))
    return found


def _read(text: str, known: Values, what: str, reading: Callable[[str], Iterable[str]]) -> array[int]:
    key = hash(text), len(text), what
    found = known.get(key)
    if found is None:
        found = array("q", map(hash, reading(text)))
        known.put(key, found, 8 * len(found))
    return found


def _parts_of(text: str) -> set[str]:
    return {part for value in spoken_values(text) for part in value_parts(value)}


# ---------------------------------------------------------------- what was taken away


@dataclass(frozen=True, slots=True)
class Retention:
    """The values that one rewrite took away, and those that the answer used."""

    removed: int
    """Different values that stood in the messages as they came and stand nowhere in what is sent."""
    missed: tuple[str, ...]
    """Those of them that the answer used, in the order in which it did. Content: for counting and hashing only."""


def retention(
    conversation: Conversation, changes: Changes, texts: Sequence[str], arguments: Sequence[str], known: Values
) -> Retention:
    """Set what an answer says (its texts, and the arguments of its calls as JSON) against what was taken away."""
    cut = cut_of(conversation, changes)
    return Retention(len(cut.removed(known)), tuple(misses(cut, texts, arguments, known)))


@dataclass(frozen=True, slots=True)
class RewrittenTexts:
    """A rewrite as texts. A text may be in both: a message that came twice and left once was not taken away."""

    changed: tuple[str, ...]
    """Of the messages that do not leave as they came, what they said."""
    sent: tuple[str, ...]
    """All that leaves."""

    def removed(self, known: Values) -> set[int]:
        """Return the hashes of the values that went."""
        return self.lost(set(read_all(self.changed, known)), known)

    def lost(self, wanted: set[int], known: Values) -> set[int]:
        """Return which of these values stand nowhere in what is sent."""
        for reading in (value_hashes, read_within):
            for text in self.sent:
                if not wanted:
                    break
                wanted = wanted.difference(reading(text, known))
        return wanted

    def lacks(self, wording: str) -> bool:
        """Whether these words stood in what was changed and stand nowhere in what is sent, inside others included."""
        return _stands(wording, self.changed) and not _stands(wording, self.sent)


def cut_of(conversation: Conversation, changes: Changes) -> RewrittenTexts:
    """Tell apart what is no longer there; an untouched message is the same object before and after."""
    after = changes.applied(conversation.messages)
    stays = set(map(id, after))
    changed = [text for message in conversation.messages if id(message) not in stays for text in texts_of(message)]
    sent = [text for message in after for text in texts_of(message)] + [one.name for one in after if one.name]
    return RewrittenTexts(tuple(changed), (*conversation.definitions, *sent))


def texts_of(message: Message) -> Iterator[str]:
    """Yield all that a message says: its text, and the names and arguments of its calls."""
    if message.text:
        yield message.text
    for call in message.calls:
        yield call.name
        yield call.arguments


# ---------------------------------------------------------------- what was missed


def misses(cut: RewrittenTexts, texts: Iterable[str], arguments: Iterable[str], known: Values) -> list[str]:
    """Return what the answer used of what was taken away, each value once, in the answer's order.

    The answer has few values: those are looked up, and no set of the conversation's is made. A value that still stands
    inside a longer one (a path with a line number) is no miss.
    """
    used, wordings = _used(texts, arguments)
    by_hash = {hash(value): value for value in used if len(value) >= _LEAST_USED_CHARS}
    gone = cut.lost(set(by_hash).intersection(read_all(cut.changed, known)), known)
    return [*(value for key, value in by_hash.items() if key in gone), *filter(cut.lacks, wordings)]


def _used(texts: Iterable[str], arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Read an answer: its values, and the arguments that hold none but may be a name or a title."""
    used: dict[str, None] = {}
    wordings: dict[str, None] = {}
    room = MOST_SAID_CHARS
    for written in arguments:
        for said, is_whole in _strings(written[:room]):
            found = values_in_order(said)
            used.update(dict.fromkeys(found))
            if is_whole and not found and len(said) in _WORDING_CHARS and "\n" not in said:
                wordings[said] = None
        room -= min(room, len(written))
    for text in texts:
        used.update(dict.fromkeys(values_in_order(text[:room])))
        room -= min(room, len(text))
    return list(used), list(islice(wordings, MOST_WORDINGS))


def _strings(written: str) -> Iterator[tuple[str, bool]]:
    """Yield what stands in the arguments of a call, and whether it is one whole argument; numbers as they are written.

    Text that is no JSON is yielded as it stands.
    """
    try:
        stack: list[Any] = [json.loads(written, parse_float=str, parse_int=str, parse_constant=str)]
    except (ValueError, RecursionError):
        yield written, False
        return
    while stack:
        match stack.pop():
            case str() as said:
                yield said, True
            case list() as listed:
                stack += reversed(listed)
            case dict() as fields:
                for name in fields:
                    yield name, False
                stack += reversed(fields.values())


def _stands(wording: str, texts: Iterable[str]) -> bool:
    """Whether these words stand in one of the texts, and not as a part of other words."""
    bounded: re.Pattern[str] | None = None
    for text in texts:
        if wording in text:
            bounded = bounded or re.compile(rf"(?<!\w){re.escape(wording)}(?!\w)")
            if bounded.search(text):
                return True
    return False

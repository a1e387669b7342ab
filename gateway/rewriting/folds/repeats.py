"""Exchanges without tools that come again later, word for word: the later one says all that the older one does. Pure.

What people said and what was answered must both be the same, white space aside; where the answer is another one,
neither says what the other does. Short words (`yes`, `go on`) answer what stands before them and are no repetition.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.rewriting.folds.state import Prefix
from gateway.rewriting.forms.document import size

LEAST_SAID = 60
"""Letters of what was said, below which an exchange leans on what stands before it."""

Said = tuple[tuple[str, str | None, str], ...]
"""Of each message: its voice, its speaker and its words."""


def repeated(prefix: Prefix) -> list[int]:
    """List the units of old exchanges that a later one in the prefix repeats, the oldest first.

    Both must stand as they came. Neither the task nor what no fold may touch is among them.
    """
    latest: dict[Said, list[int]] = {}
    out: list[int] = []
    hard = prefix.hard()
    for numbers, said in _exchanges(prefix):
        older = latest.get(said)
        if older is not None and hard.isdisjoint(older) and all(prefix.voiced.parts[n] != "task" for n in older):
            out += older
        latest[said] = numbers
    return sorted(out)


def _exchanges(prefix: Prefix) -> Iterator[tuple[list[int], Said]]:
    """Yield each exchange of a person's words and answers to them, and what is said in it."""
    numbers: list[int] = []
    answered = False
    for number in range(len(prefix.state.now)):
        voice = prefix.voiced.voices[prefix.anatomy.units[number].first]
        if voice == "said" and answered:
            yield from _whole(prefix, numbers)
            numbers, answered = [], False
        if numbers or voice == "said":
            numbers.append(number)
            answered = answered or voice != "said"
    if answered:
        yield from _whole(prefix, numbers)


def _whole(prefix: Prefix, numbers: list[int]) -> Iterator[tuple[list[int], Said]]:
    """Yield an exchange that has no tools in it, says enough and stands as it came."""
    state, units = prefix.state, prefix.anatomy.units
    said: list[tuple[str, str | None, str]] = []
    for number in numbers:
        message, voice = prefix.messages[units[number].first], prefix.voiced.voices[units[number].first]
        is_plain = units[number].after == units[number].first + 1 and voice in ("said", "answer") and not message.media
        if not is_plain or prefix.voiced.parts[number] in ("shot", "example"):
            return
        if number in state.gone or units[number].first in state.shortened:
            return
        said.append((voice, message.name, " ".join(message.text.split())))
    if sum(size(text) for voice, _, text in said if voice == "said") >= LEAST_SAID:
        yield numbers, tuple(said)

"""A conversation with its parts named: the task, rules, few-shot pairs, people's words, answers, steps and results.

The kind of a part depends on it and on the messages before it alone, so that it is the same in every later request.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.budget.components import OURS, OVERHEAD_MESSAGE, Anatomy, Count
from gateway.conversation import Message
from gateway.rewriting.documents import recognition
from gateway.rewriting.memory import Known
from gateway.rewriting.voices import Voice, voices

Part = Literal["example", "shot", "task", "rule", "said", "answer", "step", "result"]
"""task: what users say up to the first answer to them. rule: later system and developer messages. shot: few-shot pairs
after the leading system text. said: people's other words."""

_SHOT_TOKENS = 40
"""Most tokens of the answer of a few-shot pair."""
_LEAST_SHOTS = 2
_FRAME = 0.2
"""Share of a shot's question that it has in common with the first one, at its start and end."""
_LEAST_FRAME_CHARS = 3
_FRAME_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Voiced:
    """A conversation, and what its messages and units are."""

    anatomy: Anatomy
    voices: tuple[Voice, ...]
    """By message."""
    parts: tuple[Part, ...]
    """By unit."""
    documents: tuple[int, ...]
    """By message: tokens of the documents in what a person sent, or in leading system text."""
    tags: tuple[str, ...]
    """The tags of documents."""

    def results_of(self, number: int) -> list[int]:
        """List the messages of a unit that hold results."""
        unit = self.anatomy.units[number]
        return [index for index in range(unit.first, unit.after) if self.voices[index] == "result"]


def voiced(anatomy: Anatomy, tags: tuple[str, ...], count: Count, known: Known, *, in_system: bool = False) -> Voiced:
    """Name the parts of a conversation; `in_system`: documents are looked for in leading system text too."""
    messages = anatomy.conversation.messages
    said = voices(messages, known.voices)
    parts = _parts(anatomy, said)
    held = tuple(
        0
        if not _may_hold(anatomy, index, voice, in_system)
        else document_tokens(messages[index], tags, anatomy.tokens[index], count, known)
        for index, voice in enumerate(said)
    )
    return Voiced(anatomy, said, parts, held, tags)


def _may_hold(anatomy: Anatomy, index: int, voice: Voice, in_system: bool) -> bool:
    """Tell whether documents are looked for in a message."""
    if index < anatomy.head:
        return in_system
    return voice == "said" and anatomy.component[index] != "examples"


def _parts(anatomy: Anatomy, said: Sequence[Voice]) -> tuple[Part, ...]:
    out: list[Part] = []
    shots = _shots(anatomy, said)
    asked = answered = False
    for number, unit in enumerate(anatomy.units):
        voice = said[unit.first]
        if anatomy.component[unit.first] == "examples":
            out.append("example")
        elif number < shots:
            out.append("shot")
        elif voice == "said":
            out.append("said" if answered else "task")
            asked = True
        else:
            answered = answered or (asked and voice in ("answer", "step"))
            out.append(voice)
    return tuple(out)


def _shots(anatomy: Anatomy, said: Sequence[Voice]) -> int:
    """Count the units, from the first on, that are few-shot pairs."""
    messages, units = anatomy.conversation.messages, anatomy.units
    pairs = 0
    while 2 * pairs + 1 < len(units):
        asks, answers = units[2 * pairs].first, units[2 * pairs + 1].first
        is_pair = said[asks] == "said" and said[answers] == "answer"
        if not is_pair or anatomy.tokens[answers] > _SHOT_TOKENS + OVERHEAD_MESSAGE:
            break
        if not _share_a_frame(messages[units[0].first].text, messages[asks].text):
            break
        pairs += 1
    return 2 * pairs if pairs >= _LEAST_SHOTS else 0


def _share_a_frame(first: str, other: str) -> bool:
    """Tell whether two questions begin and end alike, as those of one pattern do."""
    first, other = first.strip()[:_FRAME_CHARS], other.strip()[:_FRAME_CHARS]
    shorter = min(len(first), len(other))
    start = 0
    while start < shorter and first[start] == other[start]:
        start += 1
    end = 0
    while end < shorter - start and first[-1 - end] == other[-1 - end]:
        end += 1
    return start + end >= max(_LEAST_FRAME_CHARS, _FRAME * shorter)


def document_tokens(message: Message, tags: tuple[str, ...], tokens: int, count: Count, known: Known) -> int:
    """Count the documents in a message, and what stands between them: several, or one that is tagged."""
    if (len(message.text) < recognition.LEAST_CHARACTERS and "…" not in message.text) or OURS.match(message.text):
        return 0
    key = (message, tags)
    size = known.documents.get(key)
    if size is None:
        found = recognition.known(message.text, tags, known.found)
        size = sum(count(message.text[start:end]) for start, end in recognition.spans_of_rows(message.text, found))
        size = min(size, tokens - OVERHEAD_MESSAGE)
        known.documents.put(key, size, 64)
    return size

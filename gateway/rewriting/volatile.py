"""System text that a policy declares volatile moves behind everything that stays: out of the leading system messages,
into one message of ours right before the final unit.

A clock in the system text makes each request's prompt a new one from its first lines on, and no prompt cache reads
anything. Its new place depends on the request and the policy's patterns alone, not on its size nor on earlier requests,
so it moves in a conversation's first request and in each that follows. The rest never matches again: moving a second
time changes nothing.

Patterns are looked for line by line. Text that they match moves. A line moves whole if only white space would stay of
it. A line of ours takes the place of a part of which nothing would stay. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from gateway.conversation import Changes, Conversation, Insertion, Message, Rest, joined_text, last_unit, leading_system
from gateway.memory import USUAL, Memory
from gateway.request import Request
from gateway.wire.shape import shape_of

LABEL: Final = "Current values, moved here from the system text:"
REMAINDER: Final = "(The current values stand before the last message.)"
"""The stand-in for a text that has moved as a whole: an empty one is refused by some providers."""

LONGEST_WHOLE: Final = 300
"""Characters up to which a line is searched as a whole. Of a longer one each sentence is, where it is no longer: safe
patterns are fast on short texts only (`config.patterns`)."""
MOST_ROUNDS: Final = 8
"""The number of times that a line is searched again after something was taken out; one that matches still stays as it
came."""
MOST_READERS: Final = 64

_SENTENCE_END: Final = re.compile(r"[.!?]\s+")
_LINE_BYTES: Final = 130
"""Bytes of a remembered line besides its characters."""
_NO_LINES: Final = frozenset[str]()
_OVERHEAD_MESSAGE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Moved:
    """A request whose volatile text stands elsewhere than it came."""

    conversation: Conversation
    """As the system text leaves, without the message that is put in."""
    system: dict[int, Rest]
    said: dict[int, str]
    """The text taken out of each system message, by its index."""
    text: str
    """Of the message that is put in."""
    before: int
    """The message that it is put before: the first of the final unit."""

    @property
    def changes(self) -> Changes:
        return Changes({}, inserted=(Insertion(self.before, self.text, "volatile"),), system=self.system)

    @property
    def grown_bytes(self) -> int:
        """Bytes by which the text of the request grows at most, with one a token for the message's overhead."""
        return _OVERHEAD_MESSAGE_BYTES + len(LABEL) + len(self.said) * len(REMAINDER) + self.text.count("\n")

    def added_to(self, changes: Changes | None) -> Changes:
        """Put the moved text behind whatever else is put in before the final unit: excerpts come first."""
        if changes is None:
            return self.changes
        return replace(changes, inserted=(*changes.inserted, *self.changes.inserted), system=self.system)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The result for one system message."""

    left: Message
    rest: Rest
    said: str


class SystemTextMemory:
    """A process's memory of system texts. Bounded in bytes; nothing that is sent depends on it."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("planning") // 12) -> None:
        self._untouched: Memory[tuple[Message, tuple[str, ...]], bool] = Memory(most_bytes // 4)
        self._left: Memory[tuple[str, str | None, str, tuple[str | None, ...], str], Message] = Memory(most_bytes // 4)
        self._plain: dict[tuple[str, ...], set[str]] = {}
        self._most_plain, self._held_plain = most_bytes // 2, 0

    def is_untouched(self, message: Message, patterns: tuple[str, ...]) -> bool:
        return self._untouched.get((message, patterns)) is not None

    def leave_untouched(self, message: Message, patterns: tuple[str, ...]) -> None:
        self._untouched.put((message, patterns), True, 2 * len(message.text) + 400)

    def plain(self, patterns: tuple[str, ...]) -> AbstractSet[str]:
        """Return the lines that are known to match nothing."""
        return self._plain.get(patterns, _NO_LINES)

    def leave_plain(self, line: str, patterns: tuple[str, ...]) -> None:
        self._held_plain += 2 * len(line) + _LINE_BYTES
        if self._held_plain > self._most_plain:
            self._plain, self._held_plain = {}, 0
        self._plain.setdefault(patterns, set()).add(line)

    def left(self, message: Message, rest: Rest) -> Message:
        """Return what is left of the message: the same object each time, so that it is counted once."""
        left = rest.of(message)
        if message.media or message.calls or message.reasons or message.speaks_otherwise:
            return left
        key = (message.role, message.name, left.text, left.parts, message.content)
        found = self._left.get(key)
        if found is None or found.markers != message.markers:
            found = left
            self._left.put(key, found, 2 * len(left.text) + 400)
        return found


def moved_from(request: Request, patterns: tuple[str, ...], memo: SystemTextMemory) -> Moved | None:
    """Move what the patterns match in the leading system messages; None where nothing does, or nothing follows them."""
    if not patterns:
        return None
    conversation = request.conversation
    messages = conversation.messages
    head = leading_system(messages)
    final = last_unit(messages, head)
    cuts = {index: cut for index in range(head) if (cut := _cut(request, index, patterns, memo)) is not None}
    if not cuts or final is None:
        return None
    said = {index: cut.said for index, cut in cuts.items()}
    left = [cuts[index].left if index in cuts else messages[index] for index in range(head)]
    return Moved(
        conversation=replace(conversation, messages=(*left, *messages[head:])),
        system={index: cut.rest for index, cut in cuts.items()},
        said=said,
        text="\n".join([LABEL, *said.values()]),
        before=final.first,
    )


# ---------------------------------------------------------------- one message


def _cut(request: Request, index: int, patterns: tuple[str, ...], memo: SystemTextMemory) -> _Cut | None:
    message = request.conversation.messages[index]
    if not message.text or memo.is_untouched(message, patterns):
        return None
    is_text = message.content == "text"
    parts = {0: message.text} if is_text else {number: text for number, text in enumerate(message.parts) if text}
    new: dict[int, str] = {}
    said: list[str] = []
    for number, text in parts.items():
        rest, taken = without_matches(text, patterns, memo)
        if taken:
            new[number] = rest
            said += taken
    if not new or not (is_text or shape_of(request).may_reword(request, index, new)):
        memo.leave_untouched(message, patterns)
        return None
    text = new[0] if is_text else joined_text([new.get(number, part) for number, part in enumerate(message.parts)])
    left = Rest(text, new)
    return _Cut(memo.left(message, left), left, "\n".join(said))


# ---------------------------------------------------------------- one text


def without_matches(text: str, patterns: tuple[str, ...], memo: SystemTextMemory) -> tuple[str, list[str]]:
    """Take out of a text what the patterns match; return what stays, and what was taken, in order."""
    if text == REMAINDER:
        return text, []
    lines = text.split("\n")
    plain = memo.plain(patterns)
    gone: set[int] = set()
    taken: list[str] = []
    for number in [number for number, line in enumerate(lines) if line not in plain]:
        rest, found = _line(lines[number], _compiled(patterns))
        taken += found
        if not found:
            memo.leave_plain(lines[number], patterns)
        elif rest is None:
            gone.add(number)
        else:
            lines[number] = rest
    if not taken:
        return text, []
    left = "\n".join([line for number, line in enumerate(lines) if number not in gone])
    return left if left.strip() else REMAINDER, taken


def _line(line: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str | None, list[str]]:
    """Take the matches out of a line; the first is None where nothing but white space would stay."""
    rest, taken = line, list[str]()
    for _ in range(MOST_ROUNDS):
        spans = _merged(_matches(rest, patterns))
        if not spans:
            return rest, taken
        taken += [rest[start:end].strip() for start, end in spans]
        kept, at = list[str](), 0
        for start, end in spans:
            kept.append(rest[at:start])
            at = end
        rest = "".join(kept) + rest[at:]
        if not rest.strip():
            return None, [line.strip()]
    return line, []


def _matches(line: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[int, int]]:
    """Find what the patterns match, but for white space, which would say nothing elsewhere."""
    for start, end in _pieces(line):
        piece = line[start:end]
        for pattern in patterns:
            for match in pattern.finditer(piece):
                if match[0].strip():
                    yield start + match.start(), start + match.end()


def _pieces(line: str) -> list[tuple[int, int]]:
    """Cut a long line into sentences; what is too long all the same is not searched."""
    if len(line) <= LONGEST_WHOLE:
        return [(0, len(line))]
    ends = [found.end() for found in _SENTENCE_END.finditer(line)]
    found = zip([0, *ends], [*ends, len(line)], strict=True)
    return [(start, end) for start, end in found if end - start <= LONGEST_WHOLE]


def _merged(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(end, out[-1][1])
        else:
            out.append((start, end))
    return out


@lru_cache(maxsize=MOST_READERS)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, patterns))

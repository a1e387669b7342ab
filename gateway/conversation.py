"""A conversation as values, neutral in shape: what fitting, caching and money see, whichever wire shape came in.

Pure values: nothing here parses, counts or decides. The bytes that a message came as stay with `wire/chat.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Role = str
"""As on the wire: system, developer, user, assistant, tool, function; anything else rides along."""

SYSTEM_ROLES = frozenset({"system", "developer"})
RESULT_ROLES = frozenset({"tool", "function"})


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an assistant message. Its name and arguments are never altered."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Media:
    """A part that is not text."""

    kind: Literal["image", "audio", "file"]
    data: str
    """A URL, a data: URL, or base64 for audio and files."""
    detail: str | None = None
    """Images: low, high, auto. Audio and files: the declared format, where there is one."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message. Compared by identity: two messages with equal text are still two messages."""

    role: Role
    text: str = ""
    """The text of the content; several parts are joined by a newline."""
    name: str | None = None
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    """Of a result: the call that it answers."""
    media: tuple[Media, ...] = ()
    content: Literal["text", "parts", "null", "missing", "other"] = "text"
    """The shape of `content` as it came; parts: of text and of known media alone."""
    empty_calls: bool = False
    """Whether `tool_calls` is there and empty, which providers refuse."""
    speaks_otherwise: bool = False
    """Whether refusal, audio or reasoning stand in for content."""
    reasons: bool = False
    """Whether it carries the model's reasoning, to be given back."""
    is_marked: bool = False
    """Whether the client put a marker for the provider's prompt cache on it."""
    digest: tuple[int, int] | None = field(default=None, init=False, repr=False)
    """What it says as it came, hashed, and how many positions it takes; None until a cache asks (caching/prefix.py)."""

    @property
    def is_system(self) -> bool:
        return self.role in SYSTEM_ROLES

    @property
    def is_result(self) -> bool:
        return self.role in RESULT_ROLES


@dataclass(frozen=True, slots=True)
class Unit:
    """What may only be dropped whole: messages `first` up to, not including, `after`."""

    first: int
    after: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.after))


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request says to the model: tool definitions and messages."""

    messages: tuple[Message, ...]
    definitions: tuple[str, ...] = ()
    """Tools, functions and response schema, each as minified JSON."""
    tools: int = 0
    """How many tools are defined."""
    required_word: str | None = None
    """What must stand somewhere in the messages, in any case: `json`, where the answer is to be a JSON object and no
    schema says so. Who demands it is in `wire/legality.py`."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What stays of a system message out of which text was moved."""

    text: str
    """All of its text, as `Message.text` says it."""
    parts: Mapping[int, str]
    """The new text of each part that is not as it came, by its number; a content that is a string is part 0."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to the messages of a conversation, by the index each had when it came."""

    texts: Mapping[int, str]
    """New texts of results, and of the last user message where documents in it were shortened."""
    dropped: frozenset[int] = frozenset()
    inserted: tuple[tuple[int, str], ...] = ()
    """User messages of ours: (index of the message that each is put before, its text), in order."""
    unreasoned: frozenset[int] = frozenset()
    """Messages that leave without the reasoning they carry."""
    system: Mapping[int, Rest] = field(default_factory=dict)
    """What stays of leading system messages out of which declared text was moved (caching/volatile.py)."""

    def new_text(self, index: int) -> str | None:
        """Return the text that a message leaves with; None where that is its own."""
        rest = self.system.get(index)
        return self.texts.get(index) if rest is None else rest.text

    def applied(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Give the messages as they leave."""
        ours: dict[int, list[Message]] = {}
        for before, said in self.inserted:
            ours.setdefault(before, []).append(Message(role="user", text=said))
        out: list[Message] = []
        for index, message in enumerate(messages):
            out += ours.get(index, ())
            if index in self.dropped:
                continue
            text = self.new_text(index)
            left = message if text is None else replace(message, text=text)
            out.append(replace(left, reasons=False) if index in self.unreasoned else left)
        return tuple(out)


def leading_system(messages: Sequence[Message]) -> int:
    """Count the system and developer messages before any other."""
    for index, message in enumerate(messages):
        if message.role not in SYSTEM_ROLES:
            return index
    return len(messages)


def units(messages: Sequence[Message], start: int = 0) -> list[Unit]:
    """Cut the messages from `start` on into units: a message, or a call with all the results right after it."""
    out: list[Unit] = []
    at, end = start, len(messages)
    while at < end:
        after = at + 1
        if messages[at].calls:
            while after < end and messages[after].role in RESULT_ROLES:
                after += 1
        out.append(Unit(at, after))
        at = after
    return out


def last_unit(messages: Sequence[Message], start: int) -> Unit | None:
    """Return the last of the units from `start` on."""
    at = len(messages) - 1
    if at < start:
        return None
    while at > start and messages[at].is_result:
        at -= 1
    return Unit(at if messages[at].calls else len(messages) - 1, len(messages))


def last_user(messages: Sequence[Message]) -> int | None:
    """Index of the last user message."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return index
    return None

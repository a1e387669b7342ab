"""A conversation as values, neutral in shape: what fitting, caching and money see, whichever wire shape came in.

Pure values: nothing here parses, counts or decides. The bytes that a message came as stay with its shape in `wire/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

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

    kind: Literal["image", "audio", "file", "video", "other"]
    """other: nobody knows what it is; it is counted, and never changed."""
    data: str
    """A URL, a data: URL, or base64 for audio and files; of other parts, all that they are, as JSON."""
    detail: str | None = None
    """Images: low, high, auto. Audio and files: the declared format, where there is one."""
    part: int = 0
    """Its number among the parts of the content."""
    name: str | None = None
    """Of a file, where the client gives one."""
    size: int | None = None
    """Of a file that is not here: its bytes, where the client says how many."""
    is_foreign: bool = False
    """Whether its part has a shape that nobody specified for this wire: it is counted, and its members are not ours."""


MarkerForm = Literal["control", "breakpoint"]
"""The marker for a prompt cache: Anthropic's `cache_control`, or OpenAI's `prompt_cache_breakpoint`."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker for the provider's prompt cache that the client put on a message or a tool."""

    form: MarkerForm
    ttl: str | None = None
    """The lifetime, as the client writes it."""
    whole: bool = True
    """False if it stands inside the message, or at a tool that is not the last."""


MessageDigest = tuple[int, int]
"""The hash of a message by its meaning, and the positions that it takes among those that Anthropic's look-back counts:
`RUN_OF_RESULTS` if it belongs to a run of results.
"""
RUN_OF_RESULTS: Final = -1

Kind = Literal["note", "summary", "excerpts", "volatile"]
"""Of a message of ours: it stands for what was left out, sums it up, brings some of it back, holds volatile text."""

PASSING: Final = frozenset({"excerpts", "volatile"})
"""Kinds of messages that are for one request alone."""


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
    parts: tuple[str | None, ...] = ()
    """The text of each part where the content is a list: "" of a part without, None of what is no object."""
    media: tuple[Media, ...] = ()
    content: Literal["text", "parts", "null", "missing", "other"] = "text"
    """The shape of `content` as it came; parts: of text and of known media alone."""
    empty_calls: bool = False
    """Whether `tool_calls` is there and empty, which providers refuse."""
    speaks_otherwise: bool = False
    """Whether refusal, audio or reasoning stand in for content."""
    reasons: bool = False
    """Whether it carries the model's reasoning, to be given back."""
    markers: tuple[Marker, ...] = ()
    """The client's markers for the provider's prompt cache."""
    foreign: tuple[str, ...] = ()
    """The traces in it that only some providers take back (wire/foreign.py)."""
    joined: bool = False
    """True if it can only go together with the message before it, though it is no result of that one's calls: the next
    of several calls, or a call behind the reasoning that led to it.
    """
    ours: Kind | None = None
    """Set on a message that we put in (`Changes.applied`): never on what came, whatever it says."""
    digest: MessageDigest | None = field(default=None, init=False, repr=False)
    """Of the message as it came. None until a prompt cache asks: its shape sets it."""

    @property
    def is_system(self) -> bool:
        return self.role in SYSTEM_ROLES

    @property
    def is_result(self) -> bool:
        return self.role in RESULT_ROLES

    @property
    def is_plain(self) -> bool:
        """True where it says text alone, in a form that can be written again with another text."""
        return not self.media and self.content in ("text", "parts")


@dataclass(frozen=True, slots=True)
class Unit:
    """Messages that may only be dropped together: `first` up to, not including, `after`."""

    first: int
    after: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.after))


@dataclass(frozen=True, slots=True)
class Conversation:
    """The tool definitions and messages of a request."""

    messages: tuple[Message, ...]
    definitions: tuple[str, ...] = ()
    """Tools, functions and response schema, each as minified JSON."""
    tools: int = 0
    """The number of tools that are defined."""
    required_word: str | None = None
    """A word that must stand somewhere in the messages, in any case: `json`, where the answer is to be a JSON object
    and no schema says so. The providers that demand it are in `wire/legality.py`."""
    unmarked: tuple[str, ...] | None = None
    """The definitions without the client's cache markers, where there are any."""
    places: tuple[str, ...] = ()
    """For people, the place of each message in the request as it came; where there are none, see `place_at`."""
    elsewhere: str | None = None
    """Where the provider holds messages that come before these, in the request's words (`previous_response_id`). What
    is not seen cannot be counted, so such a conversation leaves as it came.
    """

    def place(self, index: int) -> str:
        """Name a message for people."""
        return place_at(index, self.places)

    @property
    def counted_definitions(self) -> tuple[str, ...]:
        """Return the definitions as a provider counts them: without cache markers."""
        return self.definitions if self.unmarked is None else self.unmarked


def place_at(index: int, places: Sequence[str] = ()) -> str:
    """Name a message for people: by its place, or by its number where a request has nothing but a list of messages."""
    return places[index] if places else f"messages[{index}]"


@dataclass(frozen=True, slots=True)
class Rest:
    """The rest of a system message out of which text was moved."""

    text: str
    """All of its text, as `Message.text` says it."""
    parts: Mapping[int, str]
    """The new text of each part that is not as it came, by its number; a content that is a string is part 0."""

    def of(self, message: Message) -> Message:
        """Return the system message that these are the rest of, as it leaves."""
        left = with_parts(message, tuple(PartEdit(number, text) for number, text in self.parts.items()))
        return replace(left, text=self.text)


@dataclass(frozen=True, slots=True)
class Insertion:
    """A user message of ours."""

    before: int
    """Index, as it came, of the message that it is put before."""
    text: str
    kind: Kind = "note"

    @property
    def is_passing(self) -> bool:
        """Whether it is for one request alone."""
        return self.kind in PASSING


@dataclass(frozen=True, slots=True)
class PartEdit:
    """A change to one part of a content that is a list: a text in its place, another detail, or neither: it goes."""

    part: int
    """Its number in the content."""
    text: str | None = None
    """Of a part of text: its new text. Of any other: the text of the part that takes its place."""
    detail: str | None = None
    """The new detail of an image."""


PartEdits = tuple[PartEdit, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of the messages of a conversation, by the index that each had when it came.

    Role, name and all else of a message stay; only its content changes, and its reasoning where that goes.
    """

    texts: Mapping[int, str]
    """New texts of messages. One takes the place of the whole content."""
    dropped: frozenset[int] = frozenset()
    inserted: tuple[Insertion, ...] = ()
    """Our messages, in order."""
    unreasoned: frozenset[int] = frozenset()
    """Messages that leave without the reasoning they carry."""
    system: Mapping[int, Rest] = field(default_factory=dict)
    """The rests of leading system messages out of which declared text was moved (rewriting/volatile.py)."""
    parts: Mapping[int, PartEdits] = field(default_factory=dict)
    """Changes to single parts of messages that have no new text."""

    @property
    def changed(self) -> frozenset[int]:
        """Indexes of the messages that stay, and not as they came."""
        return frozenset({*self.texts, *self.unreasoned, *self.system, *self.parts} - self.dropped)

    def left(self, index: int, message: Message) -> Message:
        """Return a message as it leaves; the same object where it leaves as it came."""
        if index in self.system:
            message = self.system[index].of(message)
        elif index in self.texts:
            message = reworded(message, self.texts[index])
        elif index in self.parts:
            message = with_parts(message, self.parts[index])
        return replace(message, reasons=False) if index in self.unreasoned else message

    def applied(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Give the messages as they leave."""
        ours: dict[int, list[Message]] = {}
        for one in self.inserted:
            ours.setdefault(one.before, []).append(Message(role="user", text=one.text, ours=one.kind))
        out: list[Message] = []
        for index, message in enumerate(messages):
            out += ours.get(index, ())
            if index not in self.dropped:
                out.append(self.left(index, message))
        return tuple(out)


def sent_messages(changes: Changes | None, count: int) -> Sequence[int]:
    """List the messages as they are sent, each by the index it had when it came; our n-th one, from 0 on, is -1 - n."""
    if changes is None:
        return range(count)
    ours: dict[int, list[int]] = {}
    for number, one in enumerate(changes.inserted):
        ours.setdefault(one.before, []).append(-1 - number)
    out: list[int] = []
    for index in range(count):
        out += ours.get(index, ())
        if index not in changes.dropped:
            out.append(index)
    return out


def reworded(message: Message, text: str) -> Message:
    """Return a message with a text in place of its content."""
    listed = message.content == "parts" or bool(message.parts)
    return replace(message, text=text, media=(), parts=(text,) if listed else (), content="parts" if listed else "text")


def with_parts(message: Message, edits: PartEdits) -> Message:
    """Return a message with these changes to its parts."""
    edit_of = {edit.part: edit for edit in edits}
    media_at = {one.part: one for one in message.media}
    parts: list[str | None] = []
    media: list[Media] = []
    for number, text in enumerate(message.parts):
        edit = edit_of.get(number)
        one = media_at.get(number)
        if edit is None or edit.detail is not None:
            if one is not None:
                media.append(replace(one, part=len(parts), detail=one.detail if edit is None else edit.detail))
            parts.append(text)
        elif edit.text is not None:
            parts.append(edit.text)
    return replace(message, text=joined_text(parts), parts=tuple(parts), media=tuple(media))


def joined_text(parts: Iterable[str | None]) -> str:
    """Return the text of a content that is a list."""
    return "\n".join([text for text in parts if text is not None])


def leading_system(messages: Sequence[Message]) -> int:
    """Count the system and developer messages before any other."""
    for index, message in enumerate(messages):
        if message.role not in SYSTEM_ROLES:
            return index
    return len(messages)


def units(messages: Sequence[Message], start: int = 0) -> list[Unit]:
    """Cut the messages from `start` on into units: a message, or a call with all the results right after it.

    What is joined to a message belongs to its unit.
    """
    out: list[Unit] = []
    at, end = start, len(messages)
    while at < end:
        after, calls = at + 1, messages[at].calls
        while after < end:
            following = messages[after]
            if not following.joined and not (calls and following.role in RESULT_ROLES):
                break
            after, calls = after + 1, calls or following.calls
        out.append(Unit(at, after))
        at = after
    return out


def last_unit(messages: Sequence[Message], start: int) -> Unit | None:
    """Return the last of the units from `start` on."""
    at = len(messages) - 1
    if at < start:
        return None
    while at > start and (messages[at].is_result or messages[at].joined):
        at -= 1
    if at + 1 < len(messages) and messages[at + 1].joined:
        return units(messages, at)[-1]
    return Unit(at if messages[at].calls else len(messages) - 1, len(messages))


def last_user(messages: Sequence[Message]) -> int | None:
    """Index of the last user message."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return index
    return None

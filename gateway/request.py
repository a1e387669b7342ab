"""A request as a value, neutral in shape, and the tokens that its answer used.

Pure values. The shape that a request came in reads it once (`wire/shape.py`). What it keeps for itself is `original`:
nobody outside `wire/` looks into that, nor into `body`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal

from gateway.conversation import Conversation, Marker, MarkerForm

Setting = Literal["cache_key", "salt", "answer"]
"""Settings by which providers keep requests apart in a cache: the client's name for it, a secret, or the form of the
answer (the choice of a tool, thinking, effort).
"""


HEAD_ANSWER_TOKENS: Final = 16
"""Of the answer to the head of a request (`Shape.head`), which nobody reads. Some models take no smaller limit."""


@dataclass(frozen=True, slots=True)
class Caching:
    """The client's own words on the provider's prompt cache, but for markers on messages."""

    tool_markers: tuple[Marker, ...] = ()
    """Its markers on tools."""
    may_mark_tools: bool = False
    """True if a marker of ours can stand behind the tools."""
    end_marker: Marker | None = None
    """Its wish that the provider keep the whole prompt, where it says so without naming a message."""
    forbids_breakpoints: bool = False
    """True if the provider is to set no breakpoints of its own."""
    has_key: bool = False
    """True if it names the cache that it wants (`prompt_cache_key`)."""


NO_CACHING: Final = Caching()


@dataclass(frozen=True, slots=True)
class Clearing:
    """The client's wish that the provider clear old results of tools before the model reads them."""

    by_uses: bool
    """True if the threshold is a number of calls; else it is tokens of the prompt."""
    threshold: int
    """The most that leaves everything as it is."""
    keep: int
    """The newest results that stay."""
    at_least: int = 0
    """Tokens that must be freed, or nothing is cleared."""
    excluded: frozenset[str] = frozenset()
    """Tools whose results stay."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it came."""

    shape: str
    """The name of the shape that it came in, as `wire/shape.py` lists it."""
    body: bytes
    """Its bytes. Only their number matters outside `wire/`."""
    original: Any
    """What its shape remembers of it. Opaque outside `wire/`."""
    model: str
    conversation: Conversation
    most_tokens: int
    """An upper bound of the tokens of its text: a token is at least a byte, and so is most of a message's overhead."""
    stream: bool
    asks_usage: bool
    """True if the client itself asked for the usage of a stream."""
    answer_limit: int | None
    limited_by: str
    """The name of the limit in its shape, for people."""
    thinking: int
    """Tokens of the answer that may be thinking, as far as the client says so."""
    user: str | None
    metadata: Mapping[str, Any]
    choices: int
    """The number of answers that are asked for, as far as a provider gives so many."""
    service_tier: str | None
    tools_size: int = 0
    """Bytes of the tool definitions."""
    may_select: bool = False
    """True if single tools can be left out of it."""
    caching: Caching = NO_CACHING
    has_stream_options: bool = False
    """True if the client says anything about the events of its stream."""
    keeps_answer: bool = False
    """True if the provider keeps the answer under an id."""
    left_from_chats: tuple[str, ...] = ()
    """Members that stay behind where it leaves as a chat completion, and that nothing depends on."""
    clearing: Clearing | None = None
    """Of old results, by the provider, where it is asked in this shape."""
    reasons: bool | None = None
    """True if the client asks for thinking, False if it wants none; None if it leaves that to the model."""
    is_countable: bool = True
    """False if the answer cannot be counted while it comes: it is written in the background, or is not text alone."""
    named: tuple[tuple[str, str], ...] = ()
    """Ids of what the provider keeps and the request builds on, each behind the member that names it."""

    def extent(self, first: int, after: int) -> int:
        """Return the bytes of the messages from `first` up to, not including, `after`, with what stands between."""
        return int(self.original.extent(first, after)) if first < after else 0


def with_limit(request: Request, limit: int | None) -> Request:
    """Return the request as one that says how long its answer may be, where it does not say so itself."""
    return request if limit is None or request.answer_limit is not None else replace(request, answer_limit=limit)


# ---------------------------------------------------------------- decisions on a request


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks for the provider's prompt cache that a request is to carry."""

    form: MarkerForm = "control"
    places: Mapping[int, int] = field(default_factory=dict)
    """Messages of the request as it is sent (n: after the first n; 0: after the tools) → lifetime in seconds."""
    key: str | None = None
    """The key of the cache (`prompt_cache_key`), where the caller gives none."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool definition as far as its selection needs it."""

    name: str | None
    """None for what is no function of the client's, such as a provider's own tool: it always stays."""
    description: str = ""
    stays: bool = False
    """True if it carries a cache marker of the client's."""
    is_demanded: bool = False
    """True if the client says by name that it may, or must, be called."""


# ---------------------------------------------------------------- the answer


@dataclass(frozen=True, slots=True)
class Said:
    """The words of an answer to its caller: reasoning and refusals are left out."""

    texts: tuple[str, ...] = ()
    """One for each choice that has text."""
    arguments: tuple[str, ...] = ()
    """One for each call, as the model wrote it: JSON, if all went well."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, as on OpenAI's wire: parts are contained in `prompt` and `completion`, never beside
    them.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    """Of `prompt`: read from the provider's cache."""
    cache_write: int = 0
    """Of `prompt`: written to the provider's cache, for whatever lifetime."""
    cache_write_1h: int = 0
    """Of `cache_write`: for an hour."""
    reasoning: int = 0
    """Of `completion`."""
    audio_prompt: int = 0
    audio_completion: int = 0
    image_prompt: int = 0
    image_completion: int = 0
    cached_audio: int = 0
    """Of both `cached` and `audio_prompt`."""
    searches: int = 0
    """Searches that a reranking is billed by."""
    modifiers: tuple[str, ...] = ()
    """The surcharges that the provider names: for its place (`us`), for its speed (`fast`)."""
    estimated: bool = False
    """Counted by us, because the provider did not say, or said what cannot be."""
    contradicts: bool = field(default=False, compare=False)
    """Whether more was cached than there was, and no total explains it: our own count of the prompt must decide."""

    def __add__(self, other: Usage) -> Usage:
        """Sum what several calls used."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        named = tuple(dict.fromkeys(self.modifiers + other.modifiers))
        return Usage(**counts, modifiers=named, estimated=self.estimated or other.estimated)


_COUNTS: Final = tuple(one.name for one in fields(Usage) if one.name not in ("modifiers", "estimated", "contradicts"))

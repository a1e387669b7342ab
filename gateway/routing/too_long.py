"""Whether an upstream's error says that the request is too long, and by what count; and the windows so learned.

Providers agree on the status (400, 413 or 422) and on little else: some set a code, most say it in a sentence of their
own. So the sentence is read by what it is about: a prompt or a context, more of it than there may be, and numbers, of
which one is called a limit and another is said of the prompt. The wordings that this was tried on, and where each was
read, stand in tests/test_too_long.py. Reading is pure; `Windows` remembers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson


@dataclass(frozen=True, slots=True)
class TooLong:
    """The upstream's count and its limit, as far as it states them. All in its tokens."""

    tokens: int | None
    limit: int | None
    over: int | None = None
    """By how many it was too long, where that is all that is said."""


_STATUSES: Final = frozenset({400, 413, 422})

_CODES: Final = frozenset(
    {
        "context_length_exceeded",  # OpenAI and most that speak as it does
        "exceed_context_size_error",  # llama.cpp (github.com/ggml-org/llama.cpp/pull/15780)
        "context_exceeded",  # ds4 (github.com/antirez/ds4/pull/150)
        "model_max_prompt_tokens_exceeded",  # GitHub Copilot
    }
)
_MOST_TEXT: Final = 4_000
"""Characters of an error that are read."""
_MOST_VALUES: Final = 64
_MOST_LEVELS: Final = 4
_LARGEST: Final = 10**12

_N: Final = r"(?<![\w.-])(\d[\d,_]{0,14})(?![\w-])(?!\.\d)"
"""A number that stands by itself: not of a version, a model's name or an id."""


def _pattern(wording: str) -> re.Pattern[str]:
    return re.compile(wording.replace("N", _N), re.IGNORECASE)


_ABOUT: Final = re.compile(
    r"\btokens?\b|context (?:length|window|size|limit)|\bprompt\b|input (?:is |was )?(?:length|too)"
    r"|length of (?:the|your) (?:messages|prompt|input)",
    re.IGNORECASE,
)
_OF: Final = re.compile(
    r"\b(?:context|prompt|inputs?|messages|sequence)\b|input_tokens|max_(?:seq|model)_len|too many tokens in"
    r"|model token limit",
    re.IGNORECASE,
)
_MORE: Final = re.compile(
    r"exceed|too (?:long|large|many)|(?:long|larg|great)er than|maximum (?:context|prompt|input|sequence|model)"
    r"|overflow|less than|must be <=|should be \[|limit is|not enough|(?:only )?supports? (?:only )?up to",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"per[ -]?(?:min|day|hour|sec)|rate.?limit|quota|\b[tr]pm\b|please wait", re.IGNORECASE)
"""A limit of how much is sent in some time is another thing."""
_ANSWER: Final = re.compile(r"[`'\"]?max_\w*tokens[`'\"]?|maxTokens", re.IGNORECASE)
"""The answer limit by its name: a number behind it is no window."""

_OVER: Final = _pattern(r"exceed\w*(?: [^.;\d]{0,60})? by N")
_LIMITS: Final = (
    _pattern(r">=? ?N"),
    _pattern(r"max_\w*len\w* ?N"),
    _pattern(r"(?:<=|less than|at most|up to|(?:can(?:no|')t|must not) exceed|should be \[\d+,) ?N"),
    _pattern(r"(?:max(?:imum|_\w+)?|limit|context|model|window)\b[^.;\d]{0,60}?(?:\b(?:is|of|only|length|with|size|len)"
             r"|[:=(]|_len) ?N"),
)  # fmt: skip
"""Patterns of a number that is called a limit; the first match counts."""
_COUNTS: Final = (
    _pattern(r"N ?\+ ?[\d,_]+ ?>"),
    _pattern(r"N (?:tokens? )?(?:in|from|of) (?:the |your )?(?:input )?(?:messages|prompt|input|text)"),
    _pattern(r"N [`']?(?:inputs?|prompt)[`']? tokens"),
)
"""Patterns of a number that is said of the prompt and nothing else. It may be below the limit: what is too long is the
prompt with its answer."""
_SUBJECTS: Final = (
    _pattern(r"\b(?:prompt|inputs?|request(?:ed)?|messages|current|received|given|resulted in|count|length)\b"
             r"[^.;\d]{0,40}?N"),
    _pattern("N"),
)  # fmt: skip
"""Patterns of a number above the limit that may be the prompt's, or that of all that was asked for."""
_UNIT: Final = re.compile(r" ?(?:tokens?\b|maximum\b)", re.IGNORECASE)


def too_long(status: int, body: bytes) -> TooLong | None:
    """Read an error answer; None where it is about something else."""
    said = list(_said(body))
    stated = dict(said)
    is_named = any(name in ("code", "type") and text in _CODES for name, text in said if isinstance(text, str))
    if is_named and (found := _stated(stated)) is not None:
        return found
    if status not in _STATUSES:
        return None  # llama.cpp once said it with a 500: by its code alone
    text = "\n".join(text for _, text in said if isinstance(text, str))[:_MOST_TEXT]
    is_about = all(pattern.search(text) for pattern in (_ABOUT, _OF, _MORE)) and not _RATE.search(text)
    return _numbers(text) if is_about or is_named else None


def _stated(members: Mapping[str, Any]) -> TooLong | None:
    """Read the members in which llama.cpp and its like state their numbers."""
    tokens, limit = members.get("n_prompt_tokens"), members.get("n_ctx")
    if _is_count(tokens) and _is_count(limit):
        return TooLong(tokens, limit)
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST


def _numbers(text: str) -> TooLong:
    """Tell the limit from the count in a text that says that something is too long."""
    if (over := _OVER.search(text)) is not None:
        return TooLong(None, None, _read(over[1]))
    bare = _ANSWER.sub("", text)
    limited = next((found for pattern in _LIMITS if (found := pattern.search(bare))), None)
    limit = None if limited is None else _read(limited[1])
    counts = (_read(found[1]) for pattern in _COUNTS for found in pattern.finditer(bare))
    tokens = next((count for count in counts if count and count != limit), None)
    if tokens is None and limited is not None:
        counts = (_read(found[1]) for pattern in _SUBJECTS for found in pattern.finditer(bare))
        tokens = next((count for count in counts if count > (limit or 0)), None)
        if tokens is None and "(" in limited[0] and not _UNIT.match(bare, limited.end(1)):
            limit = None  # a number of its own in brackets is an error's
    return TooLong(tokens, limit or None)


def _read(number: str) -> int:
    return int(re.sub(r"\D", "", number))


def _said(body: bytes) -> Iterator[tuple[str, Any]]:
    """Yield what an error holds, in any shape: texts and numbers by the name of their member, the outer ones first."""
    try:
        level: list[tuple[str, Any]] = [("", orjson.loads(body))]
    except orjson.JSONDecodeError:
        yield "", body[:_MOST_TEXT].decode(errors="replace")
        return
    left = _MOST_VALUES
    for _ in range(_MOST_LEVELS):
        inner: list[tuple[str, Any]] = []
        for name, value in level:
            if isinstance(value, dict):
                inner += list(value.items())[:left]
            elif isinstance(value, list):
                inner += [(name, one) for one in value[:left]]
            elif left > 0:
                left -= 1
                yield name, value
        level = inner


# ---------------------------------------------------------------- what was learned

KEPT_SECONDS: Final = 3600.0
"""Seconds that a window is believed: a server may be started again with another."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A deployment's statement that a request is too long."""

    limit: int
    """Its limit, in its tokens."""
    factor: float = 1.0
    """Its tokens for one of ours."""


class Windows:
    """The statements of deployments about their windows."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Stated, float]] = {}

    def learn(self, deployment: str, stated: Stated, now: float) -> bool:
        """Remember what a deployment stated; say whether its limit is news. `now`: seconds, never running back."""
        known = self._of(deployment, now)
        self._seen[deployment] = stated, now
        return known is None or known.limit != stated.limit

    def forget(self, deployments: Iterable[str]) -> None:
        """Forget what deployments stated: they were changed."""
        for name in deployments:
            self._seen.pop(name, None)

    def of(self, deployments: Iterable[str], now: float) -> Stated | None:
        """Return what leaves least room of what these have stated; None where none has said anything."""
        if not self._seen:
            return None
        known = [one for name in deployments if (one := self._of(name, now)) is not None]
        return Stated(min(one.limit for one in known), max(one.factor for one in known)) if known else None

    def _of(self, deployment: str, now: float) -> Stated | None:
        found = self._seen.get(deployment)
        return found[0] if found is not None and now - found[1] < KEPT_SECONDS else None

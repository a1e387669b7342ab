"""The questions that every rule set of prompt caching answers: may the request be, and what of it is read and
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.routing.upstreams.demo.entries import CachedPrompt, Entries
from gateway.routing.upstreams.demo.prompt import Level, Prompt


@dataclass(frozen=True, slots=True)
class Charge:
    """The charges for the tokens of one prompt, and the entries that can be read once its answer has begun."""

    read: int = 0
    written: int = 0
    """For whatever lifetime; read and written tokens never overlap."""
    written_1h: int = 0
    """Of `written`: for an hour."""
    entries: tuple[CachedPrompt, ...] = ()


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a provider answers 400."""

    message: str
    param: str | None = None


def answer_limit(fields: Mapping[str, Any]) -> int | None:
    """Return how many tokens the answer may have; None where nobody says."""
    limits = (fields.get(name) for name in ("max_completion_tokens", "max_tokens"))
    limit = next((limit for limit in limits if limit is not None), None)
    return limit if isinstance(limit, int) and limit >= 0 else None


def wants_no_answer(fields: Mapping[str, Any]) -> bool:
    """Say whether the answer is limited to nothing: the prompt is only to be read into the cache."""
    return answer_limit(fields) == 0


def answer_needed(fields: Mapping[str, Any]) -> Complaint | None:
    """Refuse a limit of nothing, as all do but Anthropic; in OpenAI's words."""
    if not wants_no_answer(fields):
        return None
    return Complaint(
        "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 1.", "max_tokens"
    )


class RuleSet(Protocol):
    """One provider's rules of caching prompts."""

    def settings(self, fields: Mapping[str, Any]) -> Mapping[Level, Any]:
        """Return what, besides the content, decides from each level on whether two prompts are the same."""
        ...

    def complaint(self, fields: Mapping[str, Any], prompt: Prompt) -> Complaint | None:
        """Say why the request is refused; None = it is not."""
        ...

    def charge(self, fields: Mapping[str, Any], prompt: Prompt, entries: Entries, now: float) -> Charge:
        """Look the prompt up. A read renews the lifetime at once; nothing else changes.

        `now` is the start of the request, in seconds.
        """
        ...

    def usage(self, prompt: int, completion: int, charge: Charge) -> dict[str, Any]:
        """Return the usage as it stands on the chat-completions wire."""
        ...

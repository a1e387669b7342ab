"""Whole answers to metered requests: told from errors and from what is none, and read for what they used. Pure.

An answer passes as it came. Of a long one (a thousand vectors are tens of megabytes) only the members are located.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.request import Usage
from gateway.wire import lenient
from gateway.wire.answer import Listener
from gateway.wire.failures import ErrorObject, complaint_in, error_in
from gateway.wire.lexical import DuplicateKey, NotJSON, object_spans
from gateway.wire.metered.read import MeteredRequest
from gateway.wire.operations import Operation
from gateway.wire.secrets import Secrets
from gateway.wire.shape import CHAT
from gateway.wire.usage import usage_from_openai

RESULTS: Final[Mapping[Operation, tuple[str, ...]]] = {
    "embeddings": ("data",),
    "completions": ("choices",),
    "moderations": ("results",),
    "rerank": ("results", "data"),
    "compact": ("output",),
}
"""The members of which an answer has one. Of rerankings Voyage's is called `data` (docs.voyageai.com/reference)."""

_SHORT_BYTES: Final = 16 * 1024
"""An answer up to here is read whole, which takes no longer than locating its members."""
_BULK: Final = frozenset({"data", "results"})
_MOST_SEARCHES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """An answer that is all here."""

    body: bytes
    fields: Mapping[str, Any]
    """Its members, but for the vectors or scores."""

    @property
    def service_tier(self) -> str | None:
        tier = self.fields.get("service_tier")
        return tier if isinstance(tier, str) else None

    def text(self) -> str:
        """Join what a completion says, for counting one that came without usage."""
        choices = self.fields.get("choices")
        listed = choices if isinstance(choices, list) else ()
        return "\n".join(one["text"] for one in listed if isinstance(one, dict) and isinstance(one.get("text"), str))

    def usage(self) -> Usage | None:
        """Read what the answer says it used; None where it says nothing.

        Jina and Voyage state a total alone. Cohere states tokens and searches under `meta`
        (docs.cohere.com/reference/rerank).
        """
        said = self.fields.get("usage")
        if isinstance(said, dict) and "prompt_tokens" not in said and "input_tokens" not in said:
            said = {**said, "prompt_tokens": said.get("total_tokens")}
        found = usage_from_openai(said)
        meta = self.fields.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        tokens, billed = meta.get("tokens"), meta.get("billed_units")
        if found is None and isinstance(tokens, dict):
            found = usage_from_openai({"prompt_tokens": tokens.get("input_tokens")})
        if found is None and isinstance(billed, dict):
            found = usage_from_openai(
                {"prompt_tokens": next((billed[n] for n in ("input_tokens", "total_tokens") if n in billed), None)}
            )
        searches = _searches(billed) or _searches(said)
        if searches is None:
            return found
        return replace(found or Usage(estimated=True), searches=searches)


def _searches(said: object) -> int | None:
    units = said.get("search_units") if isinstance(said, dict) else None
    if isinstance(units, float) and units.is_integer():
        units = int(units)
    return units if type(units) is int and 0 < units <= _MOST_SEARCHES else None


@dataclass(frozen=True, slots=True)
class NoResult:
    """Bytes that are no answer; the message says why."""

    message: str


def judged(operation: Operation, body: bytes) -> Result | ErrorObject | NoResult:
    """Say what an upstream's whole body is, whatever its status said."""
    fields = _fields(body)
    if fields is None:
        return NoResult("the answer is not a JSON object")
    if (error := error_in(fields)) is not None:
        return error
    if not any(name in fields for name in RESULTS[operation]):
        complaint = complaint_in(fields)
        return NoResult(f"the answer has no `{RESULTS[operation][0]}`") if complaint is None else complaint
    return Result(body, fields)


def listen(request: MeteredRequest, secrets: Secrets) -> Listener:
    """Listen to the stream of a text completion; its events are those of a chat but for `text` in the choices."""
    return CHAT.listen(streamed=True, hold_back_usage=not request.asks_usage, secrets=secrets)


def _fields(body: bytes) -> Mapping[str, Any] | None:
    if len(body) >= _SHORT_BYTES:
        with suppress(NotJSON, DuplicateKey):  # which are read leniently, as what is short
            spans = object_spans(body)
            return {name: None if name in _BULK else lenient.read(body[slice(*at)]) for name, at in spans.items()}
    found = lenient.read(body)
    if isinstance(found, list) and found:  # Gemini wraps its error in a list
        found = found[0]
    return found if isinstance(found, dict) else None

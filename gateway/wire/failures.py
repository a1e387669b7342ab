"""Failures that an upstream tells of in an answer whose status was good: found by their shape, with the status they
stand for. Pure.

No words are looked for. An error is known by its place: under `error`, in the choices, in an event of that name, or in
an object that calls itself one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.wire import lenient
from gateway.wire.errors import printable

UNSAID: Final = 502
"""The status of an error that says nothing of whose fault it is: the upstream's."""

_SIBLINGS: Final = ("message", "code", "type", "status", "param")
"""Members of an error that some upstreams write beside it."""

_STATUS_NAMES: Final = ("status_code", "http_status", "http_code", "status", "code")

_STATUSES: Final[Mapping[str, int]] = {
    # OpenAI: platform.openai.com/docs/guides/error-codes
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    # Anthropic: docs.anthropic.com/en/api/errors
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # Google: google/rpc/code.proto, each with its HTTP mapping
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
"""The status that a type or code in words stands for."""


@dataclass(frozen=True, slots=True)
class ErrorObject:
    """An error as an upstream put it."""

    members: Mapping[str, Any]
    """Always with a `message`."""

    @property
    def status(self) -> int:
        """The HTTP status it stands for: the one it names, else that of its type or code."""
        for name in _STATUS_NAMES:
            if (status := _http_status(self.members.get(name))) is not None:
                return status
        for name in ("code", "type", "status"):
            said = self.members.get(name)
            if isinstance(said, str) and (status := _STATUSES.get(said.lower())) is not None:
                return status
        return UNSAID

    @property
    def code(self) -> str | None:
        """Its own name, printable and short."""
        for name in ("code", "type", "status"):
            said = self.members.get(name)
            if said and type(said) in (str, int):
                return printable(str(said))
        return None

    @property
    def body(self) -> bytes:
        """The body that a status of its own would have come with."""
        return lenient.write({"error": self.members})


_ENDED_BADLY: Final = {"message": "the answer ended with the finish reason `error`"}


def error_in(fields: Mapping[str, Any]) -> ErrorObject | None:
    """Return the error that an answer or an event holds; None where it holds none, or one that says nothing."""
    error = fields.get("error")
    if not _says_something(error):
        error = _error_of_choices(fields.get("choices"))
    if error is None and fields.get("object") == "error":
        error = {name: value for name, value in fields.items() if name != "object"}
    return None if error is None else _read(error, fields)


def complaint_in(fields: Mapping[str, Any]) -> ErrorObject | None:
    """Return the error that an object without choices is by itself, where it has a message or a detail."""
    if any(isinstance(fields.get(name), str) and fields[name] for name in ("message", "detail", "msg")):
        return _read(fields, {})
    return next((_read(value, {}) for value in fields.values() if isinstance(value, dict) and _is_status(value)), None)


def complaints(body: bytes) -> Iterator[str]:
    """Yield the texts of an error answer; not those of the request, which some servers quote in a member of its own."""
    level = [lenient.read(body)]
    if level == [None]:
        yield body[:_MOST_SAID].decode(errors="replace")
    for _ in range(_MOST_LEVELS):
        below: list[Any] = []
        for value in level[:_MOST_VALUES]:
            if isinstance(value, str):
                yield value[:_MOST_SAID]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, dict):
                below += [one for name, one in value.items() if name not in _QUOTED]
        level = below


_MOST_SAID, _MOST_LEVELS, _MOST_VALUES = 4_000, 8, 64
_QUOTED = frozenset({"input", "body", "request", "ctx"})
"""Members in which FastAPI's validation (docs.pydantic.dev/latest/errors/errors) and its like quote a request."""


def named_error(said: Any) -> ErrorObject:
    """Read the data of an event that is called `error`."""
    fields = said if isinstance(said, dict) else {}
    return error_in(fields) or _read(said, {})


def _error_of_choices(choices: object) -> Any:
    """Return the error of an answer none of whose choices went well."""
    errors: list[Any] = []
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            error = choice.get("error")
            if not _says_something(error):
                error = None
                if choice.get("finish_reason") != "error":
                    return None
            errors.append(error)
    return next((error for error in errors if error is not None), _ENDED_BADLY) if errors else None


def _read(error: Any, beside: Mapping[str, Any]) -> ErrorObject:
    for _ in range(3):  # wrapped once more by each proxy it came through
        if isinstance(error, list) and error:
            error = error[0]
        inner = error.get("error") if isinstance(error, dict) else None
        if not isinstance(inner, dict) or not inner or isinstance(error.get("message"), str):
            break
        error = inner
    members = dict(error) if isinstance(error, dict) else {}
    if isinstance(error, str):
        members["message"] = error
    for name in _SIBLINGS:
        if members.get(name) is None and beside.get(name) is not None:
            members[name] = beside[name]
    if not isinstance(members.get("message"), str) or not members["message"]:
        members["message"] = _longest_text(members) or "the upstream told of an error without a word about it"
    return ErrorObject(members)


def _says_something(error: object) -> bool:
    """Whether there is more in it than empty members: a field that is there may say nothing."""
    if isinstance(error, dict):
        return any(value not in (None, "", 0, False, {}, []) for value in error.values())
    return bool(error.strip()) if isinstance(error, str) else bool(error)


def _is_status(value: Mapping[str, Any]) -> bool:
    """Whether an object is a code that is not nought beside a text, and nothing more."""
    texts = [said for said in value.values() if isinstance(said, str) and said]
    numbers = [said for said in value.values() if type(said) is int and said]
    return len(value) == 2 and len(texts) == 1 and len(numbers) == 1


def _longest_text(members: Mapping[str, Any]) -> str:
    return max((value for value in members.values() if isinstance(value, str)), key=len, default="")


def _http_status(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 400 <= value <= 599 else None

"""Errors in the shape of Anthropic's API, so that its SDKs raise their own right exception, and agents compact at those
that a shorter conversation mends. Pure.

Types and statuses: https://platform.claude.com/docs/en/api/errors. The two sentences on length are the API's own:
"prompt is too long: N tokens > M maximum" and "input length and `max_tokens` exceed context limit: I + M > L".
"""

from __future__ import annotations

from typing import Any, Final

from gateway.wire import lenient
from gateway.wire.errors import MOST_BYTES, GatewayError, UpstreamRefusal
from gateway.wire.messages.composing import event_bytes
from gateway.wire.overflow import Overflow

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OWN: Final = frozenset({*_TYPES.values(), "api_error"})


def write_body(error: GatewayError, request_id: str) -> bytes:
    """Write the body of an error."""
    body = lenient.write(_fields(error, error.fields(request_id), request_id))
    if len(body) <= MOST_BYTES:
        return body
    return lenient.write(_fields(error, GatewayError.fields(error, request_id), request_id))


def write_event(error: GatewayError, request_id: str) -> bytes:
    """Write the event that tells of a failure after the first byte."""
    return event_bytes(_fields(error, GatewayError.fields(error, request_id), request_id))


def _fields(error: GatewayError, told: dict[str, Any], request_id: str) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": _type(error), "message": _message(error, str(told["message"]), request_id)}
    inner |= {name: told[name] for name in ("code", "param", "gateway") if told.get(name) is not None}
    return {"type": "error", "error": inner, "request_id": request_id}


def _type(error: GatewayError) -> str:
    if isinstance(error, UpstreamRefusal) and error.type in _OWN:
        return error.type
    return _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")


def _message(error: GatewayError, message: str, request_id: str) -> str:
    if error.overflow is not None:
        return f"{_too_long(error.overflow)} {error.overflow.reason} [{request_id}]"
    if error.code == "context_length_exceeded" and "prompt is too long" not in message:
        return f"prompt is too long: {message}"
    return message


def _too_long(over: Overflow) -> str:
    """Say so in the API's own words. Agents lower their limit by the very numbers; a margin for the error of the count
    is kept free as well.
    """
    if over.is_the_limits:
        limit = over.prompt + over.most if over.most else over.window
        sums = f"{over.prompt} + {over.completion} > {limit}"
        return f"input length and `max_tokens` exceed context limit: {sums}, decrease input length or `max_tokens`."
    most = max(0, min(over.window - over.completion, over.prompt - 1))
    return f"prompt is too long: {over.prompt} tokens > {most} maximum."

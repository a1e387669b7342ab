"""Errors in OpenAI's shape, so that a client's SDK raises its own right exception.

Pure: no clock, no logging. A `GatewayError` says whose fault it is by its status (4xx: the request, or what its key may
do; 5xx: the gateway or an upstream) and what to do about it in its message. Any text of a client or an upstream may go
into a message: it is shortened and made printable here. The table of statuses, types and codes is docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import orjson

from gateway.wire import lenient
from gateway.wire.operations import MODES, NAMES, PATHS, Operation
from gateway.wire.overflow import Overflow

UpstreamFault = Literal["connect", "timeout", "reset", "garbage", "too_large", "authentication"]
"""The kind of an upstream's failure: not reached, silent for too long, cut off, not understood, too large, or our key
refused."""

MESSAGE_LIMIT = 2_000
"""Most characters of a message."""
MOST_BYTES = 32_000
"""Most bytes of an error with all that an upstream put into it; above it only what we know of it is told."""
VALUE_LIMIT = 80
"""Most characters of somebody else's value inside a message."""

_NO_HEADERS: Mapping[str, str] = {}
NOT_AGAIN: Mapping[str, str] = {"x-should-retry": "false"}
"""Tells OpenAI's SDKs not to ask again by themselves."""


def printable(text: str, limit: int = VALUE_LIMIT) -> str:
    """Make text safe to show: control and invisible characters and lone surrogates escaped, at most `limit` long."""
    length = len(text)
    if length > limit:
        text = text[:limit]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
        if len(text) > limit:
            length = max(length, limit + 1)
    if length > limit:
        mark = f"… ({length:,} characters)"
        text = text[: max(0, limit - len(mark))] + mark
    return text


class GatewayError(Exception):
    """An end that the client sees."""

    overflow: Overflow | None = None

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.type = error_type
        self.code = None if code is None else printable(code)
        self.message = printable(message, MESSAGE_LIMIT)
        self.param = None if param is None else printable(param, 200)
        self.headers = headers
        self.extra = extra
        super().__init__(self.message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status} {self.code or self.type}: {self.message!r})"

    def body(self, request_id: str) -> bytes:
        """Write the body. The message ends with the request's id, which is all that some clients keep of an error."""
        written = lenient.write({"error": self.fields(request_id)})
        if len(written) <= MOST_BYTES:
            return written
        return lenient.write({"error": GatewayError.fields(self, request_id)})

    def fields(self, request_id: str) -> dict[str, Any]:
        """List the members of the `error` object."""
        fields: dict[str, Any] = {
            "message": f"{self.message} [{request_id}]",
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        if self.extra is not None:
            fields["gateway"] = self.extra
        return fields


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Write the body of an error in its own shape: OpenAI's, unless it is of another kind."""
    return error.body(request_id)


class UpstreamRefusal(GatewayError):
    """An upstream's own error, passed on with its status, code and every other member; only our id is added."""

    def __init__(self, status: int, error: Mapping[str, Any], headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(
            status,
            printable(_word(error.get("type")) or _type_for(status)),
            _word(error.get("message")) or f"The upstream answered with status {status}.",
            code=_word(error.get("code")),
            param=_word(error.get("param")),
            headers=headers,
        )
        self.error = error

    def fields(self, request_id: str) -> dict[str, Any]:
        message = self.error.get("message")
        text = message if isinstance(message, str) and message else self.message
        members = {name: value for name, value in self.error.items() if name not in _WORDS or _word(value) is not None}
        return {"type": self.type, "param": None, "code": None, **members, "message": f"{text} [{request_id}]"}


# --- the request is at fault -----------------------------------------------------------------------------------------


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> GatewayError:
    """Refuse what does not parse or is not legal. The message names what and where, and how to put it right."""
    return GatewayError(400, "invalid_request_error", message, code=code, param=param)


def context_length_exceeded(
    *,
    window: int,
    prompt: int,
    completion: int,
    policy: str,
    component: str,
    tokens: int,
    room: int,
    at: str | None,
    reason: str = "",
    bound: str | None = None,
) -> GatewayError:
    """Refuse what does not fit and cannot be made to fit.

    `bound` is "at least" or "at most" where text was too long to be counted.

    `component` is the part that is too big (`tokens` where there is `room`), `at` the place of its largest piece,
    `reason` a sentence that says how the room came about. The first three sentences are OpenAI's: agents recognise an
    overflow by them (litellm `exception_mapping_utils.py` `is_error_str_context_window_exceeded`; langchain-openai
    looks for the code).
    """
    said = "" if bound is None else f"{bound} "
    why = f"Policy {printable(policy)}: {component} needs {said}{tokens}, room {room}." + (
        f" {reason}" if reason else ""
    )
    message = (
        f"This model's maximum context length is {window} tokens. However, you requested {said}{prompt + completion} "
        f"tokens ({prompt} prompt, {completion} completion). Please reduce the length of the messages. {why}"
    )
    extra = {"component": component, "tokens": tokens, "room": room, "at": None if at is None else printable(at)}
    error = GatewayError(
        400, "invalid_request_error", message, code="context_length_exceeded", param="messages", extra=extra
    )
    error.overflow = Overflow(window, prompt, completion, printable(why, MESSAGE_LIMIT))
    return error


def answer_limit_exceeded(*, window: int, prompt: int, completion: int, param: str, most: int | None) -> GatewayError:
    """Refuse an answer limit that leaves the prompt no room in a window that both share, where a shorter prompt would.

    `param` is the member that sets it, `most` the highest with which this prompt fits; None where there is none. The
    first two sentences are those of every overflow.
    """
    fits = "" if most is None else f" to {most} or less"
    why = f"{param} is {completion}, which leaves too little for the prompt. Lower it{fits}, or leave it out."
    message = (
        f"This model's maximum context length is {window} tokens. However, you requested {prompt + completion} tokens "
        f"({prompt} prompt, {completion} completion). Please reduce the length of the completion: {why}"
    )
    extra = {"component": "completion", "tokens": completion, "room": most or 0, "at": param}
    error = GatewayError(
        400, "invalid_request_error", message, code="context_length_exceeded", param=param, extra=extra
    )
    error.overflow = Overflow(window, prompt, completion, why, most, is_the_limits=True)
    return error


class PolicyRefusal(GatewayError):
    """A refusal that no shorter conversation would mend. No number in its body looks like a status to ask again at."""

    def fields(self, request_id: str) -> dict[str, Any]:
        fields = super().fields(request_id)
        if self.extra is not None:
            fields["gateway"] = {name: _in_json(value) for name, value in self.extra.items()}
        return fields


def prompt_too_large_for_policy(
    *, room: str, fixed: Mapping[str, int], component: str, tokens: int, most: int, at: str | None, param: str, do: str
) -> GatewayError:
    """Refuse what no shortening of the conversation can make fit: what may not be cut is more than there is room for.

    `room` is a sentence that says how much there is and whose window it is, `fixed` what may not be cut and how much it
    is, `do` what to change; numbers in them are written by `figure`. The code and the words are none of those by which
    agents know an overflow: they would compact, ask again, and pay for each round.
    """
    parts = ", ".join(f"{name} {figure(number)}" for name, number in fixed.items() if number)
    whole = figure(sum(fixed.values()))
    message = f"{room} What may not be cut takes {whole}: {parts}. A shorter conversation does not help. {do}"
    extra = {"component": component, "tokens": tokens, "room": most, "at": None if at is None else printable(at)}
    return PolicyRefusal(
        400, "invalid_request_error", message, code="prompt_too_large_for_policy", param=param, extra=extra,
        headers=NOT_AGAIN,
    )  # fmt: skip


_STATUSES = ("429", "500", "502", "503", "504", "524")
"""The text that opencode takes for a status to ask again at, wherever in a body it stands (1.18, `SessionRetry`)."""


def is_clean(text: str) -> bool:
    """Whether nothing in a text looks like a status to ask again at."""
    return not any(status in text for status in _STATUSES)


def figure(tokens: int) -> str:
    """Write a number of tokens for a message: as it is, or in thousands where it looks like a status: 4.5k."""
    thousands = (f"{tokens / 1000:.{digits}f}".rstrip("0").rstrip(".") + "k" for digits in (3, 2))
    return next((text for text in (str(tokens), *thousands) if is_clean(text)), f"{tokens / 1_000_000:.2f}M")


def _in_json(value: object) -> object:
    """Write a number that looks like a status with an exponent, which is the same number in JSON: 45.00e2."""
    if not isinstance(value, int) or is_clean(str(value)):
        return value
    sign, digits = "-" if value < 0 else "", str(abs(value))
    behind = [*range(2, len(digits)), 1]  # digits behind the point: two where that will do
    written = (f"{sign}{digits[:-count]}.{digits[-count:]}e{count}" for count in behind if count < len(digits))
    return next((orjson.Fragment(text) for text in written if is_clean(text)), value)


def too_large(limit: int) -> GatewayError:
    """Refuse a body of more than `limit` bytes."""
    message = (
        f"The request body is larger than {limit} bytes, the most this gateway takes. Send a smaller request "
        "(large images and files by URL instead of inline), or have the operator raise `server.max_body`."
    )
    return GatewayError(413, "invalid_request_error", message, code="request_too_large")


def unknown_encoding(encoding: str, known: Sequence[str]) -> GatewayError:
    """Refuse a body that is packed in a way that is not read here."""
    message = (
        f"A body with content-encoding `{printable(encoding)}` is not read here. Send it as it is, or packed with "
        f"{', '.join(known[:-1])} or {known[-1]}."
    )
    return GatewayError(415, "invalid_request_error", message, code="unknown_encoding", param="content-encoding")


def not_found(path: str, method: str = "POST") -> GatewayError:
    """Answer for a path that does not exist."""
    message = (
        f"Unknown request URL: {printable(method)} {printable(path, 200)}. This gateway serves POST "
        f"{', '.join(f'/v1{path}' for path in PATHS.values())}, GET /v1/models, /v1/requests/{{id}} and /v1/usage; "
        "check the client's base URL."
    )
    return GatewayError(404, "invalid_request_error", message, code="unknown_url")


def method_not_allowed(method: str, path: str, allowed: str) -> GatewayError:
    """Answer for a path that exists under another method."""
    message = f"Not allowed to {printable(method)} on {printable(path, 200)}. Use {allowed}."
    return GatewayError(405, "invalid_request_error", message, code="method_not_allowed", headers={"allow": allowed})


# --- what is no request ----------------------------------------------------------------------------------------------


def not_http() -> GatewayError:
    """Refuse what does not read as HTTP/1.1."""
    message = "What came is not a request of HTTP/1.1 (a TLS client at a plain port, for one, sends none)."
    return GatewayError(400, "invalid_request_error", message, code="malformed_http")


def version_not_served() -> GatewayError:
    """Refuse a version of HTTP that is not spoken here."""
    message = "This gateway speaks HTTP/1.1 and HTTP/1.0. Send the request in one of them."
    return GatewayError(505, "invalid_request_error", message, code="http_version_not_supported")


def repeated_header(name: bytes) -> GatewayError:
    """Refuse a request in which a header that says who asks, or where, stands twice."""
    told = printable(name.decode("latin-1"))
    message = f"The header {told} stands in the request more than once. Send it once."
    return GatewayError(400, "invalid_request_error", message, code="repeated_header")


def headers_too_large(most_bytes: int, most_lines: int) -> GatewayError:
    """Refuse a head, that is URL and headers, of more than is read."""
    message = (
        f"The URL and headers of the request are more than {most_bytes} bytes or {most_lines} lines, the most this "
        "gateway reads. Send what is long in the body."
    )
    return GatewayError(431, "invalid_request_error", message, code="headers_too_large")


def bad_framing() -> GatewayError:
    """Refuse a body in chunks of which next to nothing is body."""
    message = "The chunks of the body hold next to nothing. Send larger chunks, or the body's length."
    return GatewayError(400, "invalid_request_error", message, code="malformed_http")


def request_timeout(what: str, seconds: float, setting: str) -> GatewayError:
    """Answer a client that has not sent its request in time."""
    message = (
        f"The request was cut off: {what} within {seconds:g} s. Send it again; the operator can raise "
        f"`server.{setting}`."
    )
    return GatewayError(408, "invalid_request_error", message, code="request_timeout")


def too_many_connections(most: int) -> GatewayError:
    """Refuse an address that has as many connections, or requests through a proxy, as one may have."""
    message = (
        f"This address has {most} connections already, the most that one may have here. Use fewer, or have the "
        "operator raise `server.connections_per_address`."
    )
    return GatewayError(429, "rate_limit_error", message, code="too_many_connections", headers={"retry-after": "1"})


def no_connection_free() -> GatewayError:
    """Refuse because every connection that the process may have is at work."""
    message = "The gateway has as many clients as its file descriptors allow, all of them at work. Try again shortly."
    return GatewayError(503, "server_error", message, code="no_connection_free", headers={"retry-after": "1"})


def no_room() -> GatewayError:
    """Refuse a large body for which there was no room for long."""
    message = (
        "The gateway has as many large requests waiting as there is room for, of this key or of all. Try again "
        "shortly, or send fewer at a time."
    )
    return GatewayError(503, "server_error", message, code="too_many_large_requests", headers={"retry-after": "2"})


def too_much_work() -> GatewayError:
    """Refuse a large body that takes more time or memory than any may."""
    message = (
        "The request takes more time or memory to be read and planned than one request may. Send fewer messages, or "
        "less text."
    )
    return GatewayError(413, "invalid_request_error", message, code="request_too_complex", headers=NOT_AGAIN)


# --- what a key may do -----------------------------------------------------------------------------------------------


_KEY_ENDS: Final = {
    "expired": "This API key has expired. Ask the operator of this gateway for another one.",
    "revoked": "This API key was revoked. Ask the operator of this gateway for another one.",
    "not_yet_valid": "This API key is not valid yet. Try again later, or ask the operator of this gateway.",
    "replaced": "This API key was replaced by a newer one. Use that one; the operator of this gateway has issued it.",
}
"""Said only to whom shows the right secret: to nobody else is there such a key."""


def invalid_key(reason: str = "unknown") -> GatewayError:
    """Refuse a caller without a key that is good now. One text for missing and unknown: it helps nobody to guess."""
    message = _KEY_ENDS.get(reason) or (
        "No valid API key was given: it is missing or unknown. Send a key of this gateway as "
        "`Authorization: Bearer …` (or `x-api-key`, `api-key`); its operator issues them."
    )
    return GatewayError(
        401, "invalid_request_error", message, code="invalid_api_key", headers={"www-authenticate": "Bearer"}
    )


def host_not_allowed(host: str | None) -> GatewayError:
    """Refuse a request to a gateway without keys that was sent to another name than this machine's own."""
    called = f"as `{printable(host)}`" if host is not None else "without a Host header"
    message = (
        f"This gateway has no keys, so it answers only who calls it by a loopback name (localhost, 127.0.0.1), and it "
        f"was called {called}. The operator can list that name under `server: {{hosts: […]}}`, or configure `keys`."
    )
    return GatewayError(403, "invalid_request_error", message, code="host_not_allowed")


def origin_not_allowed(origin: str | None) -> GatewayError:
    """Refuse a request to a gateway without keys that a page of another origin sent."""
    page = f"a page of `{printable(origin)}`" if origin is not None else "a page of another site"
    message = (
        f"This gateway has no keys, so it answers no pages but its own, and {page} sent this. The operator can list "
        "the page's origin under `cors: […]`, as https://app.example.com."
    )
    return GatewayError(403, "invalid_request_error", message, code="origin_not_allowed")


def address_not_allowed(address: str | None) -> GatewayError:
    """Refuse a key that is used from elsewhere than its list says."""
    message = (
        f"This key may not be used from {address or 'here'}. Have the operator add that to the key's `ips`, or name "
        "the proxies before this gateway in `server.trusted_proxies`."
    )
    return GatewayError(403, "invalid_request_error", message, code="address_not_allowed")


def operation_not_allowed(operation: str) -> GatewayError:
    """Refuse a path that a key's list does not name."""
    message = f"This key may not be used for {operation}. Have the operator add that to the key's `paths`."
    return GatewayError(403, "invalid_request_error", message, code="path_not_allowed")


def model_not_allowed(model: str) -> GatewayError:
    """Refuse a model that a key's list does not name.

    To be asked before whether the model exists: then the answer tells nothing about that.
    """
    message = (
        f"This key may not use a model `{printable(model)}`. Use one of those that GET /v1/models lists, or have the "
        "operator add it to the key's `models`."
    )
    return GatewayError(403, "invalid_request_error", message, code="model_not_allowed", param="model")


def model_not_found(model: str, nearest: str | None = None) -> GatewayError:
    """Refuse a model that the gateway does not serve; `nearest` is one that it does and that was perhaps meant."""
    hint = f" Did you mean `{printable(nearest)}`?" if nearest is not None else ""
    message = (
        f"The model `{printable(model)}` does not exist or you do not have access to it.{hint} Use one of those that "
        "GET /v1/models lists, or have the operator add it to `model_list`, or under `aliases`."
    )
    return GatewayError(404, "invalid_request_error", message, code="model_not_found", param="model")


def model_not_for_chat(model: str, operation: Operation | None = None) -> GatewayError:
    """Refuse a chat with a model that makes something else; `operation` is what it is served for."""
    instead = "" if operation is None else f" Ask for it under /v1{PATHS[operation]}."
    message = (
        f"The model `{printable(model)}` does not answer chats: it makes embeddings, images, sound or the like."
        f"{instead} If it does chat, the operator can say `mode: chat` in its `model_info`."
    )
    return GatewayError(400, "invalid_request_error", message, code="model_not_for_chat", param="model")


def model_not_for(model: str, operation: Operation) -> GatewayError:
    """Refuse an operation that a model is not declared for."""
    message = (
        f"The model `{printable(model)}` is not served for {NAMES[operation]}. Use one that is (GET /v1/models lists "
        f"them), or have the operator say `mode: {MODES[operation]}` in its `model_info`, if that is what it does."
    )
    return GatewayError(400, "invalid_request_error", message, code=f"model_not_for_{operation}", param="model")


def operation_not_translated(deployment: str, operation: Operation) -> GatewayError:
    """Refuse an operation that nobody translates to a deployment's provider."""
    message = (
        f"The deployment `{printable(deployment)}` cannot serve {NAMES[operation]} here: its provider is asked through "
        "a translation, which has chat completions alone. Use a model whose provider speaks OpenAI's API."
    )
    return GatewayError(400, "invalid_request_error", message, code="operation_not_served", param="model")


def model_unpriced(model: str) -> GatewayError:
    """Refuse a model that nobody has given a price: its cost could not be entered."""
    message = (
        f"The model `{printable(model)}` has no price, so its cost could not be entered in the books. The operator can "
        "give one in `model_info` (input_cost_per_token, output_cost_per_token), or set `unpriced: allow`."
    )
    return GatewayError(403, "invalid_request_error", message, code="model_unpriced", param="model")


def request_not_found(wanted: str) -> GatewayError:
    """Answer for a past request that is unknown, or another key's: the text is the same."""
    message = (
        f"No request `{printable(wanted)}` of this key is in the ledger. The id is the `x-request-id` of its answer, "
        "and only the key that sent it may ask."
    )
    return GatewayError(404, "invalid_request_error", message, code="request_not_found", param="id")


def stored_not_found(member: str, wanted: str) -> GatewayError:
    """Answer for an id that nobody was given, or another team: the text is the same."""
    message = (
        f"Nothing with the id `{printable(wanted)}` is known here. What a provider keeps belongs to the team that had "
        "it made through this gateway, for 30 days."
    )
    return GatewayError(404, "invalid_request_error", message, code="not_found", param=member, headers=NOT_AGAIN)


def stored_elsewhere(member: str, deployment: str, model: str) -> GatewayError:
    """Refuse to build on what another provider, or another account, keeps."""
    message = (
        f"`{member}` names what {printable(deployment)} keeps, which does not serve {printable(model)}: ask the model "
        "that made it, or send the conversation as a whole."
    )
    return GatewayError(400, "invalid_request_error", message, param=member)


def too_many_lookups() -> GatewayError:
    """Refuse to look up one more past request while many of the same key wait."""
    message = "Too many past requests are looked up with this key at once. Ask for one after the other."
    return GatewayError(429, "rate_limit_error", message, code="rate_limit_exceeded", headers={"retry-after": "1"})


# --- the gateway or an upstream is at fault --------------------------------------------------------------------------

_REMEDIES: Mapping[UpstreamFault, str] = {
    "connect": "Try again; if it stays, the operator should check the deployment's `api_base`.",
    "timeout": "Try again, stream, or ask for a shorter answer; the operator sets the deployment's `timeout`.",
    "reset": "Try again; what has come so far is incomplete.",
    "garbage": "Try again; if it stays, the operator should check that `api_base` speaks chat completions.",
    "too_large": "Ask for a shorter answer, or stream; the operator sets `server.max_answer`.",
    "authentication": "The operator should check the deployment's `api_key`, or what stands for it; yours is fine.",
}


def upstream_failed(kind: UpstreamFault, message: str, headers: Mapping[str, str] = _NO_HEADERS) -> GatewayError:
    """Tell that no deployment answered. `message` says what happened; it must not hold upstream credentials."""
    text = f"{printable(message, 500)} {_REMEDIES[kind]}"
    status, code = (504, "upstream_timeout") if kind == "timeout" else (502, f"upstream_{kind}")
    return GatewayError(status, "server_error", text, code=code, headers=headers)


def key_refused(status: int) -> GatewayError:
    """Tell that an upstream refused *our* credential. Its own words stay behind: they may quote it."""
    told = f"The upstream refused the gateway's own credential ({status})."
    return upstream_failed("authentication", told, NOT_AGAIN)


def upstream_refused(status: int, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> GatewayError:
    """Turn an upstream's error answer into the client's: its status, code and other members stay.

    A body in another shape is brought into OpenAI's.
    """
    if not 400 <= status <= 599:
        return upstream_failed("garbage", f"The upstream answered with status {status}, which is no answer.")
    return UpstreamRefusal(status, _error_object(body), headers)


def ledger_unavailable() -> GatewayError:
    """Refuse because the request cannot be entered in the books; nothing was sent upstream."""
    message = (
        "The gateway cannot write its ledger, so nothing was sent to the model. Try again shortly; the operator should "
        "check the space and the rights of `ledger.dir`."
    )
    return GatewayError(503, "server_error", message, code="ledger_unavailable", headers={"retry-after": "2"})


def over_capacity() -> GatewayError:
    """Refuse because there is more to do than can be done, and others go first."""
    message = "The gateway has more to do than it can, and keys of a higher `priority` go first. Try again shortly."
    return GatewayError(503, "server_error", message, code="over_capacity", headers={"retry-after": "1"})


def gateway_stopping() -> GatewayError:
    """End a request that was still under way when the time for a stop was over."""
    message = "The gateway was stopped (`server.grace`) before this answer was complete. Try again."
    return GatewayError(503, "server_error", message, code="gateway_stopping", headers={"retry-after": "1"})


def internal_error() -> GatewayError:
    """Answer for a fault of our own."""
    message = "The gateway failed on this request. It is logged under this id; please tell the operator."
    return GatewayError(500, "server_error", message, code="internal_error")


_WORDS = frozenset({"type", "param", "code"})


def _word(said: object) -> str | None:
    """Return a foreign member as text where it is a word or a number; anything else may be nested without end."""
    return str(said) if isinstance(said, str) or type(said) is int else None


def _type_for(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _error_object(body: bytes) -> Mapping[str, Any]:
    """Find the error in an upstream's body: OpenAI's object, a mere string, vLLM's bare members, or plain text."""
    parsed = lenient.read(body)
    if parsed is None and body.strip() != b"null":
        return {"message": printable(body[:2_000].decode("utf-8", "replace").strip(), 500)} if body.strip() else {}
    if isinstance(parsed, list) and parsed:  # Gemini wraps its error in a list
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return {}
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return {"message": error}
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return error
    detail = parsed.get("detail")
    return {"message": detail} if isinstance(detail, str) else {}

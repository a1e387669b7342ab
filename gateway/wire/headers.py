"""Headers that pass between a client and an upstream, in both directions.

Pure: the clock is an argument. A client's header goes only to the family of providers that defines it; betas go where
they are known. An upstream's headers are checked before they come back: a value that is unprintable, huge or beyond
reason stays behind, and never breaks the answer.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Received = Mapping[bytes, bytes]
"""A client's headers, names in lower case."""

LONGEST_VALUE: Final = 512
"""Characters of a header that are passed on in either direction; what is longer stays behind."""
LONGEST_WAIT: Final = 86_400.0
"""Seconds that an upstream may ask a client to wait; what is longer would stop programs for good."""
MOST_LIMITS: Final = 32
"""Rate-limit headers of one answer that are passed on."""

NO_HEADERS: Final[Mapping[str, str]] = {}

# ---------------------------------------------------------------- from an upstream

_KEPT: Final = (
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "openai-processing-ms",
    "x-request-id",
    "request-id",
)
_LIMITS: Final = ("x-ratelimit-", "anthropic-ratelimit-")
OUR_LIMITS: Final = "x-gateway-upstream-ratelimit-"


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Keep, in lower case, what the gateway acts on or passes on of an upstream's headers; all others stay behind.

    `headers` finds names in any case. In the hot path: most answers have no limits, which one scan in C tells.
    """
    out = {name: headers[name] for name in _KEPT if name in headers}
    for name in [name for name in headers if "imit-" in name][:MOST_LIMITS]:
        if (lower := name.lower()).startswith(_LIMITS):
            out[lower] = headers[name]
    return out


def upstream_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a client is told of an upstream's answer: its id, how long it took, and the limits of our account."""
    out: dict[str, str] = {}
    if _is_plain(took := headers.get("openai-processing-ms", "")) and took:
        out["openai-processing-ms"] = took
    for name in [name for name in headers if "ratelimit-" in name]:
        if _is_plain(headers[name]):
            out[OUR_LIMITS + name.partition("ratelimit-")[2]] = headers[name]
    if upstream_id := headers.get("x-request-id") or headers.get("request-id"):
        out["x-gateway-upstream-request-id"] = _cleaned(upstream_id)
    return out


def told_of_failure(headers: Mapping[str, str], now: float, *, again: bool) -> dict[str, str]:
    """Return what a client is told with an upstream's error: also whether and when to ask again.

    `again`: whether that may help at all. SDKs are told not to ask again where that cannot help and the upstream does
    not say: openai-python `_should_retry` and its siblings ask again at 408, 409, 429 and from 500 on unless the header
    says no.
    """
    out = upstream_headers(headers)
    for name in ("retry-after", "retry-after-ms"):
        if name in headers and _seconds(name, headers[name], now) is not None:
            out[name] = _cleaned(headers[name])
    said = headers.get("x-should-retry", "").strip().lower()
    if said in {"true", "false"}:
        out["x-should-retry"] = said
    elif not again:
        out["x-should-retry"] = "false"
    return out


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds an upstream asks to be left alone: `retry-after-ms`, or `retry-after` as number or date."""
    waits = (_seconds(name, headers[name], now) for name in ("retry-after-ms", "retry-after") if name in headers)
    return next((wait for wait in waits if wait is not None), None)


def _seconds(name: str, text: str, now: float) -> float | None:
    """Read a wait, where it is a number or a date within reason; None where it is not."""
    if len(text) > 64:
        return None
    text = _cleaned(text)
    try:
        seconds = float(text) * (0.001 if name == "retry-after-ms" else 1.0)
    except ValueError:
        parsed = email.utils.parsedate_tz(text)
        if parsed is None:
            return None
        try:
            seconds = email.utils.mktime_tz(parsed) - now
        except (ValueError, OverflowError):  # the year 99999, or the 45th of a month
            return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= LONGEST_WAIT else None


def _is_plain(value: str) -> bool:
    return len(value) <= LONGEST_VALUE and value.isascii() and value.isprintable()


_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
"""Characters that terminals take for commands: ecma-international.org/publications-and-standards/standards/ecma-48, 5.3
to 5.6."""


def _cleaned(value: str) -> str:
    """Return a value without commands to terminals; other characters that are not plain are replaced."""
    if _is_plain(value):
        return value.strip()
    value = _ESCAPES.sub("", value[:LONGEST_VALUE])
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in value).strip()


# ---------------------------------------------------------------- to an upstream

_EVERYBODYS: Final = frozenset({b"traceparent", b"tracestate", b"x-client-request-id", b"idempotency-key"})
"""Headers that pass to every provider: W3C trace context; and OpenAI's way for a client to name its request, which
others ignore (platform.openai.com/docs/api-reference/debugging-requests)."""
_EVERYBODYS_OR_BETA: Final = _EVERYBODYS | {b"anthropic-beta"}
_BETA: Final = "anthropic-beta"

NEVER: Final = frozenset(
    """
    authorization x-api-key api-key x-goog-api-key cookie set-cookie proxy-authorization host connection content-length
    content-type content-encoding transfer-encoding accept-encoding te trailer upgrade keep-alive expect
    openai-organization openai-project x-forwarded-for forwarded
    """.split()  # noqa: SIM905  # twenty words read better than twenty strings
)
"""Headers that no setting passes on: credentials, whose account is billed, and what belongs to one connection."""

_OAUTH: Final = "oauth-"
"""A beta that says how the caller signed in. Here the gateway signs in, with its own key."""
_FLAG: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MOST_FLAGS: Final = 32
_TRACE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


@dataclass(frozen=True, slots=True)
class ClientHeaders:
    """The headers of a client that go along with one call."""

    headers: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    """Betas that stay behind, since whoever is called would refuse them."""


NOTHING: Final = ClientHeaders()


def client_headers(
    client: Received,
    own: Collection[str],
    *,
    betas: Collection[str] | None,
    more: Sequence[str] = (),
    first: bool = True,
) -> ClientHeaders:
    """Choose the headers of a client that go along with a call to a deployment.

    `own`: those that its provider defines (`providers/`), in lower case. `betas`: those of Anthropic's that the
    deployment takes, None where it judges them itself. `more`: names that the deployment's entry adds, one that ends in
    `*` stands for all that begin so. `first`: whether nobody was called before; what was asked of one deployment under
    an idempotency key is not the same thing asked of another.
    """
    names = [*(_EVERYBODYS_OR_BETA & client.keys()), *(raw for name in own if (raw := name.encode()) in client)]
    if not names and not more:
        return NOTHING
    chosen: dict[str, str] = {}
    for name in sorted(names):
        value, text = client[name].decode("latin-1").strip(), name.decode()
        if value and _is_plain(value) and (name in _EVERYBODYS or text in own):
            chosen[text] = value
    for name, raw in client.items() if more else ():
        lower, value = name.decode("latin-1").lower(), raw.decode("latin-1").strip()
        if value and lower not in NEVER and _is_plain(value) and _is_listed(lower, more):
            chosen[lower] = value
    if not first:
        chosen.pop("idempotency-key", None)
    if not _TRACE.fullmatch(chosen.get("traceparent", "")):
        chosen.pop("traceparent", None)
        chosen.pop("tracestate", None)
    dropped = _without_unknown_betas(client, chosen, betas)
    return ClientHeaders(chosen, dropped)


def _without_unknown_betas(client: Received, chosen: dict[str, str], betas: Collection[str] | None) -> tuple[str, ...]:
    """Take out of the chosen headers the betas that the deployment does not know; return those that stay behind."""
    asked = [flag.strip() for flag in client.get(_BETA.encode(), b"").decode("latin-1").split(",")][:_MOST_FLAGS]
    asked = [flag for flag in dict.fromkeys(asked) if _FLAG.fullmatch(flag)]
    if not asked:
        chosen.pop(_BETA, None)
        return ()
    taken = [
        flag for flag in asked if _BETA in chosen and not flag.startswith(_OAUTH) and (betas is None or flag in betas)
    ]
    if taken:
        chosen[_BETA] = ",".join(taken)
    else:
        chosen.pop(_BETA, None)
    return tuple(flag for flag in asked if flag not in taken)


def _is_listed(name: str, more: Sequence[str]) -> bool:
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in more)

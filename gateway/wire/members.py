"""The members of a request's body, whatever it asks for: their places, bounds, and the part said to us alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.wire.errors import GatewayError, invalid_request
from gateway.wire.lexical import DuplicateKey, NotJSON, Span, array_spans, cuts, object_spans, refuse_deep, value

Splice = tuple[int, int, bytes]
"""Start, end, and the bytes to put there."""

OURS_IN_METADATA: Final = frozenset({"tags", "gateway_profile"})
"""Keys of `metadata` by which a client speaks to us: no provider gets them. OpenAI's metadata hold strings alone."""

MOST_MEMBERS: Final = 1_000
"""Members of a request; no provider knows a hundred."""
MOST_MESSAGES: Final = 100_000
"""Messages, or items, of a request: more than Anthropic takes (platform.claude.com/docs/en/api/messages), who takes the
most."""
MOST_METADATA: Final = 10**6
"""Bytes of `metadata`. OpenAI takes 16 keys of 64 characters with values of 512
(platform.openai.com/docs/api-reference/chat/create, `metadata`)."""
MOST_CHOICES: Final = 128
"""The most answers OpenAI gives to one request (platform.openai.com/docs/api-reference/chat/create, `n`)."""

_METADATA, _STREAM_OPTIONS = frozenset({"metadata"}), frozenset({"stream_options"})
_NONE: Final = frozenset[str]()


def read_members(
    body: bytes, read: Collection[str], separate: Collection[str] = ()
) -> tuple[Mapping[str, Span], dict[str, Any]]:
    """Locate the members of a body and read some of them; others are proven to be JSON, but for those that are read
    `separate`ly.

    Raises GatewayError (400, naming what and where) for what is not UTF-8 or no JSON object, names a key twice, nests
    too deeply, or has more members, or more metadata, than anybody reads.
    """
    try:
        body.decode()
        spans = object_spans(body)
        _refuse_many(spans)
        fields = {key: value(body[s.start : s.end]) for key, s in spans.items() if key in read}
        for key, (start, end) in spans.items():
            if key not in read and key not in separate:
                refuse_deep(body[start:end])
    except UnicodeDecodeError as error:
        raise invalid_request(f"The request body is not valid UTF-8 (byte {error.start}).") from None
    except NotJSON as error:
        raise invalid_request(f"The request body is not a JSON object: {error}.") from None
    except DuplicateKey as error:
        raise invalid_request(f"The request names the key {error.key!r} twice; send it once.", error.key) from None
    return spans, fields


def _refuse_many(spans: Mapping[str, Span]) -> None:
    if len(spans) > MOST_MEMBERS:
        raise invalid_request(f"The request has {len(spans):,} members; no more than {MOST_MEMBERS:,} are read.")
    within = spans.get("metadata")
    if within is not None and within.end - within.start > MOST_METADATA:
        raise invalid_request(f"`metadata` is longer than {MOST_METADATA:,} bytes, the most that is read.", "metadata")


def listed_messages(body: bytes, spans: Mapping[str, Span]) -> list[Span]:
    """Locate the messages of a body that lists them under that name. Raises GatewayError (400)."""
    within = spans.get("messages")
    if within is None:
        raise invalid_request("`messages` is missing; send the conversation as a list of messages.", "messages")
    if body[within.start : within.start + 1] != b"[":
        raise invalid_request("`messages` must be a list of messages.", "messages")
    return elements(body, within, "messages", "message")


def elements(body: bytes, within: Span, member: str, element: str, *, may_be_empty: bool = False) -> list[Span]:
    """Locate the elements of a list. Raises GatewayError (400) for one that is no JSON, empty, or too long."""
    try:
        found = array_spans(body, within)
    except NotJSON as error:
        raise invalid_request(f"`{member}` is not valid JSON: {error}.", member) from None
    if not found and not may_be_empty:
        raise invalid_request(f"`{member}` is empty; send at least one {element}.", member)
    if len(found) > MOST_MESSAGES:
        said = f"`{member}` holds {len(found):,} {element}s; no more than {MOST_MESSAGES:,} are read."
        raise invalid_request(said, member, "array_above_max_length")
    return found


def is_said(body: bytes, spans: Mapping[str, Span], name: str) -> bool:
    """Whether a client says anything under a name: null is nothing."""
    return name in spans and body[slice(*spans[name])] != b"null"


def default_splices(body: bytes, spans: Mapping[str, Span], defaults: Iterable[tuple[str, bytes]]) -> Iterator[Splice]:
    """Put in what a client left to the deployment, behind its own last member or in the place of its null."""
    for name, default in defaults:
        if name not in spans:
            end = body.rindex(b"}")
            yield end, end, b"," + orjson.dumps(name) + b":" + default
        elif not is_said(body, spans, name):
            yield (*spans[name], default)


def ours_in_metadata(
    body: bytes, spans: Mapping[str, Span], metadata: Any
) -> tuple[tuple[Splice, ...], frozenset[str]]:
    """Find our own keys in metadata: the splices that take them out, or the whole member where it holds no others.

    Raises GatewayError (400) where metadata that hold others too name a key twice.
    """
    if not isinstance(metadata, dict) or OURS_IN_METADATA.isdisjoint(metadata):
        return (), _NONE
    if metadata.keys() <= OURS_IN_METADATA:
        return (), _METADATA
    start, end = spans["metadata"]
    raw = body[start:end]
    try:
        inner = cuts(raw, object_spans(raw), OURS_IN_METADATA)
    except DuplicateKey as error:
        raise _named_twice(f"metadata.{error.key}") from None
    return tuple((start + at, start + upto, put) for at, upto, put in inner), _NONE


def usage_splice(body: bytes, spans: Mapping[str, Span]) -> Splice:
    """Ask for the usage event of a stream: in the client's `stream_options` where there are any, else as a new last
    member. Raises GatewayError (400) where those name a key twice.
    """
    asked = b'"include_usage":true'
    span = spans.get("stream_options")
    if span is None:
        end = body.rindex(b"}")
        return end, end, b',"stream_options":{' + asked + b"}"
    raw = body[span.start : span.end]
    if raw[:1] != b"{":
        return span.start, span.end, b"{" + asked + b"}"
    try:
        inner = object_spans(raw)
    except DuplicateKey as error:
        raise _named_twice(f"stream_options.{error.key}") from None
    if "include_usage" in inner:
        start, end = inner["include_usage"]
        return span.start + start, span.start + end, b"true"
    return span.start + 1, span.start + 1, asked + (b"," if inner else b"")


def without_members(
    out: list[Splice], body: bytes, spans: Mapping[str, Span], gone: frozenset[str], *, usage: bool
) -> list[Splice]:
    """Leave members out, and the splices that would have stood in them; without `usage` the wish for it as well."""
    gone = gone if usage else gone | _STREAM_OPTIONS
    if gone.isdisjoint(spans):
        return out
    cut = cuts(body, spans, gone)
    return [*(one for one in out if not any(start < one[1] and one[0] < end for start, end, _ in cut)), *cut]


def wants_thinking(fields: Mapping[str, Any]) -> bool | None:
    """Say whether a request asks for thinking, True, or for none, False; None where it leaves that to the model.

    Effort as OpenAI has it (`reasoning_effort`, `reasoning.effort`), `thinking` as Anthropic has it.
    """
    thinking, reasoning, effort = fields.get("thinking"), fields.get("reasoning"), fields.get("reasoning_effort")
    if isinstance(thinking, dict):
        return thinking.get("type") != "disabled"
    if isinstance(reasoning, dict) and effort is None:
        effort = reasoning.get("effort")
    return None if effort is None else effort != "none"


def positive(number: Any) -> int | None:
    """Return a whole number above zero; None for anything else."""
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def _named_twice(where: str) -> GatewayError:
    return invalid_request(f"The request names the key `{where}` twice; send it once.", where)

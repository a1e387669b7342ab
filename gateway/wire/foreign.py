"""Traces of one provider's answers in a conversation, made legal input for the provider that is asked next.

Clients send back what they were given, whoever gave it: ids of calls in the giver's form, thinking that only its own
model takes back, and fields that litellm adds. Pure; an id becomes another by a function of the id alone, so calls and
results stay together, now and in every later request. Messages that need no change keep their bytes. Who takes what is
said in `providers/`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

import orjson

from gateway.conversation import Message
from gateway.wire.chat.reasoning import without_members, without_parts
from gateway.wire.lexical import DuplicateKey, NotJSON, Span, array_spans, object_spans, splice, value

Kind = Literal["fields", "thinking", "unsigned"]
"""litellm's `provider_specific_fields`; thinking blocks, or parts of thinking; those that Claude did not sign."""

SIGNATURE: Final = "__thought__"
"""Before the thought signature that litellm writes into ids of Gemini's calls (its `THOUGHT_SIGNATURE_SEPARATOR`)."""

FIELDS: Final = "provider_specific_fields"

_NO_SIGNATURES: Final = frozenset({"", "mistral"})
"""Stand-ins for a signature that is missing; litellm writes the second for Magistral."""


@dataclass(frozen=True, slots=True)
class IdForm:
    """The form that an API wants of the ids of calls."""

    name: str
    legal: re.Pattern[str]
    new: str = "call_"
    """Before what is made of an id that is not legal."""
    length: int = 24
    """Digits that are made of it."""


CHAT: Final = IdForm("chat completions", re.compile(r".{1,64}\Z", re.DOTALL))
"""Others who speak like OpenAI do not say how long; 64 is what OpenAI's newer API takes, and vLLM's own have 46
(github.com/openclaw/openclaw/pull/875; github.com/anomalyco/opencode/issues/12653)."""


@dataclass(frozen=True, slots=True)
class Reception:
    """The traces of others' answers that an API takes."""

    ids: IdForm | None = None
    """None: every id, signatures in it too."""
    refuses: frozenset[Kind] = frozenset()


REFUSES_ALL: Final[frozenset[Kind]] = frozenset({"fields", "thinking", "unsigned"})
"""Fireworks: "Extra inputs are not permitted, field: 'messages[2].thinking_blocks'"
(github.com/AndyMik90/Aperant/issues/1988). A provider that does not refuse them does nothing with them."""
ANYTHING: Final = Reception()


# ---------------------------------------------------------------- ids


def call_id(given: str, form: IdForm) -> str:
    """Return an id in a form: the id itself where it is legal, without a signature, or one made of it."""
    base = given.partition(SIGNATURE)[0] or given
    if form.legal.match(base):
        return base
    digest = int.from_bytes(sha256(base.encode(errors="surrogatepass")).digest())
    return form.new + _written(digest)[: form.length]


_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def _written(number: int) -> str:
    out = []
    while number:
        number, digit = divmod(number, len(_DIGITS))
        out.append(_DIGITS[digit])
    return "".join(out).ljust(9, "0")


# ---------------------------------------------------------------- reading


def kinds_in(fields: Mapping[str, Any]) -> tuple[Kind, ...]:
    """List what only some providers take back of an assistant's message, as it stands on the wire."""
    calls = [call for call in _listed(fields.get("tool_calls")) if isinstance(call, dict)]
    found: list[Kind] = []
    if FIELDS in fields or any(FIELDS in call or FIELDS in _object(call.get("function")) for call in calls):
        found.append("fields")
    thoughts = [one for one in _listed(fields.get("thinking_blocks")) if isinstance(one, dict)]
    thoughts += [one for one in _listed(fields.get("content")) if _object(one).get("type") == "thinking"]
    if not thoughts and "thinking_blocks" not in fields and not _redacted(fields.get("content")):
        return tuple(found)
    found.append("thinking")
    if _is_geminis(fields, calls) or any(_is_unsigned(one) for one in thoughts):
        found.append("unsigned")
    return tuple(found)


def _is_geminis(fields: Mapping[str, Any], calls: Iterable[Mapping[str, Any]]) -> bool:
    own = _object(fields.get(FIELDS))
    return "thought_signatures" in own or any(
        SIGNATURE in str(call.get("id")) or "thought_signature" in _object(call.get(FIELDS)) for call in calls
    )


def _is_unsigned(thought: Mapping[str, Any]) -> bool:
    signature = thought.get("signature")
    is_plain = thought.get("type") == "thinking"
    return is_plain and (not isinstance(signature, str) or signature in _NO_SIGNATURES)


def _redacted(content: Any) -> bool:
    return any(_object(part).get("type") == "redacted_thinking" for part in _listed(content))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------- writing


def is_foreign(messages: Sequence[Message], takes: Reception) -> bool:
    """Whether any message must change before it is sent to whoever takes that."""
    return any(
        _must_change(message, takes) for message in messages if message.calls or message.call_id or message.foreign
    )


def _must_change(message: Message, takes: Reception) -> bool:
    if message.foreign and not takes.refuses.isdisjoint(message.foreign):
        return True
    if takes.ids is None:
        return False
    ids = [call.id for call in message.calls if call.id]
    if message.call_id:
        ids.append(message.call_id)
    return any(SIGNATURE in one or not takes.ids.legal.match(one) for one in ids)


def received(body: bytes, takes: Reception) -> bytes:
    """Return the body of a request with every message as its provider takes it; all other bytes stay."""
    within = object_spans(body)["messages"]
    edits = []
    for start, end in array_spans(body, within):
        raw = body[start:end]
        if (left := _message(raw, takes)) != raw:
            edits.append((start, end, left))
    return splice(body, edits)


def _message(raw: bytes, takes: Reception) -> bytes:
    spans, forgets = object_spans(raw), _thinks_otherwise(raw, takes)
    edits = []
    if takes.ids is not None and (at := spans.get("tool_call_id")) is not None:
        edits += _id_edits(raw, at, takes.ids)
    if (within := spans.get("tool_calls")) is not None and raw[within.start : within.start + 1] == b"[":
        for start, end in array_spans(raw, within):
            edits.append((start, end, _call(raw[start:end], takes)))
    raw = splice(raw, edits)
    gone = {FIELDS} if "fields" in takes.refuses else set()
    if forgets:
        raw, gone = _speaking(without_parts(raw)), gone | {"thinking_blocks"}
    return without_members(raw, gone)


def _speaking(raw: bytes) -> bytes:
    """Say nothing in so many words where nothing but thinking was said: null is for those who call."""
    spans = object_spans(raw)
    at = spans.get("content")
    if at is None or raw[at.start : at.end] != b"null" or "tool_calls" in spans:
        return raw
    return splice(raw, [(*at, b'""')])


def _thinks_otherwise(raw: bytes, takes: Reception) -> bool:
    if takes.refuses.isdisjoint(("thinking", "unsigned")) or b"thinking" not in raw:
        return False
    fields = value(raw)
    return fields.get("role") == "assistant" and not takes.refuses.isdisjoint(set(kinds_in(fields)) - {"fields"})


def _call(raw: bytes, takes: Reception) -> bytes:
    try:
        spans = object_spans(raw)
    except (NotJSON, DuplicateKey):
        return raw  # it is the provider's to judge
    edits = []
    if takes.ids is not None and (at := spans.get("id")) is not None:
        edits += _id_edits(raw, at, takes.ids)
    if "fields" not in takes.refuses:
        return splice(raw, edits)
    if (function := spans.get("function")) is not None and raw[function.start : function.start + 1] == b"{":
        edits.append((*function, without_members(raw[function.start : function.end], {FIELDS})))
    return without_members(splice(raw, edits), {FIELDS})


def _id_edits(raw: bytes, at: Span, form: IdForm) -> list[tuple[int, int, bytes]]:
    given = orjson.loads(raw[at.start : at.end])
    if not isinstance(given, str) or not given:
        return []
    new = call_id(given, form)
    return [] if new == given else [(at.start, at.end, orjson.dumps(new))]


def with_ids(raw: bytes, names: Collection[str], form: IdForm) -> bytes:
    """Return an object with the ids under the names in a form; the same string elsewhere in it stays. What is no
    object, or names a key twice, stays as it is: the provider judges it.
    """
    try:
        spans = object_spans(raw)
    except (NotJSON, DuplicateKey):
        return raw
    return splice(raw, [edit for name in names if name in spans for edit in _id_edits(raw, spans[name], form)])


def elements_with_ids(raw: bytes, names: Collection[str], form: IdForm) -> bytes:
    """Return a list of objects with their ids in a form; what is no list stays as it is."""
    if raw[:1] != b"[":
        return raw
    spans = array_spans(raw, Span(0, len(raw)))
    return splice(raw, [(*span, with_ids(raw[slice(*span)], names, form)) for span in spans])

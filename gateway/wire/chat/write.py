"""Chat completions written: edits spliced into the bytes that came.

What an edit does not touch is never written anew (law 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from gateway.conversation import Changes, Marker, MarkerForm
from gateway.request import Marks, Request
from gateway.wire.chat.cache_marks import (
    MARKED_ROLES,
    by_message,
    marked,
    markers_of,
    may_carry,
    message_edits,
    request_edits,
)
from gateway.wire.chat.parts import part_edits, spliced_parts, with_text
from gateway.wire.chat.read import ChatPlaces
from gateway.wire.chat.reasoning import without_reasoning
from gateway.wire.foreign import is_foreign, received
from gateway.wire.lexical import DuplicateKey, splice, value
from gateway.wire.members import default_splices, is_said, usage_splice, without_members
from gateway.wire.outgoing import PLAIN, Additions


def rewritten(request: Request, changes: Changes | None, marks: Marks | None = None) -> list[tuple[int, int, bytes]]:
    """Turn changes and cache markers into splices of the request's body; all else keeps its bytes."""
    places, body = _places(request), request.body
    spans = places.messages
    marked_at = by_message(changes, len(spans), marks) if marks is not None else {}
    out: list[tuple[int, int, bytes]] = []
    if changes is not None:
        for index in sorted(changes.changed):
            left, mark = message_left(body[slice(*spans[index])], changes, index), marked_at.pop(index, None)
            out.append((*spans[index], left if mark is None else marked(left, mark)))
        # One splice a message: what is put in may stand in the middle of a run.
        out += [(spans[index].start, spans[index + 1].start, b"") for index in changes.dropped]
        put_in: dict[int, bytes] = {}
        for number, one in enumerate(changes.inserted):
            written = orjson.dumps({"role": "user", "content": one.text})
            marker = marked_at.pop(-1 - number, None)
            written = written if marker is None else marked(written, marker)
            put_in[one.before] = put_in.get(one.before, b"") + written + b","

        out += [(spans[at].start, spans[at].start, messages) for at, messages in put_in.items()]
    for index, mark in marked_at.items():
        start, end = spans[index]
        out += [(start + at, start + upto, put) for at, upto, put in message_edits(body[start:end], mark)]
    return out if marks is None else [*out, *request_edits(body, places.spans, places.tools_end, marks)]


def message_left(raw: bytes, changes: Changes, index: int) -> bytes:
    """Return the bytes of a message as it leaves; what no change touches keeps its own."""
    if index in changes.system:
        raw = splice(raw, part_edits(raw, changes.system[index].parts))
    elif index in changes.texts:
        raw = with_text(raw, changes.texts[index])
    elif index in changes.parts:
        raw = spliced_parts(raw, changes.parts[index])
    return without_reasoning(raw) if index in changes.unreasoned else raw


def markers_left(request: Request, index: int, changes: Changes | None = None) -> tuple[Marker, ...]:
    """List the client's markers on a message, as it came or as the changes leave it."""
    markers = request.conversation.messages[index].markers
    if not markers or changes is None:
        return markers
    return markers_of(value(message_bytes(request, index, changes)))


def may_mark(request: Request, index: int, form: MarkerForm, changes: Changes | None = None) -> bool:
    """Whether a marker of ours can stand at the end of a message, as it came or as the changes leave it."""
    message = request.conversation.messages[index]
    if message.role not in MARKED_ROLES:
        return False
    if changes is not None and index in changes.texts:
        return bool(changes.texts[index].strip())
    if message.content == "text":
        return bool(message.text.strip())
    return message.content == "parts" and may_carry(message_bytes(request, index, changes), form)


def may_reword(request: Request, index: int, texts: Mapping[int, str]) -> bool:
    """Whether new texts can take the place of those of their parts: not in one that names a key twice."""
    try:
        part_edits(message_bytes(request, index), texts)
    except DuplicateKey:
        return False
    return True


def question(model: str, instruction: str, material: str, answer_limit: int) -> bytes:
    """Write a request of the gateway's own: an instruction, and the text that it is about."""
    messages = [{"role": "system", "content": instruction}, {"role": "user", "content": material}]
    return orjson.dumps({"model": model, "messages": messages, "max_completion_tokens": answer_limit})


LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""The members that limit an answer."""
LIMIT = "max_tokens"
"""The one of them that every provider takes."""


def _places(request: Request) -> ChatPlaces:
    places: ChatPlaces = request.original
    return places


def message_bytes(request: Request, index: int, changes: Changes | None = None) -> bytes:
    """Return the bytes of a message as it came, or as the changes leave it."""
    start, end = _places(request).messages[index]
    raw = request.body[start:end]
    return raw if changes is None else message_left(raw, changes, index)


def is_limited(request: Request) -> bool:
    """Whether the client said how long its answer may be, in any way."""
    spans, body = _places(request).spans, request.body
    return any(is_said(body, spans, name) for name in LIMITS)


def sent(
    request: Request,
    model: str,
    changes: Changes | None = None,
    marks: Marks | None = None,
    additions: Additions = PLAIN,
) -> bytes:
    """Write the request for a deployment: its model name, its additions, changes and markers spliced in, and what is
    said to us alone taken out.
    """
    places = _places(request)
    out = rewritten(request, changes, marks) if changes is not None or marks is not None else []
    out += places.ours
    if model != request.model:
        span = places.spans["model"]
        out.append((span.start, span.end, orjson.dumps(model)))
    if additions.defaults or additions.answer_limit is not None:
        out += _defaults(request, additions)
    if request.stream and not request.asks_usage and additions.usage and "stream_options" not in additions.left_out:
        out.append(usage_splice(request.body, places.spans))
    out = without_members(out, request.body, places.spans, places.gone | additions.left_out, usage=additions.usage)
    body = splice(request.body, out) if out else request.body
    takes = additions.takes
    if takes is not None and is_foreign(request.conversation.messages, takes):
        return received(body, takes)
    return body


def _defaults(request: Request, additions: Additions) -> Iterator[tuple[int, int, bytes]]:
    """Put in what the client left to the deployment; a limit of the answer only where the client names none."""
    wanted = [(name, default) for name, default in additions.defaults if name not in additions.left_out]
    if (limit := additions.answer_limit) is not None and LIMIT not in additions.left_out:
        wanted.append((LIMIT, b"%d" % limit))
    if is_limited(request):
        wanted = [(name, default) for name, default in wanted if name not in LIMITS]
    return default_splices(request.body, _places(request).spans, wanted)

"""Responses written: edits spliced into the bytes that came.

What an edit does not touch is never written anew (law 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from gateway.conversation import Changes, Insertion, Marker, MarkerForm, Message
from gateway.request import Marks, Request
from gateway.wire.chat.cache_marks import MARKED_ROLES, is_marked, markers_of
from gateway.wire.foreign import CHAT, elements_with_ids
from gateway.wire.lexical import DuplicateKey, object_spans, splice, value
from gateway.wire.members import default_splices, is_said, without_members
from gateway.wire.outgoing import PLAIN, Additions
from gateway.wire.responses.breakpoints import broken_up, marked_insertion, may_end
from gateway.wire.responses.parts import Edit, part_edits, spliced_parts, with_text
from gateway.wire.responses.read import ResponsePlaces

LIMIT: Final = "max_output_tokens"
_CHATS_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
_CHATS_ALONE: Final = frozenset(
    {
        *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "n", "seed", "stop", "response_format"),
        *("modalities", "audio", "prediction", "functions", "function_call", "web_search_options", "stream_options"),
    }
)
"""Members of chat completions that Responses have not
(platform.openai.com/docs/guides/migrate-to-responses, and the two references)."""
_WITHIN: Final[Mapping[str, tuple[str, str]]] = {
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
}
"""Members of chat completions that stand inside another here."""


def rewritten(request: Request, changes: Changes | None, marks: Marks | None = None) -> list[Edit]:
    """Turn changes and breakpoints into splices of the request's body; all else keeps its bytes."""
    places, body = _places(request), request.body
    marked_at = broken_up(request, changes, marks, lambda index: message_bytes(request, index, changes))
    out: list[Edit] = []
    if changes is not None:
        gone = _gone(request, changes)
        for index in sorted(changes.changed - gone):
            left = message_bytes(request, index, changes)
            out.append((*places.messages[index], marked_at.pop(index, left)))
        out += _without(places, gone)
        if changes.inserted:
            out += _inserted(places, changes.inserted, marks, changes)
    out += [(*places.messages[index], left) for index, left in marked_at.items()]
    if marks is not None and marks.key is not None and "prompt_cache_key" not in places.spans:
        end = body.rindex(b"}")
        out.append((end, end, b',"prompt_cache_key":' + orjson.dumps(marks.key)))
    return out


def _gone(request: Request, changes: Changes) -> frozenset[int]:
    """List the items that do not leave: those that are dropped, and those that are nothing but reasoning."""
    messages = request.conversation.messages
    return changes.dropped | {index for index in changes.unreasoned if messages[index].reasons}


def _without(places: ResponsePlaces, gone: frozenset[int]) -> Iterator[Edit]:
    """Take items out of the list, each with one comma; a string becomes null, or says nothing."""
    spans, first = places.messages, places.instructions
    if first and 0 in gone:
        yield (*spans[0], b"null")
    if places.is_text:
        if first in gone:
            yield (*spans[first], b"[]")
        return
    last = max((index for index in range(first, len(spans)) if index not in gone), default=first - 1)
    yield from ((spans[at].start, spans[at + 1].start, b"") for at in gone if first <= at < last)
    if last < len(spans) - 1:
        yield spans[last].end if last >= first else spans[first].start, spans[-1].end, b""


def _inserted(
    places: ResponsePlaces, inserted: tuple[Insertion, ...], marks: Marks | None, changes: Changes
) -> Iterator[Edit]:
    """Put messages of ours into the list; an input that is a string becomes one."""
    spans, first = places.messages, places.instructions
    put_in: dict[int, bytes] = {}
    for number, one in enumerate(inserted):
        before = max(one.before, first)
        written = marked_insertion(one.text, number, len(spans), marks, changes)
        put_in[before] = put_in.get(before, b"") + written + b","
    for before, written in put_in.items():
        start, end = spans[before]
        if places.is_text:
            yield start, start, b"[" + written + b'{"role":"user","content":'
            yield end, end, b"}]"
        else:
            yield start, start, written


def message_left(raw: bytes, changes: Changes, index: int) -> bytes:
    """Return the bytes of a message as it leaves; what no change touches keeps its own."""
    if index in changes.system:
        return splice(raw, part_edits(raw, changes.system[index].parts))
    if index in changes.texts:
        return with_text(raw, changes.texts[index])
    return spliced_parts(raw, changes.parts[index]) if index in changes.parts else raw


def message_bytes(request: Request, index: int, changes: Changes | None = None) -> bytes:
    """Return the bytes of a message as it came, or as the changes leave it."""
    start, end = _places(request).messages[index]
    raw = request.body[start:end]
    return raw if changes is None else message_left(raw, changes, index)


def markers_left(request: Request, index: int, changes: Changes | None = None) -> tuple[Marker, ...]:
    """List the client's markers on a message, as it came or as the changes leave it."""
    markers = request.conversation.messages[index].markers
    if not markers or changes is None:
        return markers
    item = value(message_bytes(request, index, changes))
    said = item if "role" in item else {"role": "tool", "content": item.get("output")}
    return markers_of(said) if is_marked(said) else ()


def may_mark(request: Request, index: int, form: MarkerForm, changes: Changes | None = None) -> bool:
    """Whether a marker of ours can stand at the end of a message: `control` only where it leaves as a chat."""
    message = request.conversation.messages[index]
    if message.role not in MARKED_ROLES or message.content not in ("text", "parts"):
        return False
    if form == "control":
        text = message.text if changes is None or index not in changes.texts else changes.texts[index]
        return bool(text.strip())
    if index < _places(request).instructions:
        return False
    return may_end(message_bytes(request, index, changes))


def may_reword(request: Request, index: int, texts: Mapping[int, str]) -> bool:
    """Whether new texts can take the place of those of their parts: not in one that names a key twice."""
    try:
        part_edits(message_bytes(request, index), texts)
    except DuplicateKey:
        return False
    return True


def question(model: str, instruction: str, material: str, answer_limit: int) -> bytes:
    """Write a request of the gateway's own: an instruction, and the text that it is about."""
    asked = {"model": model, "instructions": instruction, "input": material, LIMIT: answer_limit, "store": False}
    return orjson.dumps(asked)


def is_limited(request: Request) -> bool:
    """Whether the client said how long its answer may be, in any way."""
    return is_said(request.body, _places(request).spans, LIMIT)


def _places(request: Request) -> ResponsePlaces:
    places: ResponsePlaces = request.original
    return places


def sent(
    request: Request,
    model: str,
    changes: Changes | None = None,
    marks: Marks | None = None,
    additions: Additions = PLAIN,
) -> bytes:
    """Write the request for a deployment: its model name, its additions, changes and breakpoints spliced in, and what
    is said to us alone taken out.
    """
    places = _places(request)
    out = rewritten(request, changes, marks) if changes is not None or marks is not None else []
    out += places.ours
    if model != request.model:
        out.append((*places.spans["model"], orjson.dumps(model)))
    if additions.defaults or additions.answer_limit is not None:
        out += _defaults(request, additions)
    left_out = frozenset(LIMIT if name in _CHATS_LIMITS else name for name in additions.left_out)
    out = without_members(out, request.body, places.spans, places.gone | left_out, usage=True)
    if additions.takes is not None and any(message.foreign for message in request.conversation.messages):
        out = _without_ours(request, out)
    body = splice(request.body, out) if out else request.body
    return _with_short_ids(body) if _has_long_ids(request, additions) else body


def _defaults(request: Request, additions: Additions) -> Iterator[Edit]:
    """Put in what the client left to the deployment, under the names of this shape."""
    found: dict[str, bytes] = {}
    for name, default in additions.defaults:
        if name in _WITHIN:
            outer, inner = _WITHIN[name]
            found[outer] = b'{"%b":%b}' % (inner.encode(), default)
        elif name not in _CHATS_ALONE:
            found[LIMIT if name in _CHATS_LIMITS else name] = default
    if additions.answer_limit is not None:
        found.setdefault(LIMIT, b"%d" % additions.answer_limit)
    wanted = [(name, default) for name, default in found.items() if name not in additions.left_out]
    return default_splices(request.body, _places(request).spans, wanted)


# ---------------------------------------------------------------- traces of other providers


def _without_ours(request: Request, out: list[Edit]) -> list[Edit]:
    """Leave out reasoning that a model of another wire gave: its provider alone takes it back."""
    messages, places = request.conversation.messages, _places(request)
    gone = frozenset(index for index, message in enumerate(messages) if message.foreign)
    taken = [(start, end) for start, end, put in out if not put]
    cut = [edit for edit in _without(places, gone) if not any(start <= edit[0] < end for start, end in taken)]
    return [*(one for one in out if not any(start < one[1] and one[0] < end for start, end, _ in cut)), *cut]


def _has_long_ids(request: Request, additions: Additions) -> bool:
    if additions.takes is None or additions.takes.ids is None:
        return False
    messages = request.conversation.messages
    return any(not CHAT.legal.match(given) for message in messages for given in _ids(message))


def _ids(message: Message) -> Iterator[str]:
    yield from (call.id for call in message.calls if call.id)
    if message.call_id:
        yield message.call_id


def _with_short_ids(body: bytes) -> bytes:
    """Put the ids of calls that are too long for this API into its form (64 characters: "string too long. Expected a
    string with maximum length 64", community.openai.com/t/1374042), wherever an item names one.
    """
    within = object_spans(body)["input"]
    return splice(body, [(*within, elements_with_ids(body[slice(*within)], ("call_id",), CHAT))])

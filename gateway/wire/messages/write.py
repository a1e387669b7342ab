"""Messages written: edits spliced into the bytes that came.

What an edit does not touch is never written anew (law 2). A message of the wire of which nothing is left goes with its
comma; a message of ours stands as one of the user's, or, beside results, as a block behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from gateway.conversation import Changes, Marker, MarkerForm
from gateway.request import Marks, Request
from gateway.wire.chat.cache_marks import MARKED_ROLES
from gateway.wire.foreign import IdForm, elements_with_ids
from gateway.wire.lexical import DuplicateKey, Span, array_spans, object_spans, splice
from gateway.wire.members import default_splices, is_said, without_members
from gateway.wire.messages import cache_marks
from gateway.wire.messages.parts import spliced_parts, text_block, with_text, with_texts, without_thinking
from gateway.wire.messages.read import MessagePlaces
from gateway.wire.outgoing import PLAIN, Additions

Edit = tuple[int, int, bytes]

LIMIT: Final = "max_tokens"
_CHATS_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
_CHATS_ALONE: Final = frozenset(
    {
        *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "n", "seed", "user"),
        *("response_format", "modalities", "audio", "prediction", "functions", "function_call", "web_search_options"),
        *("stream_options", "reasoning_effort", "verbosity", "parallel_tool_calls", "store", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "stop"),
    }
)
"""Members of chat completions that Messages have not (the two references)."""


def _places(request: Request) -> MessagePlaces:
    places: MessagePlaces = request.original
    return places


# ---------------------------------------------------------------- one message


def content_bytes(request: Request, index: int, changes: Changes | None = None) -> bytes:
    """Return the content of a message, as it came or as the changes leave it: a string, or a list of its blocks."""
    start, end = _places(request).messages[index]
    raw = request.body[start:end]
    if raw[:1] == b"{":
        raw = b"[" + raw + b"]"
    if changes is None or index not in changes.changed:
        return raw
    return _left(raw, changes, index, is_result=request.conversation.messages[index].role == "tool")


def _left(content: bytes, changes: Changes, index: int, *, is_result: bool) -> bytes:
    """Return a content as the changes leave it. Of a result, it is the content inside of it that changes."""
    if is_result:
        return b"[" + _result_left(content[1:-1], changes, index) + b"]"
    if index in changes.system:
        content = with_texts(content, changes.system[index].parts)
    elif index in changes.texts:
        content = with_text(content, changes.texts[index])
    elif index in changes.parts:
        content = spliced_parts(content, changes.parts[index])
    return without_thinking(content) if index in changes.unreasoned else content


def _result_left(block: bytes, changes: Changes, index: int) -> bytes:
    inner = object_spans(block).get("content")
    if inner is None:
        text = changes.texts.get(index)
        return block if text is None else block[:-1] + b',"content":' + orjson.dumps(text) + b"}"
    return splice(block, [(*inner, _left(block[slice(*inner)], changes, index, is_result=False))])


def message_bytes(request: Request, index: int, changes: Changes | None = None) -> bytes:
    """Return a message as one of the wire by itself, as it came or as the changes leave it."""
    role = request.conversation.messages[index].role
    written = orjson.dumps("user" if role == "tool" else role)
    return b'{"role":%b,"content":%b}' % (written, content_bytes(request, index, changes))


def markers_left(request: Request, index: int, changes: Changes | None = None) -> tuple[Marker, ...]:
    """List the client's markers on a message, as it came or as the changes leave it."""
    markers = request.conversation.messages[index].markers
    if not markers or changes is None or index not in changes.changed:
        return markers
    return cache_marks.markers_in(content_bytes(request, index, changes))


def may_mark(request: Request, index: int, form: MarkerForm, changes: Changes | None = None) -> bool:
    """Whether a marker of ours can stand at the end of a message; `breakpoint` only where it leaves as a chat."""
    message = request.conversation.messages[index]
    if message.role not in MARKED_ROLES or message.content not in ("text", "parts"):
        return False
    text = message.text if changes is None or index not in changes.texts else changes.texts[index]
    if form != "control" or message.content == "text":
        return bool(text.strip())
    return cache_marks.marker_place(content_bytes(request, index, changes)) is not None


def may_reword(request: Request, index: int, texts: Mapping[int, str]) -> bool:
    """Whether new texts can take the place of those of their parts: not in one that names a key twice."""
    try:
        with_texts(content_bytes(request, index), texts)
    except DuplicateKey:
        return False
    return True


# ---------------------------------------------------------------- all of them


def rewritten(request: Request, changes: Changes | None, marks: Marks | None) -> list[Edit]:
    """Turn changes and cache markers into splices of the request's body; all else keeps its bytes."""
    places = _places(request)
    marked_at = cache_marks.by_message(changes, len(places.messages), marks)
    out = list(cache_marks.of_tools(places.tools_end, marks))
    if changes is None:
        for index, mark in marked_at.items():
            span = places.messages[index]
            out.append((*span, _bare(cache_marks.marked(content_bytes(request, index), mark), request.body, span)))
        return out
    return [*out, *_Rewriting(request, changes, marked_at).edits()]


def _bare(content: bytes, body: bytes, span: Span) -> bytes:
    """Return a content as it stands at a place: blocks stand there without their list, a string is all of it."""
    return content[1:-1] if body[span.start] == _BRACE else content


_BRACE: Final = ord("{")


class _Rewriting:
    """The splices of one rewrite, a message of the wire at a time."""

    __slots__ = ("_body", "_changes", "_first", "_marked_at", "_places", "_put_in", "_request")

    def __init__(self, request: Request, changes: Changes, marked_at: Mapping[int, bytes]) -> None:
        self._request, self._changes, self._marked_at = request, changes, marked_at
        self._places, self._body = _places(request), request.body
        owners = self._places.owners
        self._first = next((index for index, owner in enumerate(owners) if owner >= 0), 0)
        self._put_in: dict[int, list[int]] = {}
        for number, one in enumerate(changes.inserted):
            self._put_in.setdefault(max(one.before, self._first), []).append(number)

    def edits(self) -> Iterator[Edit]:
        """Yield the splices."""
        changes, owners = self._changes, self._places.owners
        marked = [index for index in self._marked_at if index >= 0]
        touched = {*changes.changed, *changes.dropped, *self._put_in, *marked}
        gone: list[int] = []
        for owner in sorted({owners[index] for index in touched}):
            first = owners.index(owner) if owner < 0 else self._first_of(owner, touched)
            after = first
            while after < len(owners) and owners[after] == owner:
                after += 1
            whole = self._whole(first, after)
            if owner >= 0:
                yield from self._before(first, owner)
            if whole is not None:
                yield self._places.messages[first].start, self._places.messages[after - 1].end, whole
            elif owner >= 0:
                gone.append(owner)
            else:
                yield from self._without_system()
        yield from self._without(gone)

    def _first_of(self, owner: int, touched: set[int]) -> int:
        owners = self._places.owners
        at = min(index for index in touched if owners[index] == owner)
        while at > 0 and owners[at - 1] == owner:
            at -= 1
        return at

    def _whole(self, first: int, after: int) -> bytes | None:
        """Write what is left of messages that stand in one of the wire; None where nothing is."""
        left: list[bytes] = []
        for index in range(first, after):
            if index > first:
                left += [text_block(text, mark) for text, mark in self._ours(index)]
            if index not in self._changes.dropped:
                content = content_bytes(self._request, index, self._changes)
                mark = self._marked_at.get(index)
                content = content if mark is None else cache_marks.marked(content, mark)
                left.append(_bare(content, self._body, self._places.messages[index]))
        return b",".join(left) if left else None

    def _ours(self, index: int) -> Iterator[tuple[str, bytes]]:
        """Yield the texts of ours that stand before a message, each with its cache marker."""
        for number in self._put_in.get(index, ()):
            yield self._changes.inserted[number].text, self._marked_at.get(-1 - number, b"")

    def _before(self, first: int, owner: int) -> Iterator[Edit]:
        """Yield the messages of ours that stand before one of the wire."""
        written = [
            b'{"role":"user","content":[%b]},' % text_block(text, mark)
            if mark
            else b'{"role":"user","content":%b},' % orjson.dumps(text)
            for text, mark in self._ours(first)
        ]
        if written:
            start = self._places.wire[owner].start
            yield start, start, b"".join(written)

    def _without_system(self) -> Iterator[Edit]:
        yield (*self._places.spans["system"], b"[]")

    def _without(self, gone: Sequence[int]) -> Iterator[Edit]:
        """Take messages out of the list, each with one comma."""
        spans = self._places.wire
        if not gone:
            return
        left = set(gone)
        last = max((at for at in range(len(spans)) if at not in left), default=-1)
        yield from ((spans[at].start, spans[at + 1].start, b"") for at in gone if at < last)
        if last < len(spans) - 1:
            yield spans[last].end if last >= 0 else spans[0].start, spans[-1].end, b""


# ---------------------------------------------------------------- requests


def question(model: str, instruction: str, material: str, answer_limit: int) -> bytes:
    """Write a request of the gateway's own: an instruction, and the text that it is about."""
    messages = [{"role": "user", "content": material}]
    return orjson.dumps({"model": model, LIMIT: answer_limit, "system": instruction, "messages": messages})


def is_limited(request: Request) -> bool:
    """Whether the client said how long its answer may be."""
    return is_said(request.body, _places(request).spans, LIMIT)


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
        out.append((*places.spans["model"], orjson.dumps(model)))
    if additions.defaults or additions.answer_limit is not None:
        out += _defaults(request, additions)
    left_out = frozenset(LIMIT if name in _CHATS_LIMITS else name for name in additions.left_out)
    out = without_members(out, request.body, places.spans, places.gone | left_out, usage=True)
    body = splice(request.body, out) if out else request.body
    return body if additions.takes is None else _received(request, body, additions)


def _defaults(request: Request, additions: Additions) -> Iterator[Edit]:
    """Put in what the client left to the deployment, under the names of this shape."""
    found: dict[str, bytes] = {}
    for name, default in additions.defaults:
        if name == "stop":
            found["stop_sequences"] = default if default[:1] == b"[" else b"[" + default + b"]"
        elif name not in _CHATS_ALONE:
            found[LIMIT if name in _CHATS_LIMITS else name] = default
    if additions.answer_limit is not None:
        found.setdefault(LIMIT, b"%d" % additions.answer_limit)
    wanted = [(name, default) for name, default in found.items() if name not in additions.left_out]
    return default_splices(request.body, _places(request).spans, wanted)


# ---------------------------------------------------------------- traces of other providers


def _received(request: Request, body: bytes, additions: Additions) -> bytes:
    """Return a body as its API takes it: ids of calls in its form, and no reasoning that others wrote."""
    takes, messages = additions.takes, request.conversation.messages
    assert takes is not None
    if "unsigned" in takes.refuses and any(message.foreign for message in messages):
        body = _without_unsigned(body)
    if takes.ids is None:
        return body
    given = {call.id for message in messages if message.calls for call in message.calls if call.id}
    given |= {message.call_id for message in messages if message.call_id}
    return body if all(map(takes.ids.legal.match, given)) else _with_legal_ids(body, takes.ids)


def _with_legal_ids(body: bytes, form: IdForm) -> bytes:
    """Put the ids of calls and of their results into a form, wherever a block names one."""
    out: list[Edit] = []
    for start, end in array_spans(body, object_spans(body)["messages"]):
        if (at := object_spans(body[start:end]).get("content")) is not None:
            within = slice(start + at.start, start + at.end)
            out.append((within.start, within.stop, elements_with_ids(body[within], ("id", "tool_use_id"), form)))
    return splice(body, out)


def _without_unsigned(body: bytes) -> bytes:
    out: list[Edit] = []
    for start, end in array_spans(body, object_spans(body)["messages"]):
        raw = body[start:end]
        content = object_spans(raw).get("content")
        if content is None or b'"thinking"' not in raw:
            continue
        left = without_thinking(raw[slice(*content)], unsigned_alone=True)
        if left != raw[slice(*content)]:
            said = left if left != b"[]" else b'"."'  # nothing else was said; roles must go on taking turns
            out.append((start + content.start, start + content.end, said))
    return splice(body, out) if out else body

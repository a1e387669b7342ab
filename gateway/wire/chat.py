"""Chat completions as clients speak them: bytes in, values out, and edits spliced back into the same bytes.

A request is read once. Everything we do not act on rides along in the original bytes; what an edit does not touch is
never written anew (law 2). Source of the shape: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.conversation import Call, Changes, Conversation, Media, Message, joined_text
from gateway.memory import USUAL, Memory
from gateway.wire.cache_marks import Marks, by_message, end_of_tools, is_marked, marked, message_edits, request_edits
from gateway.wire.errors import invalid_request
from gateway.wire.foreign import Reception, is_foreign, kinds_in, received
from gateway.wire.lexical import (
    DuplicateKey,
    NotJSON,
    Span,
    array_spans,
    cuts,
    object_spans,
    refuse_deep,
    splice,
    value,
)
from gateway.wire.media import media_of
from gateway.wire.parts import part_edits, spliced_parts, with_text
from gateway.wire.reasoning import reasons, without_reasoning

_SEPARATE = frozenset({"messages", "tools", "functions"})
"""Members read by their own rule."""
_READ = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "user",
        "metadata",
        "n",
        "service_tier",
        "response_format",
        "thinking",
    }
)
"""Members whose value matters to us; all others are proven to be JSON, and ride along unread."""


OURS_IN_METADATA = frozenset({"tags", "gateway_profile"})
"""Keys of `metadata` by which a client speaks to us: no provider gets them. OpenAI's metadata hold strings alone."""

_METADATA, _NONE = frozenset({"metadata"}), frozenset[str]()

MOST_THINKING = 1_000_000
"""Tokens beyond which a budget for thinking is believed of no model."""

MOST_MESSAGES = 100_000
"""Messages of one request: more than Anthropic takes (platform.claude.com/docs/en/api/messages), who takes the most."""
MOST_PARTS = 10_000
"""Parts of one content, and calls of one message."""
MOST_MEMBERS = 1_000
"""Members of a request; no provider knows a hundred."""
MOST_METADATA = 10**6
"""Bytes of `metadata`. OpenAI takes 16 keys of 64 characters with values of 512
(platform.openai.com/docs/api-reference/chat/create, `metadata`)."""

MOST_CHOICES = 128
"""The most answers OpenAI gives to one request (platform.openai.com/docs/api-reference/chat/create, `n`)."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request for a chat completion, as it came."""

    body: bytes
    spans: Mapping[str, Span]
    """Places of the values of top-level members in `body`."""
    message_spans: tuple[Span, ...]
    model: str
    conversation: Conversation
    most_tokens: int
    """An upper bound of the tokens of its text: a token is at least a byte, and so is most of a message's overhead."""
    stream: bool
    asks_usage: bool
    """Whether the client itself asked for the usage event of a stream."""
    answer_limit: int | None
    limited_by: str
    """The member that says so: `max_completion_tokens`, or `max_tokens` of older clients."""
    thinking: int
    """Tokens of the answer that may be thinking, as far as the client says so."""
    user: str | None
    metadata: Mapping[str, Any]
    choices: int
    """The number of answers that are asked for (`n`), as far as a provider gives so many."""
    service_tier: str | None
    marks_tools: bool = False
    """Whether the client put a cache marker on a tool."""
    tools_end: int | None = None
    """The place in `body` for a cache marker behind the tools; None where none can stand."""
    ours: tuple[tuple[int, int, bytes], ...] = ()
    """Splices that take what is said to us alone out of members of `body`."""
    gone: frozenset[str] = frozenset()
    """Members that hold nothing else, and leave no more."""


_LONG_NUMBER = re.compile(rb"[\d.eE+-]{300}")
"""In definitions: a number that does not read as itself, so that only the bytes as they came can be counted."""
_ENTRY_BYTES = 900
"""Bytes of one entry of the memo besides its bytes and text: objects, and its place in the dictionary."""


class Memo(Memory[bytes, Any]):
    """Values read from bytes, by those bytes, so that known text is never read twice."""

    def __init__(self, most_bytes: int = USUAL.bytes_for("parsed requests")) -> None:
        super().__init__(most_bytes)

    def keep(self, raw: bytes, read: Any, size: int) -> None:
        """Keep a value read from these bytes; `size` is its own, in bytes."""
        self.put(raw, read, len(raw) + size + _ENTRY_BYTES)


def parse(body: bytes, memo: Memo) -> ChatRequest:
    """Read a request body.

    Raises GatewayError (400, naming what and where) for what is not JSON, not an object, has no list of messages,
    names a key twice at the top level or in a message, or nests too deeply.
    """
    try:
        body.decode()
        spans = object_spans(body)
        _refuse_many(spans)
        fields = {key: value(body[s.start : s.end]) for key, s in spans.items() if key in _READ}
        for key, (start, end) in spans.items():
            if key not in _READ and key not in _SEPARATE:
                refuse_deep(body[start:end])
    except UnicodeDecodeError as error:
        raise invalid_request(f"The request body is not valid UTF-8 (byte {error.start}).") from None
    except NotJSON as error:
        raise invalid_request(f"The request body is not a JSON object: {error}.") from None
    except DuplicateKey as error:
        raise invalid_request(f"The request names the key {error.key!r} twice; send it once.", error.key) from None
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise invalid_request("`model` must be the name of a model, as a string.", "model")
    message_spans, messages = _messages(body, spans, memo)
    definitions, tools, grown, (marks_tools, tools_end) = _definitions(body, spans, fields, memo)
    stream = fields.get("stream")
    if not isinstance(stream, bool | None):
        raise invalid_request("`stream` must be true or false; servers read anything else as they like.", "stream")
    metadata = fields.get("metadata")
    user = fields.get("user")
    options = fields.get("stream_options")
    tier = fields.get("service_tier")
    limited_by = "max_completion_tokens" if _positive(fields.get("max_completion_tokens")) else "max_tokens"
    return ChatRequest(
        body=body,
        spans=spans,
        message_spans=message_spans,
        model=model,
        conversation=Conversation(messages, definitions, tools, _required_word(fields.get("response_format"))),
        most_tokens=len(body) + len(messages) + grown,
        stream=stream is True,
        asks_usage=isinstance(options, dict) and options.get("include_usage") is True,
        answer_limit=_positive(fields.get(limited_by)),
        limited_by=limited_by,
        thinking=_thinking(fields.get("thinking")),
        user=_string(user) or None,
        metadata=metadata if isinstance(metadata, dict) else {},
        choices=min(_positive(fields.get("n")) or 1, MOST_CHOICES),
        service_tier=_string(tier),
        marks_tools=marks_tools,
        tools_end=tools_end,
        ours=_ours(body, spans, metadata),
        gone=_METADATA if _is_ours(metadata) else _NONE,
    )


def _refuse_many(spans: Mapping[str, Span]) -> None:
    """Raise GatewayError (400) where there are more members, or more metadata, than anybody reads."""
    if len(spans) > MOST_MEMBERS:
        raise invalid_request(f"The request has {len(spans):,} members; no more than {MOST_MEMBERS:,} are read.")
    within = spans.get("metadata")
    if within is not None and within.end - within.start > MOST_METADATA:
        raise invalid_request(f"`metadata` is longer than {MOST_METADATA:,} bytes, the most that is read.", "metadata")


def _ours(body: bytes, spans: Mapping[str, Span], metadata: Any) -> tuple[tuple[int, int, bytes], ...]:
    """Take our own keys out of metadata that hold others too."""
    if not isinstance(metadata, dict) or OURS_IN_METADATA.isdisjoint(metadata) or _is_ours(metadata):
        return ()
    start, end = spans["metadata"]
    raw = body[start:end]
    try:
        inner = cuts(raw, object_spans(raw), OURS_IN_METADATA)
    except DuplicateKey as error:
        where = f"metadata.{error.key}"
        raise invalid_request(f"The request names the key `{where}` twice; send it once.", where) from None
    return tuple((start + at, start + upto, put) for at, upto, put in inner)


def _is_ours(metadata: Any) -> bool:
    """Whether metadata hold nothing but keys of ours."""
    return isinstance(metadata, dict) and len(metadata) > 0 and metadata.keys() <= OURS_IN_METADATA


def _required_word(response_format: Any) -> str | None:
    """Name the word that an answer in this form must be asked for with."""
    return "json" if isinstance(response_format, dict) and response_format.get("type") == "json_object" else None


def _thinking(said: Any) -> int:
    """Read a budget for thinking, as Anthropic's API has it; what is beyond any model is none."""
    budget = _positive(said.get("budget_tokens")) if isinstance(said, dict) and said.get("type") != "disabled" else None
    return budget if budget is not None and budget <= MOST_THINKING else 0


def _positive(number: Any) -> int | None:
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


# ---------------------------------------------------------------- messages and tools


def _messages(body: bytes, spans: Mapping[str, Span], memo: Memo) -> tuple[tuple[Span, ...], tuple[Message, ...]]:
    within = spans.get("messages")
    if within is None:
        raise invalid_request("`messages` is missing; send the conversation as a list of messages.", "messages")
    if body[within.start : within.start + 1] != b"[":
        raise invalid_request("`messages` must be a list of messages.", "messages")
    try:
        found = array_spans(body, within)
    except NotJSON as error:
        raise invalid_request(f"`messages` is not valid JSON: {error}.", "messages") from None
    if not found:
        raise invalid_request("`messages` is empty; send at least one message.", "messages")
    if len(found) > MOST_MESSAGES:
        said = f"`messages` holds {len(found):,} messages; no more than {MOST_MESSAGES:,} are read."
        raise invalid_request(said, "messages", "array_above_max_length")
    get = memo.get
    messages: list[Message] = []
    for index, (start, end) in enumerate(found):
        raw = body[start:end]
        message = get(raw)
        if message is None:
            message = _message(raw, index)
            memo.keep(raw, message, _held_bytes(message))
        messages.append(message)
    return tuple(found), tuple(messages)


def _held_bytes(message: Message) -> int:
    """Say what a message that was read holds: its text, and beside it that of its parts where there are several."""
    parts = message.parts if len(message.parts) > 1 else ()
    return sum(map(sys.getsizeof, (message.text, *parts, *(one.data for one in message.media))))


def _message(raw: bytes, index: int) -> Message:
    where = f"messages[{index}]"
    try:
        if raw[:1] != b"{":
            raise invalid_request(f"`{where}` must be an object with a role.", where)
        object_spans(raw)
        fields = value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{where}` is not valid JSON: {error}.", where) from None
    except DuplicateKey as error:
        raise invalid_request(f"`{where}` names the key {error.key!r} twice; send it once.", where) from None
    message = message_of(fields)
    most = max(len(message.parts), len(message.calls))
    if most > MOST_PARTS:
        raise invalid_request(f"`{where}` holds {most:,} parts or calls; no more than {MOST_PARTS:,} are read.", where)
    return message


def message_of(fields: Mapping[str, Any]) -> Message:
    """Read one message of the wire. Total: what has an unexpected shape is marked, and judged where it matters."""
    content = fields.get("content")
    text, shape = "", "other"
    media: tuple[Media, ...] = ()
    parts: tuple[str | None, ...] = ()
    if isinstance(content, str):
        text, shape = content, "text"
    elif isinstance(content, list):
        parts = tuple([_text(part) if isinstance(part, dict) else None for part in content])
        text = joined_text(parts)
        media = tuple([one for number, part in enumerate(content) if (one := media_of(part, number)) is not None])
        known = sum([isinstance(part, dict) and isinstance(part.get("text"), str) for part in content])
        known += sum([not one.is_foreign for one in media])
        shape = "parts" if known == len(content) else "other"  # a new text would take the place of what nobody knows
    elif content is None:
        shape = "null" if "content" in fields else "missing"
    role, name, call_id = fields.get("role"), fields.get("name"), fields.get("tool_call_id")
    calls, thinks = fields.get("tool_calls"), role == "assistant" and reasons(fields)
    return Message(
        role=_string(role) or "",
        text=text,
        parts=parts,
        name=_string(name) or None,
        calls=_calls(calls, fields.get("function_call")),
        call_id=_string(call_id),
        media=media,
        content=shape,  # type: ignore[arg-type]  # one of the literals above
        empty_calls=calls == [],
        speaks_otherwise=bool(
            fields.get("refusal")
            or fields.get("audio")
            or (thinks and (fields.get("reasoning_content") or fields.get("reasoning_details")))
        ),
        reasons=thinks,
        is_marked=is_marked(fields),
        foreign=kinds_in(fields) if role == "assistant" else (),
    )


def _text(part: Mapping[str, Any]) -> str:
    return _string(part.get("text")) or ""


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _calls(calls: Any, legacy: Any) -> tuple[Call, ...]:
    listed = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    out = [_call(call.get("id"), call.get("function") or call.get("custom")) for call in listed]
    if isinstance(legacy, dict):
        out.append(_call("", legacy))
    return tuple(out)


def _call(call_id: Any, function: Any) -> Call:
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments") or function.get("input")
    return Call(_string(call_id) or "", _string(function.get("name")) or "", _string(arguments) or "")


def _definitions(
    body: bytes, spans: Mapping[str, Span], fields: Mapping[str, Any], memo: Memo
) -> tuple[tuple[str, ...], int, int, tuple[bool, int | None]]:
    """Tools, functions and the response schema, each as the minified JSON that counts; how many tools there are; how
    many bytes longer than in the body they are at most (a number may be written shorter than we write it); and, of the
    tools, whether one carries a cache marker and where in the body one behind them is written.
    """
    out: list[str] = []
    tools = grown = 0
    marks: tuple[bool, int | None] = False, None
    for key in ("tools", "functions"):
        if key in spans:
            raw = body[spans[key].start : spans[key].end]
            known_as = key.encode() + raw  # no JSON starts so: a message of the same bytes is something else
            read = memo.get(known_as)
            if read is None:
                read = (*_minified(raw, key), b'"cache_control"' in raw, end_of_tools(raw) if key == "tools" else None)
                memo.keep(known_as, read, sys.getsizeof(read[0]))
            text, count, more, is_marked_there, end = read
            if key == "tools":
                marks = is_marked_there, None if end is None else spans[key].start + end
            tools += count
            grown += more
            if text:
                out.append(text)
    response_format = fields.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        schema = orjson.dumps(response_format.get("json_schema"))
        grown += len(schema)
        out.append(schema.decode())
    return tuple(out), tools, grown, marks


def _minified(raw: bytes, key: str) -> tuple[str, int, int]:
    try:
        read = value(raw)
    except NotJSON as error:
        raise invalid_request(f"`{key}` is not valid JSON: {error}.", key) from None
    if not isinstance(read, list) or not read:
        return "", 0, 0
    written = raw if _LONG_NUMBER.search(raw) else orjson.dumps(read)
    return written.decode(), len(read), max(0, len(written) - len(raw))


# ---------------------------------------------------------------- a selection of tools


def tools_of(request: ChatRequest) -> list[dict[str, Any]]:
    """Return the definitions under `tools`, as they are; what is no object is an empty one."""
    span = request.spans.get("tools")
    read = [] if span is None else value(request.body[span.start : span.end])
    return [tool if isinstance(tool, dict) else {} for tool in read] if isinstance(read, list) else []


def named_tools(request: ChatRequest) -> frozenset[str]:
    """List the tools that `tool_choice` names, in any of its forms."""
    span = request.spans.get("tool_choice")
    choice = None if span is None else value(request.body[span.start : span.end])
    if not isinstance(choice, dict):
        return frozenset()
    allowed = choice.get("allowed_tools")
    listed = allowed.get("tools") if isinstance(allowed, dict) else None
    chosen = [choice, *(listed if isinstance(listed, list) else [])]
    return frozenset(name for one in chosen if isinstance(one, dict) and (name := tool_name(one)) is not None)


def tool_name(tool: Mapping[str, Any]) -> str | None:
    """Return the name of a function or custom tool; None for a provider's own."""
    function = tool.get("function") or tool.get("custom")
    return _string(function.get("name")) if isinstance(function, dict) else None


def with_tools(request: ChatRequest, stay: Sequence[int], memo: Memo) -> ChatRequest:
    """Return the request with these of its tools alone, by index; each keeps its bytes."""
    within = request.spans["tools"]
    tools = array_spans(request.body, within)
    left = b"[" + b",".join([request.body[tools[i].start : tools[i].end] for i in stay]) + b"]"
    return with_limit(parse(splice(request.body, [(*within, left)]), memo), request.answer_limit)


# ---------------------------------------------------------------- writing


def rewritten(
    request: ChatRequest, changes: Changes | None, marks: Marks | None = None
) -> list[tuple[int, int, bytes]]:
    """Turn changes and cache markers into splices of the request's body; all else keeps its bytes."""
    spans, body = request.message_spans, request.body
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
    return out if marks is None else [*out, *request_edits(body, request.spans, request.tools_end, marks)]


def message_left(raw: bytes, changes: Changes, index: int) -> bytes:
    """Return the bytes of a message as it leaves; what no change touches keeps its own."""
    if index in changes.system:
        raw = splice(raw, part_edits(raw, changes.system[index].parts))
    elif index in changes.texts:
        raw = with_text(raw, changes.texts[index])
    elif index in changes.parts:
        raw = spliced_parts(raw, changes.parts[index])
    return without_reasoning(raw) if index in changes.unreasoned else raw


@dataclass(frozen=True, slots=True)
class Additions:
    """Members that one deployment's requests hold beyond the client's, and those that they do not hold."""

    defaults: tuple[tuple[str, bytes], ...] = ()
    """Members, as JSON, where the client does not send them, or sends null."""
    left_out: frozenset[str] = frozenset()
    """Members that do not leave."""
    usage: bool = True
    """Whether a stream is asked for its usage event; otherwise the client does not ask for it either."""
    takes: Reception | None = None
    """The parts of other providers' answers that are taken; None for everything."""


PLAIN = Additions()

_USAGE = frozenset({"stream_options"})

LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""The members that limit an answer."""


def is_limited(request: ChatRequest) -> bool:
    """Whether the client said how long its answer may be, in any way."""
    spans, body = request.spans, request.body
    return any(name in spans and body[slice(*spans[name])] != b"null" for name in LIMITS)


def sent(
    request: ChatRequest,
    model: str,
    changes: Changes | None = None,
    marks: Marks | None = None,
    additions: Additions = PLAIN,
) -> bytes:
    """Write the request for a deployment: its model name, its additions, changes and markers spliced in, and what is
    said to us alone taken out.
    """
    out = rewritten(request, changes, marks) if changes is not None or marks is not None else []
    out += request.ours
    if model != request.model:
        span = request.spans["model"]
        out.append((span.start, span.end, orjson.dumps(model)))
    if additions.defaults:
        out += _default_splices(request, additions)
    if request.stream and not request.asks_usage and additions.usage and "stream_options" not in additions.left_out:
        out.append(_usage_splice(request))
    gone = request.gone | additions.left_out if additions.usage else request.gone | additions.left_out | _USAGE
    if not gone.isdisjoint(request.spans):
        cut = cuts(request.body, request.spans, gone)
        out = [one for one in out if not any(start < one[1] and one[0] < end for start, end, _ in cut)]
        out += cut
    body = splice(request.body, out) if out else request.body
    takes = additions.takes
    if takes is not None and is_foreign(request.conversation.messages, takes):
        return received(body, takes)
    return body


def with_limit(request: ChatRequest, limit: int | None) -> ChatRequest:
    """Return the request as one that says how long its answer may be, where it does not say so itself."""
    return request if limit is None or request.answer_limit is not None else replace(request, answer_limit=limit)


def _default_splices(request: ChatRequest, additions: Additions) -> list[tuple[int, int, bytes]]:
    """Put in what the client left to the deployment, behind its own last member or in the place of its null."""
    body, spans, out = request.body, request.spans, []
    end = body.rindex(b"}")
    said = {name for name in spans if body[spans[name].start : spans[name].end] != b"null"}
    for name, default in additions.defaults:
        if name in said or name in additions.left_out or (name in LIMITS and not said.isdisjoint(LIMITS)):
            continue
        if name in spans:
            out.append((*spans[name], default))
        else:
            out.append((end, end, b"," + orjson.dumps(name) + b":" + default))
    return out


def _usage_splice(request: ChatRequest) -> tuple[int, int, bytes]:
    """Ask for the usage event: in the client's `stream_options` where there are any, else as a new last member."""
    asked = b'"include_usage":true'
    span = request.spans.get("stream_options")
    if span is None:
        end = request.body.rindex(b"}")
        return end, end, b',"stream_options":{' + asked + b"}"
    raw = request.body[span.start : span.end]
    if raw[:1] != b"{":
        return span.start, span.end, b"{" + asked + b"}"
    try:
        inner = object_spans(raw)
    except DuplicateKey as error:
        where = f"stream_options.{error.key}"
        raise invalid_request(f"The request names the key `{where}` twice; send it once.", where) from None
    if "include_usage" in inner:
        start, end = inner["include_usage"]
        return span.start + start, span.start + end, b"true"
    return span.start + 1, span.start + 1, asked + (b"," if inner else b"")

r"""Server-sent events on their way through: relayed byte for byte as they come, and read only where it matters.

Pure: bytes in, bytes out. The relay never parses what it need not: it looks for the few events that matter (usage,
error, service tier, [DONE]) with scans that run in C, and parses those. What only a stream that ended badly needs (the
text so far, finish reasons) is read from the relayed bytes when asked for. What comes out, and what was learned, does
not depend on how the stream was cut into chunks.

An event here: from its first byte that is no line ending to the end of the first blank line after it. Lines end in LF,
CR or CRLF, and CRLF is one ending (https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing an event
stream"), so a blank line is two endings in a row: \n\n, \n\r or \r\r in the bytes; an LF after a last CR is part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.wire import lenient
from gateway.wire.errors import GatewayError
from gateway.wire.failures import ErrorObject, error_in, named_error
from gateway.wire.output import finish_of, speaks, spoken
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.usage import found_in, fuller, says_less

KEEP_BYTES: Final = 128 * 1024
"""Relayed bytes that are kept unread; above it they are reduced to their text."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK_LINES: Final = (b"\n\n", b"\n\r", b"\r\r")
_ENDING: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
"""The end of an event: two line endings, each of any kind. Atomic, or CRLF would be read as two."""

_USAGE: Final = re.compile(rb'"usage"(?!: ?null)')
"""A member that may be a usage object. `"usage":null`, in every chunk, is not one: to parse those would cost all.

Starts with a literal, which is what makes the scan quick. Inside a JSON string the quotes would be escaped.
"""

_TIER: Final = re.compile(rb'"service_tier": ?"(\w{1,40})"')
_ERROR: Final = re.compile(rb'"error"|(?:^|[\n\r])event: ?error')


def event(data: bytes) -> bytes:
    """Write an event with this data."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines() or [b""])
    return b"data: " + data + b"\n\n"


DONE: Final = event(b"[DONE]")


def error_event(error: GatewayError, request_id: str) -> bytes:
    """Write the event that tells of a failure after the first byte; OpenAI's SDKs raise `APIError` at it."""
    return event(error.body(request_id))


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says to whoever asked: reasoning and refusals are left out."""

    texts: tuple[str, ...] = ()
    """One for each choice that has text."""
    arguments: tuple[str, ...] = ()
    """One for each call, as the model wrote it: JSON, if all went well."""


class EventRelay:
    """One stream of chat completion chunks."""

    __slots__ = (
        "_drop_lf",
        "_ended",
        "_finish_reason",
        "_hold_back",
        "_kept",
        "_kept_bytes",
        "_open",
        "_read_bytes",
        "_secrets",
        "_tail",
        "_texts",
        "done",
        "error",
        "error_is_shown",
        "service_tier",
        "usage",
        "usage_is_early",
    )

    def __init__(self, hold_back_usage: bool, secrets: Secrets = NO_SECRETS) -> None:
        """Begin. `secrets` are taken out of every event that may be an error."""
        self._hold_back = hold_back_usage
        self._secrets = secrets
        self._tail: list[bytes] = []  # the event that is not yet complete, in pieces
        self._drop_lf = False  # an event that was held back ended in CR: an LF that follows is its own
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._read_bytes = 0
        self._texts: dict[tuple[object, ...], list[str]] = {}
        self._finish_reason: str | None = None
        self._open: set[int] = set()  # choices that have begun and not ended
        self._ended = False
        self.usage: Mapping[str, Any] | None = None
        """What the usage objects say; a later one counts where it does not say less."""
        self.usage_is_early = False
        """Whether it came while the answer was still being written: it may be a placeholder."""
        self.service_tier: str | None = None
        """The tier that the provider says it served, in whatever event."""
        self.error: ErrorObject | None = None
        """The last error."""
        self.error_is_shown = False
        """Whether it stands where clients look for one: in a member `error` of an event."""
        self.done = False
        """Whether [DONE] was seen."""

    def __repr__(self) -> str:
        return f"EventRelay(usage={self.usage!r}, done={self.done}, error={self.error!r})"

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from upstream; return the complete events to pass on now."""
        if self._tail or self._drop_lf or not chunk.endswith(b"\n\n"):
            chunk = self._completed(chunk)
            if not chunk:
                return b""
        return self._pass(chunk)

    def finish(self) -> bytes:
        """Return what is left at a clean end of the stream. After a cut, do not ask: half an event helps nobody."""
        rest = b"".join(self._tail)
        self._tail = []
        return self._pass(rest) if rest else b""

    def ending(self, rest: bytes) -> bytes:
        """Return what makes a complete answer that ended without the marker end as a stream does, behind `rest`."""
        return DONE if not rest or rest.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) else b"\n\n" + DONE

    @property
    def finish_reason(self) -> str | None:
        """The last finish reason. Reads what was relayed: ask only at the end."""
        self._read_kept()
        return self._finish_reason

    @property
    def finished(self) -> bool:
        """Whether the answer is complete: [DONE], or a finish reason of each choice, was seen. Ask only at the end."""
        if not self.done:
            self._read_kept()
        return self.done or (self._ended and not self._open)

    def seen_text(self) -> str:
        """Join what the model has said so far: content, refusals, reasoning, names and arguments of calls.

        For counting a stream that ended without usage. Parses what was relayed, so ask only then.
        """
        self._read_kept()
        return lenient.join_halves("\n".join("".join(pieces) for pieces in self._texts.values()))

    @property
    def heard_bytes(self) -> int:
        """How much was relayed so far."""
        return self._read_bytes + self._kept_bytes

    def said(self) -> Said:
        """Return what the model has said so far. Parses what was relayed, so ask only at the end."""
        self._read_kept()
        texts = {key: lenient.join_halves("".join(pieces)) for key, pieces in self._texts.items()}
        return Said(
            tuple([text for key, text in texts.items() if key[1] == "content"]),
            tuple([text for key, text in texts.items() if key[-1] == "arguments"]),
        )

    # --- events out of chunks

    def _completed(self, chunk: bytes) -> bytes:
        """Return the bytes up to the last blank line, and keep what comes after it."""
        if self._drop_lf and chunk:
            self._drop_lf = False
            if chunk.startswith(b"\n") and not self._tail:
                chunk = chunk[1:]
        edge = self._tail[-1][-1:] if self._tail else b""  # a blank line may lie across chunks
        seen = edge + chunk
        end = _last_blank_line(seen, len(seen)) - len(edge)
        if end <= 0:
            if chunk:
                self._tail.append(chunk)
            return b""
        self._tail.append(chunk[:end])
        complete = b"".join(self._tail)
        self._tail = [chunk[end:]] if end < len(chunk) else []
        return complete

    def _pass(self, block: bytes) -> bytes:
        """Read what matters in whole events, and return them without those to hold back."""
        if b"error" in block or block.count(b'"choices"') < block.count(b"data:"):  # an event is no chunk of an answer
            block = self._secrets.out_of(block)
        held: list[tuple[int, int]] = []
        end = 0
        for hit in _USAGE.finditer(block):
            if hit.start() >= end:
                start, end = _event_at(block, hit.start())
                if self._read_usage(block[start:end]):
                    held.append((start, end))
        if b"error" in block:
            self._read_error(block)
        if self.service_tier is None and b'"service_tier"' in block:
            self._read_tier(block)
        if not self.done:
            self._read_done(block)
        self._kept.append(block)
        self._kept_bytes += len(block)
        if self._kept_bytes > KEEP_BYTES:
            self._read_kept()
        return self._without(block, held) if held else block

    def _without(self, block: bytes, held: list[tuple[int, int]]) -> bytes:
        pieces = []
        at = 0
        for start, end in held:
            pieces.append(block[at:start])
            at = end
        pieces.append(block[at:])
        self._drop_lf = at == len(block) and block.endswith(b"\r")
        return b"".join(pieces)

    # --- what events say

    def _read_usage(self, event: bytes) -> bool:
        """Note the usage; return whether the event must not be passed on."""
        fields = fields_of(event)
        usage = None if fields is None else found_in(fields)
        if fields is None or usage is None:
            return False
        choices = fields.get("choices")
        if self.usage is None or not says_less(usage, self.usage):
            self.usage_is_early = _is_open(choices)
        self.usage = fuller(self.usage, usage)
        return self._hold_back and not choices and "choices" in fields and not fields.get("error")

    def _read_error(self, block: bytes) -> None:
        end = 0
        for hit in _ERROR.finditer(block):
            if hit.end() <= end:
                continue
            start, end = _event_at(block, hit.end() - 1)
            event = block[start:end]
            fields = fields_of(event)
            error = None if fields is None else error_in(fields)
            if error is None and _name(event) == b"error":
                error = named_error(fields or _data(event).decode(errors="replace"))
            if error is not None:
                self.error, self.error_is_shown = error, fields is not None and bool(fields.get("error"))

    def _read_tier(self, block: bytes) -> None:
        for hit in _TIER.finditer(block):
            self.service_tier = hit[1].decode()

    def _read_done(self, block: bytes) -> None:
        at = block.rfind(b"[DONE]")  # from the end, where it stands
        while at >= 0 and not self.done:
            start, end = _event_at(block, at)
            self.done = _data(block[start:end]).startswith(b"[DONE]")
            at = block.rfind(b"[DONE]", 0, start)

    def _read_kept(self) -> None:
        """Reduce the bytes relayed so far to their text and finish reason."""
        for block in self._kept:
            for event in events(block):
                fields = fields_of(event)
                if fields is not None:
                    self._read_choices(fields.get("choices"))
        self._kept = []
        self._read_bytes += self._kept_bytes
        self._kept_bytes = 0

    def _read_choices(self, choices: object) -> None:
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            number = choice.get("index")
            index = number if isinstance(number, int) else 0
            if (reason := finish_of(choice)) is not None:
                self._finish_reason, self._ended = reason, True
                self._open.discard(index)
            elif not self._ended or speaks(choice):  # some engines send an empty chunk after the last
                self._open.add(index)
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                delta = choice.get("message")
            if isinstance(delta, dict):
                self._read_delta(index, delta)

    def _read_delta(self, index: int, delta: dict[str, Any]) -> None:
        # Some engines send their reasoning under both names.
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        self._hear((index, "content"), delta.get("content"))
        self._hear((index, "refusal"), delta.get("refusal"))
        self._hear((index, "reasoning"), reasoning)
        calls = delta.get("tool_calls")
        calls = [*calls] if isinstance(calls, list) else []
        calls.append({"index": "function_call", "function": delta.get("function_call")})
        for call in calls:
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                key = (index, "call", str(call.get("index")))
                self._hear((*key, "name"), function.get("name"))
                self._hear((*key, "arguments"), function.get("arguments"))

    def _hear(self, key: tuple[object, ...], said: object) -> None:
        for text in spoken(said):
            self._texts.setdefault(key, []).append(text)


def _is_open(choices: object) -> bool:
    """Whether an event belongs to an answer that goes on."""
    listed = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return bool(listed) and all(finish_of(choice) is None for choice in listed)


def _last_blank_line(data: bytes, before: int) -> int:
    """Return where the last blank line before `before` ends; 0 where there is none."""
    if b"\r" not in data:
        at = data.rfind(b"\n\n", 0, before)
    else:
        at = max(data.rfind(ending, 0, before) for ending in _BLANK_LINES)
    return _past_blank_line(data, at) if at >= 0 else 0


def _past_blank_line(data: bytes, at: int) -> int:
    """Step over the two line endings at `at`, whose second may be CRLF."""
    return at + 3 if data.startswith(b"\r\n", at + 1) else at + 2


def _event_at(block: bytes, at: int) -> tuple[int, int]:
    """Return the bounds of the event that the byte at `at` is part of."""
    start = _last_blank_line(block, at)
    while block.startswith((b"\n", b"\r"), start):
        start += 1
    endings = (b"\n\n",) if b"\r" not in block else _BLANK_LINES
    ends = [found for ending in endings if (found := block.find(ending, at)) >= 0]
    return start, _past_blank_line(block, min(ends)) if ends else len(block)


def events(block: bytes) -> Iterator[bytes]:
    """Cut whole events apart."""
    if b"\r" not in block:
        yield from block.split(b"\n\n")
        return
    start = 0
    while start < len(block):
        found = _ENDING.search(block, start)
        end = len(block) if found is None else found.end()
        yield block[start:end]
        start = end


def _data(event: bytes) -> bytes:
    """Join the event's data lines."""
    event = event.strip(b"\r\n")
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return event[6:]
    values = []
    for line in event.removeprefix(_BOM).splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values)


def _name(event: bytes) -> bytes | None:
    """Return what an event is called."""
    for line in event.splitlines():
        field, _, value = line.partition(b":")
        if field == b"event":
            return value.strip()
    return None


def fields_of(event: bytes) -> dict[str, Any] | None:
    """Parse the event's data where it is a JSON object."""
    data = _data(event)
    if not data.lstrip().startswith(b"{"):
        return None
    fields = lenient.read(data)
    return fields if isinstance(fields, dict) else None

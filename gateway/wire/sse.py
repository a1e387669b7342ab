r"""Server-sent events on their way through: relayed byte for byte as they come, and read only where it matters.

Pure: bytes in, bytes out. The relay never parses what it need not: it looks for the few events that matter (usage,
error, [DONE]) with scans that run in C, and parses those. What only a stream that ended badly needs (the text so far,
a finish reason) is read from the relayed bytes when asked for. What comes out, and what was learned, does not depend
on how the stream was cut into chunks.

An event here: from its first byte that is no line ending to the end of the first blank line after it. Lines end in LF,
CR or CRLF, and CRLF is one ending (https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing an event
stream"), so a blank line is two endings in a row: \n\n, \n\r or \r\r in the bytes; an LF after a last CR is part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.wire.errors import GatewayError

KEEP_BYTES: Final = 128 * 1024
"""Relayed bytes that are kept unread; above it they are reduced to their text."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK_LINES: Final = (b"\n\n", b"\n\r", b"\r\r")

_USAGE: Final = re.compile(rb'"usage"(?!: ?null)')
"""A member that may be a usage object. `"usage":null`, in every chunk, is not one: to parse those would cost all.

Starts with a literal, which is what makes the scan quick. Inside a JSON string the quotes would be escaped.
"""


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
        "_finish_reason",
        "_hold_back",
        "_kept",
        "_kept_bytes",
        "_read_bytes",
        "_tail",
        "_texts",
        "done",
        "error",
        "service_tier",
        "usage",
    )

    def __init__(self, hold_back_usage: bool) -> None:
        self._hold_back = hold_back_usage
        self._tail: list[bytes] = []  # the event that is not yet complete, in pieces
        self._drop_lf = False  # an event that was held back ended in CR: an LF that follows is its own
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._read_bytes = 0
        self._texts: dict[tuple[object, ...], list[str]] = {}
        self._finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        """The last usage object."""
        self.service_tier: object = None
        """The tier that the provider says it served."""
        self.error: dict[str, Any] | None = None
        """The last error object; where the upstream sent a mere string, under `message`."""
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

    @property
    def finish_reason(self) -> str | None:
        """The last finish reason. Reads what was relayed: ask only at the end."""
        self._read_kept()
        return self._finish_reason

    @property
    def finished(self) -> bool:
        """Whether the answer is complete: [DONE], or a finish reason, was seen. Ask only at the end."""
        return self.done or self.finish_reason is not None

    def seen_text(self) -> str:
        """Join what the model has said so far: content, refusals, reasoning, names and arguments of calls.

        For counting a stream that ended without usage. Parses what was relayed, so ask only then.
        """
        self._read_kept()
        return _joined("\n".join("".join(pieces) for pieces in self._texts.values()))

    @property
    def heard_bytes(self) -> int:
        """How much was relayed so far."""
        return self._read_bytes + self._kept_bytes

    def said(self) -> Said:
        """Return what the model has said so far. Parses what was relayed, so ask only at the end."""
        self._read_kept()
        texts = {key: _joined("".join(pieces)) for key, pieces in self._texts.items()}
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
        held: list[tuple[int, int]] = []
        end = 0
        for hit in _USAGE.finditer(block):
            if hit.start() >= end:
                start, end = _event_at(block, hit.start())
                if self._read_usage(block[start:end]):
                    held.append((start, end))
        if b'"error"' in block:
            self._read_error(block)
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
        fields = _fields(event)
        if fields is None or not isinstance(fields.get("usage"), dict):
            return False
        self.usage = fields["usage"]
        self.service_tier = fields.get("service_tier")
        return self._hold_back and fields.get("choices") == [] and not fields.get("error")

    def _read_error(self, block: bytes) -> None:
        at = block.find(b'"error"')
        while at >= 0:
            start, end = _event_at(block, at)
            fields = _fields(block[start:end])
            error = fields.get("error") if fields is not None else None
            if error:
                self.error = error if isinstance(error, dict) else {"message": str(error)}
            at = block.find(b'"error"', end)

    def _read_done(self, block: bytes) -> None:
        at = block.rfind(b"[DONE]")  # from the end, where it stands
        while at >= 0 and not self.done:
            start, end = _event_at(block, at)
            self.done = _data(block[start:end]).startswith(b"[DONE]")
            at = block.rfind(b"[DONE]", 0, start)

    def _read_kept(self) -> None:
        """Reduce the bytes relayed so far to their text and finish reason."""
        for block in self._kept:
            for event in _events(block):
                fields = _fields(event)
                if fields is not None:
                    self._read_choices(fields.get("choices"))
        self._kept = []
        self._read_bytes += self._kept_bytes
        self._kept_bytes = 0

    def _read_choices(self, choices: object) -> None:
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            if isinstance(reason := choice.get("finish_reason"), str):
                self._finish_reason = reason
            if isinstance(delta := choice.get("delta"), dict):
                self._read_delta(choice.get("index"), delta)

    def _read_delta(self, index: object, delta: dict[str, Any]) -> None:
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
        if isinstance(said, list):  # content in parts, as Mistral sends it
            for part in said:
                self._hear(key, part.get("text") or part.get("thinking") if isinstance(part, dict) else part)
        elif isinstance(said, str) and said:
            self._texts.setdefault(key, []).append(said)


def _joined(text: str) -> str:
    """Join the halves of surrogate pairs that came in two deltas."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


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


def _events(block: bytes) -> Iterator[bytes]:
    if b"\r" not in block:
        yield from block.split(b"\n\n")
        return
    start = 0
    while start < len(block):
        _, end = _event_at(block, start)
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


def _fields(event: bytes) -> dict[str, Any] | None:
    """Parse the event's data where it is a JSON object."""
    data = _data(event)
    if not data.lstrip().startswith(b"{"):
        return None
    fields = read_leniently(data)
    return fields if isinstance(fields, dict) else None


def read_leniently(data: bytes) -> Any:
    """Read what an upstream wrote; None where it is not JSON. For half a surrogate pair, or NaN, nothing is lost."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return None

"""A stream of chat completion chunks on its way through: relayed byte for byte, and read only where it matters.

Pure: bytes in, bytes out. The relay never parses what it need not: it looks for the few events that matter (usage,
error, service tier, [DONE]) with scans that run in C, and parses those. Facts that only a stream that ended badly needs
(the text so far, finish reasons) are read from the relayed bytes when asked for. The output, and what was learned, do
not depend on how the stream was cut into chunks.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

from gateway.request import Said
from gateway.wire.chat.long_event import LongEvent
from gateway.wire.chat.output import finish_of
from gateway.wire.chat.transcript import Transcript
from gateway.wire.errors import GatewayError
from gateway.wire.failures import ErrorObject, error_in, named_error
from gateway.wire.secrets import NO_SECRETS, Secrets
from gateway.wire.sse import data_of, event, event_at, events, fields_of, last_blank_line, name_of
from gateway.wire.usage import found_in, fuller, says_less

KEEP_BYTES: Final = 128 * 1024
"""Relayed bytes that are kept unread; above it they are reduced to their text. To read them costs five times what it
costs to pass them on, and most streams end before, with their usage."""
PACK_BYTES: Final = 24 * 1024
"""Bytes of them that are kept as they came; more are packed, to a tenth and less: chunks are much alike."""
MOST_PACKED: Final = 32 * 1024
"""Packed bytes that are kept: what does not become small is reduced sooner."""
LONGEST_HELD: Final = 32 * 1024
"""Bytes of one event that are held until it is complete; a longer one is passed on as it comes, and only its ends are
read."""

_USAGE: Final = b'"usage"'
_NO_USAGE: Final = (b":null", b": null")
"""The text that follows it in chunks without usage, which may be all but the last: to parse those would cost all."""
_TIER: Final = re.compile(rb'"service_tier": ?"(\w{1,40})"')
_ERROR: Final = re.compile(rb'"error"|(?:^|[\n\r])event: ?error')


DONE: Final = event(b"[DONE]")
_END: Final = b"\n\n" + DONE  # with the end of the event before it, so that the marker is all that it holds


def error_event(error: GatewayError, request_id: str) -> bytes:
    """Write the event that tells of a failure after the first byte; OpenAI's SDKs raise `APIError` at it."""
    return event(error.body(request_id))


class EventRelay:
    """One stream of chat completion chunks."""

    __slots__ = (
        "_drop_lf",
        "_hold_back",
        "_kept",
        "_kept_bytes",
        "_long",
        "_packed",
        "_packed_bytes",
        "_read_bytes",
        "_secrets",
        "_tail",
        "_transcript",
        "_unread_bytes",
        "done",
        "error",
        "error_is_shown",
        "held_bytes",
        "passes_long_events",
        "service_tier",
        "usage",
        "usage_is_early",
    )

    def __init__(self, hold_back_usage: bool, secrets: Secrets = NO_SECRETS) -> None:
        """Begin. `secrets` are taken out of every event that may be an error."""
        self._hold_back = hold_back_usage
        self._secrets = secrets
        self._tail: list[bytes] = []  # the event that is not yet complete, in pieces
        self._long: LongEvent | None = None
        self._drop_lf = False  # an event that was held back ended in CR: an LF that follows is its own
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._packed: list[bytes] = []
        self._packed_bytes = 0
        self._unread_bytes = 0
        self._read_bytes = 0
        self._transcript = Transcript()
        self.held_bytes = 0
        """The bytes that have come of an event that is not complete."""
        self.passes_long_events = False
        """Whether an event may be passed on before it is complete. Set it once nothing but the client reads them."""
        self.usage: Mapping[str, Any] | None = None
        """The usage that its objects state; a later one counts where it does not say less."""
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
        if self._long is not None:
            return self._pass_long(self._long, chunk)
        if self._tail or self._drop_lf or not chunk.endswith(b"\n\n"):
            chunk = self._completed(chunk)
            if not chunk:
                return self._begin_long()
        return self._pass(chunk)

    def finish(self) -> bytes:
        """Return what is left at a clean end of the stream. After a cut, do not ask: half an event helps nobody."""
        if self._long is not None:
            self._read_long(self._long)
            return b"\n\n"
        rest = b"".join(self._tail)
        self._tail, self.held_bytes = [], 0
        return self._pass(rest) if rest else b""

    def cut(self) -> bytes:
        """Return what ends an event of which a part was passed on, where the stream breaks off."""
        return b"" if self._long is None else b"\n\n"

    def ending(self, rest: bytes) -> bytes:
        """Return what makes a complete answer that ended without the marker end as a stream does, behind `rest`."""
        return DONE if not rest or rest.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) else b"\n\n" + DONE

    def is_over(self) -> bool:
        """Tell whether nothing more is awaited: the end marker came, or an error that the client is yet to hear of."""
        return self.done or (self.error is not None and not self.error_is_shown)

    @property
    def finish_reason(self) -> str | None:
        """The last finish reason. Reads what was relayed: ask only at the end."""
        self._read_kept()
        return self._transcript.finish_reason

    @property
    def finished(self) -> bool:
        """Whether the answer is complete: [DONE], or a finish reason of each choice, was seen. Ask only at the end."""
        if not self.done:
            self._read_kept()
        return self.done or self._transcript.finished

    def said_bytes(self) -> int:
        """Return the size of all that the model has said so far. Parses what was relayed since it was asked last."""
        self._read_kept()
        return self._transcript.size

    def seen_text(self) -> str:
        """Join what the model has said so far, as far as it is kept. `grown` scales its count to the whole.

        For counting a stream that ended without usage. Parses what was relayed, so ask only then.
        """
        self._read_kept()
        return self._transcript.text()

    def grown(self, tokens: int) -> int:
        """Scale a count of `seen_text` to all that was said."""
        return self._transcript.grown(tokens)

    @property
    def heard_bytes(self) -> int:
        """The bytes that were relayed so far."""
        return self._read_bytes + self._unread_bytes

    def said(self) -> Said:
        """Return what is kept of what the model has said so far. Parses what was relayed, so ask only at the end."""
        self._read_kept()
        return self._transcript.said()

    # --- events out of chunks

    def _completed(self, chunk: bytes) -> bytes:
        """Return the bytes up to the last blank line, and keep what comes after it."""
        if self._drop_lf and chunk:
            self._drop_lf = False
            if chunk.startswith(b"\n") and not self._tail:
                chunk = chunk[1:]
        edge = self._tail[-1][-1:] if self._tail else b""  # a blank line may lie across chunks
        seen = edge + chunk
        end = last_blank_line(seen, len(seen)) - len(edge)
        if end <= 0:
            if chunk:
                self._tail.append(chunk)
                self.held_bytes += len(chunk)
            return b""
        self._tail.append(chunk[:end])
        complete = b"".join(self._tail)
        self._tail = [chunk[end:]] if end < len(chunk) else []
        self.held_bytes = len(chunk) - end
        return complete

    # --- an event that is too long to be held

    def _begin_long(self) -> bytes:
        """Return what is held of an event where it is too long; the rest of it is passed on as it comes."""
        if not self.passes_long_events or self.held_bytes <= LONGEST_HELD:
            return b""
        head = b"".join(self._tail)
        self._tail = []
        self._long = LongEvent(head)
        self._count_long(self._long, len(head))
        return head

    def _pass_long(self, long: LongEvent, chunk: bytes) -> bytes:
        """Pass a part of the event on; what comes after its end is fed as usual."""
        end = long.feed(chunk)
        self._count_long(long, len(chunk) if end is None else end)
        if end is None:
            self.held_bytes = long.size
            return chunk
        self._read_long(long)
        rest = chunk[end:]
        return chunk[:end] + self.feed(rest) if rest else chunk

    def _count_long(self, long: LongEvent, size: int) -> None:
        if not long.is_media:
            self._transcript.pass_over(size)

    def _read_long(self, long: LongEvent) -> None:
        """Note what is read of the event, which is over."""
        self._long, self.held_bytes = None, 0
        if (usage := long.usage()) is not None and (found := found_in({"usage": usage})) is not None:
            self.usage, self.usage_is_early = fuller(self.usage, found), False
        if (reason := long.finish_reason()) is not None:
            self._read_kept()  # what came before it, so that this is the last
            self._transcript.end(reason)

    def _pass(self, block: bytes) -> bytes:
        """Read what matters in whole events, and return them without those to hold back."""
        may_fail = block.find(b"error") >= 0  # `in` makes an exception and drops it, each time that it is asked
        if may_fail or _holds_others(block):
            block = self._secrets.out_of(block)
        held = self._read_usages(block)
        if may_fail:
            self._read_error(block)
        if self.service_tier is None and block.find(b'"service_tier"') >= 0:
            self._read_tier(block)
        if not self.done and block.rfind(b"[DONE]") >= 0:
            self._read_done(block)
        self._kept.append(block)
        self._kept_bytes += len(block)
        self._unread_bytes += len(block)
        if self._kept_bytes > PACK_BYTES:
            self._pack()
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

    def _read_usages(self, block: bytes) -> list[tuple[int, int]]:
        """Note what usage objects say; return the bounds of the events that must not be passed on."""
        held: list[tuple[int, int]] = []
        seen = 0
        for at in _usages(block):
            if at >= seen:
                start, seen = event_at(block, at)
                if self._read_usage(block[start:seen]):
                    held.append((start, seen))
        return held

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
            start, end = event_at(block, hit.end() - 1)
            event = block[start:end]
            fields = fields_of(event)
            error = None if fields is None else error_in(fields)
            if error is None and name_of(event) == b"error":
                error = named_error(fields or data_of(event).decode(errors="replace"))
            if error is not None:
                self.error, self.error_is_shown = error, fields is not None and bool(fields.get("error"))

    def _read_tier(self, block: bytes) -> None:
        at = block.rfind(b'"service_tier"')  # the last: most servers write it in every event
        while at >= 0 and self.service_tier is None:
            hit = _TIER.match(block, at)
            self.service_tier = None if hit is None else hit[1].decode()
            at = block.rfind(b'"service_tier"', 0, at)

    def _read_done(self, block: bytes) -> None:
        at = block.rfind(b"[DONE]")  # from the end, where it stands
        while at >= 0 and not self.done:
            start, end = event_at(block, at)
            self.done = data_of(block[start:end]).startswith(b"[DONE]")
            at = block.rfind(b"[DONE]", 0, start)

    def _pack(self) -> None:
        """Make what was relayed smaller, until somebody asks what it says."""
        if self._unread_bytes <= KEEP_BYTES and self._packed_bytes <= MOST_PACKED:
            self._packed.append(zlib.compress(b"".join(self._kept), 1))
            self._packed_bytes += len(self._packed[-1])
            self._kept, self._kept_bytes = [], 0
        else:
            self._read_kept()

    def _read_kept(self) -> None:
        """Reduce the bytes relayed so far to their text and finish reason."""
        for block in chain(map(zlib.decompress, self._packed), self._kept):
            for whole in events(block):
                fields = fields_of(whole)
                if fields is not None:
                    self._transcript.read(fields.get("choices"))
        self._kept, self._packed = [], []
        self._read_bytes += self._unread_bytes
        self._kept_bytes = self._packed_bytes = self._unread_bytes = 0


def _holds_others(block: bytes) -> bool:
    """Whether an event is no chunk of an answer; the end marker that ends the block is none to be looked at."""
    missing = block.count(b"data:") - block.count(b'"choices"')
    return missing > 0 and not (missing == 1 and block.endswith(_END))


def _usages(block: bytes) -> list[int]:
    """Return where members stand that may be usage objects. Inside a JSON string their quotes would be escaped.

    They are counted before they are looked for, from the end, where most stand: of many scans these are the quickest.
    """
    count = block.count(_USAGE)
    if count:
        count -= block.count(_USAGE + _NO_USAGE[0])
    found: list[int] = []
    at = len(block)
    while count:
        at = block.rfind(_USAGE, 0, at)
        if not block.startswith(_NO_USAGE[0], at + len(_USAGE)):
            count -= 1
            if not block.startswith(_NO_USAGE[1], at + len(_USAGE)):
                found.append(at)
    return found[::-1]


def _is_open(choices: object) -> bool:
    """Whether an event belongs to an answer that goes on."""
    listed = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return bool(listed) and all(finish_of(choice) is None for choice in listed)

"""Which requests are traced, and the ids that their calls carry upstream (W3C trace context). Sends finished spans on.

A client that sends a `traceparent` decides for its request; others are drawn. For a request that is not traced nothing
is kept, and its client's own `traceparent` passes upstream as it came. https://www.w3.org/TR/trace-context.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.config.settings import OtelSettings
from gateway.money.row import LedgerRow
from gateway.operators.spans import STABILITY, Conventions, TracedCall, TraceIds, TraceSpan, conventions_of, spans_of

_PARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_MOST: Final = 10_000
"""Requests that are traced at a time; beyond it none is begun."""

Send = Callable[[int, Sequence[TraceSpan]], None]
"""Takes the spans of one trace, by its id."""


class Tracer:
    """The traces of one process. It belongs to the thread of the event loop."""

    def __init__(
        self,
        sample: float,
        send: Send,
        names: Conventions,
        draw: Callable[[], float] = random.random,
        bits: Callable[[int], int] = random.getrandbits,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the share of requests that are traced where their clients do not say."""
        self.close: Final = close
        """Sends what waits. It may take seconds: call it in a thread."""
        self._sample, self._send, self._names, self._draw, self._bits = sample, send, names, draw, bits
        self._traced: dict[str, TraceIds] = {}

    def __repr__(self) -> str:
        return f"Tracer(sample={self._sample}, under_way={len(self._traced)})"

    def begin(self, request_id: str, headers: Mapping[bytes, bytes]) -> None:
        """Decide whether a request is traced."""
        said = headers.get(b"traceparent")
        parent = None if said is None else _PARENT.fullmatch(said.strip())
        if parent is None:
            if self._draw() < self._sample and len(self._traced) < _MOST:
                self._traced[request_id] = TraceIds(self._new_id(128), self._new_id(64), None)
        elif int(parent[3], 16) & 1 and len(self._traced) < _MOST:
            self._traced[request_id] = TraceIds(int(parent[1], 16), self._new_id(64), int(parent[2], 16))

    def carried(self, request_id: str, number: int, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers of a request's call of this number, with the call's own id where it is traced."""
        ids = self._traced.get(request_id)
        if ids is None:
            return headers
        while len(ids.calls) <= number:
            ids = self._traced[request_id] = ids._replace(calls=(*ids.calls, self._new_id(64)))
        return {**headers, "traceparent": f"00-{ids.trace:032x}-{ids.calls[number]:016x}-01"}

    def ended(self, request_id: str) -> TraceIds | None:
        """Return the ids of a request that is over; None where it was not traced."""
        return self._traced.pop(request_id, None)

    def finish(self, ids: TraceIds, row: LedgerRow, calls: Sequence[TracedCall], now: int) -> None:
        """Send the spans of a request that ended now, in nanoseconds since 1970."""
        while len(ids.calls) < len(calls):
            ids = ids._replace(calls=(*ids.calls, self._new_id(64)))
        self._send(ids.trace, list(spans_of(ids, self._new_id(64), row, calls, now, self._names)))

    def _new_id(self, bits: int) -> int:
        return self._bits(bits) or 1


def tracer_of(settings: OtelSettings, environ: Mapping[str, str], instance: str) -> Tracer | None:
    """Make a tracer that sends to the collector of the configuration; None where it names none."""
    if settings.endpoint is None:
        return None
    from gateway.operators.otel import SpanSender  # noqa: PLC0415  # an extra, and a fifth of a second

    send = SpanSender(settings.endpoint, settings.headers, instance)
    return Tracer(settings.sample, send, conventions_of(environ.get(STABILITY, "")), close=send.close)

"""Sends spans and metrics to a collector over OTLP. The door of OpenTelemetry, which the extra `otel` installs.

Spans are handed over as they are finished: a thread of the library sends them in batches, and drops what its queue of
2,048 does not take, so that a collector that is away costs no request anything. Metrics are sent by the parent of the
workers, once a minute: the sums that it has of all of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.operators.families import GENERATIVE, GENERATIVE_TOKENS, MetricFamily
from gateway.operators.spans import Conventions, TraceSpan, attributes_of
from gateway.operators.spans import SpanKind as OurKind
from gateway.operators.tallies import Key

_KINDS: Final[Mapping[OurKind, SpanKind]] = {
    "server": SpanKind.SERVER,
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
}
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_DELAY_MILLIS: Final = 1_000.0
_SEND_SECONDS: Final = 5.0
_CLOSE_MILLIS: Final = 1_000


class SpanSender:
    """Sends the spans of one process. `close` may take seconds: call it in a thread."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], instance: str) -> None:
        """Take the address of a collector (as http://127.0.0.1:4318), and what this process is called."""
        self._resource = _resource(instance)
        self._scope = InstrumentationScope("gateway", _version())
        exporter = OTLPSpanExporter(_signal(endpoint, "traces"), headers=dict(headers), timeout=_SEND_SECONDS)
        self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MILLIS)

    def __call__(self, trace: int, spans: Sequence[TraceSpan]) -> None:
        """Hand over the spans of a trace, and return at once."""
        for one in spans:
            parent = None if one.parent is None else self._context(trace, one.parent, remote=one.kind == "server")
            status = Status(StatusCode.UNSET) if one.error is None else Status(StatusCode.ERROR, one.error)
            self._processor.on_end(
                ReadableSpan(
                    one.name,
                    self._context(trace, one.id),
                    parent,
                    self._resource,
                    one.attributes,
                    kind=_KINDS[one.kind],
                    status=status,
                    start_time=one.start,
                    end_time=one.end,
                    instrumentation_scope=self._scope,
                )
            )

    def close(self) -> None:
        """Send what waits, as far as the collector takes it."""
        self._processor._batch_processor.shutdown(_CLOSE_MILLIS)  # noqa: SLF001  # its own takes half a minute

    @staticmethod
    def _context(trace: int, span: int, *, remote: bool = False) -> SpanContext:
        return SpanContext(trace, span, remote, _SAMPLED)


class MetricSender:
    """Sends sums of all workers, from a thread of its own, until it is closed."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        instance: str,
        sums: Callable[[], Mapping[Key, Sequence[int]]],
        names: Conventions,
        seconds: float,
    ) -> None:
        """Take the address of a collector, what gives the sums, and how often they are sent."""
        self._exporter = OTLPMetricExporter(_signal(endpoint, "metrics"), headers=dict(headers), timeout=_SEND_SECONDS)
        self._resource, self._scope = _resource(instance), InstrumentationScope("gateway", _version())
        self._sums, self._names, self._seconds = sums, names, seconds
        self._start = time.time_ns()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            self._send()
        self._send()

    def _send(self) -> None:
        by_family: dict[str, list[tuple[Key, Sequence[int]]]] = {}
        for key, numbers in self._sums().items():
            by_family.setdefault(key[0], []).append((key[1:], numbers))
        now = time.time_ns()
        metrics = [
            self._metric(family, [self._point(family, *one, now) for one in by_family[family.name]])
            for family in GENERATIVE
            if family.name in by_family
        ]
        if metrics:
            scopes = [ScopeMetrics(self._scope, metrics, "")]
            self._exporter.export(MetricsData([ResourceMetrics(self._resource, scopes, "")]))

    def _metric(self, family: MetricFamily, points: Sequence[HistogramDataPoint]) -> Metric:
        unit = "{token}" if family is GENERATIVE_TOKENS else "s"
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
        return Metric(family.name, family.description, unit, data)

    def _point(self, family: MetricFamily, labels: Key, numbers: Sequence[int], now: int) -> HistogramDataPoint:
        counts, total = list(numbers[:-1]), numbers[-1] / family.scale
        named = attributes_of(family, labels, self._names)
        unknown: Any = None  # the least and the most are optional on the wire
        return HistogramDataPoint(
            named, self._start, now, sum(counts), total, counts, family.bounds, min=unknown, max=unknown
        )

    def close(self) -> None:
        """Send once more, and stop."""
        self._closed.set()
        self._thread.join(_CLOSE_MILLIS / 1000)
        self._exporter.shutdown(_CLOSE_MILLIS)


def _resource(instance: str) -> Resource:
    """Describe this process; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES name the service where they are set."""
    made = Resource.create({"service.version": _version(), "service.instance.id": instance})
    is_named = not str(made.attributes["service.name"]).startswith("unknown_service")
    return made if is_named else made.merge(Resource({"service.name": "gateway"}))


def _signal(endpoint: str, signal: str) -> str:
    """Return the address for a signal: the path of OTLP over HTTP, behind the one that was given."""
    return f"{endpoint.rstrip('/')}/v1/{signal}"


def _version() -> str:
    try:
        return version("gateway-llm")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"

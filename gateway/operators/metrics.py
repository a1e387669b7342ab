"""The metrics of all workers as Prometheus reads them, at a port of their own. The door of prometheus_client.

The parent of the workers exposes them, in a thread: it reads their files, so that a worker is neither asked nor held
up, and what a worker has counted outlives it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.config import MetricsSettings, OtelSettings
from gateway.operators import families
from gateway.operators.families import BY_NAME, FAMILIES, LabelBounds, MetricFamily
from gateway.operators.spans import STABILITY, conventions_of, interval_seconds
from gateway.operators.tallies import Key, Tallies, shared_folder

_MOST_READERS: Final = 8
"""Requests for the metrics that are answered at a time; further ones are closed at once."""
_READER_SECONDS: Final = 10.0


class CannotExpose(Exception):
    """The metrics cannot be served; the message says what to change."""


class Exposition(Collector):
    """The sums of all workers, those that died included."""

    def __init__(self, folder: Path) -> None:
        """Take the folder in which the workers count."""
        self._tallies = Tallies(folder)
        self._past: dict[Key, list[int]] = {}
        """Of workers that are no more, what remains true."""
        self._bounds = LabelBounds()
        self._own = {families.RESTARTS: 0, families.RELOAD_FAILURES: 0}
        self._lock = threading.Lock()

    def reload_failed(self) -> None:
        """Count a changed configuration that could not be used."""
        with self._lock:
            self._own[families.RELOAD_FAILURES] += 1

    def worker_died(self) -> None:
        """Count a worker that died without being told to: whoever keeps it knows, also of one that never counted."""
        with self._lock:
            self._own[families.RESTARTS] += 1

    def sums(self) -> dict[Key, list[int]]:
        """Return the numbers of every series, those of all workers made one."""
        with self._lock:
            living: dict[Key, list[int]] = {}
            for worker in self._tallies.read():
                into = living if worker.is_alive else self._past
                for key, numbers in worker.series.items():
                    self._merge(into, key, numbers, is_alive=worker.is_alive)
            for key, numbers in self._past.items():
                self._merge(living, key, numbers, is_alive=True)
            for family, number in self._own.items():
                living[family.name,] = [number]
            return {key: numbers for key, numbers in living.items() if numbers[0] != families.GONE}

    def _merge(self, into: dict[Key, list[int]], key: Key, numbers: list[int], *, is_alive: bool) -> None:
        family = BY_NAME.get(key[0])
        if family is None or not (is_alive or family.merging == "sum"):
            return
        key = (family.name, *self._bounds.bounded(family, key[1:]))
        known = into.get(key)
        if known is None:
            into[key] = numbers[:]
        elif family.merging == "highest" or families.GONE in {known[0], numbers[0]}:
            known[0] = max(known[0], numbers[0])
        elif family.merging == "lowest":
            known[0] = min(known[0], numbers[0])
        else:
            into[key] = [one + other for one, other in zip(known, numbers, strict=True)]

    def collect(self) -> Iterable[Metric]:
        """Write the sums in units, family by family."""
        by_family: dict[str, list[tuple[Key, list[int]]]] = {}
        for key, numbers in sorted(self.sums().items()):
            by_family.setdefault(key[0], []).append((key[1:], numbers))
        for family in FAMILIES:
            yield _metric(family, by_family.get(family.name, ()))

    def close(self) -> None:
        self._tallies.close()


def _metric(family: MetricFamily, series: Iterable[tuple[Key, list[int]]]) -> Metric:
    name, text, labels, scale = family.name, family.description, family.labels, family.scale
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for values, numbers in series:
            histogram.add_metric(values, _buckets(family, numbers), numbers[-1] / scale)
        return histogram
    if family.kind == "counter":
        counter = CounterMetricFamily(name, text, labels=labels)
        for values, numbers in series:
            counter.add_metric(values, numbers[0] / scale)
        return counter
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for values, numbers in series:
        if numbers[0] or family is not families.CONFIG_INFO:
            gauge.add_metric(values, numbers[0] / scale)
    return gauge


def _buckets(family: MetricFamily, numbers: list[int]) -> list[tuple[str, float]]:
    """Add the buckets up: each holds what is below it too."""
    out, so_far = [], 0
    for bound, number in zip([*map(_bound, family.bounds), "+Inf"], numbers, strict=False):
        so_far += number
        out.append((bound, float(so_far)))
    return out


def _bound(bound: float) -> str:
    return repr(float(bound))


# ----------------------------------------------------------------------------------------------------------- serving


class _Server(ThreadingHTTPServer):
    """Serves one page to a few readers at a time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry = registry
        self._places = threading.BoundedSemaphore(_MOST_READERS)
        super().__init__((host, port), _Page)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a reader that leaves is no news."""


class _Page(BaseHTTPRequestHandler):
    server: _Server
    timeout = _READER_SECONDS
    server_version = "gateway"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, "text/plain; charset=utf-8", b"the metrics are at /metrics\n")
            return
        encode, content_type = choose_encoder(self.headers.get("accept", ""))
        self._answer(200, content_type, encode(self.server.registry))

    do_HEAD = do_GET  # noqa: N815  # http.server asks for it by this name

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as http.server calls it
        """Log nothing for each scrape."""


@contextlib.contextmanager
def served_metrics(
    page: MetricsSettings, otel: OtelSettings, environ: Mapping[str, str]
) -> Iterator[tuple[Exposition, dict[str, str]]]:
    """Expose the metrics of this process and of workers that it starts, and send them to a collector, as far as the
    configuration says so; yields them and what the log should say of it. Raises `CannotExpose`.
    """
    with contextlib.ExitStack() as closing:
        try:
            exposition = Exposition(closing.enter_context(shared_folder()))
        except OSError as error:
            raise CannotExpose(f"metrics: cannot make a folder for the workers' counts: {error}") from error
        closing.callback(exposition.close)
        facts: dict[str, str] = {}
        if page.port is not None:
            facts["metrics"] = closing.enter_context(_page(exposition, page.host, page.port))
        if otel.endpoint is not None:
            from gateway.operators.otel import MetricSender  # noqa: PLC0415  # an extra

            seconds = interval_seconds(environ)
            names = conventions_of(environ.get(STABILITY, ""))
            sender = MetricSender(otel.endpoint, otel.headers, socket.gethostname(), exposition.sums, names, seconds)
            closing.callback(sender.close)
        yield exposition, facts


@contextlib.contextmanager
def _page(exposition: Exposition, host: str, port: int) -> Iterator[str]:
    """Serve the page, in a thread; yields its address."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exposition)
    try:
        server = _Server(host, port, registry)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        told = f"metrics: cannot listen on {host}:{port}: {reason}; set another metrics.port, 0 = any free one"
        raise CannotExpose(told) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield _url(server.socket)
    finally:
        server.shutdown()
        server.server_close()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    return f"http://{shown}:{port}/metrics"

"""Which requests are traced, what their calls carry upstream, and what their spans say. Read by a receiver of OTLP."""

import gzip
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, http_attributes

from gateway.config import load
from gateway.config.startup import startup_problems
from gateway.money.row import LedgerRow, Milliseconds
from gateway.operators.otel import SpanSender
from gateway.operators.spans import NEW, OLD, TracedCall, TraceIds, TraceSpan, conventions_of, spans_of
from gateway.operators.tracing import Tracer
from gateway.providers.credentials import every
from tests.contract.running import (
    KEYS,
    Gateway,
    Upstream,
    config,
    free_port,
    model,
    running_gateway,
    running_upstream,
    wait_for,
    write_setup,
)

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, CLIENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
NOW = 1_700_000_000_000_000_000


class Sent:
    """What a tracer sends."""

    def __init__(self) -> None:
        self.traces: list[tuple[int, list[TraceSpan]]] = []

    def __call__(self, trace: int, spans: Any) -> None:
        self.traces.append((trace, list(spans)))


def tracer(sample: float = 1.0, draw: float = 0.5) -> Tracer:
    return Tracer(sample, Sent(), OLD, lambda: draw)


# ---------------------------------------------------------------- which requests


def test_a_client_that_says_so_is_traced_under_its_own_span():
    one = tracer(sample=0.0)
    one.begin("gw_1", {b"traceparent": PARENT})
    ids = one.ended("gw_1")
    assert ids is not None
    assert (ids.trace, ids.parent) == (TRACE, CLIENT)
    assert one.ended("gw_1") is None


def test_a_client_that_says_no_is_not_traced_and_its_header_passes_as_it_came():
    one, headers = tracer(), {"traceparent": PARENT.decode()[:-2] + "00"}
    one.begin("gw_1", {b"traceparent": PARENT[:-2] + b"00"})
    assert one.carried("gw_1", 0, headers) is headers
    assert one.ended("gw_1") is None


@pytest.mark.parametrize(
    "said", [None, b"", b"nonsense", b"ff" + PARENT[2:], PARENT[:3] + b"0" * 32 + PARENT[35:], b"0" * 5000]
)
def test_others_are_drawn(said: bytes | None):
    headers = {} if said is None else {b"traceparent": said}
    for sample, is_traced in ((0.6, True), (0.4, False)):
        one = tracer(sample)
        one.begin("gw_1", headers)
        ids = one.ended("gw_1")
        assert (ids is not None) == is_traced
        assert ids is None or (ids.parent is None and ids.trace != TRACE)


def test_each_call_carries_an_id_of_its_own_in_the_clients_trace():
    one = tracer()
    one.begin("gw_1", {b"traceparent": PARENT})
    first, second, again = (one.carried("gw_1", number, {"tracestate": "a=1"}) for number in (0, 1, 0))
    assert first == again
    assert first["tracestate"] == "a=1"
    ids = one.ended("gw_1")
    assert ids is not None
    assert [first["traceparent"], second["traceparent"]] == [f"00-{TRACE:032x}-{call:016x}-01" for call in ids.calls]


# ---------------------------------------------------------------- what spans say


def row(**columns: Any) -> LedgerRow:
    usual = {
        "id": "gw_1",
        "status": "answered",
        "http_status": 200,
        "model": "gpt-5",
        "ms": Milliseconds(100.0, 2.0, 40.0),
    }
    return LedgerRow(event="settled", **{**usual, "user": "a person", "tags": ("secret",), **columns})


def call(**more: Any) -> TracedCall:
    usual: dict[str, Any] = {"provider": "openai", "model": "gpt-5-2025", "deployment": "gpt-5#0:openai/gpt-5"}
    usual |= {"start": NOW - 98_000_000, "end": NOW, "first_byte": NOW - 58_000_000, "error": None, "address": None}
    return TracedCall(**{**usual, **more})


def spans(one: LedgerRow, *calls: TracedCall, names: Any = OLD) -> list[TraceSpan]:
    return list(spans_of(TraceIds(1, 2, None, (3, 4)), 9, one, calls, NOW, names))


def test_a_request_is_a_server_span_over_its_plan_and_its_calls():
    server, plan, client = spans(row(plan="rewritten", tokens_before=900, tokens_after=400), call())
    assert [one.kind for one in (server, plan, client)] == ["server", "internal", "client"]
    assert [one.name for one in (server, plan, client)] == ["POST /chat/completions", "plan", "chat gpt-5-2025"]
    assert (server.start, server.end) == (NOW - 100_000_000, NOW)
    assert (plan.start, plan.end) == (NOW - 100_000_000, NOW - 98_000_000)
    assert (plan.parent, client.parent, client.id) == (2, 2, 3)
    assert plan.attributes["gateway.tokens.after"] == 400
    assert server.error is None


def test_what_failed_says_why_and_only_what_is_our_fault_is_an_error():
    failed = call(error="429", end=NOW - 50_000_000, first_byte=None)
    first, second = spans(row(), failed, call(provider="anthropic"))[2:]
    assert (first.error, first.attributes["error.type"], second.error) == ("429", "429", None)
    assert "gen_ai.usage.input_tokens" not in first.attributes
    assert "gen_ai.usage.input_tokens" in second.attributes
    refused = spans(row(status="refused", http_status=400, error="context_length_exceeded"))[0]
    assert (refused.error, refused.attributes["error.type"]) == (None, "context_length_exceeded")
    assert spans(row(status="failed", http_status=502, error="as upstream says"))[0].error == "502"


@pytest.mark.parametrize(
    ("provider", "old", "new"),
    [
        ("openai", "openai", "openai"),
        ("azure", "az.ai.openai", "azure.ai.openai"),
        ("bedrock", "aws.bedrock", "aws.bedrock"),
        ("xai", "xai", "x_ai"),
        ("gemini", "gcp.gemini", "gcp.gemini"),
        ("mistral", "mistral_ai", "mistral_ai"),
        ("hosted_vllm", "hosted_vllm", "hosted_vllm"),
    ],
)
def test_a_provider_is_called_as_the_conventions_call_it(provider: str, old: str, new: str):
    assert spans(row(), call(provider=provider))[-1].attributes["gen_ai.system"] == old
    latest = spans(row(stream=True), call(provider=provider), names=NEW)[-1].attributes
    assert latest["gen_ai.provider.name"] == new
    assert latest["gen_ai.response.time_to_first_chunk"] == 0.04
    assert "gen_ai.system" not in latest


def test_names_are_those_of_the_conventions():
    known = {
        value
        for module in (gen_ai_attributes, http_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    used = {
        name for names in (OLD, NEW) for one in spans(row(stream=True), call(), names=names) for name in one.attributes
    }
    assert {name for name in used if name.startswith(("gen_ai.", "http."))} <= known
    values = {one.value for one in gen_ai_attributes.GenAiSystemValues}
    assert set(OLD.providers.values()) <= values
    assert set(NEW.providers.values()) <= {one.value for one in gen_ai_attributes.GenAiProviderNameValues}


def test_the_latest_conventions_are_opted_into():
    assert conventions_of("http,gen_ai_latest_experimental") is NEW
    assert conventions_of("") is conventions_of("database") is OLD


# ---------------------------------------------------------------- a receiver


@dataclass
class Receiver:
    """A collector: the spans that it was sent, and what they came with."""

    port: int = 0
    spans: list[Wire] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)

    def of(self, trace: bytes) -> list[Wire]:
        return [one for one in self.spans if one.trace_id == trace]


def attributes(pairs: Any) -> dict[str, Any]:
    def value(one: KeyValue) -> Any:
        return getattr(one.value, str(one.value.WhichOneof("value")))

    return {one.key: value(one) for one in pairs}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    received = Receiver()

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            received.headers.append(dict(self.headers))
            received.raw.append(body)
            if self.path == "/v1/metrics":
                received.metrics.append(ExportMetricsServiceRequest.FromString(body))
            traces = ExportTraceServiceRequest.FromString(body if self.path == "/v1/traces" else b"")
            for resource in traces.resource_spans:
                received.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_spans:
                    received.spans += scope.spans
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield received
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def traced(receiver: Receiver, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    otel = {
        "endpoint": f"http://127.0.0.1:{receiver.port}",
        "sample": 0,
        "headers": {"x-collector-key": "collector-secret-1"},
    }
    nobody = model("backed", "gpt-5-mini", f"http://127.0.0.1:{free_port()}", timeout=5)
    listed = [model("fast", "gpt-5-mini", upstream.url, timeout=60), nobody]
    settings = config(upstream.url, model_list=listed, fallbacks=[{"backed": ["fast"]}], otel=otel)
    settings["keys"] = [{**one, "models": ["fast"]} if "models" in one else one for one in settings["keys"]]
    folder = tmp_path_factory.mktemp("traced")
    opted = "gen_ai_latest_experimental"
    path = write_setup(folder, settings)
    with running_gateway(path, OTEL_SEMCONV_STABILITY_OPT_IN=opted, OTEL_METRIC_EXPORT_INTERVAL="300") as one:
        yield one


def ask(gateway: Gateway, trace: bytes | None, user: str, **more: Any) -> int:
    body = {
        "model": "fast",
        "user": user,
        "messages": [{"role": "user", "content": f'<<{{"id": "{user}"}}>> the content of {user}'}],
        **more,
    }
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-type": "application/json", "tracestate": "a=1"}
    if trace is not None:
        headers["traceparent"] = f"00-{trace.hex()}-{CLIENT:016x}-01"
    request = urllib.request.Request(f"{gateway.url}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def received(receiver: Receiver, trace: bytes, count: int) -> list[Wire]:
    wait_for(lambda: len(receiver.of(trace)) >= count, 10, f"{count} spans")
    found = receiver.of(trace)
    assert len(found) == count
    return found


def test_a_receiver_of_otlp_reads_the_spans_and_the_upstream_is_under_its_call(
    traced: Gateway, receiver: Receiver, upstream: Upstream
):
    trace = bytes(range(16))
    assert ask(traced, trace, "traced-1", stream=True, stream_options={"include_usage": True}) == 200
    server, plan, client = received(receiver, trace, 3)
    assert (server.kind, client.kind) == (Wire.SPAN_KIND_SERVER, Wire.SPAN_KIND_CLIENT)
    assert server.parent_span_id == CLIENT.to_bytes(8, "big")
    assert plan.parent_span_id == client.parent_span_id == server.span_id
    assert (
        server.start_time_unix_nano
        <= client.start_time_unix_nano
        <= client.end_time_unix_nano
        <= server.end_time_unix_nano
    )
    assert plan.end_time_unix_nano <= client.start_time_unix_nano + 1_000_000
    seen = upstream.received_headers("traced-1")
    assert seen["traceparent"] == f"00-{trace.hex()}-{client.span_id.hex()}-01"
    assert seen["tracestate"] == "a=1"
    said, settled = attributes(client.attributes), traced.settled("traced-1")
    assert said["gen_ai.provider.name"] == "openai"
    assert said["gen_ai.usage.input_tokens"] == settled["prompt_tokens"]
    assert said["gen_ai.usage.output_tokens"] == settled["completion_tokens"]
    assert (said["server.address"], said["server.port"]) == ("127.0.0.1", upstream.port)
    asked = attributes(server.attributes)
    assert asked["gateway.request.id"] == settled["id"]
    assert asked["gateway.cost_usd"] == settled["cost_nanousd"] / 1e9
    assert receiver.resources[-1]["service.name"] == "gateway"
    assert {value for one in receiver.headers for name, value in one.items() if name == "x-collector-key"} == {
        "collector-secret-1"
    }


def test_each_call_is_a_span_and_the_one_that_failed_an_error(traced: Gateway, receiver: Receiver):
    trace = bytes(range(16, 32))
    assert ask(traced, trace, "traced-2", model="backed") == 200
    _, _, failed, answered = received(receiver, trace, 4)
    assert (failed.status.code, failed.status.message) == (2, "connect")
    assert answered.status.code == 0
    assert failed.end_time_unix_nano <= answered.start_time_unix_nano


def test_a_request_that_is_refused_is_traced_too(traced: Gateway, receiver: Receiver):
    trace = bytes(range(32, 48))
    assert ask(traced, trace, "traced-3", model="nothing") == 404
    (server,) = received(receiver, trace, 1)
    assert attributes(server.attributes)["http.response.status_code"] == 404
    assert server.status.code == 0


def test_spans_hold_no_content_and_no_user(traced: Gateway, receiver: Receiver):
    trace = bytes(range(48, 64))
    assert ask(traced, trace, "traced-4", metadata={"tags": ["tag-of-4"]}) == 200
    received(receiver, trace, 3)
    everything = b"".join(receiver.raw)
    assert b"traced-" not in everything
    assert b"the content of" not in everything
    assert b"tag-of" not in everything
    assert b"sk-" not in everything


def test_a_share_of_none_traces_nobody_who_does_not_ask_for_it(traced: Gateway, receiver: Receiver, upstream: Upstream):
    before = len(receiver.spans)
    assert ask(traced, None, "traced-5") == 200
    assert "traceparent" not in upstream.received_headers("traced-5")
    marker = bytes(range(64, 80))
    assert ask(traced, marker, "traced-6") == 200
    received(receiver, marker, 3)
    assert len(receiver.spans) == before + 3


def test_a_collector_that_is_away_holds_up_neither_requests_nor_the_end():
    sender = SpanSender(f"http://127.0.0.1:{free_port()}", {}, "here")
    began = time.monotonic()
    for number in range(1, 100):
        sender(number, spans(row(), call()))
    assert time.monotonic() - began < 1
    sender.close()
    assert time.monotonic() - began < 5


def test_metrics_go_to_the_collector_by_the_same_conventions(traced: Gateway, receiver: Receiver):
    assert ask(traced, None, "traced-7") == 200
    answered = [row for row in traced.rows() if row["event"] == "settled" and row["status"] == "answered"]
    tokens = {
        kind: sum(row[f"{name}_tokens"] for row in answered)
        for kind, name in (("input", "prompt"), ("output", "completion"))
    }

    def seen() -> dict[str, Any]:
        scopes = [
            one
            for sent in receiver.metrics[-1:]
            for resource in sent.resource_metrics
            for one in resource.scope_metrics
        ]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def sums(metric: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for point in metric.histogram.data_points:
            kind = attributes(point.attributes)["gen_ai.token.type"]
            found[kind] = found.get(kind, 0) + point.sum
        return found

    wait_for(
        lambda: "gen_ai.client.token.usage" in seen() and sums(seen()["gen_ai.client.token.usage"]) == tokens,
        10,
        "sums",
    )
    usage, duration = seen()["gen_ai.client.token.usage"], seen()["gen_ai.client.operation.duration"]
    assert (usage.unit, duration.unit) == ("{token}", "s")
    assert list(usage.histogram.data_points[0].explicit_bounds)[:4] == [1, 4, 16, 64]
    assert {attributes(point.attributes)["gen_ai.provider.name"] for point in usage.histogram.data_points} == {"openai"}
    assert sum(point.count for point in duration.histogram.data_points) == len(answered)
    assert usage.histogram.aggregation_temporality == 2


# ---------------------------------------------------------------- the configuration


def loaded(folder: Path, otel: str) -> Any:
    listed = "model_list: [{model_name: m, litellm_params: {model: demo/gpt-4o}}]"
    lines = (listed, f"otel: {otel}", "ledger: {dir: ledger}", "state: {dir: state}", "")
    (folder / "config.yaml").write_text("\n".join(lines))
    return load(folder / "config.yaml", {})


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there = loaded(tmp_path, "{endpoint: 'http://127.0.0.1:4318', sample: 1%}")
    assert startup_problems(there) == ()
    assert there.otel.sample == 0.01
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    (problem,) = startup_problems(there)
    assert "gateway-llm[otel]" in problem.message
    assert problem.key_path == ("otel", "endpoint")
    assert problem.line == 2


def test_headers_for_the_collector_are_hidden_from_the_log(tmp_path: Path):
    there = loaded(tmp_path, "{endpoint: 'http://127.0.0.1:4318', headers: {authorization: Bearer abcdefgh12345}}")
    assert "abcdefgh12345" not in every(there).out_of_text("sent Bearer abcdefgh12345")
    assert "abcdefgh12345" not in repr(there)

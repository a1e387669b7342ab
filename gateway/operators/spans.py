"""A finished request as spans: the request, its plan, and each call, by the GenAI conventions of OpenTelemetry. Pure.

Spans are made of the ledger's row once the request is over: while it runs, nothing is kept of it but the ids that its
calls carry upstream. They hold no content, and no user or tag: ids, names of the configuration, sizes, durations.
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans and …/http/http-spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from gateway.money.row import LedgerRow
from gateway.operators.families import MetricFamily
from gateway.wire.operations import PATHS

Value = str | int | float | bool
SpanKind = Literal["server", "internal", "client"]

STABILITY: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST: Final = "gen_ai_latest_experimental"
"""The word in that variable for the conventions after version 1.36."""


@dataclass(frozen=True, slots=True)
class Conventions:
    """The names that changed between version 1.36 of the GenAI conventions and the latest."""

    provider: str
    providers: Mapping[str, str]
    """By our name of a provider, theirs; others are called as we call them."""
    has_cached: bool
    """Whether there are names for cached tokens and for streams."""


_BOTH: Final = {
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "text-completion-openai": "openai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
}
OLD: Final = Conventions(
    "gen_ai.system",
    MappingProxyType({**_BOTH, "azure": "az.ai.openai", "azure_ai": "az.ai.inference"}),
    has_cached=False,
)
"""Of 1.36: github.com/open-telemetry/semantic-conventions/blob/v1.36.0/docs/registry/attributes/gen-ai.md."""
NEW: Final = Conventions(
    "gen_ai.provider.name",
    MappingProxyType({**_BOTH, "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "xai": "x_ai"}),
    has_cached=True,
)


def conventions_of(opt_in: str) -> Conventions:
    """Return the conventions that OTEL_SEMCONV_STABILITY_OPT_IN asks for: a list of words, of which one is ours."""
    return NEW if LATEST in {word.strip() for word in opt_in.split(",")} else OLD


def interval_seconds(environ: Mapping[str, str]) -> float:
    """Return how often metrics are sent: OTEL_METRIC_EXPORT_INTERVAL in milliseconds, else a minute."""
    said = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return max(0.1, int(said) / 1000) if said.isdecimal() and len(said) < 10 else 60.0


OPERATIONS: Final[Mapping[str, str]] = {
    "completions": "text_completion",
    "embeddings": "embeddings",
    "chat": "chat",
    "responses": "chat",
    "messages": "chat",
    "compact": "chat",
}
"""Their names of our operations; others are called as we call them."""
_PATHS: Final[Mapping[str, str]] = {str(operation): path for operation, path in PATHS.items()}


class TraceIds(NamedTuple):
    """The ids of a request that is traced."""

    trace: int
    span: int
    """Of the request itself."""
    parent: int | None
    """Of the client's span, where it sent one."""
    calls: tuple[int, ...] = ()
    """Of the calls, in their order."""


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One call, as its span tells of it. Moments are nanoseconds since 1970."""

    provider: str
    model: str
    deployment: str
    start: int
    end: int
    first_byte: int | None
    """The moment an answer began; None where none did."""
    error: str | None
    """The status, or what happened instead of an answer."""
    address: tuple[str, int] | None
    """Host and port, where the configuration names them."""


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span. Moments are nanoseconds since 1970."""

    name: str
    kind: SpanKind
    id: int
    parent: int | None
    start: int
    end: int
    attributes: Mapping[str, Value]
    error: str | None = None


def spans_of(
    ids: TraceIds, plan_id: int, row: LedgerRow, calls: Sequence[TracedCall], now: int, names: Conventions
) -> Iterator[TraceSpan]:
    """Make the spans of a request that ended now."""
    began = now - _nanoseconds(row.ms.total)
    path = _PATHS.get(row.operation, "")
    request = {
        "http.request.method": "POST",
        "http.route": path,
        "http.response.status_code": row.http_status,
        "gen_ai.request.model": row.model,
        "gateway.request.id": row.id,
        "gateway.team": row.team,
        "gateway.key": row.key,
        "gateway.policy": row.policy,
        "gateway.status": row.status or "",
        **({} if row.cost_nanousd is None else {"gateway.cost_usd": row.cost_nanousd / 1e9}),
    }
    fault = _fault(row)
    is_ours = row.status == "failed" or (fault is not None and row.http_status >= 500)
    if fault is not None:
        request["error.type"] = fault
    yield TraceSpan(f"POST {path}", "server", ids.span, ids.parent, began, now, request, fault if is_ours else None)
    if row.ms.plan is not None:
        yield _plan(ids, plan_id, row, began)
    for id_, call in zip(ids.calls, calls, strict=False):
        yield _call(ids, id_, row, call, names, is_last=call is calls[-1])


def _fault(row: LedgerRow) -> str | None:
    """Return why a request was not answered: our own code, or a status; never a word of the upstream's."""
    if row.status == "answered":
        return None
    if row.status == "failed":
        return str(row.http_status)
    return row.error or row.status


def _plan(ids: TraceIds, plan_id: int, row: LedgerRow, began: int) -> TraceSpan:
    facts: dict[str, Value] = {
        "gateway.plan": row.plan,
        "gateway.tokens.before": row.tokens_before,
        "gateway.tokens.after": row.tokens_after,
        "gateway.counted": row.counted,
    }
    if row.budget is not None:
        facts["gateway.tokens.budget"] = row.budget
    return TraceSpan("plan", "internal", plan_id, ids.span, began, began + _nanoseconds(row.ms.plan), facts)


def _call(ids: TraceIds, id_: int, row: LedgerRow, call: TracedCall, names: Conventions, *, is_last: bool) -> TraceSpan:
    operation = OPERATIONS.get(row.operation, row.operation)
    facts: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        names.provider: names.providers.get(call.provider, call.provider),
        "gen_ai.request.model": call.model,
        "gateway.deployment": call.deployment,
    }
    if call.address is not None:
        facts["server.address"], facts["server.port"] = call.address
    if call.error is not None:
        facts["error.type"] = call.error
    if is_last and call.error is None:
        facts |= _usage(row, names)
    if names.has_cached and row.stream:
        facts["gen_ai.request.stream"] = True
        if call.first_byte is not None:
            facts["gen_ai.response.time_to_first_chunk"] = (call.first_byte - call.start) / 1e9
    return TraceSpan(f"{operation} {call.model}", "client", id_, ids.span, call.start, call.end, facts, call.error)


def _usage(row: LedgerRow, names: Conventions) -> dict[str, Value]:
    """Say what the answer used: all of the row, which holds what failed calls used too."""
    usage: dict[str, Value] = {
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
    }
    if names.has_cached:
        usage |= {
            "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": row.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": row.reasoning_tokens,
        }
    return usage


def _nanoseconds(milliseconds: float | None) -> int:
    return round((milliseconds or 0.0) * 1e6)


def attributes_of(family: MetricFamily, labels: Sequence[str], names: Conventions) -> dict[str, str]:
    """Return the attributes of a series that is sent to a collector; what is empty is left out."""
    named = {
        "operation": "gen_ai.operation.name",
        "provider": names.provider,
        "model": "gen_ai.request.model",
        "type": "gen_ai.token.type",
        "error_type": "error.type",
    }
    said = dict(zip(family.labels, labels, strict=True))
    said["provider"] = names.providers.get(said["provider"], said["provider"])
    return {named[label]: value for label, value in said.items() if value}

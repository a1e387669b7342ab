"""The families of metrics: their names, labels and units, as a table. Pure.

Each is kept as integers of a part of its unit (nano-dollars, tenths of a millisecond), so that a sum is exact; whoever
writes them out divides. No label holds a user, a tag, an id or a text of a client's: a model under asterisks is called
as its entry is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Merging = Literal["sum", "now", "highest", "lowest"]
"""How the values of several workers become one: all that ever were added up; or of those that live, the sum, the
highest, the lowest."""

NANO: Final = 1_000_000_000
GONE: Final = -(1 << 63)
"""The value of a gauge whose series is no more: nobody shows it."""
_TENTHS: Final = 10_000
"""Of a second: durations in the ledger are rounded to tenths of a millisecond."""


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One name, with all its series."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    description: str
    scale: int = 1
    """The number of parts in a unit."""
    merging: Merging = "sum"
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in units; one without a bound follows."""

    @property
    def width(self) -> int:
        """The number of integers of one series; a histogram's last is its sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def parts(self) -> tuple[int, ...]:
        """The bounds as integers."""
        return tuple(round(bound * self.scale) for bound in self.bounds)


def _counter(name: str, labels: str, description: str, scale: int = 1) -> MetricFamily:
    return MetricFamily(f"gateway_{name}", "counter", tuple(labels.split()), description, scale)


def _gauge(name: str, labels: str, description: str, merging: Merging = "now", scale: int = 1) -> MetricFamily:
    return MetricFamily(f"gateway_{name}", "gauge", tuple(labels.split()), description, scale, merging)


def _seconds(name: str, labels: str, description: str, *bounds: float) -> MetricFamily:
    return MetricFamily(f"gateway_{name}", "histogram", tuple(labels.split()), description, _TENTHS, bounds=bounds)


REQUESTS: Final = _counter(
    "requests_total",
    "team model path status stream",
    "Entries of the ledger: requests by how they ended (answered, refused, failed, cancelled).",
)
DURATION: Final = _seconds(
    "request_duration_seconds",
    "model status",
    "Seconds from a request's arrival to the end of its answer.",
    *(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
FIRST_CHUNK: Final = _seconds(
    "time_to_first_chunk_seconds",
    "model",
    "Seconds from the arrival of a streamed request to the first bytes from upstream.",
    *(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)
PLANNING: Final = _seconds(
    "plan_duration_seconds",
    "",
    "Seconds from a request's arrival to its plan, reading included.",
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
IN_FLIGHT: Final = _gauge("in_flight", "model", "Requests under way: opened in the ledger and not settled.")
ATTEMPTS: Final = _counter(
    "upstream_attempts_total", "deployment outcome", "Calls to deployments by what came of them."
)
FALLBACKS: Final = _counter(
    "fallbacks_total", "from to", "Requests for one model that the deployments of another were called for."
)
DEPLOYMENT_UP: Final = _gauge(
    "deployment_up", "deployment", "1, or 0 while any worker lets the deployment rest after failures.", "lowest"
)
TOKENS: Final = _counter(
    "tokens_total",
    "team model kind",
    "Tokens by kind: prompt (cached and cache_write are part of it), completion (reasoning is part of it).",
)
COST: Final = _counter(
    "cost_usd_total", "team key model", "US dollars spent; what has no price is in none of it.", NANO
)
SAVED: Final = _gauge(
    "saved_usd",
    "team policy",
    "US dollars that requests would have cost more as they came, since the start; negative where rewriting cost more.",
    "sum",
    NANO,
)
PLANS: Final = _counter("plans_total", "policy plan", "Plans by kind: unchanged, rewritten, observed, refused.")
REMOVED: Final = _counter(
    "tokens_removed_total", "policy component", "Prompt tokens that rewriting took out, by component."
)
MISSED: Final = _counter(
    "values_missed_total", "policy", "Values that a rewrite took out and that the answer used all the same."
)
REFUSALS: Final = _counter(
    "refusals_total",
    "policy component",
    "Requests refused, by the component that is too big, else by the error's code.",
)
CACHE_MISSES: Final = _counter(
    "cache_misses_total", "policy cause", "Requests for which a provider's cache read less than it could have."
)
CACHE_LOST: Final = _counter("cache_lost_usd_total", "cause", "US dollars that those requests cost more for it.", NANO)
BUDGET_REMAINING: Final = _gauge(
    "budget_remaining_usd",
    "scope period",
    "US dollars left of a hard limit, less what requests under way hold.",
    "lowest",
    NANO,
)
HOLDS: Final = _gauge("holds", "scope", "Requests under way that hold something of a limit.", "highest")
LEDGER_OWED: Final = _gauge("ledger_owed_lines", "", "Lines of the ledger that wait for a disk that takes them.")
LEDGER_ERRORS: Final = _counter("ledger_write_errors_total", "", "Writes of the ledger that the disk did not take.")
STATE_UP: Final = _gauge("state_up", "", "1, or 0 while any worker goes on without the state.", "lowest")
CONFIG_INFO: Final = _gauge("config_info", "digest", "The workers that run the configuration of this digest.")
RELOAD_FAILURES: Final = _counter(
    "config_reload_failures_total", "", "Times that a changed configuration could not be read or used."
)
RESTARTS: Final = _counter("worker_restarts_total", "", "Workers that died without being told to.")
LOOP_LAG: Final = _gauge(
    "event_loop_lag_seconds",
    "",
    "Seconds that the event loop of the worst worker was late, at most, in the last second.",
    "highest",
    _TENTHS,
)
MEMORY: Final = _gauge("memory_bytes", "part", "Bytes of all workers: resident, and what they remember by part.")

FAMILIES: Final[tuple[MetricFamily, ...]] = (
    *(REQUESTS, DURATION, FIRST_CHUNK, PLANNING, IN_FLIGHT, ATTEMPTS, FALLBACKS, DEPLOYMENT_UP, TOKENS, COST, SAVED),
    *(PLANS, REMOVED, MISSED, REFUSALS, CACHE_MISSES, CACHE_LOST),
    *(BUDGET_REMAINING, HOLDS, LEDGER_OWED, LEDGER_ERRORS, STATE_UP, CONFIG_INFO),
    *(RELOAD_FAILURES, RESTARTS, LOOP_LAG, MEMORY),
)
"""In the order of the documentation."""

GENERATIVE_TOKENS: Final = MetricFamily(
    "gen_ai.client.token.usage",
    "histogram",
    ("operation", "provider", "model", "type"),
    "Tokens of a call's prompt (input) and of its answer (output).",
    bounds=tuple(4.0**power for power in range(14)),
)
GENERATIVE_SECONDS: Final = MetricFamily(
    "gen_ai.client.operation.duration",
    "histogram",
    ("operation", "provider", "model", "error_type"),
    "Seconds from a request's plan to the end of its answer.",
    _TENTHS,
    bounds=tuple(0.01 * 2**power for power in range(14)),
)
GENERATIVE: Final = (GENERATIVE_TOKENS, GENERATIVE_SECONDS)
"""What a collector of OpenTelemetry's is sent, by its conventions; the bounds are theirs.
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics."""
BY_NAME: Final[Mapping[str, MetricFamily]] = {family.name: family for family in (*FAMILIES, *GENERATIVE)}

OTHER: Final = "other"
"""The value of a label for all that are beyond its bound."""
UNKNOWN: Final = "unknown"
"""The model of a request for a name that no entry covers: the client's own text is no label."""

MOST_SERIES: Final = 10_000
"""Series of one worker; a further one is folded into the series of its family whose labels are all `other`."""
MOST_VALUES: Final[Mapping[str, int]] = {
    "team": 200,
    "key": 500,
    "model": 300,
    "deployment": 500,
    "policy": 100,
    "digest": 20,
    "scope": 500,
}
"""Values of a label, in the order in which they come; what is beyond becomes `other`."""
MOST_OF_ANOTHER: Final = 60
_SHARED: Final = {"from": "model", "to": "model"}


def most_values(label: str) -> int:
    """Return how many values a label has at most, besides `other`."""
    return MOST_VALUES.get(_SHARED.get(label, label), MOST_OF_ANOTHER)


class LabelBounds:
    """The values that each label has, and those that it takes no more."""

    def __init__(self, on_full: Callable[[str], None] = lambda _label: None) -> None:
        """Take what is called with a label that is full, for each value that it does not take."""
        self._on_full = on_full
        self._values: dict[str, set[str]] = {}

    def bounded(self, family: MetricFamily, values: tuple[str, ...]) -> tuple[str, ...]:
        """Return the values, each that its label has no room for as `other`."""
        return tuple([self._bounded(*one) for one in zip(family.labels, values, strict=True)])

    def _bounded(self, label: str, value: str) -> str:
        label = _SHARED.get(label, label)
        values = self._values.setdefault(label, set())
        if value in values or value in {OTHER, UNKNOWN}:
            return value
        if len(values) < most_values(label):
            values.add(value)
            return value
        self._on_full(label)
        return OTHER

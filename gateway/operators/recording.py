"""The counts of one worker: each row of the ledger as additions to its series. A subscriber of money.row.

The ledger is the source of truth: a settled row is counted when the ledger has taken it, so that the sum of a series is
the ledger's, to the nano-dollar. Requests of one kind add to the same places, which are looked up once; a usual request
costs some two microseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from gateway.money.row import LedgerRow, Milliseconds
from gateway.operators import families
from gateway.operators.families import MOST_SERIES, OTHER, UNKNOWN, LabelBounds, MetricFamily, most_values
from gateway.operators.spans import OPERATIONS
from gateway.operators.tallies import SPARE, Tally
from gateway.wire.operations import PATHS

_MOST_KINDS: Final = 4_096
"""Kinds of requests whose places are remembered; beyond it they are all looked up anew."""

_DURATIONS, _FIRST_CHUNKS, _PLANNING = (
    one.parts for one in (families.DURATION, families.FIRST_CHUNK, families.PLANNING)
)
_TYPES: Final = ("input", "output")
_TOKENS, _CALLS = families.GENERATIVE_TOKENS.parts, families.GENERATIVE_SECONDS.parts
_SUM_OF_DURATION, _SUM_OF_FIRST_CHUNK, _SUM_OF_PLANNING = (
    one.width - 1 for one in (families.DURATION, families.FIRST_CHUNK, families.PLANNING)
)

_PATHS: Final[Mapping[str, str]] = {str(operation): path for operation, path in PATHS.items()}

CallEnd = tuple[str, str]
"""A call that is over: the name of its deployment, and what came of it."""


class _Places(NamedTuple):
    """Where requests of one kind are added."""

    duration: int
    first_chunk: int
    planning: int
    counters: tuple[int, int, int, int, int, int, tuple[int, ...], int | None]
    """Of requests, plans, prompt tokens, cached ones, completion tokens, cost, calls, and of a fallback where it is
    one.
    """


class Recorder:
    """The counts of one worker. It belongs to the thread of the event loop."""

    def __init__(
        self,
        tally: Tally,
        model_of: Callable[[str], str | None],
        log: FilteringBoundLogger,
        *,
        generative: bool = False,
    ) -> None:
        """Take the numbers, and what gives the name in the configuration of a model that was asked for: None where no
        entry covers it. `generative`: whether what OpenTelemetry's conventions ask for is counted too.
        """
        self._is_generative = generative
        self._tally, self._model_of, self._log = tally, model_of, log
        self._values: Final = tally.values
        self._bounds: Final = LabelBounds(self._tell)
        self._places: dict[tuple[object, ...], _Places] = {}
        self._generated: dict[tuple[str, str, str, str], tuple[int, int, int]] = {}
        self._in_flight: dict[str, int] = {}
        """By the model asked for, the place of those under way."""
        self._under_way: dict[str, int] = {}
        """By the id of a request, the place of those of its model."""
        self._told: set[str] = set()
        self._rested: set[str] = set()
        """Names of deployments, of which there are no more than entries and providers."""
        self._digest: str | None = None
        self._errors = 0

    def __repr__(self) -> str:
        return f"Recorder({self._tally!r}, under_way={len(self._under_way)})"

    # ------------------------------------------------------------ rows

    def opened(self, row: LedgerRow) -> None:
        """Count a request among those under way; not what the gateway asks for itself."""
        if row.kind == "request":
            place = self._in_flight.get(row.model)
            if place is None:
                place = self._place(families.IN_FLIGHT, self.model(row.model))
                if len(self._in_flight) >= _MOST_KINDS:
                    self._in_flight.clear()
                self._in_flight[row.model] = place
            self._under_way[row.id] = place
            self._values[place] += 1

    def settled(self, row: LedgerRow, calls: tuple[CallEnd, ...] = (), called: str | None = None) -> None:
        """Count the end of a request.

        `calls` are those that were made for it; `called` is the model whose deployment was the last of them, where it
        is not the one asked for.
        """
        self.ended(row.id)
        try:
            self._count(row, calls, called)
        except ValueError:  # a number that 64 bits do not hold: somebody's usage is beyond reason
            self._log.error("metrics cannot count a row", id=row.id, cost_nanousd=row.cost_nanousd)

    def ended(self, request_id: str) -> None:
        """Take a request from those under way, whether or not the ledger took its end."""
        if (place := self._under_way.pop(request_id, None)) is not None:
            self._values[place] -= 1

    def _count(self, row: LedgerRow, calls: tuple[CallEnd, ...], called: str | None) -> None:
        values, status, plan, stream = self._values, row.status, row.plan, row.stream
        kind = (row.key, row.team, row.model, status, stream, row.policy, plan, row.kind, row.operation, calls, called)
        at = self._places.get(kind)
        if at is None:
            at = self._placed(kind, row, calls, called)
        requests, plans, prompt, cached, completion, cost, ends, fallback = at.counters
        values[requests] += 1
        values[plans] += 1
        values[prompt] += row.prompt_tokens
        values[completion] += row.completion_tokens
        values[cost] += row.cost_nanousd or 0
        if row.cached_tokens:
            values[cached] += row.cached_tokens
        for place in ends:
            values[place] += 1
        if fallback is not None:
            values[fallback] += 1
        self._times(at, row.ms, stream=stream)
        if plan == "rewritten" or status == "refused" or row.saved_nanousd or row.miss is not None:
            self._rare(row)
        if row.cache_write_tokens or row.reasoning_tokens:
            self._more_tokens(row)
        if self._is_generative and row.deployment is not None:
            self._generate(row, row.deployment.partition("/")[0])

    def _generate(self, row: LedgerRow, provider: str) -> None:
        """Count a request that was sent as the conventions of OpenTelemetry do: its tokens and its time."""
        ms, error = row.ms, "" if row.status == "answered" else str(row.http_status)
        kind = (row.operation, provider, row.model, error)
        places = self._generated.get(kind) or self._generated_places(kind)
        if ms.total is not None:
            self._observe(places[0], _CALLS, max(0, round((ms.total - (ms.plan or 0.0)) * 10)))
        if not error:
            self._observe(places[1], _TOKENS, row.prompt_tokens)
            self._observe(places[2], _TOKENS, row.completion_tokens)

    def _generated_places(self, kind: tuple[str, str, str, str]) -> tuple[int, int, int]:
        """Look up where time and tokens of such requests are added, and remember it."""
        called, provider, name, error = kind
        labels = (OPERATIONS.get(called, called), provider, self.model(name))
        tokens = [SPARE if error else self._place(families.GENERATIVE_TOKENS, *labels, one) for one in _TYPES]
        if len(self._generated) >= _MOST_KINDS:
            self._generated.clear()
        places = self._generated[kind] = self._place(families.GENERATIVE_SECONDS, *labels, error), tokens[0], tokens[1]
        return places

    def _observe(self, at: int, parts: tuple[int, ...], number: int) -> None:
        """Add a number to a histogram."""
        self._values[at + bisect_left(parts, number)] += 1
        self._values[at + len(parts) + 1] += number

    def _times(self, at: _Places, ms: Milliseconds, *, stream: bool) -> None:
        values, total, plan = self._values, ms.total, ms.plan
        if total is not None:
            tenths = round(total * 10)
            values[at.duration + bisect_left(_DURATIONS, tenths)] += 1
            values[at.duration + _SUM_OF_DURATION] += tenths
        if plan is not None:
            tenths = round(plan * 10)
            values[at.planning + bisect_left(_PLANNING, tenths)] += 1
            values[at.planning + _SUM_OF_PLANNING] += tenths
        if stream and (first := ms.upstream_first) is not None:
            tenths = round(((plan or 0.0) + first) * 10)
            values[at.first_chunk + bisect_left(_FIRST_CHUNKS, tenths)] += 1
            values[at.first_chunk + _SUM_OF_FIRST_CHUNK] += tenths

    def _placed(
        self, kind: tuple[object, ...], row: LedgerRow, calls: tuple[CallEnd, ...], called: str | None
    ) -> _Places:
        """Look up where requests of this kind are added, and remember it."""
        place, model, status = self._place, self.model(row.model), row.status or OTHER
        where = _PATHS.get(row.operation, OTHER) if row.kind == "request" else row.kind
        to = None if called is None else self.model(called)
        found = _Places(
            place(families.DURATION, model, status),
            place(families.FIRST_CHUNK, model) if row.stream else SPARE,
            place(families.PLANNING),
            (
                place(families.REQUESTS, row.team, model, where, status, "true" if row.stream else "false"),
                place(families.PLANS, _policy(row), row.plan),
                place(families.TOKENS, row.team, model, "prompt"),
                place(families.TOKENS, row.team, model, "cached"),
                place(families.TOKENS, row.team, model, "completion"),
                place(families.COST, row.team, row.key, model),
                tuple(place(families.ATTEMPTS, *call) for call in calls),
                None if to is None or to == model else place(families.FALLBACKS, model, to),
            ),
        )
        if len(self._places) >= _MOST_KINDS:
            self._places.clear()
        self._places[kind] = found
        return found

    def _rare(self, row: LedgerRow) -> None:
        """Count what most requests have nothing of."""
        policy = _policy(row)
        if row.plan == "rewritten" and row.deployment is not None:
            for component, (before, after) in row.components.tokens.items():
                if before > after:
                    self.add(families.REMOVED, before - after, policy, component)
        if row.missed:
            self.add(families.MISSED, row.missed, policy)
        if row.saved_nanousd:
            self.add(families.SAVED, row.saved_nanousd, row.team, policy)
        if row.miss is not None:
            self.add(families.CACHE_MISSES, 1, policy, row.miss)
            self.add(families.CACHE_LOST, row.lost_nanousd, row.miss)
        if row.status == "refused":
            too_big = None if row.refusal is None else row.refusal.component
            self.add(families.REFUSALS, 1, policy, too_big or row.error or OTHER)

    def _more_tokens(self, row: LedgerRow) -> None:
        model = self.model(row.model)
        for kind, tokens in (("cache_write", row.cache_write_tokens), ("reasoning", row.reasoning_tokens)):
            if tokens:
                self.add(families.TOKENS, tokens, row.team, model, kind)

    # ------------------------------------------------------------ what is looked at from time to time

    def add(self, family: MetricFamily, amount: int, *labels: str) -> None:
        """Add to a series."""
        self._values[self._place(family, *labels)] += amount

    def set(self, family: MetricFamily, amount: int, *labels: str) -> None:
        """Say what a gauge shows now, in parts of its unit."""
        self._values[self._place(family, *labels)] = amount

    def write_errors(self, so_far: int) -> None:
        """Take how many writes of the ledger have failed since the start."""
        more, self._errors = so_far - self._errors, so_far
        self.add(families.LEDGER_ERRORS, more)

    def rest(self, declared: Iterable[str], resting: Collection[str]) -> None:
        """Take the deployments that there are, and those of them that rest; one that did once is shown on."""
        self._rested.update(resting)
        for name in {*declared, *self._rested}:
            self.set(families.DEPLOYMENT_UP, int(name not in resting), name)

    def configured(self, digest: str) -> None:
        """Say which configuration this worker runs; it runs the one before no more."""
        if self._digest is not None:
            self.set(families.CONFIG_INFO, 0, self._digest)
        self._digest = digest
        self.set(families.CONFIG_INFO, 1, digest)

    def look_up(self, model_of: Callable[[str], str | None]) -> None:
        """Look names of models up in another configuration from now on."""
        self._model_of = model_of
        for known in (self._places, self._generated, self._in_flight):
            known.clear()

    def close(self) -> None:
        """Let go of the numbers: the worker ends."""
        self._tally.close()

    # ------------------------------------------------------------ labels

    def model(self, name: str) -> str:
        """Return the label of a model that was asked for: never the client's own text."""
        return self._model_of(name) or UNKNOWN

    def _place(self, family: MetricFamily, *labels: str) -> int:
        """Return the place of a series; of the one for all others where there is no more room."""
        at = self._tally.known_place((family.name, *labels))
        if at is not None:
            return at
        bounded = self._bounds.bounded(family, labels)
        if len(self._tally) >= MOST_SERIES:
            self._tell("series")
            bounded = (OTHER,) * len(labels)
        at = self._tally.place((family.name, *bounded), family.width)
        return SPARE if at is None else at

    def _tell(self, label: str) -> None:
        """Say once that further values of a label, or further series, are counted together."""
        if label not in self._told:
            self._told.add(label)
            most = MOST_SERIES if label == "series" else most_values(label)
            self._log.warning("metrics count the others together", label=label, most=most)


def _policy(row: LedgerRow) -> str:
    """Return the name of the policy, without the digest of its text."""
    return row.policy.partition("@")[0]

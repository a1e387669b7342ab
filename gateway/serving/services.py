"""The services that all requests share, made and closed by the app and handed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.budget.tokens import Counters
from gateway.config import Config
from gateway.config.wildcards import is_pattern
from gateway.keep_warm.schedule import NoWarmUps, WarmUps
from gateway.memory import USUAL, Memory
from gateway.money.keys import Keys
from gateway.money.ledger import Ledger
from gateway.money.ledger.lookup import Lookups
from gateway.money.limits import Limits
from gateway.operators.recording import Recorder
from gateway.operators.tracing import Tracer
from gateway.prompt_cache.system_text_sharing import SystemTextWatch
from gateway.prompt_cache.tracker import PromptCaches
from gateway.response_cache.vectors import NoVectors, VectorCache
from gateway.rewriting.memory import Known
from gateway.routing.calibrations import Calibrations
from gateway.routing.catalogue import Catalogue
from gateway.routing.health import Health
from gateway.routing.loads import Loads
from gateway.routing.models import Model, model_of, models_of
from gateway.routing.too_long import Windows
from gateway.routing.upstreams.by_kind import Upstreams
from gateway.serving.capacity import Capacity
from gateway.serving.client import COMMENT_SECONDS
from gateway.serving.early_folds import EarlyFolds, NoEarlyFolds
from gateway.serving.large.pool import LargeBodies
from gateway.serving.large.threads import FairThreads
from gateway.serving.limiting import Limiting
from gateway.serving.stored_ids import StoredIds
from gateway.serving.tightening import Tightenings
from gateway.state.shared import Sharing
from gateway.summaries.jobs import NoSummaries, SummaryJobs
from gateway.wire.memo import Memo


class Models(Mapping[str, Model]):
    """The models of a configuration by every name that a client may ask for: declared, aliased, under asterisks.

    Only the declared ones are listed. A model that asterisks cover is made when it is asked for first.
    """

    def __init__(
        self, catalogue: Catalogue, *, unpriced: bool, most_bytes: int = USUAL.bytes_for("covered models")
    ) -> None:
        self._catalogue, self._unpriced = catalogue, unpriced
        self._declared = models_of(catalogue, unpriced=unpriced)
        self._covered: Memory[str, Model] = Memory(most_bytes)

    def __getitem__(self, name: str) -> Model:
        found = self._declared.get(name) or self._covered.get(name)
        if found is not None:
            return found
        aliased = self._catalogue.aliases.get(name)
        if aliased is not None and aliased != name:
            return self[aliased]
        under = self._catalogue.under(name)
        if under is None:
            raise KeyError(name)
        pattern, group = under
        found = model_of(name, group, unpriced=self._unpriced, declared_as=pattern)
        self._covered.put(name, found, _MODEL_BYTES)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def names(self) -> Iterator[tuple[str, str]]:
        """List what clients may ask for, each with the name it is declared under; asterisks where nobody knows more."""
        for name, model in self._declared.items():
            known = self._catalogue.names_under(name) if is_pattern(name) else []
            yield from ((one, name) for one in known or [name] if model.is_served)
        yield from ((alias, meant) for alias, meant in self._catalogue.aliases.items() if self[meant].is_served)


def declared_name(models: Mapping[str, Model], name: str) -> str | None:
    """Return the name under which the configuration has a model that was asked for; None where it has none."""
    model = models.get(name)
    return None if model is None else model.declared_as or model.name


_MODEL_BYTES: Final = 4096
"""Bytes kept for names that asterisks cover."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The part of a gateway that a reload replaces: the configuration, and what follows from it alone."""

    config: Config
    keys: Keys
    models: Mapping[str, Model]
    limits: Limits | None
    """None where nothing is limited."""


@dataclass(frozen=True, slots=True)
class Gateway(Configured):
    """One process's share of everything: a configuration, and the services that outlive it."""

    counters: Counters
    calibrations: Calibrations
    sharing: Sharing
    """The values that processes keep together through the state, and the way to it."""
    ledger: Ledger
    upstreams: Upstreams
    health: Health
    memo: Memo
    log: FilteringBoundLogger
    now: Callable[[], float]
    """Unix seconds."""
    monotonic: Callable[[], float]
    """Seconds."""
    draw: Callable[[], float]
    """A number in [0, 1), for the choice between deployments without a prompt cache."""
    loads: Loads = field(default_factory=Loads)
    """For the choice between those that have one."""
    windows: Windows = field(default_factory=Windows)
    """The windows that deployments turned out to have."""
    known: Known = field(default_factory=Known)
    """Planning's memory of texts."""
    system_texts: SystemTextWatch = field(default_factory=SystemTextWatch)
    """The lines of them that change with each request."""
    planning: FairThreads = field(default_factory=FairThreads)
    """The threads in which long requests are read, planned, and looked through for what was missed."""
    large: LargeBodies | None = None
    """The processes for large ones; None if threads do."""
    prompt_caches: PromptCaches = field(default_factory=PromptCaches)
    """The expected contents of the providers' caches."""
    summaries: SummaryJobs | NoSummaries = field(default_factory=NoSummaries)
    early_folds: EarlyFolds | NoEarlyFolds = field(default_factory=NoEarlyFolds)
    """The decisions on folds that nothing forces."""
    vectors: VectorCache = field(default_factory=NoVectors)
    """Vectors of what was embedded before."""
    lookups: Lookups = field(default_factory=Lookups)
    """Lookups of past requests."""
    stored: StoredIds = field(default_factory=StoredIds)
    """The ids of what providers keep, and their owners."""
    background: set[asyncio.Task[None]] = field(default_factory=set)
    """Entries that wait for answers which are written in the background."""
    without_usage: set[str] = field(default_factory=set)
    """Deployments whose server refused to be asked for usage in a stream."""

    comment_seconds: float = COMMENT_SECONDS
    """Seconds that a stream's client waits for output before it gets a comment instead."""
    warm_ups: WarmUps | NoWarmUps = field(default_factory=NoWarmUps)
    limiting: Limiting | None = None
    """The holds of requests under limits. Asked only where there are `limits`."""
    tightenings: Tightenings | None = None
    """The conversations that go on under the steps of their policies. Asked only where there are `limits`."""
    capacity: Capacity = field(default_factory=Capacity)
    """The requests that are under way, and room for more."""
    recorder: Recorder | None = None
    """The counts of this process; None where no metrics are exposed."""
    tracer: Tracer | None = None
    """The traces of this process; None where none are sent."""

    def under(self, configured: Configured) -> Gateway:
        """Return the gateway under another configuration; services, and all that they have learned, stay.

        What they learned of a deployment that is another one now is forgotten.
        """
        changed = _changed(self.models, configured.models)
        self.health.forget(changed)
        self.windows.forget(changed)
        self.without_usage.difference_update(changed)
        self.calibrations.add(configured.models.values())
        if self.limiting is not None:
            self.limiting.limits = configured.limits or Limits()
            if self.limiting.notices is not None:
                self.limiting.notices.hooks = configured.config.webhooks
        return replace(self, **{one.name: getattr(configured, one.name) for one in fields(Configured)})


def _changed(before: Mapping[str, Model], after: Mapping[str, Model]) -> frozenset[str]:
    """Name the deployments that are not asked as they were: elsewhere, with another credential, or no more."""
    asked = _by_name(after)
    return frozenset(name for name, one in _by_name(before).items() if asked.get(name) != one)


def _by_name(models: Mapping[str, Model]) -> dict[str, tuple[object, ...]]:
    every = (one for model in models.values() for one in model.declared)
    return {one.name: (one.provider, one.model, one.api_base, one.api_key, one.params) for one in every}

"""What all requests share, made and closed by the app and handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from gateway.budget.tokens import Counters
from gateway.calibrating import Calibrations
from gateway.client import COMMENT_SECONDS
from gateway.config import Config
from gateway.early_folds import EarlyFolds
from gateway.fitting import Model, planning_threads
from gateway.money.keys import Keys
from gateway.money.ledger import Ledger
from gateway.prompt_caches import PromptCaches
from gateway.rewriting.memory import Known
from gateway.routing.health import Health
from gateway.routing.loads import Loads
from gateway.routing.upstreams import Upstreams
from gateway.shared_heads import SystemTexts
from gateway.summaries import Summaries
from gateway.warm_up import WarmUps
from gateway.wire.chat import Memo


@dataclass(frozen=True, slots=True)
class Gateway:
    """One process's share of everything."""

    config: Config
    keys: Keys
    models: Mapping[str, Model]
    counters: Counters
    calibrations: Calibrations
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
    known: Known = field(default_factory=Known)
    """What planning remembers of texts."""
    system_texts: SystemTexts = field(default_factory=SystemTexts)
    """Which lines of them change with each request."""
    planning: Executor = field(default_factory=planning_threads)
    """Where long requests are read and planned, and looked through for what was missed."""
    prompt_caches: PromptCaches = field(default_factory=PromptCaches)
    """What the providers' caches are believed to hold."""
    summaries: Summaries | None = None
    """None where nobody is to write any."""
    early_folds: EarlyFolds | None = None
    """None where nothing is decided about folds that nothing forces."""
    comment_seconds: float = COMMENT_SECONDS
    """How long a stream's client waits for output before it gets a comment instead."""
    warm_ups: WarmUps | None = None
    """None where no policy names a prefix that is to be kept warm."""

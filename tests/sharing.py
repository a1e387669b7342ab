"""One process's share of the state, for tests of what is shared."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway import config
from gateway.state import State, open_state
from gateway.state.shared import Shared, Sharing
from gateway.state.store import REST_SECONDS, Store

PATIENT_SECONDS = 5.0
"""How long planning may wait in tests that are not about it: these run on busy machines."""


def at(folder: Path) -> Callable[[], State]:
    return partial(open_state, config.StateSettings(dir=folder))


def store(opens: Callable[[], State], rest_seconds: float = REST_SECONDS) -> Store:
    return Store(opens, structlog.get_logger("gateway"), PATIENT_SECONDS, rest_seconds)


def sharing(opens: Callable[[], State], *shared: Shared[Any, Any], rest_seconds: float = REST_SECONDS) -> Sharing:
    made = Sharing(store(opens, rest_seconds), structlog.get_logger("gateway"))
    for one in shared:
        made.add(one)
    return made

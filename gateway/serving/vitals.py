"""The state of a worker that no request tells of, looked at once a second for its metrics: its loop, disk, memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

from gateway.operators import families
from gateway.operators.recording import Recorder
from gateway.serving.limit_gauges import LimitGauges
from gateway.serving.services import Gateway

_STEP_SECONDS: Final = 0.25
_STEPS: Final = 4
_LIMITS_EACH: Final = 2
"""Seconds between looks at the counters of limits."""
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


async def follow(gateway: Callable[[], Gateway], recorder: Recorder) -> None:
    """Note the vitals of this process until cancelled. `gateway` returns what a reload may have changed."""
    loop = asyncio.get_running_loop()
    note(gateway(), recorder, 0.0)
    limits = LimitGauges(recorder)
    for second in count():
        if second % _LIMITS_EACH == 0:
            await limits.note(gateway())
        worst = 0.0
        for _ in range(_STEPS):
            due = loop.time() + _STEP_SECONDS
            await asyncio.sleep(_STEP_SECONDS)
            worst = max(worst, loop.time() - due)
        note(gateway(), recorder, worst)


def note(gateway: Gateway, recorder: Recorder, lag_seconds: float) -> None:
    """Note them as they are now."""
    recorder.set(families.LOOP_LAG, round(lag_seconds * families.LOOP_LAG.scale))
    recorder.set(families.LEDGER_OWED, gateway.ledger.owed)
    recorder.write_errors(gateway.ledger.write_errors)
    recorder.set(families.STATE_UP, int(gateway.sharing.store.is_up))
    recorder.rest(_declared(gateway), gateway.health.resting(gateway.monotonic()))
    for part, held in _memory(gateway):
        recorder.set(families.MEMORY, held, part)


def _declared(gateway: Gateway) -> Iterator[str]:
    """Name the deployments of the configuration, once each: not for every operation that one is asked for."""
    for model in gateway.models.values():
        groups = [model.deployments] if model.deployments else model.metered.values()
        yield from (one.name for group in groups for one in group)


def _memory(gateway: Gateway) -> Iterator[tuple[str, int]]:
    """Say what the process holds, and what the largest parts of its memory do."""
    yield "resident", _resident()
    yield "token counts", gateway.counters.held_bytes
    yield "planning", gateway.known.held_bytes
    yield "parsed requests", gateway.memo.held_bytes


def _resident() -> int:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):  # no Linux
        return 0

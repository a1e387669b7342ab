"""Processes that begin to count one ledger at the same moment: none is refused, and none waits for one that failed."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import structlog

from gateway.state import StateUnavailable
from gateway.state.counters import AccountCharge, Granted, Offer
from gateway.state.counters_disk import DiskCounters
from gateway.state.counters_memory import MemoryCounters
from gateway.state.counting import Counting, Recounted
from gateway.state.counting_owner import CountingOwner

CHARGES = [AccountCharge("$gateway", "money", 0, 0, 10**9)]
OFFERS = [Offer(1, 1, 1)]
STARTS, WORKERS = 20, 4


TIMEOUT = 0.4


def counting(folder: Path, store: Any = None, seconds: float = 0.0) -> Counting:
    """Make one whose ledger takes so long to be counted."""

    def count(_wanted: Collection[str]) -> Recounted:
        time.sleep(seconds)
        return Recounted({}, {})

    owner = CountingOwner(folder)
    return Counting(store or DiskCounters(folder), count, owner, structlog.get_logger(), time.time, TIMEOUT)


async def first_hold(folder: Path, name: str, seconds: float) -> str:
    counters = counting(folder, seconds=seconds)
    try:
        outcome = await counters.take_hold(name, CHARGES, OFFERS)
        return "granted" if isinstance(outcome, Granted) else "short"
    except StateUnavailable as error:
        return str(error)
    finally:
        await counters.close()


def begin(folder: str, number: int, barrier: Any, ends: Any) -> None:
    for start in range(STARTS):
        place = Path(folder) / str(start)
        barrier.wait(20)
        seconds = 1.5 * TIMEOUT if start < 3 else 0.0  # longer than anybody waits for the counters
        ends.put(asyncio.run(first_hold(place, f"{number}", seconds)))


def test_four_processes_begin_at_once_twenty_times(tmp_path):
    for start in range(STARTS):
        (tmp_path / str(start)).mkdir()
    context = multiprocessing.get_context("fork")
    barrier, ends = context.Barrier(WORKERS), context.Queue()
    workers = [context.Process(target=begin, args=(str(tmp_path), n, barrier, ends)) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    found = [ends.get(timeout=30) for _ in range(STARTS * WORKERS)]
    for worker in workers:
        worker.join(10)
    assert found == ["granted"] * (STARTS * WORKERS)


class Failing(MemoryCounters):
    def run(self, *_: Any) -> Any:
        raise StateUnavailable("the disk is full")


async def test_a_process_that_cannot_begin_keeps_no_other_from_it(tmp_path):
    failed = counting(tmp_path, Failing())
    await failed.begun()
    beside = counting(tmp_path)
    await asyncio.wait_for(beside.begun(), 5)
    assert isinstance(await beside.take_hold("a", CHARGES, OFFERS), Granted)
    await beside.close()
    await failed.close()

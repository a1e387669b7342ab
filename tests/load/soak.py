"""All kinds of requests for a long time: memory and descriptors stay flat, and the books are the provider's.

python -m tests.load.soak --minutes 30 --requests 500000

Every kind of `traffic.py` is asked, in each shape, streamed and whole, with clients that leave, providers that fail and
conversations that are folded and summarised. It ends after so many requests or so many minutes, whichever is first.
Memory is judged from the first tenth of the time on: until then what is remembered fills up.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from tests.contract.raw import resident_bytes
from tests.contract.running import (
    POLICIES,
    Gateway,
    Upstream,
    eventually,
    free_port,
    get,
    running_gateway,
    running_upstream,
    write_setup,
)
from tests.load.client import ask
from tests.load.mixed_load import report_total
from tests.load.mixed_load import setup as every_way
from tests.load.traffic import Sent, endless

FIRST, MOST_GROWTH = 0.1, 0.05
"""The share of the time in which memory may grow, and by how much it may afterwards."""
SAMPLE_SECONDS = 2.0
REST_SECONDS = 20.0
"""More than connections upstream are kept without a call."""
WINDOWS = 18
"""Parts of the time after the first tenth; of each the median counts."""
MOST_DESCRIPTORS = 10
"""More descriptors in the last part of the time than after the first tenth: connections come and go."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway's processes at one moment."""

    at: float
    memory: int
    descriptors: int


def _processes(gateway: Gateway) -> list[int]:
    return [gateway.program.pid, *gateway.children()]


def sampled(gateway: Gateway, at: float) -> Sample:
    every = _processes(gateway)
    descriptors = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in every)
    return Sample(at, sum(map(resident_bytes, every)), descriptors)


def medians(samples: list[Sample]) -> list[Sample]:
    """The median of memory and descriptors in each part of the time after the first tenth."""
    late = [sample for sample in samples if sample.at >= samples[-1].at * FIRST]
    size = max(1, len(late) // WINDOWS)
    parts = [late[at : at + size] for at in range(0, len(late) - size + 1, size)]
    return [
        Sample(part[0].at, int(median(one.memory for one in part)), int(median(one.descriptors for one in part)))
        for part in parts
    ]


@dataclass
class Asked:
    """Requests as their clients saw them end."""

    expected: dict[str, str] = field(default_factory=dict)
    """By id, how the entry of a request ends; `none` has none."""
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    wrong: int = 0


async def ask_on(url: str, requests: Iterator[Sent], at_once: int, until: float) -> Asked:
    """Ask, so many at once, until there are no more or the time is over."""
    asked = Asked()

    async def client(session: aiohttp.ClientSession) -> None:
        for sent in requests:
            asked.expected[sent.id] = sys.intern(sent.entry)
            seen = await ask(session, url, sent)
            asked.kinds[sent.kind] += 1
            if seen.status not in sent.statuses:
                asked.wrong += 1
                if len(asked.problems) < 20:
                    asked.problems.append(f"{sent.id} ({sent.kind}): {seen.status} {seen.body[:200]!r}")
            if time.monotonic() > until:
                return

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(at_once)))
    return asked


@dataclass
class Books:
    """The ledger, added up line by line."""

    opened: int = 0
    settled: int = 0
    nanousd: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    plans: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("*.jsonl")):
        with file.open("rb") as lines:
            for line in lines:
                yield json.loads(line)


def added_up(rows: Iterable[dict[str, Any]], expected: dict[str, str]) -> Books:
    """Add the ledger up, and compare each request's entry with what was expected of it. `expected` is used up."""
    books = Books()
    for row in rows:
        if row["event"] != "settled":
            books.opened += 1
            continue
        books.settled += 1
        books.nanousd += row["cost_nanousd"] or 0
        books.kinds[row["kind"]] += 1
        books.plans[row["plan"]] += 1
        if row["kind"] != "request":
            continue
        wanted = expected.pop(row["user"], "nothing: there is a line too many")
        if row["status"] != wanted:
            books.problems.append(f"{row['user']}: entered as {row['status']}, expected {wanted}")
    books.problems += [f"{id}: no entry" for id, wanted in expected.items() if wanted != "none"]
    return books


def _remembered(port: int) -> dict[str, float]:
    """What the gateway says it remembers, in MB, by part."""
    page = get(f"http://127.0.0.1:{port}/metrics")[1].decode()
    parts = (line.partition("} ") for line in page.splitlines() if line.startswith("gateway_memory_bytes{"))
    return {name.split('"')[1]: round(float(value) / 1e6, 1) for name, _, value in parts}


@dataclass
class Outcome:
    """What a run found; `problems` empty means that every promise held."""

    seconds: float
    asked: Asked
    books: Books
    upstream_nanousd: int
    report_nanousd: int
    parts: list[Sample]
    descriptors_at_rest: tuple[int, int]
    """Before the load, and once its connections are closed."""
    remembered: dict[str, float]
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        count, kinds = self.asked.kinds.total(), self.asked.kinds
        first = self.parts[0]
        shown = " ".join(f"{one.memory / first.memory - 1:+.1%}" for one in self.parts)
        files = " ".join(str(one.descriptors) for one in self.parts)
        return "\n".join(
            [
                f"{count:,} requests in {self.seconds / 60:.1f} minutes ({count / self.seconds:.0f}/s)",
                f"memory {first.memory / 1e6:.0f} MB after the first tenth, then {shown}",
                "remembered in MB: " + ", ".join(f"{name} {value}" for name, value in self.remembered.items()),
                f"descriptors {files}; at rest {self.descriptors_at_rest}",
                (
                    f"ledger {self.books.nanousd:,} nano-dollars, report {self.report_nanousd:,}, "
                    f"provider {self.upstream_nanousd:,}"
                ),
                f"{self.books.settled:,} entries: {dict(self.books.kinds)}, plans {dict(self.books.plans)}",
                ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items())),
                f"{len(self.problems)} problems",
                *self.problems[:20],
            ]
        )


async def run(gateway: Gateway, upstream: Upstream, port: int, count: int, minutes: float, at_once: int) -> Outcome:
    """Ask, wait until the books are closed, and compare."""
    before = sampled(gateway, 0.0)
    samples = [before]
    began = time.monotonic()

    async def sample() -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.append(await asyncio.to_thread(sampled, gateway, time.monotonic() - began))

    sampling = asyncio.create_task(sample())
    asked = await ask_on(gateway.url, islice(endless("soak", 1), count), at_once, began + minutes * 60)
    seconds = time.monotonic() - began
    sampling.cancel()
    problems = list(asked.problems)
    if asked.wrong > len(problems):
        problems.append(f"{asked.wrong} requests ended in another way than they should")
    try:
        await eventually(lambda: not upstream.tally(rows=False)["open"], 60, "the provider's calls to end")
    except TimeoutError as late:
        problems.append(str(late))
    await asyncio.sleep(REST_SECONDS)
    after, remembered = sampled(gateway, seconds), _remembered(port)
    gateway.program.stop(30)
    books = await asyncio.to_thread(lambda: added_up(_lines(gateway.ledger), dict(asked.expected)))
    outcome = Outcome(
        seconds=seconds,
        asked=asked,
        books=books,
        upstream_nanousd=upstream.tally(rows=False)["cost_nanousd"],
        report_nanousd=report_total(gateway)["cost_nanousd"],
        parts=medians(samples),
        descriptors_at_rest=(before.descriptors, after.descriptors),
        remembered=remembered,
        problems=problems + books.problems,
    )
    return judged(outcome, gateway)


def judged(outcome: Outcome, gateway: Gateway) -> Outcome:
    """Add what is wrong with the whole."""
    problems, first, last = outcome.problems, outcome.parts[0], outcome.parts[-1]
    most = max(one.memory for one in outcome.parts)
    if not outcome.books.nanousd == outcome.upstream_nanousd == outcome.report_nanousd:
        problems.append("the three sums differ")
    if most > first.memory * (1 + MOST_GROWTH):
        problems.append(f"memory grew by {most / first.memory - 1:.1%} after the first tenth")
    if last.descriptors > first.descriptors + MOST_DESCRIPTORS:
        problems.append(f"{last.descriptors} descriptors, {first.descriptors} after the first tenth")
    if gateway.program.tracebacks:
        problems.append(f"the gateway logged: {gateway.program.tracebacks[-1]}")
    return outcome


def setup(folder: Path, upstream: Upstream, port: int, workers: int) -> Path:
    """Write a configuration with metrics, whose tight policy shortens, folds and summarises."""
    settings = every_way(upstream.url) | {"metrics": {"port": port}}
    settings["server"] |= {"workers": workers, "max_lag": "20s"}  # it asks as much as there is room for
    tight = {
        **POLICIES["tight"],
        "ladder": {"tool_results": ["minify", "dedupe", "crush", "stub"], "history": ["summarize", "drop_oldest"]},
        "summarize": {"enabled": True},
    }
    return write_setup(folder, settings, {**POLICIES, "tight": tight})


def measure(folder: Path, count: int, minutes: float, at_once: int = 64, workers: int = 1) -> Outcome:
    """Start both programs in `folder`, run, and stop them."""
    port = free_port()
    with running_upstream() as upstream, running_gateway(setup(folder, upstream, port, workers)) as gateway:
        return asyncio.run(run(gateway, upstream, port, count, minutes, at_once))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), said.requests, said.minutes, said.at_once, said.workers)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""`kill -9` under load at random moments: no accepted request without a line, and the report still tells everything.

python -m tests.load.kill_nine --kills 20
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contract.running import (
    Gateway,
    Upstream,
    config,
    free_port,
    run_gateway,
    running_gateway,
    running_upstream,
    start_gateway,
    write_setup,
)
from tests.load.client import Seen, ask_all
from tests.load.traffic import SERVED, mixed

AT_ONCE = 32


@dataclass
class Outcome:
    """What the kills left behind."""

    kills: int
    asked: int
    accepted: int
    settled: int
    unsettled: int
    torn: int
    report: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            (
                f"{self.kills} kills, {self.asked} requests, {self.accepted} accepted, "
                f"{self.settled} settled, {self.unsettled} unsettled, {self.torn} torn lines"
            ),
            f"report: {json.dumps(self.report)}",
            f"{len(self.problems)} problems",
        ]
        return "\n".join([*lines, *self.problems[:20]])


async def _load_until_killed(gateway: Gateway, turn: int, seconds: float) -> list[Seen]:
    """Load the gateway, kill it after so many seconds, and return what its clients saw."""
    stop = asyncio.Event()
    loading = asyncio.create_task(ask_all(gateway.url, mixed(f"kill{turn}", 6_000, turn, SERVED), AT_ONCE, stop))
    await asyncio.sleep(seconds)
    stop.set()  # set in the same step as the kill: no worker asks again in between
    gateway.program.process.kill()
    seen = await loading
    await asyncio.to_thread(gateway.program.wait)
    return seen


def judge(seen: list[Seen], rows: list[dict[str, Any]], called: set[str]) -> list[str]:
    """Every request that upstream saw or that was answered is opened; every whole answer is settled, nothing twice."""
    opened = Counter(row.get("user") for row in rows if row["event"] == "opened")
    settled = Counter(row.get("user") for row in rows if row["event"] == "settled")
    problems = [f"{id}: sent upstream and not in the ledger" for id in called if not opened[id]]
    for one in seen:
        id = one.sent.id
        if one.status == 200 and not opened[id]:
            problems.append(f"{id}: answered and not in the ledger")
        if one.whole and one.status == 200 and settled[id] != 1:
            problems.append(f"{id} ({one.sent.kind}): answered to its end and {settled[id]} settled lines")
        if one.whole and one.status != 200:
            problems.append(f"{id} ({one.sent.kind}): {one.status} {one.body[:200]!r}")
    problems += [f"{id}: {count} opened lines" for id, count in opened.items() if count > 1]
    problems += [f"{id}: {count} settled lines" for id, count in settled.items() if count > 1]
    return problems


def _torn(folder: Path) -> int:
    """How many lines of a ledger are no JSON."""
    torn = 0
    for line in itertools.chain.from_iterable(file.read_bytes().splitlines() for file in folder.glob("*.jsonl")):
        try:
            json.loads(line)
        except ValueError:
            torn += bool(line)
    return torn


def _report(gateway: Gateway, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The report's total over a ledger with unsettled requests, and what is wrong with it."""
    ended = run_gateway("report", "--ledger", str(gateway.ledger), "--by", "user", "--format", "json", timeout=120)
    if ended.returncode != 0:
        return {}, [f"gateway report ended with {ended.returncode}: {ended.stderr}"]
    total = dict(json.loads(ended.stdout)["total"])
    settled = {row["id"] for row in rows if row["event"] == "settled"}
    unsettled = [row for row in rows if row["event"] == "opened" and row["id"] not in settled]
    problems = []
    if total["unsettled"] != len(unsettled):
        problems.append(f"the report tells {total['unsettled']} unsettled, the ledger has {len(unsettled)}")
    spent = sum(row["cost_nanousd"] or 0 for row in rows if row["event"] == "settled")
    estimated = sum(row["estimate_nanousd"] or 0 for row in unsettled)
    if total["cost_nanousd"] not in {spent, spent + estimated}:
        problems.append(f"the report tells {total['cost_nanousd']}, the ledger {spent} and {estimated} unsettled")
    if unsettled and not estimated:
        problems.append("unsettled requests without a price")
    return total, problems


async def run(folder: Path, upstream: Upstream, kills: int, seed: int) -> Outcome:
    """Kill so many times on one ledger, start once more, and judge."""
    path, port, draw = write_setup(folder, config(upstream.url)), free_port(), random.Random(seed)
    seen: list[Seen] = []
    for turn in range(kills):
        gateway = await asyncio.to_thread(start_gateway, path, port)
        seen += await _load_until_killed(gateway, seed * 1000 + turn, draw.uniform(0.05, 1.5))
    with running_gateway(path, port) as healed:
        seen += await ask_all(healed.url, mixed(f"after{seed}", 30, seed, SERVED), 8)
        await asyncio.sleep(1)
    rows, called = healed.rows(), set(upstream.tally()["rows"])
    report, problems = _report(healed, rows)
    settled = {row["id"] for row in rows if row["event"] == "settled"}
    return Outcome(
        kills=kills,
        asked=len(seen),
        accepted=len(called),
        settled=len(settled),
        unsettled=sum(row["event"] == "opened" and row["id"] not in settled for row in rows),
        torn=_torn(healed.ledger),
        report=report,
        problems=problems + judge(seen, rows, called),
    )


def measure(folder: Path, kills: int, seed: int = 1) -> Outcome:
    """Start a provider, run, and stop it."""
    with running_upstream() as upstream:
        return asyncio.run(run(folder, upstream, kills, seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), arguments.kills, arguments.seed)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

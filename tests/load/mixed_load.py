"""20,000 mixed requests, 64 at once: the sum of the ledger is the sum of the provider's books, to the nano-dollar.

python -m tests.load.mixed_load --requests 20000
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contract.raw import resident_bytes
from tests.contract.running import (
    Gateway,
    Upstream,
    config,
    eventually,
    run_gateway,
    running_gateway,
    running_upstream,
    write_setup,
)
from tests.load.client import Seen, ask_all
from tests.load.traffic import mixed


@dataclass
class Outcome:
    """What a run found; `problems` empty means that every promise held."""

    requests: int
    seconds: float
    ledger_nanousd: int
    upstream_nanousd: int
    report_nanousd: int
    settled: int
    megabytes: float
    kinds: dict[str, int]
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            (
                f"{self.requests} requests in {self.seconds:.1f} s ({self.requests / self.seconds:.0f}/s), "
                f"{self.settled} settled lines, gateway {self.megabytes:.0f} MB"
            ),
            f"ledger   {self.ledger_nanousd:>16,} nano-dollars",
            f"report   {self.report_nanousd:>16,}",
            f"upstream {self.upstream_nanousd:>16,}   difference {self.ledger_nanousd - self.upstream_nanousd}",
            ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items())),
            f"{len(self.problems)} problems",
            *self.problems[:20],
        ]
        return "\n".join(lines)


def _entry_problems(seen: Seen, lines: list[dict[str, Any]], upstream_cost: int) -> list[str]:
    """What is wrong with the entry of one request."""
    sent, told = seen.sent, f"{seen.sent.id} ({seen.sent.kind})"
    if sent.entry == "none":
        return [f"{told}: entered though it was not authenticated or not parsed"] if lines else []
    settled = [line for line in lines if line["event"] == "settled"]
    opened = [line for line in lines if line["event"] == "opened"]
    if len(settled) != 1:
        return [f"{told}: {len(settled)} settled lines, status {seen.status} {seen.body[:200]!r}"]
    row, problems = settled[0], []
    if row["status"] != sent.entry:
        problems.append(f"{told}: entered as {row['status']}, expected {sent.entry}")
    if (row["cost_nanousd"] or 0) != upstream_cost:
        problems.append(f"{told}: ledger {row['cost_nanousd']}, upstream {upstream_cost}: {json.dumps(row)}")
    if seen.request_id and row["id"] != seen.request_id:
        problems.append(f"{told}: line {row['id']}, answer {seen.request_id}")
    if len(opened) > 1 or (upstream_cost and not opened):
        problems.append(f"{told}: {len(opened)} opened lines")
    return problems


def judge(seen: list[Seen], rows: list[dict[str, Any]], tally: dict[str, Any]) -> list[str]:
    """Compare every request's answer, entry and charge."""
    lines = defaultdict(list)
    for row in rows:
        lines[row.get("user")].append(row)
    problems = []
    for one in seen:
        if one.status not in one.sent.statuses:
            expected = one.sent.statuses
            problems.append(f"{one.sent.id} ({one.sent.kind}): {one.status}, expected {expected}: {one.body[:300]!r}")
        charged = sum(call["cost_nanousd"] for call in tally["rows"].get(one.sent.id, ()))
        problems += _entry_problems(one, lines.pop(one.sent.id, []), charged)
    problems += [f"a line of nobody: {user} {stray[0]}" for user, stray in lines.items()]
    return problems


def report_total(gateway: Gateway) -> dict[str, Any]:
    """The total that `gateway report` tells."""
    ended = run_gateway("report", "--ledger", str(gateway.ledger), "--by", "model", "--format", "json", timeout=300)
    if ended.returncode != 0:
        raise RuntimeError(f"gateway report: {ended.stderr}")
    return dict(json.loads(ended.stdout)["total"])


async def run(gateway: Gateway, upstream: Upstream, count: int, at_once: int, seed: int) -> Outcome:
    """Send the mix, wait until the books are closed, and compare them."""
    requests = mixed(f"mix{seed}", count, seed)
    started = time.monotonic()
    seen = await ask_all(gateway.url, requests, at_once)
    seconds = time.monotonic() - started
    entered = sum(request.entry != "none" for request in requests)

    def closed() -> bool:
        rows = gateway.rows()
        settled = sum(row["event"] == "settled" for row in rows)
        return settled >= entered and not upstream.tally(rows=False)["open"]

    problems = []
    try:
        await eventually(closed, 30, "all settled")
    except TimeoutError as late:
        problems.append(str(late))
    rows, tally, total = gateway.rows(), upstream.tally(), report_total(gateway)
    settled = [row for row in rows if row["event"] == "settled"]
    outcome = Outcome(
        requests=count,
        seconds=seconds,
        ledger_nanousd=sum(row["cost_nanousd"] or 0 for row in settled),
        upstream_nanousd=tally["cost_nanousd"],
        report_nanousd=total["cost_nanousd"],
        settled=len(settled),
        megabytes=resident_bytes(gateway.program.pid) / 1e6,
        kinds=dict(Counter(one.sent.kind for one in seen)),
        problems=problems + judge(seen, rows, tally),
    )
    if not outcome.ledger_nanousd == outcome.upstream_nanousd == outcome.report_nanousd:
        outcome.problems.append("the three sums differ")
    if total["unsettled"]:
        outcome.problems.append(f"the report tells {total['unsettled']} unsettled")
    if gateway.program.tracebacks:
        outcome.problems.append(f"the gateway logged: {gateway.program.tracebacks[-1]}")
    return outcome


def measure(folder: Path, count: int, at_once: int = 64, seed: int = 1) -> Outcome:
    """Start both programs in `folder`, run, and stop them."""
    with running_upstream() as upstream, running_gateway(write_setup(folder, config(upstream.url))) as gateway:
        return asyncio.run(run(gateway, upstream, count, at_once, seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), arguments.requests, arguments.at_once, arguments.seed)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""20,000 mixed requests over all paths, 64 at once: ledger and provider agree on their sum, to the nano-dollar.

Where no usage was stated (the client left, the answer broke off) the ledger says that it estimates: to the same amount
where the tokenizer is public, else within 2% in sum.

python -m tests.load.mixed_load --requests 20000
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.contract.raw import resident_bytes
from tests.contract.running import (
    UPSTREAM_KEY,
    Gateway,
    Upstream,
    config,
    eventually,
    model,
    run_gateway,
    running_gateway,
    running_upstream,
    write_setup,
)
from tests.load.client import Seen, ask_all
from tests.load.traffic import mixed

CUT_APART: Final = 0.02
"""The most by which the sum over answers without usage may be off, where their tokens can only be estimated."""
MARGIN_NANOUSD: Final = 50_000
"""The sum from which on that share is judged: a few short answers say nothing."""


@dataclass
class Outcome:
    """What a run found; `problems` empty means that every promise held."""

    requests: int
    seconds: float
    ledger_nanousd: int
    upstream_nanousd: int
    report_nanousd: int
    cut: tuple[int, int, int]
    """Answers without usage whose tokens could only be estimated: how many, the ledger's sum, and the provider's."""
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
            f"of which {self.cut[0]} without usage: ledger {self.cut[1]:,}, upstream {self.cut[2]:,}",
            ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items())),
            f"{len(self.problems)} problems",
            *self.problems[:20],
        ]
        return "\n".join(lines)


def _is_exact(calls: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the ledger can know what the calls cost: usage was stated, or the tokenizer is public."""
    return all(_is_stated(call) or not call["model"].startswith("claude") for call in calls)


def _is_stated(call: Mapping[str, Any]) -> bool:
    return bool(call["stated"]) or call["cost_nanousd"] == 0


def _entry_problems(seen: Seen, lines: list[dict[str, Any]], calls: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the entry of one request."""
    upstream_cost = sum(call["cost_nanousd"] for call in calls)
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
    if _is_exact(calls) and (row["cost_nanousd"] or 0) != upstream_cost:
        problems.append(f"{told}: ledger {row['cost_nanousd']}, upstream {upstream_cost}: {json.dumps(row)}")
    stated = {bool(call["stated"]) for call in calls if call["stated"] or call["cost_nanousd"]}
    if len(stated) == 1 and bool(row.get("estimated")) in stated:
        problems.append(f"{told}: estimated {row.get('estimated')}, and the provider said {calls}")
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
        problems += _entry_problems(one, lines.pop(one.sent.id, []), tally["rows"].get(one.sent.id, ()))
    problems += [f"a line of nobody: {user} {stray[0]}" for user, stray in lines.items()]
    return problems


def without_usage(rows: Sequence[Mapping[str, Any]], tally: Mapping[str, Any]) -> tuple[int, int, int]:
    """Count the answers whose tokens could only be estimated, and sum what the ledger and the provider say of them."""
    calls = tally["rows"]
    found = [row for row in rows if row["event"] == "settled" and not _is_exact(calls.get(row.get("user"), ()))]
    theirs = sum(call["cost_nanousd"] for row in found for call in calls[row["user"]])
    return len(found), sum(row["cost_nanousd"] or 0 for row in found), theirs


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
        cut=without_usage(rows, tally),
        settled=len(settled),
        megabytes=resident_bytes(gateway.program.pid) / 1e6,
        kinds=dict(Counter(one.sent.kind for one in seen)),
        problems=problems + judge(seen, rows, tally),
    )
    _, ours, theirs = outcome.cut
    if outcome.ledger_nanousd != outcome.report_nanousd:
        outcome.problems.append("ledger and report differ")
    if outcome.ledger_nanousd - ours != outcome.upstream_nanousd - theirs:
        outcome.problems.append("ledger and provider differ")
    if abs(ours - theirs) > max(CUT_APART * theirs, MARGIN_NANOUSD):
        outcome.problems.append(f"answers without usage: {ours:,} entered, {theirs:,} charged")
    if total["unsettled"]:
        outcome.problems.append(f"the report tells {total['unsettled']} unsettled")
    if gateway.program.tracebacks:
        outcome.problems.append(f"the gateway logged: {gateway.program.tracebacks[-1]}")
    return outcome


def setup(url: str) -> dict[str, Any]:
    """Return the config: that of the contract tests, and models that are asked in other shapes directly."""
    spoken = {"speaks": ["chat", "responses"]}
    named = {"claude": ["sonnet"], "claude-twins": ["sonnet", "haiku"]}
    claudes = [
        {
            "model_name": name,
            "litellm_params": {"model": f"anthropic/claude-{one}-4-5", "api_base": url, "api_key": UPSTREAM_KEY},
        }
        for name, sizes in named.items()
        for one in sizes
    ]
    whole = config(url)
    natives = [
        model("native", "gpt-5", url, info=spoken),
        model("native-twins", "gpt-5-mini", url, info=spoken),
        model("native-twins", "gpt-4.1-mini", url, info=spoken),
    ]
    return whole | {"model_list": [*whole["model_list"], *natives, *claudes]}


def measure(folder: Path, count: int, at_once: int = 64, seed: int = 1) -> Outcome:
    """Start both programs in `folder`, run, and stop them."""
    with running_upstream() as upstream, running_gateway(write_setup(folder, setup(upstream.url))) as gateway:
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

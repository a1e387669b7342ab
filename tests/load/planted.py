"""Starts on a state full of values that nobody understands, planted before each start and while it serves.

python -m tests.load.planted --starts 30
"""

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from gateway.routing import placements
from gateway.routing.loads import Stay
from tests.contract.running import Gateway, Upstream, model, running_gateway, running_upstream, start_gateway
from tests.nonsense import nonsense
from tests.test_summary_jobs import ask, body, grown, setup

LEAST_KINDS = 8
"""Kinds of values that the first run is to leave in the state: else there is little to plant."""
TURNS = 6


@dataclass
class Outcome:
    """What the starts came to."""

    starts: int
    planted: int = 0
    kinds: set[str] = field(default_factory=set)
    told: Counter[str] = field(default_factory=Counter)
    """How many lines there were, by kind of value."""
    slowest_start: float = 0.0
    slowest_stop: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.starts} starts, {self.planted} values planted of {len(self.kinds)} kinds",
            f"lines told: {dict(self.told)}",
            f"slowest start {self.slowest_start:.1f} s, slowest stop {self.slowest_stop:.1f} s",
            f"{len(self.problems)} problems",
        ]
        return "\n".join([*lines, *self.problems[:20]])


def prepared(folder: Path, upstream: Upstream) -> Path:
    """Write a configuration under which a gateway keeps all that there is in the state."""
    path = setup(folder, upstream, {"dir": "state"})
    settings = yaml.safe_load(path.read_text())
    settings["model_list"] += [
        model("twins", "gpt-5-mini", upstream.url),
        model("twins", "gpt-4.1-mini", upstream.url),
        model("unknown", "house-model", upstream.url, info={"max_input_tokens": 100_000}),
    ]
    settings["unpriced"] = "allow"
    path.write_text(yaml.safe_dump(settings))
    policy = folder / "policies" / "plain.yaml"
    said = yaml.safe_load(policy.read_text())
    policy.write_text(yaml.safe_dump(said | {"fold": {"when": "cheaper"}, "prompt_cache": {"warm": ["You*"]}}))
    return path


def spoken(gateway: Gateway, upstream: Upstream, name: str, turns: int, *, grows: bool = False) -> None:
    """Have a gateway do all that it shares: talk to each model, fold, sum up."""
    if grows:
        turns = max(turns, grown(gateway, upstream, name))
    for turn in range(max(1, turns - 3), turns + 1):
        asked = json.loads(body(f"{name}-again-{turn}", turn))
        for other in ("gpt-5", "twins", "unknown"):
            system = {"role": "system", "content": f"You are the agent.\nNow: {turn}\n" + "Be brief and kind. " * 500}
            messages = [system, *asked["messages"]]
            ask(gateway, "plain", json.dumps(asked | {"model": other, "messages": messages}).encode())
        ask(gateway, "good", json.dumps(asked).encode())


def kind_of(key: str) -> str:
    return key.rpartition("/")[0] if key.startswith(("summary", "decision", "fold", "warm")) else key


def values(folder: Path) -> list[tuple[str, bytes]]:
    """Read all that is in the state."""
    with closing(sqlite3.connect(folder / "state" / "cache.db")) as database:
        return [(key, bytes(value)) for key, value in database.execute("SELECT key, value FROM Cache")]


def plant(folder: Path, genuine: list[tuple[str, bytes]], draw: random.Random) -> int:
    """Put nonsense under all keys, as if somebody else had written it."""
    with closing(sqlite3.connect(folder / "state" / "cache.db", timeout=20)) as database, database:
        for key, value in genuine:
            database.execute(
                "INSERT OR REPLACE INTO Cache(key, raw, store_time, mode, size, access_count, value)"
                " VALUES (?, 1, ?, 1, 0, 0, ?)",
                (key, time.time(), nonsense(draw, value)),
            )
    return len(genuine)


def run(folder: Path, upstream: Upstream, starts: int, seed: int) -> Outcome:
    """Fill a state, and start on it so many times with nonsense in its place."""
    outcome, draw, path = Outcome(starts), random.Random(seed), prepared(folder, upstream)
    with running_gateway(path) as gateway:
        spoken(gateway, upstream, f"first{seed}", 30, grows=True)
    genuine = [*values(folder), (placements.KEY, placements.STAYS.write({7: Stay("twins#1", 2e9, for_load=True)}))]
    outcome.kinds = {kind_of(key) for key, _ in genuine}
    if len(outcome.kinds) < LEAST_KINDS:
        outcome.problems.append(f"the state holds {sorted(outcome.kinds)} only")
    for number in range(starts):
        outcome.planted += plant(folder, genuine, draw)
        began = time.monotonic()
        gateway = start_gateway(path)
        outcome.slowest_start = max(outcome.slowest_start, time.monotonic() - began)
        try:
            spoken(gateway, upstream, f"first{seed}", TURNS + 24)
            outcome.planted += plant(folder, genuine, draw)
            spoken(gateway, upstream, f"other{seed}-{number}", TURNS)
            time.sleep(1.2)  # an exchange, and then some more of it at the stop
            outcome.planted += plant(folder, genuine, draw)
        except Exception as error:  # noqa: BLE001  # any is a problem
            outcome.problems.append(f"start {number}: {error!r}")
        began = time.monotonic()
        code = gateway.program.stop()
        outcome.slowest_stop = max(outcome.slowest_stop, time.monotonic() - began)
        outcome.problems += [f"start {number}: {problem}" for problem in judged(gateway, code, outcome.told)]
    return outcome


def judged(gateway: Gateway, code: int, told: Counter[str]) -> list[str]:
    """Find what is wrong with one run: its end, a fault in its log, a line that is told twice."""
    problems = [f"ended with {code}"] if code else []
    lines = [entry for line in gateway.program.log.splitlines() if (entry := _entry(line)) is not None]
    kinds = Counter(entry["kind"] for entry in lines if entry["event"].startswith("state not understood"))
    told.update(kinds)
    problems += [f"{kind} told {times} times" for kind, times in kinds.items() if times > 1]
    problems += [f"{entry}" for entry in lines if entry.get("level") == "error"]
    rows = gateway.rows()
    opened, settled = (Counter(row["id"] for row in rows if row["event"] == event) for event in ("opened", "settled"))
    if opened != settled:
        problems.append(f"{len(opened)} opened, {len(settled)} settled")
    return problems


def _entry(line: str) -> dict[str, Any] | None:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) and "event" in said else None


def measure(folder: Path, starts: int, seed: int = 1) -> Outcome:
    """Start a provider, run, and stop it."""
    with running_upstream() as upstream:
        return run(folder, upstream, starts, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), arguments.starts, arguments.seed)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

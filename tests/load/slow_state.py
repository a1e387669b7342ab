"""A Redis that is down, hung, slow or refuses the password: in the way of neither requests nor start nor stop.

python -m tests.load.slow_state --requests 300

Each request is of a conversation of its own that does not fit, under a policy with summaries and folds by cost: it asks
the state what was decided, and records what it decides.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import yaml

from tests import redis_server, slow_server
from tests.contract.running import Upstream, free_port, running_upstream, start_gateway
from tests.slow_server import HUNG
from tests.test_summary_jobs import ask, body, setup

LATE = "slow while it serves"
MODES = ("well", "down", "hung", "+0.2 s", "+1.5 s", "+5 s", "wrong password", LATE)
SECONDS = {"well": 0.0, "hung": HUNG, "+0.2 s": 0.2, "+1.5 s": 1.5, "+5 s": 5.0}
AT_ONCE = 4
TURNS = 14

MOST_ADDED_MS = 60.0
MOST_STOP_SECONDS = 3.0
MOST_START_SECONDS = 3.0


@dataclass(frozen=True)
class Run:
    """One run with one kind of Redis."""

    mode: str
    start: float
    stop: float
    p50: float
    """In milliseconds."""
    p99: float
    lost: int
    """Requests whose decisions were lost."""
    lines: int
    """Of the log that tell of the state."""

    def __str__(self) -> str:
        return (
            f"{self.mode:22} start {self.start:5.2f} s  stop {self.stop:5.2f} s  "
            f"p50 {self.p50:6.1f} ms  p99 {self.p99:6.1f} ms  lost {self.lost:3}  log lines {self.lines}"
        )


def problems(well: Run, run: Run, allowance: float = 1.0) -> list[str]:
    """Compare a run with the one where Redis was well; `allowance` for machines that do other things besides."""
    out = []
    for name, more, most in (
        ("p50", run.p50 - well.p50, MOST_ADDED_MS),
        ("p99", run.p99 - well.p99, MOST_ADDED_MS),
        ("start", run.start - well.start, MOST_START_SECONDS),
        ("stop", run.stop - well.stop, MOST_STOP_SECONDS),
    ):
        if more > allowance * most:
            out.append(f"{run.mode}: {name} is {more:.1f} more than where Redis is well, at most {most:g}")
    return out


@contextmanager
def redis_in(mode: str, folder: Path) -> Iterator[tuple[str, Callable[[float], None]]]:
    """Run a Redis of one kind; yields its address, and what makes it as slow as is said."""
    if mode == "down":
        yield f"redis://127.0.0.1:{free_port()}/0", lambda seconds: None
        return
    with redis_server.running(folder) as url, slow_server.process(url, SECONDS.get(mode, 0.0)) as (address, slow):
        if mode == "wrong password":
            with redis.Redis.from_url(url) as client:
                client.config_set("requirepass", "right")
        yield address.replace("redis://", "redis://:wrong@") if mode == "wrong password" else address, slow


def measure(folder: Path, upstream: Upstream, mode: str, requests: int) -> Run:
    """Start, ask, stop."""
    folder.mkdir()
    with redis_in(mode, folder) as (url, slow):
        path = setup(folder, upstream, {"redis": url, "timeout": "50ms"})
        policy = folder / "policies" / "good.yaml"
        policy.write_text(yaml.safe_dump(yaml.safe_load(policy.read_text()) | {"fold": {"when": "cheaper"}}))
        began = time.monotonic()
        gateway = start_gateway(path)
        start = time.monotonic() - began

        def asked(number: int) -> float:
            if mode == LATE and number == requests // 3:
                slow(1.5)
            said = json.loads(body(f"{mode}-{number}", TURNS))
            said["messages"].insert(0, {"role": "system", "content": f"You are agent {mode} {number}."})
            return ask(gateway, "good", json.dumps(said).encode())

        for number in range(AT_ONCE):
            ask(gateway, "plain", body(f"{mode}-warm-{number}", TURNS))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            took = sorted(pool.map(asked, range(requests)))
        began = time.monotonic()
        code = gateway.program.stop()
        stop = time.monotonic() - began
        assert code == 0, gateway.program.log
        settled = [row for row in gateway.rows() if row["event"] == "settled" and row["kind"] == "request"]
        assert len(settled) == requests + AT_ONCE
        return Run(
            mode,
            start,
            stop,
            1000 * statistics.median(took),
            1000 * took[int(0.99 * (requests - 1))],
            sum(bool(row.get("decision_lost")) for row in settled),
            gateway.program.log.count('"state '),
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder, running_upstream() as upstream:
        well: Run | None = None
        for number, mode in enumerate(MODES):
            run = measure(Path(folder) / str(number), upstream, mode, arguments.requests)
            well = well or run
            found += problems(well, run)
            print(run, flush=True)
    print(f"{len(found)} problems", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

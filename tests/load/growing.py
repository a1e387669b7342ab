"""One conversation grows to 200 turns and is folded again and again: does a late turn cost more CPU than an early one?

Live: each turn goes to two gateways, one that folds and one whose policy is `mode: off`; both relay the same body, and
what the first one's process burns above the other's is the price of fitting. In this process: the parts of it. The
mean of turns 150 to 200 may be at most twice that of turns 10 to 60, in which the first folds are made already.

    python -m tests.load.growing                     # the made-up one, which needs no data
    python -m tests.load.growing tau2_bench --window 8000
    python -m tests.load.growing made-up --offline --profile
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from gateway.app import collect_rarely
from gateway.budget.allocation import Window
from gateway.budget.components import dissect
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, plan, recognition_of
from gateway.wire.chat import Memo, parse, sent
from gateway.wire.legality import CHAT
from tests.contract.running import KEYS, Gateway, config, model, running_gateway, running_upstream, write_setup
from tests.load.recorded import MADE_UP, cut_at_requests, joined, raw

TURNS = 200
EARLY, LATE = slice(10, 60), slice(150, 200)
MOST_GROWTH = 2.0
TOKENS = 400_000
"""What is joined; only as much of it is used as there are turns."""
WINDOW = 8_000


def grown(name: str, turns: int = TURNS) -> list[bytes]:
    """Give the bodies of a conversation's first turns; ends the command where it has not so many."""
    bodies = [raw({**body, "user": name}) for body in islice(cut_at_requests(joined(name, TOKENS)), turns)]
    if len(bodies) < turns:
        raise SystemExit(f"{name}: {TOKENS:,} tokens of it make {len(bodies)} turns; {turns} are needed")
    return bodies


@dataclass(frozen=True, slots=True)
class Growth:
    """CPU milliseconds per turn."""

    what: str
    turns: Sequence[float]

    @property
    def early(self) -> float:
        return mean(self.turns[EARLY])

    @property
    def late(self) -> float:
        return mean(self.turns[LATE])

    @property
    def ratio(self) -> float:
        return self.late / max(self.early, 0.01)

    def __str__(self) -> str:
        return (
            f"  {self.what:24} turns 10-60 {self.early:6.2f} ms, turns 150-200 {self.late:6.2f} ms: "
            f"{self.ratio:.2f} times"
        )


# ---------------------------------------------------------------- in this process


def in_process(bodies: Sequence[bytes], window: int) -> list[Growth]:
    """Read, count, plan and write every turn, and give each part's growth; writing includes the splices."""
    policy = Policy("measured", context_window=window, reserve=Reserve(0, 0))
    bounds, recognition = Window(window, None, False, 0, 0), recognition_of(policy)
    counter, memo, known = Counter("o200k_base"), Memo(), Known()
    counter.load()
    collect_rarely()
    parts: dict[str, list[float]] = {"read": [], "count": [], "plan": [], "write": []}
    for body in bodies:
        at = [time.process_time()]
        request = parse(body, memo)
        at.append(time.process_time())
        anatomy = dissect(request.conversation, recognition, counter.count, lambda part: 0, counter.messages)
        at.append(time.process_time())
        made = plan(anatomy, policy, bounds, 0, (CHAT,), counter.count, known)
        at.append(time.process_time())
        sent(request, "sent", made.changes if isinstance(made, Plan) else None)
        at.append(time.process_time())
        for part, (start, end) in zip(parts, pairwise(at), strict=True):
            parts[part].append(1000 * (end - start))
    whole = [sum(turn) for turn in zip(*parts.values(), strict=True)]
    return [Growth(what, turns) for what, turns in [*parts.items(), ("all four, in process", whole)]]


# ---------------------------------------------------------------- live


def cpu_ms(gateway: Gateway) -> float:
    """CPU that the gateway's threads burnt so far (Linux, `schedstat`: in nanoseconds, not in ticks)."""
    tasks = Path(f"/proc/{gateway.program.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e6


def _turn(gateway: Gateway, body: bytes) -> float:
    """Send one request and give the CPU milliseconds that it took the gateway, its entry included; 400 is an answer."""
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-type": "application/json"}
    began = cpu_ms(gateway)
    request = urllib.request.Request(f"{gateway.url}/chat/completions", data=body, headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            response.read()
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 400:
                raise
    time.sleep(0.005)  # what a request leaves to be done is its own
    return cpu_ms(gateway) - began


def setup(folder: Path, upstream: str, policy: dict[str, Any]) -> Path:
    settings = config(upstream, model_list=[model("gpt-5", "gpt-5", upstream)], fallbacks=[])
    settings |= {"teams": {"contract": {"policy": "measured"}}, "default_policy": "measured"}
    settings["keys"] = settings["keys"][:1]
    return write_setup(folder, settings, {"measured": {"name": "measured", **policy}})


def live(folder: Path, bodies: Sequence[bytes], window: int) -> tuple[list[Growth], int]:
    """Send every turn to both gateways; return their growths and the difference's, and how many turns were folded."""
    folding = {"context_window": window, "reserve": {"output": 0, "margin": 0}}
    with running_upstream() as upstream:
        folds = setup(folder / "folds", upstream.url, folding)
        passes = setup(folder / "off", upstream.url, {"mode": "off"})
        with running_gateway(folds) as one, running_gateway(passes) as other:
            warm = raw({"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]})
            for gateway in (one, other):
                for _ in range(5):
                    _turn(gateway, warm)
            pairs = [(_turn(one, body), _turn(other, body)) for body in bodies]
            rewritten = sum(row["event"] == "settled" and row["plan"] == "rewritten" for row in one.rows())
    fitted, passed = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    above = [pair[0] - pair[1] for pair in pairs]
    named = (("gateway that folds", fitted), ("gateway that passes on", passed), ("above the pass-through", above))
    return [Growth(what, turns) for what, turns in named], rewritten


# ---------------------------------------------------------------- the command


def profile(bodies: Sequence[bytes], window: int) -> None:
    """Print where the time of the late turns goes, next to that of all."""
    profiler = cProfile.Profile()
    profiler.runcall(in_process, bodies, window)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"sources to join; {MADE_UP} needs no data")
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--offline", action="store_true", help="leave the live part out")
    parser.add_argument("--profile", action="store_true", help="say which functions the turns spend their time in")
    arguments = parser.parse_args()
    names = arguments.sets or [MADE_UP]
    grew = 0
    for name in names:
        bodies = grown(name)
        print(f"{name} at {arguments.window:,} tokens: {TURNS} turns, {len(bodies[-1]) // 1024} KiB at the end")
        growths = in_process(bodies, arguments.window)
        print(*growths, sep="\n")
        if arguments.profile:
            profile(bodies, arguments.window)
        if not arguments.offline:
            with tempfile.TemporaryDirectory() as folder:
                growths, rewritten = live(Path(folder), bodies, arguments.window)
            print(*growths, f"  {rewritten} turns were rewritten", sep="\n", flush=True)
            grew += rewritten < TURNS // 2
        grew += growths[-1].ratio > MOST_GROWTH
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())

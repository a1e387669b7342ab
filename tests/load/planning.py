"""How long a conversation of 100,000 tokens takes to plan, and how long the small requests beside it wait.

In this process, as CPU milliseconds of reading, counting and planning together, at windows of 16k and 64k: at first
sight (nothing known), with only the counts known, and once more as every later request of the conversation finds it
(counts and texts known). Then live: a client sends such conversations through a gateway, each one fresh and folded, and
50 small clients beside it ask as those of tokenising.py do; their p99 may grow by 20 ms in the middle one of five turns
(p99 of all turns together is printed too: the one to read on a machine that does nothing else).

    python -m tests.load.planning                          # a conversation of every set that has so many tokens
    python -m tests.load.planning tau2_bench beam --seconds 20
    python -m tests.load.planning made-up --offline        # without GATEWAY_DATA, in this process only
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median

import aiohttp

from gateway.app import collect_rarely
from gateway.budget.allocation import Window
from gateway.budget.components import dissect
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, plan, recognition_of
from gateway.wire.chat import Memo, parse
from gateway.wire.legality import CHAT
from tests.contract.running import (
    KEYS,
    POLICIES,
    Gateway,
    config,
    model,
    running_gateway,
    running_upstream,
    write_setup,
)
from tests.load.recorded import MADE_UP, Body, joined, raw, sets
from tests.load.tokenising import Measurement, quantile
from tests.upstream.counting import prompt_tokens

LONG_TOKENS = 100_000
WINDOWS = (16_000, 64_000)
FIRST_SIGHT_MS, KNOWN_MS, ADDED_P99_MS = 600.0, 50.0, 20.0
TURNS = 5
"""Times that the small clients run without the long one, and with it."""
ROUNDS = 3
"""Times that each is measured; the median counts."""


# ---------------------------------------------------------------- in this process


@dataclass(frozen=True, slots=True)
class Stages:
    """CPU milliseconds of one request, and its plan."""

    read: float
    count: float
    planning: float
    plan: Plan

    @property
    def total(self) -> float:
        return self.read + self.count + self.planning


@dataclass
class Process:
    """A gateway's memory, and the stages of a request in it."""

    counter: Counter
    memo: Memo = field(default_factory=Memo)
    known: Known = field(default_factory=Known)

    def stages(self, body: bytes, policy: Policy) -> Stages:
        """Read, count and plan one request."""
        window = Window(policy.context_window, None, False, 0, 0)
        began = time.process_time()
        request = parse(body, self.memo)
        read = time.process_time()
        anatomy = dissect(
            request.conversation, recognition_of(policy), self.counter.count, lambda part: 0, self.counter.messages
        )
        counted = time.process_time()
        made = plan(anatomy, policy, window, 0, (CHAT,), self.counter.count, self.known)
        planned = time.process_time()
        assert isinstance(made, Plan), made
        assert made.changes is not None
        return Stages(1000 * (read - began), 1000 * (counted - read), 1000 * (planned - counted), made)


def policy_of(window: int) -> Policy:
    """The built-in default policy at this window."""
    return Policy("measured", context_window=window, reserve=Reserve(0, 0))


@dataclass(frozen=True, slots=True)
class Offline:
    """The figures of one conversation at one window."""

    name: str
    window: int
    tokens: tuple[int, int]
    """Before and after."""
    first: Stages
    counted: float
    """CPU milliseconds with nothing known but the counts."""
    known: float
    """With counts and texts known, as every later request of the conversation finds it."""

    @property
    def within(self) -> bool:
        return self.first.total <= FIRST_SIGHT_MS and self.known <= KNOWN_MS

    def __str__(self) -> str:
        first = self.first
        return (
            f"{self.name:18} {self.window // 1000}k  {self.tokens[0]:,} -> {self.tokens[1]:,} tokens  "
            f"first sight {first.total:4.0f} ms "
            f"(read {first.read:.0f}, count {first.count:.0f}, plan {first.planning:.0f})  "
            f"only counts known {self.counted:4.0f} ms  known {self.known:5.1f} ms"
            f"{'' if self.within else '  OVER'}"
        )


def offline(name: str, body: Body, window: int) -> Offline:
    """Measure one conversation: each round in a memory of its own."""
    policy, body_bytes = policy_of(window), raw(body)
    first, counted, known = [], [], []
    for _ in range(ROUNDS):
        counter = Counter("o200k_base")
        counter.load()
        fresh = Process(counter)
        first.append(fresh.stages(body_bytes, policy))
        known.append(fresh.stages(body_bytes, policy))
        counted.append(Process(counter).stages(body_bytes, policy))
    made = first[0].plan
    assert all(one.plan == made for one in (*first, *known, *counted)), "what is remembered changed the plan"
    middle = sorted(first, key=lambda stages: stages.total)[ROUNDS // 2]
    sizes = (made.tokens_before, made.tokens_after)
    return Offline(name, window, sizes, middle, _median(counted), _median(known))


def _median(rounds: Sequence[Stages]) -> float:
    return median(stages.total for stages in rounds)


# ---------------------------------------------------------------- live


@dataclass(frozen=True, slots=True)
class Live:
    """Milliseconds that the small requests took, without and with long conversations beside them."""

    name: str
    window: int
    bytes: int
    """Of one long body, at most."""
    small_requests: int
    long_requests: int
    long_ms: float
    p50: tuple[float, float]
    p99: tuple[float, float]
    """Without, and with; of all turns together."""
    turns: tuple[tuple[float, float], ...]
    """p99 without and with, turn by turn."""
    failures: int
    unfolded: int
    """Long requests that left as they came: then nothing was measured."""

    @property
    def added_p99(self) -> float:
        """By how much p99 grew in the middle one of the turns: what else the machine does spoils one or two of them."""
        return median([beside - without for without, beside in self.turns])

    @property
    def sound(self) -> bool:
        return not self.failures and not self.unfolded and self.long_requests > 0

    def __str__(self) -> str:
        return (
            f"{self.name:18} {self.window // 1000}k  {self.small_requests} small, {self.long_requests} long requests "
            f"of at most {self.bytes // 1024} KiB ({self.long_ms:.0f} ms each), {self.failures} failures, "
            f"{self.unfolded} not folded\n"
            f"  small without: p50 {self.p50[0]:.1f} ms, p99 {self.p99[0]:.1f} ms\n"
            f"  small with:    p50 {self.p50[1]:.1f} ms, p99 {self.p99[1]:.1f} ms\n"
            f"  p99 by turns: {', '.join(f'{one:.0f}/{other:.0f}' for one, other in self.turns)}; "
            f"middle +{self.added_p99:.1f} ms"
        )


_CONTENT = b'"content":"'


class LongConversations:
    """Makes conversations that nobody has seen: the joined one, with its digits in another order.

    JSON stays JSON (0 stays 0, so no number begins with one), and a call keeps the id that its result names. What
    holds no digit is told apart by white space before it.
    """

    def __init__(self, name: str, tokens: int) -> None:
        script = json.dumps({"words": 2})
        body = {**joined(name, tokens), "model": "long", "user": "long", "metadata": {"script": script}}
        self.pieces = raw(body).split(_CONTENT)
        self.draw = random.Random(name)
        self.made = 0

    def body(self) -> bytes:
        """One more, in a few milliseconds."""
        self.made += 1
        space = f"{self.made:b}".translate({ord("0"): " ", ord("1"): "\\n"}).encode()
        digits = bytes(self.draw.sample(b"123456789", 9))
        return (_CONTENT + space).join(self.pieces).translate(bytes.maketrans(b"123456789", digits))


async def run(gateway: Gateway, name: str, window: int, seconds: float, tokens: int) -> Live:
    """Measure without and with in turns, so that what else the machine does falls on both."""
    long = LongConversations(name, tokens)
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        await Measurement(gateway, session).phase(min(2.0, seconds), long)
        without, beside = Measurement(gateway, session), Measurement(gateway, session)
        turns: list[tuple[float, float]] = []
        for _ in range(TURNS):
            began = len(without.small), len(beside.small)
            await without.phase(seconds / TURNS, None)
            await beside.phase(seconds / TURNS, long)
            turns.append((quantile(without.small[began[0] :], 0.99), quantile(beside.small[began[1] :], 0.99)))
    rows = [row for row in gateway.rows() if row["event"] == "settled" and row["user"] == "long"]
    return Live(
        name,
        window,
        len(long.body()),
        len(without.small) + len(beside.small),
        len(beside.long),
        quantile(beside.long, 0.5),
        (quantile(without.small, 0.5), quantile(beside.small, 0.5)),
        (quantile(without.small, 0.99), quantile(beside.small, 0.99)),
        tuple(turns),
        without.failures + beside.failures,
        sum(row["plan"] != "rewritten" for row in rows),
    )


def live(folder: Path, name: str, window: int, seconds: float, tokens: int = LONG_TOKENS) -> Live:
    """Start two providers and the gateway in `folder`, run, and stop them."""
    with running_upstream() as small, running_upstream() as long:
        models = [model("gpt-5", "gpt-5", small.url), model("long", "gpt-5", long.url)]
        policies = {"roomy": {**POLICIES["roomy"], "context_window": window}}
        settings = config(small.url, model_list=models, fallbacks=[], teams={"contract": {"policy": "roomy"}})
        settings["keys"] = settings["keys"][:1]
        with running_gateway(write_setup(folder, settings, policies)) as gateway:
            return asyncio.run(run(gateway, name, window, seconds, tokens))


# ---------------------------------------------------------------- the command


@lru_cache(maxsize=1)
def body_of(name: str) -> Body:
    return joined(name, LONG_TOKENS)


def measure_offline(names: Sequence[str]) -> int:
    over = 0
    for name in names:
        if prompt_tokens(body_of(name)) < 0.9 * LONG_TOKENS:
            print(f"{name}: too little to join to {LONG_TOKENS:,} tokens")
            continue
        collect_rarely()  # as a gateway does that runs
        for window in WINDOWS:
            figures = offline(name, body_of(name), window)
            print(figures, flush=True)
            over += not figures.within
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"sources to join; all by default; {MADE_UP} needs no data")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each live phase")
    parser.add_argument("--long-tokens", type=int, default=LONG_TOKENS, help="of the live conversations")
    parser.add_argument("--offline", action="store_true", help="leave the live part out")
    parser.add_argument("--live", action="store_true", help="the live part only")
    parser.add_argument("--at-most", type=float, default=ADDED_P99_MS, help="milliseconds that p99 may grow by")
    arguments = parser.parse_args()
    names = sets(arguments.sets)
    over = 0 if arguments.live else measure_offline(names)
    if not arguments.offline:
        # Live takes a minute a set: those named, or one of people and one that needs no data.
        for name in arguments.sets or [MADE_UP]:
            for window in WINDOWS:
                with tempfile.TemporaryDirectory() as folder:
                    figures = live(Path(folder), name, window, arguments.seconds, arguments.long_tokens)
                print(figures, flush=True)
                over += not figures.sound or figures.added_p99 > arguments.at_most
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

"""One client sends fresh texts of 100,000 tokens; how much longer do 50 small ones beside it wait?

The small ones send one request every quarter of a second on average (200 a second in all). The long texts go to a
provider of their own, so that it is the gateway that is measured; the policy's window makes the gateway count them.

    python -m tests.load.tokenising --seconds 20
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

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
from tests.upstream.counting import text_tokens

SMALL_CLIENTS = 50
PAUSE_SECONDS = 0.25
LONG_TOKENS = 100_000
LETTERS = "etaoinshrdlucmfw"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Milliseconds that the small requests took, without and with long ones beside them."""

    small_requests: int
    long_requests: int
    long_ms: float
    """The median time of a long request."""
    p50_without: float
    p50_with: float
    p99_without: float
    p99_with: float
    failures: int
    uncounted: int
    """Long requests that the gateway did not tokenise: then nothing was measured."""

    @property
    def added_p99(self) -> float:
        return self.p99_with - self.p99_without

    def __str__(self) -> str:
        return (
            f"{self.small_requests} small and {self.long_requests} long requests ({self.long_ms:.0f} ms each), "
            f"{self.failures} failures, {self.uncounted} not tokenised\n"
            f"small without: p50 {self.p50_without:.1f} ms, p99 {self.p99_without:.1f} ms\n"
            f"small with:    p50 {self.p50_with:.1f} ms, p99 {self.p99_with:.1f} ms (+{self.added_p99:.1f} ms)"
        )


class Long(Protocol):
    """Makes the requests of the client that the small ones suffer from."""

    def body(self) -> bytes: ...


class LongTexts:
    """Makes requests with texts that nobody has seen, of about 100,000 tokens each, in a fraction of a millisecond."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        words = ["".join(self.draw.choices(LETTERS, k=self.draw.randint(2, 9))) for _ in range(4000)]
        self.blocks = [" ".join(self.draw.choices(words, k=100)) for _ in range(1000)]
        self.count = LONG_TOKENS * 50 // text_tokens(" ".join(self.blocks[:50]))
        script = {"prompt": LONG_TOKENS, "words": 2}
        body = {"model": "long", "messages": [{"role": "user", "content": "TEXT"}], "user": "long"}
        self.head, self.tail = json.dumps({**body, "metadata": {"script": json.dumps(script)}}).encode().split(b"TEXT")

    def body(self) -> bytes:
        """One more request; the words are plain ASCII, so they need no escaping."""
        return self.head + " ".join(self.draw.choices(self.blocks, k=self.count)).encode() + self.tail


class Measurement:
    """One phase: the small clients, and perhaps the long one."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self.url, self.session = f"{gateway.url}/chat/completions", session
        self.small: list[float] = []
        self.long: list[float] = []
        self.failures = 0

    async def _post(self, raw: bytes) -> float:
        started = time.perf_counter()
        async with self.session.post(self.url, data=raw) as response:
            await response.read()
            self.failures += response.status != 200
        return (time.perf_counter() - started) * 1000

    async def _small_client(self, number: int, until: float) -> None:
        draw, at = random.Random(number), 0
        await asyncio.sleep(PAUSE_SECONDS * draw.random())
        while time.monotonic() < until:
            at += 1
            message = {"role": "user", "content": f"Hello {number} for the {at}th time: " + "a few words more " * 10}
            self.small.append(await self._post(json.dumps({"model": "gpt-5", "messages": [message]}).encode()))
            await asyncio.sleep(PAUSE_SECONDS * 2 * draw.random())  # drawn, or one delay makes them march in step

    async def _long_client(self, texts: Long, until: float) -> None:
        while time.monotonic() < until:
            self.long.append(await self._post(texts.body()))

    async def phase(self, seconds: float, texts: Long | None) -> None:
        """Run all of them for so long."""
        until = time.monotonic() + seconds
        clients = [self._small_client(number, until) for number in range(SMALL_CLIENTS)]
        await asyncio.gather(*clients, *([] if texts is None else [self._long_client(texts, until)]))


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def run(gateway: Gateway, seconds: float, seed: int) -> Outcome:
    """Measure without, then with."""
    texts = LongTexts(seed)
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        await Measurement(gateway, session).phase(min(2.0, seconds), texts)
        without, beside = Measurement(gateway, session), Measurement(gateway, session)
        await without.phase(seconds, None)
        await beside.phase(seconds, texts)
    return Outcome(
        len(without.small) + len(beside.small),
        len(beside.long),
        quantile(beside.long, 0.5),
        quantile(without.small, 0.5),
        quantile(beside.small, 0.5),
        quantile(without.small, 0.99),
        quantile(beside.small, 0.99),
        without.failures + beside.failures,
        sum(
            row.get("counted") == "bytes"
            for row in gateway.rows()
            if row["event"] == "settled" and row["user"] == "long"
        ),
    )


def measure(folder: Path, seconds: float, seed: int = 1) -> Outcome:
    """Start two providers and the gateway in `folder`, run, and stop them."""
    with running_upstream() as small, running_upstream() as long:
        models = [model("gpt-5", "gpt-5", small.url), model("long", "gpt-5", long.url)]
        policies = {"roomy": {**POLICIES["roomy"], "context_window": 200_000}}
        settings = config(small.url, model_list=models, fallbacks=[], teams={"contract": {"policy": "roomy"}})
        settings["keys"] = settings["keys"][:1]
        with running_gateway(write_setup(folder, settings, policies)) as gateway:
            return asyncio.run(run(gateway, seconds, seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-most", type=float, default=20.0, help="milliseconds that p99 may grow by")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), arguments.seconds, arguments.seed)
    print(outcome)
    return 1 if outcome.failures or outcome.uncounted or outcome.added_p99 > arguments.at_most else 0


if __name__ == "__main__":
    sys.exit(main())

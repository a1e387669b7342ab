"""A hard limit under a thousand callers: what is settled, what is held, and when the first is refused.

python -m tests.load.budgets --callers 1000 --workers 4 [--redis redis://…] [--answers mixed|longest] [--rpm 60]
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.config import load
from gateway.money.audit import recounted
from gateway.money.limits import Limits, Parties
from gateway.state import open_counters
from gateway.state.counters import Look
from gateway.state.counting_owner import CountingOwner
from tests.contract.running import Program, free_port, gateway_command, get, wait_for

DOLLAR = 10**9
_AT_ONCE = 50
"""Tokens that a stream says in one event: it says all that it is paid for."""


@dataclass
class Scripted:
    """An upstream that writes as long as it is let, as slowly as `seconds` says."""

    answers: str
    cap: int
    seconds: float = 0.05
    served: int = 0
    tokens: int = 0
    draw: random.Random = field(default_factory=lambda: random.Random(7))

    def length(self, body: dict[str, Any]) -> int:
        self.served += 1
        most = body.get("max_completion_tokens") or body.get("max_tokens") or self.cap
        if self.answers == "longest":
            return int(most)
        is_long = self.served > 50 and self.draw.random() < 0.02
        return min(int(most), 16_000 if is_long else int(self.draw.lognormvariate(5.7, 0.5)))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        completion, prompt = self.length(body), 20
        self.tokens += completion
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        await asyncio.sleep(self.seconds)
        if not body.get("stream"):
            message = {"role": "assistant", "content": " x" * completion}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for at in range(0, completion, _AT_ONCE):
            said = {"content": " x" * min(_AT_ONCE, completion - at)}
            choices = [{"index": 0, "delta": said, "finish_reason": None}]
            await response.write(b"data: " + json.dumps({"id": "c", "choices": choices}).encode() + b"\n\n")
            await asyncio.sleep(self.seconds / 10)
        choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        await response.write(b"data: " + json.dumps({"id": "c", "choices": choices}).encode() + b"\n\n")
        await response.write(b"data: " + json.dumps({"id": "c", "choices": [], "usage": usage}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def setup(folder: Path, upstream: int, options: argparse.Namespace) -> Path:
    """Write a configuration."""
    limits = ""
    if options.rpm:
        limits = f"limits: {{rpm_limit: {options.rpm}}}\n"
    elif options.parallel:
        limits = f"limits: {{max_parallel_requests: {options.parallel}}}\n"
    budget = "" if limits else "budgets: [{max_budget: 1.0, budget_duration: 1d}]\n"
    state = f"redis: '{options.redis}'" if options.redis else "dir: state"
    config = f"""
server: {{port: {free_port()}, workers: {options.workers}}}
model_list:
  - model_name: gpt-4.1
    litellm_params: {{model: openai/gpt-4.1, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-x}}
    model_info: {{input_cost_per_token: 1.0e-6, output_cost_per_token: 1.0e-5, max_output_tokens: {options.cap}}}
{budget}{limits}state: {{{state}}}
ledger: {{dir: ledger}}
"""
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    return path


async def call(
    session: aiohttp.ClientSession, url: str, number: int, options: argparse.Namespace
) -> tuple[int, str, float]:
    body: dict[str, Any] = {"model": "gpt-4.1", "messages": [{"role": "user", "content": f"say {number}"}]}
    body["stream"] = number % 2 == 0
    if number % 3 == 0:
        function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
        body["tools"] = [{"type": "function", "function": function}]
    if options.asked:
        body["max_tokens"] = options.asked
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        said = await response.read()
        if response.status == 200:
            return 200, "", 0.0
        code = json.loads(said)["error"]["code"]
        return response.status, code, float(response.headers.get("retry-after", "1"))


async def caller(
    session: aiohttp.ClientSession, urls: Sequence[str], number: int, options: argparse.Namespace, ends: Counter[str]
) -> None:
    """Ask until the money is gone, or the time is over."""
    deadline = time.monotonic() + options.seconds
    while time.monotonic() < deadline:
        status, code, after = await call(session, urls[number % len(urls)], number, options)
        ends[f"{status} {code}"] += 1
        ends["first refusal after"] = ends["first refusal after"] or (ends["200 "] if status == 429 else 0)
        if code == "insufficient_quota":
            return
        if options.once:
            return
        await asyncio.sleep(after * random.uniform(1, 1.3) if status != 200 else 0)


async def run(options: argparse.Namespace) -> int:
    scripted, port = Scripted(options.answers, options.cap), free_port()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", scripted.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in range(options.gateways):
            (Path(folder) / str(number)).mkdir()
            paths.append(setup(Path(folder) / str(number), port, options))
        programs = [Program.start([*gateway_command(), "serve", "--config", str(path)]) for path in paths]
        configs = [load(path, {}) for path in paths]
        urls = [f"http://127.0.0.1:{config.server.port}" for config in configs]
        for url in urls:
            await asyncio.to_thread(wait_for, lambda url=url: get(f"{url}/health")[0] == 200, 25, programs[0].log)
        ends: Counter[str] = Counter()
        started = time.monotonic()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(300)) as session:
            await asyncio.gather(*(caller(session, urls, number, options, ends) for number in range(options.callers)))
        await asyncio.sleep(1.0)
        took = time.monotonic() - started
        limits, now = Limits.of(configs[0]), time.time()
        charges = [one.charge for one in limits.under(Parties("open", "open", None, (), "gpt-4.1"), "default", now)]
        store = open_counters(configs[0].state)
        [balances] = store.run([Look(charges, now)], CountingOwner(configs[0].ledger.dir).source)
        store.close()
        ledger = sum(sum(recounted(limits, config.ledger.dir, now).amounts.values()) for config in configs)
        for program in programs:
            program.stop(20)
        if any(program.tracebacks for program in programs) or options.verbose:
            print(programs[0].log[-3000:])
        print(f"{took:.1f} s; upstream served {scripted.served}; ends {dict(ends)}")
        print(f"balances {balances}; sum of the ledgers {ledger}")
    await runner.cleanup()
    return 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("callers", 1000),
        ("workers", 4),
        ("gateways", 1),
        ("cap", 32_768),
        ("rpm", 0),
        ("parallel", 0),
        ("asked", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--redis")
    parser.add_argument("--answers", choices=["mixed", "longest"], default="mixed")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    return asyncio.run(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

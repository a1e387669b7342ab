"""What operators do while clients ask: restarts behind nginx, reloads, revoked keys, workers that are killed.

python -m tests.load.restarts rolling --workers 4 --rounds 3 --drain 0s
python -m tests.load.restarts reloading --workers 4
python -m tests.load.restarts revoked --tries 10000
python -m tests.load.restarts killed --kills 5
"""

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.contract.raw import body_of
from tests.contract.running import (
    CHECKOUT,
    KEYS,
    Gateway,
    Program,
    Upstream,
    config,
    free_port,
    get,
    run_gateway,
    running_gateway,
    running_upstream,
    start_gateway,
    wait_for,
    write_setup,
)

NGINX = CHECKOUT / "deploy" / "nginx" / "gateway.conf"
PER_SECOND = 50
AROUND_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {site}
}}
"""


@dataclass
class Asked:
    """How requests ended for their clients."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[float, str]] = field(default_factory=list)
    """When a request that failed was sent, and how it ended."""
    sent: int = 0

    def __str__(self) -> str:
        return f"{self.sent} asked: {dict(self.ends)}; first faults {self.faults[:3]}"


class Traffic:
    """Requests at a steady rate, every second one streamed, each over whatever connection the client has."""

    def __init__(self, url: str, *, keeps: bool = True, per_second: float = PER_SECOND) -> None:
        self.url, self.asked, self._every = url, Asked(), 1 / per_second
        self._connector = aiohttp.TCPConnector(force_close=not keeps, limit=0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = iter(range(1 << 30))

    async def run(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            task = asyncio.create_task(self._ask(session))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            due += self._every
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*self._tasks)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        number = next(self._ids)
        streams = number % 2 == 1
        body = body_of(f"restart-{number}", stream=streams, words=6, chunks=6, pause=0.05 if streams else 0.0)
        began, self.asked.sent = time.monotonic(), self.asked.sent + 1
        try:
            async with session.post(
                f"{self.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEYS['main']}"}
            ) as answer:
                said = await answer.read()
                whole = said.endswith(b"data: [DONE]\n\n") if streams else said.endswith(b"}")
                end = "answered" if answer.status == 200 and whole else f"{answer.status} {said[-120:]!r}"
        except (aiohttp.ClientError, TimeoutError) as reason:
            end = f"broken {reason!r}"
        self.asked.ends["answered" if end == "answered" else end[:40]] += 1
        if end != "answered":
            self.asked.faults.append((began, end))


@asynccontextmanager
async def traffic(url: str, **how: Any) -> AsyncIterator[Traffic]:
    """Ask until the end of the block, and wait for every answer."""
    running, stop = Traffic(url, **how), asyncio.Event()
    async with aiohttp.ClientSession(connector=running._connector, timeout=aiohttp.ClientTimeout(30)) as session:
        task = asyncio.create_task(running.run(session, stop))
        try:
            yield running
        finally:
            stop.set()
            await task


@contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[int]:
    """Run nginx with the site as it is shipped, on a free port, before two gateways."""
    site, port = NGINX.read_text(encoding="utf-8"), free_port()
    for shipped, used in zip(("8081", "8082", "8080"), (*ports, port), strict=True):
        site = site.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{used}").replace(f"listen {shipped}", f"listen {used}")
    (folder / "nginx.conf").write_text(AROUND_NGINX.format(folder=folder, site=site), encoding="utf-8")
    program = Program.start(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"])
    try:
        wait_for(lambda: get(f"http://127.0.0.1:{port}/health")[0] == 200, 10, "nginx")
        yield port
    finally:
        program.stop()


def settings(upstream: Upstream, workers: int, **server: Any) -> dict[str, Any]:
    made = config(upstream.url)
    made["server"] |= {"workers": workers, **server}
    return made


async def rolling(folder: Path, workers: int, rounds: int, drain: str) -> Asked:
    """Restart two gateways behind nginx, one after the other, while clients ask."""
    with running_upstream() as upstream:
        path = write_setup(folder, settings(upstream, workers, drain=drain))
        ports = [free_port(), free_port()]
        gateways = [await asyncio.to_thread(start_gateway, path, port) for port in ports]
        try:
            with nginx(folder, ports) as port:
                async with traffic(f"http://127.0.0.1:{port}") as asking:
                    await asyncio.sleep(1)
                    for _ in range(rounds):
                        for number, gateway in enumerate(gateways):
                            gateway.program.process.send_signal(signal.SIGTERM)
                            code = await asyncio.to_thread(gateway.program.wait, 30)
                            assert code == 0, gateway.program.log
                            gateways[number] = await asyncio.to_thread(start_gateway, path, ports[number])
                            await asyncio.sleep(1.5)
        finally:
            for gateway in gateways:
                gateway.program.stop()
        return asking.asked


@dataclass
class Reloading:
    """Reloads while clients ask."""

    asked: Asked
    seconds: list[float]
    """From a reload's beginning to every worker's acknowledgement."""
    told: int
    """Log lines about the half-edited file."""
    same: bool
    """Whether the half-edited file changed nothing."""


async def reloading(folder: Path, workers: int, reloads: int = 10) -> Reloading:
    """Reload by command and by signal while clients ask, and once with half a file."""
    with running_upstream() as upstream:
        made = settings(upstream, workers)
        path = write_setup(folder, made)
        with running_gateway(path) as gateway:
            seconds = []
            async with traffic(gateway.root) as asking:
                for number in range(reloads):
                    digest = _digest(gateway)
                    made["aliases"] = {f"alias-{number}": "gpt-5"}
                    write_setup(folder, made)
                    began = time.monotonic()
                    if number % 2:
                        gateway.program.process.send_signal(signal.SIGHUP)
                        await asyncio.to_thread(wait_for, lambda old=digest: _digest(gateway) != old, 10)
                    else:
                        assert (await asyncio.to_thread(run_gateway, "reload", "--config", str(path))).returncode == 0
                    seconds.append(time.monotonic() - began)
                before = _digest(gateway)
                path.write_text(path.read_text()[:-40] + "keys: [", encoding="utf-8")
                for _ in range(3):
                    gateway.program.process.send_signal(signal.SIGHUP)
                    await asyncio.sleep(0.5)
                same = _digest(gateway) == before
            told = sum("the last good one stays" in line for line in gateway.program.lines)
        return Reloading(asking.asked, seconds, told, same)


def _digest(gateway: Gateway) -> str:
    return str(json.loads(get(f"{gateway.root}/ready")[1])["config"]["digest"])


async def revoked(folder: Path, tries: int, workers: int = 4) -> Counter[int]:
    """Take a key out, reload, and try it over new connections while a worker is killed; returns statuses."""
    with running_upstream() as upstream:
        made = settings(upstream, workers)
        path = write_setup(folder, made)
        with running_gateway(path) as gateway:
            made["keys"] = [one for one in made["keys"] if one["name"] != "main"]
            write_setup(folder, made)
            assert (await asyncio.to_thread(run_gateway, "reload", "--config", str(path))).returncode == 0
            statuses: Counter[int] = Counter()
            left = iter(range(tries))
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            headers = {"authorization": f"Bearer {KEYS['main']}"}

            async def try_on(session: aiohttp.ClientSession) -> None:
                for number in left:
                    if number == tries // 3:
                        os.kill(random.choice(_workers(gateway)), signal.SIGKILL)
                    try:
                        async with session.get(f"{gateway.url}/models", headers=headers) as answer:
                            statuses[answer.status] += 1
                    except aiohttp.ClientError:
                        statuses[0] += 1

            async with aiohttp.ClientSession(connector=connector) as session:
                await asyncio.gather(*(try_on(session) for _ in range(20)))
            ready = json.loads(get(f"{gateway.root}/ready")[1])
            assert ready["workers"] == {"ready": workers, "of": workers}, ready
            return statuses


def _workers(gateway: Gateway) -> list[int]:
    pid = gateway.program.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children]


@dataclass
class Killed:
    """Workers that were killed while clients asked."""

    asked: Asked
    after: int
    """Requests that failed although they were sent when the worker was dead already."""
    lines: int
    counted: int
    kills: int


async def killed(folder: Path, kills: int, workers: int = 4) -> Killed:
    """Kill workers, each request over a connection of its own."""
    with running_upstream() as upstream:
        made = settings(upstream, workers) | {"metrics": {"port": free_port()}}
        with running_gateway(write_setup(folder, made)) as gateway:
            moments = []
            async with traffic(gateway.root, keeps=False) as asking:
                for _ in range(kills):
                    await asyncio.sleep(2)
                    os.kill(random.choice(_workers(gateway)), signal.SIGKILL)
                    moments.append(time.monotonic())
                await asyncio.sleep(3)
            await asyncio.sleep(1)
            page = get(f"http://127.0.0.1:{made['metrics']['port']}/metrics")[1].decode()
            counted = next(line for line in page.splitlines() if line.startswith("gateway_worker_restarts_total"))
            lines = sum('"worker died"' in line for line in gateway.program.lines)
        held = 0.5  # the longest answer takes .35 s; a request sent later than that before a kill may be held by it
        after = sum(not any(0 <= kill - sent <= held for kill in moments) for sent, _ in asking.asked.faults)
        return Killed(asking.asked, after, lines, int(float(counted.split()[-1])), kills)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rolling", "reloading", "revoked", "killed"))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drain", default="0s")
    parser.add_argument("--tries", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if said.what == "rolling":
            print(asyncio.run(rolling(folder, said.workers, said.rounds, said.drain)))
        elif said.what == "reloading":
            print(asyncio.run(reloading(folder, said.workers)))
        elif said.what == "revoked":
            print(asyncio.run(revoked(folder, said.tries, said.workers)))
        else:
            print(asyncio.run(killed(folder, said.kills, said.workers)))


if __name__ == "__main__":
    main()

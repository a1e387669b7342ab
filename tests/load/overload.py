"""Twice as many requests as a worker can serve: what the high-priority key notices of it, and the others.

python -m tests.load.overload --seconds 15
python -m tests.load.overload --seconds 15 --new-connections

By default clients keep their connections, as SDKs do. `--new-connections`: the low-priority ones open one for each
request; /health is asked all the while, over a connection of its own each time, as a load balancer does.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.contract.raw import body_of, chat
from tests.contract.running import CHECKOUT, Program, config, environment, running_gateway, wait_for, write_setup

HIGH_PER_SECOND = 20.0
DELAY_SECONDS = 0.5
"""The provider's: a short answer of a small model."""
MOST = 150
"""Requests under way, as an operator would set it."""
FULL = 600
"""Requests at once that are more than any worker can do."""
KEYS = {"high": "sk-gw-high", "low": "sk-gw-low"}
LOOKS_PER_SECOND = 10.0
_HEALTH = b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n"


class OneConnection(asyncio.Protocol):
    """A connection that serves one request after the other."""

    def __init__(self) -> None:
        self.came, self.length = b"", -1
        self.answered: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        if self.length < 0 and b"\r\n\r\n" in self.came:
            head = self.came.partition(b"\r\n\r\n")[0]
            self.length = len(head) + 4 + int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if 0 <= self.length <= len(self.came) and self.answered is not None and not self.answered.done():
            self.answered.set_result(int(self.came[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(0)

    async def ask(self, request: bytes) -> int:
        """Send a request, and return the status of its answer; 0 where none came."""
        assert self.transport is not None
        self.came, self.length = b"", -1
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


class QuickProvider(asyncio.Protocol):
    """A provider that costs nearly nothing, so that the gateway is what is full."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.came = seconds, b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self.came = b""
            asyncio.get_running_loop().call_later(self.seconds, self._answer)

    def _answer(self) -> None:
        assert self.transport is not None
        self.transport.write(_ANSWER)


_SAID = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42},
    }
).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_SAID), _SAID)


async def provide(seconds: float) -> None:
    """Serve such a provider until killed; the first line printed is its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: QuickProvider(seconds), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass
class Asked:
    """Requests at a steady rate: statuses, and seconds of those that were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))] if self.seconds else 0.0


async def ask_steadily(port: int, request: bytes, per_second: float, seconds: float, *, keeps: bool = True) -> Asked:
    """Ask so often, whatever becomes of the requests before; each over a connection that is free, or a new one."""
    asked, free, tasks = Asked(), list[OneConnection](), set[asyncio.Task[None]]()

    async def one() -> None:
        began = time.perf_counter()
        try:
            connection = free.pop() if free else await _connected(port)
            status = await connection.ask(request)
        except OSError:
            status = 0
        asked.statuses[status] += 1
        if status == 200:
            asked.seconds.append(time.perf_counter() - began)
        if status and connection.transport is not None and not connection.transport.is_closing():
            if keeps:
                free.append(connection)
            else:
                connection.transport.close()

    due = time.monotonic()
    end = due + seconds
    while due < end:
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += 1 / per_second
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        elif len(tasks) % 16 == 0:
            await asyncio.sleep(0)
    if tasks:
        await asyncio.wait(tasks, timeout=20)
    return asked


async def _connected(port: int) -> OneConnection:
    _, connection = await asyncio.get_running_loop().create_connection(OneConnection, "127.0.0.1", port)
    return connection


async def served_per_second(port: int, seconds: float, at_once: int) -> float:
    """Measure how many requests a worker serves where clients wait for their answers."""
    request, end, count = chat(body_of("overload-full"), key=KEYS["high"]), time.monotonic() + seconds, 0

    async def client() -> None:
        nonlocal count
        connection = await _connected(port)
        while time.monotonic() < end:
            status = await connection.ask(request)
            count += status == 200

    await asyncio.gather(*(client() for _ in range(at_once)))
    return count / seconds


@dataclass
class Outcome:
    """The high-priority key alone, and beside twice what the worker can serve."""

    capacity: float
    alone: Asked
    beside: Asked
    health: Asked
    """/health, meanwhile."""
    others: dict[str, int]

    def __str__(self) -> str:
        one, two = self.alone.percentile(0.99), self.beside.percentile(0.99)
        return (
            f"{self.capacity:,.0f} requests/s served at most; low priority at twice that: {self.others}\n"
            f"high priority: p50 {self.alone.percentile(0.5) * 1e3:.0f} ms alone, "
            f"{self.beside.percentile(0.5) * 1e3:.0f} ms beside; p99 {one * 1e3:.0f} ms alone, "
            f"{two * 1e3:.0f} ms beside "
            f"({two / one:.2f} times), statuses {dict(self.beside.statuses)}\n"
            f"/health over new connections: p50 {self.health.percentile(0.5) * 1e3:.0f} ms, "
            f"p99 {self.health.percentile(0.99) * 1e3:.0f} ms, statuses {dict(self.health.statuses)}"
        )


def _request(who: str) -> bytes:
    return chat(body_of(f"overload-{who}"), key=KEYS[who])


async def measure(folder: Path, seconds: float, most: int | None = MOST, *, keeps: bool = True) -> Outcome:
    """Measure with a limit of requests under way, or without one."""
    keys = [
        {"name": name, "sha256": sha256(key.encode()).hexdigest(), "priority": 10 if name == "high" else -10}
        for name, key in KEYS.items()
    ]
    provider = Program.start([sys.executable, "-m", "tests.load.overload", "--provide"])
    try:
        port = await asyncio.to_thread(wait_for, lambda: next(iter(provider.lines), None), 20, "the provider")
        settings: dict[str, Any] = config(f"http://127.0.0.1:{port}", keys=keys, teams={})
        with running_gateway(write_setup(folder / "full", settings)) as gateway:
            await served_per_second(gateway.port, 2, FULL)
            capacity = await served_per_second(gateway.port, 5, FULL)
        settings["server"] |= {"max_lag": "100ms"} | ({} if most is None else {"max_in_flight": most})
        with running_gateway(write_setup(folder / "limited", settings)) as gateway:
            await served_per_second(gateway.port, 2, MOST - 10)
            alone = await ask_steadily(gateway.port, _request("high"), HIGH_PER_SECOND, seconds)
            command = [sys.executable, "-m", "tests.load.overload", "--flood", str(gateway.port)]
            command += ["--rate", str(2 * capacity), "--seconds", str(seconds + 4)]
            command += [] if keeps else ["--new-connections"]
            flood = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=CHECKOUT)
            await asyncio.sleep(3)
            looking = ask_steadily(gateway.port, _HEALTH, LOOKS_PER_SECOND, seconds, keeps=False)
            asking = ask_steadily(gateway.port, _request("high"), HIGH_PER_SECOND, seconds)
            beside, health = await asyncio.gather(asking, looking)
            said, _ = await asyncio.to_thread(flood.communicate)
        return Outcome(capacity, alone, beside, health, json.loads(said))
    finally:
        provider.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--flood", type=int)
    parser.add_argument("--provide", action="store_true")
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--new-connections", action="store_true")
    parser.add_argument("--limit", type=int, default=MOST, help="server.max_in_flight; 0: none")
    said = parser.parse_args()
    if said.provide:
        asyncio.run(provide(DELAY_SECONDS))
        return
    if said.flood is not None:
        flood = ask_steadily(said.flood, _request("low"), said.rate, said.seconds, keeps=not said.new_connections)
        print(json.dumps(asyncio.run(flood).statuses))
        return
    with tempfile.TemporaryDirectory() as name:
        print(asyncio.run(measure(Path(name), said.seconds, said.limit or None, keeps=not said.new_connections)))


if __name__ == "__main__":
    main()

"""Slow streams, many at once: what each takes, how soon the provider hears that its client left, what is booked.

python -m tests.load.streams                 # 2,000 streams, half of the clients leave, 50 a second
python -m tests.load.streams --stalled 200   # clients that stop reading while the provider writes as fast as it can
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contract.raw import body_of, chat
from tests.contract.running import Gateway, config, eventually, running_gateway, write_setup
from tests.upstream.raw import END, EVENTS, Call, Play, delta, playing

MOST_KB_A_STREAM = 60
MOST_KB_HELD = 256
MOST_MS_TO_CANCEL = 100
PAUSE_SECONDS = 1.0
"""Between two events of a slow stream."""
OPEN_AT_ONCE = 50
IDLE_SECONDS = 5.0
"""How long an idle connection to an upstream is kept, and a little more."""


def resident_kb(pid: int) -> int:
    """Memory of a process, all that it shares included: a share of that moves with what other programs do."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass
class Outcome:
    """What was measured, and what of it is not as it should be."""

    figures: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*(f"{name}: {value}" for name, value in self.figures.items()), *self.problems])


@dataclass
class Client:
    """One client of a stream."""

    id: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    reading: asyncio.Task[bytes] | None = None
    left_at: float | None = None

    @classmethod
    async def ask(cls, gateway: Gateway, id: str) -> "Client":
        """Ask for a stream and wait until it begins."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
        writer.write(chat(body_of(id, stream=True)))
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{id}: {status!r}")
        return cls(id, reader, writer)

    def read(self) -> None:
        """Read in the background, to the end."""
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> bytes:
        last = b""
        with suppress(ConnectionError):
            while part := await self.reader.read(4096):
                last = (last + part)[-64:]
                if b"[DONE]" in last:
                    break
        return last

    def leave(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
        self.left_at = time.monotonic()
        self.writer.close()


def slow(done: asyncio.Event) -> Play:
    """Say a word now and then, until it is `done` or the client has gone."""

    async def play(call: Call) -> None:
        await call.send(EVENTS + delta("One"))
        while not done.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await call.gone.wait()
                return
            await call.send(delta(" more"))
        await call.send(END)

    return play


async def flood(call: Call) -> None:
    """Write as fast as anybody takes it."""
    await call.send(EVENTS)
    block = b"".join(delta(f" word{number}") for number in range(100))
    while not call.gone.is_set():
        await call.send(block)


async def _each(count: int, at_once: int, make: Callable[[int], Awaitable[Client]]) -> list[Client]:
    clients: list[Client] = []
    for first in range(0, count, at_once):
        clients += await asyncio.gather(*(make(at) for at in range(first, min(first + at_once, count))))
    return clients


async def _leave(clients: Sequence[Client], per_second: float) -> list[float]:
    """Have them leave one after the other; return by how many seconds this process itself was late each time."""
    late = []
    for client in clients:
        client.leave()
        due = time.monotonic() + 1 / per_second
        await asyncio.sleep(1 / per_second)
        late.append(time.monotonic() - due)
    return late


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def settled(gateway: Gateway, count: int, seconds: float = 30) -> list[dict[str, Any]]:
    """Wait until so many requests are settled; return all lines of the ledger."""

    def found() -> list[dict[str, Any]] | None:
        rows = gateway.rows()
        return rows if sum(row["event"] == "settled" for row in rows) >= count else None

    return await eventually(found, seconds, f"{count} settled lines")


def booked(rows: Sequence[dict[str, Any]], ids: Sequence[str], status: str) -> list[str]:
    """What is wrong with the lines of these requests."""
    problems = []
    for event_name in ("opened", "settled"):
        lines = Counter(row.get("user") for row in rows if row["event"] == event_name)
        problems += [f"{id}: {lines[id]} {event_name} lines" for id in ids if lines[id] != 1]
    ended = {row.get("user"): row["status"] for row in rows if row["event"] == "settled"}
    return problems + [f"{id}: {ended.get(id)} instead of {status}" for id in ids if ended.get(id) != status]


async def run_slow(folder: Path, streams: int, per_second: float, seconds: float, idle_seconds: float) -> Outcome:
    """Open the streams, let them go on for so many seconds, have half of the clients leave, and end the others."""
    done = asyncio.Event()
    async with AsyncExitStack() as stack:
        url, calls = await stack.enter_async_context(playing(slow(done)))
        gateway = await asyncio.to_thread(stack.enter_context, running_gateway(write_setup(folder, config(url))))
        for client in await _each(20, 20, lambda at: Client.ask(gateway, f"warm{at}")):
            client.leave()
        await settled(gateway, 20)
        idle, files = resident_kb(gateway.program.pid), open_files(gateway.program.pid)
        clients = await _each(streams, OPEN_AT_ONCE, lambda at: Client.ask(gateway, f"slow{at}"))
        for client in clients:
            client.read()
        await asyncio.sleep(seconds)
        taken = (resident_kb(gateway.program.pid) - idle) / streams
        leaving, staying = clients[::2], clients[1::2]
        late = await _leave(leaving, per_second)
        await asyncio.sleep(1)
        done.set()
        ends = await asyncio.gather(*(client.reading for client in staying if client.reading is not None))
        for client in staying:
            client.writer.close()
        rows = await settled(gateway, 20 + streams)
        await asyncio.sleep(idle_seconds)
        files_after = open_files(gateway.program.pid)
    heard = {call.id: call.left_at for call in calls}
    delays = [(heard[one.id] or float("inf")) - (one.left_at or 0.0) for one in leaving]
    p99 = _percentile(delays, 0.99) * 1000
    problems = booked(rows, [one.id for one in leaving], "cancelled")
    problems += booked(rows, [one.id for one in staying], "answered")
    problems += [f"{end!r} is no end of a stream" for end in ends if b"[DONE]" not in end]
    if taken > MOST_KB_A_STREAM:
        problems.append(f"{taken:.1f} kB a stream, more than {MOST_KB_A_STREAM}")
    most = MOST_MS_TO_CANCEL + max(late) * 1000  # a machine that stands still for others is not the gateway's fault
    if p99 > most:
        problems.append(f"the provider heard after {p99:.0f} ms (p99), more than {most:.0f}")
    if idle_seconds >= IDLE_SECONDS and files_after > files + 5:
        problems.append(f"{files_after} open files at the end, {files} before")
    return Outcome(
        {
            "streams": streams,
            "kB a stream above idle": round(taken, 1),
            "ms until the provider hears (p50, p99, max)": [
                round(_percentile(delays, share) * 1000, 1) for share in (0.5, 0.99, 1.0)
            ],
            "ms that this script itself was late (p99, max)": [
                round(_percentile(late, share) * 1000, 1) for share in (0.99, 1.0)
            ],
            "cancelled, answered": [len(leaving), len(staying)],
            "open files before, after": [files, files_after],
        },
        problems,
    )


async def run_stalled(folder: Path, streams: int, seconds: float) -> Outcome:
    """Have clients stop reading while the provider floods them, and see what the gateway holds of each stream."""
    async with AsyncExitStack() as stack:
        url, _ = await stack.enter_async_context(playing(flood))
        settings = config(url)
        settings["server"]["max_lag"] = "1m"  # the flood keeps the loop busy; nobody is to be refused for that
        gateway = await asyncio.to_thread(stack.enter_context, running_gateway(write_setup(folder, settings)))
        for client in await _each(5, 5, lambda at: Client.ask(gateway, f"warm{at}")):
            client.leave()
        await settled(gateway, 5)
        idle = resident_kb(gateway.program.pid)
        clients = await _each(streams, OPEN_AT_ONCE, lambda at: Client.ask(gateway, f"stalled{at}"))
        held, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.2)
            held = max(held, (resident_kb(gateway.program.pid) - idle) / streams)
        for client in clients:
            client.leave()
        rows = await settled(gateway, 5 + streams)
    problems = booked(rows, [one.id for one in clients], "cancelled")
    if held > MOST_KB_HELD:
        problems.append(f"{held:.0f} kB a stalled stream, more than {MOST_KB_HELD}")
    return Outcome({"stalled streams": streams, "kB held of each, at most": round(held)}, problems)


def measure(
    folder: Path,
    streams: int = 2_000,
    per_second: float = 50,
    seconds: float = 20,
    idle_seconds: float = IDLE_SECONDS,
) -> Outcome:
    """Slow streams."""
    return asyncio.run(run_slow(folder, streams, per_second, seconds, idle_seconds))


def measure_stalled(folder: Path, streams: int, seconds: float = 10) -> Outcome:
    """Stalled clients."""
    return asyncio.run(run_stalled(folder, streams, seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2_000)
    parser.add_argument("--per-second", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--stalled", type=int, default=0)
    arguments = parser.parse_args()
    wanted, (soft, hard) = 3 * arguments.streams + 1_000, resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.stalled:
            outcome = measure_stalled(Path(folder), arguments.stalled, arguments.seconds)
        else:
            outcome = measure(Path(folder), arguments.streams, arguments.per_second, arguments.seconds)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""Clients without a key that do their worst: heads without end, silence, answers that nobody takes.

Attackers and probe share one core, the gateway has another, where there are two. Each kind is also sent at a socket
that only reads, in the gateway's place: what the probe's requests take beside that is the machine's doing.

python -m tests.load.strangers --seconds 30
"""

import argparse
import asyncio
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.raw import body_of, chat, request_head, resident_bytes
from tests.contract.running import KEYS, Gateway, config, model, running_gateway, write_setup
from tests.upstream.raw import END, EVENTS, Call, delta, playing

HEADS = {
    "endless value": (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * 65_536),
    "endless count": (b"GET / HTTP/1.1\r\nhost: a\r\n", b"a: b\r\n" * 10_922),
    "endless URL": (b"GET /", b"a" * 65_536),
}
MIXED = "heads without end"
"""One kind after the other, connection by connection."""
MOST_READ = 131_072
"""Bytes of one connection that the gateway may read."""
MOST_RATIO = 2.0
MOST_GROWTH = 30_000_000
MOST_HELD = 150_000_000
MOST_SHORT_MS = 100.0
"""What a short run is held against: half a second of a socket that only reads tells nothing."""
MOST_MEANWHILE_MS = 250.0
LONG_SECONDS = 3


@dataclass
class Outcome:
    """What was seen; `problems` empty means that every bound held."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, line: str) -> None:
        self.lines.append(line)
        if not holds:
            self.problems.append(line)

    def meanwhile(self, took: Sequence[float], *, few: bool) -> None:
        """Judge what others saw beside it."""
        under = late(took, few=few)
        self.expect(under < MOST_MEANWHILE_MS, f"others meanwhile: {'p75' if few else 'p99'} {under:.1f} ms")

    def __str__(self) -> str:
        return "\n".join([*self.lines, f"{len(self.problems)} problems", *self.problems])


# --- the attackers: a program of their own, so that their work is not the probe's


def flood(port: int, kind: str, connections: int, seconds: float) -> int:
    """Send heads without end over so many connections at full speed; returns how many were opened in all."""
    kinds = list(HEADS.values()) if kind == MIXED else [HEADS[kind]]
    opened, until, watch = 0, time.monotonic() + seconds, selectors.DefaultSelector()

    def open_one() -> None:
        nonlocal opened
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        first, again = kinds[opened % len(kinds)]
        watch.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, (first, again))
        opened += 1

    for _ in range(connections):
        open_one()
    print("attacking", flush=True)
    while time.monotonic() < until:
        for key, events in watch.select(0.1):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                if events & selectors.EVENT_READ:
                    raise ConnectionError("answered or closed")  # at once the next one
                left, again = key.data
                left = left[sock.send(left) :] or again
                watch.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, (left, again))
            except BlockingIOError:
                continue
            except OSError:
                watch.unregister(sock)
                sock.close()
                open_one()
    for key in list(watch.get_map().values()):
        watch.unregister(key.fileobj)
        key.fileobj.close()  # type: ignore[union-attr]
    return opened


def only_read(listener: socket.socket) -> None:
    """Read what comes and say nothing: the least that any server does."""
    watch = selectors.DefaultSelector()
    listener.setblocking(False)
    watch.register(listener, selectors.EVENT_READ)
    buffer = bytearray(65_536)
    while True:
        for key, _ in watch.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                client.setblocking(False)
                watch.register(client, selectors.EVENT_READ)
                continue
            client = key.fileobj  # type: ignore[assignment]
            try:
                count = client.recv_into(buffer)
            except OSError:
                count = 0
            if not count:
                watch.unregister(client)
                client.close()


async def stream(megabytes: int) -> None:
    """Be a provider whose every answer is a stream of so many megabytes, and which holds none of it."""
    part = delta("amber basin " * 300) * 16

    async def play(call: Call) -> None:
        await call.send(EVENTS)
        for _ in range(megabytes * 1_000_000 // len(part)):
            await call.send(part)
        await call.send(END)

    async with playing(play) as (url, _):
        print(url.rpartition(":")[2], flush=True)
        await asyncio.Event().wait()


# --- the probe


def asked(port: int, seconds: float) -> list[float]:
    """Ask for /health over one connection for so long; returns what each took."""
    took, until = [], time.monotonic() + seconds
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    with sock:
        while time.monotonic() < until:
            began, read = time.perf_counter(), b""
            sock.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            while not read.endswith(b"}"):
                data = sock.recv(65_536)
                assert data, f"closed after {read!r}"
                read += data
            assert read.startswith(b"HTTP/1.1 200 "), read
            took.append(time.perf_counter() - began)
            time.sleep(0.002)
    return took


def late(took: Sequence[float], *, few: bool) -> float:
    """The 99th percentile in milliseconds; of few the third quartile: a hiccup of the machine is a percent of them."""
    return sorted(took)[int(len(took) * (0.75 if few else 0.99))] * 1000


@contextmanager
def another(*arguments: str) -> Iterator[tuple[int, Callable[[], str]]]:
    """Run another part of this module as a program: its process, and what reads a line that it prints."""
    command = [sys.executable, "-m", "tests.load.strangers", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            yield program.pid, program.stdout.readline
        finally:
            program.terminate()


@contextmanager
def attacking(port: int, kind: str, connections: int, seconds: float) -> Iterator[Callable[[], str]]:
    """Run `flood` beside the block, which begins with it; yields what reads how many were opened, at its end."""
    with another("--flood", str(port), kind, str(connections), str(seconds)) as (_, line):
        line()
        yield line


def pin(pid: int, core: int) -> None:
    """Keep a process and its threads on one core, where there are two."""
    if (os.cpu_count() or 1) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process on one core for as long as the block runs: a test's worker has others to run after it."""
    usual = os.sched_getaffinity(0)
    pin(os.getpid(), core)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), usual)


def read_bytes(pid: int) -> int:
    """What a process has read by now, from sockets and elsewhere."""
    return int(Path(f"/proc/{pid}/io").read_text(encoding="ascii").split()[1])


# --- the rows


@contextmanager
def beside(core: int, *arguments: str) -> Iterator[int]:
    """Run another part of this module on one core: the port that it prints."""
    with another(*arguments) as (pid, line):
        port = int(line())
        pin(pid, core)
        yield port


def heads(gateway: Gateway, outcome: Outcome, kind: str, connections: int, seconds: float) -> None:
    """Send heads without end, and ask beside them."""
    pid, port, usual = gateway.program.pid, gateway.port, MOST_SHORT_MS / MOST_RATIO
    few = seconds < LONG_SECONDS
    if not few:
        with beside(1, "--read") as elsewhere, attacking(elsewhere, kind, connections, seconds + 0.3):
            usual = late(asked(port, seconds), few=few)
    memory, read = resident_bytes(pid), read_bytes(pid)
    with attacking(port, kind, connections, seconds + 0.3) as opened_in_all:
        under = late(asked(port, seconds), few=few)
        grown = resident_bytes(pid) - memory
        opened = int(opened_in_all())
    each = (read_bytes(pid) - read) / opened
    named = f"{kind} × {connections}"
    outcome.expect(each <= MOST_READ, f"{named}: {opened} connections, {each / 1000:.0f} kB read of each")
    outcome.expect(
        under <= MOST_RATIO * usual,
        f"{named}: {'p75' if few else 'p99'} {under:.1f} ms, beside a socket that only reads {usual:.1f} ms",
    )
    outcome.expect(abs(grown) < MOST_GROWTH, f"{named}: memory {grown / 1e6:+.1f} MB")


def silence(gateway: Gateway, outcome: Outcome, connections: int, clocks: tuple[float, float]) -> None:
    """Open connections that say nothing, half a head or half a body; `clocks`: what head and body may take."""
    memory = resident_bytes(gateway.program.pid)
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-length": "1000"}
    half_body = request_head("/v1/chat/completions", headers) + b'{"model": '
    said = {"silent": b"", "half a head": b"GET / HTTP/1.1\r\nhost: a\r\nx: ", "half a body": half_body}
    began, watch, cut = time.monotonic(), selectors.DefaultSelector(), dict.fromkeys(said, 0.0)
    for at in range(connections):
        name = list(said)[at % len(said)]
        sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        sock.sendall(said[name])
        watch.register(sock, selectors.EVENT_READ, name)
    took = asked(gateway.port, min(2, clocks[0] / 2))
    held = resident_bytes(gateway.program.pid) - memory
    while watch.get_map() and time.monotonic() - began < max(clocks) + 10:
        for key, _ in watch.select(1):
            assert isinstance(key.fileobj, socket.socket)
            if not _more(key.fileobj):
                cut[key.data] = time.monotonic() - began
                watch.unregister(key.fileobj)
                key.fileobj.close()
    left = len(watch.get_map())
    for key in list(watch.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in cut.items())
    outcome.expect(not left, f"{connections} that do not go on: {left} left, the last cut after: {times}")
    outcome.expect(cut["silent"] < clocks[0] + 3, f"silence is cut after {clocks[0]:g} s")
    outcome.expect(cut["half a body"] < clocks[1] + 3, f"half a body is cut after {clocks[1]:g} s")
    outcome.meanwhile(took, few=clocks[0] < LONG_SECONDS)
    outcome.expect(held < MOST_HELD, f"memory {held / 1e6:+.1f} MB")


def _more(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except OSError:
        return b""


def stalled(gateway: Gateway, outcome: Outcome, readers: int, clock: float) -> None:
    """Ask for long streams and read nothing; `clock`: how long a client may take nothing."""
    memory, clients = resident_bytes(gateway.program.pid), []
    request = chat(body_of("stalled", model="endless", stream=True))
    for _ in range(readers):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", gateway.port))
        sock.sendall(request)
        clients.append(sock)
    time.sleep(min(20, clock / 2))  # until every stream has come to a stand
    took = asked(gateway.port, min(2, clock / 2))
    held = resident_bytes(gateway.program.pid) - memory
    began = time.monotonic()
    while (open_ := _established(gateway.port, clients)) and time.monotonic() - began < clock + 30:
        time.sleep(0.5)
    waited = time.monotonic() - began
    for sock in clients:
        sock.close()
    outcome.expect(not open_, f"{readers} that read nothing: {open_} left after {waited:.1f} s (clock {clock:g} s)")
    outcome.meanwhile(took, few=clock < LONG_SECONDS)
    outcome.expect(held < MOST_HELD, f"memory {held / 1e6:+.1f} MB")


def _established(port: int, clients: Sequence[socket.socket]) -> int:
    """How many of these connections the gateway still has: the state of its side, as the kernel tells."""
    ports = {sock.getsockname()[1] for sock in clients}
    found = 0
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        local, remote, state = line.split()[1:4]
        if int(local[9:], 16) == port and int(remote[9:], 16) in ports and state == "01":
            found += 1
    return found


def measure(folder: Path, *, seconds: float, counts: Sequence[int], silent: int, readers: int, short: bool) -> Outcome:
    """Run every row; `short` sets clocks of a second."""
    outcome = Outcome()
    clocks = {"header_timeout": 0.7, "body_timeout": 1, "write_timeout": 1} if short else {}
    header, body, write = (0.7, 1.0, 1.0) if short else (10.0, 30.0, 60.0)
    with beside(0, "--stream", "2" if short else "20") as endless:
        settings = config(f"http://127.0.0.1:{endless}")
        settings["server"] |= clocks
        settings["model_list"].append(model("endless", "gpt-5-mini", f"http://127.0.0.1:{endless}", timeout=600))
        with running_gateway(write_setup(folder, settings)) as gateway, pinned(0):
            pin(gateway.program.pid, 1)
            for kind in [MIXED] if short else HEADS:
                for count in counts:
                    heads(gateway, outcome, kind, count, seconds)
            silence(gateway, outcome, silent, (header, body))
            stalled(gateway, outcome, readers, write)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 10, 100])
    parser.add_argument("--silent", type=int, default=900)
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--short", action="store_true", help="clocks of a second, streams of 2 MB")
    parser.add_argument("--flood", nargs=4, metavar=("PORT", "KIND", "COUNT", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stream:
        asyncio.run(stream(arguments.stream))
    if arguments.read:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            print(listener.getsockname()[1], flush=True)
            only_read(listener)
    if arguments.flood:
        port, kind, count, seconds = arguments.flood
        print(flood(int(port), kind, int(count), float(seconds)), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            Path(folder),
            seconds=arguments.seconds,
            counts=arguments.connections,
            silent=arguments.silent,
            readers=arguments.readers,
            short=arguments.short,
        )
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""Two keys: one sends bodies of 30 MB back to back on two connections, how much longer does the other wait?

Four kinds: one letter, prose, 120,000 tiny messages (more than are read, so 99,000 too), one base64 image. The
attacker, the probe and the provider share one core, the gateway with all its processes has another, where there are
two. The probe asks with small requests, with 500 kB of text that nobody has read yet, and for /health, which needs
nothing but the event loop: its longest answer is the longest stall.

python -m tests.load.two_keys --seconds 30
"""

import argparse
import asyncio
import base64
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.raw import resident_bytes
from tests.contract.running import KEYS, Gateway, config, model, running_gateway, write_setup
from tests.load.strangers import pin, pinned
from tests.load.tokenising import quantile

LETTERS = "etaoinshrdlucmfw"
MOST_ADDED_MS = 100.0
MOST_RATIO = 3.0
MOST_STALL_MS = 100.0
MOST_BYTES = 700_000_000


def _with(content: object) -> bytes:
    return json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": content}]}).encode()


def one_letter(size: int) -> bytes:
    return _with("a" * size)


def prose(size: int, seed: int = 1) -> bytes:
    draw = random.Random(seed)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(4000)]
    blocks = [" ".join(draw.choices(words, k=100)) for _ in range(500)]
    return _with(" ".join(draw.choices(blocks, k=size // len(blocks[0])))[:size])


def tiny_messages(size: int, number: int = 120_000) -> bytes:
    each = "x" * max(1, size // number - 50)
    roles = ("user", "assistant")
    listed = [{"role": roles[at % 2], "content": f"{at} {each}"} for at in range(number)]
    return json.dumps({"model": "gpt-5", "messages": [*listed, {"role": "user", "content": "?"}]}).encode()


def image(size: int) -> bytes:
    data = base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()
    return _with(
        [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        ]
    )


KINDS: dict[str, Callable[[int], bytes]] = {
    "one letter": one_letter,
    "prose": prose,
    "120,000 messages": tiny_messages,
    "99,000 messages": lambda size: tiny_messages(size, 99_000),
    "an image": image,
}


# --- the attacker and the provider: programs of their own


def attack(port: int, kind: str, size: int, seconds: float) -> None:
    """Send bodies of one kind back to back on two connections; prints how many were answered, and with what."""
    body = KINDS[kind](size)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {KEYS['narrow']}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    print("attacking", flush=True)
    until, answers = time.monotonic() + seconds, list[str]()

    def one() -> None:
        while time.monotonic() < until:
            with socket.create_connection(("127.0.0.1", port), timeout=300) as sock:
                try:
                    sock.sendall(head)
                    sock.sendall(body)
                    answers.append(sock.recv(65_536).split(b" ", 2)[1].decode())
                except (OSError, IndexError) as error:
                    answers.append(type(error).__name__)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        time.sleep(0.05)
    print(" ".join(f"{answers.count(one)}×{one}" for one in sorted(set(answers))) or "none answered", flush=True)
    os._exit(0)


async def provide() -> None:
    """Be a provider that reads what it is sent and answers at once."""
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    said = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(said).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                while left:
                    left -= len(await reader.read(min(left, 65_536)))
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def another(*arguments: str, core: int = 0) -> Iterator[Callable[[], str]]:
    """Run another part of this module as a program on one core; yields what reads a line that it prints."""
    command = [sys.executable, "-m", "tests.load.two_keys", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        pin(program.pid, core)
        try:
            yield program.stdout.readline
        finally:
            program.terminate()


# --- the probe


@dataclass
class Seen:
    """Milliseconds that the other key's requests took, and the memory meanwhile."""

    small: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    bytes: tuple[int, ...] = ()
    """What each process had when they had most in sum; the worker's are the first."""
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        small, long, health = (
            f"p50 {quantile(took, 0.5):.1f} p99 {quantile(took, 0.99):.1f} ({len(took)})"
            for took in (self.small, self.long, self.health)
        )
        longest = max(self.health, default=0)
        return f"small {small}; 500 kB {long}; /health {health} longest {longest:.1f} ms; {megabytes(self.bytes)}"


def megabytes(each: Sequence[int]) -> str:
    return f"{sum(each) / 1e6:.0f} MB ({' + '.join(f'{one / 1e6:.0f}' for one in each)})"


class Probe:
    """Asks over connections of its own, in threads, for as long as it is told to."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.number = gateway, 0
        self.draw = random.Random(os.getpid())
        words = ["".join(self.draw.choices(LETTERS, k=self.draw.randint(2, 9))) for _ in range(4000)]
        self.blocks = [" ".join(self.draw.choices(words, k=100)) for _ in range(500)]

    def watched(self, seconds: float) -> Seen:
        """Ask for so long; returns what was seen."""
        seen, until = Seen(), time.monotonic() + seconds
        jobs = [
            (seen.small, self._small, 0.01),
            (seen.long, self._long, 0.3),
            (seen.health, lambda: b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n", 0.003),
        ]
        threads = [threading.Thread(target=self._ask, args=(seen, *job, until)) for job in jobs]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            seen.bytes = max(seen.bytes, memory(self.gateway.program.pid), key=sum)
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        return seen

    def _ask(self, seen: Seen, took: list[float], make: Callable[[], bytes], pause: float, until: float) -> None:
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=120) as sock:
            while time.monotonic() < until:
                request, read = make(), b""
                began = time.perf_counter()
                sock.sendall(request)
                while b"\r\n\r\n" not in read or not read.rstrip().endswith(b"}"):
                    read += sock.recv(65_536)
                took.append((time.perf_counter() - began) * 1000)
                if not read.startswith(b"HTTP/1.1 200 "):
                    seen.failures.append(read[:300].decode())
                time.sleep(pause)

    def _request(self, text: str) -> bytes:
        body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": text}]}).encode()
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {KEYS['main']}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _small(self) -> bytes:
        self.number += 1
        return self._request(f"Hello for the {self.number}th time: " + "a few words more " * 10)

    def _long(self) -> bytes:
        return self._request(" ".join(self.draw.choices(self.blocks, k=500_000 // len(self.blocks[0]))))


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def memory(pid: int) -> tuple[int, ...]:
    """What a process and each of its children has; one that ends meanwhile has nothing."""
    each = []
    for one in family(pid):
        with suppress(OSError):
            each.append(resident_bytes(one))
    return tuple(each)


@dataclass
class Outcome:
    """What was seen; `problems` empty means that every bound held."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, line: str) -> None:
        if not holds:
            self.problems.append(line)

    def __str__(self) -> str:
        return "\n".join([*self.lines, f"{len(self.problems)} problems", *self.problems])


def measure(folder: Path, *, seconds: float, kinds: Sequence[str], size: int, slack: float = 1.0) -> Outcome:
    """Watch without, then beside each kind; `slack` widens the bounds for a machine that does other things."""
    outcome = Outcome()
    with another("--provide") as line, another("--provide") as other_line:
        urls = [f"http://127.0.0.1:{int(read())}" for read in (line, other_line)]
        settings = config(urls[0], fallbacks=[])
        settings["model_list"] = [model("gpt-5", "gpt-5", urls[0]), model("fast", "gpt-5-mini", urls[1])]
        settings["server"]["max_body"] = "32MB"
        with running_gateway(write_setup(folder, settings)) as gateway, pinned(0):
            pin(gateway.program.pid, 1)
            probe = Probe(gateway)
            probe.watched(min(2.0, seconds))
            without = probe.watched(seconds)
            outcome.lines.append(f"without: {without}")
            for kind in kinds:
                with another("--attack", str(gateway.port), kind, str(size), str(seconds + 1)) as told:
                    told()
                    time.sleep(0.5)
                    seen = probe.watched(seconds)
                    outcome.lines.append(f"{kind}: {seen}; answers {told().strip()}")
                judge(outcome, kind, without, seen, slack)
            outcome.expect(not gateway.program.tracebacks, f"the gateway logged {list(gateway.program.tracebacks)[:1]}")
    return outcome


def judge(outcome: Outcome, kind: str, without: Seen, seen: Seen, slack: float) -> None:
    added = quantile(seen.small, 0.99) - quantile(without.small, 0.99)
    ratio = quantile(seen.long, 0.99) / max(1.0, quantile(without.long, 0.99))
    stall = max(seen.health, default=0.0)
    outcome.expect(not seen.failures, f"{kind}: {len(seen.failures)} failures, {seen.failures[:1]}")
    outcome.expect(added <= MOST_ADDED_MS * slack, f"{kind}: small p99 +{added:.1f} ms")
    outcome.expect(ratio <= MOST_RATIO * slack, f"{kind}: 500 kB p99 × {ratio:.1f}")
    outcome.expect(stall <= MOST_STALL_MS * slack, f"{kind}: longest stall {stall:.1f} ms")
    outcome.expect(sum(seen.bytes) <= MOST_BYTES, f"{kind}: {megabytes(seen.bytes)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--size", type=int, default=30_000_000)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--slack", type=float, default=1.0, help="how much wider the bounds are, on a busy machine")
    parser.add_argument("--attack", nargs=4, metavar=("PORT", "KIND", "SIZE", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--provide", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.provide:
        asyncio.run(provide())
    if arguments.attack:
        port, kind, size, seconds = arguments.attack
        attack(int(port), kind, int(size), float(seconds))
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            Path(folder),
            seconds=arguments.seconds,
            kinds=arguments.kinds,
            size=arguments.size,
            slack=arguments.slack,
        )
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

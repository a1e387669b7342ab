"""Whatever an upstream does, a request ends with a status, in one opened and one settled line, and nothing stays.

python -m tests.load.faults --rounds 60      # every fault of `upstream_faults`, plain and streamed
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.raw import body_of, chat
from tests.contract.running import (
    HOUSE_PRICES,
    UPSTREAM_KEY,
    Gateway,
    Program,
    config,
    free_port,
    model,
    running_gateway,
    write_setup,
)
from tests.load.streams import Outcome, open_files, resident_kb, settled
from tests.load.upstream_faults import EVERY, Fault
from tests.upstream.raw import Call, playing

AT_ONCE = 24
MOST_SECONDS = 60.0
MOST_GROWTH_KB = 60_000
"""Memory that a warm gateway may take on over the rounds: what is kept of connections, and what the allocator keeps."""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """How one request ended for its client."""

    fault: Fault
    id: str
    stream: bool
    status: int
    """0: no status line came."""
    answer: bytes

    @property
    def name(self) -> str:
        return f"{self.fault.name} {'streamed' if self.stream else 'plain'} ({self.id})"


async def ask(gateway: Gateway, fault: Fault, id: str, *, stream: bool) -> Seen:
    """Send one request and read to the end of the connection."""
    answer, writer = b"", None
    try:
        async with asyncio.timeout(MOST_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(chat(body_of(id, model=fault.name, stream=stream), connection="close"))
            async with asyncio.timeout(fault.leaves):
                answer = await reader.read(-1)
    except (OSError, TimeoutError):
        pass
    finally:
        if writer is not None:
            writer.close()
    status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
    return Seen(fault, id, stream, status, answer)


async def _round(gateway: Gateway, faults: Sequence[Fault], number: int) -> list[Seen]:
    """Every fault once plain and once streamed, many at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(fault: Fault, stream: bool) -> Seen:
        async with room:
            return await ask(gateway, fault, f"{fault.name}-{number}-{int(stream)}", stream=stream)

    return await asyncio.gather(*(one(fault, stream) for fault in faults for stream in (False, True)))


def judge(seen: Sequence[Seen], rows: Sequence[dict[str, Any]], program: Program) -> list[str]:
    """What is not as it should be."""
    opened = Counter(row.get("user") for row in rows if row["event"] == "opened")
    settled = {row.get("user"): row for row in rows if row["event"] == "settled"}
    closed = Counter(row.get("user") for row in rows if row["event"] == "settled")
    problems = []
    for one in seen:
        if one.fault.leaves is None and one.status not in one.fault.statuses(stream=one.stream):
            problems.append(f"{one.name}: status {one.status} {one.answer[-200:]!r}")
        if (opened[one.id], closed[one.id]) != (1, 1):
            problems.append(f"{one.name}: {opened[one.id]} opened and {closed[one.id]} settled lines")
        elif settled[one.id]["status"] not in one.fault.ends:
            problems.append(f"{one.name}: settled as {settled[one.id]['status']}")
        if UPSTREAM_KEY.encode() in one.answer:
            problems.append(f"{one.name}: the answer holds the upstream's key")
    written = {"ledger": json.dumps(list(rows)), "log": program.log}
    problems += [f"the {what} holds the upstream's key" for what, text in written.items() if UPSTREAM_KEY in text]
    return problems + [f"the gateway logged: {one}" for one in list(program.tracebacks)[-1:]]


def _settings(url: str, faults: Sequence[Fault]) -> dict[str, Any]:
    models = [
        model(one.name, one.name, url.replace("http:", f"{one.scheme}:"), timeout=one.timeout, info=HOUSE_PRICES)
        for one in faults
    ]
    nobody = f"http://127.0.0.1:{free_port()}"
    limits = {"host": "127.0.0.1", "port": 0, "max_answer": "4MB"}
    models += [model("refused", "refused", nobody, info=HOUSE_PRICES), model("gpt-5", "gpt-5", url)]
    return config(url, server=limits, model_list=models, fallbacks=[])


async def run(folder: Path, faults: Sequence[Fault], rounds: int, idle_seconds: float) -> Outcome:
    """Play every fault in every round, and see what is left of it."""
    plays = {fault.name: fault.play for fault in faults}

    async def play(call: Call) -> None:
        await plays[call.model](call)

    refused = Fault("refused", play)
    async with AsyncExitStack() as stack:
        url, _ = await stack.enter_async_context(playing(play))
        path = write_setup(folder, _settings(url, faults))
        gateway = await asyncio.to_thread(stack.enter_context, running_gateway(path))
        every = (*faults, refused)
        started = time.monotonic()
        seen = await _round(gateway, every, 0)
        files, memory = open_files(gateway.program.pid), resident_kb(gateway.program.pid)
        for number in range(1, rounds):
            seen += await _round(gateway, every, number)
        seconds = time.monotonic() - started
        await settled(gateway, len(seen), 15)
        await asyncio.sleep(idle_seconds)
        grown, files_after = resident_kb(gateway.program.pid) - memory, open_files(gateway.program.pid)
        problems = judge(seen, gateway.rows(), gateway.program)
    if files_after > files + 5:
        problems.append(f"{files_after} open files at the end, {files} after the first round")
    if grown > MOST_GROWTH_KB:
        problems.append(f"{grown} kB more memory than after the first round")
    figures = {
        "faults, rounds, requests": [len(every), rounds, len(seen)],
        "seconds": round(seconds, 1),
        "without a status line": sum(one.status == 0 for one in seen if one.fault.leaves is None),
        "open files after the first round, at the end": [files, files_after],
        "kB grown since the first round": grown,
        "problems": len(problems),
    }
    shown = Counter(problem.split(" (")[0] + problem.partition(")")[2] for problem in problems).most_common(_SHOWN)
    return Outcome(figures, [f"{count} x {problem}" for problem, count in shown])


def measure(folder: Path, rounds: int, faults: Sequence[Fault] = EVERY, idle_seconds: float = 6) -> Outcome:
    """Start everything, play, and stop it."""
    return asyncio.run(run(folder, faults, rounds, idle_seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), arguments.rounds)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

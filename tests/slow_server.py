"""A way to a server that is slow: a TCP proxy of the tests, which holds each answer back for some time, or for good.

As a process of its own, so that it is not slow beyond that: python -m tests.slow_server redis://… ; it tells its
address, and reads seconds line by line.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from urllib.parse import urlsplit


@dataclass
class Way:
    """Where the proxy listens, and how slow it is: it may be changed at any time."""

    url: str = ""
    seconds: float = 0.0
    """For which each piece of an answer is held back; inf: it never comes."""
    connections: int = 0


@contextmanager
def slowed(url: str, seconds: float = 0.0) -> Iterator[Way]:
    """Put a proxy before a server, which need not be there."""
    at = urlsplit(url)
    way, loop = Way(seconds=seconds), asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    way.url = at._replace(netloc=f"127.0.0.1:{listener.getsockname()[1]}").geturl()

    stopping: list[Callable[[], object]] = []

    async def serve() -> None:
        stop = asyncio.get_running_loop().create_future()
        loop.call_soon(ready.set)
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set_result, None))
        relaying = dict[asyncio.Task[None], asyncio.StreamWriter]()

        def begun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            way.connections += 1
            relaying[asyncio.create_task(_relayed(way, at.hostname or "", at.port or 0, reader, writer))] = writer

        server = await asyncio.start_server(begun, sock=listener)
        await stop
        loop.remove_reader(listener)  # a server that is closed drops whom it has accepted but not yet met, unclosed
        await _turns(4)
        server.close()
        for task, writer in relaying.items():
            task.cancel()
            writer.transport.abort()  # a relay that has not begun ends without doing it
        await asyncio.gather(*relaying, return_exceptions=True)
        await _turns(4)  # a connection that is closed lets go of its socket at the next turn of the loop

    ready = threading.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield way
    finally:
        stopping[0]()
        thread.join(10)
        loop.close()


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _relayed(way: Way, host: str, port: int, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
    """Carry one connection, until either side ends it."""
    writers, copying = [answers], list[asyncio.Task[None]]()
    try:
        server, asks = await asyncio.open_connection(host, port)
        writers.append(asks)
        copying += [
            asyncio.create_task(_copied(client, asks, None)),
            asyncio.create_task(_copied(server, answers, way)),
        ]
        await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
    except OSError:
        pass
    finally:
        for writer in writers:  # before anything is waited for: it may be cancelled there
            writer.transport.abort()
        for task in copying:
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, slowly: Way | None) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if slowly is not None and slowly.seconds:
                await asyncio.sleep(slowly.seconds if isfinite(slowly.seconds) else 3600)
            writer.write(data)
            await writer.drain()


HUNG = inf


@contextmanager
def process(url: str, seconds: float = 0.0) -> Iterator[tuple[str, Callable[[float], None]]]:
    """Run the proxy as a process; yields its address, and what sets how slow it is."""
    command = [sys.executable, "-m", "tests.slow_server", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        stdin = running.stdin

        def slow(seconds: float) -> None:
            stdin.write(f"{seconds}\n")
            stdin.flush()

        address = running.stdout.readline().strip()
        slow(seconds)
        try:
            yield address, slow
        finally:
            stdin.close()


if __name__ == "__main__":
    with slowed(sys.argv[1]) as here:
        print(here.url, flush=True)
        for line in sys.stdin:
            here.seconds = float(line)

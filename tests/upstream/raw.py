"""A provider that writes whatever bytes it is told to, one request a connection, and notes when its peer goes."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def whole(body: bytes, status: str = "200 OK", more: bytes = b"") -> bytes:
    """One answer as bytes."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n".encode()
    return head + more + f"content-length: {len(body)}\r\n\r\n".encode() + body


def event(**fields: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    """One event in which the model speaks, or ends."""
    return event(choices=[{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}])


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
END = delta("", "stop") + event(choices=[], usage=USAGE) + b"data: [DONE]\n\n"


def reset(transport: asyncio.WriteTransport | None) -> None:
    """End a connection the hard way: RST instead of FIN."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@dataclass
class Call:
    """One request as this provider sees it."""

    head: bytes
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    left_at: float | None = None
    """When the peer closed the connection, where it did so before the end."""

    @property
    def id(self) -> str:
        return str(self.body.get("user"))

    @property
    def model(self) -> str:
        return str(self.body.get("model"))

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, plain: bytes, streamed: bytes | None = None) -> None:
        """Send what was asked for: a whole answer, or a stream where it is another."""
        await self.send(plain if streamed is None or not self.streams else streamed)

    async def watch(self) -> None:
        """Note when the peer goes."""
        with suppress(ConnectionError):
            while await self.reader.read(1024):
                pass
        self.left_at = time.monotonic()
        self.gone.set()


Play = Callable[[Call], Awaitable[None]]


@asynccontextmanager
async def playing(play: Play) -> AsyncIterator[tuple[str, list[Call]]]:
    """Serve on the loopback address: yields its URL and the calls that it takes."""
    calls: list[Call] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        watching = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            call = Call(head, json.loads(await reader.readexactly(size)), reader, writer)
            calls.append(call)
            watching = asyncio.create_task(call.watch())
            await play(call)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            if watching is not None:
                watching.cancel()
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", calls
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

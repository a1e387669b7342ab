"""HTTP as bytes: requests that no client library would send, over one connection whose end can be seen."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.running import KEYS
from tests.upstream.script import mark


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error object; fails where the body has not OpenAI's shape or does not tell our id."""
        error = json.loads(self.body)["error"]
        assert isinstance(error, dict), self.body
        assert {"message", "type", "param", "code"} <= error.keys(), self.body
        assert self.headers["x-request-id"] in error["message"], (self.headers, self.body)
        return error


def body_of(id: str, *, model: str = "gpt-5", stream: bool = False, **more: Any) -> dict[str, Any]:
    """A small request whose `user` and script bear this id; fields of the request in `fields`, the rest is script."""
    fields = more.pop("fields", {})
    messages = [{"role": "user", "content": f"Hello. {mark(id=id, **more)}"}]
    body = {"model": model, "messages": messages, "user": id, **fields}
    return body | ({"stream": True} if stream else {})


def request_head(path: str, headers: Mapping[str, str]) -> bytes:
    """The first lines of a POST."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chat(body: bytes | Mapping[str, Any], *, key: str | None = KEYS["main"], **more: str) -> bytes:
    """A whole request for a chat completion, with `more` headers."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request_head("/v1/chat/completions", _headers(raw, key) | more) + raw


class Connection:
    """One keep-alive connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def post(self, body: bytes, *, path: str = "/v1/chat/completions", key: str | None = KEYS["main"]) -> Answer:
        """Send a body with its length, and read the answer."""
        return await self.send(request_head(path, _headers(body, key)), [body])

    async def post_chunked(self, pieces: Iterable[bytes], *, key: str | None = KEYS["main"]) -> Answer:
        """Send a body in chunks, its length untold, and read the answer."""
        headers = {"content-type": "application/json", "transfer-encoding": "chunked", **_bearer(key)}
        framed = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return await self.send(request_head("/v1/chat/completions", headers), [*framed, b"0\r\n\r\n"])

    async def send(self, head: bytes, pieces: Iterable[bytes]) -> Answer:
        """Write while reading, so that an early answer blocks neither side."""
        writing = asyncio.create_task(self._write(head, pieces))
        try:
            answer = await asyncio.wait_for(self.read(), 30)
            await asyncio.wait_for(writing, 30)
        finally:
            writing.cancel()
        return answer

    async def _write(self, head: bytes, pieces: Iterable[bytes]) -> None:
        self.writer.write(head)
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def read(self) -> Answer:
        """Read one response by its content-length or its chunks."""
        status_line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(status_line.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if status == 100:
            return await self.read()
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, await self._chunked())
        return Answer(status, headers, await self.reader.readexactly(int(headers.get("content-length", "0"))))

    async def _chunked(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body


def _headers(body: bytes, key: str | None) -> dict[str, str]:
    return {"content-type": "application/json", "content-length": str(len(body)), **_bearer(key)}


def _bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """Open one connection and close it at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):  # the other side was first
            await writer.wait_closed()


async def post(port: int, body: bytes | Mapping[str, Any], *, key: str | None = KEYS["main"]) -> Answer:
    """Send one request over a connection of its own."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with connected(port) as connection:
        return await connection.post(raw, key=key)


def resident_bytes(pid: int) -> int:
    """The memory of a process that is its own or shared by share (PSS), in bytes; Linux only."""
    with Path(f"/proc/{pid}/smaps_rollup").open(encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

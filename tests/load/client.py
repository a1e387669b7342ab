"""Send requests many at once, and note how each ended as its client saw it."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp

from tests.load.traffic import Sent


@dataclass(frozen=True, slots=True)
class Seen:
    """How one request ended for its client."""

    sent: Sent
    status: int
    """0: the connection broke before an answer."""
    whole: bool
    """Whether the answer was read to its proper end."""
    request_id: str
    seconds: float
    body: bytes
    """The answer where it was an error or no stream, at most its first kilobyte."""


async def ask(session: aiohttp.ClientSession, url: str, sent: Sent, seconds: float = 30.0) -> Seen:
    """Send one request as its kind wants it."""
    started, status, request_id, body = time.perf_counter(), 0, "", b""
    headers = {"authorization": f"Bearer {sent.key}", "content-type": "application/json"}
    timeout = aiohttp.ClientTimeout(seconds)
    whole = False
    try:
        async with session.post(url + sent.path, data=sent.body, headers=headers, timeout=timeout) as response:
            status, request_id = response.status, response.headers.get("x-request-id", "")
            if sent.leave_after is None or status != 200:
                body = (await response.read())[:1024]
                whole = True
            else:
                await _read_until(response, sent.leave_after)
                response.close()
    except (aiohttp.ClientError, TimeoutError) as reason:
        body = repr(reason).encode()
    return Seen(sent, status, whole, request_id, time.perf_counter() - started, body)


async def _read_until(response: aiohttp.ClientResponse, end: bytes) -> None:
    came = b""
    async for chunk in response.content.iter_any():
        came += chunk
        if end in came:
            return


async def ask_all(url: str, requests: Iterable[Sent], at_once: int, stop: asyncio.Event | None = None) -> list[Seen]:
    """Send all of them, `at_once` at a time, until they are done or `stop` is set."""
    waiting, seen = iter(requests), []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def worker() -> None:
            for sent in waiting:
                if stop is not None and stop.is_set():
                    return
                seen.append(await ask(session, url, sent))

        await asyncio.gather(*(worker() for _ in range(at_once)))
    return seen

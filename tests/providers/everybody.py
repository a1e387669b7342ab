"""Every provider at once: one server behind a proxy that stands in for whatever host is asked, over TLS or without.

It answers in the shape that the path names, and reports 1,000 prompt and 50 completion tokens whoever is asked. At
`/token` it hands out what Google hands out for a service account.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

PROMPT, COMPLETION = 1000, 50


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived: the whole address that was meant, and what came with it."""

    url: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any


@dataclass
class Everybody:
    """Where it is, and what it was asked."""

    proxy: str = ""
    url: str = ""
    """Of the server itself, without TLS."""
    certificate: Path = Path()
    received: list[Asked] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        url = f"{'https' if request.secure else 'http'}://{request.headers['host']}{request.raw_path}"
        if request.raw_path.startswith("http"):  # a proxy is given the whole address
            url = request.raw_path
        raw = await request.read()
        if request.path == "/token":
            return web.json_response({"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Asked(url, headers, json.loads(raw) if raw else None))
        return web.json_response(_answer(request.path))


def _answer(path: str) -> Any:
    """Answer as the provider does whose path this is."""
    if path.endswith("/v1/messages"):
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "fine"}],
            "usage": {"input_tokens": PROMPT, "output_tokens": COMPLETION},
        }  # fmt: skip
    if path.endswith(":generateContent"):
        return {
            "candidates": [{"content": {"role": "model", "parts": [{"text": "fine"}]}, "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": PROMPT, "candidatesTokenCount": COMPLETION, "totalTokenCount": PROMPT + COMPLETION
            },
        }  # fmt: skip
    if path.endswith("/converse"):
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": "fine"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": PROMPT, "outputTokens": COMPLETION, "totalTokens": PROMPT + COMPLETION},
            "metrics": {"latencyMs": 1},
        }  # fmt: skip
    if path.endswith("/api/chat"):
        return {
            "model": "m", "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": "fine"},
            "done": True, "done_reason": "stop", "prompt_eval_count": PROMPT, "eval_count": COMPLETION,
        }  # fmt: skip
    if path.endswith("/v2/chat"):
        usage = {"input_tokens": PROMPT, "output_tokens": COMPLETION}
        return {
            "id": "c", "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "fine"}]},
            "usage": {"billed_units": usage, "tokens": usage},
        }  # fmt: skip
    if path.endswith("/responses"):
        said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "fine", "annotations": []}]}  # fmt: skip
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
            "output": [said],
            "usage": {"input_tokens": PROMPT, "output_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION},
        }  # fmt: skip
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION},
    }  # fmt: skip


AnyEverybody = TypeVar("AnyEverybody", bound=Everybody)


@asynccontextmanager
async def everybody(folder: Path) -> AsyncIterator[Everybody]:
    """Run the server and its proxy on loopback ports, with the certificate in `folder`."""
    async with behind_a_proxy(Everybody(), folder) as far:
        yield far


@asynccontextmanager
async def behind_a_proxy(far: AnyEverybody, folder: Path) -> AsyncIterator[AnyEverybody]:
    """Run a server that answers for all hosts, as `everybody` does."""
    far.certificate = folder / "cert.pem"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/{tail:.*}", far.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    plain, secure = web.TCPSite(runner, "127.0.0.1", 0), web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await plain.start()
    await secure.start()
    ports = [port for _, port in (address[:2] for address in runner.addresses)]
    far.url = f"http://127.0.0.1:{ports[0]}"

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        tunnel = head.startswith(b"CONNECT ")
        there, back = await asyncio.open_connection("127.0.0.1", ports[1 if tunnel else 0])
        if tunnel:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head)
        await asyncio.gather(pour(reader, back), pour(there, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    far.proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield far
    finally:
        server.close()
        await runner.cleanup()


async def pour(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
    """Pass on what comes from one side of a proxy until that side ends."""
    try:
        while data := await source.read(65536):
            drain.write(data)
            await drain.drain()
    except ConnectionError:
        pass
    drain.close()


def certify(folder: Path, hosts: Sequence[str]) -> None:
    """Make a certificate for these hosts that only who is told so believes."""
    names = ",".join(f"DNS:{host}" for host in hosts)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=everybody", "-addext", f"subjectAltName={names}",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        capture_output=True, check=True,
    )  # fmt: skip

"""An upstream that echoes all it was sent, wherever it can write: no client, log or ledger gets its key."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.app import create_app
from gateway.config import load
from gateway.operators import logs
from gateway.operators.rate import Rate
from tests.contract.raw import chat
from tests.served import listening

KEY = "sk-proj-Ab3/dE+fGhIjKlMnOp"
PASSWORD = "pass/word+1234"
HEADER = "portal-0a1b2c3d4e5f"
AWS = "aws/secret+0123456789"
SECRETS = (KEY, PASSWORD, HEADER, AWS)

CONFIG = f"""
model_list:
  - model_name: key
    litellm_params: {{model: openai/m, api_base: "UP/v1", api_key: "{KEY}", extra_headers: {{x-portal: "{HEADER}"}}}}
  - model_name: login
    litellm_params: {{model: openai/m, api_base: "http://me:{urllib.parse.quote(PASSWORD, safe="")}@HOST/v1"}}
  - model_name: azure
    litellm_params: {{model: azure/m, api_base: "UP", api_key: "{KEY}"}}
unpriced: allow
log_upstream_errors: true
ledger: {{dir: ledger}}
state: {{dir: state}}
"""

TRANSLATED = f"""
  - model_name: claude
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_base: "UP", api_key: "{KEY}"}}
  - model_name: bedrock
    litellm_params: {{model: bedrock/converse/anthropic.claude-sonnet-4-20250514-v1:0, aws_region_name: us-east-1,
                      aws_access_key_id: AKIA0123456789ABCDEF, aws_secret_access_key: "{AWS}",
                      aws_bedrock_runtime_endpoint: "UP"}}
"""

Head = dict[str, str]
Answer = Callable[[str, Head], bytes]
"""The bytes of an answer, from the head of a request as it came and its headers."""


def http(status: int, body: bytes, kind: str = "application/json", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {kind}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1") + body


def error(status: int, echo: Callable[[str, Head], str]) -> Answer:
    def answer(head: str, headers: Head) -> bytes:
        told = {"error": {"message": f"bad: {echo(head, headers)}", "type": "t", "code": echo(head, headers)}}
        return http(status, json.dumps(told).replace("/", "\\/").encode(), "application/json", *in_headers(headers))

    return answer


def in_headers(headers: Head) -> list[str]:
    """Echo what signs a request in, in every header that an answer's client hears of."""
    shown = " ".join(value for name, value in headers.items() if name not in {"host", "content-length"})[:480]
    names = ("x-request-id", "openai-processing-ms", "retry-after", "x-ratelimit-remaining")
    return [f"{name}: {shown}" for name in names]


def whole(head: str, headers: Head) -> str:
    return head


def coded(head: str, headers: Head) -> str:
    return base64.b64encode(head.encode()).decode()


def chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


def streamed(last: Callable[[str], bytes]) -> Answer:
    def answer(head: str, headers: Head) -> bytes:
        body = chunk("some ") + chunk("words") + last(head)
        return http(200, body, "text/event-stream", *in_headers(headers))

    return answer


def good(head: str, headers: Head) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    return http(200, json.dumps({"id": "c", "choices": [choice]}).encode(), "application/json", *in_headers(headers))


ANSWERS: dict[str, Answer] = {
    **{f"{status}": error(status, whole) for status in (400, 401, 403, 404, 429, 500)},
    "in base64": error(400, coded),
    "plain text": lambda head, headers: http(502, head.encode(), "text/html"),
    "an error in a good answer": lambda head, headers: http(200, json.dumps({"error": {"message": head}}).encode()),
    "a good answer": good,
    "an error event": streamed(lambda head: b"data: " + json.dumps({"error": {"message": head}}).encode() + b"\n\n"),
    "a named event": streamed(lambda head: b"event: error\ndata: " + json.dumps({"said": head}).encode() + b"\n\n"),
    "a complaint": streamed(lambda head: b"data: " + json.dumps({"detail": head}).encode() + b"\n\ndata: [DONE]\n\n"),
    "no HTTP": lambda head, headers: b"HTTP/1.1 200 OK\r\n" + head.replace("\r\n", " ").encode() + b"\r\n\r\n",
    "no status line": lambda head, headers: head.encode() + b"\r\n\r\n",
}


@dataclass
class Echo:
    """The upstream: answers by `answer`, over a bare socket, and keeps the heads of what it was asked."""

    answer: Answer = good
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), contextlib.suppress(asyncio.IncompleteReadError):  # whoever goes without a word
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip()
            lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
            headers = {name.lower(): value for name, _, value in lines}
            await reader.readexactly(int(headers.get("content-length", "0")))
            self.heads.append(head)
            writer.write(self.answer(head, headers))
            await writer.drain()


@dataclass
class Place:
    """A gateway on a socket, its upstream, and all that it wrote."""

    port: int
    echo: Echo
    log: io.StringIO
    rate: Rate
    folder: Path

    async def ask(self, model: str, *, stream: bool) -> str:
        """Return the answer as it came over the socket, its head included."""
        asked = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with closing(writer):
            writer.write(chat(asked, key=None, connection="close"))
            answer = await asyncio.wait_for(reader.read(), 30)
        return answer.decode("latin-1")

    def written(self) -> str:
        books = "".join(path.read_text() for path in (self.folder / "ledger").glob("*.jsonl"))
        return books + self.log.getvalue()


@asynccontextmanager
async def place(folder: Path, config: str = CONFIG, **environ: str) -> AsyncIterator[Place]:
    echo, log = Echo(), io.StringIO()
    upstream = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    host = f"127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    file = folder / "config.yaml"
    file.write_text(config.replace("UP", f"http://{host}").replace("HOST", host))
    rate = logs.configure(log, terminal=False)
    app = create_app(load(file, {name: value.replace("HOST", host) for name, value in environ.items()}))
    with closing(upstream), listening(app) as port:
        yield Place(port, echo, log, rate, folder)


def assert_no_secret_in(text: str) -> None:
    for secret in SECRETS:
        shapes = [secret, secret.replace("/", "\\/"), urllib.parse.quote(secret, safe="")]
        for before in range(3):
            digits = base64.b64encode(b"x" * before + secret.encode()).decode()
            shapes.append(digits[4 : len(secret) // 3 * 4])
        for shape in shapes:
            assert shape not in text
    assert "AWS4-HMAC-SHA256 Credential=" not in text


@pytest.mark.long
@pytest.mark.parametrize("models", [("key", "login", "azure"), ("claude", "bedrock")])
async def test_nobody_hears_a_secret_that_an_upstream_echoes(tmp_path: Path, models: tuple[str, ...]):
    listed = "" if "key" in models else TRANSLATED
    async with place(tmp_path, CONFIG.replace("model_list:", f"model_list:{listed.rstrip()}")) as one:
        for name, answer in ANSWERS.items():
            if listed and name in {"403", "404", "500", "plain text"}:
                continue  # litellm reads all statuses alike, and takes its time
            one.echo.answer = answer
            for model in models:
                for stream in (False, True):
                    told = await one.ask(model, stream=stream)
                    assert told.startswith("HTTP/1.1 "), (name, model)
                    assert_no_secret_in(told)
        assert len(one.echo.heads) > len(ANSWERS) * 2
        assert any(secret in head for secret in (KEY, "AWS4-HMAC-SHA256") for head in one.echo.heads), "it was sent"
        assert_no_secret_in(one.written())
        assert "***" in one.written(), "its words were logged, without them"


async def test_the_headers_of_an_answer_that_broke_off_are_cleaned_of_its_senders_secrets(tmp_path: Path):
    def breaks(head: str, headers: Head) -> bytes:
        if "portal" not in head:
            return error(500, whole)(head, headers)
        lines = [
            "HTTP/1.1 200 OK",
            "content-type: text/event-stream",
            "content-length: 99",
            *in_headers(headers),
            "",
            "",
        ]
        return "\r\n".join(lines).encode() + b": nothing more\n\n"

    async with place(tmp_path, CONFIG + "fallbacks: [{key: [azure]}]\n") as one:
        one.echo.answer = breaks
        told = await one.ask("key", stream=True)
        assert told.startswith("HTTP/1.1 500 ")
        assert "x-gateway-upstream-request-id" in told
        assert_no_secret_in(told)
        assert len(one.echo.heads) == 2


async def test_a_proxy_may_echo_its_own_password(tmp_path: Path):
    proxy = f"http://me:{urllib.parse.quote(PASSWORD, safe='')}@HOST"
    elsewhere = CONFIG.replace('"UP/v1"', '"http://upstream.invalid/v1"')
    async with place(tmp_path, elsewhere, HTTP_PROXY=proxy) as one:
        for name in ("400", "an error event", "no HTTP"):
            one.echo.answer = ANSWERS[name]
            assert_no_secret_in(await one.ask("key", stream=True))
        assert "Proxy-Authorization: Basic" in one.echo.heads[0]
        assert_no_secret_in(one.written())


async def test_the_words_of_an_upstream_stay_out_of_the_log_unless_they_are_asked_for(tmp_path: Path):
    async with place(tmp_path, CONFIG.replace("log_upstream_errors: true", "")) as one:
        for name in ("500", "no HTTP", "no status line", "an error in a good answer", "plain text"):
            one.echo.answer = ANSWERS[name]
            for model in ("key", "azure"):
                await one.ask(model, stream=False)
        assert "upstream failed" in one.log.getvalue()
        assert "POST" not in one.log.getvalue()
        assert "user-agent" not in one.log.getvalue().lower()

"""Every provider that a list may name, asked through the gateway: whole, streamed, with tools, with a picture.

One server answers for all of them, and only what their documentation shows (`tests/providers/documented.py`). Beside
the gateway litellm alone asks the same: what leaves here equals what it sends, but for what is listed.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.providers.table import PROVIDERS, REFUSED
from tests.contract.running import CHECKOUT, environment, start_gateway, write_setup
from tests.providers import accounts
from tests.providers.documented import HOMES, KEY, VARIANTS, Everybody, Proxy, at_home, documented, params, provider
from tests.providers.page import PAGE, with_tables
from tests.providers.reference import PLAIN
from tests.providers.serving import Received
from tests.providers.wires import ARGUMENTS, COMPLETION, PROMPT, WORDS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look it up.",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
    },
}
PICTURE = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ],
}
ASKED: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "stream": PLAIN | {"stream": True, "stream_options": {"include_usage": True}},
    "tools": PLAIN | {"tools": [TOOL]},
    "image": PLAIN | {"messages": [PICTURE]},
}
AT_ONCE = 8

pytestmark = pytest.mark.long
"""Two programs ask every provider, and each loads litellm."""

INSTALLED = importlib.util.find_spec("google") is not None
SERVED = sorted(name for name in (*PROVIDERS, *VARIANTS) if INSTALLED or provider(name) != "vertex_ai")
AT_HOME = [name for name in PROVIDERS if not PROVIDERS[name].wants and not name.startswith("ollama")] + ["snowflake"]
AT_HOME = [name for name in AT_HOME if name in SERVED]
"""Those that are somewhere, and not on the machine of whoever runs them."""
AT_HOME = [name for name in AT_HOME if not (PROVIDERS[name].home or "https").startswith("http:")]

STAND_INS = {"vllm": "hosted_vllm", "openai_like": "custom_openai"}
"""Names that mean something else to litellm, or nothing, and the one that it would be asked by."""

NOT_ALONE = frozenset({"azure+responses", "openai+responses"})
"""What litellm alone cannot ask, for want of a package that its wheel does not bring."""

WE_ADD = {"stream_options": {"include_usage": True}}
"""To every stream of an API that is OpenAI's: the bill."""

LITELLM_ADDS = {"openrouter": ("usage",)}
"""A question for the cost that an answer states anyway."""

LITELLM_DROPS = {"morph": ("max_tokens",), "v0": ("max_tokens",)}
"""What it does not know that they take: docs.morphllm.com/api-reference, v0.app/docs/api/model."""


@dataclass
class Told:
    """What came of asking everybody."""

    answers: dict[tuple[str, str], tuple[int, str, bytes]] = field(default_factory=dict)
    """Status, content type and body, by provider and request."""
    sent: dict[str, list[Received]] = field(default_factory=dict)
    reference: dict[str, list[Received]] = field(default_factory=dict)
    homes: dict[str, list[str]] = field(default_factory=dict)
    """What the proxy was asked for, by provider."""
    known_homes: dict[str, str | None] = field(default_factory=dict)
    """The addresses that litellm knows."""
    complaints: str = ""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return asyncio.run(_ask_everybody(tmp_path_factory.mktemp("everybody")))


async def _ask_everybody(folder: Path) -> Told:
    everybody = Everybody()
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{tail:.*}", everybody.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    for _ in range(2):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    ours, theirs = (f"http://{host}:{port}" for host, port in runner.addresses)
    everybody.urls = {"gateway": ours, "reference": theirs}
    account = accounts.service_account(f"{ours}/token") if INSTALLED else ""
    told = Told()
    try:
        alone = asyncio.create_task(_reference(folder, theirs, account))
        await _through_the_gateway(folder, ours, account, told)
        told.complaints = await alone
    finally:
        await runner.cleanup()
    told.known_homes = json.loads((folder / "homes.json").read_text(encoding="utf-8"))
    told.sent, told.reference = dict(everybody.received["gateway"]), dict(everybody.received["reference"])
    return told


async def _reference(folder: Path, url: str, account: str) -> str:
    asked = {
        name: params(STAND_INS.get(name, name), f"{url}", account)
        for name in SERVED
        if name not in STAND_INS and name not in NOT_ALONE
    }
    path = folder / "params.json"
    path.write_text(json.dumps(asked), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.providers.reference", str(path),
        cwd=CHECKOUT, env=environment(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    return said.decode(errors="replace")


async def _through_the_gateway(folder: Path, url: str, account: str, told: Told) -> None:
    proxy = Proxy()
    listening = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    way = "http://{}:{}".format(*listening.sockets[0].getsockname())
    models = [{"model_name": name, "litellm_params": params(name, url, account) | {"timeout": 10}} for name in SERVED]
    models += [{"model_name": f"{name} at home", "litellm_params": at_home(name, account)} for name in AT_HOME]
    settings = {
        "server": {"host": "127.0.0.1", "port": 0}, "model_list": models, "unpriced": "allow",
        "state": {"dir": "state"}, "ledger": {"dir": "ledger"},
    }  # fmt: skip
    path = write_setup(folder, settings, {})
    gateway = await asyncio.to_thread(start_gateway, path, HTTPS_PROXY=way, NO_PROXY="127.0.0.1")
    free = asyncio.Semaphore(AT_ONCE)
    try:
        async with aiohttp.ClientSession() as session:

            async def ask(name: str, kind: str) -> None:
                body = ASKED[kind] | {"model": name}
                async with free, session.post(f"{gateway.url}/chat/completions", json=body) as answer:
                    told.answers[name, kind] = answer.status, answer.content_type, await answer.read()

            await asyncio.gather(*[ask(name, kind) for kind in ASKED for name in SERVED])
            for name in AT_HOME:  # one after the other: a proxy is not told who asks
                proxy.asked.clear()
                await ask(f"{name} at home", "plain")
                told.homes[name] = list(proxy.asked)
    finally:
        listening.close()
        await asyncio.to_thread(gateway.program.stop)


def events(body: bytes) -> Iterator[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]", body[-300:]
    yield from map(json.loads, lines[:-1])


def whole(told: Told, name: str, kind: str) -> dict[str, Any]:
    status, content_type, body = told.answers[name, kind]
    assert (status, content_type) == (200, "application/json"), body[:800]
    answer: dict[str, Any] = json.loads(body)
    return answer


@pytest.mark.parametrize("name", SERVED)
def test_a_whole_answer_comes_with_its_words_and_its_bill(told: Told, name: str):
    answer = whole(told, name, "plain")
    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (WORDS, "stop")
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (PROMPT, COMPLETION)


@pytest.mark.parametrize("name", SERVED)
def test_a_streamed_answer_comes_with_its_words_and_its_bill(told: Told, name: str):
    status, content_type, body = told.answers[name, "stream"]
    assert (status, content_type) == (200, "text/event-stream"), body[:800]
    stream = list(events(body))
    choices = [choice for event in stream for choice in event["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == WORDS
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    bills = [(one["prompt_tokens"], one["completion_tokens"]) for event in stream if (one := event.get("usage"))]
    assert bills == ([(PROMPT, COMPLETION)] if documented(name).usage else [])


@pytest.mark.parametrize("name", [name for name in SERVED if documented(name).tools])
def test_a_tool_can_be_called(told: Told, name: str):
    choice = whole(told, name, "tools")["choices"][0]
    call = choice["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("look_up", ARGUMENTS)
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("name", [name for name in SERVED if documented(name).images])
def test_a_picture_reaches_the_provider(told: Told, name: str):
    assert whole(told, name, "image")["choices"][0]["message"]["content"] == WORDS
    assert any(PIXEL.encode() in request.raw for request in told.sent[name])


def _asked_plainly(came: list[Received]) -> list[Received]:
    """Pick the plain request and its stream out of what came, in this order."""
    found = [one for one in came if b"How are you?" in one.raw and b"look_up" not in one.raw]
    return [next(one for one in found if one.streams is streams) for streams in (False, True)]


def _compared(body: dict[str, Any], apart: tuple[str, ...]) -> dict[str, Any]:
    """Return a body without what is listed; `stream: false` says nothing."""
    return {key: value for key, value in body.items() if key not in apart and (key, value) != ("stream", False)}


@pytest.mark.parametrize("name", [name for name in SERVED if name not in NOT_ALONE])
def test_what_is_sent_is_what_litellm_alone_sends_but_for_what_is_listed(told: Told, name: str):
    other = STAND_INS.get(name, name)
    assert told.reference.get(other), told.complaints
    ours, theirs = _asked_plainly(told.sent[name]), _asked_plainly(told.reference[other])
    apart = (*WE_ADD, *LITELLM_ADDS.get(name, ()), *LITELLM_DROPS.get(name, ()))
    for mine, alone in zip(ours, theirs, strict=True):
        assert mine.path.replace(f"/{name}/", f"/{other}/", 1) == alone.path
        for header in ("authorization", "api-key", "x-api-key", "x-goog-api-key"):
            shown, expected = mine.headers.get(header, ""), alone.headers.get(header, "")
            if provider(name) == "bedrock":  # signed, with the time in it
                shown, expected = shown.split("/")[0], expected.split("/")[0]
            assert shown.replace(KEY + name, KEY + other) == expected
        assert _compared(mine.body, apart) == _compared(alone.body, apart)
        assert mine.body.get("stream_options") in (None, WE_ADD["stream_options"])


@pytest.mark.parametrize("name", AT_HOME)
def test_where_no_address_is_given_the_provider_itself_is_asked(told: Told, name: str):
    known = told.known_homes.get(name) or ""
    host = HOMES.get(name) or known.split("/")[2]
    assert set(told.homes[name]) == {f"CONNECT {host}:443 HTTP/1.1\r\n"}


def test_sixty_names_and_more_are_served():
    """Those that people use most are among them."""
    wanted = """azure azure_ai vertex_ai bedrock gemini anthropic mistral openrouter groq deepseek xai together_ai
        fireworks_ai perplexity cohere ollama vllm nvidia_nim databricks github"""
    assert set(wanted.split()) <= PROVIDERS.keys()
    assert len(PROVIDERS) >= 60
    assert not PROVIDERS.keys() & REFUSED.keys()


def test_the_page_of_providers_is_written_from_the_table():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page), "python -m tests.providers.page writes it anew"

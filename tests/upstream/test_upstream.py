"""The scripted provider keeps its own word: what it says it sent, counted and charged is what it did."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from tests.contract.running import Upstream, eventually, running_upstream
from tests.upstream.counting import prompt_tokens, text_tokens
from tests.upstream.prices import PRICES
from tests.upstream.script import Script, mark, read

Post = Callable[..., Any]


@pytest.fixture(scope="module")
def provider() -> Any:
    with running_upstream() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as open_session:
        yield open_session


def body_of(id: str, *, stream: bool = False, usage: bool = True, **instruction: Any) -> dict[str, Any]:
    content = f"Hello {mark(id=id, **instruction)}"
    body: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": content}], "stream": stream}
    return body | ({"stream_options": {"include_usage": True}} if stream and usage else {})


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    text = (await response.read()).decode()
    data = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    assert data.pop() == "[DONE]"
    return [json.loads(one) for one in data]


def test_it_counts_as_the_published_formula_says() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    messages = [
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    minified = '[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}]'
    expected = 3 + text_tokens(minified) + (4 + text_tokens("one\ntwo") + 1 + text_tokens("ann"))
    expected += 4 + 8 + text_tokens("look") + text_tokens('{"at": 1}')
    assert prompt_tokens({"messages": messages, "tools": tools}) == expected


def test_an_instruction_is_found_in_the_newest_message_that_has_one() -> None:
    messages = [{"role": "user", "content": mark(id="a", hold=2)}, {"role": "assistant", "content": "and <<this>>"}]
    assert read({"messages": messages}) == Script(id="a", hold=2)


def test_pieces_lose_nothing() -> None:
    script = Script(text="äöü" * 10, chunks=7)
    assert "".join(script.pieces()) == script.answer


async def test_a_plain_answer_is_charged_at_its_three_prices(
    provider: Upstream, session: aiohttp.ClientSession
) -> None:
    body = body_of("plain", text="four small words here", cached=5, reasoning=11)
    async with session.post(f"{provider.url}/v1/chat/completions", json=body) as response:
        usage = (await response.json())["usage"]
    prompt, completion = prompt_tokens(body), text_tokens("four small words here") + 11
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt, completion)
    cost = (prompt - 5) * 1250 + 5 * 125 + completion * 10_000
    assert PRICES["gpt-5"].cost(prompt, 5, completion) == provider.calls("plain")[0]["cost_nanousd"] == cost


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_ends_with_usage_only_when_asked(
    provider: Upstream, session: aiohttp.ClientSession, usage: bool
) -> None:
    body = body_of(f"usage-{usage}", stream=True, usage=usage, chunks=4)
    async with session.post(f"{provider.url}/v1/chat/completions", json=body) as response:
        chunks = await events(response)
    assert ("usage" in chunks[-1] and chunks[-1]["choices"] == []) is usage
    assert provider.calls(f"usage-{usage}")[0]["end"] == "answered"


async def test_a_reader_who_leaves_is_billed_for_what_was_sent(
    provider: Upstream, session: aiohttp.ClientSession
) -> None:
    body = body_of("leaves", stream=True, text="one two three four five six", chunks=6, hold=2)
    async with session.post(f"{provider.url}/v1/chat/completions", json=body) as response:
        async for line in response.content:
            if b'"content": "' in line and b'"content": ""' not in line and line.count(b"three"):
                break
            if provider.calls("leaves")[0]["pieces_sent"] == 2:
                break
    call = await eventually(lambda: next((one for one in provider.calls("leaves") if not one["open"]), None))
    sent = "".join(Script(text="one two three four five six", chunks=6).pieces()[:2])
    assert (call["end"], call["completion_tokens"]) == ("left", text_tokens(sent))


@pytest.mark.parametrize("instruction", [{"reset": 0}, {"reset": 1}, {"cut": 1}])
async def test_a_broken_answer_breaks_the_connection(
    provider: Upstream, session: aiohttp.ClientSession, instruction: Any
) -> None:
    id = f"broken-{json.dumps(instruction)}"
    with pytest.raises(aiohttp.ClientError):
        async with session.post(
            f"{provider.url}/v1/chat/completions", json=body_of(id, stream=True, **instruction)
        ) as response:
            await response.read()
    assert provider.calls(id)[0]["end"] in {"reset", "cut"}


async def test_failures_have_openais_shape_and_may_end(provider: Upstream, session: aiohttp.ClientSession) -> None:
    statuses = []
    for _ in range(3):
        body = body_of("fails", status=429, code="rate_limit_exceeded", fails=2)
        async with session.post(f"{provider.url}/v1/chat/completions", json=body) as response:
            statuses.append(response.status)
    assert statuses == [429, 429, 200]
    assert [call["cost_nanousd"] > 0 for call in provider.calls("fails")] == [False, False, True]


async def test_it_hands_back_the_bytes_it_received(provider: Upstream, session: aiohttp.ClientSession) -> None:
    raw = b'{ "model":"gpt-5" , "messages":[{"role":"user","content":"caf\\u00e9"}],"metadata":{"id":"raw"}, "x": 1.10}'
    async with session.post(f"{provider.url}/v1/chat/completions", data=raw) as response:
        assert response.status == 200
    assert provider.received("raw") == raw


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'{"messages": 3}', b'{"messages": [3]}', b'{"messages":[{"content":[{"text":3}]}]}']
)
async def test_nonsense_is_a_400(provider: Upstream, session: aiohttp.ClientSession, raw: bytes) -> None:
    async with session.post(f"{provider.url}/v1/chat/completions", data=raw) as response:
        assert response.status == 400

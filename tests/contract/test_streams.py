"""Streams over a socket: relayed as they come, to the byte, without the usage nobody asked for."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable

import aiohttp
import pytest

from tests.contract.raw import body_of, post
from tests.contract.running import KEYS, Gateway, Upstream

NewId = Callable[[], str]
AUTHORISED = {"authorization": f"Bearer {KEYS['main']}"}
EVERY_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


async def test_events_are_relayed_while_the_provider_is_still_speaking(gateway: Gateway, new_id: NewId) -> None:
    body, arrivals = body_of(new_id(), stream=True, words=8, chunks=8, pause=0.2), []
    async with (
        aiohttp.ClientSession(headers=AUTHORISED) as session,
        session.post(f"{gateway.url}/chat/completions", json=body) as response,
    ):
        async for _, end in response.content.iter_chunks():
            if end:
                arrivals.append(time.monotonic())
    spread = arrivals[-1] - arrivals[0]
    assert spread > 1.2
    assert max(b - a for a, b in itertools.pairwise(arrivals)) < 0.8


@pytest.mark.parametrize("linebreak", ["\n", "\r\n", "\r"])
async def test_usage_is_held_back_from_a_client_that_did_not_ask(
    gateway: Gateway, upstream: Upstream, new_id: NewId, linebreak: str
) -> None:
    id = new_id()
    answer = await post(gateway.port, body_of(id, stream=True, linebreak=linebreak, chunks=5))
    events = [event for event in EVERY_END.split(answer.body) if event]
    assert events[-1] == b"data: [DONE]"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    assert all(chunk["choices"] for chunk in chunks)
    assert upstream.calls(id)[0]["asked_for_usage"]
    assert gateway.settled(id)["prompt_tokens"] == upstream.calls(id)[0]["prompt_tokens"]


async def test_usage_reaches_a_client_that_asked_and_its_bytes_are_not_touched(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    body = body_of(id, stream=True, fields={"stream_options": {"include_usage": True}})
    answer = await post(gateway.port, body)
    assert answer.body.count(b'"choices": []') == 1
    assert upstream.received(id) == json.dumps(body).encode()


@pytest.mark.parametrize("options", [{}, {"include_usage": False}, {"include_obfuscation": False}, None])
async def test_only_the_asking_for_usage_is_spliced_into_a_stream(
    gateway: Gateway, upstream: Upstream, new_id: NewId, options: object
) -> None:
    id = new_id()
    body = body_of(id, stream=True, fields={"stream_options": options})
    answer = await post(gateway.port, body)
    sent = json.loads(upstream.received(id))
    assert sent["stream_options"] == {**(options if isinstance(options, dict) else {}), "include_usage": True}
    assert {**sent, "stream_options": options} == body
    assert b'"choices": []' not in answer.body


async def test_a_long_stream_arrives_whole(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id, text = new_id(), "täglich grüßt 😀 das Murmeltier. " * 2000
    answer = await post(gateway.port, body_of(id, stream=True, text=text, chunks=3000))
    chunks = [
        json.loads(event[6:]) for event in answer.body.decode().split("\n\n") if event and event != "data: [DONE]"
    ]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text
    assert gateway.settled(id)["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]


async def test_sixty_streams_at_once_do_not_mix(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    ids = [new_id() for _ in range(60)]
    answers = await asyncio.gather(
        *(post(gateway.port, body_of(id, stream=True, text=f"mine is {id} " * 5, chunks=9, pause=0.01)) for id in ids)
    )
    for id, answer in zip(ids, answers, strict=True):
        chunks = [json.loads(event[6:]) for event in answer.body.decode().split("\n\n") if event.startswith("data: {")]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        assert text == f"mine is {id} " * 5
    assert sum(gateway.settled(id)["cost_nanousd"] for id in ids) == upstream.tally(*ids)["cost_nanousd"]

"""A provider that refuses, resets, stalls, or talks nonsense: 502 or 504 in OpenAI's shape, and the books say why."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.contract.raw import body_of, post
from tests.contract.running import (
    KEYS,
    POLICIES,
    Gateway,
    Upstream,
    config,
    eventually,
    model,
    running_gateway,
    write_setup,
)
from tests.upstream.counting import prompt_tokens
from tests.upstream.script import Script, mark

NewId = Callable[[], str]
AUTHORISED = {"authorization": f"Bearer {KEYS['main']}"}

BROKEN = [
    ("nobody", {}, 502),
    ("gpt-5", {"reset": 0}, 502),
    ("gpt-5", {"garbage": True}, 502),
    ("impatient", {"stall": True}, 504),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "instruction", "status"), BROKEN)
async def test_a_failure_before_the_first_byte_is_our_502_or_504(
    gateway: Gateway,
    upstream: Upstream,
    new_id: NewId,
    name: str,
    instruction: dict[str, Any],
    status: int,
    stream: bool,
) -> None:
    id = new_id()
    answer = await post(gateway.port, body_of(id, model=name, stream=stream, **instruction))
    assert answer.status == status, answer
    assert "sk-upstream" not in answer.body.decode()
    assert "127.0.0.1" not in answer.error["message"]
    row = await asyncio.to_thread(gateway.settled, id)
    assert (row["status"], row["cost_nanousd"], row["http_status"]) == ("failed", 0, status)
    assert len(row["attempts"]) >= 1
    await eventually(lambda: upstream.tally(id)["open"] == 0, 10, "the provider's end of the call")


async def read_stream(gateway: Gateway, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream without `[DONE]`; fails where the body does not end properly."""
    async with (
        aiohttp.ClientSession(headers=AUTHORISED, timeout=aiohttp.ClientTimeout(20)) as session,
        session.post(f"{gateway.url}/chat/completions", json=body) as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        text = (await response.read()).decode()
    data = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    return [json.loads(one) for one in data if one != "[DONE]"]


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("gpt-5", {"cut": 3}),
        ("gpt-5", {"reset": 3}),
        ("impatient", {"stall_after": 3}),
        ("gpt-5", {"error_event": 3, "pause": 0.05}),
    ],
)
async def test_a_failure_after_the_first_byte_is_an_error_event_and_what_came_is_paid(
    gateway: Gateway, upstream: Upstream, new_id: NewId, name: str, instruction: dict[str, Any]
) -> None:
    id = new_id()
    script = Script(text="one two three four five", chunks=5)
    body = body_of(id, model=name, stream=True, text=script.text, chunks=5, **instruction)
    *chunks, last = await read_stream(gateway, body)
    assert "error" in last
    if "error_event" not in instruction:
        assert last["error"]["type"] in {"api_error", "server_error", "upstream_error"}
    got = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk.get("choices"))
    assert got == "".join(script.pieces()[:3])
    row = await asyncio.to_thread(gateway.settled, id)
    call = await eventually(lambda: next((one for one in upstream.calls(id) if not one["open"]), None))
    assert (row["status"], row["estimated"]) == ("failed", True)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (call["prompt_tokens"], call["completion_tokens"])
    assert row["cost_nanousd"] == call["cost_nanousd"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_usage_is_counted_and_marked_estimated(
    gateway: Gateway, upstream: Upstream, new_id: NewId, stream: bool
) -> None:
    id = new_id()
    answer = await post(gateway.port, body_of(id, stream=stream, usage=False, words=20))
    assert answer.status == 200
    row, call = await asyncio.to_thread(gateway.settled, id), upstream.calls(id)[0]
    assert (row["status"], row["estimated"]) == ("answered", True)
    assert row["cost_nanousd"] == call["cost_nanousd"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tokens", [10**17, 2**63, -5])
async def test_usage_that_cannot_be_true_still_ends_in_one_settled_line(
    gateway: Gateway, new_id: NewId, tokens: int, stream: bool
) -> None:
    id = new_id()
    answer = await post(gateway.port, body_of(id, stream=stream, prompt=tokens, text="all the same"))
    assert answer.status == 200
    row = await asyncio.to_thread(gateway.settled, id)
    assert row["status"] == "answered"
    assert (row["cost_nanousd"] or 0) >= 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("instruction", [{"status": 500}, {"status": 429}, {"status": 503}, {"status": 401}])
async def test_the_next_deployment_answers_when_one_fails(
    gateway: Gateway, upstream: Upstream, new_id: NewId, instruction: dict[str, int], stream: bool
) -> None:
    id = new_id()
    answer = await post(
        gateway.port, body_of(id, model="twins", stream=stream, fails=1, text="second", chunks=1, **instruction)
    )
    assert answer.status == 200
    assert b"second" in answer.body
    row, calls = await asyncio.to_thread(gateway.settled, id), upstream.calls(id)
    assert len({call["model"] for call in calls}) == len(calls) == len(row["attempts"]) == 2
    assert row["cost_nanousd"] == sum(call["cost_nanousd"] for call in calls)


async def test_a_fallback_answers_for_a_model_nobody_serves(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    assert (await post(gateway.port, body_of(id, model="backed"))).status == 200
    row = await asyncio.to_thread(gateway.settled, id)
    assert (row["model"], len(row["attempts"])) == ("backed", 2)
    assert row["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_client_error_of_the_provider_is_final(
    gateway: Gateway, upstream: Upstream, new_id: NewId, status: int
) -> None:
    id = new_id()
    answer = await post(gateway.port, body_of(id, model="twins", status=status))
    assert answer.status == status
    assert len(upstream.calls(id)) == 1


async def test_a_client_that_leaves_before_the_answer_cancels_upstream(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    async with aiohttp.ClientSession(headers=AUTHORISED) as session:
        with pytest.raises(TimeoutError):
            await session.post(
                f"{gateway.url}/chat/completions", json=body_of(id, delay=30), timeout=aiohttp.ClientTimeout(1)
            )
    started = time.monotonic()
    await eventually(lambda: upstream.tally(id)["open"] == 0, 5, "the provider losing its caller")
    assert time.monotonic() - started < 5
    assert (await asyncio.to_thread(gateway.settled, id))["status"] == "cancelled"


async def test_a_hundred_failures_leave_nothing_open(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    ids = [new_id() for _ in range(100)]
    kinds: list[dict[str, Any]] = [{"reset": 0}, {"status": 500}, {"garbage": True}, {"status": 429}]
    bodies = [body_of(id, **kinds[at % 4], stream=at % 3 == 0) for at, id in enumerate(ids)]
    await asyncio.gather(*(post(gateway.port, body) for body in bodies))
    await eventually(lambda: upstream.tally(rows=False)["open"] == 0, 10, "no open call")
    lines = [row for row in gateway.rows() if row["event"] == "settled" and row.get("user") in ids]
    assert len(lines) == 100


def conversation(id: str, messages: int, **instruction: Any) -> list[dict[str, Any]]:
    """A long conversation of which the old part may go."""
    turns = [
        {"role": ("user", "assistant")[at % 2], "content": f"Turn {at}: " + "lorem ipsum " * 20}
        for at in range(messages)
    ]
    return [*turns, {"role": "user", "content": f"Now? {mark(id=id, **instruction)}"}]


async def test_a_provider_that_counts_more_is_asked_once_more_with_less(
    upstream: Upstream, new_id: NewId, tmp_path: Any
) -> None:
    policies = {"roomy": {**POLICIES["roomy"], "context_window": 4000, "ladder": {"history": ["drop_oldest"]}}}
    settings = config(upstream.url, model_list=[model("gpt-5", "gpt-5", upstream.url)])
    settings |= {"teams": {"contract": {"policy": "roomy"}}, "fallbacks": [], "keys": settings["keys"][:1]}
    with running_gateway(write_setup(tmp_path, settings, policies)) as strict:
        id, messages = new_id(), 150
        body = {"model": "gpt-5", "user": id, "messages": conversation(id, messages, window=4000, scale=1.2)}
        while prompt_tokens(body) > 3900:
            messages -= 1
            body["messages"] = conversation(id, messages, window=4000, scale=1.2)
        answer = await post(strict.port, body)
        assert answer.status == 200, answer
        row, calls = await asyncio.to_thread(strict.settled, id), upstream.calls(id)
        assert [call["end"] for call in calls] == ["error", "answered"]
        assert len(row["attempts"]) == 2
        assert row["cost_nanousd"] == sum(call["cost_nanousd"] for call in calls)
        alone = new_id()
        text = "lorem ipsum dolor " * 1000 + mark(id=alone, window=3000, scale=1.2)
        answer = await post(
            strict.port, {"model": "gpt-5", "user": alone, "messages": [{"role": "user", "content": text}]}
        )
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert "maximum context length is" in answer.error["message"]
        assert len(upstream.calls(alone)) <= 2

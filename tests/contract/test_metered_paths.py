"""Embeddings, completions, moderations and rerankings through `gateway serve`: asked by OpenAI's SDK, and priced."""

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.contract.running import KEYS, Gateway, Upstream, eventually, wait_for
from tests.upstream.script import mark

NewId = Callable[[], str]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.url, api_key=KEYS["main"], max_retries=0, timeout=20) as open_client:
        yield open_client


def row_and_call(gateway: Gateway, upstream: Upstream, id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    row, (call,) = gateway.settled(id), upstream.calls(id)
    assert [one["event"] for one in gateway.rows() if one["id"] == row["id"]] == ["opened", "settled"]
    return row, call


def test_vectors_arrive_in_numbers_and_packed(
    client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    for packed in (True, False):
        id = new_id()
        more: Any = {} if packed else {"encoding_format": "float"}
        text = mark(id=id, text="base64" if packed else None)
        raw = client.embeddings.with_raw_response.create(model="embed", input=[text], user=id, **more)
        assert [one.embedding for one in raw.parse().data] == [[0.5, -0.25]]
        row, call = row_and_call(gateway, upstream, id)
        assert (row["cost_nanousd"], row["prompt_tokens"]) == (call["cost_nanousd"], call["prompt_tokens"])
        assert (row["operation"], row["completion_tokens"], row.get("estimated")) == ("embeddings", 0, None)
        assert b'"model":"text-embedding-3-small"' in upstream.received(id)
        assert raw.headers["x-gateway-upstream-request-id"] == f"up_{id}"
        assert upstream.received_headers(id)["x-client-request-id"] == row["id"]


def test_completions_arrive_whole_and_as_a_stream(
    client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    answer = client.completions.create(model="instruct", prompt=f"Go. {mark(id=id, text='a b c')}", user=id)
    assert answer.choices[0].text == "a b c"
    row, call = row_and_call(gateway, upstream, id)
    assert (row["cost_nanousd"], row["completion_tokens"]) == (call["cost_nanousd"], call["completion_tokens"])
    id = new_id()
    events = list(
        client.completions.create(
            model="instruct", prompt=f"Go. {mark(id=id, text='a b c d', chunks=4)}", user=id, stream=True
        )
    )
    assert "".join(event.choices[0].text for event in events) == "a b c d"
    assert all(event.usage is None for event in events)
    row, call = row_and_call(gateway, upstream, id)
    assert (row["cost_nanousd"], row["stream"], call["asked_for_usage"]) == (call["cost_nanousd"], True, True)


def test_moderations_and_rerankings_arrive(client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    raw = client.moderations.with_raw_response.create(input="hello")
    assert raw.parse().results[0].flagged is False
    assert [one["model"] for one in gateway.rows() if one["id"] == raw.headers["x-request-id"]] == ["guard", "guard"]
    id = new_id()
    asked = {"model": "rank", "query": mark(id=id), "documents": ["a", "b"], "user": id}
    told: Any = client.post("/rerank", cast_to=object, body=asked)
    assert told["results"] == [{"index": 0, "relevance_score": 0.9}]
    row, call = row_and_call(gateway, upstream, id)
    assert (row["cost_nanousd"], row["operation"]) == (call["cost_nanousd"], "rerank")


@pytest.mark.parametrize(
    ("script", "expected", "status"),
    [
        ({"status": 400, "code": "too_many_inputs"}, openai.BadRequestError, 400),
        ({"status": 429}, openai.RateLimitError, 429),
        ({"status": 500}, openai.InternalServerError, 500),
        ({"reset": 0}, openai.InternalServerError, 502),
        ({"garbage": True}, openai.InternalServerError, 502),
    ],
)
def test_each_failure_is_its_own_exception_and_costs_nothing(
    client: OpenAI, gateway: Gateway, new_id: NewId, script: Any, expected: Any, status: int
) -> None:
    id = new_id()
    with pytest.raises(expected) as failed:
        client.embeddings.create(model="embed", input=mark(id=id, **script), user=id)
    row = gateway.settled(id)
    assert (failed.value.status_code, row["http_status"], row["status"]) == (status, status, "failed")
    assert row["cost_nanousd"] == 0


async def test_a_client_that_leaves_ends_the_call_and_is_entered(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    async with AsyncOpenAI(base_url=gateway.url, api_key=KEYS["main"], max_retries=0) as client:
        asking = asyncio.create_task(client.embeddings.create(model="embed", input=mark(id=id, delay=30), user=id))
        await eventually(lambda: upstream.calls(id), what="the call")
        asking.cancel()
    await eventually(lambda: not upstream.calls(id)[0]["open"], what="the end of the call")
    row = await asyncio.to_thread(gateway.settled, id)
    assert (row["status"], row["http_status"], row["estimated"]) == ("cancelled", 499, True)
    assert row["cost_nanousd"] > 0


def test_an_upgrade_is_refused_by_the_real_server(gateway: Gateway) -> None:
    head = "GET /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    key = f"authorization: Bearer {KEYS['main']}\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
        client.sendall((head + key).encode())
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 426 ")


async def test_the_sum_of_many_mixed_requests_is_what_the_upstream_charges(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    draw, ids = random.Random(7), [new_id() for _ in range(60)]

    async def one(client: AsyncOpenAI, number: int, id: str) -> None:
        text = f"{'word ' * draw.randrange(40)}{mark(id=id, status=500 if number % 10 == 9 else 200)}"
        match number % 3:
            case 0:
                await client.embeddings.create(model="embed", input=[text, "b"], user=id)
            case 1:
                await client.completions.create(model="instruct", prompt=text, user=id)
            case _:
                stream = await client.completions.create(model="instruct", prompt=text, user=id, stream=True)
                async for _event in stream:
                    pass

    async with AsyncOpenAI(base_url=gateway.url, api_key=KEYS["main"], max_retries=0, timeout=30) as client:
        asked = [one(client, number, id) for number, id in enumerate(ids)]
        failed = [error for error in await asyncio.gather(*asked, return_exceptions=True) if error is not None]
    assert {type(error) for error in failed} == {openai.InternalServerError}

    def rows() -> list[dict[str, Any]] | None:
        found = [row for row in gateway.rows() if row["event"] == "settled" and row["user"] in ids]
        return found if len(found) == len(ids) else None

    settled = await asyncio.to_thread(wait_for, rows)
    assert sum(row["cost_nanousd"] for row in settled) == upstream.tally(*ids)["cost_nanousd"] > 0
    assert {row["user"] for row in settled} == set(ids)

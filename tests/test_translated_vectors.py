"""Embeddings and rerankings through litellm, against servers that answer as the providers' documentation says."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from gateway.routing.deployment import Deployment
from gateway.routing.upstreams.translated import Translated
from gateway.routing.upstreams.upstream import Unfit, UpstreamError
from gateway.wire.operations import Operation
from tests.providers.deployments import deployment
from tests.providers.serving import Provider, serving

VECTORS = [[0.5, -0.25], [0.125, 1.0]]

SAYS: dict[str, Any] = {
    # docs.cohere.com/reference/embed
    "/v2/embed": {
        "id": "1",
        "embeddings": {"float": VECTORS},
        "texts": ["a", "b"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3}},
    },
    # ai.google.dev/api/embeddings
    "/models/m:batchEmbedContents": {"embeddings": [{"values": one} for one in VECTORS]},
    # docs.ollama.com/api/embed
    "/api/embed": {"model": "m", "embeddings": VECTORS, "prompt_eval_count": 3},
    # docs.databricks.com/machine-learning/foundation-model-apis/api-reference
    "/embeddings": {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(VECTORS)],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    },
    # docs.cohere.com/reference/rerank
    "/v2/rerank": {
        "id": "r",
        "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    },
}
SAYS["/v1/rerank"] = SAYS["/v2/rerank"]


@dataclass
class Documented(Provider):
    async def respond(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(SAYS[request.path])


@pytest.fixture
async def server() -> AsyncIterator[Documented]:
    async with serving(Documented()) as up:
        yield up


@pytest.fixture
async def upstream() -> AsyncIterator[Translated]:
    opened = Translated()
    yield opened
    await opened.close()


def made(model: str, address: str, operation: Operation = "embeddings", **more: Any) -> Deployment:
    return replace(deployment(model, address, kind="translated", **more), operation=operation)


async def ask(upstream: Translated, target: Deployment, **fields: Any) -> dict[str, Any]:
    reply = await upstream.send(target, json.dumps(fields).encode(), stream=False, request_id="gw_1")
    told: dict[str, Any] = json.loads(await reply.read())
    assert reply.status == 200, told
    return told


EMBEDDERS = [
    ("cohere/m", "/v2/embed", 3),
    ("gemini/m", "", None),
    ("ollama/m", "", 3),
    ("databricks/m", "", 3),
]


@pytest.mark.parametrize(("model", "path", "prompt"), EMBEDDERS)
async def test_texts_become_vectors_and_the_usage_is_the_providers(
    upstream: Translated, server: Documented, model: str, path: str, prompt: int | None
) -> None:
    told = await ask(upstream, made(model, f"{server.url}{path}"), model="m", input=["a", "b"])
    assert [one["embedding"] for one in told["data"]] == VECTORS
    assert [one["index"] for one in told["data"]] == [0, 1]
    assert (told["object"], told["model"]) == ("list", "m")
    assert told.get("usage") == (None if prompt is None else {"prompt_tokens": prompt, "total_tokens": prompt})
    assert len(server.received) == 1


async def test_vectors_are_packed_for_who_asks_so(upstream: Translated, server: Documented) -> None:
    target = made("cohere/m", f"{server.url}/v2/embed")
    told = await ask(upstream, target, model="m", input="a", encoding_format="base64")
    assert struct.unpack("<2f", base64.b64decode(told["data"][0]["embedding"])) == (0.5, -0.25)
    assert "base64" not in server.received[0].raw.decode()


async def test_what_would_change_the_answer_and_is_not_there_makes_it_unfit(
    upstream: Translated, server: Documented
) -> None:
    target = made("databricks/m", server.url)
    for fields in ({"input": [[1, 2]]}, {"input": [1, 2]}, {"input": "a", "dimensions": 5}):
        with pytest.raises(Unfit):
            await ask(upstream, target, model="m", **fields)
    assert server.received == []
    await ask(upstream, made("gemini/m", server.url), model="m", input="a", dimensions=2)
    assert server.received[0].body["requests"][0]["outputDimensionality"] == 2


@pytest.mark.parametrize("model", ["cohere/m", "azure_ai/cohere-rerank"])
async def test_documents_are_ranked(upstream: Translated, server: Documented, model: str) -> None:
    target = made(model, server.url, "rerank")
    told = await ask(upstream, target, model="m", query="q", documents=["a", "b"], top_n=2, api_base="http://elsewhere")
    assert [one["index"] for one in told["results"]] == [1, 0]
    assert told["meta"]["billed_units"] == {"search_units": 1}
    sent = server.received[0].body
    assert (sent["query"], sent["documents"], sent["top_n"]) == ("q", ["a", "b"], 2)


@pytest.mark.parametrize(("status", "error"), [(429, {"message": "slow down"}), (400, {"message": "too long"})])
async def test_an_error_keeps_its_status_and_words(
    upstream: Translated, server: Documented, status: int, error: Any
) -> None:
    server.status, server.error = status, error
    target = made("cohere/m", f"{server.url}/v2/embed")
    reply = await upstream.send(target, b'{"model":"m","input":"a"}', stream=False, request_id="gw_1")
    assert reply.status == status
    assert error["message"] in (await reply.read()).decode()


async def test_what_does_not_answer_is_told_apart(upstream: Translated, server: Documented) -> None:
    server.close_before = True
    with pytest.raises(UpstreamError) as failed:
        await ask(upstream, made("ollama/m", server.url), model="m", input="a")
    assert failed.value.kind in {"reset", "connect"}
    with pytest.raises(UpstreamError) as failed:
        await ask(upstream, made("ollama/m", "http://127.0.0.1:1"), model="m", input="a")
    assert failed.value.kind == "connect"

"""Requests that are metered and not rewritten: what leaves, what comes back, and what stands in the ledger."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.routing.upstreams.upstream import UpstreamError
from gateway.wire.operations import METERED, Operation
from gateway.wire.sse import DONE, event
from tests.conftest import examples
from tests.passage import (
    PRICE,
    Act,
    Leave,
    Passed,
    Script,
    Setting,
    Stall,
    breaks,
    cannot,
    deployment,
    fails,
    key,
    streams,
)

EMBEDDING = {**PRICE, "mode": "embedding", "output_cost_per_token": None}
VECTORS = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}], "model": "m"}
SAID = {"prompt_tokens": 8, "total_tokens": 8}


def answers(fields: Mapping[str, Any], **more: Any) -> Act:
    return Act(parts=(orjson.dumps({**fields, **more}),))


def vectors(**more: Any) -> Act:
    return answers(VECTORS, usage=SAID, **more)


def embedder(name: str = "embed", model: str = "openai/text-embedding-3-small", **more: Any) -> Any:
    return deployment(name, model, price=more.pop("price", EMBEDDING), mode="embedding", operation="embeddings", **more)


def body(**more: Any) -> bytes:
    return orjson.dumps({"model": "embed", "input": "hello", **more})


@pytest.fixture
def setting(tmp_path: Path) -> Callable[..., Setting]:
    folders = (tmp_path / str(number) for number in count())
    return lambda **more: Setting(next(folders), **{"deployments": (embedder(),), **more})


async def embed(setting: Setting, sent: bytes, *acts: Act, **more: Any) -> Passed:
    return await setting(sent, Script(*(acts or (vectors(),))), operation="embeddings", **more)


# ---------------------------------------------------------------- the way there and back


async def test_bytes_pass_both_ways_but_for_the_name_of_the_model(setting):
    sent = b'{ "model":"embed", "input": ["a", "b"],"dimensions":1.0, "encoding_format":"base64" , "user":"u"}'
    passed = await embed(setting(), sent)
    assert passed.script.calls[0].body == sent.replace(b'"embed"', b'"text-embedding-3-small"')
    assert (passed.client.status, passed.client.text) == (200, vectors().parts[0])
    assert passed.client.got["x-gateway-cost-usd"] == "0.000008"
    assert passed.client.got["x-gateway-policy"].startswith("default@")
    assert passed.client.got["x-request-id"] == passed.settled["id"]
    row = passed.settled
    assert (row["status"], row["http_status"], row["operation"], row["user"]) == ("answered", 200, "embeddings", "u")
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_nanousd"]) == (8, 0, 8_000)
    assert (row["tokens_before"], row["tokens_after"], row["components"]) == (8, 8, {"input": [8, 8]})
    assert (row["deployment"], row["plan"], row.get("estimated")) == (
        "openai/text-embedding-3-small",
        "unchanged",
        None,
    )
    assert [(one["operation"], one["estimate_completion"]) for one in passed.opened] == [("embeddings", 0)]


async def test_what_is_said_to_us_alone_does_not_leave(setting):
    passed = await embed(setting(), body(metadata={"tags": ["rag"]}))
    assert passed.script.calls[0].fields == {"model": "text-embedding-3-small", "input": "hello"}
    assert passed.settled["tags"] == ["rag"]
    passed = await embed(setting(), body(metadata={"tags": "rag", "mine": "x"}))
    assert passed.script.calls[0].fields["metadata"] == {"mine": "x"}


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [("hello world", 2), (["hello", "world"], 2), ([1, 2, 3], 3), ([[1, 2], [3, 4, 5]], 5), (["a", [7, 8]], 3)],
)
async def test_usage_that_is_not_stated_is_counted_and_marked(setting, asked, tokens):
    passed = await embed(setting(), body(input=asked), answers(VECTORS))
    assert (passed.settled["prompt_tokens"], passed.settled["estimated"]) == (tokens, True)
    assert passed.settled["cost_nanousd"] == tokens * 1000


async def test_a_total_alone_is_the_prompt(setting):
    passed = await embed(setting(), body(), answers(VECTORS, usage={"total_tokens": 5}))
    assert (passed.settled["prompt_tokens"], passed.settled["completion_tokens"]) == (5, 0)
    assert "estimated" not in passed.settled


# ---------------------------------------------------------------- who may ask, and for what


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"model":"embed","model":"embed","input":"a"}', "model"),
        (b'{"model":"embed"}', "input"),
        (b'{"model":"embed","input":null}', "input"),
        (b'{"input":"a"}', "model"),
        (b'{"model":"","input":"a"}', "model"),
        (b'{"model":"embed","input":"a","stream":true}', "stream"),
        (b'{"model":"embed","input":' + b"[" * 200 + b"]" * 200 + b"}", None),
        (b'{"model":"embed","input":"\xff"}', None),
    ],
)
async def test_what_is_no_request_is_told_and_not_entered(setting, sent, param):
    passed = await embed(setting(), sent)
    assert (passed.client.status, passed.client.error["param"]) == (400, param)
    assert (passed.rows, passed.script.calls) == ([], [])


async def test_a_key_is_needed_and_asks_for_its_own_models_alone(setting):
    keys = [key("sk-a", models=frozenset({"other"}))]
    one = setting(keys=keys)
    assert (await embed(one, body())).client.status == 401
    passed = await embed(one, body(), headers={"authorization": "Bearer sk-a"})
    assert (passed.client.status, passed.client.error["code"]) == (403, "model_not_allowed")
    assert (passed.settled["status"], passed.settled["key"], passed.script.calls) == ("refused", "bot", [])


async def test_the_key_may_come_as_azures_clients_send_it(setting):
    one = setting(keys=[key("sk-a")])
    assert (await embed(one, body(), headers={"api-key": "sk-a"})).client.status == 200
    assert (await embed(one, body(), headers={"api-key": "sk-b"})).client.status == 401


async def test_a_model_is_asked_for_what_it_serves_alone(setting):
    one = setting(deployments=(embedder(), deployment("chat")))
    passed = await embed(one, body(model="chat"))
    assert (passed.client.status, passed.client.error["code"]) == (400, "model_not_for_embeddings")
    assert "mode: embedding" in passed.client.error["message"]
    passed = await one(orjson.dumps({"model": "embed", "messages": [{"role": "user", "content": "x"}]}), Script())
    assert (passed.client.status, passed.client.error["code"]) == (400, "model_not_for_chat")
    assert "/v1/embeddings" in passed.client.error["message"]
    assert (passed.rows[-1]["status"], passed.script.calls) == ("refused", [])


async def test_a_deployment_that_nobody_translates_for_is_named(setting):
    one = setting(deployments=(embedder(model="nobody/m", kind="translated"),))
    passed = await embed(one, body())
    assert (passed.client.status, passed.client.error["code"]) == (400, "operation_not_served")
    assert "embed#0:nobody/m" in passed.client.error["message"]


async def test_a_model_without_a_price_is_refused_unless_that_is_allowed(setting):
    unpriced = embedder(price={"mode": "embedding"})
    passed = await embed(setting(deployments=(unpriced,)), body())
    assert (passed.client.status, passed.client.error["code"]) == (403, "model_unpriced")
    passed = await embed(setting(deployments=(unpriced,), unpriced=True), body())
    assert (passed.client.status, passed.settled["cost_nanousd"], passed.settled["unpriced"]) == (200, None, True)


# ---------------------------------------------------------------- failures


async def test_another_deployment_is_asked_and_the_failure_is_entered(setting):
    two = (embedder(number=0), embedder(number=1))
    passed = await embed(setting(deployments=two), body(), fails(503), vectors())
    assert (passed.client.status, len(passed.script.calls)) == (200, 2)
    assert [(one["status"], one["error"]) for one in passed.settled["attempts"]] == [(503, "status"), (200, None)]
    assert passed.settled["cost_nanousd"] == 8_000


async def test_a_fallback_is_asked_that_serves_the_same(setting):
    deployments = (embedder(), deployment("chat"), embedder("other", "openai/text-embedding-3-large"))
    one = setting(deployments=deployments, fallbacks={"embed": ("chat", "other")})
    passed = await embed(one, body(), breaks(), vectors())
    assert [call.fields["model"] for call in passed.script.calls] == [
        "text-embedding-3-small",
        "text-embedding-3-large",
    ]
    assert passed.settled["model"] == "embed"


async def test_an_upstreams_verdict_reaches_the_client_without_secrets(setting):
    one = setting(deployments=(embedder(api_key="sk-very-secret-key-1234"),))
    passed = await embed(one, body(), fails(400, "too_long", "bad key sk-very-secret-key-1234"))
    assert (passed.client.status, passed.client.error["code"]) == (400, "too_long")
    assert "sk-very" not in passed.client.text.decode()
    row = passed.settled
    assert (row["status"], row["error"], row["cost_nanousd"], row["http_status"]) == ("failed", "too_long", 0, 400)


@pytest.mark.parametrize(
    ("act", "status", "code", "cost"),
    [
        (breaks("connect"), 502, "upstream_connect", 0),
        (breaks("timeout"), 504, "upstream_timeout", 0),
        (Act(parts=(b"<html>",)), 502, "upstream_garbage", 0),
        (Act(parts=(b"{}",)), 502, "upstream_garbage", 0),
        (Act(parts=(b"",)), 502, "upstream_garbage", 0),
        (Act(parts=(b'{"data": [', UpstreamError("reset", "cut"))), 502, "upstream_reset", 1000),
        (Act(parts=(b"x" * 1_000_001,)), 502, "upstream_too_large", 1000),
        (answers({"error": {"message": "overloaded", "code": "overloaded_error"}}), 529, "overloaded_error", 0),
        (answers({"error": {"message": "no", "type": "invalid_request_error"}}), 400, None, 0),
    ],
)
async def test_every_failure_has_its_status_and_one_entry(setting, act, status, code, cost):
    passed = await embed(setting(), body(), act)
    assert (passed.client.status, passed.client.error["code"]) == (status, code)
    assert (passed.settled["status"], passed.settled["cost_nanousd"]) == ("failed", cost)
    assert len(passed.opened) == 1


async def test_a_deployment_rests_for_the_path_that_failed_alone(setting):
    script = Script(fails(404, "model_not_found"), fails(404, "model_not_found"))
    one = setting(deployments=(deployment("chat"),))
    gateway = one.gateway(script)
    served = gateway.models["chat"].serving("completions")
    assert [each.name for each in served] == ["chat#0:openai/gpt-4o/completions"]
    assert [each.name for each in gateway.models["chat"].deployments] == ["chat#0:openai/gpt-4o"]
    await gateway.upstreams.close()
    await gateway.sharing.close()
    gateway.ledger.close()


@pytest.mark.parametrize(
    ("act", "leaves", "cost"),
    [(Act(instead=Leave()), None, 1000), (Act(parts=(b'{"data":', Leave())), None, 1000), (vectors(), "before", None)],
)
async def test_a_client_that_leaves_is_entered_with_what_was_asked(setting, act, leaves, cost):
    passed = await embed(setting(), body(), act, leaves=leaves)
    assert passed.client.pieces == []
    if cost is None:
        assert passed.rows == []
        return
    row = passed.settled
    assert (row["status"], row["http_status"], row["error"]) == ("cancelled", 499, "client_gone")
    assert (row["cost_nanousd"], row["estimated"]) == (cost, True)
    assert passed.script.calls[0].reply is None or passed.script.calls[0].reply.closed


# ---------------------------------------------------------------- text completions

TEXT = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}


def choice(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}


def chunk(text: str, finish: str | None = None) -> bytes:
    return event(orjson.dumps({**TEXT, "choices": [choice(text, finish)]}))


def usage_chunk(prompt: int, completion: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event(orjson.dumps({**TEXT, "choices": [], "usage": usage}))


async def complete(setting: Setting, *acts: Act, leaves: str | None = None, **more: Any) -> Passed:
    sent = orjson.dumps({"model": "asked", "prompt": "hello", **more})
    return await setting(sent, Script(*acts), operation="completions", leaves=leaves)


async def test_a_completion_passes_and_is_priced(tmp_path: Path):
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    passed = await complete(Setting(tmp_path), answers(TEXT, choices=[choice("a b c", "stop")], usage=usage))
    assert passed.client.fields["choices"][0]["text"] == "a b c"
    assert (passed.settled["cost_nanousd"], passed.settled["operation"]) == (2_000 + 30_000, "completions")
    passed = await complete(Setting(tmp_path / "2"), answers(TEXT, choices=[choice("one two three", "stop")]))
    assert (passed.settled["prompt_tokens"], passed.settled["completion_tokens"]) == (1, 3)
    assert passed.settled["estimated"] is True


async def test_a_stream_passes_to_the_byte_and_its_usage_is_held_back(tmp_path: Path):
    script = streams(chunk("a"), chunk(" b", "stop"), usage_chunk(1, 2), DONE)
    passed = await complete(Setting(tmp_path), script, stream=True)
    assert passed.client.text == chunk("a") + chunk(" b", "stop") + DONE
    assert passed.script.calls[0].fields["stream_options"] == {"include_usage": True}
    assert (passed.settled["cost_nanousd"], passed.settled["stream"]) == (21_000, True)
    asked: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    passed = await complete(Setting(tmp_path / "2"), script, **asked)
    assert passed.client.text == chunk("a") + chunk(" b", "stop") + usage_chunk(1, 2) + DONE


async def test_a_stream_that_is_cut_says_so_and_is_paid_for_by_its_words(tmp_path: Path):
    cut = streams(chunk("one"), chunk(" two"), UpstreamError("reset", "cut"))
    passed = await complete(Setting(tmp_path), cut, stream=True)
    assert passed.client.text.startswith(chunk("one") + chunk(" two"))
    assert b"upstream_reset" in passed.client.text
    row = passed.settled
    assert (row["status"], row["completion_tokens"], row["estimated"]) == ("failed", 2, True)
    assert row["cost_nanousd"] == 1_000 + 20_000


async def test_a_client_that_leaves_a_stream_pays_for_what_came(tmp_path: Path):
    passed = await complete(Setting(tmp_path), streams(chunk("one"), Stall()), leaves="while", stream=True)
    row = passed.settled
    assert (row["status"], row["completion_tokens"], row["cost_nanousd"]) == ("cancelled", 1, 11_000)
    reply = passed.script.calls[0].reply
    assert reply is not None
    assert reply.closed


async def test_a_whole_answer_to_a_stream_is_streamed(tmp_path: Path):
    passed = await complete(Setting(tmp_path), answers(TEXT, choices=[choice("a b", "stop")]), stream=True)
    first, rest = passed.client.text.split(b"\n\n", 1)
    assert (orjson.loads(first[6:])["choices"], rest) == ([choice("a b", "stop")], DONE)


async def test_a_server_that_knows_no_stream_options_is_asked_without(tmp_path: Path):
    refused = fails(400, None, "stream_options is not supported")
    passed = await complete(Setting(tmp_path), refused, streams(chunk("a", "stop"), DONE), stream=True)
    assert passed.client.status == 200
    assert "stream_options" not in passed.script.calls[1].fields


async def test_defaults_of_the_deployment_reach_the_paths_that_know_them(tmp_path: Path):
    from gateway.wire.chat import Additions

    given = Additions(defaults=(("temperature", b"0"), ("reasoning_effort", b'"low"'), ("mine", b"1")))
    one = Setting(tmp_path, deployments=(deployment(additions=given), embedder(additions=given)))
    passed = await complete(one, answers(TEXT, choices=[choice("a", "stop")]))
    assert passed.script.calls[0].fields == {"model": "gpt-4o", "prompt": "hello", "temperature": 0, "mine": 1}
    passed = await embed(Setting(tmp_path / "2", deployments=one.deployments), body())
    assert passed.script.calls[0].fields == {"model": "text-embedding-3-small", "input": "hello", "mine": 1}


# ---------------------------------------------------------------- moderations and reranking

MODERATED = {"id": "modr-1", "model": "m", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]}
FREE = {"mode": "moderation", "input_cost_per_token": 0}


async def other(setting: Setting, operation: Operation, act: Act, **sent: Any) -> Passed:
    return await setting(orjson.dumps(sent), Script(act), operation=operation)


async def test_a_moderation_that_names_no_model_gets_the_one_there_is(tmp_path: Path):
    guard = deployment("guard", "openai/omni-moderation-latest", price=FREE, mode="moderation", operation="moderations")
    one = Setting(tmp_path, deployments=(deployment(), guard))
    passed = await other(one, "moderations", answers(MODERATED), input="hello there")
    assert passed.script.calls[0].fields == {"model": "omni-moderation-latest", "input": "hello there"}
    row = passed.settled
    assert (row["model"], row["cost_nanousd"], row["prompt_tokens"], row["estimated"]) == ("guard", 0, 2, True)
    passed = await other(Setting(tmp_path / "2"), "moderations", answers(MODERATED), input="hello")
    assert (passed.client.status, passed.client.error["param"]) == (400, "model")


RANKED = {"id": "r", "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}


@pytest.mark.parametrize(
    ("said", "prompt", "cost", "estimated"),
    [
        ({"usage": {"total_tokens": 40}}, 40, 40_000, None),
        ({"usage": {"prompt_tokens": 30, "total_tokens": 30}}, 30, 30_000, None),
        ({"meta": {"tokens": {"input_tokens": 7}}}, 7, 7_000, None),
        ({"meta": {"billed_units": {"total_tokens": 9}}}, 9, 9_000, None),
        ({}, 3, 3_000, True),
    ],
)
async def test_a_reranking_is_priced_by_its_tokens(tmp_path: Path, said, prompt, cost, estimated):
    price = {"mode": "rerank", "input_cost_per_token": 1e-6}
    ranker = deployment("rank", "openai/bge", price=price, mode="rerank", operation="rerank")
    one = Setting(tmp_path, deployments=(ranker,))
    asked = {"model": "rank", "query": "who", "documents": ["me", {"text": "you"}]}
    passed = await other(one, "rerank", answers(RANKED, **said), **asked)
    row = passed.settled
    assert (row["prompt_tokens"], row["cost_nanousd"], row.get("estimated")) == (prompt, cost, estimated)
    assert passed.client.fields == {**RANKED, **said}


@pytest.mark.parametrize(
    ("said", "documents", "cost"),
    [({}, 3, 2_000_000), ({}, 101, 4_000_000), ({"meta": {"billed_units": {"search_units": 5}}}, 3, 10_000_000)],
)
async def test_a_reranking_is_priced_by_the_search_where_that_is_the_price(tmp_path: Path, said, documents, cost):
    price = {"mode": "rerank", "input_cost_per_token": 0, "input_cost_per_query": 0.002}
    ranker = deployment("rank", "openai/rerank-v3.5", price=price, mode="rerank", operation="rerank")
    one = Setting(tmp_path, deployments=(ranker,))
    passed = await other(one, "rerank", answers(RANKED, **said), model="rank", query="q", documents=["d"] * documents)
    assert passed.settled["cost_nanousd"] == cost
    assert passed.opened[0]["estimate_nanousd"] == 2_000_000 * (-(-documents // 100))


async def test_what_is_long_is_read_counted_and_judged_beside_the_loop(setting):
    long = answers({**VECTORS, "data": [{"embedding": [0.123456] * 40_000, "index": 0}]})
    passed = await embed(setting(), body(input=["word " * 60_000] * 2), long)
    assert (passed.client.status, passed.settled["prompt_tokens"]) == (200, 120_002)
    assert passed.client.text == long.parts[0]


# ---------------------------------------------------------------- the law of conservation

ENDS: dict[str, Act] = {
    "answered": answers(TEXT | VECTORS | MODERATED, choices=[choice("a b", "stop")], usage={"prompt_tokens": 3}),
    "without usage": answers(TEXT | VECTORS | MODERATED, choices=[choice("a b", "stop")]),
    "streamed": streams(chunk("a"), chunk("b", "stop"), usage_chunk(3, 2), DONE),
    "cut": streams(chunk("a"), UpstreamError("reset", "cut")),
    "an error event": streams(chunk("a"), event(b'{"error": {"message": "no"}}')),
    "a late error": streams(event(b'{"error": {"message": "no"}}')),
    "half": Act(parts=(b'{"data": [1', UpstreamError("reset", "cut"))),
    "garbage": Act(parts=(b"<html>",)),
    "refused": fails(400, "bad"),
    "busy": fails(429),
    "down": fails(503),
    "unreached": breaks("connect"),
    "silent": breaks("timeout"),
    "unfit": cannot("dimensions"),
    "left": Act(instead=Leave()),
    "left within": Act(parts=(b'{"data": [1', Leave())),
    "left a stream": streams(chunk("a"), Leave()),
}


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(METERED),
    st.lists(st.sampled_from(list(ENDS)), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([None, None, "while"]),
)
def test_whatever_happens_a_request_is_opened_once_and_settled_once(operation, ends, streamed, leaves):
    price = {**PRICE, "input_cost_per_query": 0.001, "mode": "rerank"}
    two = [deployment(number=n, price=price, operation=operation, kind="direct") for n in (0, 1)]
    sent: dict[str, Any] = {"model": "asked", "input": "a", "prompt": "a", "query": "a", "documents": ["a"]}
    if streamed and operation == "completions":
        sent["stream"] = True

    async def once(folder: Path) -> Passed:
        script = Script(*(ENDS[name] for name in ends))
        return await Setting(folder, deployments=two)(orjson.dumps(sent), script, operation=operation, leaves=leaves)

    with tempfile.TemporaryDirectory() as folder:
        passed = asyncio.run(once(Path(folder)))
    row = passed.settled
    assert len(passed.opened) == 1
    assert passed.rows[-1] == row
    assert (row["status"] == "answered") == (row["error" if "error" in row else "http_status"] == 200)
    assert row["cost_nanousd"] >= 0
    assert row["operation"] == operation
    if row["status"] == "answered":
        assert row["prompt_tokens"] > 0
    assert not any(line.get("log_level") == "error" for line in passed.log)

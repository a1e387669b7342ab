"""Vectors that are known: what is asked of an upstream, what a client gets, and whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.response_cache.key import vector_keys
from gateway.response_cache.vectors import LONGEST_VECTOR, Vectors
from gateway.serving.metered.pipeline import answer_metered
from gateway.state.disk import DiskState
from gateway.state.store import Store
from gateway.wire.metered.read import metered_request
from gateway.wire.metered.vectors import inputs_of, settings_of, vectors_answer, vectors_in, with_inputs
from tests.conftest import examples
from tests.passage import Act, Caller, Script, Setting, new_id
from tests.test_metered import answers, embedder

USAGE = {"prompt_tokens": 8, "total_tokens": 8}


def body(asked: Any, **more: Any) -> bytes:
    return orjson.dumps({"model": "embed", "input": asked, **more})


def read(asked: Any, **more: Any) -> Any:
    return metered_request("embeddings", body(asked, **more))


def answer(*vectors: Any, usage: Mapping[str, Any] | None = USAGE) -> Act:
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    return answers({"object": "list", "data": data, "model": "m"}, **({"usage": usage} if usage else {}))


@dataclass
class Known:
    """A cache of vectors in memory."""

    kept: dict[str, bytes] = field(default_factory=dict)
    is_on = True

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self.kept.get(one) for one in keys]

    def put(self, vectors: Mapping[str, bytes]) -> None:
        self.kept |= vectors

    async def close(self) -> None:
        return None


class Desk:
    """Requests one after another, with one cache."""

    def __init__(self, setting: Callable[..., Setting], known: Any) -> None:
        self.setting, self.known = setting, known

    async def ask(self, sent: bytes, *acts: Act, **more: Any) -> tuple[Script, Caller, dict[str, Any]]:
        script = Script(*acts)
        gateway = replace(self.setting(**more).gateway(script), vectors=self.known)
        client = script.client = Caller(sent, {}, None)
        try:
            await asyncio.wait_for(answer_metered(gateway, client, new_id(), "embeddings"), 20)
        finally:
            await gateway.upstreams.close()
            await gateway.sharing.close()
            gateway.ledger.close()
        file = next(iter(gateway.config.ledger.dir.glob("*.jsonl")))
        return script, client, orjson.loads(file.read_bytes().splitlines()[-1])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folders = (tmp_path / str(number) for number in count())
    return Desk(lambda **more: Setting(next(folders), **{"deployments": (embedder(),), **more}), Known())


def vectors_of(client: Caller) -> list[Any]:
    return [one["embedding"] for one in orjson.loads(client.text)["data"]]


# ---------------------------------------------------------------- through the gateway


async def test_what_was_embedded_before_is_not_asked_again(desk):
    sent = body(["a", "b"], dimensions=2)
    _, first, _ = await desk.ask(sent, answer([0.10, 1], [2, 3]))
    script, second, row = await desk.ask(sent)
    assert script.calls == []
    assert vectors_of(second) == vectors_of(first) == [[0.1, 1], [2, 3]]
    assert b"[0.1,1]" in second.text
    assert (row["status"], row["cost_nanousd"], row["known_inputs"], row["deployment"]) == ("answered", 0, 2, None)
    assert second.got["x-gateway-cost-usd"] == "0"


async def test_of_a_list_only_what_is_new_is_asked_and_paid_for(desk):
    await desk.ask(body("b"), answer([2]))
    script, client, row = await desk.ask(body(["a", "b", "c"]), answer([1], [3], usage={"prompt_tokens": 4}))
    assert script.calls[0].fields["input"] == ["a", "c"]
    assert vectors_of(client) == [[1], [2], [3]]
    assert [one["index"] for one in orjson.loads(client.text)["data"]] == [0, 1, 2]
    assert (row["cost_nanousd"], row["known_inputs"], row["prompt_tokens"]) == (4000, 1, 4)


async def test_another_form_another_length_and_another_team_know_nothing_of_it(desk):
    await desk.ask(body("a"), answer([1]))
    for more in ({"dimensions": 1}, {"encoding_format": "base64"}):
        script, _, _ = await desk.ask(body("a", **more), answer("AAAA"))
        assert len(script.calls) == 1
    assert vector_keys("a", ["m"], b"", [b'"x"']) != vector_keys("b", ["m"], b"", [b'"x"'])
    assert vector_keys("a", ["m"], b"", [b'"x"']) != vector_keys("a", ["n"], b"", [b'"x"'])
    script, _, _ = await desk.ask(body("a", user="somebody", metadata={"tags": ["t"]}))
    assert script.calls == []


async def test_an_answer_with_too_few_vectors_is_an_error_that_is_paid(desk):
    await desk.ask(body("b"), answer([2]))
    _, client, row = await desk.ask(body(["a", "b", "c"]), answer([1]))
    assert (client.status, row["status"], row["cost_nanousd"]) == (502, "failed", 8000)


async def test_an_answer_that_is_not_understood_passes_where_nothing_was_known(desk):
    strange = answers({"object": "list", "data": [{"vector": [1]}]}, usage=USAGE)
    _, client, _ = await desk.ask(body("a"), strange)
    assert client.text == strange.parts[0]
    assert desk.known.kept == {}


async def test_what_a_fallback_wrote_is_not_kept(desk):
    other = embedder("other", "openai/other")
    failing = Act(status=500, parts=(b"{}",))
    more = {"deployments": (embedder(), other), "fallbacks": {"embed": ("other",)}}
    _, client, _ = await desk.ask(body("a"), failing, answer([1]), **more)
    assert vectors_of(client) == [[1]]
    assert desk.known.kept == {}


# ---------------------------------------------------------------- apart and together


@pytest.mark.parametrize(
    ("asked", "inputs"),
    [
        ("a", [b'"a"']),
        (["a", "b"], [b'"a"', b'"b"']),
        ([1, 2], [b"[1,2]"]),
        ([[1], [2, 3]], [b"[1]", b"[2,3]"]),
        ([], []),
        ([{"type": "text", "text": "a"}], []),
        ({"text": "a"}, []),
    ],
)
def test_inputs_are_texts_or_lists_of_tokens(asked, inputs):
    assert list(inputs_of(read(asked))) == inputs


def test_settings_are_all_that_decides_a_vector():
    one = read("a", dimensions=3, user="x", encoding_format="float")
    other = read("b", encoding_format="float", dimensions=3, metadata={"a": 1})
    assert settings_of(one) == settings_of(other) != settings_of(read("a", dimensions=4, encoding_format="float"))


def test_vectors_are_told_by_their_index():
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.50]}]
    assert vectors_in(orjson.dumps({"data": data}), 2) == [b"[1.5]", b"[2.0]"]
    for broken in (b"{}", b'{"data":[{"index":0}]}', b'{"data":3}', b"x", b'{"data":[{"index":5,"embedding":[1]}]}'):
        assert vectors_in(broken, 1) == []


@settings(max_examples=examples(40))
@given(st.lists(st.text(max_size=5), min_size=1, max_size=6), st.data())
def test_a_part_of_a_request_asks_for_just_that(texts, data):
    wanted = data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1))
    part = with_inputs(read(texts, dimensions=2), wanted)
    assert orjson.loads(part.body) == {"model": "embed", "input": [texts[n] for n in sorted(wanted)], "dimensions": 2}
    written = vectors_answer("m", [b"[%d]" % n for n in range(len(texts))], None)
    assert vectors_in(written, len(texts)) == [b"[%d]" % n for n in range(len(texts))]


# ---------------------------------------------------------------- where they lie


async def test_vectors_lie_in_a_folder_and_a_long_one_is_not_kept(tmp_path):
    def cache() -> Vectors:
        return Vectors(Store(lambda: DiskState(tmp_path, None, 10_000_000), log, 5.0), 3600.0)

    log = structlog.get_logger()
    one = cache()
    one.put({"a": b"[1]", "b": b"x" * (LONGEST_VECTOR + 1)})
    await one.close()
    other = cache()
    assert await other.get(["a", "b", "c"]) == [b"[1]", None, None]
    await other.close()


async def test_a_folder_that_is_full_loses_what_was_put_first(tmp_path):
    state = DiskState(tmp_path, None, 200_000)
    for number in range(120):
        state.put(f"v{number}", b"x" * 10_000, 3600)
    assert state.get("v0") is None
    assert state.get("v119") is not None

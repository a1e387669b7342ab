"""A provider whose tokenizer is not ours: what it reports is learned, and then requests fit at the first try."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.raw import post
from tests.contract.running import Gateway, Upstream, config, running_gateway, write_setup
from tests.upstream.script import mark

NewId = Callable[[], str]
WINDOW = 4000
POLICIES = {
    "learning": {
        "name": "learning",
        "context_window": WINDOW,
        "reserve": {"output": 0},
        "ladder": {"history": ["drop_oldest"]},
    },
    "declared": {"name": "declared", "extends": "learning", "reserve": {"output": 0, "margin": 0}},
    "roomy": {"name": "roomy", "reserve": {"output": 0, "margin": 0}},
    "tight": {"name": "tight", "context_window": 2000, "reserve": {"output": 0, "margin": 0}},
}


@pytest.fixture
def path(upstream: Upstream, tmp_path: Path) -> Path:
    teams = {"contract": {"policy": "learning"}, "tight": {"policy": "declared"}}
    return write_setup(tmp_path, config(upstream.url, teams=teams), POLICIES)


@pytest.fixture
def running(path: Path) -> Iterator[Gateway]:
    with running_gateway(path) as gateway:
        yield gateway


def body(id: str, **fields: Any) -> dict[str, Any]:
    """A conversation of some 3,500 tokens by our count, to a provider that counts a fifth more."""
    turns = [
        {"role": role, "content": f"turn {turn}: " + "some more words of it " * 16}
        for turn in range(20)
        for role in ("user", "assistant")
    ]
    question = {"role": "user", "content": f"And now? {mark(id=id, scale=1.2, window=WINDOW)}"}
    return {"model": "house", "messages": [*turns, question], "user": id, **fields}


async def ask(gateway: Gateway, id: str, **fields: Any) -> dict[str, Any]:
    """Ask and give the settled line; whatever the provider counts, the client gets its answer."""
    key = fields.pop("key", "sk-gw-main-0001")
    answer = await post(gateway.port, body(id, **fields), key=key)
    assert answer.status == 200, answer
    return await asyncio.to_thread(gateway.settled, id)


async def test_after_enough_answers_requests_fit_at_the_first_try(
    running: Gateway, upstream: Upstream, new_id: NewId, path: Path
) -> None:
    first = new_id()
    row = await ask(running, first)
    assert 3334 < row["tokens_before"] <= 3636, "the default margin lets it through, a fifth more does not fit"
    assert [call["end"] for call in upstream.calls(first)] == ["error", "answered"]
    assert len(row["attempts"]) == 2
    assert "calibration" not in row
    for turn in range(30):
        row = await ask(running, new_id(), stream=turn % 2 == 0)
        if "calibration" in row:
            break
        await asyncio.sleep(0.3 if turn >= 19 else 0)
    assert 19 <= turn <= 25, "twenty answers, and they are merged once a second"
    for stream in (False, True):
        id = new_id()
        row = await ask(running, id, stream=stream)
        assert [call["end"] for call in upstream.calls(id)] == ["answered"]
        assert (row["calibration"], row["plan"]) == (1, "rewritten")
        assert "attempts" not in row


async def test_what_was_learned_outlives_the_program_and_a_declared_margin_stands(
    upstream: Upstream, new_id: NewId, path: Path
) -> None:
    with running_gateway(path) as gateway:
        for _ in range(21):
            await ask(gateway, new_id())
    with running_gateway(path) as gateway:
        id = new_id()
        assert (await ask(gateway, id))["calibration"] == 1
        assert len(upstream.calls(id)) == 1
        id = new_id()
        row = await ask(gateway, id, key="sk-gw-tight-0004")
        assert "calibration" not in row
        assert len(upstream.calls(id)) == 2


async def test_a_state_that_is_damaged_costs_nothing_but_the_learning(
    upstream: Upstream, new_id: NewId, path: Path
) -> None:
    (path.parent / "state").mkdir()
    (path.parent / "state" / "cache.db").write_bytes(b"this is no database" * 1000)
    with running_gateway(path) as gateway:
        made = []
        for _ in range(5):
            id = new_id()
            assert "calibration" not in await ask(gateway, id)
            made.append(len(upstream.calls(id)))
        assert made == [2, 1, 1, 1, 1], "what the provider stated is remembered beside the state"
        assert gateway.program.log.count("was damaged (file is not a database), begun anew") == 1
        assert "state unavailable" not in gateway.program.log


async def test_a_model_with_a_public_tokenizer_writes_no_state(
    running: Gateway, upstream: Upstream, new_id: NewId, path: Path
) -> None:
    row = await ask(running, new_id(), model="gpt-5")
    assert "counted" not in row
    assert "calibration" not in row
    assert not any("gpt-5" in key for key in keys(path.parent / "state"))


def keys(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "cache.db") as database:
        found = [row[0] for row in database.execute("SELECT key FROM Cache")]
    database.close()
    return found

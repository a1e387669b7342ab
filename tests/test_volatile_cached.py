"""A clock in the system text, declared volatile, under each provider's cache rules: what is read, and what it saves."""

from dataclasses import replace

import pytest

from gateway.config.prompt_cache_rules import shipped_rules
from gateway.money.ledger import rows
from gateway.prompt_cache.rules import book_of, facts_for
from gateway.serving.pipeline import answer
from tests.passage import Caller, Setting, deployment, new_id, policy
from tests.talk import body, user
from tests.test_volatile import Standing, clocked, grown

TURNS = 40


async def replayed(folder, rules, volatile):
    """Send an agent's turns through the gateway; return the rows of their ends."""
    folder.mkdir()
    asked = replace(
        deployment(model=f"demo/{rules}", kind="demo"), cache=facts_for("demo", rules, book_of(shipped_rules()))
    )
    said = policy(f"name: p\nprompt_cache: {{volatile: {volatile}}}\n")
    provider = Standing()
    gateway = Setting(folder, [said], [asked]).gateway(provider)
    history = [user("Read the file.")]
    for turn in range(TURNS):
        provider.client = Caller(body(clocked(turn, history)), {})
        await answer(gateway, provider.client, new_id())
        assert provider.client.status == 200
        history = grown(history, turn)
    await gateway.sharing.close()
    gateway.ledger.close()
    return [row for row in rows(gateway.config.ledger.dir) if row["event"] == "settled"]


def total(found, name):
    return sum(row.get(name) or 0 for row in found)


@pytest.mark.parametrize("rules", ["openai", "openai-5.6", "anthropic", "gemini"])
async def test_a_clock_that_moves_is_read_around_and_saves_what_two_replays_differ_by(tmp_path, rules):
    moved = await replayed(tmp_path / "moved", rules, "['Current time: .*']")
    left = await replayed(tmp_path / "left", rules, "[]")
    assert total(moved, "cached_tokens") >= 0.85 * total(moved, "prompt_tokens")
    assert total(left, "cached_tokens") == 0
    assert total(moved, "expected_cached") == total(moved, "cached_tokens")
    assert total(moved, "cost_nanousd") + total(moved, "saved_nanousd") == total(left, "cost_nanousd")
    assert {row.get("miss") for row in moved} <= {None, "first_sight", "unmarked"}


async def test_an_engine_of_ones_own_reads_around_it_too(tmp_path):
    moved = await replayed(tmp_path / "moved", "vllm", "['Current time: .*']")
    assert total(moved, "cached_tokens") >= 0.85 * total(moved, "prompt_tokens")

"""Steps that a policy takes as money runs low: how they add up, whom they reach and when."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.config.policy import Policy
from gateway.money.limits import Limits, Parties
from gateway.money.tightening import FullestBudget, fullest_budget, steps_reached, steps_together, tightened_policy
from gateway.serving.metered.pipeline import answer_metered
from gateway.serving.pipeline import answer
from gateway.state.counters import Balance
from tests.passage import NOW, Caller, Script, Setting, deployment, new_id, policy, says
from tests.talk import Wire, assistant, body, loop, user
from tests.test_key_usage import chat, serving
from tests.test_limits import config

DEAR = {"prompt_tokens": 20_000, "completion_tokens": 0, "total_tokens": 20_000}
"""Two cents."""
CHEAP = {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}
RULES = (
    "budgets: {per: gateway, max_budget: 0.04}, context_window: 4000, reserve: {output: 500, margin: 0}, "
    "recall: 0, fold: {keep_turns: 0, keep_tool_results: 0}"
)
WINDOW = policy(f"{{name: p, {RULES}, tighten: {{at: 50%, context_window: 2500}}}}")
MODEL = policy(f"{{name: p, {RULES}, tighten: {{at: 50%, model: cheap, recall: false, summaries: false}}}}")
REFUSES = policy(f"{{name: p, {RULES}, tighten: {{at: 50%, refuse: true}}}}")
BEGUN = [user("begin"), *loop(5, 90)]
"""Some 2,350 tokens, 470 a step: within the window, and not within the smaller one."""


def setting(folder: Path, rules: Policy, **more: Any) -> Setting:
    models = [deployment(max_output=50), deployment("cheap", "openai/gpt-4o-mini", max_output=50)]
    return Setting(folder, policies=(rules,), deployments=models, **more)


async def send(setting: Setting, script: Script, *asked: Sequence[Wire], model: str = "asked") -> list[Caller]:
    """Send conversations through one gateway, one after the other."""
    gateway, clients = setting.gateway(script), []
    try:
        for each in asked:
            script.client = client = Caller(body(list(each), model=model), {}, None)
            clients.append(client)
            await asyncio.wait_for(answer(gateway, client, new_id()), 20)
    finally:
        assert gateway.limiting is not None
        await gateway.limiting.counting.close()
        await gateway.upstreams.close()
        await gateway.sharing.close()
        gateway.ledger.close()
    return clients


def steps(clients: Sequence[Caller]) -> list[str | None]:
    assert [client.status for client in clients] == [200] * len(clients), clients[-1].text
    return [client.got.get("x-gateway-tightened") for client in clients]


def sent(script: Script) -> list[list[Wire]]:
    return [call.fields["messages"] for call in script.calls]


NAME = "step=1; at=50%; context_window=2500; budget=gateway-1mo"


async def test_a_conversation_goes_on_as_it_was_until_its_next_fold(tmp_path):
    script = Script(says(usage=DEAR), says(usage=CHEAP))
    more, over = [*BEGUN, *loop(1, 90, 5)], [*BEGUN, *loop(3, 90, 5)]
    clients = await send(setting(tmp_path, WINDOW), script, BEGUN, more, over, [*over, assistant("done"), user("?")])
    assert steps(clients) == [None, None, NAME, NAME]
    first, second, third, fourth = sent(script)
    assert (first, second) == (BEGUN, more)
    assert len(json.dumps(third)) < len(json.dumps(first))
    assert fourth[: len(third)] == third  # what was folded stays folded
    rows = [json.loads(line) for path in tmp_path.glob("ledger/*.jsonl") for line in path.read_text().splitlines()]
    ends = [row for row in rows if row["event"] == "settled"]
    assert [row.get("tightened", 0) for row in ends] == [0, 0, 1, 1]
    assert ends[2]["budget"] == 2000
    assert ends[2]["policy"] != ends[1]["policy"]


async def test_a_conversation_that_is_small_enough_is_tightened_without_a_fold(tmp_path):
    script = Script(says(usage=DEAR), says(usage=CHEAP))
    small = [user("begin"), assistant("yes?")]
    clients = await send(setting(tmp_path, WINDOW), script, small, [*small, user("go on")])
    assert steps(clients) == [None, NAME]
    assert sent(script)[1] == [*small, user("go on")]


async def test_other_workers_and_the_next_month_follow_what_was_decided(tmp_path):
    script = Script(says(usage=DEAR), says(usage=CHEAP))
    asked = setting(tmp_path, WINDOW)
    assert steps(await send(asked, script, [user("first")], BEGUN[:1])) == [None, NAME]
    month = datetime(2025, 7, 15, tzinfo=UTC).timestamp()
    clients = await send(replace(asked, now=lambda: month), script, BEGUN, [user("another")])
    assert steps(clients[:1]) == [NAME]  # ids of this test are of the month before


async def test_a_conversation_that_begins_goes_to_the_cheaper_model_and_no_other(tmp_path):
    script = Script(says(usage=DEAR), says(usage=CHEAP))
    begun = [user("begin"), assistant("yes?"), user("go on")]
    anew = [user("another")]
    clients = await send(setting(tmp_path, MODEL), script, begun[:1], begun, anew, [*anew, assistant("so"), user("?")])
    told = "step=1; at=50%; model=cheap; summaries=off; recall=off; budget=gateway-1mo"
    assert steps(clients) == [None, None, told, told]
    assert [call.deployment.partition("#")[0] for call in script.calls] == ["asked", "asked", "cheap", "cheap"]


async def test_nothing_is_served_from_the_step_on_that_refuses(tmp_path):
    script = Script(says(usage=DEAR))
    first, second = await send(setting(tmp_path, REFUSES), script, [user("first")], [user("second")])
    assert (first.status, second.status) == (200, 429)
    assert (second.error["type"], second.error["code"]) == ("budget_exceeded", "insufficient_quota")
    assert "of $0.04 for 1mo is spent, and the policy serves nothing from 50% on" in second.error["message"]
    assert second.got["x-should-retry"] == "false"
    assert second.error["gateway"]["tighten"] == "50%"
    assert len(script.calls) == 1
    gateway = setting(tmp_path, REFUSES).gateway(script)
    client = Caller(json.dumps({"model": "asked", "prompt": "so"}).encode(), {}, None)
    await answer_metered(gateway, client, new_id(), "completions")
    assert client.error["code"] == "insufficient_quota"
    await gateway.limiting.counting.close()  # type: ignore[union-attr]
    gateway.ledger.close()


def test_a_step_is_taken_over_a_socket_and_told_of_the_request(tmp_path):
    (tmp_path / "policies").mkdir()
    rules = "budgets: [{max_budget: 5}]\ntighten: [{at: 0.001%, model: other}]\n"
    (tmp_path / "policies" / "own.yaml").write_text(f"name: own\n{rules}")
    with serving(tmp_path, "default_policy: own") as ask:
        chat(ask)
        chat(ask)
        rows = [json.loads(line) for path in tmp_path.glob("ledger/*.jsonl") for line in path.read_text().splitlines()]
        first, second = (row for row in rows if row["event"] == "settled")
        assert ("tightened" in first, second["tightened"]) == (False, 1)
        assert (first["deployment"], second["deployment"]) == ("demo/gpt-5", "demo/gpt-5-mini")
        assert ask(f"/v1/requests/{second['id']}")[1]["tightened"] == 1


# ---------------------------------------------------------------- the decision alone


def budget(folder: Path, spent: int) -> FullestBudget:
    limits = Limits.of(config(folder, policy="budgets: [{per: gateway, max_budget: 5}, {per: team, max_budget: 500}]"))
    applied = limits.under(Parties("bot", "support"), "own", NOW)
    found = fullest_budget(applied, [Balance(spent), Balance(spent, most=499 * 10**9)])
    assert found is not None
    return found


def test_the_fullest_budget_decides_and_holds_do_not_count(tmp_path):
    found = budget(tmp_path, 4 * 10**9)
    assert (found.applied.party, found.spent, found.limit) == ("gateway", 4 * 10**9, 5 * 10**9)


@pytest.mark.parametrize(("spent", "reached"), [(0, 0), (3_999_999_999, 0), (4 * 10**9, 1), (4_950_000_000, 2)])
def test_a_step_is_reached_to_the_nano_dollar(tmp_path, spent, reached):
    steps = policy("{name: p, tighten: [{at: 99%, refuse: true}, {at: 80%, recall: false}]}")
    assert steps_reached(steps, budget(tmp_path, spent)) == reached


def test_steps_add_up_and_a_window_only_gets_smaller():
    rules = policy(
        "{name: p, context_window: 10k, recall: 20%, summarize: {enabled: true}, tighten: [{at: 90%, model: mini}, "
        "{at: 80%, context_window: 8k, recall: false}, {at: 95%, context_window: 9k, summaries: false}]}"
    )
    first, every = steps_together(rules, 1), steps_together(rules, 3)
    assert (first.context_window, first.model, first.recall, first.summaries) == (8000, None, False, True)
    assert (every.context_window, every.model, every.at) == (8000, "mini", 0.95)
    tight = tightened_policy(rules, every)
    assert (tight.context_window, tight.recall, tight.summarize.enabled) == (8000, 0.0, False)
    assert (tight.name, tight.digest == rules.digest) == ("p", False)
    assert tightened_policy(policy("{name: p, tighten: {at: 90%, context_window: 8k}}"), first).context_window == 8000

"""What an upstream's window turns out to be, and how long an answer may be where the client does not say."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.budget.allocation import USUAL_RESERVE, Window
from gateway.budget.calibration import EXACT, UNKNOWN, Calibration
from gateway.routing.deployment import Deployment
from gateway.serving.pipeline import answer
from gateway.wire.outgoing import Additions
from tests.passage import Act, Caller, Script, Setting, deployment, fails, new_id, policy, says
from tests.talk import body, loop, system, user, words

TIGHT = policy(
    "{name: tight, context_window: 2000, reserve: {output: 500, margin: 0}, "
    "fold: {keep_turns: 0, keep_tool_results: 0}}"
)
ROOMY = policy("{name: roomy, reserve: {output: 500, margin: 0}, fold: {keep_turns: 0, keep_tool_results: 0}}")
LONG = [system("be kind"), user("begin"), *loop(12, 90), user("and now?")]
HELLO = [user("hello")]


@pytest.fixture
def gateway(tmp_path: Path) -> Setting:
    return Setting(tmp_path, policies=(ROOMY,))


def too_large(counted: int, most: int) -> Act:
    return fails(400, None, f"request ({counted} tokens) exceeds the available context size ({most} tokens)")


async def one_after_another(setting: Setting, script: Script, *bodies: bytes) -> list[Any]:
    """Send requests through one gateway; what was logged."""
    gateway = setting.gateway(script)
    try:
        with structlog.testing.capture_logs() as log:
            for each in bodies:
                script.client = client = Caller(each, {}, None)
                await asyncio.wait_for(answer(gateway, client, new_id()), 20)
                assert client.status == 200, client.error
    finally:
        await gateway.upstreams.close()
        await gateway.sharing.close()
        gateway.ledger.close()
    return list(log)


# ---------------------------------------------------------------- a window smaller than declared


@pytest.mark.parametrize("declared", [128_000, None])
async def test_a_window_that_an_upstream_stated_holds_for_the_next_request(gateway, declared):
    small = replace(gateway, deployments=(deployment(exact=False, window=declared),))
    script = Script(too_large(1800, 1500), says())
    log = await one_after_another(small, script, body(LONG), body([*LONG, user("more?")]))
    first, second, third = script.calls
    assert len(second.body) < len(first.body)
    assert len(third.body) < len(first.body)
    told = [line for line in log if line["event"] == "window is smaller than declared"]
    assert [(line["declared"], line["said"]) for line in told] == [(declared, 1500)]


@pytest.mark.parametrize("exact", [True, False])
async def test_how_much_more_an_upstream_counts_holds_for_the_next_request_too(gateway, exact):
    automatic = policy("{name: auto, reserve: {output: 500}, fold: {keep_turns: 0, keep_tool_results: 0}}")
    small = replace(gateway, policies=(automatic,), deployments=(deployment(exact=exact, window=2100),))
    script = Script(too_large(2600, 2100), says())
    log = await one_after_another(small, script, body(LONG), body([*LONG, user("more?")]))
    first, _, third = script.calls
    assert len(third.body) < len(first.body)
    assert [line for line in log if line["event"] == "window is smaller than declared"] == []


async def test_a_declared_margin_is_kept_free_no_more_and_no_less(gateway):
    small = replace(gateway, deployments=(deployment(exact=False, window=2100),))
    script = Script(too_large(2600, 2100), says())
    await one_after_another(small, script, body(LONG), body(LONG))
    first, second, third = script.calls
    assert len(second.body) < len(first.body) == len(third.body)


async def test_a_window_that_nobody_can_have_is_not_remembered(gateway):
    setting = replace(gateway, policies=(TIGHT,), deployments=(deployment(exact=False),))
    passed = await setting(body(LONG), Script(too_large(1800, 60), says()))
    assert passed.gateway.windows.of([passed.script.calls[0].deployment], 0.0) is None


def test_what_was_stated_bounds_other_prompts_until_more_is_known_of_the_count():
    bounds = Window(None, 9000, shared=True, reserve=1000, margin=0, calibration=UNKNOWN)
    assert bounds.narrowed(5000, 1.5).budget() == int(4000 / (1.5 * 1.1))
    assert bounds.narrowed(5000, 1.0).calibration == UNKNOWN
    assert bounds.narrowed(99_000, 1.0) == bounds
    known = replace(bounds, calibration=Calibration(3, 1.2, 0.0))
    assert known.narrowed(5000, 1.5).budget() == int(4000 / 1.2)


async def test_the_second_plan_recalls_nothing(gateway):
    asked = [system("be kind"), user("The code of the vault is QM-48213."), *loop(12, 90), user("What is QM-48213?")]
    recalling = policy("{name: r, context_window: 2000, reserve: {output: 500, margin: 0}, recall: 20%}")
    setting = replace(gateway, policies=(recalling,), deployments=(deployment(exact=False),))
    passed = await setting(body(asked), Script(too_large(1800, 1500), says()))
    remedies = {remedy for edit in passed.settled["edits"] for remedy in edit if isinstance(remedy, str)}
    assert len(passed.script.calls) == 2
    assert "recall" not in remedies


async def test_a_refusal_quotes_the_window_that_the_upstream_has(gateway):
    passed = await gateway(body([user(words(900))]), Script(too_large(1000, 700)))
    assert passed.client.error["code"] == "context_length_exceeded"
    assert "maximum context length is 700 tokens" in passed.client.error["message"]


async def test_where_nobody_knows_the_window_the_upstreams_own_words_are_told(gateway):
    setting = replace(gateway, deployments=(deployment(exact=False, window=None),))
    passed = await setting(body(LONG), Script(fails(400, None, "Input is too long for requested model.")))
    assert len(passed.script.calls) == 2
    assert passed.client.status == 400
    assert passed.client.error["message"].startswith("Input is too long for requested model.")


async def test_by_how_much_it_was_too_long_is_cut(gateway):
    setting = replace(gateway, policies=(TIGHT,), deployments=(deployment(exact=False),))
    said = fails(400, None, "prompt too long; exceeded max context length by 400 tokens")
    passed = await setting(body(LONG), Script(said, says()))
    assert passed.settled["tokens_after"] <= 1500 - 400


def test_what_only_its_limit_or_its_excess_is_known_of_bounds_the_second_plan():
    bounds = Window(8000, 9000, shared=True, reserve=1000, margin=0)
    assert bounds.seen_smaller(6000, None, 5000).budget() == 4000
    assert bounds.seen_smaller(6000, None, None, over=1000).budget() == 4900
    assert bounds.seen_smaller(6000, None, None, over=7000).budget() == 5100


# ---------------------------------------------------------------- the answer limit that nobody named


def window(deployment: int | None = 10_000, reserve: int = 1000, **more: Any) -> Window:
    return Window(None, deployment, more.pop("shared", True), reserve, 0, **more)


@pytest.mark.parametrize(
    ("bounds", "prompt", "most", "limit"),
    [
        (window(), 2000, 64_000, 8000),
        (window(), 2000, 4000, 4000),
        (window(), 2000, None, 8000),
        (window(), 9500, 64_000, 1000),
        (window(), 20_000, 64_000, 1000),
        (window(), 20_000, 500, 500),
        (window(reserve=0), 20_000, 64_000, 1),
        (window(None), 2000, 64_000, 64_000),
        (window(None), 2000, None, USUAL_RESERVE),
        (window(None, reserve=9000), 2000, None, 9000),
        (window(shared=False), 2000, 64_000, 64_000),
        (window(thinking=3000), 9500, 64_000, 4000),
        (window(calibration=Calibration(0, 1.25, 0.0)), 2000, 64_000, 7500),
        (window(calibration=EXACT), 2000, 64_000, 8000),
    ],
)
def test_an_answer_may_have_what_the_model_gives_and_the_prompt_leaves(bounds, prompt, most, limit):
    assert bounds.answer(prompt, most) == limit


CLAUDE = "anthropic/claude-sonnet-4-5"


def claude(model: str = CLAUDE, **more: Any) -> Deployment:
    facts = {"window": 20_000, "max_output": 64_000, "kind": "translated", "exact": False, **more}
    return deployment(model=model, **facts)


async def left(gateway: Setting, asked: bytes, one: Deployment) -> dict[str, Any]:
    """Return what left of a request."""
    passed = await replace(gateway, deployments=(one,))(asked)
    assert passed.client.status == 200, passed.client.error
    return dict(passed.script.calls[0].fields)


async def test_where_a_limit_is_needed_what_the_prompt_leaves_is_asked_for(gateway):
    limit = (await left(gateway, body(LONG), claude()))["max_tokens"]
    assert 500 <= limit < 20_000
    longer = (await left(gateway, body([*LONG, user(words(3000))]), claude()))["max_tokens"]
    assert 500 <= longer < limit - 2500


async def test_a_model_that_gives_less_than_the_prompt_leaves_is_asked_for_all_it_gives(gateway):
    fields = await left(gateway, body(HELLO), claude(max_output=4096))
    assert fields["max_tokens"] == 4096
    assert fields["messages"] == HELLO


@pytest.mark.parametrize("model", ["bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", "vertex_ai/claude-opus-4-5",
                                   "azure_ai/claude-sonnet-4-5", "snowflake/llama3.1-70b"])  # fmt: skip
async def test_it_is_needed_wherever_a_translator_would_make_one_up(gateway, model):
    assert (await left(gateway, body(HELLO), claude(model, max_output=4096)))["max_tokens"] == 4096


@pytest.mark.parametrize("model", ["gemini/gemini-2.5-pro", "mistral/mistral-large", "cohere/command-r"])
async def test_where_none_is_needed_none_is_added(gateway, model):
    assert "max_tokens" not in await left(gateway, body(HELLO), claude(model))


@pytest.mark.parametrize("said", [{"max_tokens": 7}, {"max_completion_tokens": 7}, {"max_tokens": 0}])
async def test_the_clients_own_limit_is_left_alone(gateway, said):
    fields = await left(gateway, body(HELLO, **said), claude())
    assert {name: fields[name] for name in ("max_tokens", "max_completion_tokens") if name in fields} == said


async def test_a_limit_that_is_null_is_none(gateway):
    assert (await left(gateway, body(HELLO, max_tokens=None), claude(max_output=4096)))["max_tokens"] == 4096


async def test_a_limit_of_the_configuration_holds(gateway):
    one = claude(additions=Additions(defaults=(("max_tokens", b"500"),)), answer_limit=500)
    assert (await left(gateway, body(HELLO), one))["max_tokens"] == 500


async def test_a_budget_for_thinking_is_kept_free_on_top(gateway):
    thinking = {"type": "enabled", "budget_tokens": 6000}
    long = [*LONG, user(words(9000)), user("so?")]
    fields = await left(gateway, body(long, thinking=thinking), claude())
    assert fields["max_tokens"] >= 6500
    assert len(str(fields["messages"])) < len(str(long)) or fields["max_tokens"] > 6500


@pytest.mark.parametrize(
    ("fields", "reserve"),
    [({}, 500), ({"thinking": {"type": "enabled", "budget_tokens": 6000}}, 6500),
     ({"thinking": {"type": "disabled", "budget_tokens": 6000}}, 500), ({"thinking": {"budget_tokens": 10**9}}, 500),
     ({"thinking": {"type": "enabled", "budget_tokens": 6000}, "max_tokens": 8000}, 8000), ({"thinking": 3}, 500)],
)  # fmt: skip
async def test_thinking_counts_where_the_answer_is_not_limited(gateway, fields, reserve):
    passed = await replace(gateway, deployments=(deployment(window=20_000),))(body(HELLO, **fields))
    assert passed.settled["budget"] == 20_000 - reserve


async def test_a_reserve_that_follows_the_request_follows_its_thinking():
    from tests.laws.generators import model_of

    asked, automatic = model_of(40_000), policy("{name: a}")
    bounds = asked.bounds(automatic, EXACT, None, 6000)
    assert bounds.follows == 10_000
    assert bounds.budget() == 40_000 - 16_384
    assert asked.bounds(automatic, EXACT, 8000, 6000).budget(8000) == 32_000

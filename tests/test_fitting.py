"""From a request and what is known of its model to a plan: what is measured, and what need not be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.calibration import EXACT, UNKNOWN, Calibration
from gateway.budget.tokens import LONG_BODY, Counter
from gateway.config.policy import Policy, Reserve
from gateway.prompt_cache.rules import NOTHING
from gateway.providers.anthropic import MESSAGES_API
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.deployment import ModelFacts
from gateway.routing.models import models_of
from gateway.serving.fit import byte_sizes, fit, prompt_tokens, rooms_of
from gateway.wire.legality import CHAT
from tests.passage import COUNTERS, deployment, policy
from tests.talk import assistant, calls, loop, request, result, system, user, words

COUNTER: Counter = COUNTERS.for_encoding("o200k_base")
BARE = Policy("bare", reserve=Reserve(0, 0))


def model(*deployments, unpriced=False):
    return models_of({"asked": deployments or (deployment(),)}, unpriced=unpriced)["asked"]


# ---------------------------------------------------------------- what a model name stands for


def facts(provider="openai", name="x", window=1000, output=None, shared=True, exact=True) -> ModelFacts:
    return ModelFacts(provider, name, window, output, shared, "o200k_base", exact)


def test_of_several_deployments_the_smallest_window_and_answer_count():
    both = model(
        deployment(window=9000, max_output=500), deployment(window=5000, number=1), deployment(window=None, number=2)
    )
    assert (both.window, both.max_output, len(both.deployments)) == (5000, 500, 3)


def test_one_that_shares_its_window_or_is_not_counted_exactly_makes_it_so_for_all():
    apart = replace(deployment(), facts=facts(shared=False))
    assert not model(apart).shared
    assert model(apart, deployment(number=1)).shared
    assert model(deployment()).exact
    assert not model(deployment(), deployment(exact=False, number=1)).exact


def test_the_rules_of_legality_are_the_providers():
    assert model().legal == (CHAT,)
    assert model(deployment(model="anthropic/claude-sonnet")).legal == (MESSAGES_API,)


def test_reasoning_is_bound_for_all_where_it_is_for_one():
    claude = deployment(model="anthropic/claude-opus-5-5")
    binds = replace(claude, name="b", cache=replace(NOTHING, binds_reasoning=True))
    assert model(claude, binds).legal == (MESSAGES_API, replace(MESSAGES_API, binds_reasoning=True))


def test_deployments_without_a_price_are_left_out_unless_that_is_allowed():
    free = deployment(price={})
    assert model(free).deployments == ()
    assert model(free, unpriced=True).deployments == (free,)
    assert model(free, deployment(number=1)).deployments == (deployment(number=1),)


def test_the_margin_is_the_calibrations_where_the_policy_says_nothing():
    seen = Calibration(3, 1.1, 0.05)
    unknown = model(deployment(exact=False))
    assert unknown.bounds(Policy("p"), seen).calibration == seen
    assert unknown.bounds(Policy("p")).calibration == UNKNOWN
    assert model().bounds(Policy("p"), seen).calibration == EXACT
    declared = unknown.bounds(Policy("p", reserve=Reserve(0, 77)), seen)
    assert (declared.calibration, declared.margin) == (EXACT, 77)


def test_a_reserve_follows_the_answer_limit_where_it_is_auto_and_not_declared():
    asked = model(deployment(window=6000, max_output=300))
    assert asked.bounds(Policy("p")).budget() == 5700
    assert asked.bounds(Policy("p"), answer_limit=8).budget(8) == 5992
    assert asked.bounds(Policy("p", reserve=Reserve(500)), answer_limit=8).budget(8) == 5500
    assert asked.bounds(Policy("p", reserve=Reserve(0.1)), answer_limit=8).budget(8) == 5400
    assert asked.bounds(Policy("p", context_window=4000, reserve=Reserve(0.1))).budget() == 3600


def test_rooms_for_the_report_are_shares_or_what_was_borrowed():
    rules = policy(
        "{name: p, allocation: {system: 10%, tools: 0, examples: 0, documents: 30%, history: 60%, input: 0}}"
    )
    firm = policy("{name: p, strict: true, allocation: {documents: 300}}")
    assert rooms_of(rules, 1000, {})["documents"] == 300
    assert rooms_of(rules, 1000, {"system": 400, "history": 10})["documents"] == 200
    assert rooms_of(rules, 1000, {"system": 400}, {"documents": 500, "history": 0})["documents"] == 500
    assert rooms_of(firm, 1000, {"system": 400})["documents"] == 300


# ---------------------------------------------------------------- deciding


async def decide(listed, rules: Policy = BARE, **fields):
    chosen = model(deployment(window=fields.pop("window", 2000)))
    asked = request(listed, **fields)
    return await fit(asked, rules, chosen, COUNTER, chosen.bounds(rules))


async def test_nothing_is_counted_where_the_bytes_prove_that_it_fits():
    fitted = await decide([user("hello")])
    assert (fitted.plan, fitted.prompt_tokens, fitted.original_tokens) == (None, None, None)


async def test_nothing_is_counted_where_nothing_bounds_the_prompt_or_the_policy_is_off():
    assert (await decide([user(words(9000))], window=None)).plan is None
    assert (await decide([user(words(9000))], replace(BARE, mode="off"))).plan is None


async def test_what_bytes_do_not_prove_is_counted():
    fitted = await decide([user(words(1000))])
    assert isinstance(fitted.plan, Plan)
    assert fitted.plan.changes is None
    assert fitted.prompt_tokens == fitted.original_tokens == 1007


async def test_an_image_is_never_proven_by_bytes():
    image = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    fitted = await decide([{"role": "user", "content": [image]}])
    assert isinstance(fitted.plan, Plan)
    assert fitted.plan.tokens_before > 85


async def test_under_strict_everything_is_counted_because_shares_are_ceilings():
    fitted = await decide([system(words(300)), user("hi")], policy("{name: s, strict: true}"), window=None)
    assert fitted.plan is None or isinstance(fitted.plan, Plan)
    strict = policy("{name: s, strict: true, context_window: 2000, reserve: {output: 0, margin: 0}}")
    assert isinstance((await decide([system(words(300)), user("hi")], strict)).plan, Refusal)


@pytest.mark.long
async def test_a_long_body_is_decided_in_a_thread_and_comes_out_the_same():
    listed = [user("begin"), *loop(40, 600), user("now")]
    short = await decide(listed, window=9000)
    long = await decide(listed, window=9000, metadata={"pad": "x" * LONG_BODY})
    assert short.plan == long.plan
    assert isinstance(long.plan, Plan)
    assert long.plan.changes is not None


async def test_an_answer_limit_takes_from_the_deployments_window():
    assert isinstance((await decide([user(words(1500))], max_tokens=1000)).plan, Refusal)
    assert isinstance((await decide([user(words(1500))], max_tokens=400)).plan, Plan)


async def test_a_refusal_remembers_what_the_prompt_counts():
    fitted = await decide([user(words(3000))])
    assert (fitted.prompt_tokens, fitted.original_tokens) == (None, 3007)


async def test_a_prompt_that_nobody_had_to_count_can_be_counted_afterwards():
    assert await prompt_tokens(request([system("one two"), user("three")]), model(), COUNTER) == 3 + 6 + 5


# ---------------------------------------------------------------- sizes in bytes


def test_bytes_are_told_apart_by_component_where_nobody_counts():
    sizes = byte_sizes(request([system("s" * 100), user("u" * 50), *loop(1, 5), user("i" * 70)], tools=[{"a": 1}]))
    assert sizes["system"] > 100
    assert 70 < sizes["input"] < 120
    assert sizes["history"] > sizes["input"]
    assert sizes["tools"] == len('[{"a":1}]')


def test_the_newest_results_and_the_last_user_message_are_input_in_bytes_too():
    listed = [user("u" * 500), *loop(2, 5), calls("x read"), result("x", "r" * 300)]
    sizes = byte_sizes(request(listed))
    assert sizes["input"] > 800
    assert sizes["history"] < 1500


MESSAGES = st.lists(
    st.sampled_from([[system("s")], [user("u")], [assistant("a")], loop(1, 2), [result("x", "orphan")]]),
    min_size=1,
    max_size=8,
).map(lambda groups: [message for group in groups for message in group])


@given(MESSAGES)
def test_bytes_by_component_are_never_negative_and_never_more_than_the_body(listed):
    asked = request(listed)
    sizes = byte_sizes(asked)
    assert all(size >= 0 for size in sizes.values())
    assert sum(sizes.values()) <= len(asked.body)


@pytest.mark.parametrize("counted", [[system("s")], [user("u")], [assistant("a")]])
def test_a_single_message_belongs_to_one_component(counted):
    sizes = byte_sizes(request(counted))
    assert sum(1 for size in sizes.values() if size) == 1

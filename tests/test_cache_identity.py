"""The number of the cache that a request reads: one for each account and model, and for what a provider keeps apart."""

from gateway.prompt_cache.cache_identity import CacheNumbers, message_settings, separated_by
from tests.caching_replay import facts_of
from tests.passage import deployment
from tests.talk import request, user

OPENAI, NEW_OPENAI, ANTHROPIC = facts_of("openai"), facts_of("openai-5.6"), facts_of("anthropic")


def test_deployments_of_one_model_under_one_credential_read_one_cache():
    numbers = CacheNumbers()
    first, second = deployment("a", "openai/gpt-5", api_key="k"), deployment("b", "openai/gpt-5", api_key="k")
    assert numbers.of(first) == numbers.of(second)
    assert numbers.of(first) != numbers.of(deployment("c", "openai/gpt-5", api_key="other"))
    assert numbers.of(first) != numbers.of(deployment("d", "openai/gpt-5-mini", api_key="k"))


def test_each_demo_deployment_has_a_cache_of_its_own():
    numbers = CacheNumbers()
    first, second = deployment("a", "demo/openai", kind="demo"), deployment("b", "demo/openai", kind="demo")
    assert numbers.of(first) != numbers.of(second)


def test_a_key_or_a_salt_keeps_requests_apart_where_the_provider_says_so():
    plain = request([user("a")])
    keyed, salted = request([user("a")], prompt_cache_key="k"), request([user("a")], cache_salt="s")
    assert separated_by(plain, OPENAI) == separated_by(keyed, OPENAI) == 0
    assert separated_by(keyed, NEW_OPENAI) != 0
    assert separated_by(salted, OPENAI) != 0


def test_settings_that_anthropic_compares_count_for_it_alone():
    chosen = request([user("a")], tool_choice="none")
    assert message_settings(chosen, ANTHROPIC) != message_settings(request([user("a")]), ANTHROPIC) == 0
    assert message_settings(chosen, OPENAI) == 0

"""Why a cache missed: each cause named by an example, the first thing that changed before all others."""

from dataclasses import replace

import pytest

from gateway.prompt_cache.contents import Match, RequestAtCache
from gateway.prompt_cache.misses import Miss, TokenReport, cause_of_miss, readable_tokens
from gateway.prompt_cache.prefixes import Chain, Digests, chain_of
from gateway.prompt_cache.trails import Trail, Trails
from tests.caching_replay import facts_of
from tests.talk import Wire, assistant, request, system, user

OPENAI, ANTHROPIC = facts_of("openai"), facts_of("anthropic")
TOOL = {"type": "function", "function": {"name": "read"}}
FIRST: list[Wire] = [system("s"), user("a")]
SECOND: list[Wire] = [*FIRST, assistant("b"), user("c")]
THIRD: list[Wire] = [*SECOND, assistant("d"), user("e")]
NOTHING = Match(None, None, 0)


def chain(listed: list[Wire], **more: object) -> Chain:
    return chain_of(request(listed, **more), None, Digests())


def trail(original: Chain, sent: Chain | None = None, cache: int = 1, tokens: int = 2048) -> Trail:
    out = Trails().note(1, (sent or original).links, RequestAtCache(1, original, (), NOTHING), 1, cache, 0, None)
    out.tokens = tokens
    return out


def miss(
    original: Chain,
    previous: Trail | None,
    *,
    read: int | None = None,
    expired: int | None = None,
    figures: TokenReport | None = None,
    sent: Chain | None = None,
    facts=OPENAI,
    now: float = 90_000.0,
) -> Miss | None:
    request_at_cache = RequestAtCache(1, sent or original, (), Match(read, expired, 0))
    return cause_of_miss(figures or TokenReport(4000, 0, 0), request_at_cache, original, previous, facts, 1, now)


def test_the_first_of_a_conversation_has_nothing_to_read():
    assert miss(chain(FIRST), None) == Miss("first_sight", 0)


def test_the_first_of_a_conversation_that_reads_what_others_sent_misses_nothing():
    assert miss(chain(FIRST), None, read=1, figures=TokenReport(4000, 1024, 1024)) is None


def test_all_that_the_previous_request_left_was_read():
    assert miss(chain(SECOND), trail(chain(FIRST)), read=2, figures=TokenReport(4000, 2048, 2048)) is None


def test_the_provider_read_less_than_its_own_rules_say():
    cause = miss(chain(SECOND), trail(chain(FIRST)), read=2, figures=TokenReport(4000, 0, 2048))
    assert cause == Miss("provider_did_not", 2048)


def test_too_long_ago():
    assert miss(chain(SECOND), trail(chain(FIRST)), expired=2) == Miss("expired", 2048)


def test_what_had_expired_before_the_previous_request_is_not_why_this_one_missed():
    folded = chain([*THIRD[:2], user("[left out]"), *THIRD[4:], assistant("f"), user("g")])
    original = chain([*THIRD, assistant("f"), user("g")])
    causes = [miss(original, trail(chain(THIRD)), sent=folded, expired=1, now=at) for at in (40.0, 90_000.0)]
    assert causes == [Miss("our_fold", 2048), Miss("expired", 2048)]


def test_at_another_deployment():
    assert miss(chain(SECOND), trail(chain(FIRST), cache=2)) == Miss("other_deployment", 2048)


def test_other_tools():
    assert miss(chain(SECOND, tools=[TOOL]), trail(chain(FIRST))) == Miss("client_changed_tools", 2048)


def test_another_system_text():
    changed = chain([system("t"), *SECOND[1:]])
    assert miss(changed, trail(chain(FIRST)), read=0) == Miss("client_changed_system", 2048)


def test_a_message_that_the_client_changed_or_took_out_by_its_index():
    changed = chain([*THIRD[:2], assistant("B"), *THIRD[3:], assistant("f"), user("g")])
    assert miss(changed, trail(chain(THIRD)), read=2) == Miss("client_changed:2", 2048)
    assert miss(chain([THIRD[0], *THIRD[3:]]), trail(chain(THIRD)), read=1) == Miss("client_changed:1", 2048)


def test_our_fold():
    folded = chain([*THIRD[:1], user("[left out]"), *THIRD[3:], assistant("f"), user("g")])
    cause = miss(chain([*THIRD, assistant("f"), user("g")]), trail(chain(THIRD)), sent=folded, read=1)
    assert cause == Miss("our_fold", 2048)


def test_the_fold_is_named_where_it_cost_more_than_the_clients_change_at_the_end():
    original = chain([*THIRD[:5], user("E")])
    folded = chain([THIRD[0], user("[left out]"), *THIRD[3:5], user("E")])
    assert miss(original, trail(chain(THIRD)), sent=folded, read=1) == Miss("our_fold", 2048)


def test_too_short_to_be_kept():
    assert miss(chain(SECOND), trail(chain(FIRST), tokens=900), read=2, figures=TokenReport(4000, 0, 0)) == Miss(
        "below_minimum", 0
    )
    assert miss(chain(FIRST), None, figures=TokenReport(900, 0, 0)) == Miss("below_minimum", 0)


def test_no_marker_within_reach():
    assert miss(chain(SECOND), trail(chain(FIRST)), facts=ANTHROPIC) == Miss("unmarked", 2048)


def test_what_was_sent_unmarked_left_nothing_whatever_changed_since():
    before = trail(chain(FIRST))
    before.readable = b""
    moved = chain([FIRST[0], user("[now]"), *SECOND[1:]])
    assert miss(chain(SECOND), before, sent=moved, facts=ANTHROPIC) == Miss("unmarked", 2048)


def test_what_we_put_in_for_the_previous_request_alone_is_not_missed():
    before = trail(chain(FIRST), chain(FIRST[:1]))
    moved = chain([*SECOND[:3], user("[now]"), SECOND[3]])
    assert miss(chain(SECOND), before, sent=moved, read=1, figures=TokenReport(4000, 1920, 1920)) is None


def test_a_conversation_that_another_worker_served_is_known_to_have_expired():
    assert miss(chain(SECOND), None, expired=2) == Miss("expired", 0)


@pytest.mark.parametrize(("tokens", "read"), [(1023, 0), (1024, 1024), (1151, 1024), (1152, 1152)])
def test_what_is_read_is_at_least_the_least_and_goes_by_steps(tokens: int, read: int):
    assert readable_tokens(tokens, OPENAI) == read
    assert readable_tokens(tokens, replace(OPENAI, step=1)) == (tokens if tokens >= 1024 else 0)

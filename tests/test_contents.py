"""What the providers' caches are believed to hold: by prefix, at breakpoints, in time, in two states, within bounds."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_cache.breakpoints import Breakpoint, earlier_breakpoints
from gateway.prompt_cache.contents import ORIGINAL, SENT, CacheContents, Match, RequestAtCache, write_records
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts
from tests.caching_replay import facts_of
from tests.talk import assistant, calls, messages, result, system, user

OPENAI, ANTHROPIC = replace(facts_of("openai"), writes={300: Decimal(1)}), facts_of("anthropic")
LASTING = replace(OPENAI, refreshed=False)


def chain(*hashes: int) -> Chain:
    """A chain of made-up messages, one position each."""
    links = [7]
    for one in hashes:
        links.append(hash((links[-1], one)) & ((1 << 60) - 1))
    return Chain(tuple(links), tuple(hashes), tuple(range(len(links))))


def point(link: int, lifetime: int = 300) -> Breakpoint:
    return Breakpoint(link, lifetime, ours=False)


def send(
    contents: CacheContents,
    facts: CacheFacts,
    now: float,
    sent: Chain,
    points: Sequence[Breakpoint] = (),
    original: Chain | None = None,
    cache: int = 1,
) -> tuple[Match, Match]:
    """Look at a request and send it; what would be read of it as it leaves, and of it as it came."""
    pairs = ((sent, SENT), (original or sent, ORIGINAL))
    requests = [
        RequestAtCache(cache, one, tuple(points), contents.look(cache, one, points, facts, now, state))
        for one, state in pairs
    ]
    contents.note(requests[0], requests[1], facts, now)
    return requests[0].match, requests[1].match


# ---------------------------------------------------------------- by prefix


def test_nothing_is_read_of_what_was_never_sent():
    assert send(CacheContents(), OPENAI, 0, chain(1, 2))[0] == Match(None, None, 0)


def test_the_deepest_beginning_that_was_sent_is_read():
    contents = CacheContents()
    send(contents, OPENAI, 0, chain(1, 2, 3))
    assert send(contents, OPENAI, 1, chain(1, 2, 3, 4))[0].read == 3
    assert send(contents, OPENAI, 2, chain(1, 2, 9))[0].read == 2


def test_caches_are_apart():
    contents = CacheContents()
    send(contents, OPENAI, 0, chain(1, 2), cache=1)
    assert send(contents, OPENAI, 1, chain(1, 2), cache=2)[0].read is None


def test_what_is_not_used_for_its_lifetime_is_gone_and_known_to_have_been_there():
    contents = CacheContents()
    send(contents, OPENAI, 0, chain(1, 2))
    assert send(contents, OPENAI, 300, chain(1, 2, 3))[0] == Match(None, 2, 0)


def test_a_read_renews_what_it_read_where_the_provider_says_so():
    contents = CacheContents()
    for now in (0, 299, 598):
        matches, _ = send(contents, OPENAI, now, chain(1, 2))
    assert matches.read == 2


def test_a_read_renews_nothing_where_the_provider_does_not_say_so():
    contents = CacheContents()
    send(contents, LASTING, 0, chain(1, 2))
    send(contents, LASTING, 200, chain(1, 2, 3))
    assert send(contents, LASTING, 301, chain(1, 2, 3))[0] == Match(None, 0, 0)


def test_the_providers_count_of_a_whole_prompt_is_known_to_those_that_begin_with_it():
    contents, first = CacheContents(), chain(1, 2)
    request = RequestAtCache(1, first, (), Match(None, None, 0))
    prefix = contents.note(request, request, OPENAI, 0)
    assert prefix is not None
    prefix.tokens = 1234
    assert send(contents, OPENAI, 1, chain(1, 2, 3))[0].tokens == 1234
    assert send(contents, OPENAI, 1, chain(1, 9))[0].tokens == 0


# ---------------------------------------------------------------- at breakpoints


def test_only_what_a_breakpoint_wrote_is_read():
    contents = CacheContents()
    send(contents, ANTHROPIC, 0, chain(1, 2, 3), [point(1)])
    assert send(contents, ANTHROPIC, 1, chain(1, 2, 3), [point(3)])[0].read == 1


def test_without_a_breakpoint_nothing_is_read_and_nothing_written():
    contents = CacheContents()
    send(contents, ANTHROPIC, 0, chain(1, 2), [])
    assert send(contents, ANTHROPIC, 1, chain(1, 2), [point(2)])[0].read is None
    assert send(contents, ANTHROPIC, 2, chain(1, 2), [])[0].read is None


def test_a_breakpoint_looks_back_over_twenty_positions_its_own_the_first():
    long = chain(*range(40))
    for at, read in ((11, 11), (10, None)):
        contents = CacheContents()
        send(contents, ANTHROPIC, 0, long, [point(at)])
        assert send(contents, ANTHROPIC, 1, long, [point(30)])[0].read == read


def test_every_breakpoint_looks_back_over_its_own_twenty_positions():
    long = chain(*range(40))
    for first, second in itertools.combinations(range(22, 40), 2):
        contents = CacheContents()
        send(contents, ANTHROPIC, 0, chain(*range(first - 19)), [point(first - 19)])
        assert (
            send(contents, ANTHROPIC, 1, long, [point(0), point(1), point(first), point(second)])[0].read == first - 19
        )


def test_a_marker_inside_a_message_writes_nothing_that_ends_with_one():
    contents = CacheContents()
    send(contents, ANTHROPIC, 0, chain(1, 2), [replace(point(2), whole=False)])
    assert send(contents, ANTHROPIC, 1, chain(1, 2), [point(2)])[0].read is None


def test_an_hour_is_an_hour_and_what_is_alive_keeps_its_lifetime():
    contents = CacheContents()
    send(contents, ANTHROPIC, 0, chain(1, 2), [point(1, 3600)])
    send(contents, ANTHROPIC, 10, chain(1, 2), [point(1, 300)])
    assert send(contents, ANTHROPIC, 3600, chain(1, 2), [point(1)])[0].read == 1


def test_openai_looks_where_it_may_have_set_breakpoints_of_its_own():
    listed = [system("s"), user("a"), calls("c1 read", "c2 read"), result("c1", "x"), result("c2", "y")]
    assert earlier_breakpoints(messages([*listed, assistant("b"), user("c")]), 1) == [1, 7, 5, 2]
    assert earlier_breakpoints(messages([system("s")]), 1) == [1]
    assert len(earlier_breakpoints(messages([user("u") for _ in range(99)]), 0)) == 22


# ---------------------------------------------------------------- two states


def test_what_was_rewritten_is_in_the_cache_as_it_left_and_would_be_as_it_came():
    contents = CacheContents()
    send(contents, OPENAI, 0, chain(1, 8), original=chain(1, 2, 3))
    assert send(contents, OPENAI, 1, chain(1, 8, 5), original=chain(1, 2, 3, 5)) == (
        Match(2, None, 0),
        Match(3, None, 0),
    )
    left, original = send(contents, OPENAI, 2, chain(1, 2, 3))
    assert (left.read, original.read) == (1, 3)


def test_what_one_state_holds_is_not_lost_when_the_other_is_written_over_it():
    contents = CacheContents()
    send(contents, OPENAI, 0, chain(1, 2, 3))
    send(contents, OPENAI, 1, chain(1, 8), original=chain(1, 2, 3))
    assert [match.read for match in send(contents, OPENAI, 2, chain(1, 2, 3))] == [3, 3]


STEPS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=4), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 200)),
    max_size=12,
)


@pytest.mark.parametrize("facts", [OPENAI, ANTHROPIC])
@given(steps=STEPS)
def test_each_state_is_always_that_of_a_cache_of_its_own(facts: CacheFacts, steps):
    together, as_sent, as_original, now = CacheContents(), CacheContents(), CacheContents(), 0
    for left, client, seconds in steps:
        now += seconds
        sent, original = chain(*left), chain(*client)
        marked = [point(min(len(left), len(client)))]
        matches = send(together, facts, now, sent, marked, original=original)
        alone = send(as_sent, facts, now, sent, marked)[0], send(as_original, facts, now, original, marked)[1]
        assert [one.read for one in matches] == [one.read for one in alone]


@pytest.mark.parametrize("facts", [OPENAI, ANTHROPIC])
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 290)), max_size=8), st.integers(0, 3))
def test_a_conversation_that_goes_on_in_another_process_is_always_read_as_far_there(facts: CacheFacts, steps, left_out):
    here, there, now = CacheContents(), CacheContents(), 0
    hashes: list[int] = []
    for more, seconds in steps:
        now += seconds
        hashes += range(len(hashes), len(hashes) + more)
        pairs = (chain(*hashes[left_out:]), SENT), (chain(*hashes), ORIGINAL)
        points = (point(len(hashes[left_out:])),)
        requests = [
            RequestAtCache(1, one, points, here.look(1, one, points, facts, now, state)) for one, state in pairs
        ]
        for one, (_, state) in zip(requests, pairs, strict=True):
            assert there.look(1, one.chain, points, facts, now, state).read == one.match.read
        here.note(requests[0], requests[1], facts, now)
        for written in write_records(requests[0], requests[1], facts):
            there.adopt(written, now, 0)


# ---------------------------------------------------------------- requests of the gateway's own


@pytest.mark.parametrize("facts", [OPENAI, LASTING, ANTHROPIC])
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 400)), max_size=12))
def test_a_request_of_our_own_never_changes_what_unchanged_ones_would_read(facts: CacheFacts, steps):
    with_ours, without, there = CacheContents(), CacheContents(), CacheContents()
    now = 0
    for is_ours, more, seconds in steps:
        now += seconds
        talk = chain(1, 2, *range(10, 10 + more))
        points = (point(2), point(len(talk.message_hashes)))
        if is_ours:
            request = RequestAtCache(1, talk, points, with_ours.look(1, talk, points, facts, now))
            with_ours.note(request, None, facts, now)
            for written in write_records(request, None, facts):
                there.adopt(written, now, 0)
            assert with_ours.look(1, talk, points, facts, now).read == len(talk.message_hashes)
        else:
            for contents in (with_ours, without):
                send(contents, facts, now, talk, points)
        assert with_ours.look(1, talk, points, facts, now, ORIGINAL) == without.look(
            1, talk, points, facts, now, ORIGINAL
        )
        assert there.look(1, talk, points, facts, now, ORIGINAL).read is None

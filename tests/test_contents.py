"""What the providers' caches are believed to hold: by prefix, at breakpoints, in time, in two states, within bounds."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_cache.contents import CAME, SENT, Generations, Match, Seen, Told, Trails, own_endings, written_by
from gateway.prompt_cache.markers import Breakpoint
from gateway.prompt_cache.prefixes import Chain
from gateway.prompt_cache.rules import CacheFacts
from tests.caching_replay import facts_of
from tests.talk import assistant, calls, messages, result, system, user

OPENAI, ANTHROPIC = replace(facts_of("openai"), writes={300: Decimal(1)}), facts_of("anthropic")
LASTING = replace(OPENAI, refreshed=False)


def chain(*said: int) -> Chain:
    """A chain of made-up messages, one position each."""
    links = [7]
    for one in said:
        links.append(hash((links[-1], one)) & ((1 << 60) - 1))
    return Chain(tuple(links), tuple(said), tuple(range(len(links))))


def point(link: int, lifetime: int = 300) -> Breakpoint:
    return Breakpoint(link, lifetime, ours=False)


def send(
    seen: Seen,
    facts: CacheFacts,
    now: float,
    sent: Chain,
    points: Sequence[Breakpoint] = (),
    came: Chain | None = None,
    cache: int = 1,
) -> tuple[Match, Match]:
    """Look at a request and send it; what would be read of it as it leaves, and of it as it came."""
    pairs = ((sent, SENT), (came or sent, CAME))
    told = [Told(cache, one, tuple(points), seen.look(cache, one, points, facts, now, state)) for one, state in pairs]
    seen.note(told[0], told[1], facts, now)
    return told[0].match, told[1].match


# ---------------------------------------------------------------- by prefix


def test_nothing_is_read_of_what_was_never_sent():
    assert send(Seen(), OPENAI, 0, chain(1, 2))[0] == Match(None, None, 0)


def test_the_deepest_beginning_that_was_sent_is_read():
    seen = Seen()
    send(seen, OPENAI, 0, chain(1, 2, 3))
    assert send(seen, OPENAI, 1, chain(1, 2, 3, 4))[0].read == 3
    assert send(seen, OPENAI, 2, chain(1, 2, 9))[0].read == 2


def test_caches_are_apart():
    seen = Seen()
    send(seen, OPENAI, 0, chain(1, 2), cache=1)
    assert send(seen, OPENAI, 1, chain(1, 2), cache=2)[0].read is None


def test_what_is_not_used_for_its_lifetime_is_gone_and_known_to_have_been_there():
    seen = Seen()
    send(seen, OPENAI, 0, chain(1, 2))
    assert send(seen, OPENAI, 300, chain(1, 2, 3))[0] == Match(None, 2, 0)


def test_a_read_renews_what_it_read_where_the_provider_says_so():
    seen = Seen()
    for now in (0, 299, 598):
        found, _ = send(seen, OPENAI, now, chain(1, 2))
    assert found.read == 2


def test_a_read_renews_nothing_where_the_provider_does_not_say_so():
    seen = Seen()
    send(seen, LASTING, 0, chain(1, 2))
    send(seen, LASTING, 200, chain(1, 2, 3))
    assert send(seen, LASTING, 301, chain(1, 2, 3))[0] == Match(None, 0, 0)


def test_the_providers_count_of_a_whole_prompt_is_known_to_those_that_begin_with_it():
    seen, first = Seen(), chain(1, 2)
    told = Told(1, first, (), Match(None, None, 0))
    kept = seen.note(told, told, OPENAI, 0)
    assert kept is not None
    kept.tokens = 1234
    assert send(seen, OPENAI, 1, chain(1, 2, 3))[0].tokens == 1234
    assert send(seen, OPENAI, 1, chain(1, 9))[0].tokens == 0


# ---------------------------------------------------------------- at breakpoints


def test_only_what_a_breakpoint_wrote_is_read():
    seen = Seen()
    send(seen, ANTHROPIC, 0, chain(1, 2, 3), [point(1)])
    assert send(seen, ANTHROPIC, 1, chain(1, 2, 3), [point(3)])[0].read == 1


def test_without_a_breakpoint_nothing_is_read_and_nothing_written():
    seen = Seen()
    send(seen, ANTHROPIC, 0, chain(1, 2), [])
    assert send(seen, ANTHROPIC, 1, chain(1, 2), [point(2)])[0].read is None
    assert send(seen, ANTHROPIC, 2, chain(1, 2), [])[0].read is None


def test_a_breakpoint_looks_back_over_twenty_positions_its_own_the_first():
    long = chain(*range(40))
    for at, read in ((11, 11), (10, None)):
        seen = Seen()
        send(seen, ANTHROPIC, 0, long, [point(at)])
        assert send(seen, ANTHROPIC, 1, long, [point(30)])[0].read == read


def test_every_breakpoint_looks_back_over_its_own_twenty_positions():
    long = chain(*range(40))
    for first, second in itertools.combinations(range(22, 40), 2):
        seen = Seen()
        send(seen, ANTHROPIC, 0, chain(*range(first - 19)), [point(first - 19)])
        assert send(seen, ANTHROPIC, 1, long, [point(0), point(1), point(first), point(second)])[0].read == first - 19


def test_a_marker_inside_a_message_writes_nothing_that_ends_with_one():
    seen = Seen()
    send(seen, ANTHROPIC, 0, chain(1, 2), [replace(point(2), whole=False)])
    assert send(seen, ANTHROPIC, 1, chain(1, 2), [point(2)])[0].read is None


def test_an_hour_is_an_hour_and_what_is_alive_keeps_its_lifetime():
    seen = Seen()
    send(seen, ANTHROPIC, 0, chain(1, 2), [point(1, 3600)])
    send(seen, ANTHROPIC, 10, chain(1, 2), [point(1, 300)])
    assert send(seen, ANTHROPIC, 3600, chain(1, 2), [point(1)])[0].read == 1


def test_openai_looks_where_it_may_have_set_breakpoints_of_its_own():
    listed = [system("s"), user("a"), calls("c1 read", "c2 read"), result("c1", "x"), result("c2", "y")]
    assert own_endings(messages([*listed, assistant("b"), user("c")]), 1) == [1, 7, 5, 2]
    assert own_endings(messages([system("s")]), 1) == [1]
    assert len(own_endings(messages([user("u") for _ in range(99)]), 0)) == 22


# ---------------------------------------------------------------- two states


def test_what_was_rewritten_is_in_the_cache_as_it_left_and_would_be_as_it_came():
    seen = Seen()
    send(seen, OPENAI, 0, chain(1, 8), came=chain(1, 2, 3))
    assert send(seen, OPENAI, 1, chain(1, 8, 5), came=chain(1, 2, 3, 5)) == (Match(2, None, 0), Match(3, None, 0))
    left, came = send(seen, OPENAI, 2, chain(1, 2, 3))
    assert (left.read, came.read) == (1, 3)


def test_what_one_state_holds_is_not_lost_when_the_other_is_written_over_it():
    seen = Seen()
    send(seen, OPENAI, 0, chain(1, 2, 3))
    send(seen, OPENAI, 1, chain(1, 8), came=chain(1, 2, 3))
    assert [match.read for match in send(seen, OPENAI, 2, chain(1, 2, 3))] == [3, 3]


STEPS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=4), st.lists(st.integers(0, 2), max_size=4), st.integers(0, 200)),
    max_size=12,
)


@pytest.mark.parametrize("facts", [OPENAI, ANTHROPIC])
@given(steps=STEPS)
def test_each_state_is_always_that_of_a_cache_of_its_own(facts: CacheFacts, steps):
    together, by_what_left, by_what_came, now = Seen(), Seen(), Seen(), 0
    for left, came, seconds in steps:
        now += seconds
        sent, original = chain(*left), chain(*came)
        marked = [point(min(len(left), len(came)))]
        found = send(together, facts, now, sent, marked, came=original)
        alone = send(by_what_left, facts, now, sent, marked)[0], send(by_what_came, facts, now, original, marked)[1]
        assert [one.read for one in found] == [one.read for one in alone]


@pytest.mark.parametrize("facts", [OPENAI, ANTHROPIC])
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 290)), max_size=8), st.integers(0, 3))
def test_a_conversation_that_goes_on_in_another_process_is_always_read_as_far_there(facts: CacheFacts, steps, left_out):
    here, there, now = Seen(), Seen(), 0
    said: list[int] = []
    for more, seconds in steps:
        now += seconds
        said += range(len(said), len(said) + more)
        pairs = (chain(*said[left_out:]), SENT), (chain(*said), CAME)
        points = (point(len(said[left_out:])),)
        told = [Told(1, one, points, here.look(1, one, points, facts, now, state)) for one, state in pairs]
        for one, (_, state) in zip(told, pairs, strict=True):
            assert there.look(1, one.chain, points, facts, now, state).read == one.match.read
        here.note(told[0], told[1], facts, now)
        for written in written_by(told[0], told[1], facts):
            there.adopt(written, now, 0)


# ---------------------------------------------------------------- requests of the gateway's own


@pytest.mark.parametrize("facts", [OPENAI, LASTING, ANTHROPIC])
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 400)), max_size=12))
def test_a_request_of_our_own_never_changes_what_unchanged_ones_would_read(facts: CacheFacts, steps):
    with_ours, without, there = Seen(), Seen(), Seen()
    now = 0
    for is_ours, more, seconds in steps:
        now += seconds
        said = chain(1, 2, *range(10, 10 + more))
        points = (point(2), point(len(said.own)))
        if is_ours:
            told = Told(1, said, points, with_ours.look(1, said, points, facts, now))
            with_ours.note(told, None, facts, now)
            for written in written_by(told, None, facts):
                there.adopt(written, now, 0)
            assert with_ours.look(1, said, points, facts, now).read == len(said.own)
        else:
            for seen in (with_ours, without):
                send(seen, facts, now, said, points)
        assert with_ours.look(1, said, points, facts, now, CAME) == without.look(1, said, points, facts, now, CAME)
        assert there.look(1, said, points, facts, now, CAME).read is None


# ---------------------------------------------------------------- bounds


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 300)), max_size=200))
def test_memory_is_bounded_and_what_was_put_in_last_is_there(put):
    most = 8_000
    held: Generations[int, int] = Generations(most)
    for key, size in put:
        held.put(key, size, size)
        assert held.get(key) == size
        assert key in held
    assert len(held) <= most / 72 + 4


# ---------------------------------------------------------------- conversations without ids


def noted(trails: Trails, said: Chain, scope: int = 1, head: int = 0, now: float = 0) -> int:
    told = Told(1, said, (), Match(None, None, 0))
    return trails.note(scope, said.links, told, head, 1, now, trails.before(scope, said, head)).turn


def test_the_next_request_of_a_conversation_is_found_by_what_its_last_messages_say():
    trails = Trails()
    turns = [noted(trails, chain(*range(1, upto))) for upto in (2, 4, 6, 8)]
    assert turns == [1, 2, 3, 4]


def test_another_conversation_and_another_user_are_not_it():
    trails = Trails()
    noted(trails, chain(1, 2, 3))
    assert trails.before(1, chain(4, 5, 6), 0) is None
    assert trails.before(2, chain(1, 2, 3, 4), 0) is None


def test_the_same_opening_under_another_system_text_is_another_conversation():
    trails = Trails()
    said = [(1,), (1, 2, 3), (1, 2, 3, 4, 5)]
    turns = [[noted(trails, chain(who, *words), head=1) for who in (100, 200)] for words in said]
    assert turns == [[1, 1], [2, 2], [3, 3]]


def test_both_branches_of_a_conversation_find_where_they_parted():
    trails = Trails()
    for said in ((1,), (1, 2, 3), (1, 2, 4)):
        noted(trails, chain(*said))
    nexts: list[tuple[tuple[int, ...], int]] = [((1, 2, 3, 5, 6), 3), ((1, 2, 4, 5, 6), 3), ((1, 7, 8), 2)]
    for asked, turn in nexts:
        found = trails.before(1, chain(*asked), 0)
        assert found is not None
        assert found.turn + 1 == turn


def test_a_conversation_is_found_after_its_tools_or_system_text_changed():
    trails = Trails()
    noted(trails, chain(100, 2, 3), head=1)
    other = chain(200, 2, 3, 4, 5)
    assert trails.before(1, other, 1) is not None

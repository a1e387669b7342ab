"""Proofs of gateway/prompt_cache/economics.py and habits.py: what is marked, for how long, and which fold pays."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prompt_cache.economics import (
    Option,
    Outlook,
    expected_cost,
    expected_turns,
    fold_pays,
    head_pays,
    lifetime,
    outlook,
    tail_pays,
)
from gateway.prompt_cache.usage_patterns import (
    KNOWN,
    MOST_COUNTS,
    NEW,
    NOTHING_KNOWN,
    STAGES,
    GroupHistory,
    Habits,
    PreviousRequest,
    end_waiting,
    halve_old,
    head_stage,
    request_habits,
    sum_habits,
    turn_stage,
)
from tests.conftest import Conversations
from tests.load.marking import Costs, Prices, Team, measured, prompts

PRICES = Prices()
SHORT, LONG = 300, 3600
NOON = 1_800_000_000.0


def conversation(turns: int, gap_seconds: float = 20.0, at: float = NOON, stage: int = NEW) -> Habits:
    """What one conversation of so many turns adds, each of 1,000 tokens more."""
    habits = request_habits(stage, at)
    for turn in range(2, turns + 1):
        before = stage if turn == 2 else turn_stage(turn - 1)
        previous = PreviousRequest(before, gap_seconds, 1000 * (turn - 1))
        habits += request_habits(turn_stage(turn), at + gap_seconds * (turn - 1), previous, 1000 * turn)
    return habits


# ---------------------------------------------------------------- markers


def test_a_first_request_is_not_marked_while_nothing_is_known():
    assert not tail_pays(NOTHING_KNOWN, PRICES, NEW, SHORT)
    assert not head_pays(NOTHING_KNOWN, PRICES, NEW, 1, SHORT)


def test_a_conversation_that_went_on_once_is_marked():
    assert tail_pays(NOTHING_KNOWN, PRICES, turn_stage(2), SHORT)


@pytest.mark.parametrize("turns", [3, 10])
def test_after_one_conversation_the_next_is_marked_from_its_first_request(turns):
    assert tail_pays(conversation(turns), PRICES, NEW, SHORT)


def test_a_head_that_came_back_is_marked():
    assert head_pays(request_habits(head_stage(1), NOON), PRICES, NEW, 2, SHORT)


def test_traffic_that_never_goes_on_teaches_not_to_mark_however_fast_it_comes():
    once = conversation(3)
    for number in range(8):
        once += request_habits(NEW, NOON + 100 + number / 1000)
    assert not tail_pays(once, PRICES, NEW, SHORT)


def test_conversations_under_way_are_not_taken_for_ended():
    many = sum_habits(conversation(2, at=NOON + number) for number in range(300))
    assert tail_pays(many, PRICES, turn_stage(2), SHORT)


def test_what_nothing_followed_in_time_counts_as_ended():
    many = sum_habits(conversation(2, at=NOON + number) for number in range(300))
    assert not tail_pays(end_waiting(many, NOON + 1000), PRICES, turn_stage(2), SHORT)


def test_a_request_that_follows_after_all_takes_the_end_back():
    late = end_waiting(request_habits(NEW, NOON), NOON + 1000) + request_habits(
        turn_stage(2), NOON + 2000, PreviousRequest(NEW, 2000.0)
    )
    late = end_waiting(late, NOON + 2001)
    assert not late.ended
    assert late.share(NEW, LONG) > 0.5 > late.share(NEW, SHORT)


def test_gaps_longer_than_the_lifetime_are_no_reason_to_mark():
    slow = sum_habits(conversation(8, gap_seconds=1000.0, at=NOON + number) for number in range(5))
    assert not tail_pays(slow, PRICES, turn_stage(2), SHORT)
    assert tail_pays(slow, PRICES, turn_stage(2), LONG)


def test_an_hour_needs_more_certainty_than_five_minutes():
    half = sum_habits(
        [*[conversation(2, at=NOON + n) for n in range(4)], *[request_habits(NEW, NOON) for _ in range(6)]]
    )
    assert tail_pays(half, PRICES, NEW, SHORT)
    assert not tail_pays(half, PRICES, NEW, LONG)


def test_a_head_goes_by_its_own_conversations_where_it_has_any():
    team = sum_habits(conversation(9, stage=KNOWN, at=NOON + number) for number in range(20))
    assert tail_pays(team, PRICES, KNOWN, SHORT, GroupHistory(3, 3))
    assert not tail_pays(team, PRICES, KNOWN, SHORT, GroupHistory(14, 0))


def test_what_a_head_did_long_ago_weighs_less():
    history = GroupHistory()
    for _ in range(200):
        history = history.plus(1, 1)
    for _ in range(200):
        history = history.plus(1, 0)
    assert history.share(0.9) < 0.1
    assert history.started <= 33


def test_many_conversations_that_begin_at_once_are_not_taken_for_single_requests():
    history = GroupHistory()
    for _ in range(60):
        history = history.plus(1, 1)
    team = sum_habits(conversation(9, stage=KNOWN, at=NOON + number) for number in range(60))
    for number in range(30):
        assert tail_pays(team, PRICES, KNOWN, SHORT, history)
        history, team = history.plus(1, 0), team + request_habits(KNOWN, NOON + 100 + number / 1000)


# ---------------------------------------------------------------- recorded conversations


def test_markers_cost_little_more_than_foresight_on_recorded_conversations(conversations: Conversations):
    whole = Costs()
    for name in conversations.names:
        sample = [prompts(one) for one in conversations.read(name, 4)]
        whole.add(measured(sample, Team(), 20.0))
    assert whole.of_oracle <= 1.08
    assert whole.of_plain < 0.25


@pytest.mark.parametrize("name", ["bfcl_live_tools", "mcp_schemas"])
@pytest.mark.parametrize("gap", [0.01, 20.0, 400.0])
def test_single_shot_traffic_is_not_dearer_than_unmarked(conversations: Conversations, name, gap):
    single = [prompts(one) for one in conversations.read(name)]
    for seed in range(3):
        random.Random(seed).shuffle(single)
        assert measured(single, Team(), gap).of_plain <= 1.01


def test_single_requests_that_share_a_long_head_read_it_from_the_second_on(conversations: Conversations):
    first = next(conversations.read("mcp_schemas"))
    asked = [
        {**first, "messages": [*first["messages"][:-1], {"role": "user", "content": f"Question {number}?"}]}
        for number in range(50)
    ]
    assert measured([prompts(one) for one in asked], Team(), 5.0).of_plain < 0.15


# ---------------------------------------------------------------- ttl: auto


@dataclass(slots=True)
class Cached:
    """A conversation as the cache holds it."""

    stage: int
    at: float
    tokens: int
    seconds: int
    until: float


def log_uniform(draw: random.Random, low: float, high: float) -> float:
    return exp(draw.uniform(log(low), log(high)))


def traffic(seed: int, low: float, high: float, conversations: int = 300) -> list[tuple[float, int, int]]:
    """Make up a group's requests, in order: (time, conversation, tokens)."""
    draw, is_first = random.Random(seed), NOON
    out: list[tuple[float, int, int]] = []
    for number in range(conversations):
        is_first += draw.expovariate(1 / 60)
        at, tokens = is_first, draw.randint(1500, 8000)
        out.append((at, number, tokens))
        while draw.random() < 0.85:
            at += log_uniform(draw, low, high)
            tokens += draw.randint(100, 1500)
            out.append((at, number, tokens))
    return sorted(out)


def priced(requests: Sequence[tuple[float, int, int]], fixed: int | None) -> float:
    """Price requests that are all marked, for a fixed lifetime or for the one that the habits so far ask for."""
    habits, cost, held = NOTHING_KNOWN, 0.0, dict[int, Cached]()
    for now, number, tokens in requests:
        before = held.get(number)
        alive = before is not None and before.until >= now
        stage = NEW
        if fixed is None:
            previous = None if before is None else PreviousRequest(before.stage, now - before.at, before.tokens)
            stage = turn_stage(2) if before is not None else NEW
            habits += request_habits(stage, now, previous, tokens)
        seconds = before.seconds if before is not None and alive else fixed or lifetime(habits, PRICES, now)
        read = before.tokens if before is not None and alive else 0
        cost += float(PRICES.read) * read + float(PRICES.writes[seconds]) * (tokens - read)
        held[number] = Cached(stage, now, tokens, seconds, now + seconds)
    return cost


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("low", "high"), [(1, 300), (300, 7200), (1, 85), (85, 7200)])
def test_a_lifetime_by_gaps_costs_at_most_two_percent_more_than_the_better_fixed_one(seed, low, high):
    requests = traffic(seed, low, high)
    assert priced(requests, None) <= 1.02 * min(priced(requests, SHORT), priced(requests, LONG))


def test_the_shortest_lifetime_is_chosen_while_no_gap_is_known():
    assert lifetime(NOTHING_KNOWN, PRICES, NOON) == SHORT


def test_a_gap_that_could_hardly_be_seen_yet_stands_for_more():
    watched = replace(NOTHING_KNOWN, since=NOON, again={0: 8000.0, 5: 1000.0})
    assert watched.sent_again(SHORT, NOON + 1000)[1] == 4000.0
    assert watched.sent_again(SHORT, NOON + 10**6)[1] == pytest.approx(1000.0, rel=0.01)


# ---------------------------------------------------------------- how long, and folds


def brute_expected_turns(habits: Habits, turn: int) -> float:
    reached, out = 1.0, 0.0
    for at in range(turn, turn + 5000):
        reached *= habits.share(turn_stage(at), inf)
        out += reached
    return out


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 5, 8, 9, 20, 64, 65, 200])
def test_the_expected_turns_are_the_sum_of_the_chances_to_reach_each(turn):
    habits = sum_habits(conversation(length, at=NOON + length, stage=KNOWN) for length in range(1, 40))
    habits = end_waiting(habits, NOON + 10_000)
    assert expected_turns(habits, turn) == pytest.approx(brute_expected_turns(habits, turn), rel=1e-6)


def brute_cost(option: Option, look: Outlook) -> float:
    """Add it up request by request."""
    goes_on, reached = look.turns / (1 + look.turns), 1.0
    cost = option.warm * look.read + (option.sent - option.warm) * look.write + option.besides
    for j in range(1, 700):
        reached *= goes_on
        step = (j - 1) % option.lasts if option.lasts != inf else j - 1
        cost += reached * look.again * (option.sent + look.growth * step)
        if option.lasts != inf and j % option.lasts == 0:
            cost += reached * ((look.write - look.again) * option.rebought + option.besides)
    return cost


@given(
    sent=st.integers(1000, 100_000),
    warm=st.floats(0, 1),
    lasts=st.one_of(st.integers(1, 60), st.just(inf)),
    rebought=st.integers(0, 50_000),
    turns=st.floats(0, 20),
    growth=st.floats(0, 3000),
    besides=st.floats(0, 5000),
)
def test_the_expected_cost_is_the_sum_over_all_requests_that_may_come(
    sent, warm, lasts, rebought, turns, growth, besides
):
    option = Option(sent, int(warm * sent), lasts, rebought, besides)
    look = Outlook(0.1, 1.25, 0.3, turns, growth)
    assert expected_cost(option, look) == pytest.approx(brute_cost(option, look), rel=1e-6)


@given(turns=st.floats(0.1, 60), warm_after=st.integers(1000, 60_000), removed=st.integers(1000, 60_000))
def test_a_fold_under_a_warm_cache_is_cheaper_exactly_beyond_its_break_even(turns, warm_after, removed):
    """The break-even counts from the request that folds: it neither reads what is removed nor pays for it."""
    head = 2000
    look = Outlook(0.1, 1.25, 0.1, turns, 0.0)
    before = Option(head + removed + warm_after, head + removed + warm_after)
    folded = Option(head + warm_after, head)
    even = (1.25 - 0.1) * warm_after / (0.1 * removed)
    if abs(1 + turns - even) > 0.01:
        assert (expected_cost(folded, look) < expected_cost(before, look)) == (1 + turns > even)


def test_a_fold_that_nothing_forces_saves_enough_however_long_it_goes_on():
    """Half as long as expected, and for very long."""
    before, folded = Option(9000, 9000), Option(6000, 3000)
    even = (1.25 - 0.1) * 3000 / (0.1 * 3000)
    assert not fold_pays(folded, before, Outlook(0.1, 1.25, 0.1, 1.5 * even, 0.0))
    assert fold_pays(folded, before, Outlook(0.1, 1.25, 0.1, 3 * even, 0.0))
    assert not fold_pays(replace(folded, sent=8990, warm=8990), before, Outlook(0.1, 1.25, 0.1, 3 * even, 0.0))


def test_what_is_too_short_to_be_cached_costs_the_plain_price_until_it_has_grown():
    short, long = Option(3000, 0), Option(5000, 0)
    look = Outlook(0.1, 1.0, 0.1, 10.0, 200.0, least=4096)
    assert fold_pays(short, long, replace(look, least=0))
    assert not fold_pays(short, long, look)


def test_a_fold_in_a_cold_cache_is_free():
    look = Outlook(0.1, 1.25, 0.1, 0.0, 0.0)
    assert fold_pays(Option(4000, 0), Option(9000, 0), look)


def test_the_cheapest_option_is_not_the_shortest_where_the_conversation_soon_ends():
    shallow = Option(sent=7500, warm=6000, lasts=3, rebought=5500)
    deep = Option(sent=3000, warm=1000, lasts=12, rebought=2000)
    ending, lasting = Outlook(0.1, 1.25, 0.1, 0.2, 400.0), Outlook(0.1, 1.25, 0.1, 30.0, 400.0)
    assert expected_cost(shallow, ending) < expected_cost(deep, ending)
    assert expected_cost(deep, lasting) < expected_cost(shallow, lasting)


def test_what_is_sent_again_late_costs_a_write():
    fast, slow = conversation(10), conversation(10, gap_seconds=1000.0)
    later = NOON + 10**6
    assert outlook(fast, PRICES, SHORT, 3, 500, later).again == pytest.approx(0.1)
    assert outlook(slow, PRICES, SHORT, 3, 500, later).again > 0.9


# ---------------------------------------------------------------- counts


@st.composite
def deltas(draw: st.DrawFn) -> Habits:
    now = NOON + draw(st.integers(0, 4000))
    stage = draw(st.integers(0, STAGES - 1))
    if draw(st.booleans()):
        return request_habits(stage, now)
    before = draw(st.integers(0, STAGES - 1))
    return request_habits(
        stage, now, PreviousRequest(before, float(draw(st.integers(0, 9000))), draw(st.integers(0, 9000))), 9000
    )


@given(st.lists(deltas(), max_size=12), st.randoms(use_true_random=False))
def test_the_order_in_which_workers_add_never_matters(several, shuffler):
    mixed = list(several)
    shuffler.shuffle(mixed)
    half = len(mixed) // 2
    assert sum_habits(several) == sum_habits(mixed) == sum_habits(mixed[:half]) + sum_habits(mixed[half:])


@given(st.lists(deltas(), max_size=12))
def test_habits_always_survive_json(several):
    habits = end_waiting(sum_habits(several), NOON + 2000)
    assert Habits.from_json(habits.to_json()) == habits


@given(st.lists(deltas(), max_size=12), st.integers(0, STAGES - 1), st.sampled_from([SHORT, 1800, LONG, inf]))
def test_a_share_is_always_a_share(several, stage, within):
    habits = end_waiting(sum_habits(several), NOON + 2000)
    assert 0 < habits.share(stage, within) <= 1


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"followed": [], "ended": [[99, 1]], "waiting": [], "again": [], "since": None},
        {"followed": [[1, 2]], "ended": [], "waiting": [], "again": [], "since": None},
        {"followed": [], "ended": [], "waiting": [], "again": [[0, "inf"]], "since": None},
    ],
)
def test_what_was_never_counted_is_not_read(data):
    with pytest.raises((KeyError, TypeError, ValueError, OverflowError)):
        Habits.from_json(data)


def test_the_past_is_let_go_of_and_shares_stay():
    habits = sum_habits(conversation(12, at=NOON + number) for number in range(100))
    assert sum(map(sum, habits.followed.values())) >= MOST_COUNTS
    young = halve_old(habits)
    assert sum(map(sum, young.followed.values())) == pytest.approx(sum(map(sum, habits.followed.values())) / 2)
    assert young.share(turn_stage(3), SHORT) == pytest.approx(habits.share(turn_stage(3), SHORT), abs=0.02)


def test_stages_only_rise():
    stages = [turn_stage(turn) for turn in range(1, 200)]
    assert all(one <= other for one, other in pairwise(stages))
    assert [head_stage(sights) for sights in (1, 2, 3, 4, 5, 99)] == [9, 10, 11, 11, 12, 12]

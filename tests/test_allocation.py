"""How a budget comes about, and how it is shared: nothing is cut while room stands unused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.allocation import Window, allocate, power_of_two, usual_reserve
from gateway.budget.calibration import Calibration
from gateway.budget.components import COMPONENTS
from gateway.config.shares import Shares

SHARES = Shares(system=0.1, tools=0.1, examples=0.1, documents=0.2, history=0.4, input=0.1)
BENDING = frozenset({"history", "documents", "examples"})


def window(policy=None, deployment=None, shared=True, reserve=1000, margin=0, factor=1.0, error=0.0) -> Window:
    return Window(policy, deployment, shared, reserve, margin, Calibration(1, factor, error))


# ---------------------------------------------------------------- the budget


def test_where_nobody_has_said_anything_nothing_bounds_a_prompt():
    assert window().budget() is None


def test_the_policys_window_less_the_reserve_is_the_budget():
    assert window(policy=8000).budget() == 7000


def test_the_deployments_window_bounds_it_where_it_is_smaller():
    assert window(policy=8000, deployment=5000).budget() == 4000
    assert window(deployment=5000).budget() == 4000


def test_where_the_answer_has_its_own_window_the_deployments_is_the_prompts_alone():
    assert window(deployment=5000, shared=False).budget(4000) == 5000


def test_an_answer_limit_eats_the_deployments_window_and_never_the_policys():
    assert window(policy=32_000, deployment=200_000, reserve=4000).budget(32_000) == 28_000
    assert window(policy=32_000, deployment=40_000, reserve=4000).budget(32_000) == 8_000


def test_a_limit_smaller_than_the_reserve_changes_nothing():
    assert window(deployment=5000).budget(10) == 4000


@pytest.mark.parametrize(("margin", "budget"), [(0, 7000), (500, 6500), (0.1, 6300), (9000, 0)])
def test_the_margin_is_tokens_or_a_share_of_the_budget(margin, budget):
    assert window(policy=8000, margin=margin).budget() == budget


def test_a_provider_that_counts_more_than_we_do_leaves_fewer_of_our_tokens():
    assert window(policy=8000, factor=1.25).budget() == 5600


def test_the_error_of_the_count_is_kept_free_too():
    assert window(policy=8000, error=0.25).budget() == 5600


def test_what_a_provider_has_shown_bounds_the_second_plan():
    seen = window(policy=8000, deployment=9000, error=0.25).seen_smaller(4000, counted=8000, limit=5000)
    assert seen.budget() == int((5000 - 1000) / 2.2)
    exact = window(policy=8000, deployment=9000, error=0.25).seen_smaller(6000, counted=6000, limit=5000)
    assert exact.budget() == 5000 - 1000


def test_where_a_provider_says_only_too_long_there_is_a_seventh_less_than_was_sent():
    assert window(policy=8000).seen_smaller(2000, None, None).budget() == 1700
    assert window(policy=8000).seen_smaller(2000, 2500, None).budget() == 1700
    assert Window(None, None, True, 0, 0).seen_smaller(2000, None, 4000).budget() == 1700


def test_no_reserve_and_no_margin_is_exactly_the_window():
    assert window(policy=8000, reserve=0, margin=0).budget(100_000) == 8000


# ---------------------------------------------------------------- a reserve that follows the request


def following(limit, policy=None, deployment=None, shared=True) -> Window:
    return Window(policy, deployment, shared, 1000, 0, follows=limit)


def test_a_short_answer_leaves_nearly_all_of_the_window():
    bounds = following(8, policy=6000, deployment=6000)
    assert (bounds.budget(), bounds.budget(8)) == (5992, 5992)


def test_prefixes_keep_the_limit_as_a_power_of_two_and_the_request_what_it_asks_for():
    bounds = following(900, deployment=6000)
    assert (bounds.budget(), bounds.budget(900)) == (6000 - 1024, 5100)
    assert following(600, deployment=6000).budget() == bounds.budget()


def test_a_limit_eats_at_most_a_quarter_of_the_policys_window():
    bounds = following(32_000, policy=32_000, deployment=200_000)
    assert (bounds.budget(), bounds.budget(32_000)) == (24_000, 24_000)


def test_rounding_up_takes_at_most_half_of_the_deployments_window():
    assert following(5000, deployment=12_000).budget() == 6000
    assert following(7000, deployment=12_000).budget() == following(7000, deployment=12_000).budget(7000) == 5000
    assert following(20_000, deployment=12_000).budget(20_000) == 0


def test_a_limit_takes_nothing_of_a_window_that_the_answer_does_not_share():
    assert following(8000, deployment=6000, shared=False).budget(8000) == 6000


@pytest.mark.parametrize(
    ("declared", "width", "max_output", "kept"),
    [
        (4000, 2000, None, 4000),
        (0, 2000, 500, 0),
        (0.2, 10_000, 500, 2000),
        (0.2, None, None, 0),
        (None, 128_000, None, 4000),
        (None, 128_000, 500, 500),
        (None, 6000, 64_000, 1500),
        (None, None, None, 4000),
        (None, None, 300, 300),
    ],
)
def test_without_an_answer_limit_the_reserve_is_declared_or_within_4k_and_a_quarter(declared, width, max_output, kept):
    assert usual_reserve(declared, width, max_output) == kept


@pytest.mark.parametrize(("tokens", "rounded"), [(0, 1), (1, 1), (2, 2), (3, 4), (1024, 1024), (1025, 2048)])
def test_powers_of_two(tokens, rounded):
    assert power_of_two(tokens) == rounded


@given(st.integers(1, 300_000), st.none() | st.integers(4, 300_000), st.none() | st.integers(4, 300_000))
def test_a_reserve_that_follows_leaves_something_wherever_the_limit_does(limit, policy, deployment):
    bounds = following(limit, policy, deployment)
    of_prefixes, own = bounds.budget(), bounds.budget(limit)
    if of_prefixes is not None and own is not None and (deployment is None or limit < deployment):
        assert own >= of_prefixes > 0


TOKENS = st.integers(0, 300_000)
WINDOWS = st.builds(
    Window,
    st.none() | TOKENS,
    st.none() | TOKENS,
    st.booleans(),
    TOKENS,
    st.integers(0, 9000) | st.floats(0, 1),
    st.builds(Calibration, st.just(1), st.floats(1, 2), st.floats(0, 1)),
    follows=st.none() | st.integers(1, 300_000),
)


@given(WINDOWS, TOKENS)
def test_a_budget_is_never_negative_and_never_more_than_a_window(bounds, limit):
    budget = bounds.budget(limit)
    known = [size for size in (bounds.policy, bounds.deployment) if size is not None]
    assert (budget is None) == (not known)
    assert budget is None or 0 <= budget <= min(known)


@given(WINDOWS, st.integers(1, 300_000), st.integers(1, 300_000))
def test_a_larger_answer_limit_never_leaves_more_for_the_prompt(bounds, one, other):
    budgets = bounds.budget(min(one, other)), bounds.budget(max(one, other))
    assert budgets == (None, None) or (budgets[0] or 0) >= (budgets[1] or 0)


# ---------------------------------------------------------------- the shares


def grant(budget, borrow=("history",), with_remedy=BENDING, **demand):
    return allocate(budget, demand, SHARES, borrow, with_remedy)


def test_what_has_no_remedy_takes_what_it_needs_first():
    assert grant(1000, system=300, input=400, history=9000) == {"system": 300, "input": 400, "history": 300}


def test_the_others_divide_the_rest_by_their_shares():
    assert grant(900, borrow=(), examples=9000, documents=9000, history=9000) == {
        "examples": 128 + 1,
        "documents": 257,
        "history": 514,
    }


def test_a_component_never_takes_more_than_it_needs_and_the_rest_flows_along_borrow():
    assert grant(700, borrow=("documents",), documents=9000, history=50) == {"documents": 650, "history": 50}
    assert grant(700, borrow=("history", "documents"), documents=9000, history=9000, examples=0)["examples"] == 0


def test_what_nobody_borrows_still_goes_to_those_that_bend():
    assert grant(1000, borrow=("input",), input=100, history=10, documents=5000) == {
        "input": 100,
        "history": 10,
        "documents": 890,
    }


def test_without_shares_everything_still_finds_its_room():
    assert allocate(100, {"history": 90, "documents": 90}, Shares(0, 0, 0, 0, 0, 0), (), {"history", "documents"}) == {
        "history": 90,
        "documents": 10,
    }


NAMES = st.sampled_from(sorted(COMPONENTS))
DEMAND = st.dictionaries(NAMES, st.integers(0, 5000), min_size=1)
TOKENS_OF = st.dictionaries(NAMES, st.integers(0, 9000), max_size=2).map(lambda given: tuple(given.items()))
ROOMS = st.builds(Shares, *[st.floats(0, 1)] * len(COMPONENTS), tokens=TOKENS_OF)


@given(st.integers(0, 10_000), DEMAND, ROOMS, st.lists(NAMES), st.frozensets(NAMES))
def test_grants_never_exceed_demand_nor_their_sum_the_budget(budget, demand, shares, borrow, bending):
    granted = allocate(budget, demand, shares, borrow, bending)
    fixed = sum(size for name, size in demand.items() if name not in bending)
    assert all(0 <= granted[name] <= demand[name] for name in demand)
    assert sum(granted.values()) <= max(budget, fixed)


@given(st.integers(0, 10_000), DEMAND, ROOMS, st.lists(NAMES), st.frozensets(NAMES))
def test_room_is_never_left_unused_while_something_is_cut(budget, demand, shares, borrow, bending):
    granted = allocate(budget, demand, shares, borrow, bending)
    assert granted == demand or sum(granted.values()) >= budget


def test_the_shares_of_a_whole_budget_are_the_ceilings_of_strict():
    assert SHARES.rooms(1000) == {
        "system": 100,
        "tools": 100,
        "examples": 100,
        "documents": 200,
        "history": 400,
        "input": 100,
    }

"""When a prefix is read again before it expires: by the gaps between its requests, and by what a read and a write cost.

The oracle plays each gap that is still possible: so many re-reads at most, then the request, which reads or writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.keep_warm.decide import LEAST_GAPS, KeepWarmTerms, reread_interval, reread_pays, write_pays

CLAUDE = KeepWarmTerms(lifetime=300.0, reread_interval=240.0, read=0.1, write=1.25, reread=0.1)


def due(gaps: Sequence[float], keeping: KeepWarmTerms = CLAUDE) -> bool:
    """Whether a re-read pays four minutes after a request, with five-minute caches."""
    return reread_pays(gaps, keeping, 240.0, 60.0)


def test_gaps_that_end_between_the_two_expiries_pay():
    assert due([400.0] * 3)


def test_nothing_is_known_before_three_gaps_are():
    assert not due([400.0] * 2)
    assert not write_pays([400.0] * 2, CLAUDE)


def test_traffic_that_comes_before_the_expiry_needs_nothing():
    assert not due([20.0, 100.0, 239.0, 10.0])
    assert not due([250.0, 280.0, 299.0])


def test_one_gap_in_eleven_pays_and_one_in_twelve_does_not():
    """The eleventh, or twelfth, is the one that never ends."""
    assert due([400.0, *[86_400.0] * 9])
    assert not due([400.0, *[86_400.0] * 10])


def test_several_in_a_row_reach_a_request_that_one_does_not():
    assert due([660.0] * 3)
    assert due([2_200.0] * 3)
    assert not due([2_250.0] * 3), "nine re-reads in four gaps cost more than three writes"
    assert due([2_900.0] * 64)
    assert not due([2_950.0] * 64), "twelve cost more than a write"


def test_when_the_wait_is_longer_than_any_gap_was_it_is_over():
    assert not reread_pays([400.0] * 64, CLAUDE, 480.0, 60.0)


def test_what_the_answer_costs_counts():
    assert due([400.0] * 3, replace(CLAUDE, reread=0.86))
    assert not due([400.0] * 3, replace(CLAUDE, reread=0.87))


def test_re_reads_that_have_cost_one_write_more_than_they_saved_are_not_made_again():
    assert reread_pays([400.0] * 64, CLAUDE, 240.0, 60.0, balance=-1.0)
    assert not reread_pays([400.0] * 64, CLAUDE, 240.0, 60.0, balance=-1.1)
    assert not write_pays([400.0] * 64, CLAUDE, balance=-1.1)


def test_a_prefix_that_will_be_kept_warm_is_worth_writing_though_no_request_is_near():
    assert write_pays([400.0] * 3, CLAUDE)
    assert not write_pays([7_200.0] * 3, CLAUDE)


@pytest.mark.parametrize(
    ("every", "lifetime", "told"),
    [
        (240, 300, 240),
        (240, 3600, 3540),
        (180, 300, 180),
        (180, 1800, 1680),
        (299, 300, 270),
        (3600, 300, 270),
        (240, 60, 30),
        (1, 300, 150),
    ],
)
def test_what_is_kept_longer_is_read_as_long_before_its_end(every: float, lifetime: float, told: float):
    assert reread_interval(every, lifetime) == told


GAPS = st.lists(st.integers(1, 4_000).map(float), min_size=LEAST_GAPS, max_size=20)
KEEPING = st.builds(
    replace,
    st.just(CLAUDE),
    read=st.floats(0.01, 0.5),
    write=st.floats(1, 2),
    reread=st.floats(0.01, 1),
)


def played(gap: float, keeping: KeepWarmTerms, most: int, waited: float, left: float) -> float:
    """What one gap costs under so many re-reads at most: those made in time, and the request at its end."""
    at, expires, cost = waited, waited + left, 0.0
    for _ in range(most):
        if gap <= at:
            break
        cost, expires, at = cost + keeping.reread, at + keeping.lifetime, at + keeping.reread_interval
    return cost + (keeping.write if gap >= expires else keeping.read)


@given(GAPS, KEEPING, st.integers(0, 2_000), st.integers(1, 299))
def test_it_pays_exactly_where_some_number_of_re_reads_is_cheaper_than_none(gaps, keeping, waited, left):
    longer = [*(gap for gap in gaps if gap > waited), inf]
    costs = [sum(played(gap, keeping, most, waited, left) for gap in longer) for most in range(20)]
    assume(abs(min(costs[1:]) - costs[0]) > 1e-9)
    assert reread_pays(gaps, keeping, waited, left) == (min(costs[1:]) < costs[0])


@given(GAPS, KEEPING)
def test_it_is_written_exactly_where_that_costs_less_than_the_plain_price(gaps, keeping):
    costs = [sum(played(gap, keeping, most, 240.0, 60.0) for gap in [*gaps, inf]) for most in range(20)]
    least = min(costs) - keeping.write  # the one that never ends is not written again
    assume(abs(least - len(gaps)) > 1e-9)
    assert write_pays(gaps, keeping) == (least < len(gaps))


@given(GAPS, KEEPING, st.integers(0, 5_000), st.integers(1, 299))
def test_it_never_goes_on_longer_than_the_longest_gap_was(gaps, keeping, more, left):
    assert not reread_pays(gaps, keeping, max(gaps) + more, left)


@given(st.floats(0.001, 1e6), st.floats(1, 1e6))
def test_a_re_read_is_always_before_the_end_and_never_before_half_the_time(every, lifetime):
    assert lifetime / 2 <= reread_interval(every, lifetime) < lifetime

"""When a prefix is read again before it expires: by the gaps between its requests, and by what a read and a write cost.

The oracle plays each gap that is still possible: so many re-reads at most, then the request, which reads or writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.caching.warming import LEAST_GAPS, interval, pays

LIFETIME, EVERY = 300.0, 240.0
READ, WRITE = 0.1, 1.25


def due(gaps: Sequence[float], costs: float = READ, saves: float = WRITE - READ) -> bool:
    """Whether a re-read pays four minutes after a request, with five-minute caches."""
    return pays(gaps, EVERY, LIFETIME - EVERY, LIFETIME, EVERY, costs, saves)


def test_gaps_that_end_between_the_two_expiries_pay():
    assert due([400.0] * 3)


def test_nothing_is_known_before_three_gaps_are():
    assert not due([400.0] * 2)


def test_traffic_that_comes_before_the_expiry_needs_nothing():
    assert not due([20.0, 100.0, 239.0, 10.0])
    assert not due([250.0, 280.0, 299.0])


def test_one_gap_in_thirteen_pays_and_one_in_ten_thousand_does_not():
    assert due([400.0, *[86_400.0] * 10])
    assert not due([400.0, *[86_400.0] * 11])


def test_several_in_a_row_reach_a_request_that_one_does_not():
    assert due([660.0] * 3)
    assert due([2_900.0] * 3)
    assert not due([2_950.0] * 3), "twelve re-reads cost more than the write"


def test_when_the_wait_is_longer_than_any_gap_was_it_is_over():
    assert not pays([400.0] * 64, 480.0, 60.0, LIFETIME, EVERY, READ, WRITE - READ)


def test_what_the_answer_costs_counts():
    assert due([400.0] * 3, costs=1.1)
    assert not due([400.0] * 3, costs=1.2)


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
    assert interval(every, lifetime) == told


GAPS = st.lists(st.integers(1, 4_000).map(float), max_size=20)


def played(gap: float, most: int, waited: float, left: float, costs: float, saves: float) -> float:
    """What one gap costs under so many re-reads at most: those made in time, and the write where they do not reach."""
    at, expires, cost = waited, waited + left, 0.0
    for _ in range(most):
        if gap <= at:
            break
        cost, expires, at = cost + costs, at + LIFETIME, at + EVERY
    return cost + (saves if gap >= expires else 0.0)


@given(GAPS, st.integers(0, 2_000), st.integers(1, 299), st.floats(0.01, 1), st.floats(0, 2))
def test_it_pays_exactly_where_some_number_of_re_reads_is_cheaper_than_none(gaps, waited, left, costs, saves):
    longer = [gap for gap in gaps if gap > waited]
    assume(len(gaps) >= LEAST_GAPS)
    costs_of = [sum(played(gap, most, waited, left, costs, saves) for gap in longer) for most in range(20)]
    assume(abs(min(costs_of[1:]) - costs_of[0]) > 1e-9)
    assert pays(gaps, waited, left, LIFETIME, EVERY, costs, saves) == (min(costs_of[1:]) < costs_of[0])


@given(GAPS, st.integers(0, 5_000), st.integers(1, 299))
def test_it_never_goes_on_longer_than_the_longest_gap_was(gaps, waited, left):
    assume(waited >= max(gaps, default=0.0))
    assert not pays(gaps, waited, left, LIFETIME, EVERY, READ, WRITE - READ)


@given(st.floats(0.001, 1e6), st.floats(1, 1e6))
def test_a_re_read_is_always_before_the_end_and_never_before_half_the_time(every, lifetime):
    assert lifetime / 2 <= interval(every, lifetime) < lifetime

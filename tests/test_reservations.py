"""Reservations: what a request holds of a budget."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.money.prices.entries import price_from
from gateway.money.reservations import FLOOR, UNKNOWN_ANSWER, AnswerLengths, Demand, RequestPrice, rate, ways
from gateway.state.counters import AccountCharge, Balance, Granted, Short, decide

PRICE = RequestPrice(prompt=20_000, million=10_000_000_000)
"""$1e-5 a token of the answer."""


def admitted(demand: Demand, spent: int, expected: int = 0, most: int = 0) -> Granted | Short:
    charge = AccountCharge("$", "money", 0, 0, 10**9)
    return decide([charge], [way.offer for way in ways(demand, PRICE)], [Balance(spent, expected, most, 1)])


def demand(longest: int, *, may_clamp: bool = True, likely: int = 300) -> Demand:
    return Demand(20, longest, likely, may_clamp=may_clamp)


def test_with_room_a_request_holds_its_highest_cost():
    outcome = admitted(demand(16_000), 0)
    assert isinstance(outcome, Granted)
    assert outcome.nanousd == PRICE.cost(16_000)


def test_near_the_limit_the_answer_is_clamped_to_what_the_rest_pays():
    outcome = admitted(demand(16_000), 900_000_000)
    assert isinstance(outcome, Granted)
    assert PRICE.tokens(outcome.nanousd) == 9_998
    assert PRICE.cost(PRICE.tokens(outcome.nanousd)) <= 100_000_000


def test_no_answer_is_clamped_below_the_floor():
    assert isinstance(admitted(demand(16_000), 10**9 - PRICE.cost(FLOOR)), Granted)
    assert isinstance(admitted(demand(16_000), 10**9 - PRICE.cost(FLOOR) + 1), Short)


def test_a_short_answer_needs_no_floor():
    assert isinstance(admitted(demand(10), 10**9 - PRICE.cost(10)), Granted)


def test_with_tools_an_answer_is_whole_or_refused():
    assert isinstance(admitted(demand(16_000, may_clamp=False), 900_000_000), Short)
    assert isinstance(admitted(demand(9_000, may_clamp=False), 900_000_000), Granted)


@given(
    st.builds(
        Demand, st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 8), st.booleans()
    ),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
def test_what_is_spent_and_granted_never_passes_the_limit(asked, spent, most):
    outcome = admitted(asked, spent, min(spent, most), most)
    if isinstance(outcome, Granted):
        assert spent + most + outcome.nanousd <= 10**9
        assert outcome.nanousd <= PRICE.cost(asked.longest)


def test_an_unlimited_answer_is_held_whole_in_a_budget_twice_as_large():
    unlimited = replace(demand(16_000, may_clamp=False), may_grow=True)
    cost = PRICE.cost(16_000)
    assert {way.bound for way in ways(unlimited, PRICE, 2 * cost)} == {"asked"}
    assert "counted" in {way.bound for way in ways(unlimited, PRICE, 2 * cost - 1)}


def test_the_dearest_price_counts():
    plain = price_from("a", {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5})
    dear = price_from("b", {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5})
    assert plain is not None
    assert dear is not None
    found = rate([plain, dear], Demand(1_000, 10, 10), None)
    assert found.prompt >= 2_000_000
    assert found.million == 10 * 10**9
    assert plain.rates().input == Decimal("0.000001")


def test_the_percentile_is_learned():
    lengths = AnswerLengths()
    assert lengths.likely("m", "p") == UNKNOWN_ANSWER
    for number in range(400):
        lengths.learn("m", "p", 16_000 if number % 50 == 0 else 300)
    assert 300 <= lengths.likely("m", "p") <= 600
    assert lengths.likely("m", "other") == UNKNOWN_ANSWER


@given(st.lists(st.integers(1, 10**6), min_size=20, max_size=200))
def test_nineteen_in_twenty_answers_are_no_longer_than_learned(answers):
    lengths = AnswerLengths()
    for answer in answers:
        lengths.learn("m", "p", answer)
    likely = lengths.likely("m", "p")
    assert sum(answer > likely for answer in answers) * 20 <= len(answers)

"""Amounts as text: exact where it counts, short where a column wants it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.money.amounts import dollars, rounded, usd


@pytest.mark.parametrize(
    ("nanousd", "exact", "column"),
    [
        (0, "0", "$0.000000"),
        (1, "0.000000001", "$0.000000001"),
        (375_000, "0.000375", "$0.000375"),
        (12_300_000_000, "12.3", "$12.300000"),
        (1_234_567_890_500, "1234.5678905", "$1,234.567890"),
        (1_500_001_500, "1.5000015", "$1.500002"),
        (-5, "-0.000000005", "-$0.000000005"),
    ],
)
def test_an_amount_is_exact_and_a_column_has_six_decimals(nanousd: int, exact: str, column: str) -> None:
    assert (usd(nanousd), dollars(nanousd), rounded(nanousd)) == (exact, f"${exact}", column)


@given(st.integers(1, 10**15))
def test_what_is_not_nothing_never_reads_as_nothing(nanousd: int) -> None:
    assert float(rounded(nanousd).strip("$").replace(",", "")) > 0

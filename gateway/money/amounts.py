"""Amounts of money as text. Pure: integers of nano-dollars in, dollars out."""

from __future__ import annotations


def usd(nanousd: int) -> str:
    """Write an amount in dollars, exactly and without trailing zeros: `0.0123`."""
    whole, rest = divmod(abs(nanousd), 10**9)
    sign = "-" if nanousd < 0 else ""
    return f"{sign}{whole}.{rest:09d}".rstrip("0") if rest else f"{sign}{whole}"


def dollars(nanousd: int) -> str:
    """Write an amount for a person, exactly: `$0.0123`."""
    return f"${usd(nanousd)}"


def rounded(nanousd: int) -> str:
    """Write an amount for a column of a table: six decimals, all nine where six would leave nothing worth reading.

    `$12.500000`, `$0.004125`, `$0.000000375`: what is not nothing never reads as nothing.
    """
    size, sign = abs(nanousd), "-" if nanousd < 0 else ""
    if size < 100_000:
        return f"{sign}$0.{size:09d}" if size else "$0.000000"
    millionths, rest = divmod(size, 1_000)
    millionths += rest > 500 or (rest == 500 and millionths % 2 == 1)
    return f"{sign}${millionths // 10**6:,}.{millionths % 10**6:06d}"

"""Rates of a deployment: as many requests and tokens a minute as its provider takes, and as many at the same time.

Values alone; they are counted in `serving/rated_calls.py`, with those of all workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gateway.config.litellm_keys import RATES


class DeploymentRates(NamedTuple):
    """The rates of one entry of `model_list`; None where there is no such limit."""

    account: str
    """The name under which they are counted: one for all names and operations that the entry serves."""
    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None


class RateError(ValueError):
    """A rate that is no number of requests or tokens."""

    def __init__(self, key: str, value: object) -> None:
        super().__init__(f"{value!r} is not a whole number from 1")
        self.key: Final = key


def rates_of(account: str, params: Mapping[str, Any]) -> DeploymentRates | None:
    """Read the rates of an entry; None where it has none. Raises `RateError`."""
    found = [_rate(key, params.get(key)) for key in RATES]
    return None if not any(found) else DeploymentRates(account, *found)


def _rate(key: str, value: object) -> int | None:
    """Read a rate; a quoted one is taken too, as it comes out of environments."""
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        raise RateError(key, value) from None
    if isinstance(value, bool) or not 1 <= number < 2**53 or number != int(number):
        raise RateError(key, value)
    return int(number)

"""Strangers and one hostile key, in seconds: the code of tests/load with small numbers. Its full runs take minutes."""

import sys
from pathlib import Path

import pytest

from tests.load import faults, strangers, two_keys
from tests.load.upstream_faults import MOST_TELLING

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]


def test_strangers_are_bounded_and_keep_nobody_from_being_served(tmp_path: Path) -> None:
    outcome = strangers.measure(tmp_path, seconds=0.5, counts=[10], silent=60, readers=8, short=True)
    assert not outcome.problems, str(outcome)


def test_bodies_of_many_megabytes_hold_up_nobody_elses(tmp_path: Path) -> None:
    outcome = two_keys.measure(tmp_path, seconds=0.8, kinds=["one letter"], size=4_000_000, slack=20)
    assert not outcome.problems, str(outcome)


def test_whatever_an_upstream_does_every_request_ends_and_is_entered_once(tmp_path: Path) -> None:
    outcome = faults.measure(tmp_path, 1, MOST_TELLING[::2], idle_seconds=0)
    assert not outcome.problems, str(outcome)

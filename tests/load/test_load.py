"""Small versions of the load runs; each module's docstring tells how to run the full one."""

import sys
from pathlib import Path

import pytest

from tests.load import kill_nine, mixed_load, mutated_bodies, tokenising

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_after_mixed_load_ledger_report_and_upstream_are_one_number(tmp_path: Path) -> None:
    outcome = mixed_load.measure(tmp_path, 600)
    assert not outcome.problems, str(outcome)
    assert outcome.ledger_nanousd > 0


def test_kill_nine_loses_no_accepted_request(tmp_path: Path) -> None:
    outcome = kill_nine.measure(tmp_path, kills=2)
    assert not outcome.problems, str(outcome)
    assert outcome.accepted > 0


def test_mutated_bodies_break_nothing(tmp_path: Path) -> None:
    outcome = mutated_bodies.measure(tmp_path, bodies=1000, first=400)
    assert not outcome.problems, str(outcome)


def test_long_texts_do_not_hold_up_the_small_ones(tmp_path: Path) -> None:
    outcome = tokenising.measure(tmp_path, seconds=3)
    assert (outcome.failures, outcome.uncounted) == (0, 0)
    assert outcome.long_requests >= 2
    assert outcome.added_p99 < 150, str(outcome)  # 20 ms in the full run, on a machine that does nothing else


def test_mutation_is_reproducible_and_varied() -> None:
    legal = mutated_bodies.seeds()
    bodies = [mutated_bodies.mutated(number, 1, legal) for number in range(300)]
    assert bodies == [mutated_bodies.mutated(number, 1, legal) for number in range(300)]
    assert len(set(bodies)) > 280

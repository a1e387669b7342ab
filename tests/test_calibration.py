"""Learning how far a provider's count is from ours, slowly and with a version."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.calibration import DEFAULT_MARGIN, EXACT, UNKNOWN, Calibration, Stats, observe, start


def after(ratios: list[float], stats: Stats | None = None) -> Stats:
    stats = stats or start(exact=False)
    for ratio in ratios:
        stats = observe(stats, 10_000, round(10_000 * ratio))
    return stats


def test_a_public_tokenizer_needs_no_correction_whatever_is_reported() -> None:
    stats = after([1.3] * 200, start(exact=True))
    assert stats.calibration == EXACT == Calibration(version=0, factor=1.0, margin=0.0)
    assert stats.calibration.room(8000) == 8000


def test_before_enough_answers_the_margin_is_the_default() -> None:
    assert start(exact=False).calibration == UNKNOWN
    assert UNKNOWN.factor == 1.0
    assert UNKNOWN.margin == DEFAULT_MARGIN == 0.10
    assert after([1.2] * 19).calibration == UNKNOWN


def test_a_provider_that_counts_a_fifth_more_is_learned_after_twenty_answers() -> None:
    learned = after([1.2] * 20).calibration
    assert learned.version == 1
    assert learned.factor == pytest.approx(1.2, rel=0.015)
    assert learned.margin <= 0.02


def test_the_margin_is_the_upper_end_of_the_error() -> None:
    spread = [1.0, 1.02, 1.04, 1.06, 1.08, 1.1, 1.12, 1.14, 1.16, 1.18] * 3
    learned = after(spread).calibration
    assert learned.factor * (1 + learned.margin) >= 1.16
    assert learned.factor == pytest.approx(1.08, rel=0.03)


def test_noise_within_a_step_publishes_nothing_new() -> None:
    settled = after([1.2] * 100)
    moved = after([1.21, 1.19] * 400, settled)
    assert moved.calibration == settled.calibration


def test_a_lasting_change_is_followed_in_a_few_versions() -> None:
    changed = after([1.35] * 1000, after([1.0] * 400))
    assert changed.calibration.factor == pytest.approx(1.35, rel=0.02)
    assert changed.calibration.version <= 6


def test_small_requests_and_nonsense_teach_nothing() -> None:
    stats = start(exact=False)
    assert observe(stats, 20, 40) == stats
    assert observe(stats, 5000, 0) == stats
    assert observe(stats, 5000, -1) == stats
    assert observe(stats, 0, 5000) == stats


def test_what_is_far_off_is_held_at_a_factor_of_four() -> None:
    assert after([900.0] * 20).calibration.factor == pytest.approx(4, rel=0.01)


def test_room_is_what_our_count_may_be() -> None:
    at = Calibration(version=3, factor=1.25, margin=0.1)
    assert at.room(11_000) == 8000
    assert at.corrected(8000) == 10_000


def test_the_state_is_plain_json() -> None:
    stats = after([1.1, 1.2, 1.3] * 30)
    assert Stats.from_json(json.loads(json.dumps(stats.to_json()))) == stats
    with pytest.raises(KeyError):
        Stats.from_json({})


@pytest.mark.parametrize(
    "change",
    [
        {"calibration": {"version": 1, "factor": 0.0, "margin": 0.0}},
        {"calibration": {"version": 1, "factor": math.nan, "margin": 0.0}},
        {"calibration": {"version": 1, "factor": math.inf, "margin": 0.0}},
        {"calibration": {"version": 1, "factor": 1.0, "margin": -1.0}},
        {"calibration": {"version": 0, "factor": 2.0, "margin": 0.0}},
        {"calibration": {"version": -1, "factor": 1.0, "margin": 0.0}},
        {"histogram": [[1, 0]]},
        {"histogram": [[1, -5]]},
        {"histogram": [[71, 5]]},
        {"histogram": [[2, 5], [1, 5]]},
        {"since": -1},
    ],
)
def test_what_no_answers_can_lead_to_is_not_read(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="never learned"):
        Stats.from_json({**after([1.2] * 30).to_json(), **change})


@given(ratios=st.lists(st.floats(min_value=0.01, max_value=100), max_size=300))
def test_what_answers_lead_to_can_always_be_read_back(ratios: list[float]) -> None:
    stats = after(ratios)
    assert Stats.from_json(stats.to_json()) == stats


RATIOS = st.lists(st.floats(min_value=0.3, max_value=3.5), max_size=300)


@given(ratios=RATIOS)
def test_the_same_answers_always_teach_the_same(ratios: list[float]) -> None:
    assert after(ratios) == after(ratios)


@given(ratios=RATIOS)
def test_the_version_never_falls_and_counts_every_change(ratios: list[float]) -> None:
    stats = start(exact=False)
    for ratio in ratios:
        following = observe(stats, 1000, math.ceil(1000 * ratio))
        changed = following.calibration != stats.calibration
        assert following.calibration.version == stats.calibration.version + changed
        stats = following


@given(ratio=st.floats(min_value=0.3, max_value=3.5), budget=st.integers(0, 10**7))
def test_a_steady_provider_never_counts_more_than_the_budget(ratio: float, budget: int) -> None:
    calibration = after([ratio] * 20).calibration
    assert calibration.room(budget) * round(10_000 * ratio) / 10_000 <= budget + 1e-6


@given(ratios=RATIOS)
def test_the_memory_is_always_bounded(ratios: list[float]) -> None:
    stats = after(ratios * 3)
    assert stats.samples < 500
    assert len(stats.histogram) <= 141
    assert stats.calibration.margin >= 0

"""Learning how far a provider's count is from ours, slowly and with a version."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.calibration import DEFAULT_MARGIN, EXACT, UNKNOWN, Calibration, Stats, observe, start, strictest
from gateway.budget.kinds import Kinds, weighed

PROSE = Kinds(10_000)
IDS = Kinds(200, 9_800)
RECORDS = Kinds(4_000, 6_000)


def after(ratios: list[float], stats: Stats | None = None, ours: Kinds = PROSE) -> Stats:
    stats = stats or start(exact=False)
    for ratio in ratios:
        stats = observe(stats, ours, round(ours.total * ratio))
    return stats


def counted(kinds: Kinds, factors: tuple[float, float, float]) -> float:
    """The ratio that a provider with these factors reports."""
    return sum(tokens * factor for tokens, factor in zip(kinds, factors, strict=True)) / kinds.total


def room(calibration: Calibration, budget: int, kinds: Kinds) -> float:
    """How many of our own tokens of these kinds are within the budget."""
    return calibration.room(budget) * kinds.total / weighed(kinds, calibration.weights)


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
    assert observe(stats, Kinds(20), 40) == stats
    assert observe(stats, Kinds(5000), 0) == stats
    assert observe(stats, Kinds(5000), -1) == stats
    assert observe(stats, Kinds(), 5000) == stats


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
        {"calibration": {"version": 1, "factor": 0.0, "margin": 0.0, "weights": [100, 100]}},
        {"calibration": {"version": 1, "factor": math.nan, "margin": 0.0, "weights": [100, 100]}},
        {"calibration": {"version": 1, "factor": math.inf, "margin": 0.0, "weights": [100, 100]}},
        {"calibration": {"version": 1, "factor": 1.0, "margin": -1.0, "weights": [100, 100]}},
        {"calibration": {"version": 1, "factor": 1.0, "margin": 0.0, "weights": [0, 100]}},
        {"calibration": {"version": 1, "factor": 1.0, "margin": 0.0, "weights": [100, 10_001]}},
        {"calibration": {"version": 0, "factor": 2.0, "margin": 0.0, "weights": [100, 100]}},
        {"calibration": {"version": -1, "factor": 1.0, "margin": 0.0, "weights": [100, 100]}},
        {"samples": {"words": [[60, 0, 1]], "ids": [], "others": []}},
        {"samples": {"words": [[0, -1, 1]], "ids": [], "others": []}},
        {"samples": {"words": [[0, 0, 141]], "ids": [], "others": []}},
        {"samples": {"words": [[0, 0, 1]] * 101, "ids": [], "others": []}},
        {"since": -1},
    ],
)
def test_what_no_answers_can_lead_to_is_not_read(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="never learned"):
        Stats.from_json({**after([1.2] * 30).to_json(), **change})


def test_another_format_is_not_read() -> None:
    with pytest.raises(ValueError, match="format"):
        Stats.from_json({**after([1.2] * 30).to_json(), "format": 1})


# ---------------------------------------------------------------- by kind of text


def test_twenty_requests_of_ids_do_not_shrink_what_is_said_in_words() -> None:
    learned = after([counted(IDS, (1.0, 1.5, 1.0))] * 20, ours=IDS).calibration
    assert learned.version == 1
    assert learned.room(845) == UNKNOWN.room(845) == 768
    assert room(learned, 15_000, IDS) == pytest.approx(10_000, rel=0.03)


def test_records_of_ids_and_words_do_not_either() -> None:
    learned = after([counted(RECORDS, (1.0, 1.5, 1.0))] * 20, ours=RECORDS).calibration
    assert learned.room(845) == 768
    assert room(learned, 13_000, RECORDS) <= 10_000


def test_words_are_learned_after_twenty_requests_of_their_own() -> None:
    learned = after([1.02] * 20, after([1.5] * 200, ours=IDS)).calibration
    assert learned.version == 2
    assert learned.most == pytest.approx(1.03, abs=0.02)
    assert room(learned, 15_000, IDS) == pytest.approx(10_000, rel=0.03)


def test_what_was_learned_of_ids_is_not_forgotten_over_words() -> None:
    learned = after([1.0] * 2000, after([1.5] * 40, ours=IDS)).calibration
    assert room(learned, 15_000, IDS) == pytest.approx(10_000, rel=0.03)


def test_what_was_not_seen_yet_is_taken_to_be_as_words_with_the_default_margin() -> None:
    learned = after([1.2] * 20).calibration
    assert room(learned, 13_200, IDS) == pytest.approx(10_000, rel=0.03)


def test_a_few_odd_answers_move_nothing() -> None:
    plain, odd = after([1.2] * 40).calibration, after([1.2] * 39 + [40.0]).calibration
    assert odd.factor == pytest.approx(plain.factor, rel=0.021)
    assert odd.margin <= plain.margin + 0.02


def test_of_several_providers_the_strictest_of_each_kind_counts() -> None:
    one, other = Calibration(3, 1.2, 0.0, (100, 150)), Calibration(7, 1.0, 0.1, (160, 100))
    assert strictest([one, other]) == Calibration(3, 1.2, 0.0, (147, 150))
    assert strictest([]) == UNKNOWN


KINDS = st.sampled_from([PROSE, IDS, RECORDS, Kinds(500, 0, 9_500), Kinds(3_000, 3_000, 4_000)])
FACTORS = st.tuples(*[st.floats(0.7, 2.0)] * 3)


@given(st.lists(KINDS, min_size=20, max_size=60), FACTORS)
def test_a_kind_that_was_seen_enough_never_counts_more_than_its_room(seen: list[Kinds], factors: Any) -> None:
    stats = start(exact=False)
    for ours in seen * 4:
        stats = observe(stats, ours, round(ours.total * counted(ours, factors)))
    for ours in (PROSE, IDS, Kinds(500, 0, 9_500)):
        if seen.count(ours) * 4 >= 80:
            assert room(stats.calibration, 100_000, ours) * counted(ours, factors) <= 100_000 * 1.05


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
        following = observe(stats, Kinds(1000), math.ceil(1000 * ratio))
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
    assert len(json.dumps(stats.to_json())) < 6_000
    assert stats.calibration.margin >= 0

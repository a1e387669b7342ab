"""Learning each provider's count from its answers, together with who shares the state; never at a request's cost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
import pytest
from structlog.testing import capture_logs

from gateway.budget.calibration import EXACT, UNKNOWN, Calibration
from gateway.budget.kinds import Kinds
from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.routing.calibrations import MOST_WAITING, Calibrations
from gateway.routing.deployment import Deployment, ModelFacts
from gateway.routing.models import Model, models_of
from gateway.serving.fit import fit, kinds_sent
from gateway.state import State
from tests.contract.running import eventually
from tests.providers.deployments import deployment
from tests.sharing import at, sharing
from tests.talk import assistant, request, user

CLAUDE = deployment("anthropic/claude-sonnet-5", window=10_000)
GEMINI = deployment("gemini/gemini-3-pro", window=10_000)
EXACTLY = ModelFacts("openai", "gpt-5", 10_000, None, shared=True, encoding="o200k_base", exact=True)
PROSE = "The customer asked whether the order could still be changed before it ships. " * 20
COUNTER = Counter()
KEY = "calibration/2/anthropic/claude-sonnet-5"


def model(*deployments: Deployment) -> Model:
    return models_of({"asked": deployments}, unpriced=True)["asked"]


def exact_model() -> Model:
    return model(replace(CLAUDE, facts=EXACTLY))


def nowhere() -> State:
    raise AssertionError("the state was opened")


@asynccontextmanager
async def learning(folder: Path, *models: Model) -> AsyncIterator[Calibrations]:
    """What one worker has: loaded at its start, closed at its end."""
    shares = sharing(at(folder), rest_seconds=0.1)
    calibrations = Calibrations(models or [model(CLAUDE)], shares)
    await shares.exchange()
    try:
        yield calibrations
    finally:
        await shares.close()


async def merged(calibrations: Calibrations) -> None:
    """Have all answers merged, as happens once a second."""
    await calibrations._sharing.exchange()


async def answers(calibrations: Calibrations, number: int, ratio: float = 1.2, one: Deployment = CLAUDE) -> None:
    for _ in range(number):
        calibrations.observe(one.facts, Kinds(10_000), round(10_000 * ratio))
    await merged(calibrations)


async def test_before_anything_was_seen_the_default_holds(tmp_path):
    async with learning(tmp_path) as calibrations:
        assert calibrations.of(model(CLAUDE)) == UNKNOWN


async def test_a_model_with_a_public_tokenizer_never_touches_the_state():
    shares = sharing(nowhere)
    calibrations = Calibrations([exact_model()], shares)
    await shares.open()
    assert calibrations.of(exact_model()) == EXACT
    await shares.close()


async def test_a_provider_that_counts_a_fifth_more_is_learned_after_twenty_answers(tmp_path):
    async with learning(tmp_path) as calibrations:
        await answers(calibrations, 19)
        assert calibrations.of(model(CLAUDE)) == UNKNOWN
        await answers(calibrations, 1)
        learned = calibrations.of(model(CLAUDE))
    assert learned.version == 1
    assert learned.factor == pytest.approx(1.2, rel=0.015)


async def test_what_was_learned_is_known_at_the_next_start(tmp_path):
    async with learning(tmp_path) as calibrations:
        await answers(calibrations, 20)
        learned = calibrations.of(model(CLAUDE))
    async with learning(tmp_path) as calibrations:
        assert calibrations.of(model(CLAUDE)) == learned != UNKNOWN


async def test_answers_that_were_on_their_way_at_the_end_are_merged(tmp_path):
    async with learning(tmp_path) as calibrations:
        for _ in range(20):
            calibrations.observe(CLAUDE.facts, Kinds(10_000), 12_000)
    async with learning(tmp_path) as calibrations:
        assert calibrations.of(model(CLAUDE)).version == 1


async def test_workers_learn_together_and_hold_the_same(tmp_path):
    async with learning(tmp_path) as one, learning(tmp_path) as other:
        for _ in range(10):
            await answers(one, 1)
            await answers(other, 1)
        assert other.of(model(CLAUDE)).version == 1
        await answers(one, 1)
        assert one.of(model(CLAUDE)) == other.of(model(CLAUDE))


async def test_each_model_has_a_calibration_of_its_own(tmp_path):
    async with learning(tmp_path, model(CLAUDE, GEMINI)) as calibrations:
        await answers(calibrations, 20)
        assert calibrations.of(model(CLAUDE)).version == 1
        assert calibrations.of(model(GEMINI)) == UNKNOWN


async def test_of_several_deployments_the_one_that_leaves_the_least_room_counts(tmp_path):
    both = model(CLAUDE, GEMINI)
    async with learning(tmp_path, both) as calibrations:
        await answers(calibrations, 20, 1.3)
        await answers(calibrations, 20, 0.9, GEMINI)
        assert calibrations.of(both) == calibrations.of(model(CLAUDE))
        assert calibrations.of(model(GEMINI)).most < 1
        mixed = model(GEMINI, replace(CLAUDE, facts=EXACTLY))
        assert calibrations.of(mixed) == EXACT, "a deployment that counts as we do must not get more than its window"


async def test_of_several_deployments_each_kind_of_text_counts_as_where_it_takes_most(tmp_path):
    both = model(CLAUDE, GEMINI)
    async with learning(tmp_path, both) as calibrations:
        await answers(calibrations, 20, 1.2)
        for _ in range(20):
            calibrations.observe(GEMINI.facts, Kinds(0, 10_000), 20_000)
        await merged(calibrations)
        found, gemini = calibrations.of(both), calibrations.of(model(GEMINI))
    assert found.most == pytest.approx(1.2, rel=0.03)
    assert found.most * found.weights[0] >= gemini.most * gemini.weights[0] >= 2.0


async def test_answers_too_short_to_teach_anything_are_not_written(tmp_path):
    async with learning(tmp_path) as calibrations:
        calibrations.observe(CLAUDE.facts, Kinds(20), 40)
        calibrations.observe(CLAUDE.facts, Kinds(5000), 0)
        assert not any(calibrations._waiting.values())


async def test_a_state_that_is_down_keeps_what_is_known_and_is_told_once(tmp_path):
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where the folder should be")
    with capture_logs() as logs:
        async with learning(in_the_way) as calibrations:
            await answers(calibrations, 15)
            await answers(calibrations, 15)
            assert calibrations.of(model(CLAUDE)) == UNKNOWN
            in_the_way.unlink()
            await eventually(lambda: not calibrations._sharing.store.is_down, 5)
            await answers(calibrations, 1)
            assert calibrations.of(model(CLAUDE)).version == 1, "answers that waited are merged when it is back"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("state unavailable, requests go on without", "warning"),
        ("state available again", "info"),
    ]


async def test_what_waits_for_a_state_is_bounded(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    async with learning(tmp_path / "state") as calibrations:
        await answers(calibrations, 3 * MOST_WAITING)
        assert sum(map(len, calibrations._waiting.values())) == MOST_WAITING


LEARNED: dict[str, Any] = {
    "format": 2,
    "calibration": {"version": 1, "factor": 1.2, "margin": 0.01, "weights": [100, 100]},
    "samples": {"words": [[0, 0, 18]], "ids": [], "others": []},
    "since": 0,
}
NONSENSE = [
    b"",
    b"\x80\x04 a pickle",
    b"[]",
    b"7",
    b"null",
    b"{}",
    b'{"calibration": {"version": 1, "factor": 1, "margin": 0}, "histogram": [[5, 2]], "since": 0}',
    *[
        orjson.dumps({**LEARNED, "calibration": {**LEARNED["calibration"], **wrong}})
        for wrong in (
            {"factor": 0},
            {"factor": -1},
            {"factor": 1e300},
            {"margin": -2},
            {"version": 0},
            {"version": "x"},
            {"weights": [100]},
            {"weights": [0, 100]},
            {"weights": [100, 10**9]},
        )
    ],
    *[
        orjson.dumps({**LEARNED, "samples": {"words": samples, "ids": [], "others": []}})
        for samples in ([[1, 2]], [[90, 0, 1]], [[0, 0, 9999]], [[-1, 0, 0]], [[0, 0, 0]] * 101, 7)
    ],
    orjson.dumps({**LEARNED, "format": 1}),
    orjson.dumps(LEARNED).replace(b"1.2", b"1e999"),
]


@pytest.mark.parametrize("raw", NONSENSE)
async def test_nonsense_in_the_state_is_begun_anew_and_told_at_most_once(tmp_path, raw):
    state = at(tmp_path)()
    state.put(KEY, raw)
    with capture_logs() as logs:
        async with learning(tmp_path) as calibrations:
            assert calibrations.of(model(CLAUDE)) == UNKNOWN
            state.put(KEY, raw)
            await answers(calibrations, 20)
            assert calibrations.of(model(CLAUDE)).version == 1
    assert len(logs) <= 1
    state.close()


async def test_a_state_that_was_emptied_gets_back_what_a_worker_still_knows(tmp_path):
    state = at(tmp_path)()
    async with learning(tmp_path) as calibrations:
        await answers(calibrations, 20)
        learned = calibrations.of(model(CLAUDE))
        state.update(KEY, lambda before: None)
        await answers(calibrations, 1)
        assert calibrations.of(model(CLAUDE)) == learned
        assert state.get(KEY) is not None
    state.close()


# ---------------------------------------------------------------- what it does to a budget


async def test_what_was_learned_moves_the_budget_and_a_declared_margin_does_not(tmp_path):
    asked = model(CLAUDE)
    automatic, declared = Policy("p", reserve=Reserve(0)), Policy("p", reserve=Reserve(0, margin=500))
    async with learning(tmp_path) as calibrations:
        before = asked.bounds(automatic, calibrations.of(asked))
        await answers(calibrations, 20)
        after = asked.bounds(automatic, calibrations.of(asked))
        fixed = asked.bounds(declared, calibrations.of(asked))
    assert before.budget() == 9090
    assert 8100 <= (after.budget() or 0) <= 8333
    assert (fixed.budget(), fixed.calibration) == (9500, EXACT)
    assert exact_model().bounds(automatic).budget() == 10_000


async def test_what_is_sent_fits_by_the_provider_s_count_whatever_kind_of_text_is_left():
    ids = "\n".join(str(uuid5(NAMESPACE_URL, str(number))) for number in range(60))
    turn = [user("Look at this batch."), assistant(ids), user("And then?"), assistant(PROSE)]
    asked, came = model(CLAUDE), request([*turn * 9, user("So?")])
    factors = Kinds(100, 160, 100)
    calibration = Calibration(4, 1.0, 0.02, (160, 100))
    window = asked.bounds(Policy("p", reserve=Reserve(0), context_window=9_000), calibration)
    fitted = await fit(came, Policy("p", reserve=Reserve(0), context_window=9_000), asked, COUNTER, window)
    assert fitted.changes is not None
    sent = kinds_sent(came, fitted.changes, COUNTER)
    assert sum(tokens * factor for tokens, factor in zip(sent, factors, strict=True)) <= 9_000 * 100
    assert sent.ids > 1_000
    plain = await fit(request([user(PROSE)]), Policy("p"), asked, COUNTER, window)
    assert plain.changes is None


async def test_twenty_answers_about_ids_leave_the_room_of_words_as_it_was(tmp_path):
    asked, policy = model(CLAUDE), Policy("p", reserve=Reserve(0), context_window=845)
    async with learning(tmp_path) as calibrations:
        before = asked.bounds(policy, calibrations.of(asked)).budget()
        for _ in range(20):
            calibrations.observe(CLAUDE.facts, Kinds(100, 3_900), 6_000)
        await merged(calibrations)
        learned = calibrations.of(asked)
        assert learned.version == 1
        assert asked.bounds(policy, learned).budget() == before == 768

"""Early folds: decided once where they are cheap, recorded before anything is sent, and the same for every process."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from gateway import config
from gateway.config.policy import Fold, Policy, Reserve
from gateway.conversation import Changes
from gateway.prompt_cache.economics import Outlook
from gateway.rewriting.plan import Plan
from gateway.serving.early_folds import LINKS, Beginnings, ByCost, EarlyFolds, Judge, Never
from gateway.serving.fit import Fitted, fit
from gateway.state import Change, State, StateUnavailable, open_state
from gateway.state.disk import DiskState
from gateway.state.store import Store
from tests.passage import COUNTERS, deployment
from tests.sharing import at, store
from tests.talk import Wire, assistant, request, user
from tests.test_fitting import model

COUNTER = COUNTERS.for_encoding("o200k_base")
OVER = Policy("p", context_window=6000, reserve=Reserve(0, 0))
CHEAPER = replace(OVER, fold=Fold(when="cheaper"))
WINDOW = model(deployment(window=100_000))


def talk(turns: int) -> list[Wire]:
    """A chat of about 200 tokens a turn; a longer one extends a shorter one."""
    out: list[Wire] = []
    for turn in range(turns + 1):
        said = " ".join(f"item-{turn}-{number}" for number in range(20))
        out += [user(f"Question {turn}: {said}"), assistant(f"Well: {said}")]
    return out[:-1]


@dataclass(slots=True)
class Says:
    """A judge who says the same of everything, and remembers what was asked."""

    yes: bool
    asked: list[tuple[int, int]] = field(default_factory=list)

    def may_fold(self, plan: Plan) -> bool:
        return self.yes

    def pays(self, plan: Plan, folded: Plan) -> bool:
        self.asked.append((plan.tokens_after, folded.tokens_after))
        return self.yes


def links(listed: Sequence[Wire]) -> list[int]:
    """Number the beginnings of a talk, as a chain does."""
    return [hash(str(listed[:upto])) for upto in range(len(listed) + 1)]


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[EarlyFolds]:
    way = store(at(folder))
    try:
        yield EarlyFolds(way)
    finally:
        await way.close()


async def left(folds: EarlyFolds, listed: list[Wire], judge: Judge, policy: Policy) -> Fitted:
    beginnings = Beginnings("group", links(listed), judge)
    window = WINDOW.bounds(policy)
    return await fit(request(listed), policy, WINDOW, COUNTER, window, early_folds=(folds, lambda: beginnings))


def changes(fitted: Fitted) -> Changes | None:
    assert isinstance(fitted.plan, Plan)
    return fitted.plan.changes


async def test_what_one_process_decides_holds_in_every_other_and_for_every_later_request(tmp_path: Path):
    async with process(tmp_path) as one, process(tmp_path) as other:
        decided = changes(await left(one, talk(12), Says(yes=True), CHEAPER))
        assert decided is not None
        assert changes(await left(other, talk(12), Says(yes=False), CHEAPER)) == decided
        later = changes(await left(other, talk(14), Says(yes=False), CHEAPER))
        assert later is not None
        assert (later.dropped, later.inserted) == (decided.dropped, decided.inserted)


async def test_what_fits_is_not_folded_and_nothing_is_read_unless_the_policy_says_cheaper():
    def opens() -> State:
        raise AssertionError("the state was opened")

    judge = Says(yes=True)
    folds = EarlyFolds(store(opens))
    assert changes(await left(folds, talk(22), judge, OVER)) is None
    assert (await left(folds, [user("hello")], judge, CHEAPER)).plan is None
    assert judge.asked == []


async def test_a_conversation_that_was_over_may_fold_again_before_it_must(tmp_path: Path):
    async with process(tmp_path) as one, process(tmp_path) as other:
        usual = changes(await left(one, talk(34), Says(yes=False), OVER))
        folded = changes(await left(one, talk(34), Says(yes=True), OVER))
        assert usual is not None
        assert folded is not None
        assert usual.dropped < folded.dropped
        assert changes(await left(other, talk(34), Says(yes=False), OVER)) == folded


async def test_a_decision_is_made_once(tmp_path: Path):
    judge = Says(yes=True)
    async with process(tmp_path) as one:
        first = changes(await left(one, talk(12), judge, CHEAPER))
        assert changes(await left(one, talk(12), judge, CHEAPER)) == first
    assert len(judge.asked) == 1


async def test_two_processes_that_decide_at_once_agree_on_all_of_it(tmp_path: Path):
    async with process(tmp_path) as one, process(tmp_path) as other:
        judge = Says(yes=True)
        pair = [left(folds, talk(turns), judge, CHEAPER) for folds in (one, other) for turns in (12, 16)]
        await asyncio.gather(*pair)
        later = [await left(folds, talk(18), Says(yes=False), CHEAPER) for folds in (one, other)]
        assert changes(later[0]) == changes(later[1]) is not None


async def test_without_a_state_the_plan_is_that_of_the_request_alone():
    opened = 0

    def opens() -> Any:
        nonlocal opened
        opened += 1
        raise StateUnavailable("scripted")

    way = store(opens)
    folds = EarlyFolds(way)
    with capture_logs() as logs:
        for _ in range(3):
            fitted = await left(folds, talk(40), Says(yes=True), OVER)
            assert fitted.decision_lost
    alone = await fit(request(talk(40)), OVER, WINDOW, COUNTER, WINDOW.bounds(OVER))
    assert changes(fitted) == changes(alone) is not None
    assert opened == 1
    assert [one["event"] for one in logs] == ["state unavailable, requests go on without"]
    await way.close()


class Slow:
    """A state in which another process decides as well, right before each step of this one."""

    def __init__(self, state: State) -> None:
        self.state, self.get, self.get_many = state, state.get, state.get_many
        self.put_first, self.close = state.put_first, state.close

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        self._other(key)
        self.state.put(key, value, expires_seconds)

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        self._other(key)
        return self.state.update(key, change, expires_seconds)

    def _other(self, key: str) -> None:
        held = LINKS.read(self.state.get(key) or b"[]")
        self.state.put(key, LINKS.write(held | {len(held)}))


async def test_no_decision_of_another_process_is_lost_whenever_it_comes(tmp_path: Path):
    state = open_state(config.StateSettings(dir=tmp_path))
    way = store(lambda: Slow(state))
    folds = EarlyFolds(way)
    assert changes(await left(folds, talk(12), Says(yes=True), CHEAPER)) is not None
    stand = LINKS.read(state.get("fold/group") or b"")
    assert stand == {*range(len(stand) - 1), links(talk(12))[-1]}
    await way.close()


async def test_while_the_state_is_down_what_this_process_remembers_still_holds(tmp_path: Path):
    is_up = True

    class GoesDown(DiskState):
        def get(self, key: str) -> bytes | None:
            if not is_up:
                raise StateUnavailable("scripted")
            return super().get(key)

    way = store(lambda: GoesDown(tmp_path))
    folds = EarlyFolds(way)
    decided = changes(await left(folds, talk(12), Says(yes=True), CHEAPER))
    is_up = False
    later = await left(folds, talk(13), Says(yes=True), CHEAPER)
    held = changes(later)
    assert decided is not None
    assert held is not None
    assert held.dropped == decided.dropped
    assert later.decision_lost, "others may have decided more"
    await way.close()


async def test_a_slow_state_costs_a_request_no_more_than_its_patience(tmp_path: Path):
    class Slowly(DiskState):
        def get(self, key: str) -> bytes | None:
            time.sleep(0.4)
            return super().get(key)

    way = Store(lambda: Slowly(tmp_path), structlog.get_logger(), 0.1)
    began = time.monotonic()
    folds = EarlyFolds(way)
    fitted = await asyncio.gather(*(left(folds, talk(34 + n), Says(yes=True), OVER) for n in range(6)))
    assert all(one.decision_lost for one in fitted)
    for n in range(6):
        assert (await left(folds, talk(40 + n), Says(yes=True), OVER)).decision_lost
    assert time.monotonic() - began < 3
    await way.close()


@pytest.mark.parametrize("raw", [b"", b"nonsense", b'{"a": 1}', b'["x", null]'])
async def test_what_nobody_can_read_decides_nothing(tmp_path: Path, raw: bytes):
    state = open_state(config.StateSettings(dir=tmp_path))
    state.put("fold/group", raw)
    with capture_logs() as log:
        await _decides_anew(tmp_path)
    assert [(one["event"], one["kind"]) for one in log] == [("state not understood, begun anew", "early folds")]
    state.close()


async def test_what_releases_before_this_one_decided_still_holds(tmp_path: Path):
    state = open_state(config.StateSettings(dir=tmp_path))
    state.put("fold/group", orjson.dumps([links(talk(12))[-1]]))
    state.close()
    async with process(tmp_path) as one:
        assert changes(await left(one, talk(12), Says(yes=False), CHEAPER)) is not None


async def _decides_anew(folder: Path) -> None:
    async with process(folder) as one:
        assert changes(await left(one, talk(12), Says(yes=False), CHEAPER)) is None
        assert changes(await left(one, talk(12), Says(yes=True), CHEAPER)) is not None


# ---------------------------------------------------------------- by cost


def by_cost(when: Any, turns: float, warm: float) -> ByCost:
    """Judge a conversation that is expected to last so many requests; this part of what was sent before is warm."""
    look = Outlook(0.1, 1.25, 0.1, turns, 200.0)
    return ByCost(when, look, 6000, lambda changed: 0 if changed is not None else int(warm * 2000))


async def test_in_a_warm_cache_a_fold_pays_only_where_the_conversation_lasts(tmp_path: Path):
    async with process(tmp_path) as one:
        assert changes(await left(one, talk(12), by_cost("cheaper", turns=1, warm=1.0), CHEAPER)) is None
        assert changes(await left(one, talk(12), by_cost("cheaper", turns=80, warm=1.0), CHEAPER)) is not None


async def test_in_a_cold_cache_a_fold_pays_at_once(tmp_path: Path):
    async with process(tmp_path) as one:
        assert changes(await left(one, talk(12), by_cost("cheaper", turns=0, warm=0.0), CHEAPER)) is not None


async def test_a_fold_that_is_pending_waits_for_a_cold_cache(tmp_path: Path):
    def judge(warm: int) -> ByCost:
        return ByCost("over", Outlook(0.1, 1.25, 0.1, 5, 200.0), 6000, lambda changed: warm)

    async with process(tmp_path) as one:
        waiting = changes(await left(one, talk(34), judge(4000), OVER))
        assert changes(await left(one, talk(34), Never(), OVER)) == waiting
        folded = changes(await left(one, talk(34), judge(0), OVER))
        assert waiting is not None
        assert folded is not None
        assert waiting.dropped < folded.dropped

"""Early folds: decided once where they are cheap, recorded before anything is sent, and the same for every process."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from gateway import config
from gateway.caching.economics import Outlook
from gateway.conversation import Changes
from gateway.early_folds import Beginnings, ByCost, EarlyFolds, Judge, Never
from gateway.fitting import Fitted, fit
from gateway.policy import Fold, Policy, Reserve
from gateway.rewriting.plan import Plan
from gateway.state import Change, State, StateUnavailable, open_state
from tests.passage import COUNTERS, deployment
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
    one = EarlyFolds(partial(open_state, config.State(dir=folder)), structlog.get_logger(), lambda: 0.0)
    try:
        yield one
    finally:
        await one.close()


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
    folds = EarlyFolds(opens, structlog.get_logger(), lambda: 0.0)
    assert changes(await left(folds, talk(22), judge, OVER)) is None
    assert (await left(folds, [user("hello")], judge, CHEAPER)).plan is None
    assert judge.asked == []
    await folds.close()


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

    folds = EarlyFolds(opens, structlog.get_logger(), lambda: 0.0)
    with capture_logs() as logs:
        for _ in range(3):
            fitted = await left(folds, talk(40), Says(yes=True), OVER)
            assert fitted.decision_lost
    alone = await fit(request(talk(40)), OVER, WINDOW, COUNTER, WINDOW.bounds(OVER))
    assert changes(fitted) == changes(alone) is not None
    assert opened == 1
    assert [one["event"] for one in logs] == ["state unavailable, nothing is folded early"]
    await folds.close()


class Slow:
    """A state in which another process decides as well, right before each step of this one."""

    def __init__(self, state: State) -> None:
        self.state, self.get, self.get_many, self.close = state, state.get, state.get_many, state.close

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        self._other(key)
        self.state.put(key, value, expires_seconds)

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        self._other(key)
        return self.state.update(key, change, expires_seconds)

    def _other(self, key: str) -> None:
        held: list[int] = orjson.loads(self.state.get(key) or b"[]")
        self.state.put(key, orjson.dumps([*held, len(held)]))


async def test_no_decision_of_another_process_is_lost_whenever_it_comes(tmp_path: Path):
    state = open_state(config.State(dir=tmp_path))
    folds = EarlyFolds(lambda: Slow(state), structlog.get_logger(), lambda: 0.0)
    assert changes(await left(folds, talk(12), Says(yes=True), CHEAPER)) is not None
    stand = orjson.loads(state.get("fold/group") or b"")
    assert stand == sorted({*range(len(stand) - 1), links(talk(12))[-1]})
    await folds.close()


class Hangs:
    """A state that takes long to say that it is down."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        time.sleep(0.05)
        raise StateUnavailable(key)

    def close(self) -> None:
        return None


async def test_who_waits_behind_a_state_that_hangs_waits_no_second_time():
    hangs = Hangs()
    folds = EarlyFolds(cast(Any, lambda: hangs), structlog.get_logger(), time.monotonic)
    fitted = await asyncio.gather(*(left(folds, talk(34 + n), Says(yes=True), OVER) for n in range(6)))
    assert all(one.decision_lost for one in fitted)
    assert hangs.asked == 1
    await folds.close()


@pytest.mark.parametrize("raw", [b"", b"nonsense", b'{"a": 1}', b'["x", null]'])
async def test_what_nobody_can_read_decides_nothing(tmp_path: Path, raw: bytes):
    state = open_state(config.State(dir=tmp_path))
    state.put("fold/group", raw)
    async with process(tmp_path) as one:
        assert changes(await left(one, talk(12), Says(yes=False), CHEAPER)) is None
        assert changes(await left(one, talk(12), Says(yes=True), CHEAPER)) is not None
    state.close()


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

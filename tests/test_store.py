"""A way to the state that holds nobody up, gives up what is slow, and tells the log once when it goes and is back."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from gateway import config
from gateway.state import Change, State, StateUnavailable, open_state
from gateway.state.codec import Codec
from gateway.state.store import MOST_SLOW, Patience, Store
from tests import redis_server
from tests.contract.running import eventually
from tests.slow_server import HUNG, slowed

DOWN = "state unavailable, requests go on without"
SLOW = "state unavailable, requests are planned without"
AGAIN = "state available again"
TIMEOUT = 0.2
"""Longer than the default: these run on busy machines."""


class Held:
    """A state in this process that can be down, or slow."""

    def __init__(self) -> None:
        self.down, self.seconds, self.closed, self.asked = False, 0.0, 0, 0
        self.values = dict[str, bytes]()

    def get(self, key: str) -> bytes | None:
        self.asked += 1
        time.sleep(self.seconds)
        if self.down:
            raise StateUnavailable("gone")
        return self.values.get(key)

    def get_many(self, keys: Any) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        self.values[key] = value

    def put_first(self, values: Any, expires_seconds: float) -> list[bytes]:
        return [self.values.setdefault(key, value) for key, value in values]

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        self.values[key] = change(self.get(key)) or b""
        return self.values[key]

    def close(self) -> None:
        self.closed += 1


@asynccontextmanager
async def opened(opens: Callable[[], State], rest: float = 0.05) -> AsyncIterator[Store]:
    store = Store(opens, structlog.get_logger(), TIMEOUT, rest)
    try:
        yield store
    finally:
        await store.close()


def read(state: State) -> bytes | None:
    return state.get("a")


async def plan(store: Store) -> float:
    """Ask as planning does; how long that took."""
    began = time.monotonic()
    with pytest.raises(StateUnavailable):
        await store.soon(read, store.patience())
    return time.monotonic() - began


async def test_work_is_done_in_a_thread_and_the_state_is_opened_when_it_is_needed():
    held, opening = Held(), list[str]()

    def opens() -> State:
        opening.append(threading.current_thread().name)
        return held

    async with opened(opens) as store:
        assert opening == []
        await store.run(lambda state: state.put("a", b"1"))
        assert await store.run(read) == await store.soon(read, store.patience()) == b"1"
    assert held.closed == 2
    assert opening == ["state"]


async def test_a_state_that_goes_and_comes_back_is_told_once_each_time():
    held = Held()
    with capture_logs() as log:
        async with opened(lambda: held) as store:
            held.down = True
            for _ in range(5):
                with pytest.raises(StateUnavailable, match="gone"):
                    await store.run(read)
            assert held.asked == 1
            assert await plan(store) < TIMEOUT / 2
            held.down = False
            await eventually(lambda: not store.is_down, 5)
            assert await store.run(read) is None
    assert [one["event"] for one in log] == [DOWN, AGAIN]


async def test_a_state_that_goes_again_and_again_is_looked_at_less_and_less():
    held, looks = Held(), list[float]()
    async with opened(lambda: held) as store:
        for _ in range(4):
            held.down = True
            with pytest.raises(StateUnavailable):
                await store.run(read)
            held.down, began = False, time.monotonic()
            await eventually(lambda: not store.is_down, 5)
            looks.append(time.monotonic() - began)
    assert looks[3] > 4 * 0.05 > looks[0] / 2


async def test_it_may_be_closed_and_asked_again():
    held = Held()
    async with opened(lambda: held) as store:
        assert await store.run(read) is None
        await store.close()
        assert await store.run(read) is None


async def test_three_slow_answers_count_as_down_until_a_look_was_answered_in_time():
    held = Held()
    held.seconds = 2 * TIMEOUT
    with capture_logs() as log:
        async with opened(lambda: held) as store:
            took = [await plan(store) for _ in range(MOST_SLOW + 3)]
            assert all(seconds >= TIMEOUT for seconds in took[:MOST_SLOW])
            assert all(seconds < TIMEOUT / 2 for seconds in took[MOST_SLOW:])
            assert await store.run(read) is None, "who has time still asks"
            held.seconds = 0.0
            await eventually(lambda: repr(store) == "Store(up)", 10)
            assert await store.soon(read, store.patience()) is None
    assert [one["event"] for one in log] == [SLOW, AGAIN]


async def test_a_slow_answer_now_and_then_counts_for_nothing():
    held = Held()
    async with opened(lambda: held) as store:
        for _ in range(MOST_SLOW - 1):
            held.seconds = 2 * TIMEOUT
            await plan(store)
        held.seconds = 0.0
        assert await store.soon(read, Patience(5.0)) is None
        assert repr(store) == "Store(up)"


async def test_one_request_waits_once_for_all_that_it_asks():
    held = Held()
    held.seconds = 0.75 * TIMEOUT
    async with opened(lambda: held) as store:
        began, patience = time.monotonic(), store.patience()
        await store.soon(read, patience)
        for _ in range(3):
            with pytest.raises(StateUnavailable):
                await store.soon(read, patience)
        assert time.monotonic() - began < 2 * TIMEOUT


async def test_a_loop_that_was_busy_takes_no_answer_for_a_slow_one():
    async with opened(Held) as store:
        await store.soon(read, store.patience())
        asking = asyncio.create_task(store.soon(read, store.patience()))
        await asyncio.sleep(0)
        time.sleep(2 * TIMEOUT)
        assert await asking is None


async def test_one_that_hangs_neither_holds_up_others_nor_the_end():
    held, stuck = Held(), threading.Event()
    async with opened(lambda: held) as store:
        hanging = asyncio.create_task(store.run(lambda state: stuck.wait(30)))
        await asyncio.sleep(0.05)
        assert await store.run(read) is None
        began = time.monotonic()
    assert time.monotonic() - began < 1.5
    stuck.set()
    assert await hanging


async def test_a_fault_in_what_is_asked_reaches_who_asked_and_nobody_else():
    async with opened(Held) as store:
        with pytest.raises(ZeroDivisionError):
            await store.run(lambda state: 1 / 0)
        assert await store.run(read) is None


async def test_what_is_not_understood_is_told_once_of_each_kind_without_a_word_of_it():
    def codec(kind: str) -> Codec[Any]:
        return Codec(kind, 1, list, list)

    with capture_logs() as log:
        async with opened(Held) as store:
            for raw in (b"secret", b"\xff", b'{"v":2,"is":[]}', b'{"v":1,"is":7}', None):
                for kind in ("one", "other"):
                    assert store.understood(codec(kind), raw) is None
            assert store.understood(codec("one"), codec("one").write([1])) == [1]
    assert [(one["event"], one["kind"]) for one in log] == [
        ("state not understood, begun anew", "one"),
        ("state not understood, begun anew", "other"),
    ]
    assert "secret" not in str(log)


@pytest.mark.parametrize("seconds", [2 * TIMEOUT, HUNG])
async def test_a_redis_server_that_is_slow_costs_planning_its_timeout_a_few_times(tmp_path: Path, seconds: float):
    with redis_server.running(tmp_path) as url, slowed(url) as way:
        async with opened(lambda: open_state(config.StateSettings(redis=way.url)), rest=0.2) as store:
            await store.run(read)
            way.seconds = seconds
            took = [await plan(store) for _ in range(10)]
            assert sum(took) < (MOST_SLOW + 3) * TIMEOUT
            way.seconds = 0.0
            await eventually(lambda: repr(store) == "Store(up)", 20)
            assert await store.soon(read, store.patience()) is None

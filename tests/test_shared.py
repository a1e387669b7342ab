"""Values that processes keep together: news are added up in the state, heard by all, and never lost on the way."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import config
from gateway.state import State, StateUnavailable, open_state
from gateway.state.codec import Codec, whole_number
from gateway.state.shared import CLOSE_SECONDS, START_SECONDS, Shared, Untold
from tests import redis_server
from tests.contract.running import eventually
from tests.sharing import at, sharing
from tests.slow_server import HUNG, slowed

COUNT: Codec[int] = Codec("count", 1, int, whole_number)


class Counter:
    """What one process counts, and what all have."""

    def __init__(self, key: str = "count/1", codec: Codec[int] = COUNT, *, hears: bool = True) -> None:
        self.news = self.all = self.heard = 0
        self.shared: Shared[int, int] = Shared(
            key,
            codec,
            empty=int,
            add=self.add,
            take_news=self.take,
            give_back=self.give_back,
            adopt=self.adopt,
            hears=hears,
        )

    def add(self, value: int, news: int) -> int:
        return value + news

    def take(self) -> int:
        news, self.news = self.news, 0
        return news

    def give_back(self, news: int) -> None:
        self.news += news

    def adopt(self, value: int) -> None:
        self.all, self.heard = value, self.heard + 1


async def test_news_of_all_are_added_up_and_heard_by_all(tmp_path: Path):
    one, other = Counter(), Counter()
    first, second = (sharing(at(tmp_path), counter.shared) for counter in (one, other))
    one.news, other.news = 3, 4
    for _ in range(2):
        await first.exchange()
        await second.exchange()
    assert (one.all, other.all) == (7, 7)
    heard = one.heard
    await first.exchange()
    assert one.heard == heard, "what is known already is not taken in again"
    for each in (first, second):
        await each.close()


async def test_while_the_state_is_down_news_wait_and_all_is_told_once(tmp_path: Path):
    is_up = False

    def opens() -> State:
        if not is_up:
            raise StateUnavailable("scripted")
        return at(tmp_path)()

    counters = [Counter(), Counter("other/1")]
    shares = sharing(opens, *(one.shared for one in counters), rest_seconds=0.1)
    for one in counters:
        one.news = 5
    with capture_logs() as log:
        for _ in range(3):
            await shares.exchange()
        assert [one.news for one in counters] == [5, 5]
        is_up = True
        await eventually(lambda: not shares.store.is_down, 5)
        await shares.exchange()
    assert [one.all for one in counters] == [5, 5]
    assert [line["event"] for line in log] == [
        "state unavailable, requests go on without",
        "state available again",
    ]
    await shares.close()


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[]", b"7", b'{"v":2,"is":7}', b'{"v":1,"is":-7}', b'{"v":true,"is":7}']
)
async def test_a_value_that_is_not_understood_is_begun_anew_and_told_once(tmp_path: Path, raw: bytes):
    counter, state = Counter(), at(tmp_path)()
    shares = sharing(at(tmp_path), counter.shared)
    with capture_logs() as log:
        for _ in range(3):
            state.put("count/1", raw)
            await shares.exchange()
            counter.news = 2
            await shares.exchange()
            assert counter.all == 2
    assert [(line["event"], line["kind"]) for line in log] == [("state not understood, begun anew", "count")]
    await shares.close()
    state.close()


async def test_a_fault_of_ours_is_told_once_and_ends_nobody_elses_exchange(tmp_path: Path):
    def adds(value: int, news: int) -> int:
        raise ZeroDivisionError("ours")

    faulty, sound = Counter("faulty/1"), Counter()
    object.__setattr__(faulty.shared, "add", adds)
    shares = sharing(at(tmp_path), faulty.shared, sound.shared)
    with capture_logs() as log:
        for _ in range(3):
            faulty.news = sound.news = 1
            await shares.exchange()
    assert sound.all == 3
    assert [line["event"] for line in log] == ["exchange through the state failed"]
    await shares.close()


async def test_what_is_told_at_the_very_end_is_not_lost(tmp_path: Path):
    counter, late = Counter(), Counter()
    shares = sharing(at(tmp_path), counter.shared)
    await shares.open()
    counter.news = 2
    await shares.close()
    after = sharing(at(tmp_path), late.shared)
    await after.open()
    assert late.all == 2
    await after.close()


async def test_who_only_tells_reads_nothing(tmp_path: Path):
    def opens() -> State:
        raise AssertionError("the state was opened")

    shares = sharing(opens, Counter(hears=False).shared)
    await shares.exchange()
    await shares.close()


def test_of_too_much_that_waits_the_newest_is_told():
    untold: Untold[int] = Untold(3)
    for number in range(5):
        untold.append(number)
    taken = untold.take()
    assert (taken, len(untold)) == ((2, 3, 4), 0)
    untold.append(5)
    untold.give_back(taken)
    assert untold.take() == (3, 4, 5)


SLOWNESS: dict[str, Callable[[Any], None]] = {
    "hung": lambda way: setattr(way, "seconds", HUNG),
    "0.2 s": lambda way: setattr(way, "seconds", 0.2),
    "5 s": lambda way: setattr(way, "seconds", 5.0),
}


@pytest.mark.parametrize("how", SLOWNESS)
async def test_a_slow_server_is_in_the_way_of_neither_start_nor_stop(tmp_path: Path, how: str):
    with redis_server.running(tmp_path) as url, slowed(url) as way:
        SLOWNESS[how](way)
        counter = Counter()
        shares = sharing(lambda: open_state(config.StateSettings(redis=way.url)), counter.shared)
        began = time.monotonic()
        await shares.open()
        opened = time.monotonic()
        counter.news = 1
        await asyncio.sleep(0.05)
        closing = time.monotonic()
        await shares.close()
        closed = time.monotonic()
        assert opened - began < START_SECONDS + 0.5
        assert closed - closing < CLOSE_SECONDS + 1.0

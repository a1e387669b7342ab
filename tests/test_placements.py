"""What moved is known to other workers and after a restart, and a request never waits for it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.placements import KEY, MOST_SHARED, Placements, read, written
from gateway.routing.affinity import Group
from gateway.routing.loads import Loads, Stay
from gateway.state import State, open_state

NOW = 1_750_000_000.0
TALK = Group(key=1, trail=2, turns=1)
AWAY = Stay("b", NOW + 600, for_load=True)


def at(folder: Path) -> Callable[[], State]:
    return partial(open_state, config.State(dir=folder))


def worker(opens: Callable[[], State]) -> tuple[Loads, Placements]:
    loads = Loads()
    return loads, Placements(loads, opens, structlog.get_logger("test"), lambda: NOW)


STAYS = st.dictionaries(
    st.integers(0, 2**64 - 1), st.builds(Stay, st.text(), st.integers(1, 9).map(lambda more: NOW + more), st.booleans())
)


@given(STAYS)
def test_what_is_shared_is_always_read_back_as_it_was(stays: dict[int, Stay]):
    assert read(written(stays, NOW)) == stays


def test_what_no_longer_holds_and_what_is_too_much_is_left_out():
    many = {number: Stay("a", NOW + number, for_load=True) for number in range(MOST_SHARED + 50)}
    kept = read(written(many, NOW))
    assert len(kept) == MOST_SHARED
    assert min(kept) == 50


async def test_another_worker_and_the_next_start_learn_what_moved(tmp_path: Path):
    (one, first), (other, second) = worker(at(tmp_path)), worker(at(tmp_path))
    await second.exchange()
    one.settle(TALK, AWAY)
    await first.exchange()
    assert other.stay(TALK) is None
    await second.exchange()
    assert other.stay(TALK) == AWAY
    await first.close()
    await second.close()
    late, third = worker(at(tmp_path))
    await third.open()
    assert late.stay(TALK) == AWAY
    await third.close()


async def test_what_moved_just_before_the_end_is_not_lost(tmp_path: Path):
    one, first = worker(at(tmp_path))
    await first.open()
    one.settle(TALK, AWAY)
    await first.close()
    late, second = worker(at(tmp_path))
    await second.exchange()
    assert late.stay(TALK) == AWAY
    await second.close()


async def test_a_state_that_is_down_is_told_once_and_what_moved_waits_for_it(tmp_path: Path):
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where the folder should be")
    one, first = worker(at(in_the_way))
    one.settle(TALK, AWAY)
    with structlog.testing.capture_logs() as log:
        await first.exchange()
        await first.exchange()
        in_the_way.unlink()
        await first.exchange()
    assert [line["log_level"] for line in log] == ["warning", "info"]
    await first.close()
    late, second = worker(at(in_the_way))
    await second.exchange()
    assert late.stay(TALK) == AWAY
    await second.close()


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"7", b'{"x": 1}', b'{"1": [1, 2, true]}', b'{"1": ["a", "b", true]}', b'{"1": ["a"]}']
)
async def test_nonsense_in_the_state_is_begun_anew(tmp_path: Path, raw: bytes):
    state = at(tmp_path)()
    state.put(KEY, raw)
    one, first = worker(at(tmp_path))
    one.settle(TALK, AWAY)
    with structlog.testing.capture_logs() as log:
        await first.exchange()
    assert {line["event"] for line in log} == {"shared placements unreadable, begun anew"}
    assert read(state.get(KEY) or b"") == {TALK.trail: AWAY}
    await first.close()
    state.close()

"""What moved is known to other workers and after a restart, and a request never waits for it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.routing import placements
from gateway.routing.affinity import Group
from gateway.routing.loads import Loads, Stay
from gateway.routing.placements import KEY, MOST_SHARED, STAYS, holding
from gateway.state.shared import Sharing
from tests.sharing import at, sharing

NOW = 1_750_000_000.0
TALK = Group(key=1, trail=2, turns=1)
AWAY = Stay("b", NOW + 600, for_load=True)


def worker(folder: Path) -> tuple[Loads, Sharing]:
    loads = Loads()
    return loads, sharing(at(folder), placements.shared_placements(loads, lambda: NOW))


@given(
    st.dictionaries(
        st.integers(0, 2**64 - 1),
        st.builds(Stay, st.text(), st.integers(1, 9).map(lambda more: NOW + more), st.booleans()),
    )
)
def test_what_is_shared_is_always_read_back_as_it_was(stays: dict[int, Stay]):
    assert STAYS.read(STAYS.write(stays)) == stays


def test_what_no_longer_holds_and_what_is_too_much_is_left_out():
    many = {number: Stay("a", NOW + number, for_load=True) for number in range(MOST_SHARED + 50)}
    kept = holding(many, NOW)
    assert len(kept) == MOST_SHARED
    assert min(kept) == 50


async def test_another_worker_and_the_next_start_learn_what_moved(tmp_path: Path):
    (one, first), (other, second) = worker(tmp_path), worker(tmp_path)
    await second.exchange()
    one.settle(TALK, AWAY)
    await first.exchange()
    assert other.stay(TALK) is None
    await second.exchange()
    assert other.stay(TALK) == AWAY
    await first.close()
    await second.close()
    late, third = worker(tmp_path)
    await third.open()
    assert late.stay(TALK) == AWAY
    await third.close()


async def test_what_moved_just_before_the_end_is_not_lost(tmp_path: Path):
    one, first = worker(tmp_path)
    await first.open()
    one.settle(TALK, AWAY)
    await first.close()
    late, second = worker(tmp_path)
    await second.exchange()
    assert late.stay(TALK) == AWAY
    await second.close()


@pytest.mark.parametrize(
    "raw", [b"{", b'{"1": ["a", 2, true]}', b'{"v":1,"is":{"0f":["b",1e308,true]}}', b'{"v":1,"is":{"1":["a"]}}']
)
async def test_nonsense_in_the_state_is_begun_anew(tmp_path: Path, raw: bytes):
    state = at(tmp_path)()
    state.put(KEY, raw)
    one, first = worker(tmp_path)
    one.settle(TALK, AWAY)
    with capture_logs() as log:
        await first.exchange()
    assert [(line["event"], line["kind"]) for line in log] == [("state not understood, begun anew", "placements")]
    assert STAYS.read(state.get(KEY) or b"") == {TALK.trail: AWAY}
    await first.close()
    state.close()

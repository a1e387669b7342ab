"""Whose turn it is, and whose body is received: fair by key, small before large, bounded in sum."""

import asyncio
import random
import threading
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.client import HTTPClient
from gateway.serving.large.threads import FairThreads
from gateway.serving.large.turns import MOST_PASSES, LargeBodyRoom, Place, Turns, Waits, chosen
from gateway.wire.errors import GatewayError

MB = 1_000_000


async def order(turns: Turns, asked: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Have all of them wait at once, and see who comes when."""
    served: list[tuple[str, int]] = []

    async def one(key: str, size: int) -> None:
        async with turns.turn(key, size):
            served.append((key, size))
            await asyncio.sleep(0)

    await asyncio.gather(*(one(key, size) for key, size in asked))
    return served


async def test_keys_take_turns_however_many_requests_each_has() -> None:
    served = await order(Turns(1, 1), [("a", 5)] * 5 + [("b", 5)] * 2)
    assert [key for key, _ in served] == ["a", "b", "a", "b", "a", "a", "a"]


async def test_of_one_key_the_small_go_first_but_not_for_ever() -> None:
    assert [size for _, size in await order(Turns(1, 1), [("a", 1), ("a", 9), ("a", 3), ("a", 2)])] == [1, 2, 3, 9]
    served = await order(Turns(1, 1), [("a", 1), ("a", 9), *[("a", 2)] * (MOST_PASSES + 3)])
    assert served.index(("a", 9)) == MOST_PASSES + 1


async def test_one_key_never_has_all_turns() -> None:
    turns = Turns(2, 1)
    async with turns.turn("a", 1):
        second = asyncio.create_task(order(turns, [("a", 1)]))
        await asyncio.sleep(0)
        assert await asyncio.wait_for(order(turns, [("b", 1)]), 1) == [("b", 1)]
        assert not second.done()
    assert await second == [("a", 1)]


async def test_who_leaves_while_waiting_holds_up_nobody() -> None:
    turns = Turns(1, 1)
    async with turns.turn("a", 1):
        waiting = asyncio.create_task(order(turns, [("b", 1)]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await order(turns, [("c", 1)]) == [("c", 1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=12), st.integers(1, 3))
def test_whoever_is_chosen_is_of_a_key_with_the_fewest_turns(asked: list[tuple[str, int]], most: int) -> None:
    waiting = [Waits(key, size) for key, size in asked]
    running = {"a": 2, "b": 1}
    one = chosen(waiting, running, {}, most)
    able = {key for key, _ in asked if running.get(key, 0) < most}
    assert (one is None) == (not able)
    if one is not None:
        assert running.get(one.key, 0) == min(running.get(key, 0) for key in able)
        assert one.size == min(size for key, size in asked if key == one.key)


def test_threads_are_shared_the_same_way() -> None:
    threads, gate, served = FairThreads(1, 1), threading.Event(), list[str]()
    first = threads.of("a", 1).submit(gate.wait, 5)
    rest = [threads.of(key, 1).submit(served.append, key) for key in "aaab"]
    fails = threads.of("b", 9).submit(lambda: 1 // 0)
    assert not first.done()
    gate.set()
    for one in rest:
        one.result(5)
    assert served.index("b") == 0
    with pytest.raises(ZeroDivisionError):
        fails.result(5)
    threads.shutdown()


# ---------------------------------------------------------------- room


async def test_bodies_are_bounded_in_sum_and_a_key_leaves_room_for_others() -> None:
    door = LargeBodyRoom(90 * MB, 30 * MB, 5.0)
    await door.enter("a", 30 * MB)
    await door.enter("a", 30 * MB)
    third = asyncio.create_task(door.enter("a", 30 * MB))
    await asyncio.sleep(0)
    await asyncio.wait_for(door.enter("b", 30 * MB), 1)
    assert not third.done()
    door.leave("b", 30 * MB)
    await asyncio.sleep(0)
    assert not third.done()  # the room is there, and not for this key
    door.leave("a", 30 * MB)
    await asyncio.wait_for(third, 1)
    assert door.held == 60 * MB


async def test_who_waits_too_long_is_told_when_to_come_again() -> None:
    door = LargeBodyRoom(60 * MB, 30 * MB, 0.01)
    await door.enter("a", 30 * MB)
    with pytest.raises(GatewayError) as caught:
        await door.enter("a", 30 * MB)
    assert (caught.value.status, caught.value.code) == (503, "too_many_large_requests")
    assert caught.value.headers["retry-after"] == "2"
    door.leave("a", 30 * MB)
    assert not door.held


async def read(
    place: Place, parts: list[bytes], *, length: int | None = None, encoding: bytes = b"", most: int = 30 * MB
) -> bytes:
    left = list(parts)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    headers.append((b"content-encoding", encoding))
    return await HTTPClient({"headers": headers}, receive, None).body(most, place)  # type: ignore[arg-type]


async def test_a_body_takes_room_before_it_is_received_and_keeps_what_it_is() -> None:
    door = LargeBodyRoom(90 * MB, 30 * MB, 0.01)
    small, large, unsaid = (Place(door, "a", 2 * MB) for _ in range(3))
    await read(small, [b"x" * MB], length=MB)
    assert door.held == 0
    await read(large, [b"x" * MB] * 3, length=3 * MB)
    assert door.held == 3 * MB
    await read(unsaid, [b"x" * MB] * 4)  # in chunks: up to the most until it is known
    assert door.held == 7 * MB
    packed, noise = Place(door, "a", 2 * MB), random.Random(1).randbytes(3 * MB)
    await read(packed, [zlib.compress(noise)], length=3 * MB, encoding=b"deflate")
    assert door.held == 10 * MB
    for place in (large, unsaid, unsaid, packed):
        place.keep(0)
    assert door.held == 0
    await door.enter("a", 60 * MB)
    with pytest.raises(GatewayError):
        await read(Place(door, "a", 2 * MB), [], length=3 * MB)


async def test_a_turn_given_to_one_that_was_cancelled_meanwhile_is_given_on():
    turns = Turns(1, 1)

    async def takes_its_turn(key):
        async with turns.turn(key, 1):
            pass

    async with turns.turn("a", 1):
        waits = asyncio.create_task(takes_its_turn("b"))
        await asyncio.sleep(0)
        waits.cancel()  # it leaves at the next turn of the loop, and "a" before
    async with asyncio.timeout(5):
        await takes_its_turn("c")

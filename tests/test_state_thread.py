"""A way to the state that never holds the event loop, and tells the log once when it goes and once when it is back."""

import asyncio
import threading
from typing import Any

import pytest
import structlog

from gateway.state import Change, State, StateUnavailable
from gateway.state_thread import StateThread


class Held:
    """A state in this process that can be down."""

    def __init__(self) -> None:
        self.down, self.closed, self.values = False, False, dict[str, bytes]()

    def get(self, key: str) -> bytes | None:
        if self.down:
            raise StateUnavailable("gone")
        return self.values.get(key)

    def get_many(self, keys: Any) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def put(self, key: str, value: bytes, expires_seconds: float | None = None) -> None:
        self.values[key] = value

    def update(self, key: str, change: Change, expires_seconds: float | None = None) -> bytes | None:
        self.values[key] = change(self.get(key)) or b""
        return self.values[key]

    def close(self) -> None:
        self.closed = True


def way(held: Held) -> StateThread:
    return StateThread("tests", lambda: held, structlog.get_logger(), "nothing is kept")


async def test_work_is_done_in_a_thread_of_its_own_and_the_state_is_opened_when_it_is_needed():
    held, opened = Held(), []

    def opens() -> State:
        opened.append(threading.current_thread().name)
        return held

    one = StateThread("tests", opens, structlog.get_logger(), "nothing is kept")
    assert opened == []
    await one.run(lambda state: state.put("a", b"1"))
    assert await one.run(lambda state: state.get("a")) == b"1"
    await one.close()
    assert held.closed
    assert len(opened) == 1
    assert opened[0].startswith("tests")


async def test_a_state_that_goes_and_comes_back_is_told_once_each():
    held = Held()
    one = way(held)
    with structlog.testing.capture_logs() as logs:
        for down in (False, True, True, False, False):
            held.down = down
            if down:
                with pytest.raises(StateUnavailable):
                    await one.run(lambda state: state.get("a"))
            else:
                await one.run(lambda state: state.get("a"))
    await one.close()
    assert [log["event"] for log in logs] == ["state unavailable, nothing is kept", "state available again"]


async def test_what_is_repeated_is_done_once_more_at_the_end():
    done: list[int] = []

    async def exchange() -> None:
        done.append(len(done))

    one = way(Held())
    one.repeat(exchange, 0.01)
    await asyncio.sleep(0.05)
    before = len(done)
    await one.close(exchange)
    after = len(done)
    await asyncio.sleep(0.03)
    assert 0 < before < after == len(done)


async def test_a_fault_that_ends_the_exchange_is_told():
    async def exchange() -> None:
        raise ValueError("ours")

    one = way(Held())
    with structlog.testing.capture_logs() as logs:
        one.repeat(exchange, 0.001)
        await asyncio.sleep(0.03)
    await one.close()
    assert [log["event"] for log in logs] == ["exchange through the state ended, nothing is kept"]

"""Who is let in while a process is at its limits, and who is asked to come again."""

import asyncio
import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.serving.capacity import SAMPLES, Band, Capacity, is_too_full
from gateway.wire.errors import GatewayError
from tests.contract.raw import body_of, post
from tests.contract.running import Upstream, config, eventually, running_gateway, running_upstream, write_setup

BANDS: tuple[Band, ...] = ("low", "normal", "high")
PRIORITIES: dict[Band, int] = {"low": -1, "normal": 0, "high": 10}


def capacity(most: int | None = None, longest: float = 0.1) -> Capacity:
    return Capacity(most, longest, structlog.get_logger("gateway"))


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0, 10), st.floats(0.1, 1))
def test_who_is_refused_is_never_of_a_higher_priority_than_who_is_let_in(
    in_flight: int, most: int, lag: float, longest: float
) -> None:
    over = [is_too_full(band, in_flight, most, lag, longest) for band in BANDS]
    assert over == sorted(over, reverse=True)


def test_the_last_places_are_kept_for_those_above() -> None:
    full = capacity(most=10)
    for _ in range(6):
        full.enter(PRIORITIES["low"])
    with pytest.raises(GatewayError) as refused:
        full.enter(PRIORITIES["low"])
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")
    for _ in range(2):
        full.enter(PRIORITIES["normal"])
    with pytest.raises(GatewayError):
        full.enter(PRIORITIES["normal"])
    for _ in range(2):
        full.enter(PRIORITIES["high"])
    with pytest.raises(GatewayError):
        full.enter(PRIORITIES["high"])
    assert full.refused == {"low": 1, "normal": 1, "high": 1}
    for _ in range(5):
        full.leave()
    full.enter(PRIORITIES["low"])


def test_a_backlog_that_stays_refuses_and_one_long_piece_of_work_does_not() -> None:
    late = capacity()
    late.note(5.0)
    late.enter(PRIORITIES["low"])
    for _ in range(SAMPLES):
        late.note(0.05)
    with pytest.raises(GatewayError):
        late.enter(PRIORITIES["low"])
    late.enter(PRIORITIES["normal"])
    for _ in range(SAMPLES):
        late.note(0.2)
    with pytest.raises(GatewayError):
        late.enter(PRIORITIES["normal"])
    late.enter(PRIORITIES["high"])


def test_it_is_said_once_when_it_begins_and_once_when_it_is_over() -> None:
    with capture_logs() as log:
        full = capacity(most=1)
        full.enter(PRIORITIES["high"])
        for _ in range(50):
            with pytest.raises(GatewayError):
                full.enter(PRIORITIES["normal"])
        full.leave()
        full.note(0.0)
    assert [line["log_level"] for line in log] == ["warning", "info"]
    assert log[-1]["refused"] == 50


async def test_a_loop_that_is_kept_busy_is_seen_to_lag() -> None:
    busy = capacity()
    following = asyncio.create_task(busy.follow())
    for _ in range(8):
        await asyncio.sleep(0.01)
        time.sleep(0.12)
    assert busy.lag > 0.03
    await asyncio.sleep(0.5)
    assert busy.lag < 0.03
    following.cancel()


async def test_a_full_gateway_refuses_the_lowest_key_and_serves_the_highest(tmp_path: Path) -> None:
    def key(name: Band) -> dict[str, Any]:
        return {"name": name, "sha256": sha256(f"sk-{name}".encode()).hexdigest(), "priority": PRIORITIES[name]}

    with running_upstream() as upstream:
        settings = config(upstream.url, keys=[key(one) for one in BANDS], teams={})
        settings["server"]["max_in_flight"] = 5
        with running_gateway(write_setup(tmp_path, settings)) as gateway:
            held = [
                asyncio.create_task(post(gateway.port, body_of(f"held-{n}", delay=1.5), key="sk-low")) for n in range(3)
            ]
            await eventually(lambda: _has(upstream, 3), 10, "three calls")
            low = await post(gateway.port, body_of("low"), key="sk-low")
            assert (low.status, low.headers["retry-after"]) == (503, "1")
            assert json.loads(low.body)["error"]["code"] == "over_capacity"
            assert (await post(gateway.port, body_of("high"), key="sk-high")).status == 200
            assert [(await one).status for one in held] == [200] * 3
            assert (await post(gateway.port, body_of("later"), key="sk-low")).status == 200


def _has(upstream: Upstream, calls: int) -> bool:
    return sum(bool(upstream.calls(f"held-{number}")) for number in range(calls)) == calls

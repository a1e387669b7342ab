"""A stop and a death that nobody notices: the order of a stop, what is cut and how, and workers that are replaced."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.raw import Answer, body_of, connected, post
from tests.contract.running import (
    Gateway,
    Upstream,
    config,
    eventually,
    get,
    start_gateway,
    wait_for,
    write_setup,
)

NewId = Callable[[], str]
pytestmark = pytest.mark.long


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return True
    return False


def raw(id: str, **more: Any) -> bytes:
    return json.dumps(body_of(id, **more)).encode()


@dataclass(frozen=True)
class Stopped:
    """A stop of a program two of whose answers take longer than it waits, as clients and the operator saw it."""

    program: Gateway
    code: int
    ready: dict[str, Any]
    kept: Answer
    """Over a connection that was open before."""
    new: Answer
    """Over a connection that was opened after the signal."""
    idle: bytes
    """What came over a connection without a request."""
    streamed: Answer
    whole: Answer
    cut: tuple[str, str]
    """The ids of these two."""


async def observed_stop(folder: Path, upstream: Upstream, workers: int) -> Stopped:
    settings = config(upstream.url)
    settings["server"] |= {"workers": workers, "drain": "1500ms", "grace": "1s"}
    running = await asyncio.to_thread(start_gateway, write_setup(folder, settings))
    streamed, whole, late = (f"stop-{workers}-{name}" for name in ("streamed", "whole", "late"))
    slow: dict[str, Any] = {"words": 60, "chunks": 60, "pause": 0.15}
    asking = asyncio.create_task(post(running.port, body_of(streamed, stream=True, **slow)))
    waiting = asyncio.create_task(post(running.port, body_of(whole, delay=20)))
    await eventually(lambda: upstream.calls(streamed) and upstream.calls(whole), 10, "both calls")
    async with connected(running.port) as idle, connected(running.port) as busy:
        assert (await idle.post(raw(f"{late}-1"))).status == 200
        running.program.process.send_signal(signal.SIGTERM)
        await eventually(lambda: get(f"{running.root}/ready")[0] == 503, 1, "/ready to say no")
        ready = json.loads(get(f"{running.root}/ready")[1])
        kept = await busy.post(raw(f"{late}-2"))
        new = await post(running.port, body_of(f"{late}-3"))
        came = await asyncio.wait_for(idle.reader.read(1), 5)
        await eventually(lambda: is_refused(running.port), 2, "the port to close")
    answers = await asking, await waiting
    code = await asyncio.to_thread(running.program.wait, 10)
    return Stopped(running, code, ready, kept, new, came, *answers, (streamed, whole))


@pytest.fixture(scope="module", params=[1, 2])
def stopped(request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return asyncio.run(observed_stop(tmp_path_factory.mktemp("stop"), upstream, request.param))


def test_a_stop_goes_on_serving_while_load_balancers_take_notice(stopped: Stopped) -> None:
    assert stopped.ready["status"] == "draining"
    assert (stopped.kept.status, stopped.kept.headers["connection"]) == (200, "close")
    assert stopped.new.status == 200, "new connections are taken"
    assert stopped.idle == b"", "then idle ones are closed"
    assert stopped.code == 0
    assert "Traceback" not in stopped.program.program.log


def test_an_answer_that_takes_longer_than_the_grace_ends_in_an_error(stopped: Stopped) -> None:
    assert b'"code":"gateway_stopping"' in stopped.streamed.body
    assert (stopped.whole.status, json.loads(stopped.whole.body)["error"]["code"]) == (503, "gateway_stopping")
    settled = {row["user"]: row for row in stopped.program.rows() if row["event"] == "settled"}
    for user in stopped.cut:
        assert (settled[user]["status"], settled[user]["error"]) == ("cancelled", "gateway_stopped")
    assert settled[stopped.cut[0]]["completion_tokens"] > 0


@dataclass(frozen=True)
class Managed:
    """A program under a service manager, from its start over a reload to its stop with an answer under way."""

    program: Gateway
    code: int
    started: list[str]
    """What the manager was told until it served."""
    reloaded: list[str]
    stopped: list[str]
    streamed: Answer
    """Under way when the signal came."""
    late: Answer
    """Asked for after it, over a connection that was open."""


async def observed_under_a_manager(folder: Path, upstream: Upstream) -> Managed:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(5)

        def heard(*lines: str) -> list[str]:
            said: list[str] = []
            while not set(lines) <= set(said):
                said.extend(manager.recv(4096).decode().split("\n"))
            return said

        manage: dict[str, Any] = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
        running = await asyncio.to_thread(start_gateway, write_setup(folder, config(upstream.url)), **manage)
        started = await asyncio.to_thread(heard, "WATCHDOG=1", "READY=1")
        running.program.process.send_signal(signal.SIGHUP)
        reloaded = await asyncio.to_thread(heard, "RELOADING=1", "READY=1")
        asking = asyncio.create_task(
            post(running.port, body_of("managed-1", stream=True, words=8, chunks=8, pause=0.2))
        )
        await eventually(lambda: upstream.calls("managed-1"), 10, "the stream's start")
        async with connected(running.port) as connection:
            running.program.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            late = await connection.post(raw("managed-2"))
        streamed = await asking
        stopped = await asyncio.to_thread(heard, "STOPPING=1")
        code = await asyncio.to_thread(running.program.wait, 15)
        return Managed(running, code, started, reloaded, stopped, streamed, late)


@pytest.fixture(scope="module")
def managed(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Managed:
    return asyncio.run(observed_under_a_manager(tmp_path_factory.mktemp("managed"), upstream))


def test_the_service_manager_is_told(managed: Managed) -> None:
    assert any(line.startswith("MONOTONIC_USEC=") for line in managed.reloaded)
    assert managed.reloaded.index("RELOADING=1") < managed.reloaded.index("READY=1")
    assert "STOPPING=1" not in managed.started + managed.reloaded


def test_a_stop_lets_the_running_stream_end(managed: Managed, upstream: Upstream) -> None:
    assert managed.streamed.body.endswith(b"data: [DONE]\n\n")
    row = managed.program.settled("managed-1")
    assert row["cost_nanousd"] == upstream.calls("managed-1")[0]["cost_nanousd"]
    assert managed.code == 0
    assert "Traceback" not in managed.program.program.log


def test_a_request_that_comes_with_the_stop_is_served(managed: Managed) -> None:
    assert (managed.late.status, managed.late.headers["connection"]) == (200, "close")


async def test_a_worker_asked_to_end_finishes_its_answers_and_is_replaced(
    two_workers: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    deaths = len(two_workers.told("worker died"))
    ids = [new_id() for _ in range(6)]
    bodies = [body_of(id, stream=True, words=10, chunks=10, pause=0.1) for id in ids]
    asking = [asyncio.create_task(post(two_workers.port, body)) for body in bodies]
    await eventually(lambda: all(upstream.calls(id) for id in ids), 10, "the calls")
    before = two_workers.children()
    os.kill(before[0], signal.SIGTERM)
    assert all([(await one).body.endswith(b"data: [DONE]\n\n") for one in asking])

    def is_replaced() -> bool:
        now = two_workers.children()
        return len(now) == 2 and before[0] not in now

    await eventually(is_replaced, 20, "another")
    assert len(two_workers.told("worker died")) == deaths


async def test_a_second_interrupt_does_not_wait(two_workers: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    asking = asyncio.create_task(post(two_workers.port, body_of(id, stream=True, words=60, chunks=60, pause=0.2)))
    await eventually(lambda: upstream.calls(id), 10, "the call")
    two_workers.program.process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.5)
    assert two_workers.program.process.poll() is None, "the answer is waited for"
    two_workers.program.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(two_workers.program.wait, 4) == 0
    assert b"gateway_stopping" in (await asking).body
    assert two_workers.settled(id)["error"] == "gateway_stopped"


def test_workers_of_a_keeper_that_was_killed_end(two_workers: Gateway) -> None:
    workers = two_workers.children()
    two_workers.program.process.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers), 10, "the workers' end")
    assert is_refused(two_workers.port)
    two_workers.program.wait()


def test_a_worker_that_dies_again_and_again_is_replaced_ever_later() -> None:
    from gateway.server.process import death_of, pause_before

    assert [pause_before(deaths) for deaths in range(1, 10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert death_of(9, 100_000, 5.0).by == "SIGKILL"
    assert death_of(3 << 8, 100_000, 5.0).by == "exit code 3"

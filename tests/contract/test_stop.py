"""A stop and a death that nobody notices: the order of a stop, what is cut and how, and workers that are replaced."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.raw import body_of, connected, post
from tests.contract.running import (
    Gateway,
    Upstream,
    config,
    eventually,
    get,
    running_gateway,
    start_gateway,
    wait_for,
    write_setup,
)

NewId = Callable[[], str]
pytestmark = pytest.mark.long
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def started(folder: Path, upstream: Upstream, workers: int, **server: Any) -> Gateway:
    settings = config(upstream.url)
    settings["server"] |= {"workers": workers, **server}
    return start_gateway(write_setup(folder, settings))


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return True
    return False


def raw(id: str, **more: Any) -> bytes:
    return json.dumps(body_of(id, **more)).encode()


def told(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.program.lines if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def children(gateway: Gateway) -> list[int]:
    pid = gateway.program.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@WORKERS
async def test_a_stop_goes_on_serving_while_load_balancers_take_notice(
    tmp_path: Path, upstream: Upstream, new_id: NewId, workers: int
) -> None:
    running = await asyncio.to_thread(started, tmp_path, upstream, workers, drain="1500ms")
    async with connected(running.port) as idle, connected(running.port) as busy:
        assert (await idle.post(raw(new_id()))).status == 200
        running.program.process.send_signal(signal.SIGTERM)
        await eventually(lambda: get(f"{running.root}/ready")[0] == 503, 1, "/ready to say no")
        assert json.loads(get(f"{running.root}/ready")[1])["status"] == "draining"
        answer = await busy.post(raw(new_id()))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert (await post(running.port, body_of(new_id()))).status == 200, "new connections are taken"
        assert await asyncio.wait_for(idle.reader.read(1), 5) == b"", "then idle ones are closed"
        await eventually(lambda: is_refused(running.port), 2, "the port to close")
    assert await asyncio.to_thread(running.program.wait, 5) == 0
    assert "Traceback" not in running.program.log


@WORKERS
async def test_an_answer_that_takes_longer_than_the_grace_ends_in_an_error(
    tmp_path: Path, upstream: Upstream, new_id: NewId, workers: int
) -> None:
    running = await asyncio.to_thread(started, tmp_path, upstream, workers, grace="500ms")
    streamed, whole = new_id(), new_id()
    slow: dict[str, Any] = {"words": 60, "chunks": 60, "pause": 0.15}
    asking = asyncio.create_task(post(running.port, body_of(streamed, stream=True, **slow)))
    waiting = asyncio.create_task(post(running.port, body_of(whole, delay=20)))
    await eventually(lambda: upstream.calls(streamed) and upstream.calls(whole), 10, "both calls")
    await asyncio.sleep(0.5)
    running.program.process.send_signal(signal.SIGTERM)
    answer, refusal = await asking, await waiting
    assert b'"code":"gateway_stopping"' in answer.body
    assert (refusal.status, json.loads(refusal.body)["error"]["code"]) == (503, "gateway_stopping")
    assert await asyncio.to_thread(running.program.wait, 10) == 0
    for id in (streamed, whole):
        row = running.settled(id)
        assert (row["status"], row["error"]) == ("cancelled", "gateway_stopped")
    assert running.settled(streamed)["completion_tokens"] > 0
    assert "Traceback" not in running.program.log


async def test_a_second_interrupt_does_not_wait(tmp_path: Path, upstream: Upstream, new_id: NewId) -> None:
    running = await asyncio.to_thread(started, tmp_path, upstream, 2)
    id = new_id()
    asking = asyncio.create_task(post(running.port, body_of(id, stream=True, words=60, chunks=60, pause=0.2)))
    await eventually(lambda: upstream.calls(id), 10, "the call")
    running.program.process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.5)
    assert running.program.process.poll() is None, "the answer is waited for"
    running.program.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(running.program.wait, 4) == 0
    assert b"gateway_stopping" in (await asking).body
    assert running.settled(id)["error"] == "gateway_stopped"


async def test_a_request_that_comes_with_the_stop_is_served(tmp_path: Path, upstream: Upstream, new_id: NewId) -> None:
    running = await asyncio.to_thread(started, tmp_path, upstream, 1)
    async with connected(running.port) as late:
        running.program.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        answer = await late.post(raw(new_id()))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await asyncio.to_thread(running.program.wait, 5) == 0


async def test_a_worker_asked_to_end_finishes_its_answers_and_is_replaced(
    tmp_path: Path, upstream: Upstream, new_id: NewId
) -> None:
    running = await asyncio.to_thread(started, tmp_path, upstream, 2)
    try:
        ids = [new_id() for _ in range(6)]
        bodies = [body_of(id, stream=True, words=10, chunks=10, pause=0.2) for id in ids]
        asking = [asyncio.create_task(post(running.port, body)) for body in bodies]
        await eventually(lambda: all(upstream.calls(id) for id in ids), 10, "the calls")
        before = children(running)
        os.kill(before[0], signal.SIGTERM)
        assert all([(await one).body.endswith(b"data: [DONE]\n\n") for one in asking])
        await eventually(lambda: len(children(running)) == 2 and before[0] not in children(running), 10, "another")
        assert told(running, "worker died") == []
    finally:
        assert await asyncio.to_thread(running.program.stop) == 0


def test_workers_of_a_keeper_that_was_killed_end(tmp_path: Path, upstream: Upstream) -> None:
    running = started(tmp_path, upstream, 2)
    workers = children(running)
    running.program.process.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers), 10, "the workers' end")
    assert is_refused(running.port)
    running.program.wait()


def test_the_service_manager_is_told(tmp_path: Path, upstream: Upstream) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        settings = config(upstream.url)
        manage: dict[str, Any] = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with running_gateway(write_setup(tmp_path, settings), **manage) as running:
            said: list[str] = []

            def hears(line: str) -> bool:
                while line not in said:
                    said.extend(manager.recv(4096).decode().split("\n"))
                return True

            assert hears("WATCHDOG=1")
            assert hears("READY=1")
            said.clear()
            running.program.process.send_signal(signal.SIGHUP)
            assert hears("RELOADING=1")
            assert any(line.startswith("MONOTONIC_USEC=") for line in said)
            assert hears("READY=1")
            running.program.process.send_signal(signal.SIGTERM)
            assert hears("STOPPING=1")


def test_a_worker_that_dies_again_and_again_is_replaced_ever_later() -> None:
    from gateway.server.process import death_of, pause_before

    assert [pause_before(deaths) for deaths in range(1, 10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert death_of(9, 100_000, 5.0).by == "SIGKILL"
    assert death_of(3 << 8, 100_000, 5.0).by == "exit code 3"

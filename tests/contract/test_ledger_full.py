"""A full disk: no request goes upstream that could not be entered, and the gateway recovers by itself.

The disk is filled by a limit on the size of files that is laid on the running process (prlimit, Linux), so the ledger's
file ends in the middle of a line, as on a real disk.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.raw import body_of, post
from tests.contract.running import Gateway, Upstream, config, eventually, run_gateway, running_gateway, write_setup

NewId = Callable[[], str]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")


@pytest.fixture
def own(upstream: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(write_setup(tmp_path, config(upstream.url))) as running:
        yield running


def limit_files(gateway: Gateway, size: int) -> None:
    if sys.platform == "linux":
        _, hard = resource.prlimit(gateway.program.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.program.pid, resource.RLIMIT_FSIZE, (size, hard))


@pytest.mark.parametrize("beyond", [0, 37])
async def test_a_full_disk_is_a_503_before_upstream_is_called_and_heals(
    own: Gateway, upstream: Upstream, new_id: NewId, beyond: int
) -> None:
    first, shut, stream, healed = (new_id() for _ in range(4))
    assert (await post(own.port, body_of(first))).status == 200
    size = max(file.stat().st_size for file in own.ledger.glob("*.jsonl"))
    limit_files(own, size + beyond)
    for id, streamed in ((shut, False), (stream, True)):
        answer = await post(own.port, body_of(id, stream=streamed))
        assert answer.status == 503, answer
        assert answer.error["type"] in {"api_error", "server_error"}
        assert upstream.calls(id) == []
    limit_files(own, resource.RLIM_INFINITY)

    assert (await post(own.port, body_of(healed))).status == 200
    row = own.settled(healed)
    assert row["cost_nanousd"] == upstream.calls(healed)[0]["cost_nanousd"]
    report = run_gateway("report", "--ledger", str(own.ledger), "--by", "user", "--format", "json")
    assert report.returncode == 0, report.stderr
    total = json.loads(report.stdout)["total"]
    assert total["cost_nanousd"] == upstream.tally(first, healed)["cost_nanousd"]


async def test_a_disk_that_fills_while_a_stream_runs_loses_no_settled_line(
    own: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    before, id = new_id(), new_id()
    assert (await post(own.port, body_of(before))).status == 200
    asking = asyncio.create_task(post(own.port, body_of(id, stream=True, words=6, chunks=6, pause=0.2)))
    await eventually(lambda: upstream.calls(id), 10, "the stream's start")
    size = max(file.stat().st_size for file in own.ledger.glob("*.jsonl"))
    limit_files(own, size)
    await eventually(lambda: not upstream.calls(id)[0]["open"], 10, "the stream's end")
    await asyncio.sleep(0.5)
    limit_files(own, resource.RLIM_INFINITY)
    await asyncio.wait_for(asyncio.gather(asking, return_exceptions=True), 20)
    row = await asyncio.to_thread(own.settled, id, 15)
    assert row["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]

"""`gateway serve` refuses to start on anything wrong, with exit code 2 and every error at once; it stops gracefully."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.contract.raw import body_of, post
from tests.contract.running import (
    KEYS,
    POLICIES,
    Gateway,
    OnDemand,
    Upstream,
    config,
    free_port,
    get,
    model,
    run_gateway,
    write_setup,
)

NewId = Callable[[], str]


def refused(path: Path, *more: str) -> str:
    """What a start that was refused printed."""
    arguments = more or ["--port", str(free_port())]
    ended = run_gateway("serve", "--config", str(path), *arguments, timeout=30)
    assert ended.returncode == 2, (ended.returncode, ended.stdout, ended.stderr)
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


def found_wrong(path: Path) -> str:
    """What `gateway check` printed of a configuration that it refuses; in this process, which is quicker."""
    ended = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert ended.exit_code == 2, ended.output
    return ended.output


def test_health_needs_no_key(gateway: Gateway) -> None:
    status, body = get(f"{gateway.root}/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert get(f"{gateway.root}/ready")[0] == 200


@pytest.mark.parametrize("told_by", [refused, found_wrong])
def test_every_error_of_both_files_is_told_at_once_with_file_and_line(
    tmp_path: Path, told_by: Callable[[Path], str]
) -> None:
    settings = config("http://127.0.0.1:9")
    settings["model_list"][0]["litellm_params"]["modle"] = settings["model_list"][0]["litellm_params"].pop("model")
    settings["model_list"][1]["litellm_params"]["api_key"] = "os.environ/NO_SUCH_VARIABLE_HERE"
    settings |= {"default_polcy": "roomy", "default_policy": "nowhere"}
    settings["server"]["workers"] = "many"
    settings["keys"][0]["sha256"] = "short"
    policies = {
        **POLICIES,
        "odd": {
            "name": "odd",
            "context_windw": 5,
            "tighten": [{"at": "90%"}],
            "ladder": {"system": ["stub"]},
        },
    }
    told = told_by(write_setup(tmp_path, settings, policies))
    for wanted in (
        "default_polcy",
        "did you mean",
        "nowhere",
        "NO_SUCH_VARIABLE_HERE",
        "server.workers",
        "keys[0]",
        "context_windw",
        "tighten",
        "does nothing; give context_window",
        "system",
    ):
        assert wanted in told, (wanted, told)
    assert re.search(r"config\.yaml:\d+", told)
    assert re.search(r"odd\.yaml:\d+", told)


@pytest.mark.parametrize(
    "text", ["", "[]", "server: {port: 1, port: 2}\nmodel_list: []", "a: [1", "\x00", "model_list: 5"]
)
def test_a_config_that_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert "config.yaml" in found_wrong(path)


def test_a_config_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused(tmp_path / "nowhere.yaml")


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    path = write_setup(tmp_path, config("http://127.0.0.1:9"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused(path, "--port", str(port))


def test_a_ledger_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("a file, not a folder", encoding="utf-8")
    assert "ledger" in refused(write_setup(tmp_path, config("http://127.0.0.1:9")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_folder_without_permission_is_refused(tmp_path: Path) -> None:
    path = write_setup(tmp_path, config("http://127.0.0.1:9"))
    (tmp_path / "ledger").mkdir(mode=0o500)
    assert "ledger" in refused(path)


@pytest.fixture(scope="module")
def open_to_all(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnDemand]:
    """A gateway without keys, one of whose models has no price."""
    settings = config(upstream.url, keys=[], teams={})
    settings["model_list"].append(model("odd", "no-such-model-anywhere", upstream.url))
    on_demand = OnDemand(lambda: tmp_path_factory.mktemp("open"), settings)
    yield on_demand
    on_demand.stop()


async def test_a_model_without_a_price_is_refused_unless_the_config_allows_it(
    open_to_all: OnDemand, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    answer = await post(open_to_all.gateway().port, body_of(id, model="odd"), key=None)
    assert answer.status in {400, 403, 404, 500, 503}
    assert "price" in answer.error["message"]
    assert upstream.calls(id) == []


async def test_without_keys_the_gateway_is_open(open_to_all: OnDemand, new_id: NewId) -> None:
    port = open_to_all.gateway().port
    assert (await post(port, body_of(new_id()), key=None)).status == 200
    assert (await post(port, body_of(new_id()), key="anything")).status == 200


def test_an_interrupt_stops_it_in_seconds(open_to_all: OnDemand) -> None:
    running = open_to_all.gateway()
    started = time.monotonic()
    running.program.process.send_signal(signal.SIGINT)
    code = running.program.wait(10)
    assert code in {0, -signal.SIGINT, 130}
    assert time.monotonic() - started < 5
    assert "Traceback" not in running.program.log


async def test_several_workers_share_one_ledger(two_workers: Gateway, upstream: Upstream, new_id: NewId) -> None:
    ids = [new_id() for _ in range(120)]
    for start in range(0, 120, 20):
        batch = [body_of(id, stream=len(id) % 2 == 0) for id in ids[start : start + 20]]
        answers = await asyncio.gather(*(post(two_workers.port, body) for body in batch))
        assert {answer.status for answer in answers} == {200}
    every = [row for row in two_workers.rows() if row["event"] == "settled"]
    rows = [row for row in every if row["user"] in ids]
    assert sorted(row["user"] for row in rows) == sorted(ids)
    assert len({row["id"] for row in rows}) == 120
    assert sum(row["cost_nanousd"] for row in rows) == upstream.tally(*ids)["cost_nanousd"]
    assert {row["key"] for row in rows} == {"main"}
    report = run_gateway("report", "--ledger", str(two_workers.ledger), "--by", "key", "--format", "json")
    assert json.loads(report.stdout)["total"]["requests"] == len(every)


async def test_a_key_may_ask_what_was_done_to_its_own_requests_only(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    answer = await post(gateway.port, body_of(id))
    address = f"{gateway.url}/requests/{answer.headers['x-request-id']}"
    status, body = get(address, {"authorization": f"Bearer {KEYS['main']}"})
    assert status == 200
    assert upstream.calls(id)[0]["prompt_tokens"] == find(json.loads(body), "prompt_tokens")
    assert get(address, {"authorization": f"Bearer {KEYS['narrow']}"})[0] == 404
    assert get(address, {"authorization": "Bearer sk-gw-nobody"})[0] == 401
    explained = run_gateway(
        "explain", answer.headers["x-request-id"], "--config", str(gateway.config), "--format", "json"
    )
    assert explained.returncode == 0, explained.stderr
    assert json.loads(explained.stdout)


def find(value: Any, name: str) -> Any:
    """The first value of this name anywhere in a JSON document."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        value = list(value.values())
    found = [find(one, name) for one in value] if isinstance(value, list) else []
    return next((one for one in found if one is not None), None)

"""A change of the configuration is taken in by every process or by none, while requests go on."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.raw import body_of, post
from tests.contract.running import (
    KEYS,
    Gateway,
    Upstream,
    config,
    eventually,
    get,
    model,
    run_gateway,
    running_gateway,
    wait_for,
    write_setup,
)

pytestmark = pytest.mark.long
NEW_KEY = "sk-gw-new-0005"


class Edited:
    """A gateway of so many workers, and its files."""

    def __init__(self, gateway: Gateway, settings: dict[str, Any]) -> None:
        self.gateway, self.settings = gateway, settings

    def write(self, **changes: Any) -> None:
        self.settings |= changes
        write_setup(self.gateway.config.parent, self.settings)

    def write_text(self, text: str) -> None:
        self.gateway.config.write_text(text, encoding="utf-8")

    def reload(self) -> tuple[int, str]:
        ended = run_gateway("reload", "--config", str(self.gateway.config))
        return ended.returncode, ended.stdout + ended.stderr

    def models(self, key: str) -> tuple[int, list[str]]:
        """What a key may ask for, over a connection of its own: any worker answers."""
        status, body = get(f"{self.gateway.url}/models", {"authorization": f"Bearer {key}"})
        return status, [one["id"] for one in json.loads(body)["data"]] if status == 200 else []

    def ready(self) -> dict[str, Any]:
        return dict(json.loads(get(f"{self.gateway.root}/ready")[1]))

    def told(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.gateway.program.lines if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.gateway.program.pid}/task/{self.gateway.program.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@pytest.fixture(scope="module", params=[1, 3])
def running(request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory):
    settings = config(upstream.url)
    settings["server"]["workers"] = request.param
    with running_gateway(write_setup(tmp_path_factory.mktemp("reload"), settings)) as gateway:
        yield gateway, settings


@pytest.fixture
def edited(running: tuple[Gateway, dict[str, Any]]) -> Edited:
    gateway, settings = running
    edited = Edited(gateway, dict(settings))
    edited.write()
    assert edited.reload()[0] == 0
    return edited


def key_entry(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "sha256": sha256(key.encode()).hexdigest(), "team": "contract"}


def test_keys_and_models_change_with_the_next_request_in_every_process(edited: Edited, upstream: Upstream) -> None:
    before = edited.ready()["config"]["digest"]
    keys = [one for one in edited.settings["keys"] if one["name"] != "main"]
    more = [*edited.settings["model_list"], model("another", "gpt-4o", upstream.url)]
    edited.write(keys=[*keys, key_entry("new", NEW_KEY)], model_list=more)
    code, told = edited.reload()
    assert code == 0, told
    assert {edited.models(KEYS["main"])[0] for _ in range(12)} == {401}
    assert all("another" in edited.models(NEW_KEY)[1] for _ in range(12))
    digest = edited.ready()["config"]["digest"]
    assert digest != before
    assert digest in told


def test_a_file_that_cannot_be_read_changes_nothing_and_is_told_of_once(edited: Edited) -> None:
    before = edited.ready()["config"]
    edited.write_text(edited.gateway.config.read_text() + "\nkeys: [")
    code, told = edited.reload()
    assert code == 2
    assert "config.yaml:" in told
    assert "Traceback" not in edited.gateway.program.log
    assert edited.reload()[0] == 2
    assert len(edited.told("configuration not reloaded, the last good one stays")) == 1
    ready = edited.ready()
    assert ready["status"] == "ready"
    assert ready["config"]["digest"] == before["digest"]
    assert ready["config"]["refused"].startswith("config.yaml:")
    assert edited.models(KEYS["main"])[0] == 200
    edited.write()
    assert edited.reload()[0] == 0
    assert "refused" not in edited.ready()["config"]


def test_sighup_reloads_and_does_not_end_the_program(edited: Edited) -> None:
    edited.write(keys=[*edited.settings["keys"], key_entry("new", NEW_KEY)])
    edited.gateway.program.process.send_signal(signal.SIGHUP)
    wait_for(lambda: edited.models(NEW_KEY)[0] == 200, 10, "the new key")
    assert edited.gateway.program.process.poll() is None


def test_what_needs_a_restart_is_said_and_the_rest_is_taken_in(edited: Edited) -> None:
    edited.write(
        server={**edited.settings["server"], "max_body": "3MB"},
        keys=[*edited.settings["keys"], key_entry("n", NEW_KEY)],
    )
    code, told = edited.reload()
    assert code == 0
    assert "server.max_body was changed and takes a restart" in told
    assert edited.models(NEW_KEY)[0] == 200


async def test_a_request_under_way_keeps_the_configuration_that_it_came_under(
    edited: Edited, upstream: Upstream, new_id: Callable[[], str]
) -> None:
    id = new_id()
    long = body_of(id, stream=True, words=40, chunks=40, pause=0.15)
    asking = asyncio.create_task(post(edited.gateway.port, long))
    await eventually(lambda: upstream.calls(id), 10, "the stream's start")
    edited.write(model_list=edited.settings["model_list"][1:], keys=[key_entry("new", NEW_KEY)], fallbacks=[])
    assert (await asyncio.to_thread(edited.reload))[0] == 0
    assert not asking.done()
    assert (await asking).body.endswith(b"data: [DONE]\n\n")
    assert edited.gateway.settled(id)["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]


def test_a_worker_that_is_replaced_serves_what_the_others_serve(edited: Edited) -> None:
    if edited.settings["server"]["workers"] == 1:
        pytest.skip("it keeps no workers")
    edited.write(keys=[key_entry("new", NEW_KEY)])
    assert edited.reload()[0] == 0
    edited.write_text("model_list: [")
    (killed, *others) = edited.workers()
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(edited.workers()) == 1 + len(others) and killed not in edited.workers(), 10, "another worker")
    wait_for(lambda: edited.ready()["workers"] == {"ready": 3, "of": 3}, 20, "it to serve")
    assert {edited.models(KEYS["main"])[0] for _ in range(20)} == {401}
    assert {edited.models(NEW_KEY)[0] for _ in range(20)} == {200}
    (death,) = edited.told("worker died")
    assert (death["by"], death["pid"]) == ("SIGKILL", killed)
    assert death["memory_mb"] > 30


def test_a_change_is_taken_in_by_itself_where_the_files_are_watched(upstream: Upstream, tmp_path: Path) -> None:
    settings = config(upstream.url, watch=True)
    with running_gateway(write_setup(tmp_path, settings)) as gateway:
        edited = Edited(gateway, settings)
        wait_for(lambda: edited.told("the configuration is watched"), 5)
        edited.write(keys=[*settings["keys"], key_entry("new", NEW_KEY)])
        wait_for(lambda: edited.models(NEW_KEY)[0] == 200, 10, "the new key")
        edited.write_text("model_list: [")
        wait_for(lambda: edited.told("configuration not reloaded, the last good one stays"), 10, "the refusal")
        assert edited.models(NEW_KEY)[0] == 200


def test_where_nothing_runs_reload_says_so(tmp_path: Path, upstream: Upstream) -> None:
    path = write_setup(tmp_path, config(upstream.url))
    ended = run_gateway("reload", "--config", str(path))
    assert ended.returncode == 1
    assert "no gateway of" in ended.stderr
    shutil.rmtree(tmp_path / "policies")
    path.write_text(yaml.safe_dump({"model_list": []}))
    assert run_gateway("reload", "--config", str(path)).returncode == 1

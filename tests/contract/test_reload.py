"""A change of the configuration is taken in by every process or by none, while requests go on."""

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
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
REFUSED = "configuration not reloaded, the last good one stays"


class Edited:
    """A gateway, and its files."""

    def __init__(self, gateway: Gateway, settings: dict[str, Any]) -> None:
        self.gateway, self.settings = gateway, settings

    def write(self, **changes: Any) -> None:
        self.settings |= changes
        write_setup(self.gateway.config.parent, self.settings)

    def write_text(self, text: str) -> None:
        self.gateway.config.write_text(text, encoding="utf-8")

    def take_in(self) -> dict[str, Any]:
        """Have it take in its files, as `gateway reload` does, and return what it says."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(30)
            line.connect(str(self.gateway.config.parent / "var" / "control" / f"{self.gateway.port}.sock"))
            line.sendall(b"reload\n")
            with line.makefile() as answer:
                return dict(json.loads(answer.readline()))

    def reload(self) -> tuple[int, str]:
        """The same by the command: its exit code, and what it printed."""
        ended = run_gateway("reload", "--config", str(self.gateway.config))
        return ended.returncode, ended.stdout + ended.stderr

    def models(self, key: str) -> tuple[int, list[str]]:
        """What a key may ask for, over a connection of its own: any worker answers."""
        status, body = get(f"{self.gateway.url}/models", {"authorization": f"Bearer {key}"})
        return status, [one["id"] for one in json.loads(body)["data"]] if status == 200 else []

    def ready(self) -> dict[str, Any]:
        """The answer to readiness; nobody answers where a worker is killed that just took the connection."""
        body = wait_for(lambda: get(f"{self.gateway.root}/ready")[1], 10, "an answer")
        return dict(json.loads(body))


def edited_of(gateway: Gateway) -> Iterator[Edited]:
    """Its files to edit, and as they were at the end: others use it too."""
    before = gateway.config.read_text(encoding="utf-8")
    edited = Edited(gateway, dict(yaml.safe_load(before)))
    yield edited
    edited.write_text(before)
    assert "digest" in edited.take_in()


@pytest.fixture
def edited_pair(two_workers: Gateway) -> Iterator[Edited]:
    yield from edited_of(two_workers)


@pytest.fixture(params=["gateway", "two_workers"])
def edited(request: pytest.FixtureRequest) -> Iterator[Edited]:
    """One process that serves by itself, and two that a third keeps."""
    yield from edited_of(request.getfixturevalue(request.param))


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
    before, before_told = edited.ready()["config"], len(edited.gateway.told(REFUSED))
    edited.write_text(edited.gateway.config.read_text() + "\nkeys: [")
    code, told = edited.reload()
    assert code == 2
    assert "config.yaml:" in told
    assert "Traceback" not in edited.gateway.program.log
    assert "config.yaml:" in edited.take_in()["refused"]
    assert len(edited.gateway.told(REFUSED)) == before_told + 1
    ready = edited.ready()
    assert ready["status"] == "ready"
    assert ready["config"]["digest"] == before["digest"]
    assert ready["config"]["refused"].startswith("config.yaml:")
    assert edited.models(KEYS["main"])[0] == 200
    edited.write()
    edited.take_in()
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
    long = body_of(id, stream=True, words=20, chunks=20, pause=0.15)
    asking = asyncio.create_task(post(edited.gateway.port, long))
    await eventually(lambda: upstream.calls(id), 10, "the stream's start")
    edited.write(model_list=edited.settings["model_list"][1:], keys=[key_entry("new", NEW_KEY)], fallbacks=[])
    assert "digest" in await asyncio.to_thread(edited.take_in)
    assert not asking.done()
    assert (await asking).body.endswith(b"data: [DONE]\n\n")
    assert edited.gateway.settled(id)["cost_nanousd"] == upstream.calls(id)[0]["cost_nanousd"]


def test_a_worker_that_is_replaced_serves_what_the_others_serve(edited_pair: Edited) -> None:
    edited = edited_pair
    edited.write(keys=[key_entry("new", NEW_KEY)])
    assert edited.take_in()["processes"] == 2
    edited.write_text("model_list: [")
    killed = edited.gateway.children()[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len({*edited.gateway.children()} - {killed}) == 2, 10, "another worker")
    wait_for(lambda: edited.ready()["workers"] == {"ready": 2, "of": 2}, 20, "it to serve")
    assert {edited.models(KEYS["main"])[0] for _ in range(20)} == {401}
    assert {edited.models(NEW_KEY)[0] for _ in range(20)} == {200}
    (death,) = [one for one in edited.gateway.told("worker died") if one["pid"] == killed]
    assert death["by"] == "SIGKILL"
    assert death["memory_mb"] > 30


def test_a_change_is_taken_in_by_itself_where_the_files_are_watched(upstream: Upstream, tmp_path: Path) -> None:
    settings = config(upstream.url, watch=True)
    with running_gateway(write_setup(tmp_path, settings)) as gateway:
        edited = Edited(gateway, settings)
        wait_for(lambda: gateway.told("the configuration is watched"), 5)
        edited.write(keys=[*settings["keys"], key_entry("new", NEW_KEY)])
        wait_for(lambda: edited.models(NEW_KEY)[0] == 200, 10, "the new key")
        edited.write_text("model_list: [")
        wait_for(lambda: gateway.told(REFUSED), 10, "the refusal")
        assert edited.models(NEW_KEY)[0] == 200


def test_where_nothing_runs_reload_says_so(tmp_path: Path, upstream: Upstream) -> None:
    path = write_setup(tmp_path, config(upstream.url))
    ended = run_gateway("reload", "--config", str(path))
    assert ended.returncode == 1
    assert "no gateway of" in ended.stderr
    shutil.rmtree(tmp_path / "policies")
    path.write_text(yaml.safe_dump({"model_list": []}))
    assert run_gateway("reload", "--config", str(path)).returncode == 1

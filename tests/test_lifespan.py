"""Start and stop: whatever lies in the state and whatever fails, the gateway starts and ends, and writes its books."""

import random
import socket
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.app import create_app
from gateway.config import Config, load
from gateway.prompt_cache import sharing, system_text_sharing
from gateway.routing import calibrations, placements
from gateway.routing.loads import Stay
from gateway.serving.services import Gateway
from gateway.state.disk import DiskState
from tests.contract.running import eventually
from tests.nonsense import KINDS, nonsense

SETTINGS = """
model_list:
  - {{model_name: asked, litellm_params: {{model: demo/gpt-4o}}}}
  - {{model_name: twins, litellm_params: {{model: demo/anthropic}}}}
  - {{model_name: twins, litellm_params: {{model: demo/openai}}}}
  - {{model_name: claude, litellm_params: {{model: anthropic/claude-sonnet-5, api_key: none}}}}
ledger: {{dir: ledger}}
state: {{{state}}}
"""
KEYS = {
    placements.STAYS: placements.KEY,
    calibrations.STATS: "calibration/2/anthropic/claude-sonnet-5",
    sharing.UPDATES: sharing.SENT,
    sharing.BY_KIND: sharing.HABITS,
    sharing.BY_GROUP: sharing.GROUPS,
    system_text_sharing.LINE_CHANGES: system_text_sharing.KEY,
}


def config(folder: Path, state: str = "dir: state") -> Config:
    (folder / "config.yaml").write_text(SETTINGS.format(state=state))
    return load(folder / "config.yaml", {})


def plant(folder: Path, draw: random.Random) -> None:
    """Put nonsense wherever a gateway looks without being asked."""
    state = DiskState(folder / "state")
    for kind in KINDS:
        if kind.codec in KEYS:
            state.put(KEYS[kind.codec], nonsense(draw, kind.genuine))
    state.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_it_starts_and_stops_on_whatever_lies_in_the_state(tmp_path: Path, seed: int):
    draw = random.Random(seed)
    plant(tmp_path, draw)
    app = create_app(config(tmp_path))
    with capture_logs() as log:
        async with app.router.lifespan_context(app):
            gateway: Gateway = app.state.gateway
            for _ in range(3):
                plant(tmp_path, draw)
                gateway.loads._moved[7] = Stay("twins#0", time.time() + 60, for_load=True)
                gateway.system_texts.give_back(dict(system_text_sharing.LINE_CHANGES.read(KINDS[6].genuine)))
                await gateway.sharing.exchange()
            plant(tmp_path, draw)
    told = [line for line in log if line["log_level"] != "info"]
    assert {line["event"] for line in told} <= {"state not understood, begun anew"}
    assert len({line["kind"] for line in told}) == len(told)
    assert gateway.ledger._closed


async def test_the_ledger_is_closed_whatever_else_fails_at_the_end(tmp_path: Path):
    app = create_app(config(tmp_path))
    running = app.router.lifespan_context(app)
    await running.__aenter__()
    app.state.running.add("not a task")
    with pytest.raises(AttributeError):
        await running.__aexit__(None, None, None)
    assert app.state.gateway.ledger._closed
    assert app.state.gateway.sharing._closing.is_set()


async def test_a_state_that_is_removed_while_it_serves_is_there_again(tmp_path: Path):
    app = create_app(config(tmp_path))
    with capture_logs() as log:
        async with app.router.lifespan_context(app):
            gateway: Gateway = app.state.gateway
            for file in (tmp_path / "state").iterdir():
                file.unlink()
            (tmp_path / "state").rmdir()
            gateway.loads._moved[7] = Stay("twins#0", time.time() + 60, for_load=True)
            await eventually((tmp_path / "state" / "cache.db").exists, 5)
    state = DiskState(tmp_path / "state")
    assert placements.STAYS.read(state.get(placements.KEY) or b"")
    state.close()
    assert [line["event"] for line in log if "begun anew" in line["event"]]


async def test_a_server_that_hangs_holds_up_neither_start_nor_stop(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as nobody_answers:
        url = f"redis://127.0.0.1:{nobody_answers.getsockname()[1]}/0"
        app = create_app(config(tmp_path, f"redis: {url!r}"))
        began = time.monotonic()
        async with app.router.lifespan_context(app):
            started = time.monotonic()
            gateway: Gateway = app.state.gateway
            gateway.loads._moved[7] = Stay("twins#0", time.time() + 60, for_load=True)
            closing = time.monotonic()
        closed = time.monotonic()
    assert started - began < 3
    assert closed - closing < 3
    assert gateway.ledger._closed

"""Who may read what the gateway writes: the owner alone, unless the configuration says more. What is there stays."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import ConfigErrors, load
from gateway.config.folders import ledger_folder_mode
from gateway.config.startup import exposed, startup_problems
from gateway.money.ledger import Ledger
from gateway.money.row import LedgerRow
from gateway.state.disk import DiskState

SMALL = "model_list: [{model_name: m, litellm_params: {model: demo/demo}}]\nstate: {dir: state}\n"


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_state_and_requests_are_for_the_owner_alone_under_any_umask(tmp_path: Path, umask: int):
    (tmp_path / "config.yaml").write_text(SMALL + "ledger: {dir: var/ledger, content: requests}\n")
    config = load(tmp_path / "config.yaml", {})
    assert startup_problems(config) == ()
    state = DiskState(tmp_path / "state")
    state.put("k", b"v")
    ledger = Ledger(config.ledger.dir, content=True, mode=config.ledger.mode)
    ledger.keep("gw_1", "team", b"{}")
    await ledger.append(LedgerRow("opened"))
    assert mode(tmp_path / "state") == mode(tmp_path / "var" / "ledger") == 0o700
    assert {mode(path) for path in (tmp_path / "state").iterdir()} == {0o600}
    assert len(list((tmp_path / "state").iterdir())) > 1, "the log of SQLite is among them"
    (content,) = (tmp_path / "var" / "ledger").glob("*.content.jsonl")
    assert mode(content) == 0o600
    ledger.close()
    state.close()
    assert list(exposed(config)) == []


@pytest.mark.parametrize(
    ("written", "file", "folder"), [("0640", 0o640, 0o750), ("0600", 0o600, 0o700), ('"0o644"', 0o644, 0o755)]
)
def test_the_books_get_the_mode_that_is_configured_under_any_umask(
    tmp_path: Path, umask: int, written: str, file: int, folder: int
):
    text = SMALL + f"ledger: {{dir: ledger, mode: {written}, content: requests}}\n"
    (tmp_path / "config.yaml").write_text(text)
    config = load(tmp_path / "config.yaml", {})
    assert startup_problems(config) == ()
    Ledger(config.ledger.dir, content=True, mode=config.ledger.mode).close()
    assert mode(tmp_path / "ledger") == folder
    assert {path.name.count("content"): mode(path) for path in (tmp_path / "ledger").iterdir()} == {0: file, 1: 0o600}


def test_books_without_a_mode_are_what_the_umask_leaves_of_0640(tmp_path: Path, umask: int):
    Ledger(tmp_path / "ledger").close()
    (file,) = (tmp_path / "ledger").iterdir()
    assert mode(file) == 0o640 & ~umask
    assert mode(tmp_path / "ledger") == 0o750


def test_what_is_there_already_is_warned_of_and_never_changed(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(SMALL + "ledger: {dir: ledger, content: requests}\n")
    config = load(tmp_path / "config.yaml", {})
    for folder in (tmp_path / "state", tmp_path / "ledger"):
        folder.mkdir()
        folder.chmod(0o755)
    sqlite3.connect(tmp_path / "state" / "cache.db").close()
    (tmp_path / "state" / "cache.db").chmod(0o644)
    assert startup_problems(config) == ()
    DiskState(tmp_path / "state").close()
    Ledger(config.ledger.dir, content=True).close()
    assert mode(tmp_path / "state") == mode(tmp_path / "ledger") == 0o755
    assert mode(tmp_path / "state" / "cache.db") == 0o644
    state, ledger = exposed(config)
    assert state.startswith(f"the state folder {tmp_path / 'state'} has mode 0755")
    assert state.endswith(f"chmod 700 {tmp_path / 'state'}")
    assert ledger.endswith(f"chmod 700 {tmp_path / 'ledger'}")


def test_older_files_of_requests_in_a_folder_for_a_group_are_told_of(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(SMALL + "ledger: {dir: ledger, content: requests, mode: 0640}\n")
    config = load(tmp_path / "config.yaml", {})
    assert startup_problems(config) == ()
    old = tmp_path / "ledger" / "2026-01-01.content.jsonl"
    old.touch()
    old.chmod(0o640)
    (told,) = exposed(config)
    assert "2026-01-01.content.jsonl" in told


@pytest.mark.parametrize("written", ["0666", "0400", "0755", "rw", "yes", "true", "9", "06400", "-640"])
def test_what_is_no_mode_of_a_file_of_ours_is_said_at_start(tmp_path: Path, written: str):
    (tmp_path / "config.yaml").write_text(SMALL + f"ledger: {{mode: {written}}}\n")
    with pytest.raises(ConfigErrors, match="is not a mode for the ledger's files"):
        load(tmp_path / "config.yaml", {})


def test_who_may_read_the_books_may_list_them():
    assert [oct(ledger_folder_mode(one, content=False)) for one in (None, 0o600, 0o640, 0o644, 0o660)] == [
        "0o750", "0o700", "0o750", "0o755", "0o750",
    ]  # fmt: skip

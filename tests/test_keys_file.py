"""The keys file: what `gateway keys` writes and what people wrote, read together, and at work in a gateway."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from gateway.config import ConfigErrors, load
from gateway.config.settings import KeyOperation
from gateway.money.keys import digest_of
from gateway.money.ledger.last_used import last_used
from gateway.wire.operations import Operation
from tests.test_cli import gateway, serving

CONFIG = """\
server: {trusted_proxies: [127.0.0.1]}
model_list:
  - {model_name: small, litellm_params: {model: demo/openai}}
  - {model_name: other, litellm_params: {model: demo/openai}}
teams: {support: {}}
keys:
  - {name: inline, sha256: SHA, team: support}
keys_file: keys.yaml
"""
SECRET = re.compile(r"sk-gw-\S+")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("SHA", digest_of("sk-gw-inline")))
    return path


def keys(config: Path, *words: str) -> str:
    done = gateway("keys", words[0], "--config", config, *words[1:])
    assert done.exit_code == 0, done.output
    return done.output


def secret_of(output: str) -> str:
    (found,) = SECRET.findall(output)
    return str(found)


def new(config: Path, name: str, *words: str) -> str:
    return secret_of(keys(config, "new", "--name", name, "--team", "support", *words))


def test_the_operations_of_a_key_are_those_of_the_gateway() -> None:
    assert get_args(KeyOperation) == get_args(Operation)


def test_a_new_key_stands_in_the_file_without_its_secret(config: Path) -> None:
    key = new(config, "bot", "--models", "small", "--expires", "2030-12-31", "--ips", "10.0.0.0/8", "--priority", "5")
    file = config.parent / "keys.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text()
    entry = load(config, {}).keys[-1]
    assert (entry.name, entry.sha256, entry.models, entry.priority) == ("bot", digest_of(key), ("small",), 5)
    assert entry.expires == datetime(2030, 12, 31, tzinfo=UTC)
    assert sorted(path.name for path in config.parent.iterdir()) == [".keys.yaml.lock", "config.yaml", "keys.yaml"]


def test_what_people_wrote_stays_as_it_is(config: Path) -> None:
    odd = f"1e{'5' * 62}"
    written = f"""\
# The keys of the house.

keys:
  # Ines asked for it.
  - name: "ines"   # quoted
    sha256: {odd}
    team: support
    priority: 07
    user:
  - {{name: tom, sha256: '{"0" * 64}', team: support, expires: 2030-12-31}}  # in one line
# The end.
"""
    file = config.parent / "keys.yaml"
    file.write_text(written)
    new(config, "true")
    text = file.read_text()
    assert text.startswith(written.partition("# The end.")[0])
    assert "# The end." in text
    keys(config, "revoke", "true")
    assert 'name: "true"' in text
    assert set(written.splitlines()) <= set(file.read_text().splitlines())


def test_a_rotated_key_has_its_old_secret_beside_the_new_one(config: Path) -> None:
    old = new(config, "bot")
    key = secret_of(keys(config, "rotate", "bot", "--overlap", "1h"))
    entry = load(config, {}).keys[-1]
    assert entry.sha256 == digest_of(key)
    (former,) = entry.former
    assert former.sha256 == digest_of(old)
    assert timedelta(minutes=59) < former.until - datetime.now(UTC) <= timedelta(hours=1)
    keys(config, "rotate", "bot", "--overlap", "0")
    assert len(load(config, {}).keys[-1].former) == 2


def test_old_secrets_that_are_over_leave_the_file_at_the_next_rotation(config: Path) -> None:
    (config.parent / "keys.yaml").write_text(f"""\
keys:
  - name: bot
    sha256: {"1" * 64}
    team: support
    former:
      - {{sha256: {"2" * 64}, until: 2020-01-01}}
      - {{sha256: {"3" * 64}, until: 2099-01-01T00:00:00+02:00}}
""")
    keys(config, "rotate", "bot")
    assert [old.sha256[0] for old in load(config, {}).keys[-1].former] == ["3", "1"]


def test_a_revoked_key_keeps_its_line_and_lives_no_second_time(config: Path) -> None:
    new(config, "bot")
    keys(config, "revoke", "bot")
    entry = load(config, {}).keys[-1]
    assert entry.revoked is not None
    assert datetime.now(UTC) - entry.revoked < timedelta(minutes=1)
    for words in (("rotate", "bot"), ("revoke", "bot"), ("revoke", "nobody")):
        refused = gateway("keys", words[0], "--config", config, words[1])
        assert refused.exit_code == 2
        assert "revoked on" in refused.output or "there is no key 'nobody'" in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "inline"), "there is already a key 'inline'"),
        (("--name", "not a name"), "--name"),
        (("--name", "a", "--paths", "chat,images"), "--paths"),
        (("--name", "a", "--ips", "10.0.0.0/99"), "not an address or a network"),
        (("--name", "a", "--expires", "soon"), "not a moment"),
        (("--name", "a", "--priority", "1000"), "--priority"),
    ],
)
def test_what_the_gateway_would_not_read_is_not_written(config: Path, words: tuple[str, ...], said: str) -> None:
    refused = gateway("keys", "new", "--config", config, "--team", "support", *words)
    assert refused.exit_code == 2
    assert said in refused.output
    assert not (config.parent / "keys.yaml").exists()


def test_every_mistake_of_both_files_is_told_at_once_with_its_place(config: Path) -> None:
    (config.parent / "keys.yaml").write_text(f"""\
keys:
  - {{name: inline, sha256: {digest_of("sk-gw-inline")}, team: nobody}}
  - {{name: x, sha256: short, expires: never, colour: red}}
  - {{name: y, sha256: {"1" * 64}, models: [smal], former: [{{sha256: {"1" * 64}, until: 2026-01-01}}]}}
""")
    with pytest.raises(ConfigErrors) as raised:
        load(config, {})
    told = str(raised.value)
    for place in (
        "keys.yaml:2: keys[0].name: there is already a key named 'inline' (line 7 of config.yaml)",
        "keys.yaml:2: keys[0].sha256: there is already",
        "keys.yaml:2: keys[0].team: there is no team 'nobody'",
        "keys.yaml:3: keys[1].sha256",
        "keys.yaml:3: keys[1].expires",
        "keys.yaml:3: keys[1].colour",
        "keys.yaml:4: keys[2].models[0]: there is no model 'smal'",
        "keys.yaml:4: keys[2].former[0].sha256: there is already",
    ):
        assert place in told, told


def test_a_keys_file_that_is_not_there_is_told(config: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"keys\.yaml.*no such file yet; `gateway keys new`"):
        load(config, {})


def test_a_gateway_with_an_empty_keys_file_is_not_open(config: Path) -> None:
    config.write_text(re.sub(r"keys:\n.*\n", "", config.read_text()))
    (config.parent / "keys.yaml").write_text("keys: []\n")
    assert not load(config, {}).is_open


def test_writers_at_the_same_time_lose_nothing(config: Path) -> None:
    command = [sys.executable, "-m", "gateway", "keys", "new", "--config", str(config), "--team", "support", "--name"]
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda at: subprocess.run([*command, f"k{at}"], check=False).returncode, range(6))
    assert set(done) == {0}
    assert {entry.name for entry in load(config, {}).keys} == {"inline", *(f"k{at}" for at in range(6))}


def test_the_last_use_is_read_from_the_end_and_no_further_than_a_bound(tmp_path: Path) -> None:
    def line(second: int, key: str) -> str:
        return json.dumps({"ts": f"2026-03-01T00:00:{second:02}.000Z", "event": "opened", "key": key}) + "\n"

    (tmp_path / "2026-03-01.jsonl").write_text("".join(line(at, "ab"[at % 2]).replace(" ", "") for at in range(60)))
    found = last_used(tmp_path, {"a", "b", "c"})
    assert {name: at.second for name, at in found.items()} == {"a": 58, "b": 59}
    assert last_used(tmp_path, {"a"}, most=0) == {}
    assert last_used(tmp_path / "nowhere", {"a"}) == {}


HELLO: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


def ask(
    address: str, key: str, path: str = "chat/completions", origin: str = "10.1.1.1", **more: Any
) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}", "x-forwarded-for": origin}
    return httpx.post(f"{address}/v1/{path}", json=HELLO | more, headers=headers, timeout=20)


@pytest.fixture
def issued(config: Path) -> dict[str, str]:
    """Keys of every kind, by name."""
    issued = {
        "plain": new(config, "plain"),
        "late": new(config, "late", "--expires", "2020-01-01"),
        "early": new(config, "early", "--not-before", "2099-01-01"),
        "home": new(config, "home", "--ips", "10.0.0.0/8"),
        "vectors": new(config, "vectors", "--paths", "embeddings"),
        "other": new(config, "other", "--models", "other"),
        "ines": new(config, "ines", "--user", "ines"),
        "gone": new(config, "gone"),
        "old": new(config, "rotated"),
    }
    keys(config, "revoke", "gone")
    return issued | {"rotated": secret_of(keys(config, "rotate", "rotated", "--overlap", "1h"))}


@pytest.fixture
def served(config: Path, issued: dict[str, str]) -> Iterator[str]:
    assert issued
    with serving(config) as (_, address):
        yield address


def test_keys_at_work_over_a_socket(config: Path, issued: dict[str, str], served: str) -> None:
    def answer(name: str, *words: str, **more: Any) -> tuple[int, str]:
        said = ask(served, issued[name], *words, **more)
        return said.status_code, said.json().get("error", {}).get("message", "")

    for name in ("plain", "home", "rotated", "old", "ines"):
        assert answer(name) == (200, "")
    for name, why in (("late", "expired"), ("early", "not valid yet"), ("gone", "revoked")):
        status, message = answer(name)
        assert status == 401
        assert why in message
    unknown = ask(served, "sk-gw-unknown")
    assert unknown.status_code == 401
    assert "missing or unknown" in unknown.json()["error"]["message"]
    for found, code in (
        (ask(served, issued["home"], origin="11.1.1.1"), "address_not_allowed"),
        (ask(served, issued["vectors"]), "path_not_allowed"),
        (ask(served, issued["other"]), "model_not_allowed"),
    ):
        assert (found.status_code, found.json()["error"]["code"]) == (403, code)

    keys(config, "revoke", "plain")
    reloaded = gateway("reload", "--config", config)
    assert reloaded.exit_code == 0, reloaded.output
    assert answer("plain")[0] == 401

    listed = {row["name"]: row for row in json.loads(keys(config, "list", "--format", "json"))["keys"]}
    assert listed["rotated"]["status"] == "rotating"
    assert listed["rotated"]["last_used"] is not None
    assert listed["gone"]["last_used"] is None
    assert [listed[name]["status"] for name in ("plain", "late", "early")] == ["revoked", "expired", "not yet"]
    assert "rotated" in keys(config, "list")
    spent = json.loads(gateway("report", "--config", config, "--by", "user", "--format", "json").output)["rows"]
    assert {row["user"]: row["requests"] for row in spent}["ines"] == 1
    by_key = json.loads(gateway("report", "--config", config, "--by", "key", "--format", "json").output)["rows"]
    assert {row["key"]: row["requests"] for row in by_key}["rotated"] == 2

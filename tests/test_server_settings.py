"""What `server:` says in the configuration, and what is said of what it may not."""

import ipaddress
import pickle
from pathlib import Path

import pytest

from gateway import config
from gateway.config import ConfigErrors, Server
from gateway.server.door import Door

MODELS = "model_list: [{model_name: m, litellm_params: {model: demo/demo}}]\n"


def loaded(folder: Path, text: str) -> Server:
    (folder / "config.yaml").write_text(MODELS + text)
    return config.load(folder / "config.yaml", {}).server


def test_left_out_the_clocks_are_these_and_nobody_is_limited(tmp_path: Path) -> None:
    said = loaded(tmp_path, "")
    assert (said.header_timeout, said.body_timeout, said.keep_alive, said.write_timeout) == (10, 30, 75, 60)
    assert (said.connections_per_address, said.trusted_proxies) == (None, ())
    assert said == Server()


def test_each_can_be_said(tmp_path: Path) -> None:
    text = (
        "server: {header_timeout: 500ms, body_timeout: 1m, keep_alive: 5, write_timeout: 2s, "
        "connections_per_address: 3, trusted_proxies: [10.0.0.7, 'fd00::/8']}"
    )
    said = loaded(tmp_path, text)
    assert (said.header_timeout, said.body_timeout, said.keep_alive, said.write_timeout) == (0.5, 60, 5, 2)
    assert said.connections_per_address == 3
    assert said.trusted_proxies == (ipaddress.ip_network("10.0.0.7/32"), ipaddress.ip_network("fd00::/8"))
    assert loaded(tmp_path, "server: {trusted_proxies: }").trusted_proxies == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("header_timeout: 0", "server.header_timeout: 0 is not a time; write 8s, 500ms or 2m"),
        ("body_timeout: 10ms", "server.body_timeout: '10ms' is not between 100ms and 1d"),
        ("keep_alive: 2w", "server.keep_alive: '2w' is not between 100ms and 1d"),
        ("write_timeout: .inf", "server.write_timeout: '.inf' is not a time"),
        ("connections_per_address: 0", "server.connections_per_address: must be greater than or equal to 1"),
        ("connections_per_address: many", "server.connections_per_address: must be a whole number"),
        ("trusted_proxies: [proxy.example]", "server.trusted_proxies[0]: 'proxy.example' is not an address"),
        ("trusted_proxies: [10.0.0.7/8]", "server.trusted_proxies[0]: '10.0.0.7/8' is not an address"),
        ("trusted_proxies: [7]", "server.trusted_proxies[0]: 7 is not an address"),
        ("trusted_proxies: 10.0.0.7", "server.trusted_proxies: must be a list"),
        ("trusted_proxys: []", "server.trusted_proxys: unknown key 'trusted_proxys'; did you mean 'trusted_proxies'?"),
    ],
)
def test_what_it_may_not_be_is_said_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, f"server:\n  {line}\n")
    assert f"{tmp_path}/config.yaml:3: {told}" in str(caught.value)


def test_what_makes_connections_reaches_every_worker() -> None:
    door = Door(Server(trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),)))
    assert pickle.loads(pickle.dumps(door)) == door

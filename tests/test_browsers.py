"""Which pages and host names reach a gateway, over a socket: none of a stranger's without keys, and listed origins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app import create_app
from gateway.config import ConfigErrors, load
from gateway.wire.origins import Origins
from tests.served import Reply, Served, listening
from tests.talk import body, user

PAGE = "https://app.example.com"
OPEN = """
server: {hosts: [gateway.test, "[2001:db8::7]"]}
cors: [https://app.example.com, "chrome-extension://abcdef"]
model_list: [{model_name: m, litellm_params: {model: demo/gpt-5}}]
ledger: {dir: ledger}
state: {dir: state}
"""
LOCKED = OPEN + f"keys: [{{name: k, sha256: {sha256(b'sk-gw-k').hexdigest()}}}]\n"


def ask(
    port: int,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    data: bytes = body([user("hello")], model="m"),
    host: str | None = "localhost",
    **headers: str,
) -> Reply:
    lines = [] if host is None else [f"host: {one}" for one in host.split("|")]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(data)}", "connection: close"]
    version = "1.1" if host is not None else "1.0"
    head = "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""])
    return Served(port).ask(head.encode("latin-1") + data)


def code_of(refused: Reply) -> str | None:
    told: str | None = json.loads(refused.body)["error"]["code"]
    return told


@contextmanager
def serving(folder: Path, config: str) -> Iterator[int]:
    (folder / "config.yaml").write_text(config)
    with listening(create_app(load(folder / "config.yaml", {}))) as port:
        yield port


SERVED: list[Mapping[str, str | None]] = [
    {},
    {"host": "LOCALHOST:8080"},
    {"host": "localhost."},
    {"host": "127.0.0.1:1"},
    {"host": "127.8.9.1"},
    {"host": "[::1]:8080"},
    {"host": "Gateway.Test:8080"},
    {"host": "[2001:db8::7]:8080"},
    {"origin": "http://localhost"},
    {"origin": "http://127.0.0.1:8080", "host": "127.0.0.1:8080"},
    {"origin": PAGE, "sec_fetch_site": "cross-site"},
    {"origin": "chrome-extension://abcdef"},
    {"sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
]
REFUSED: list[tuple[Mapping[str, str | None], str]] = [
    ({"host": "evil.example"}, "host_not_allowed"),
    ({"host": "evil.example:8080", "origin": "http://evil.example:8080"}, "host_not_allowed"),
    ({"host": "localhost.evil.example"}, "host_not_allowed"),
    ({"host": "evil.localhost"}, "host_not_allowed"),
    ({"host": "0.0.0.0"}, "host_not_allowed"),
    ({"host": "127.0.0.1.evil.example"}, "host_not_allowed"),
    ({"host": "[::ffff:8.8.8.8]"}, "host_not_allowed"),
    ({"host": ""}, "host_not_allowed"),
    ({"host": None}, "host_not_allowed"),
    ({"host": "evil.example", "origin": PAGE}, "host_not_allowed"),
    ({"origin": "https://evil.example"}, "origin_not_allowed"),
    ({"origin": "http://localhost:3000"}, "origin_not_allowed"),
    ({"origin": "null"}, "origin_not_allowed"),
    ({"origin": ""}, "origin_not_allowed"),
    ({"origin": PAGE + ".evil.example"}, "origin_not_allowed"),
    ({"sec_fetch_site": "cross-site"}, "origin_not_allowed"),
    ({"sec_fetch_site": "same-site"}, "origin_not_allowed"),
]


def test_without_keys_this_machine_and_listed_names_are_served_and_nobody_else(tmp_path: Path):
    with serving(tmp_path, OPEN) as port:
        for said in SERVED:
            assert ask(port, **said).status == 200, said  # type: ignore[arg-type]
        for said, code in REFUSED:
            refused = ask(port, **said)  # type: ignore[arg-type]
            assert (refused.status, code_of(refused)) == (403, code), said
            assert (b"server: {hosts" if "host" in code else b"cors:") in refused.body
            assert refused.header("access-control-allow-origin") is None
        for path in ("/v1/models", "/health", "/nowhere", "/v1/requests/x"):
            assert code_of(ask(port, "GET", path, b"", host="evil.example")) == "host_not_allowed"
            assert code_of(ask(port, "GET", path, b"", origin="https://evil.example")) == "origin_not_allowed"
        preflight = ask(port, "OPTIONS", data=b"", origin="https://evil.example", access_control_request_method="POST")
        assert preflight.status == 403
    books = "".join(path.read_text() for path in (tmp_path / "ledger").glob("*.jsonl"))
    assert books.count('"settled"') == len(SERVED), "what is refused here was never sent to a model"


def test_two_hosts_are_judged_by_the_worse(tmp_path: Path):
    with serving(tmp_path, OPEN) as port:
        for host in ("localhost|evil.example", "evil.example|localhost"):
            assert ask(port, host=host).status in {400, 403}


@pytest.mark.parametrize("config", [OPEN, LOCKED])
def test_a_listed_origin_is_served_preflight_answer_and_error(tmp_path: Path, config: str):
    with serving(tmp_path, config) as port:
        preflight = ask(
            port, "OPTIONS", data=b"", origin=PAGE, access_control_request_method="POST",
            access_control_request_headers="authorization,content-type,x-stainless-os",
            access_control_request_private_network="true",
        )  # fmt: skip
        assert preflight.status == 204
        assert preflight.header("access-control-allow-origin") == PAGE
        assert preflight.header("access-control-allow-headers") == "authorization,content-type,x-stainless-os"
        assert preflight.header("access-control-allow-private-network") == "true"
        assert preflight.header("access-control-allow-credentials") is None
        answer = ask(port, origin=PAGE, authorization="Bearer sk-gw-k")
        assert answer.status == 200
        assert answer.header("access-control-allow-origin") == PAGE
        assert answer.header("vary") == "origin"
        wrong = ask(port, "DELETE", origin=PAGE, data=b"")
        assert (wrong.status, wrong.header("access-control-allow-origin")) == (405, PAGE)
        strange = ask(
            port, "OPTIONS", data=b"", origin=PAGE, access_control_request_method="POST",
            access_control_request_headers="a\x1b[31m",
        )  # fmt: skip
        assert strange.status in {204, 400}
        assert strange.header("access-control-allow-headers") is None


def test_with_keys_the_key_decides_and_a_page_that_is_not_listed_cannot_read(tmp_path: Path):
    with serving(tmp_path, LOCKED) as port:
        other = ask(port, host="any.example", origin="https://other.example", authorization="Bearer sk-gw-k")
        assert other.status == 200
        assert other.header("access-control-allow-origin") is None
        assert code_of(ask(port, origin=PAGE)) == "invalid_api_key"
        preflight = ask(port, "OPTIONS", data=b"", origin="https://other.example", access_control_request_method="POST")
        assert preflight.status == 405
        assert preflight.header("access-control-allow-origin") is None


@given(st.binary(max_size=60), st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=20))
def test_whatever_headers_say_there_is_a_verdict(host, origin, site):
    rules = Origins(is_open=True, listed=frozenset({PAGE.encode()}))
    error = rules.refusal([host], origin, site)
    assert error is None or error.status == 403
    assert Origins(is_open=False).refusal([host], origin, site) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cors: ['*']", "'*' is not an origin"),
        ("cors: [https://app.example.com/path]", "is not an origin"),
        ("cors: [app.example.com]", "is not an origin"),
        ("server: {hosts: ['http://gateway.test']}", "is not the name of a host"),
        ("server: {hosts: ['gateway.test:8080']}", "is not the name of a host"),
        ("server: {hosts: ['*.test']}", "is not the name of a host"),
    ],
)
def test_what_is_no_origin_and_no_name_is_said_at_start(tmp_path: Path, text: str, said: str):
    (tmp_path / "config.yaml").write_text(
        f"model_list: [{{model_name: m, litellm_params: {{model: demo/x}}}}]\n{text}\n"
    )
    with pytest.raises(ConfigErrors, match=said.replace("*", r"\*")):
        load(tmp_path / "config.yaml", {})

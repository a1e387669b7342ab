"""The application on a socket: routes, their shapes, and what a stranger is not told."""

import gzip
import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from gateway.config import load
from tests.served import listening
from tests.talk import body, loop, system, user, words

MAX_BODY = 200_000
KEYS = {"all": "sk-gw-all", "one": "sk-gw-one", "old": "sk-gw-old"}
CONFIG = """
server: {{max_body: {max_body}}}
model_list:
  - {{model_name: asked, litellm_params: {{model: demo/gpt-4o}}}}
  - {{model_name: other, litellm_params: {{model: demo/gpt-4o-mini}}}}
  - {{model_name: marked, litellm_params: {{model: demo/anthropic}}}}
keys:
  - {{name: all, sha256: {all}}}
  - {{name: one, sha256: {one}, models: [asked]}}
  - {{name: old, sha256: {old}, expires: 2020-01-01T00:00:00Z}}
policies: policies
default_policy: tight
ledger: {{dir: ledger}}
"""
POLICY = "{name: tight, context_window: 3000, reserve: {output: 500, margin: 0}, prompt_cache: {markers: off}}"


@dataclass(frozen=True, slots=True)
class Said:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    text: bytes

    @property
    def fields(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.text)
        return said

    @property
    def error(self) -> dict[str, Any]:
        said: dict[str, Any] = self.fields["error"]
        return said


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens."""

    port: int
    ledger: Path

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, method: str, path: str, data: Any = None, key: str | None = "all", **headers: str) -> Said:
        connection = self.connection()
        try:
            return ask(connection, method, path, data, key, **headers)
        finally:
            connection.close()

    def chat(self, path: str = "/v1/chat/completions", key: str | None = "all", **fields: Any) -> Said:
        return self.ask("POST", path, body([user("hello")], **fields), key)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    data: Any = None,
    key: str | None = "all",
    **headers: str,
) -> Said:
    if key is not None:
        headers["authorization"] = f"Bearer {KEYS.get(key, key)}"
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    return Said(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A real server on a free port, in a thread of its own."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "policies").mkdir()
    (folder / "policies" / "tight.yaml").write_text(POLICY)
    digests = {name: sha256(token.encode()).hexdigest() for name, token in KEYS.items()}
    (folder / "config.yaml").write_text(CONFIG.format(max_body=MAX_BODY, **digests))
    config = load(folder / "config.yaml", {})
    with listening(create_app(config)) as port:
        place = Place(port, folder / "ledger")
        until(lambda: place.ask("GET", "/ready", key=None).status == 200)
        yield place


def until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# ---------------------------------------------------------------- routes


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_every_path_works_with_and_without_v1(server, prefix):
    answered = server.chat(f"{prefix}/chat/completions", model="asked")
    assert answered.status == 200
    assert answered.fields["choices"][0]["message"]["role"] == "assistant"
    assert answered.fields["model"] == "gpt-4o"
    assert server.ask("GET", f"{prefix}/models").status == 200
    assert server.ask("GET", f"{prefix}/requests/{answered.headers['x-request-id']}").status == 200
    assert server.ask("GET", f"{prefix}/health", key=None).status == 200


def test_health_needs_no_key_and_says_ok(server):
    said = server.ask("GET", "/health", key=None)
    assert (said.status, said.fields) == (200, {"status": "ok"})


def test_ready_says_when_the_encodings_are_loaded(server):
    said = server.ask("GET", "/ready", key=None)
    assert (said.status, said.fields["status"], said.fields["workers"]) == (200, "ready", {"ready": 1, "of": 1})
    assert re.fullmatch("[0-9a-f]{12}", said.fields["config"]["digest"])


def test_an_answer_carries_what_was_done_and_what_it_cost(server):
    said = server.chat()
    assert said.headers["x-request-id"].startswith("gw_")
    assert said.headers["x-gateway-policy"].startswith("tight@")
    assert said.headers["x-gateway-plan"] == "unchanged"
    assert float(said.headers["x-gateway-cost-usd"]) > 0
    assert said.headers["x-gateway-upstream-request-id"].startswith("req_demo_")


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_written_to_and_read_from_a_providers_cache_is_priced_and_entered(server, stream):
    head = {"type": "text", "text": f"{stream} " + words(1500), "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    rows = []
    for question in ("one", "two"):
        asked = [{"role": "system", "content": [head]}, user(question)]
        said = server.ask("POST", "/v1/chat/completions", body(asked, model="marked", stream=stream))
        rows.append(server.ask("GET", f"/v1/requests/{said.headers['x-request-id']}").fields)
    written, read = (row["cache_write_tokens"] for row in rows[:1]), (row["cached_tokens"] for row in rows[1:])
    assert [*written] == [*read]
    for row, of_cached in zip(rows, (2000, 100), strict=True):
        cached = row.get("cached_tokens", 0) + row.get("cache_write_tokens", 0)
        assert cached > 1024
        plain = (row["prompt_tokens"] - cached) * 1000 + row["completion_tokens"] * 4000
        assert row["cost_nanousd"] == plain + cached * of_cached


def test_a_stream_comes_as_events_and_ends_with_done(server):
    said = server.chat(stream=True)
    assert said.headers["content-type"].startswith("text/event-stream")
    events = said.text.strip().split(b"\n\n")
    assert events[-1] == b"data: [DONE]"
    assert all(json.loads(event.removeprefix(b"data: "))["choices"] for event in events[:-1])


def test_what_is_over_is_rewritten_on_the_way(server):
    listed = [system("be kind"), user("begin"), *loop(12, 120), user("and now?")]
    said = server.ask("POST", "/v1/chat/completions", body(listed))
    assert said.headers["x-gateway-plan"].startswith("rewritten; tokens=")


def test_what_cannot_fit_is_refused_and_the_connection_stays_usable(server):
    connection = server.connection()
    refused = ask(connection, "POST", "/v1/chat/completions", body([user(words(4000))]))
    assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
    assert refused.error["message"].endswith(f"[{refused.headers['x-request-id']}]")
    assert ask(connection, "POST", "/v1/chat/completions", body([user("hi")])).status == 200
    connection.close()


# ---------------------------------------------------------------- models


def test_models_are_listed_per_key_in_openais_shape(server):
    listed = server.ask("GET", "/v1/models").fields
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["asked", "other", "marked"]
    assert {one["object"] for one in listed["data"]} == {"model"}
    assert [one["id"] for one in server.ask("GET", "/v1/models", key="one").fields["data"]] == ["asked"]


# ---------------------------------------------------------------- strangers


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/requests/gw_1"])
@pytest.mark.parametrize("key", [None, "sk-wrong", "old", "ключ".encode().decode("latin-1")])
def test_without_a_valid_key_nothing_is_told(server, path, key):
    said = server.ask("GET", path, key=key)
    assert (said.status, said.error["code"]) == (401, "invalid_api_key")
    assert said.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", [None, "sk-wrong"])
def test_a_key_that_is_missing_or_unknown_gets_the_same_words(server, key):
    said = server.chat(key=key)
    assert (said.status, said.error["code"], said.error["type"]) == (401, "invalid_api_key", "invalid_request_error")
    assert said.error["message"].replace(said.headers["x-request-id"], "ID") == (
        "No valid API key was given: it is missing or unknown. Send a key of this gateway as "
        "`Authorization: Bearer …` (or `x-api-key`, `api-key`); its operator issues them. [ID]"
    )


def test_a_model_that_a_key_may_not_use_is_refused_whether_it_exists_or_not(server):
    refused = [server.chat(key="one", model=name) for name in ("other", "nowhere")]
    assert {(one.status, one.error["code"]) for one in refused} == {(403, "model_not_allowed")}
    assert server.chat(model="nowhere").error["code"] == "model_not_found"


# ---------------------------------------------------------------- past requests


def test_a_key_is_told_of_its_own_requests_and_of_nobody_elses(server):
    request_id = server.chat(key="one").headers["x-request-id"]
    own = server.ask("GET", f"/v1/requests/{request_id}", key="one")
    assert own.status == 200
    assert (own.fields["id"], own.fields["key"], own.fields["status"]) == (request_id, "one", "answered")
    assert own.fields["estimate_nanousd"] > 0
    assert "content" not in own.text.decode()
    anothers, unknown = (server.ask("GET", f"/v1/requests/{which}", key="all") for which in (request_id, "gw_0"))
    assert (
        (anothers.status, anothers.error["code"])
        == (unknown.status, unknown.error["code"])
        == (404, "request_not_found")
    )


def test_refused_requests_are_told_too(server):
    request_id = server.ask("POST", "/v1/chat/completions", body([user(words(4000))])).headers["x-request-id"]
    found = server.ask("GET", f"/v1/requests/{request_id}").fields
    assert (found["status"], found["plan"], found["error"]) == ("refused", "refused", "context_length_exceeded")


@pytest.mark.parametrize("wanted", ["x", "..%2f..%2fetc", "gw_", "gw_01J9ZZZZZZZZZZZZZZZZZZZZZZ", "%00"])
def test_an_id_that_is_none_is_not_found(server, wanted):
    assert server.ask("GET", f"/v1/requests/{wanted}").status == 404


# ---------------------------------------------------------------- wrong paths, methods and bodies


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v2/chat/completions", "/v1/chat/completions/", "/v1/embedding", "/v1/requests/"]
)
def test_an_unknown_path_is_a_404_in_openais_shape(server, path):
    said = server.ask("POST", path, b"{}")
    assert (said.status, said.error["code"], said.error["type"]) == (404, "unknown_url", "invalid_request_error")
    assert f"POST {path}" in said.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/models", "GET"),
        ("DELETE", "/v1/models", "GET"),
        ("PUT", "/health", "GET"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(server, method, path, allow):
    said = server.ask(method, path)
    assert (said.status, said.error["code"]) == (405, "method_not_allowed")
    assert allow in said.headers["allow"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b'{"model":"asked"}', b'{"model":"asked","model":"asked","messages":[]}']
)
def test_a_body_that_is_no_request_is_a_400(server, data):
    said = server.ask("POST", "/v1/chat/completions", data)
    assert (said.status, said.error["type"]) == (400, "invalid_request_error")
    assert said.headers["content-type"] == "application/json"


def test_a_body_that_is_too_large_is_a_413_and_the_connection_stays_usable(server):
    connection = server.connection()
    said = ask(connection, "POST", "/v1/chat/completions", b"x" * (MAX_BODY + 1))
    assert (said.status, said.error["code"]) == (413, "request_too_large")
    assert f"larger than {MAX_BODY} bytes" in said.error["message"]
    assert ask(connection, "GET", "/health").status == 200
    connection.close()


def test_a_body_that_is_too_large_is_found_out_without_its_length_too(server):
    connection = server.connection()
    chunks = (b"x" * 10_000 for _ in range(MAX_BODY // 10_000 + 2))
    said = ask(connection, "POST", "/v1/chat/completions", chunks)
    assert (said.status, said.error["code"]) == (413, "request_too_large")
    assert ask(connection, "GET", "/health").status == 200
    connection.close()


def test_a_packed_body_is_read_and_bounded_by_what_it_becomes(server):
    packed = {"content-encoding": "gzip"}
    said = server.ask("POST", "/v1/chat/completions", gzip.compress(body([user("hi")])), **packed)
    assert said.status == 200
    bomb = gzip.compress(b" " * (MAX_BODY + 1))
    said = server.ask("POST", "/v1/chat/completions", bomb, **packed)
    assert (said.status, said.error["code"]) == (413, "request_too_large")
    said = server.ask("POST", "/v1/chat/completions", bomb, **{"content-encoding": "br"})
    assert (said.status, said.error["code"]) == (415, "unknown_encoding")


def test_a_body_of_exactly_the_most_is_taken(server):
    frame = len(body([user("hi")], metadata={"pad": ""}))
    assert (
        server.ask(
            "POST", "/v1/chat/completions", body([user("hi")], metadata={"pad": "x" * (MAX_BODY - frame)})
        ).status
        == 200
    )


def test_everything_that_was_asked_by_a_key_is_in_the_ledger_once(server):
    rows = [json.loads(line) for file in server.ledger.glob("*.jsonl") for line in file.read_bytes().splitlines()]
    settled = [row["id"] for row in rows if row["event"] == "settled"]
    assert settled
    assert len(settled) == len(set(settled))
    assert {row["id"] for row in rows if row["event"] == "opened"} <= set(settled)

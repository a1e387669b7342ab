"""Every path over a socket, asked by OpenAI's own SDK as it is and as Azure's: answers, errors, and what is entered."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AzureOpenAI, OpenAI

from gateway.app import create_app
from gateway.config import load
from tests.contract.running import ledger_rows
from tests.served import listening

KEYS = {"all": "sk-gw-all", "one": "sk-gw-one"}
CONFIG = """
model_list:
  - {{model_name: chat, litellm_params: {{model: demo/gpt-4o}}}}
  - {{model_name: embed, litellm_params: {{model: demo/embeddings}}}}
  - {{model_name: guard, litellm_params: {{model: demo/moderations}}}}
  - {{model_name: rank, litellm_params: {{model: demo/rerank}}}}
  - {{model_name: acme/*, litellm_params: {{model: demo/*}}}}
  - model_name: far
    litellm_params: {{model: snowflake/m, api_base: "http://127.0.0.1:1"}}
    model_info: {{mode: rerank, input_cost_per_token: 0}}
aliases: {{vectors: embed}}
keys:
  - {{name: all, sha256: {all}}}
  - {{name: one, sha256: {one}, models: [embed]}}
default_policy: tight
policies: policies
ledger: {{dir: ledger}}
"""
POLICY = "{name: tight, context_window: 3000}"


@dataclass(frozen=True, slots=True)
class Place:
    port: int
    ledger: Path

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settled(self, id: str | None) -> dict[str, Any]:
        """The one settled line of a request; it has one opened line too."""
        rows = [row for row in ledger_rows(self.ledger) if row["id"] == id]
        assert [row["event"] for row in rows] in (["opened", "settled"], ["settled"])
        return rows[-1]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"authorization": f"Bearer {KEYS['all']}", **headers})
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(answer.read() or b"null"), got
        finally:
            connection.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("paths")
    (folder / "policies").mkdir()
    (folder / "policies" / "tight.yaml").write_text(POLICY)
    hashes = {name: sha256(secret.encode()).hexdigest() for name, secret in KEYS.items()}
    (folder / "config.yaml").write_text(CONFIG.format(**hashes))
    with listening(create_app(load(folder / "config.yaml", {}))) as port:
        yield Place(port, folder / "ledger")


@pytest.fixture
def client(place: Place) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{place.root}/v1", api_key=KEYS["all"], max_retries=0, timeout=20) as opened:
        yield opened


@pytest.fixture
def azure(place: Place) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(
        azure_endpoint=place.root, api_version="2024-10-21", api_key=KEYS["all"], max_retries=0, timeout=20
    ) as opened:
        yield opened


# ---------------------------------------------------------------- embeddings


def test_vectors_come_as_numbers_and_packed_and_are_the_same(client: OpenAI, place: Place):
    raw = client.embeddings.with_raw_response.create(model="embed", input=["a red fox", "a red dog"], user="u")
    packed = raw.parse()
    plain = client.embeddings.create(model="embed", input=["a red fox", "a red dog"], encoding_format="float")
    assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]
    assert [len(one.embedding) for one in plain.data] == [1536, 1536]
    assert math.isclose(sum(number**2 for number in plain.data[0].embedding), 1, abs_tol=1e-5)
    assert packed.usage.prompt_tokens == 6
    row = place.settled(raw.headers["x-request-id"])
    assert (row["operation"], row["status"], row["prompt_tokens"], row["user"]) == ("embeddings", "answered", 6, "u")
    assert (row["cost_nanousd"], raw.headers["x-gateway-cost-usd"]) == (600, "0.0000006")
    assert (row["key"], row["model"], row["deployment"]) == ("all", "embed", "demo/embeddings")


def test_tokens_dimensions_and_other_names_are_taken(client: OpenAI):
    made = client.embeddings.create(model="vectors", input=[[1, 2, 3], [4]], dimensions=64)
    assert ([len(one.embedding) for one in made.data], made.usage.prompt_tokens) == ([64, 64], 4)
    assert client.embeddings.create(model="acme/text-embedding-3-small", input="x").usage.prompt_tokens == 1
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="embed", input="x", dimensions=-1)
    assert refused.value.param == "dimensions"


def test_a_past_request_is_told_to_its_own_key_alone(client: OpenAI, place: Place):
    id = client.embeddings.with_raw_response.create(model="embed", input="x").headers["x-request-id"]
    status, told, _ = place.ask("GET", f"/v1/requests/{id}")
    assert (status, told["operation"], told["prompt_tokens"]) == (200, "embeddings", 1)
    assert place.ask("GET", f"/v1/requests/{id}", authorization=f"Bearer {KEYS['one']}")[0] == 404


# ---------------------------------------------------------------- the others


def test_a_text_completion_comes_whole_and_as_a_stream(client: OpenAI, place: Place):
    whole = client.completions.with_raw_response.create(model="chat", prompt="Say it.", max_tokens=20)
    answer = whole.parse()
    assert answer.usage is not None
    row = place.settled(whole.headers["x-request-id"])
    assert (row["completion_tokens"], row["operation"]) == (answer.usage.completion_tokens, "completions")
    stream = client.completions.create(model="chat", prompt="Say it.", max_tokens=20, stream=True)
    events = list(stream)
    assert "".join(event.choices[0].text for event in events) == answer.choices[0].text
    assert events[-1].choices[0].finish_reason in {"stop", "length"}
    asked: Any = {"include_usage": True}
    events = list(client.completions.create(model="chat", prompt="Say it.", stream=True, stream_options=asked))
    assert events[-1].usage is not None


def test_a_moderation_needs_no_model(client: OpenAI, place: Place):
    raw = client.moderations.with_raw_response.create(input=["fine", "fine too"])
    assert [one.flagged for one in raw.parse().results] == [False, False]
    row = place.settled(raw.headers["x-request-id"])
    assert (row["operation"], row["cost_nanousd"], row["model"]) == ("moderations", 0, "guard")
    raw = client.moderations.with_raw_response.create(model="chat", input="fine")
    assert place.settled(raw.headers["x-request-id"])["deployment"] == "demo/gpt-4o"


def test_documents_are_ranked(place: Place):
    asked = {"model": "rank", "query": "a red fox", "documents": ["a blue car", "the red fox"], "top_n": 1}
    status, answer, headers = place.ask("POST", "/v1/rerank", {**asked, "return_documents": True})
    assert (status, [one["index"] for one in answer["results"]]) == (200, [1])
    assert answer["results"][0]["document"] == {"text": "the red fox"}
    assert place.settled(headers["x-request-id"])["cost_nanousd"] == 1_000_000


# ---------------------------------------------------------------- models


def test_models_are_told_with_their_windows_and_prices(client: OpenAI):
    listed = {one.id: one for one in client.models.list().data}
    assert {"chat", "embed", "guard", "rank", "vectors", "acme/gpt-4o"} <= listed.keys()
    assert "far" not in listed
    chat: Any = client.models.retrieve("chat")
    assert chat == listed["chat"]
    assert (chat.context_window, chat.max_completion_tokens, chat.mode) == (3000, 16_384, "chat")
    assert chat.pricing == {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"}
    embed: Any = client.models.retrieve("vectors")
    assert (embed.context_window, embed.mode, embed.pricing["prompt"]) == (8191, "embedding", "0.0000001")
    assert client.models.retrieve("acme/gpt-4o").id == "acme/gpt-4o"


def test_one_model_is_told_to_whom_may_use_it_alone(place: Place):
    with OpenAI(base_url=f"{place.root}/v1", api_key=KEYS["one"], max_retries=0) as client:
        assert client.models.retrieve("embed").id == "embed"
        for name in ("chat", "nothing"):
            with pytest.raises(openai.PermissionDeniedError):
                client.models.retrieve(name)
    with OpenAI(base_url=f"{place.root}/v1", api_key=KEYS["all"], max_retries=0) as client:
        assert client.models.retrieve("chat").id == "chat"
    status, told, _ = place.ask("GET", "/v1/models/embedd")
    assert (status, told["error"]["code"], "`embed`" in told["error"]["message"]) == (404, "model_not_found", True)
    assert place.ask("GET", "/v1/models/embed", authorization="Bearer no")[0] == 401


# ---------------------------------------------------------------- Azure's clients


def test_azures_clients_name_the_model_in_the_path(azure: AzureOpenAI, place: Place):
    raw = azure.chat.completions.with_raw_response.create(model="chat", messages=[{"role": "user", "content": "hello"}])
    assert raw.parse().choices[0].message.content
    assert place.settled(raw.headers["x-request-id"])["model"] == "chat"
    assert azure.embeddings.create(model="embed", input="x").usage.prompt_tokens == 1
    assert azure.completions.create(model="chat", prompt="x").choices
    assert azure.moderations.create(model="guard", input="x").results
    assert azure.models.retrieve("embed").id == "embed"


@pytest.mark.parametrize("body", [{"input": "x"}, {"model": "other", "input": "x"}, {"input": "x", "model": "embed"}])
def test_the_path_decides_whatever_the_body_says(place: Place, body: dict[str, Any]):
    path = "/openai/deployments/embed/embeddings?api-version=2024-10-21"
    assert place.ask("POST", path, body)[0] == 200
    assert place.ask("POST", path, b"{")[0] == 400


def test_azures_newer_address_and_its_header_are_taken(place: Place):
    with OpenAI(base_url=f"{place.root}/openai/v1", api_key=KEYS["all"], max_retries=0) as client:
        assert client.embeddings.create(model="embed", input="x").data
        assert client.models.list().data
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
    connection.request("GET", "/openai/v1/models", headers={"api-key": KEYS["one"]})
    assert [one["id"] for one in json.loads(connection.getresponse().read())["data"]] == ["embed", "vectors"]
    connection.close()


# ---------------------------------------------------------------- what is not served

ASKED: Any = [{"role": "user", "content": "hello"}]
RANKED = {"model": "rank", "query": "a red fox", "documents": ["a blue car", "the red fox"]}


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.embeddings.create(model="nothing", input="x"), "model_not_found"),
        (lambda c: c.embeddings.create(model="rank", input="x"), "model_not_for_embeddings"),
        (lambda c: c.chat.completions.create(model="embed", messages=ASKED), "model_not_for_chat"),
        (lambda c: c.completions.create(model="embed", prompt="x"), "model_not_for_completions"),
        (lambda c: c.post("/rerank", cast_to=dict, body=RANKED | {"model": "far"}), "operation_not_served"),
        (lambda c: c.responses.compact(model="chat", input="x"), "path_not_served"),
        (lambda c: c.conversations.create(), "path_not_served"),
        (lambda c: c.images.generate(prompt="x"), "path_not_served"),
        (lambda c: c.files.list(), "path_not_served"),
        (lambda c: c.batches.list(), "path_not_served"),
        (lambda c: c.vector_stores.list(), "path_not_served"),
        (lambda c: c.fine_tuning.jobs.list(), "path_not_served"),
        (lambda c: c.audio.speech.create(model="m", voice="alloy", input="x"), "path_not_served"),
        (lambda c: c.post("/threads", cast_to=dict, body={}), "path_not_served"),
    ],
)  # fmt: skip
def test_what_is_not_served_says_what_to_do_instead(client: OpenAI, call: Any, code: str):
    expected = openai.NotFoundError if code == "model_not_found" else openai.BadRequestError
    with pytest.raises(expected) as refused:
        call(client)
    assert refused.value.code == code


def test_anthropics_clients_are_told_in_their_own_shape(place: Place):
    for path in ("/v1/messages/batches", "/v1/messages/batches/b/results", "/v1/complete"):
        status, told, _ = place.ask("POST", path, {})
        assert (status, told["type"], told["error"]["type"]) == (400, "error", "invalid_request_error")
        assert "POST /v1/messages" in told["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/responses", "/responses", "/openai/v1/responses", "/v1/realtime?model=x"])
def test_an_upgrade_to_a_websocket_is_refused_so_that_clients_speak_http(place: Place, path: str):
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "eA==",
    }
    status, told, headers = place.ask("GET", path, **upgrade)
    assert (status, told["error"]["code"], headers["upgrade"]) == (426, "upgrade_required", "HTTP/1.1")


@pytest.mark.parametrize(
    "path", ["/openai/deployments/x/audio/speech?api-version=1", "/v1/responses/compact/x", "/v1/images/edits"]
)
def test_longer_paths_of_what_is_not_served_are_known(place: Place, path: str):
    assert place.ask("POST", path, {})[1]["error"]["code"] == "path_not_served"

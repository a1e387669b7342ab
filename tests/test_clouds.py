"""Claude on Bedrock, Vertex AI and Azure AI Foundry, asked in Anthropic's own shape over sockets.

The scripted server checks what the clouds check: the address, the signature by AWS's own signer, the token. What it is
sent is compared with what Anthropic's SDKs for these clouds send.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.app import create_app
from gateway.config import load
from gateway.providers.bedrock import INVOKE
from gateway.providers.bedrock_events import BedrockEvents, BrokenFrame
from gateway.routing.upstreams.signed import enveloped
from gateway.wire.messages.composing import streamed_events
from tests.contract.running import ledger_rows
from tests.providers.accounts import service_account
from tests.providers.frames import frame
from tests.served import listening

pytest.importorskip("boto3")
pytest.importorskip("google.auth")

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = f"arn:aws:bedrock:eu-west-1:1:inference-profile/{SONNET}"
AWS = "aws_access_key_id: AKIATESTTEST, aws_secret_access_key: made-for-this-test, aws_region_name: eu-west-1"
CONFIG = """
model_list:
  - {{model_name: bedrock, litellm_params: {{model: "bedrock/{sonnet}", api_base: "{url}", {aws}}}}}
  - {{model_name: profile, litellm_params: {{model: "bedrock/{profile}", api_base: "{url}", {aws}}}}}
  - {{model_name: bearer, litellm_params: {{model: "bedrock/invoke/{sonnet}", api_base: "{url}",
      aws_region_name: eu-west-1, api_key: bedrock-key-of-a-test}}}}
  - {{model_name: converse, litellm_params: {{model: "bedrock/converse/{sonnet}", api_base: "{url}", {aws}}}}}
  - {{model_name: nova, litellm_params: {{model: bedrock/amazon.nova-pro-v1:0, api_base: "{url}", {aws}}}}}
  - {{model_name: vertex, litellm_params: {{model: vertex_ai/claude-sonnet-4-5@20250929, api_base: "{url}",
      vertex_project: p, vertex_location: us-east5, vertex_credentials: '{account}'}}}}
  - {{model_name: lost, litellm_params: {{model: "bedrock/{sonnet}", api_base: "{url}", aws_region_name: eu-west-1,
      aws_profile_name: nobody-of-this-machine}}}}
  - {{model_name: foundry, litellm_params: {{model: azure_ai/claude-sonnet-4-5, api_base: "{url}",
      api_key: foundry-key-of-a-test}}}}
  - {{model_name: entra, litellm_params: {{model: azure_ai/claude-sonnet-4-5, api_base: "{url}/anthropic",
      azure_ad_token: entra-token-of-a-test}}}}
keys: [{{name: all, sha256: {key}}}]
ledger: {{dir: ledger}}
"""
KEY = "sk-gw-all"
ASKED: Any = [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]}]
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 30, "output_tokens": 7}
ANSWER: dict[str, Any] = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Hello there."},
        {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": USAGE,
}
CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello there."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17},
    "metrics": {"latencyMs": 1},
}


def frames(events: bytes, metrics: dict[str, int] | None = None) -> bytes:
    """Wrap server-sent events as Bedrock does."""
    out = []
    for event in events.decode().split("\n\n")[:-1]:
        data = json.loads(event.partition("data: ")[2])
        if metrics and data["type"] == "message_stop":
            data["amazon-bedrock-invocationMetrics"] = metrics
        out.append(frame("chunk", {"bytes": base64.b64encode(json.dumps(data).encode()).decode(), "p": "abc"}))
    return b"".join(out)


@dataclass(frozen=True, slots=True)
class Came:
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)  # type: ignore[no-any-return]


@dataclass
class Clouds:
    """A scripted server that stands for all three."""

    answers: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    came: list[Came] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        one = Came(scope["raw_path"].decode(), headers, body)
        if one.path == "/token":
            answer = (
                200,
                b"application/json",
                json.dumps({"access_token": "t-of-vertex", "expires_in": 3600}).encode(),
            )
        else:
            self.came.append(one)
            answer = self.answers.pop(0) if self.answers else _answered(one)
        status, kind, said = answer
        sent = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": said})


def _answered(one: Came) -> tuple[int, bytes, bytes]:
    """Answer who asks as the cloud's documentation says; 403 a wrong signature, 404 another path."""
    whole = (200, b"application/json", json.dumps(ANSWER).encode())
    events = (200, b"text/event-stream", streamed_events(ANSWER))
    action = one.path.rpartition("/")[2]
    if one.path.startswith("/model/") and action in ("converse", "invoke", "invoke-with-response-stream"):
        if not is_signed(one):
            return 403, b"application/json", b'{"message":"The request signature we calculated does not match"}'
        if action == "converse":
            return 200, b"application/json", json.dumps(CONVERSED).encode()
        framed = (200, b"application/vnd.amazon.eventstream", frames(streamed_events(ANSWER)))
        return whole if action == "invoke" else framed
    vertex = "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929"
    if one.path in (f"{vertex}:rawPredict", f"{vertex}:streamRawPredict"):
        if one.headers.get("authorization") != "Bearer t-of-vertex":
            return 401, b"application/json", b'{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}'
        return whole if one.path.endswith(":rawPredict") else events
    if one.path == "/anthropic/v1/messages":
        return events if one.body.get("stream") else whole
    return 404, b"application/json", json.dumps({"message": f"no route {one.path}"}).encode()


def is_signed(one: Came) -> bool:
    """Whether AWS's own signer comes to the same signature for what arrived, or the key is Bedrock's."""
    given = one.headers.get("authorization", "")
    if given == "Bearer bedrock-key-of-a-test":
        return True
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    made = importlib.import_module("botocore.awsrequest").AWSRequest(
        "POST",
        f"http://{one.headers['host']}{one.path}",
        {name: one.headers[name] for name in names if name != "host"},
        one.raw,
    )
    made.context["timestamp"] = one.headers["x-amz-date"]
    keys = importlib.import_module("botocore.credentials").Credentials("AKIATESTTEST", "made-for-this-test")
    signer = importlib.import_module("botocore.auth").SigV4Auth(keys, "bedrock", "eu-west-1")
    text = signer.string_to_sign(made, signer.canonical_request(made))
    return given.endswith(f"Signature={signer.signature(text, made)}")


@dataclass(frozen=True, slots=True)
class Place:
    port: int
    ledger: Path
    clouds: Clouds
    url: str
    clients: contextlib.ExitStack

    def client(self) -> anthropic.Anthropic:
        url = f"http://127.0.0.1:{self.port}"
        made = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=30)
        return self.clients.enter_context(made)

    def settled(self, request_id: str | None) -> dict[str, Any]:
        return [row for row in ledger_rows(self.ledger) if row["id"] == request_id][-1]

    def asked(self, model: str, **more: Any) -> Came:
        """Ask for a message, check the answer, and return what arrived."""
        told = self.client().messages.create(model=model, max_tokens=9, messages=ASKED, **more)
        assert told.to_dict()["content"] == ANSWER["content"]
        return self.clouds.came[-1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, clouds = tmp_path_factory.mktemp("clouds"), Clouds()
    with listening(clouds, lifespan="off") as port:
        url = f"http://127.0.0.1:{port}"
        config = CONFIG.format(
            url=url,
            sonnet=SONNET,
            profile=PROFILE,
            aws=AWS,
            account=service_account(f"{url}/token"),
            key=sha256(KEY.encode()).hexdigest(),
        )
        (folder / "config.yaml").write_text(config)
        with listening(create_app(load(folder / "config.yaml", {}))) as ours, contextlib.ExitStack() as clients:
            yield Place(ours, folder / "ledger", clouds, url, clients)


@pytest.fixture
def place(shared: Place) -> Place:
    shared.clouds.answers.clear()
    shared.clouds.came.clear()
    return shared


# ---------------------------------------------------------------- requests


def beside_version(one: Came, version: str | None = None) -> dict[str, Any]:
    """Return a body but for its version, which must be this one; newer SDKs write their own date there."""
    body = one.body
    assert body["anthropic_version"] == (version or body["anthropic_version"])
    return {name: value for name, value in body.items() if name != "anthropic_version"}


def test_bedrock_is_asked_as_anthropics_sdk_asks_it(place: Place):
    sdk = anthropic.AnthropicBedrock(
        aws_access_key="AKIATESTTEST", aws_secret_key="made-for-this-test", aws_region="eu-west-1", base_url=place.url
    )
    with sdk:
        for more in (dict[str, Any](), {"extra_headers": {"anthropic-beta": "context-1m-2025-08-07"}}):
            ours = place.asked("bedrock", **more)
            sdk.messages.create(model=SONNET, max_tokens=9, messages=ASKED, **more)
            theirs = place.clouds.came[-1]
            assert beside_version(ours, "bedrock-2023-05-31") == beside_version(theirs)
            assert ours.path.replace("%3A", ":") == theirs.path == f"/model/{SONNET}/invoke"
            assert "anthropic-beta" not in ours.headers
    assert ours.body["anthropic_beta"] == ["context-1m-2025-08-07"]


def test_vertex_is_asked_as_anthropics_sdk_asks_it(place: Place):
    sdk = anthropic.AnthropicVertex(
        region="us-east5", project_id="p", access_token="t-of-vertex", base_url=f"{place.url}/v1"
    )
    with sdk:
        ours = place.asked("vertex", extra_headers={"anthropic-beta": "context-1m-2025-08-07"})
        sdk.messages.create(model="claude-sonnet-4-5@20250929", max_tokens=9, messages=ASKED)
    theirs = place.clouds.came[-1]
    assert (ours.path, beside_version(ours, "vertex-2023-10-16")) == (theirs.path, beside_version(theirs))
    assert ours.headers["anthropic-beta"] == "context-1m-2025-08-07"


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
def test_foundry_is_asked_as_anthropics_sdk_asks_it(place: Place):
    sdk = anthropic.AnthropicFoundry(api_key="foundry-key-of-a-test", base_url=f"{place.url}/anthropic")
    with sdk:
        ours = place.asked("foundry")
        sdk.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=ASKED)
    theirs = place.clouds.came[-1]
    assert (ours.path, ours.body) == (theirs.path, theirs.body)
    assert ours.headers["x-api-key"] == theirs.headers["x-api-key"]
    assert ours.headers["anthropic-version"]
    entra = place.asked("entra")
    assert entra.headers["authorization"] == "Bearer entra-token-of-a-test"
    assert "x-api-key" not in entra.headers


def test_what_the_client_wrote_leaves_byte_for_byte(place: Place):
    body = (
        b'{ "stream" :false, "x": 1.10, "model":"bedrock", "max_tokens":9,'
        b'"messages":[{"role":"user","content":"h\\u0069"}] }'
    )
    for model, version in (("bedrock", "bedrock-2023-05-31"), ("vertex", "vertex-2023-10-16")):
        response = place.client()._client.post(
            "/v1/messages", content=body.replace(b'"bedrock"', f'"{model}"'.encode()), headers={"x-api-key": KEY}
        )
        assert response.status_code == 200
        stays = b' "stream" :false,' if model == "vertex" else b""
        rest = b' "x": 1.10, "max_tokens":9,"messages":[{"role":"user","content":"h\\u0069"}] '
        assert place.clouds.came[-1].raw == b"{%b%b,%b}" % (stays, rest, b'"anthropic_version":"%b"' % version.encode())


@pytest.mark.parametrize("model", ["bedrock", "profile", "bearer"])
def test_every_name_of_a_model_is_signed_as_it_is_sent(place: Place, model: str):
    place.asked(model)
    place.asked(model)


@pytest.mark.parametrize("model", ["converse", "nova"])
def test_another_model_or_another_api_is_translated(place: Place, model: str):
    told = place.client().messages.create(model=model, max_tokens=9, messages=ASKED)
    assert told.to_dict()["content"] == [{"type": "text", "text": "Hello there."}]
    assert place.clouds.came[-1].path.endswith("/converse")


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("model", ["bedrock", "vertex", "foundry"])
def test_usage_is_entered_as_stated(place: Place, model: str):
    raw = place.client().messages.with_raw_response.create(model=model, max_tokens=9, messages=ASKED)
    assert raw.json() == ANSWER
    with place.client().messages.stream(model=model, max_tokens=9, messages=ASKED) as stream:
        assert stream.get_final_message().to_dict()["content"] == ANSWER["content"]
        ids = [raw.headers["request-id"], stream.response.headers["request-id"]]
    for row in map(place.settled, ids):
        assert (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]) == (240, 7, 200)
        assert (row["cache_write_tokens"], row["operation"], row["status"]) == (30, "messages", "answered")
        assert row["cost_nanousd"] > 0
    streamed = place.clouds.came[-1]
    assert ("stream" in streamed.body) == (model != "bedrock")


def test_cached_tokens_that_only_bedrocks_metrics_state_are_entered(place: Place):
    short = {**ANSWER, "usage": {"input_tokens": 10, "output_tokens": 7}}
    metrics = {"inputTokenCount": 10, "outputTokenCount": 7, "cacheReadInputTokenCount": 200,
               "cacheWriteInputTokenCount": 30, "invocationLatency": 9, "firstByteLatency": 3}  # fmt: skip
    events = frames(streamed_events(short), metrics)
    place.clouds.answers.append((200, b"application/vnd.amazon.eventstream", events))
    with place.client().messages.stream(model="bedrock", max_tokens=9, messages=ASKED) as stream:
        stream.until_done()
        row = place.settled(stream.response.headers["request-id"])
    assert (row["prompt_tokens"], row["cached_tokens"], row["cache_write_tokens"]) == (240, 200, 30)


ERRORS = [
    ("bedrock", 429, {"message": "Too many requests"}, anthropic.RateLimitError, "rate_limit_error"),
    ("bedrock", 400, {"message": "max_tokens: Field required"}, anthropic.BadRequestError, "invalid_request_error"),
    ("vertex", 429, {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}},
     anthropic.RateLimitError, "rate_limit_error"),
    ("foundry", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
     anthropic.APIStatusError, "overloaded_error"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "status", "said", "expected", "kind"), ERRORS)
def test_an_error_is_of_anthropics_class(place: Place, model: str, status: int, said: Any, expected: Any, kind: str):
    place.clouds.answers.append((status, b"application/json", json.dumps(said).encode()))
    with pytest.raises(expected) as refused:
        place.client().messages.create(model=model, max_tokens=9, messages=ASKED)
    told: Any = refused.value.body
    words = said["message"] if "message" in said else said["error"]["message"]
    assert (refused.value.status_code, told["error"]["type"]) == (status, kind)
    assert told["error"]["message"].startswith(words)


def test_an_error_in_a_stream_of_frames_is_heard(place: Place):
    whole = streamed_events(ANSWER)
    begun = frames(whole[: whole.index(b"event: content_block_stop")])
    broken = frame("throttlingException", {"message": "Too many requests"}, "exception")
    place.clouds.answers.append((200, b"application/vnd.amazon.eventstream", begun + broken))
    with (
        pytest.raises(anthropic.APIStatusError) as refused,
        place.client().messages.stream(model="bedrock", max_tokens=9, messages=ASKED) as stream,
    ):
        stream.until_done()
    assert refused.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
    assert "Too many requests" in str(refused.value)


def test_a_stream_that_breaks_off_ends_with_an_error(place: Place):
    whole = frames(streamed_events(ANSWER))
    for cut in (whole[: len(whole) // 2], whole[: len(whole) // 2] + b"x" * 300):
        place.clouds.answers.append((200, b"application/vnd.amazon.eventstream", cut))
        with (
            pytest.raises(anthropic.APIStatusError),
            place.client().messages.stream(model="bedrock", max_tokens=9, messages=ASKED) as stream,
        ):
            stream.until_done()


def test_a_token_is_never_told_to_a_client(place: Place):
    for model, secret in (("vertex", "t-of-vertex"), ("bearer", "bedrock-key-of-a-test"), ("entra", "entra-token")):
        place.asked(model)
        given = place.clouds.came[-1].headers["authorization"]
        place.clouds.answers.append((400, b"application/json", json.dumps({"message": f"Bad: {given}"}).encode()))
        with pytest.raises(anthropic.BadRequestError) as refused:
            place.client().messages.create(model=model, max_tokens=9, messages=ASKED)
        assert secret not in str(refused.value.body)


def test_credentials_that_sign_nothing_are_said_to_be_the_operators(place: Place):
    with pytest.raises(anthropic.InternalServerError) as refused:
        place.client().messages.create(model="lost", max_tokens=9, messages=ASKED)
    told: Any = refused.value.body
    assert told["error"]["code"] == "upstream_authentication"
    assert "could not be signed in to" in told["error"]["message"]
    assert "nobody-of-this-machine" not in told["error"]["message"]
    assert place.clouds.came == []


# ---------------------------------------------------------------- pieces


def test_frames_are_read_however_they_are_cut():
    events = streamed_events(ANSWER)
    framed = frames(events)
    for size in (1, 7, 100, len(framed)):
        reader = BedrockEvents()
        out = b"".join([reader.feed(framed[at : at + size]) for at in range(0, len(framed), size)]) + reader.end()
        assert [line for line in out.split(b"\n") if line.startswith(b"event")] == [
            line for line in events.split(b"\n") if line.startswith(b"event")
        ]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame("chunk", {"bytes": "!"}),
        frame("chunk", {"bytes": base64.b64encode(b"{").decode()}),
        frame("chunk", {})[:-1] + b"\0",
        b"\xff" * 12,
    ],
)
def test_what_is_no_frame_is_refused(data: bytes):
    with pytest.raises(BrokenFrame):
        BedrockEvents().feed(data)


def test_a_body_of_nothing_else_stays_json():
    assert INVOKE.envelope is not None
    for body in (b'{"model":"m"}', b'{"model":"m","stream":true}', b"{}"):
        assert json.loads(enveloped(body, INVOKE.envelope, {})[0]) == {"anthropic_version": "bedrock-2023-05-31"}
    own = b'{"model":"m","anthropic_version":"x"}'
    assert enveloped(own, INVOKE.envelope, {})[0] == b'{"anthropic_version":"x"}'


def test_context_edits_that_bedrock_would_refuse_stay_behind():
    assert INVOKE.envelope is not None
    tools, thoughts = {"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015", "keep": "all"}
    for edits, left in (([tools], [tools]), ([thoughts, tools], [tools]), ([thoughts], None), ([], None)):
        body = json.dumps({"model": "m", "context_management": {"edits": edits}, "max_tokens": 9}).encode()
        wanted = {} if left is None else {"context_management": {"edits": left}}
        assert json.loads(enveloped(body, INVOKE.envelope, {})[0]) == {
            **wanted, "max_tokens": 9, "anthropic_version": "bedrock-2023-05-31"
        }  # fmt: skip

"""Messages over sockets, asked by Anthropic's own SDK: of a deployment that speaks them, and of one that does not."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.app import create_app
from gateway.config import load
from gateway.wire.messages.composing import streamed_events
from tests.contract.running import ledger_rows
from tests.served import listening

KEYS = {"all": "sk-gw-all", "one": "sk-gw-one"}
CONFIG = """
model_list:
  - {{model_name: demo, litellm_params: {{model: demo/gpt-4o}}}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_base: "http://127.0.0.1:{port}", api_key: sk-upstream}}
keys:
  - {{name: all, sha256: {all}}}
  - {{name: one, sha256: {one}, models: [demo]}}
default_policy: tight
policies: policies
ledger: {{dir: ledger}}
"""
POLICY = "{name: tight, context_window: 3000}"
TOOL: Any = {"name": "read", "description": "Reads", "input_schema": {"type": "object", "properties": {}}}
ASKED: Any = [{"role": "user", "content": "hello"}]
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
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 7,
        "service_tier": "standard",
    },
}


@dataclass
class Anthropic:
    """A scripted server at the end of the way."""

    answers: list[tuple[int, bytes]] = field(default_factory=list)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        self.came.append(({name.decode(): value.decode() for name, value in scope["headers"]}, body))
        self.paths.append(scope["path"])
        streams = json.loads(body).get("stream")
        default = (200, streamed_events(ANSWER) if streams else json.dumps(ANSWER).encode())
        status, answer = self.answers.pop(0) if self.answers else default
        kind = b"text/event-stream" if status == 200 and streams else b"application/json"
        headers = [(b"content-type", kind), (b"request-id", b"req_up")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@dataclass(frozen=True, slots=True)
class Place:
    port: int
    ledger: Path
    upstream: Anthropic
    clients: contextlib.ExitStack

    def client(self, key: str = "all") -> anthropic.Anthropic:
        url = f"http://127.0.0.1:{self.port}"
        made = anthropic.Anthropic(base_url=url, api_key=KEYS.get(key, key), max_retries=0, timeout=20)
        return self.clients.enter_context(made)

    def settled(self, request_id: str | None) -> dict[str, Any]:
        """The settled line of a request."""
        assert request_id is not None
        return [row for row in ledger_rows(self.ledger) if row["id"] == request_id][-1]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"authorization": f"Bearer {KEYS['all']}", **headers})
            came = connection.getresponse()
            told = came.read()
            return came.status, json.loads(told) if told else None, {k.lower(): v for k, v in came.getheaders()}
        finally:
            connection.close()


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[Place]:
    upstream = Anthropic()
    (folder / "policies").mkdir()
    (folder / "policies" / "tight.yaml").write_text(POLICY)
    with listening(upstream, lifespan="off") as port:
        digests = {name: sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        (folder / "config.yaml").write_text(CONFIG.format(port=port, **digests))
        with listening(create_app(load(folder / "config.yaml", {}))) as ours, contextlib.ExitStack() as clients:
            yield Place(ours, folder / "ledger", upstream, clients)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with placed(tmp_path_factory.mktemp("place")) as place:
        yield place


@pytest.fixture
def place(shared: Place) -> Place:
    shared.upstream.answers.clear()
    shared.upstream.came.clear()
    return shared


# ---------------------------------------------------------------- a deployment that speaks them


def test_bytes_pass_both_ways(place: Place):
    body = b'{"model":"claude", "max_tokens":9,"x":1.10,"messages":[{"role":"user","content":"hi"}]}'
    status, told, headers = place.ask("POST", "/v1/messages?beta=true", body, **{"anthropic-beta": "b-1,oauth-2025"})
    sent, came = place.upstream.came[-1]
    assert (status, told) == (200, ANSWER)
    assert came == body.replace(b'"claude"', b'"claude-sonnet-4-5"')
    assert (sent["x-api-key"], sent["anthropic-version"], sent["anthropic-beta"]) == (
        "sk-upstream",
        "2023-06-01",
        "b-1",
    )
    assert "authorization" not in sent
    assert place.upstream.paths[-1] == "/v1/messages"
    assert headers["request-id"] == headers["x-request-id"]
    assert headers["x-gateway-upstream-request-id"] == "req_up"


def test_usage_is_entered_as_anthropic_states_it(place: Place):
    raw = place.client().messages.with_raw_response.create(model="claude", max_tokens=9, messages=ASKED)
    row = place.settled(raw.headers["request-id"])
    assert raw.parse().content[1].text == "Hello there."  # type: ignore[union-attr]
    assert (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]) == (240, 7, 200)
    assert (row["cache_write_tokens"], row["status"], row["operation"]) == (30, "answered", "messages")


def test_a_stream_passes_as_it_comes(place: Place):
    with place.client().messages.stream(model="claude", max_tokens=9, messages=ASKED) as stream:
        message = stream.get_final_message()
        row_id = stream.response.headers["request-id"]
    assert message.to_dict()["content"] == ANSWER["content"]
    row = place.settled(row_id)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cache_write_tokens"]) == (240, 7, 30)
    body = json.dumps({"model": "claude", "max_tokens": 9, "messages": ASKED, "stream": True}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    connection.request("POST", "/v1/messages", body, {"x-api-key": KEYS["all"]})
    assert connection.getresponse().read() == streamed_events(ANSWER)
    connection.close()


def test_beta_messages_are_messages(place: Place):
    told = place.client().beta.messages.create(
        model="claude", max_tokens=9, messages=ASKED, betas=["context-1m-2025-08-07"]
    )
    assert told.usage.output_tokens == 7
    assert place.upstream.came[-1][0]["anthropic-beta"] == "context-1m-2025-08-07"


def test_an_upstreams_error_passes_in_its_own_class(place: Place):
    told = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_up"}'
    place.upstream.answers.append((529, told))
    with pytest.raises(anthropic.APIStatusError) as refused:
        place.client().messages.create(model="claude", max_tokens=9, messages=ASKED)
    assert refused.value.status_code == 529
    assert refused.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]
    assert refused.value.body["error"]["message"].startswith("Overloaded [gw_")  # type: ignore[index]


def test_an_error_in_a_stream_is_heard(place: Place):
    whole = streamed_events(ANSWER)
    begun = whole[: whole.index(b"event: content_block_stop")]
    told = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    place.upstream.answers.append((200, begun + told))
    with (
        pytest.raises(anthropic.APIStatusError) as refused,
        place.client().messages.stream(model="claude", max_tokens=9, messages=ASKED) as stream,
    ):
        stream.get_final_message()
    assert "Overloaded" in str(refused.value)


def test_a_stream_that_breaks_off_ends_with_an_error(place: Place):
    whole = streamed_events(ANSWER)
    place.upstream.answers.append((200, whole[: whole.index(b"event: content_block_stop")]))
    with (
        pytest.raises(anthropic.APIStatusError) as refused,
        place.client().messages.stream(model="claude", max_tokens=9, messages=ASKED) as stream,
    ):
        stream.get_final_message()
    assert refused.value.body["error"]["type"] == "api_error"  # type: ignore[index]


def test_long_results_are_fitted_in_their_blocks(place: Place):
    lines = "\n".join([f"line {number} of the listing is ordinary" for number in range(600)])
    messages: Any = [{"role": "user", "content": "read a"}]
    for number in range(4):
        call = {"type": "tool_use", "id": f"t{number}", "name": "read", "input": {"path": str(number)}}
        answer = {"type": "tool_result", "tool_use_id": f"t{number}", "content": lines if number < 2 else "short"}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}]
    raw = place.client().messages.with_raw_response.create(
        model="claude", max_tokens=100, messages=messages, tools=[TOOL]
    )
    assert raw.headers["x-gateway-plan"].startswith("rewritten")
    sent = json.loads(place.upstream.came[-1][1])["messages"]
    roles = [role for role, _ in groupby(sent, key=lambda one: str(one["role"]))]
    assert roles == ["user", *["assistant", "user"] * (len(roles) // 2)]
    used = [block["id"] for one in sent for block in one["content"] if isinstance(block, dict) and "input" in block]
    answered = [block["tool_use_id"] for one in sent for block in one["content"] if "tool_use_id" in block]
    assert used == answered
    assert sent[-1] == messages[-1]


# ---------------------------------------------------------------- one that speaks chat completions


def test_a_chat_answers_as_a_message(place: Place):
    raw = place.client().messages.with_raw_response.create(
        model="demo", max_tokens=60, messages=ASKED, system=[{"type": "text", "text": "You help."}]
    )
    told = raw.parse()
    assert (told.type, told.role, told.stop_reason) == ("message", "assistant", "end_turn")
    assert told.content[0].type == "text"
    assert told.usage.input_tokens > 5
    assert place.settled(raw.headers["request-id"])["operation"] == "messages"


def test_a_chats_stream_is_a_messages_stream(place: Place):
    kinds: list[str] = []
    with place.client().messages.stream(model="demo", max_tokens=60, messages=ASKED) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    raw = [kind for kind in kinds if kind not in ("text", "input_json", "thinking", "signature")]
    assert (raw[0], raw[1], raw[-2], raw[-1]) == (
        "message_start",
        "content_block_start",
        "message_delta",
        "message_stop",
    )
    assert message.usage.input_tokens > 5
    assert message.stop_reason == "end_turn"


def test_a_tool_is_called_and_its_result_read(place: Place):
    client, messages = place.client(), [{"role": "user", "content": "read the file a"}]
    asked: Any = {"model": "demo", "max_tokens": 200, "messages": messages, "tools": [TOOL]}
    told = client.messages.create(**asked, tool_choice={"type": "any"})
    call = next(block for block in told.content if block.type == "tool_use")
    assert (call.name, told.stop_reason) == ("read", "tool_use")
    with client.messages.stream(**asked, tool_choice={"type": "any"}) as stream:
        assert stream.get_final_message().content[-1].type == "tool_use"
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "A"}]}
    messages += [{"role": "assistant", "content": told.content}, {"role": "user", "content": [result]}]  # type: ignore[dict-item]
    assert client.messages.create(**asked).content


def test_what_no_chat_can_say_is_named(place: Place):
    with pytest.raises(anthropic.BadRequestError) as refused:
        place.client().messages.create(
            model="demo", max_tokens=9, messages=ASKED, tools=[{"type": "web_search_20250305", "name": "web_search"}]
        )
    assert "tools[0]" in str(refused.value)


# ---------------------------------------------------------------- errors


def test_each_error_is_of_its_own_class(place: Place):
    cases: list[tuple[str, dict[str, Any], type[anthropic.APIStatusError], str]] = [
        ("sk-nobody", {}, anthropic.AuthenticationError, "authentication_error"),
        ("one", {"model": "claude"}, anthropic.PermissionDeniedError, "permission_error"),
        ("all", {"model": "nothing"}, anthropic.NotFoundError, "not_found_error"),
        ("all", {"messages": []}, anthropic.BadRequestError, "invalid_request_error"),
    ]
    for key, more, expected, kind in cases:
        with pytest.raises(expected) as refused:
            place.client(key).messages.create(**{"model": "demo", "max_tokens": 9, "messages": ASKED, **more})
        told: Any = refused.value.body
        assert (told["type"], told["error"]["type"]) == ("error", kind)
        assert told["request_id"] == refused.value.response.headers["request-id"]


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_know(place: Place):
    long: Any = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+ maximum"):
        place.client().messages.create(model="demo", max_tokens=9, messages=long)
    limit = r"input length and `max_tokens` exceed context limit: 1508 \+ 199000 > 199849"
    asked: Any = [{"role": "user", "content": "word " * 1500}]
    with pytest.raises(anthropic.BadRequestError, match=limit):
        place.client().messages.create(model="claude", max_tokens=199_000, messages=asked)
    with pytest.raises(anthropic.BadRequestError) as refused:
        place.client().messages.create(model="demo", max_tokens=9, messages=ASKED, system="word " * 9000)
    assert "prompt is too long" not in str(refused.value)
    assert "exceed context limit" not in str(refused.value)


# ---------------------------------------------------------------- beside messages


def test_a_prompt_is_counted_as_a_plan_counts_it(place: Place):
    client = place.client()
    counted = client.messages.count_tokens(model="claude", messages=ASKED, system="You help.", tools=[TOOL])
    assert counted.input_tokens > 20
    before = len(ledger_rows(place.ledger))
    long: Any = [{"role": "user", "content": "word " * 9000}]
    told = client.messages.count_tokens(model="demo", messages=long).input_tokens
    assert len(ledger_rows(place.ledger)) == before
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(model="demo", max_tokens=9, messages=long)
    assert told >= int(str(refused.value).split("too long: ")[1].split()[0])
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nothing", messages=ASKED)


def test_models_are_listed_page_by_page(place: Place):
    client = place.client()
    assert [one.id for one in client.models.list(limit=1)] == ["demo", "claude"]
    assert client.models.retrieve("claude").type == "model"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nothing")
    assert place.ask("GET", "/v1/models")[1]["object"] == "list"


def test_somebody_is_there(place: Place):
    assert place.ask("HEAD", "/")[0] == 200


def test_batches_are_not_served_and_the_remedy_is_told(place: Place):
    with pytest.raises(anthropic.BadRequestError) as refused:
        place.client().messages.batches.list()
    assert "POST /v1/messages" in str(refused.value)
    status, told, headers = place.ask("GET", "/v1/messages")
    assert (status, told["type"], headers["allow"]) == (405, "error", "POST")

"""Ids of what providers keep: whose they are, who is asked, and what others get of them."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest
import structlog
from openai import OpenAI

from gateway.app import create_app
from gateway.config import load
from gateway.serving.stored_ids import MOST_IN_DRAWER, Holding, StoredIds
from gateway.state.disk import DiskState
from gateway.state.store import Store
from tests.contract.running import ledger_rows, wait_for
from tests.served import listening
from tests.test_responses_answers import MESSAGE, whole

KEYS = {"red": "sk-gw-red", "red2": "sk-gw-red2", "blue": "sk-gw-blue"}
CONFIG = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:{port}/v1", api_key: sk-upstream}}
    model_info: {{speaks: [responses]}}
  - {{model_name: chat, litellm_params: {{model: demo/gpt-4o}}}}
teams: {{red: {{}}, blue: {{}}}}
keys:
  - {{name: red, sha256: {red}, team: red}}
  - {{name: red2, sha256: {red2}, team: red}}
  - {{name: blue, sha256: {blue}, team: blue}}
state: {{dir: state}}
ledger: {{dir: ledger}}
"""


COMPACTED = {
    "id": "resp_c",
    "object": "response.compaction",
    "created_at": 1,
    "output": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA="},
    ],
    "usage": {
        "input_tokens": 40,
        "input_tokens_details": {"cached_tokens": 30},
        "output_tokens": 9,
        "total_tokens": 49,
    },
}


@dataclass
class Keeper:
    """A provider that keeps what it made, and tells anybody who has its key."""

    made: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = scope["path"]
        self.asked.append((scope["method"], f"{path}?{scope['query_string'].decode()}".rstrip("?")))
        self.bodies.append(json.loads(body or b"{}"))
        await _say(send, self.answer(scope["method"], path))

    def answer(self, method: str, path: str) -> dict[str, Any]:
        if path == "/v1/responses":
            self.made += 1
            if self.bodies[-1].get("background"):
                return whole(id=f"resp_{self.made}", status="queued", usage=None, background=True)
            return whole({**MESSAGE, "id": f"msg_{self.made}"}, id=f"resp_{self.made}")
        if path == "/v1/responses/compact":
            return COMPACTED
        if path == "/v1/conversations":
            return {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
        if path.endswith("/input_tokens"):
            return {"object": "response.input_tokens", "input_tokens": 7}
        if path.endswith(("items", "input_items")):
            return {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}
        if method == "DELETE":
            return {"id": path.rsplit("/", 1)[-1], "object": "response", "deleted": True}
        return whole(MESSAGE, id=path.split("/")[3])


async def _say(send: Any, answer: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@dataclass(frozen=True)
class Place:
    port: int
    keeper: Keeper
    ledger: Path

    def client(self, name: str) -> OpenAI:
        return OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEYS[name], max_retries=0, timeout=20)

    def ask(self, name: str, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, f"/v1{path}", sent, {"authorization": f"Bearer {KEYS[name]}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, keeper = tmp_path_factory.mktemp("stored"), Keeper()
    with listening(keeper) as upstream:
        hashes = {name: sha256(secret.encode()).hexdigest() for name, secret in KEYS.items()}
        (folder / "config.yaml").write_text(CONFIG.format(port=upstream, **hashes))
        with listening(create_app(load(folder / "config.yaml", {}))) as port:
            yield Place(port, keeper, folder / "ledger")


def test_a_team_gets_back_what_it_had_made(place: Place):
    with place.client("red") as red, place.client("red2") as other:
        made = red.responses.create(model="m", input="Hi")
        assert red.responses.retrieve(made.id).id == made.id
        assert other.responses.retrieve(made.id).id == made.id
        assert list(red.responses.input_items.list(made.id, limit=3)) == []
        assert place.keeper.asked[-1] == ("GET", f"/v1/responses/{made.id}/input_items?limit=3")
        assert red.responses.cancel(made.id).id == made.id
        red.responses.delete(made.id)
        assert place.keeper.asked[-1] == ("DELETE", f"/v1/responses/{made.id}")
        red.responses.create(model="m", input="And?", previous_response_id=made.id)
        assert place.keeper.bodies[-1]["previous_response_id"] == made.id
        item: Any = {"type": "item_reference", "id": made.output[0].id}
        red.responses.create(model="m", input=[item, {"role": "user", "content": "And?"}])
        assert place.keeper.bodies[-1]["input"][0] == item


def test_conversations_are_made_used_and_looked_at(place: Place):
    with place.client("red") as red:
        made = red.conversations.create()
        red.responses.create(model="m", input="Hi", conversation=made.id)
        assert red.conversations.retrieve(made.id).id == made.id
        assert list(red.conversations.items.list(made.id)) == []


def test_tokens_are_counted_where_the_model_is(place: Place):
    with place.client("red") as red:
        assert red.responses.input_tokens.count(model="m", input="Hi").input_tokens == 7
        assert place.keeper.bodies[-1]["model"] == "gpt-4o"
        assert red.responses.input_tokens.count(model="chat", input="Hi").input_tokens == 8


def test_a_conversation_is_compacted_where_the_model_is_and_paid_for(place: Place):
    items = [{"role": "user", "content": "Hi"}, {"type": "compaction", "encrypted_content": "gAAA="}]
    status, told = place.ask("red", "POST", "/responses/compact", {"model": "m", "input": items, "instructions": "Do."})
    assert (status, told) == (200, COMPACTED)
    assert place.keeper.asked[-1] == ("POST", "/v1/responses/compact")
    assert place.keeper.bodies[-1] == {"model": "gpt-4o", "input": items, "instructions": "Do."}
    row = [one for one in ledger_rows(place.ledger) if one.get("operation") == "compact" and "usage" not in one][-1]
    assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (40, 30, 9)
    assert row["cost_nanousd"] == 10 * 2_500 + 30 * 1_250 + 9 * 10_000
    with place.client("red") as red:
        made = red.responses.create(model="m", input="Hi")
        red.responses.compact(model="m", previous_response_id=made.id)
        assert place.keeper.bodies[-1] == {"model": "gpt-4o", "previous_response_id": made.id}


def test_who_is_asked_for_chats_compacts_nothing_and_says_what_to_set(place: Place):
    for body, said in (
        ({"model": "chat", "input": "Hi"}, "speaks: [responses]"),
        ({"model": "m"}, "`input` is missing"),
    ):
        status, told = place.ask("red", "POST", "/responses/compact", body)
        assert status == 400
        assert said in told["error"]["message"]


def test_what_another_team_had_made_does_not_exist(place: Place):
    with place.client("red") as red:
        made, held = red.responses.create(model="m", input="Hi"), red.conversations.create()
    item = made.output[0].id
    before, draw = len(place.keeper.asked), random.Random(7)
    ways: list[tuple[str, str, Any]] = [
        ("GET", f"/responses/{made.id}", None),
        ("GET", f"/responses/{made.id}?stream=true", None),
        ("DELETE", f"/responses/{made.id}", None),
        ("POST", f"/responses/{made.id}/cancel", {}),
        ("GET", f"/responses/{made.id}/input_items", None),
        ("POST", "/responses", {"model": "m", "input": "x", "previous_response_id": made.id}),
        ("POST", "/responses", {"model": "m", "input": "x", "conversation": {"id": held.id}}),
        ("POST", "/responses", {"model": "m", "input": [{"type": "item_reference", "id": item}]}),
        ("POST", "/responses/input_tokens", {"model": "m", "input": "x", "previous_response_id": made.id}),
        ("POST", "/responses/compact", {"model": "m", "input": "x", "previous_response_id": made.id}),
        ("POST", "/responses/compact", {"model": "m", "input": [{"type": "item_reference", "id": item}]}),
        ("GET", f"/conversations/{held.id}", None),
        ("POST", f"/conversations/{held.id}", {"metadata": {}}),
        ("DELETE", f"/conversations/{held.id}", None),
        ("GET", f"/conversations/{held.id}/items", None),
        ("POST", f"/conversations/{held.id}/items", {"items": []}),
        ("GET", f"/conversations/{held.id}/items/{item}", None),
        ("DELETE", f"/conversations/{held.id}/items/{item}", None),
        ("GET", "/responses/resp_unknown", None),
    ]
    for method, path, body in draw.choices(ways, k=1000):
        status, told = place.ask("blue", method, path, body)
        assert (status, told["error"]["type"]) == (404, "invalid_request_error"), (method, path, told)
    for path in (
        f"/responses/..%2Fresponses%2F{made.id}",
        f"/responses/{made.id}%3Fa",
        f"/conversations/x%2F{held.id}",
    ):
        assert place.ask("blue", "GET", path)[0] in (400, 404)
    assert len(place.keeper.asked) == before


def test_what_builds_on_another_account_is_refused(place: Place):
    with place.client("red") as red:
        made = red.responses.create(model="m", input="Hi")
        with pytest.raises(openai.BadRequestError):
            red.responses.create(model="chat", input="And?", previous_response_id=made.id)


def test_an_answer_of_the_background_is_entered_once_it_is_complete(place: Place):
    with place.client("red") as red:
        made = red.responses.with_raw_response.create(model="m", input="Hi", background=True)
        assert made.parse().status == "queued"
    id = made.headers["x-request-id"]

    def settled() -> dict[str, Any] | None:
        rows = ledger_rows(place.ledger)
        return next((row for row in rows if row["id"] == id and row["event"] == "settled"), None)

    row = wait_for(settled)
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == ("answered", 10, 5)
    assert "estimated" not in row


# ---------------------------------------------------------------- across processes


HELD = Holding("red", "bot", "m", "m#0")


def stored(folder: Path) -> StoredIds:
    return StoredIds(Store(lambda: DiskState(folder), structlog.get_logger(), 5.0))


async def test_another_process_knows_them_too(tmp_path: Path):
    here, there = stored(tmp_path), stored(tmp_path)
    assert here.store is not None
    assert there.store is not None
    here.note(["resp_1", "msg_1"], HELD)
    await here.close()
    assert await there.holder("resp_1") == HELD
    assert await there.holder("resp_2") is None
    there.note(["resp_1"], Holding("blue", "bot", "m", "m#0"))
    assert await there.holder("resp_1") == HELD
    for one in (here, there):
        assert one.store is not None
        await one.store.close()


async def test_an_id_keeps_its_first_owner_and_the_oldest_goes(tmp_path: Path):
    from gateway.serving.stored_ids import _with

    other = Holding("blue", "bot", "m", "m#0")
    full = _with({f"resp_{number}": HELD for number in range(MOST_IN_DRAWER)}, None)
    left = _with({"resp_5": other, "resp_new": other}, full)
    assert len(left) == MOST_IN_DRAWER
    assert left["resp_5"] == HELD
    assert "resp_0" not in left
    await asyncio.sleep(0)

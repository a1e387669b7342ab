"""What a list means, seen from both ends of the gateway: what a client asks, and what its upstream is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from gateway.app import create_app
from gateway.config import ConfigErrors, load
from gateway.money import ledger
from tests.providers.serving import Provider, serving

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Scripted(Provider):
    """Answers as OpenAI does; `down` names models that fail, `forbids` a member of the body that it refuses."""

    down: set[str] = field(default_factory=set)
    forbids: str = ""

    async def respond(self, request: web.Request) -> web.StreamResponse:
        body = self.received[-1].body
        if body["model"] in self.down:
            return web.json_response({"error": {"message": "down"}}, status=503)
        if self.forbids and self.forbids in body:
            detail = [{"type": "extra_forbidden", "loc": ["body", self.forbids]}]
            return web.json_response({"object": "error", "message": {"detail": detail}}, status=422)
        if body.get("stream"):
            chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m", "created": 1}
            events = [
                {**chunk, "choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": None}]},
                {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            ]
            return await self.stream(request, [b"data: %s\n\n" % json.dumps(one).encode() for one in events] + [DONE])
        return web.json_response(
            {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
             "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}}
        )  # fmt: skip


DONE = b"data: [DONE]\n\n"
PRICED = "model_info: {input_cost_per_token: 1.0e-6, output_cost_per_token: 1.0e-5}"


@dataclass
class Up:
    """A gateway that is up, and its upstream."""

    client: httpx.AsyncClient
    upstream: Scripted
    folder: Path

    async def ask(self, **more: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json={**ASKED, **more})

    @property
    def sent(self) -> Any:
        return self.upstream.received[-1].body

    @property
    def models(self) -> list[str]:
        return [one.body["model"] for one in self.upstream.received]

    @property
    def settled(self) -> list[dict[str, Any]]:
        return [row for row in ledger.rows(self.folder / "led") if row["event"] == "settled"]


@asynccontextmanager
async def up(folder: Path, text: str, upstream: Scripted | None = None, **environ: str) -> AsyncIterator[Up]:
    async with serving(upstream or Scripted()) as server:
        file = folder / "config.yaml"
        file.write_text("ledger: {dir: led}\nstate: {dir: st}\n" + text.replace("UP", server.url))
        app = create_app(load(file, environ))
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            yield Up(client, server, folder)


def entry(name: str = "m", model: str = "openai/m", more: str = "", priced: str = PRICED) -> str:
    params = f"{{model: '{model}', api_base: 'UP/v1', api_key: k{more}}}"
    return f"  - {{model_name: '{name}', litellm_params: {params}, {priced}}}\n"


async def test_defaults_reach_the_upstream_and_the_clients_own_wins(tmp_path: Path):
    more = ", temperature: 0.2, max_tokens: 77, extra_body: {top_k: 5}, extra_headers: {x-team: blue}"
    async with up(tmp_path, "model_list:\n" + entry(more=more)) as one:
        assert (await one.ask(temperature=0.9, top_k=None)).status_code == 200
        assert one.sent == {**ASKED, "temperature": 0.9, "top_k": 5, "max_tokens": 77}
        assert one.upstream.received[-1].headers["x-team"] == "blue"
        await one.ask(max_completion_tokens=3)
        assert "max_tokens" not in one.sent


async def test_a_default_limit_is_kept_free_in_a_shared_window(tmp_path: Path):
    priced = PRICED.replace("{", "{max_input_tokens: 2000, ")
    text = "x " * 1200
    async with up(tmp_path, "model_list:\n" + entry(more=", max_tokens: 1500", priced=priced)) as one:
        refused = await one.ask(messages=[{"role": "user", "content": text}])
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "prompt_too_large_for_policy", "the message fits but for the limit"
        assert (await one.ask(messages=[{"role": "user", "content": text}], max_tokens=100)).status_code == 200


async def test_usage_is_asked_for_until_it_is_refused_and_never_where_that_was_declared(tmp_path: Path):
    text = (
        "model_list:\n"
        + entry("m", "mistral/m")
        + entry("told", "openai/t", ", stream_options: {include_usage: false}")
    )
    async with up(tmp_path, text, Scripted(forbids="stream_options")) as one:
        for _ in range(2):
            assert (await one.ask(stream=True)).text.endswith("data: [DONE]\n\n")
        assert ["stream_options" in call.body for call in one.upstream.received] == [True, False, False]
        own = {"include_usage": True}
        assert (await one.ask(stream=True, stream_options=own)).status_code == 200, "nor where the client asks"
        await one.ask(model="told", stream=True)
        assert len(one.upstream.received) == 5
        assert [row["status"] for row in one.settled] == ["answered"] * 4
        assert all(row["prompt_tokens"] > 0 for row in one.settled)


async def test_another_refusal_is_not_taken_for_that_one(tmp_path: Path):
    async with up(tmp_path, "model_list:\n" + entry(), Scripted(forbids="seed")) as one:
        first = await one.ask(stream=True, seed=1)
        assert first.status_code in {400, 422}
        await one.ask(stream=True)
        assert one.sent["stream_options"] == {"include_usage": True}


async def test_deployments_are_asked_by_their_order_and_one_that_rests_comes_last(tmp_path: Path):
    text = "model_list:\n" + "".join(
        entry("m", f"openai/{name}", more)
        for name, more in (("last", ""), ("second", ", order: 2"), ("first", ", order: 1"))
    )
    async with up(tmp_path, text) as one:
        for number in range(3):
            await one.ask(messages=[{"role": "user", "content": f"hello {number}"}])
        assert one.models == ["first"] * 3
        one.upstream.down = {"first"}
        for number in range(2):  # two conversations must have met the fault
            await one.ask(messages=[{"role": "user", "content": f"good day {number}"}])
        assert one.models[3:] == ["first", "second"] * 2
        await one.ask()
        assert one.models[7:] == ["second"], "the first one rests"
        one.upstream.down = {"second", "first"}
        await one.ask()
        assert one.models[8:] == ["second", "last"]


async def test_a_conversation_that_leaves_a_whole_order_is_answered_by_the_next(tmp_path: Path):
    orders = {"a": ", order: 1", "b": ", order: 1", "c": ", order: 2", "d": "", "e": ""}
    text = "model_list:\n" + "".join(entry("m", f"openai/{name}", more) for name, more in orders.items())
    async with up(tmp_path, text, Scripted(down={"a", "b"})) as one:
        assert (await one.ask()).status_code == 200
        assert (sorted(one.models[:2]), one.models[2]) == (["a", "b"], "c")
        one.upstream.down = {"a", "b", "c"}
        assert (await one.ask()).status_code == 200
        assert one.models[-1] in {"d", "e"}


async def test_a_name_under_asterisks_is_priced_by_its_real_name_and_labelled_by_its_entry(tmp_path: Path):
    text = "model_list:\n" + entry("openai/*", "openai/*", priced="model_info: {}") + entry()
    text += "fallbacks: [{'openai/*': [m]}]\n"
    async with up(tmp_path, text, Scripted(down={"gpt-4o-mini"})) as one:
        assert (await one.ask(model="openai/gpt-4o")).status_code == 200
        assert one.sent["model"] == "gpt-4o"
        assert one.settled[-1]["cost_nanousd"] == 3_000_000
        assert one.settled[-1]["model"] == "openai/gpt-4o"
        assert (await one.ask(model="openai/gpt-4o-mini")).status_code == 200
        assert one.models[1:] == ["gpt-4o-mini", "m"], "the fallback of the entry"
        assert [call["deployment"] for call in one.settled[-1]["attempts"]] == ["openai/*#0:openai/*", "m#0:openai/m"]
        assert (await one.ask(model="openai/*")).status_code == 404
        nobody = await one.ask(model="openai/gpt-nonsense")
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (403, "model_unpriced")
        assert (await one.ask(model="openai/../x")).status_code == 404
        embedding = await one.ask(model="openai/text-embedding-3-small")
        assert (embedding.status_code, embedding.json()["error"]["code"]) == (400, "model_not_for_chat")
        listed = (await one.client.get("/v1/models")).json()["data"]
        assert [(each["id"], each.get("wildcard")) for each in listed] == [("openai/*", True), ("m", None)]


async def test_asterisks_at_the_providers_own_address_are_listed_as_the_models_they_are(tmp_path: Path):
    text = "model_list: [{model_name: 'openai/*', litellm_params: {model: 'openai/*', api_key: k}}]\n"
    async with up(tmp_path, text) as one:
        listed = [each["id"] for each in (await one.client.get("/v1/models")).json()["data"]]
        assert {"openai/gpt-4o", "openai/gpt-5"} <= set(listed)
        assert "openai/*" not in listed
        assert "openai/text-embedding-3-small" in listed
        assert not [name for name in listed if "tts" in name or "image" in name]


async def test_no_client_reaches_the_demo_through_asterisks(tmp_path: Path):
    async with up(tmp_path, "model_list: [{model_name: '*', litellm_params: {model: '*'}}]\n") as one:
        assert (await one.ask(model="demo/demo")).status_code == 404


async def test_an_alias_is_another_name_and_no_name_is_ever_taken_for_another(tmp_path: Path):
    keys = {name: f"sk-gw-{name}" for name in ("one", "other")}
    text = "model_list:\n" + entry("gpt-4o", "openai/gpt-4o") + entry("big", "openai/big") + (
        "aliases: {gpt-4: gpt-4o}\n"
        "keys:\n"
        f"  - {{name: one, sha256: {sha256(keys['one'].encode()).hexdigest()}, models: [gpt-4o]}}\n"
        f"  - {{name: other, sha256: {sha256(keys['other'].encode()).hexdigest()}}}\n"
    )  # fmt: skip
    async with up(tmp_path, text) as one:
        one.client.headers["authorization"] = f"Bearer {keys['one']}"
        assert (await one.ask(model="gpt-4")).status_code == 200
        assert one.sent["model"] == "gpt-4o"
        assert one.settled[-1]["model"] == "gpt-4", "what was asked for is in the books"
        assert (await one.ask(model="big")).status_code == 403
        listed = [each["id"] for each in (await one.client.get("/v1/models")).json()["data"]]
        assert listed == ["gpt-4o", "gpt-4"]
        one.client.headers["authorization"] = f"Bearer {keys['other']}"
        missing = await one.ask(model="gpt-4o-2024-08-06")
        assert missing.status_code == 404
        assert "Did you mean `gpt-4o`?" in missing.json()["error"]["message"]


async def test_members_that_an_entry_drops_do_not_leave(tmp_path: Path):
    async with up(tmp_path, "model_list:\n" + entry(more=", additional_drop_params: [seed, stream_options]")) as one:
        await one.ask(seed=5, stream=True, stream_options={"include_usage": True})
        assert one.sent == {**ASKED, "stream": True}


@pytest.mark.parametrize(
    ("key", "told"),
    [("sk-1\n", None), ("'sk-1'", None), ("sk\n1", "character 3 of 4 (U+000A)"), ("sk-\u200b1", "(U+200B)")],
)
async def test_a_key_that_no_header_takes_is_told_at_start_and_not_at_each_request(
    tmp_path: Path, key: str, told: str | None
):
    text = "model_list:\n" + entry().replace("api_key: k", "api_key: os.environ/K")
    if told is not None:
        with pytest.raises(ConfigErrors) as caught:
            load_text(tmp_path, text, K=key)
        assert told in str(caught.value)
        assert key not in str(caught.value)
        return
    async with up(tmp_path, text, K=key) as one:
        assert (await one.ask()).status_code == 200
        assert one.upstream.received[-1].headers["Authorization"] == f"Bearer {key.strip()}"


def load_text(folder: Path, text: str, **environ: str) -> None:
    (folder / "config.yaml").write_text(text.replace("UP", "http://127.0.0.1:1"))
    load(folder / "config.yaml", environ)


@pytest.mark.parametrize("header", ["{'x y': a}", '{x: "a\\nb"}', "{x: [a]}", "[a]"])
def test_headers_that_http_cannot_carry_are_told_at_start(tmp_path: Path, header: str):
    with pytest.raises(ConfigErrors, match="extra_headers"):
        load_text(tmp_path, "model_list:\n" + entry(more=f", extra_headers: {header}"))


async def test_a_client_whose_own_stream_options_are_refused_turns_nothing_off_for_others(tmp_path: Path):
    async with up(tmp_path, "model_list:\n" + entry(), Scripted(forbids="made_up")) as one:
        await one.ask(stream=True, stream_options={"made_up": 1})
        await one.ask(stream=True)
        assert one.sent["stream_options"] == {"include_usage": True}

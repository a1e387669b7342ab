"""Responses over a socket, asked by OpenAI's own SDK: plain, streamed, parsed, with tools, and an agent's loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AzureOpenAI, OpenAI
from pydantic import BaseModel

from gateway.app import create_app
from gateway.config import load
from tests.contract.running import ledger_rows
from tests.served import listening
from tests.talk import words

CONFIG = """
model_list: [{model_name: m, litellm_params: {model: demo/gpt-4o}}]
default_policy: tight
policies: policies
ledger: {dir: ledger}
"""
POLICY = "{name: tight, context_window: 3000, fold: {keep_turns: 1}}"
TOOL: Any = {
    "type": "function",
    "name": "read",
    "description": "Reads a file.",
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Place(BaseModel):
    name: str
    rooms: int


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    folder = tmp_path_factory.mktemp("responses")
    (folder / "policies").mkdir()
    (folder / "policies" / "tight.yaml").write_text(POLICY)
    (folder / "config.yaml").write_text(CONFIG)
    with listening(create_app(load(folder / "config.yaml", {}))) as port:
        yield port, folder / "ledger"


@pytest.fixture
def client(port: tuple[int, Path]) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{port[0]}/v1", api_key="x", max_retries=0, timeout=20) as opened:
        yield opened


def test_an_answer_comes_whole(client: OpenAI, port: tuple[int, Path]):
    raw = client.responses.with_raw_response.create(model="m", input="Say it.", instructions="Be brief.", user="u")
    answer = raw.parse()
    assert answer.output_text
    assert answer.usage is not None
    row = [row for row in ledger_rows(port[1]) if row["id"] == raw.headers["x-request-id"]][-1]
    assert (row["operation"], row["user"], row["status"]) == ("responses", "u", "answered")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert "x-gateway-cost-usd" in raw.headers


def test_a_stream_comes_event_by_event(client: OpenAI):
    with client.responses.stream(model="m", input="Say it.") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert "response.output_text.delta" in kinds
    assert final.output_text == client.responses.create(model="m", input="Say it.").output_text


def test_an_answer_is_parsed_into_a_form(client: OpenAI):
    parsed = client.responses.parse(model="m", input="Describe it.", text_format=Place)
    assert isinstance(parsed.output_parsed, Place)


@pytest.mark.parametrize("streams", [False, True])
def test_an_agent_works_for_twenty_steps(client: OpenAI, streams: bool):
    items: list[Any] = [{"role": "user", "content": "Read all files."}]
    plans = []
    for step in range(20):
        asked: dict[str, Any] = {"model": "m", "input": items, "tools": [TOOL], "tool_choice": "required"}
        if streams:
            with client.responses.stream(**asked) as stream:
                answer: Any = stream.get_final_response()
        else:
            raw = client.responses.with_raw_response.create(**asked)
            answer = raw.parse()
            plans.append(raw.headers.get("x-gateway-plan", ""))
        calls = [item for item in answer.output if item.type == "function_call"]
        assert calls
        for call in calls:
            items.append(
                {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            )
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": words(300, f"s{step}")})
    if not streams:
        assert len({plan for plan in plans if plan.startswith("rewritten")}) > 2


def test_errors_are_the_sdks_own(client: OpenAI):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nothing", input="x")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input="x", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input=words(9000))
    assert refused.value.code == "context_length_exceeded"


def test_azures_client_is_served_too(port: tuple[int, Path]):
    with AzureOpenAI(
        azure_endpoint=f"http://127.0.0.1:{port[0]}", api_version="2025-04-01-preview", api_key="x", timeout=20
    ) as azure:
        assert azure.responses.create(model="m", input="Say it.").output_text

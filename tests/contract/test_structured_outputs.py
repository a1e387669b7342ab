"""The first programs of frameworks for structured output, in front of the demo provider: each gets what it asks for.

OpenAI's client and LangChain are here themselves; of others, the bodies that they send (read off the wire in 2026-11).
"""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from gateway.demo import settings
from tests.contract.running import Gateway, running_gateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

ASK = "Extract: Jason is 25 years old."


class User(BaseModel):
    name: str
    age: int


JASON = User(name="Jason", age=25)
SCHEMA = User.model_json_schema()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway as `make serve` starts it."""
    with running_gateway(settings.write_config(tmp_path_factory.mktemp("demo"))) as running:
        yield running


@pytest.fixture
def client(demo: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=demo.url, api_key="any", max_retries=0) as opened:
        yield opened


def asked(demo: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    """Send a body as it is; the message of the first choice."""
    request = urllib.request.Request(
        f"{demo.url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        message: dict[str, Any] = json.load(response)["choices"][0]["message"]
        return message


def test_openai_parses_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="gpt-5", messages=[{"role": "user", "content": ASK}], response_format=User
    )
    assert answer.choices[0].message.parsed == JASON


def test_openai_parses_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="gpt-5", messages=[{"role": "user", "content": ASK}], response_format=User
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == JASON


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_langchain_parses_an_answer(demo: Gateway, method: Any) -> None:
    model = ChatOpenAI(model="gpt-5", base_url=demo.url, api_key=SecretStr("any"), max_retries=0)
    assert model.with_structured_output(User, method=method).invoke(ASK) == JASON


def test_instructor_gets_its_call(demo: Gateway) -> None:
    body = {
        "model": "gpt-5",
        "messages": [{"role": "user", "content": ASK}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "User",
                    "description": "Correctly extracted `User` with all the required parameters with correct types",
                    "parameters": {name: SCHEMA[name] for name in ("properties", "required", "type")},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "User"}},
    }
    assert User.model_validate_json(asked(demo, body)["tool_calls"][0]["function"]["arguments"]) == JASON


def test_pydantic_ai_gets_its_result_after_its_tools(demo: Gateway) -> None:
    dice = {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]}
    tools = [
        {"type": "function", "function": {"name": "roll_dice", "description": "", "parameters": dice, "strict": True}},
        {
            "type": "function",
            "function": {"name": "final_result", "description": "The final response", "parameters": SCHEMA},
        },
    ]
    messages: list[dict[str, Any]] = [{"role": "user", "content": ASK}]
    for _ in range(3):
        said = asked(demo, {"model": "gpt-5", "messages": messages, "tools": tools, "tool_choice": "required"})
        call = said["tool_calls"][0]
        if call["function"]["name"] == "final_result":
            break
        messages += [said, {"role": "tool", "tool_call_id": call["id"], "content": "4"}]
    assert User.model_validate_json(call["function"]["arguments"]) == JASON


def test_vercels_sdk_gets_its_object(demo: Gateway) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **SCHEMA, "additionalProperties": False}
    body = {
        "model": "gpt-5",
        "messages": [{"role": "user", "content": ASK}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"schema": schema, "strict": True, "name": "response"},
        },
    }
    assert User.model_validate_json(asked(demo, body)["content"]) == JASON


def test_a_schema_in_the_prompt_is_followed(demo: Gateway) -> None:
    system = (
        f"Provide the parsed objects in json that match the following json_schema:\n\n{json.dumps(SCHEMA, indent=2)}"
    )
    body = {
        "model": "gpt-5",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": ASK}],
        "response_format": {"type": "json_object"},
    }
    assert User.model_validate_json(asked(demo, body)["content"]) == JASON


@pytest.mark.parametrize("model", ["gpt-5", "gpt-4o-mini", "anthropic/claude-sonnet-5", "llama3.2:latest", "anything"])
def test_any_model_name_is_answered(demo: Gateway, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Where is my parcel?"}]}
    assert asked(demo, body)["content"]

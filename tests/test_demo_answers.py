"""The form of the demo model's answers: JSON where JSON is asked for, the call that is demanded, as many as asked."""

import json
from typing import Any

import orjson
import pytest

from gateway.budget.tokens import Counters
from gateway.routing.models import models_of
from gateway.routing.upstreams.demo import Demo
from gateway.serving.fit import prompt_tokens
from gateway.wire.chat.read import parse
from gateway.wire.memo import Memo
from tests.providers.deployments import deployment

TARGET = deployment("demo/gpt-5", kind="demo", window=100_000)
COUNTERS = Counters()
ASK = [{"role": "user", "content": "Extract: Jason is 25 years old."}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
JASON = {"name": "Jason", "age": 25}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
AS_OBJECT = {"type": "json_object"}


def tool(name: str, parameters: Any = PERSON) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def words(text: str) -> int:
    return len(text.split())


async def reply(messages: list[Any] = ASK, stream: bool = False, **more: Any) -> tuple[int, bytes]:
    body = orjson.dumps({"model": "gpt-5", "messages": messages, "stream": stream, **more})
    got = await Demo(words, lambda: 0.0).send(TARGET, body, stream=stream, request_id="gw_1")
    return got.status, b"".join([chunk async for chunk in got.chunks()])


async def whole(messages: list[Any] = ASK, **more: Any) -> dict[str, Any]:
    status, told = await reply(messages, **more)
    assert status == 200, told
    return dict(orjson.loads(told))


async def choice(messages: list[Any] = ASK, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await whole(messages, **more))["choices"][0]
    return found


async def text(messages: list[Any] = ASK, **more: Any) -> str:
    said: str = (await choice(messages, **more))["message"]["content"]
    return said


async def called(messages: list[Any] = ASK, **more: Any) -> tuple[str, Any]:
    told = await choice(messages, **more)
    assert told["finish_reason"] == "tool_calls"
    call = told["message"]["tool_calls"][0]["function"]
    return call["name"], json.loads(call["arguments"])


async def deltas(messages: list[Any] = ASK, **more: Any) -> list[tuple[int, dict[str, Any], str | None]]:
    """Read a stream: the number of the answer, what is added to it, and why it ended."""
    status, told = await reply(messages, stream=True, **more)
    assert status == 200, told
    sent = told.decode().removesuffix("\n\n").split("\n\n")
    assert sent[-1] == "data: [DONE]"
    events = [json.loads(event.removeprefix("data: ")) for event in sent[:-1]]
    return [(one["index"], one["delta"], one["finish_reason"]) for event in events for one in event["choices"]]


# ---------------------------------------------------------------- JSON


async def test_an_answer_follows_its_schema_and_says_what_was_said():
    assert json.loads(await text(response_format=AS_SCHEMA)) == JASON


async def test_a_streamed_answer_in_a_form_says_the_same_in_pieces():
    pieces = [delta.get("content") or "" for _, delta, _ in await deltas(response_format=AS_SCHEMA)]
    assert "".join(pieces) == await text(response_format=AS_SCHEMA)
    assert sum(map(bool, pieces)) > 1


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ([{"role": "system", "content": f"Match this json_schema:\n\n{json.dumps(PERSON, indent=2)}"}, *ASK], JASON),
        ([{"role": "user", "content": f"{ASK[0]['content']} JSON schema: {json.dumps(PERSON)}"}], JASON),
        ([{"role": "user", "content": "Of Jason, who is 25, as JSON like {\"name\": \"Ann\", \"age\": 7}"}], JASON),
        ([{"role": "user", "content": "Return a JSON blob with keys 'name' and 'city' of Jason in Rome."}],
         {"name": "Jason", "city": "Rome"}),
        ([{"role": "user", "content": "Say it as JSON, Jason."}], {"answer": "Jason"}),
    ],
)  # fmt: skip
async def test_json_without_a_schema_is_what_the_prompt_says_of_it(prompt, answer):
    assert json.loads(await text(prompt, response_format=AS_OBJECT)) == answer


async def test_a_schema_in_the_prompt_alone_is_answered_in_a_code_block():
    prompt = [{"role": "system", "content": f"Understand the schema: {json.dumps(PERSON)}"}, *ASK]
    said = await text(prompt)
    assert said.startswith("```json\n")
    assert json.loads(said.removeprefix("```json\n").removesuffix("\n```")) == JASON


@pytest.mark.parametrize(
    "odd",
    ['{"properties": {"a": {"const": ' + "9" * 400 + '}}, "required": ["a"]}', '{"properties": {"a": {"enum": [NaN]}}}',
     '{"properties": {"a": {"const": "\\ud800"}}, "required": ["a"]}', '{"properties":' * 3000, "{" * 5000],
)  # fmt: skip
async def test_odd_json_in_a_prompt_is_never_raised_over(odd):
    for more in ({}, {"response_format": AS_OBJECT}):
        assert await text([{"role": "user", "content": odd}], **more)


async def test_words_are_answered_with_words():
    for more in ({}, {"response_format": {"type": "text"}}, {"response_format": None}):
        assert not (await text([{"role": "user", "content": "Is {this} or [that] right?"}], **more)).startswith(
            ("{", "`")
        )


# ---------------------------------------------------------------- calls


async def test_the_tool_that_is_named_is_called_with_all_its_arguments():
    more: dict[str, Any] = {"tools": [tool("other", {}), tool("person")], "tool_choice": function("person")}
    assert await called(**more) == ("person", JASON)


async def test_a_required_call_has_the_arguments_that_are_required():
    parameters = {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
    assert await called(tools=[tool("weather", parameters)], tool_choice="required") == ("weather", {"city": "Jason"})


async def test_where_calls_are_required_each_tool_has_its_turn_so_that_the_loop_ends():
    tools, messages = [tool("look_up"), tool("final_result")], [*ASK]
    names = []
    for _ in range(2):
        told = await choice(messages, tools=tools, tool_choice="required")
        call = told["message"]["tool_calls"][0]
        names.append(call["function"]["name"])
        messages += [told["message"], {"role": "tool", "tool_call_id": call["id"], "content": "found"}]
    assert names == ["look_up", "final_result"]


async def test_of_the_tools_that_are_allowed_one_is_called_where_it_is_required():
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function("b")]}}
    assert (await called(tools=[tool("a"), tool("b")], tool_choice=allowed))[0] == "b"


async def test_a_custom_tool_is_called_with_text():
    more: dict[str, Any] = {"tools": [{"type": "custom", "custom": {"name": "run"}}], "tool_choice": "required"}
    call = (await choice(**more))["message"]["tool_calls"][0]
    assert (call["type"], call["custom"]) == ("custom", {"name": "run", "input": "Jason"})


async def test_functions_of_older_programs_are_called_in_their_own_shape():
    functions = [{"name": "person", "parameters": PERSON}]
    told = await choice(functions=functions, function_call={"name": "person"})
    assert told["finish_reason"] == "function_call"
    assert "tool_calls" not in told["message"]
    assert json.loads(told["message"]["function_call"]["arguments"]) == JASON
    streamed = [
        delta.get("function_call", {})
        for _, delta, _ in await deltas(functions=functions, function_call={"name": "person"})
    ]
    assert "".join(one.get("name", "") for one in streamed) == "person"
    assert json.loads("".join(one.get("arguments", "") for one in streamed)) == JASON
    after = [*ASK, told["message"], {"role": "function", "name": "person", "content": "done"}]
    assert (await choice(after, functions=functions))["finish_reason"] == "stop"
    assert (await choice(functions=functions, function_call="none"))["finish_reason"] == "stop"


async def test_a_streamed_call_is_the_same_call():
    more: dict[str, Any] = {"tools": [tool("person")], "tool_choice": "required"}
    parts = [part for _, delta, _ in await deltas(**more) for part in delta.get("tool_calls", ())]
    assert json.loads("".join(part["function"].get("arguments", "") for part in parts)) == JASON
    assert [part["index"] for part in parts] == [0] * len(parts)


# ---------------------------------------------------------------- several, and what cannot be


async def test_as_many_answers_come_as_are_asked_for_and_all_are_counted():
    told = await whole(n=5)
    said = [one["message"]["content"] for one in told["choices"]]
    assert [one["index"] for one in told["choices"]] == list(range(5))
    assert len(set(said)) == 5
    assert told["usage"]["completion_tokens"] == sum(map(words, said))
    streamed = dict.fromkeys(range(5), "")
    for index, delta, _ in await deltas(n=5):
        streamed[index] += delta.get("content") or ""
    assert list(streamed.values()) == said


async def test_each_of_several_calls_has_an_id_of_its_own():
    told = await whole(n=3, tools=[tool("person")], tool_choice="required")
    assert len({one["message"]["tool_calls"][0]["id"] for one in told["choices"]}) == 3


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": "two"}, "n"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"tools": [tool("a")], "tool_choice": function("b")}, "tool_choice"),
    ],
)
async def test_what_no_answer_can_be_is_refused(more, param):
    status, told = await reply(**more)
    assert (status, orjson.loads(told)["error"]["param"]) == (400, param)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_ends_the_answer(name):
    short: dict[str, Any] = {name: 5}
    long: dict[str, Any] = {name: 1000}
    whole_text = await text()
    told: dict[str, Any] = await whole(ASK, **short)
    cut = told["choices"][0]
    assert (cut["finish_reason"], told["usage"]["completion_tokens"]) == ("length", 5)
    assert whole_text.startswith(cut["message"]["content"])
    assert (await choice(ASK, **long))["message"]["content"] == whole_text
    assert [finish for _, _, finish in await deltas(ASK, **short)][-1] == "length"
    assert (await choice(ASK, **short, tools=[tool("person")], tool_choice="required"))["finish_reason"] == "tool_calls"


# ---------------------------------------------------------------- what it counts

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAgAAAAIACAIAAAB7GkOtAAAA"
"""The head of an image of 512 by 512."""


@pytest.mark.parametrize(
    ("messages", "more"),
    [
        ([{"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                       {"type": "image_url", "image_url": {"url": PNG}}]}], {}),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]}], {}),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}], {}),
        (ASK, {"response_format": AS_SCHEMA}),
        (ASK, {"functions": [{"name": "person", "parameters": PERSON}]}),
        (ASK, {"tools": [tool("person")]}),
        ([*ASK, {"role": "assistant", "content": None, "function_call": {"name": "person", "arguments": "{}"}},
          {"role": "function", "name": "person", "content": "done"}], {}),
    ],
)  # fmt: skip
async def test_its_usage_is_what_the_gateway_counts(messages, more):
    counter = COUNTERS.for_encoding("o200k_base")
    body = orjson.dumps({"model": "gpt-5", "messages": messages, **more})
    got = await Demo(counter.count, lambda: 0.0).send(TARGET, body, stream=False, request_id="gw_1")
    usage = orjson.loads(await got.read())["usage"]
    model = models_of({"gpt-5": [TARGET]}, unpriced=True)["gpt-5"]
    assert usage["prompt_tokens"] == await prompt_tokens(parse(body, Memo()), model, counter)

"""The built-in provider: deterministic answers and real usage numbers. Its caches have tests of their own."""

import json
from typing import Any

import orjson
import pytest

from gateway.routing.upstreams.demo import Demo
from tests.providers.deployments import deployment

TARGET = deployment("demo/demo", kind="demo", window=10_000)
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


def words(text: str) -> int:
    """A counter whose sums are easy to follow."""
    return len(text.split())


def body(*contents: str, **more: Any) -> bytes:
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return json.dumps({"model": "demo", "messages": messages, **more}).encode()


async def whole(demo: Demo, request: bytes) -> dict[str, Any]:
    reply = await demo.send(TARGET, request, stream=False, request_id="gw_1")
    told: dict[str, Any] = orjson.loads(await reply.read())
    assert reply.status == 200, told
    return told


async def events(demo: Demo, request: bytes) -> list[dict[str, Any]]:
    reply = await demo.send(TARGET, request, stream=True, request_id="gw_1")
    sent = b"".join([chunk async for chunk in reply.chunks()]).decode().removesuffix("\n\n").split("\n\n")
    assert sent[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in sent[:-1]]


async def test_equal_requests_get_equal_answers_to_the_byte():
    first = await (await Demo(words, lambda: 0.0).send(TARGET, body("Hi"), stream=False, request_id="gw_1")).read()
    again = await (await Demo(words, lambda: 0.0).send(TARGET, body("Hi"), stream=False, request_id="gw_2")).read()
    assert first == again


async def test_different_requests_get_different_answers():
    answers = {
        (await whole(Demo(words, lambda: 0.0), body(f"Question {n}")))["choices"][0]["message"]["content"]
        for n in range(20)
    }
    assert len(answers) > 5


async def test_the_answer_depends_on_the_last_message_and_the_tools_alone():
    def answer(told: dict[str, Any]) -> Any:
        choice = told["choices"][0]
        return choice["message"]["content"], choice["finish_reason"], told["usage"]["completion_tokens"]

    demo = Demo(words, lambda: 0.0)
    for number in range(20):
        question = f"Question {number}"
        alone = answer(await whole(demo, body(question, tools=TOOLS)))
        assert answer(await whole(demo, body("Much", "that is left out", question, tools=TOOLS))) == alone
        marked = [{"type": "text", "text": question, "cache_control": {"type": "ephemeral"}}]
        as_part = {"messages": [{"role": "user", "content": marked}], "tools": TOOLS, "temperature": 1}
        assert answer(await whole(demo, orjson.dumps(as_part))) == alone


async def test_requests_that_differ_have_ids_of_their_own_and_so_have_their_calls():
    demo = Demo(words, lambda: 0.0)
    told = [await whole(demo, body(*said, "Go on.", tools=TOOLS, tool_choice="required")) for said in ((), ("a", "b"))]
    assert told[0]["id"] != told[1]["id"]
    ids = {one["choices"][0]["message"]["tool_calls"][0]["id"] for one in told}
    assert len(ids) == 2


async def test_usage_counts_the_prompt_and_the_answer():
    told = await whole(Demo(words, lambda: 0.0), body("one two three"))
    answer = told["choices"][0]["message"]["content"]
    assert told["usage"]["prompt_tokens"] == 3 + 4 + 3
    assert told["usage"]["completion_tokens"] == words(answer)
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + words(answer)


async def test_a_stream_says_the_same_as_the_plain_answer_and_gives_usage_only_where_asked():
    request = body("Tell me.")
    told = await whole(Demo(words, lambda: 0.0), request)
    silent = await events(Demo(words, lambda: 0.0), request)
    spoken = "".join(event["choices"][0]["delta"].get("content") or "" for event in silent)
    assert spoken == told["choices"][0]["message"]["content"]
    assert all("usage" not in event for event in silent)
    asked = await events(
        Demo(words, lambda: 0.0), body("Tell me.", stream=True, stream_options={"include_usage": True})
    )
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["prompt_tokens"] == told["usage"]["prompt_tokens"]


async def test_the_cache_gives_whole_messages_from_1024_tokens_on_in_steps_of_128():
    demo = Demo(words, lambda: 0.0)

    async def cached(request: bytes) -> int:
        number: int = (await whole(demo, request))["usage"]["prompt_tokens_details"]["cached_tokens"]
        return number

    long = "word " * 1100
    assert await cached(body("short", "and")) == 0
    assert await cached(body("short", "and", "sweet")) == 0
    assert await cached(body(long)) == 0
    assert await cached(body(long)) == 1024
    assert await cached(body(long, "x " * 60)) == 1024
    assert await cached(body(long, "x " * 60, "more")) == (1104 + 64) // 128 * 128
    assert await cached(body("other " + long, "x " * 60)) == 0
    assert await cached(body(long, tools=TOOLS)) == 0


async def test_tools_are_called_when_the_choice_demands_it_and_never_when_it_forbids_it():
    required = await whole(Demo(words, lambda: 0.0), body("Find it.", tools=TOOLS, tool_choice="required"))
    choice = required["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": "{}"}
    for number in range(10):
        forbidden = await whole(Demo(words, lambda: 0.0), body(f"Find {number}.", tools=TOOLS, tool_choice="none"))
        assert forbidden["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("model", ["demo", "openai", "openai-5.6", "gemini", "vllm"])
async def test_a_limit_of_nothing_is_refused_where_the_provider_refuses_it(model: str):
    target = deployment(f"demo/{model}", kind="demo")
    reply = await Demo(words, lambda: 0.0).send(target, body("Hi", max_tokens=0), stream=False, request_id="gw_1")
    assert reply.status == 400


async def test_a_streamed_call_arrives_in_pieces():
    sent = await events(Demo(words, lambda: 0.0), body("Find it.", tools=TOOLS, tool_choice="required", stream=True))
    parts = [part for event in sent for part in event["choices"][0]["delta"].get("tool_calls", ())]
    assert parts[0]["function"]["name"] == "look_up"
    assert "".join(part["function"]["arguments"] for part in parts) == "{}"
    assert sent[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_prompt_beyond_the_window_is_refused_in_openais_words():
    reply = await Demo(words, lambda: 0.0).send(TARGET, body("word " * 10_001), stream=False, request_id="gw_1")
    told = orjson.loads(await reply.read())["error"]
    assert (reply.status, told["code"]) == (400, "context_length_exceeded")
    assert told["message"].startswith("This model's maximum context length is 10000 tokens. However, your messages")


@pytest.mark.parametrize(
    "odd", [b"[]", b"{}", b"null", b'{"messages":1}', b'{"messages":[1,null,{"role":"user","content":[1,{"a":2}]}]}',
            b'{"messages":[{"tool_calls":[null,{"function":7}],"name":3}],"tools":[1],"stream_options":3}']
)  # fmt: skip
async def test_odd_bodies_are_answered_never_raised_over(odd: bytes):
    for model in ("demo", "openai", "openai-5.6", "anthropic", "gemini", "vllm"):
        target = deployment(f"demo/{model}", kind="demo")
        for stream in (False, True):
            reply = await Demo(words, lambda: 0.0).send(target, odd, stream=stream, request_id="gw_1")
            assert reply.status in {200, 400}

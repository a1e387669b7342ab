"""Responses through the pipeline: asked natively where the provider speaks them, else as chats."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.providers.provider import Provider
from gateway.wire.chat.relay import DONE
from tests.passage import Act, Passed, Script, Setting, deployment, fails, policy, says, streams
from tests.talk import words
from tests.test_responses_answers import LAST, MESSAGE, STREAM, chunk, said, whole

NATIVE = {"responses": Provider("direct", None, "/responses")}
TIGHT = policy("name: tight\ncontext_window: 700\nfold: {keep_turns: 1}\n")


def native(name: str = "asked", **more: Any) -> Any:
    return deployment(name, "openai/gpt-4o", ways=NATIVE, **more)


def whole_act(*output: Any, **more: Any) -> Act:
    return Act(parts=(orjson.dumps(whole(*output, **more)),))


@pytest.fixture
def setting(tmp_path: Path) -> Callable[..., Setting]:
    folders = (tmp_path / str(number) for number in count())
    return lambda **more: Setting(next(folders), **more)


async def ask(setting: Setting, body: dict[str, Any] | bytes, *acts: Act, **more: Any) -> Passed:
    sent = body if isinstance(body, bytes) else orjson.dumps({"model": "asked", **body})
    return await setting(sent, Script(*acts), operation="responses", **more)


def agent(rounds: int, **more: Any) -> dict[str, Any]:
    """An agent's conversation whose old results are long."""
    items: list[Any] = [{"role": "user", "content": "Compare the files."}]
    for number in range(rounds):
        call = {"call_id": f"c{number}", "name": "read", "arguments": f'{{"path":"{number}"}}'}
        items.append({"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": f"gA{number}"})
        items.append({"type": "function_call", **call})
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": words(120, f"w{number}")})
    return {"input": [*items, {"role": "user", "content": "And now?"}], "instructions": "You help.", **more}


# ---------------------------------------------------------------- natively


async def test_a_request_and_its_answer_pass_as_they_are(setting):
    sent = b'{ "model":"asked", "input": "Hi" , "store":false}'
    answer = orjson.dumps(whole(MESSAGE))
    passed = await ask(setting(deployments=[native()]), sent, Act(parts=(answer,)))
    assert passed.script.calls[0].body == sent.replace(b'"asked"', b'"gpt-4o"')
    assert (passed.client.status, passed.client.text) == (200, answer)
    row = passed.settled
    assert (row["operation"], row["prompt_tokens"], row["cached_tokens"]) == ("responses", 10, 4)
    assert passed.client.got["x-gateway-cost-usd"] == "0.0000564"


async def test_a_stream_passes_as_it_is(setting):
    passed = await ask(
        setting(deployments=[native()]), {"input": "Hi", "stream": True}, streams(STREAM[:300], STREAM[300:])
    )
    assert passed.client.text == STREAM
    assert passed.settled["completion_tokens"] == 5
    assert passed.settled["status"] == "answered"


async def test_another_deployment_is_asked_where_one_fails_before_it_speaks(setting):
    lost = b'event: error\ndata: {"type":"error","code":"server_error","message":"Oh."}\n\n'
    pair = [native(), native(number=1)]
    passed = await ask(setting(deployments=pair), {"input": "Hi", "stream": True}, streams(lost), streams(STREAM))
    assert passed.client.text == STREAM
    assert len(passed.script.calls) == 2


async def test_a_chat_deployment_stands_in_for_a_native_one(setting):
    pair = [native(order=1), deployment("asked", "openai/other", number=1, order=2)]
    passed = await ask(setting(deployments=pair), {"input": "Hi"}, fails(500), says("Hello."))
    assert passed.script.calls[1].fields["messages"] == [{"role": "user", "content": "Hi"}]
    assert passed.client.fields["output"][0]["content"][0]["text"] == "Hello."


async def test_an_old_history_is_fitted_in_its_own_form(setting):
    body = agent(8)
    passed = await ask(setting(deployments=[native()], policies=[TIGHT]), body, whole_act(MESSAGE))
    assert passed.client.status == 200
    assert "first_changed=input[" in passed.client.got["x-gateway-plan"]
    left = passed.script.calls[0].fields["input"]
    calls = [item["call_id"] for item in left if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in left if item.get("type") == "function_call_output"]
    assert calls == outputs
    for index, item in enumerate(left):
        if item.get("type") == "reasoning":
            assert left[index + 1]["call_id"].removeprefix("c") == item["encrypted_content"].removeprefix("gA")


async def test_what_the_provider_holds_is_never_rewritten(setting):
    body = orjson.dumps({"model": "asked", **agent(8, prompt={"id": "pmpt_1"})})
    passed = await ask(setting(deployments=[native()], policies=[TIGHT]), body, whole_act(MESSAGE))
    assert passed.script.calls[0].body == body.replace(b'"asked"', b'"gpt-4o"', 1)


async def test_a_request_that_cannot_fit_is_refused_by_its_own_place(setting):
    long = {"input": [{"role": "user", "content": words(3000)}]}
    passed = await ask(setting(deployments=[native()], policies=[TIGHT]), long, whole_act(MESSAGE))
    assert passed.client.status == 400
    assert passed.client.error["code"] == "context_length_exceeded"
    assert passed.client.error["gateway"]["at"] == "input[0]"


async def test_a_stream_that_breaks_off_ends_in_an_error_and_is_counted(setting):
    begun = STREAM[: STREAM.index(b"event: response.output_text.done")]
    passed = await ask(setting(deployments=[native()]), {"input": "Hi", "stream": True}, streams(begun))
    assert passed.client.text.startswith(begun)
    assert b"event: response.failed" in passed.client.text
    assert passed.settled["estimated"] is True
    assert passed.settled["status"] == "failed"


# ---------------------------------------------------------------- as a chat


async def test_a_whole_answer_of_a_chat_is_a_response(setting):
    passed = await ask(setting(), {"input": "Hi", "instructions": "Be brief."}, says("Hello."))
    sent = passed.script.calls[0].fields
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert passed.client.fields["object"] == "response"
    assert passed.client.fields["usage"]["total_tokens"] == 120
    assert passed.settled["prompt_tokens"] == 100


async def test_a_stream_of_a_chat_is_one_of_a_response(setting):
    acts = streams(chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"), LAST, DONE)
    passed = await ask(setting(), {"input": "Hi", "stream": True}, acts)
    assert passed.script.calls[0].fields["stream_options"] == {"include_usage": True}
    found = said(passed.client.text)
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "Hello"
    assert passed.settled["cached_tokens"] == 3


async def test_the_same_conversation_is_fitted_alike_as_a_chat(setting):
    passed = await ask(setting(policies=[TIGHT]), agent(8), says("Hello."))
    assert passed.client.status == 200
    messages = passed.script.calls[0].fields["messages"]
    assert [message["role"] for message in messages][:2] == ["system", "user"]
    called = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert called == [message["tool_call_id"] for message in messages if message["role"] == "tool"]


async def test_what_no_chat_can_say_is_refused_by_name(setting):
    passed = await ask(setting(), {"input": "Hi", "previous_response_id": "resp_1"})
    assert (passed.client.status, passed.client.error["param"]) == (400, "previous_response_id")
    assert passed.script.calls == []


async def test_tools_that_a_model_does_without_are_told(setting):
    tools = [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}]
    passed = await ask(setting(), {"input": "Hi", "tools": tools}, says("Hello."))
    assert passed.client.got["x-gateway-dropped"] == "tools[0] (web_search)"
    assert [tool["function"]["name"] for tool in passed.script.calls[0].fields["tools"]] == ["f"]
    passed = await ask(setting(deployments=[native()]), {"input": "Hi", "tools": tools}, whole_act(MESSAGE))
    assert "x-gateway-dropped" not in passed.client.got


async def test_an_error_in_a_chats_stream_is_told_in_this_shape(setting):
    acts = streams(chunk({"content": "Hel"}), b'data: {"error": {"message": "Oh.", "code": 500}}\n\n')
    passed = await ask(setting(), {"input": "Hi", "stream": True}, acts)
    kinds = [line for line in passed.client.text.splitlines() if line.startswith(b"event:")]
    assert kinds[-2:] == [b"event: response.failed", b"event: error"]
    assert passed.settled["status"] == "failed"

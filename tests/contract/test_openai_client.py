"""OpenAI's own SDK, pointed at the gateway: answers, streams, tools, and its own exception for every kind of error."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.contract.running import KEYS, Gateway, Upstream
from tests.upstream.counting import text_tokens
from tests.upstream.script import mark

NewId = Callable[[], str]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.url, api_key=KEYS["main"], max_retries=0, timeout=20) as open_client:
        yield open_client


@pytest.fixture
async def async_client(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=gateway.url, api_key=KEYS["main"], max_retries=0, timeout=20) as open_client:
        yield open_client


def asking(id: str, **instruction: Any) -> Any:
    return {"messages": [{"role": "user", "content": f"Hello. {mark(id=id, **instruction)}"}], "user": id}


def test_a_plain_answer_arrives_with_its_usage_and_our_ids(
    client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    raw = client.chat.completions.with_raw_response.create(model="gpt-5", **asking(id, text="Good morning.", cached=4))
    answer, call = raw.parse(), upstream.calls(id)[0]
    assert answer.choices[0].message.content == "Good morning."
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == call["prompt_tokens"]
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer._request_id is not None
    assert answer._request_id.startswith("gw_")
    assert raw.headers["x-gateway-upstream-request-id"] == f"up_{id}"
    assert raw.headers["x-gateway-policy"].startswith("roomy@")
    assert raw.headers["x-gateway-plan"].startswith("unchanged")
    row = gateway.settled(id)
    assert (row["id"], row["status"]) == (answer._request_id, "answered")
    assert round(float(raw.headers["x-gateway-cost-usd"]) * 1e9) == row["cost_nanousd"] == call["cost_nanousd"]


@pytest.mark.parametrize(("asked", "sent"), [("fast", "gpt-5-mini"), ("house", "house-model"), ("gpt-4o", "gpt-4o")])
def test_an_alias_is_sent_and_billed_as_the_model_it_stands_for(
    client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId, asked: str, sent: str
) -> None:
    id = new_id()
    client.chat.completions.create(model=asked, **asking(id, cached=7, reasoning=20))
    call, row = upstream.calls(id)[0], gateway.settled(id)
    assert call["model"] == sent
    assert (row["cost_nanousd"], row["prompt_tokens"], row["completion_tokens"]) == (
        call["cost_nanousd"],
        call["prompt_tokens"],
        call["completion_tokens"],
    )
    assert (row["cached_tokens"], row["reasoning_tokens"], row["model"]) == (7, 20, asked)


def test_a_stream_arrives_whole_and_without_the_usage_nobody_asked_for(
    client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    stream = client.chat.completions.create(model="gpt-5", stream=True, **asking(id, text="a b c d e f", chunks=5))
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a b c d e f"
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    call = upstream.calls(id)[0]
    assert call["asked_for_usage"]
    assert gateway.settled(id)["cost_nanousd"] == call["cost_nanousd"]


def test_a_stream_ends_with_its_usage_when_asked(client: OpenAI, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    last = list(client.chat.completions.create(model="gpt-5", **options, **asking(id, reasoning=9)))[-1]
    assert last.choices == []
    assert last.usage.prompt_tokens == upstream.calls(id)[0]["prompt_tokens"]
    assert last.usage.completion_tokens_details.reasoning_tokens == 9


def test_the_stream_helper_assembles_the_same_answer(client: OpenAI, new_id: NewId) -> None:
    with client.chat.completions.stream(model="gpt-5", **asking(new_id(), text="one two three")) as stream:
        assert stream.get_final_completion().choices[0].message.content == "one two three"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_make_their_round_trip(
    client: OpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId, streamed: bool
) -> None:
    id = new_id().replace(
        "test_tools_make_their_round_trip", "trip"
    )  # ids of calls hold it; OpenAI takes 40 characters
    wanted = [["weather", '{"city":"Köln"}'], ["weather", '{"city": "Rome"}']]
    first = asking(id, calls=wanted)
    if streamed:
        with client.chat.completions.stream(model="gpt-5", tools=[WEATHER], **first) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(model="gpt-5", tools=[WEATHER], **first).choices[0].message
    calls = message.tool_calls or []
    assert [[call.function.name, call.function.arguments] for call in calls if call.type == "function"] == wanted
    functions = [{"name": name, "arguments": arguments} for name, arguments in wanted]
    pairs = zip(calls, functions, strict=True)
    again_calls = [{"id": call.id, "type": "function", "function": function} for call, function in pairs]
    spoken = {"role": "assistant", "content": None, "tool_calls": again_calls}
    results = [{"role": "tool", "tool_call_id": call.id, "content": '{"sky": "grey"}'} for call in calls]
    again, last = new_id(), {"role": "user", "content": "And?"}
    last["content"] += mark(id=again, text="Grey twice.")
    messages: Any = [*first["messages"], spoken, *results, last]
    answer = client.chat.completions.create(model="gpt-5", tools=[WEATHER], messages=messages, user=again)
    assert answer.choices[0].message.content == "Grey twice."
    assert json.loads(upstream.received(again))["messages"] == messages
    assert gateway.settled(again)["cost_nanousd"] == upstream.calls(again)[0]["cost_nanousd"]


async def test_the_async_client_is_answered_and_streamed_to(async_client: AsyncOpenAI, new_id: NewId) -> None:
    answer = await async_client.chat.completions.create(model="fast", **asking(new_id(), text="plain"))
    assert answer.choices[0].message.content == "plain"
    stream = await async_client.chat.completions.create(model="fast", stream=True, **asking(new_id(), text="streamed"))
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == "streamed"


async def test_leaving_a_stream_cancels_upstream_and_is_paid_for_what_came(
    async_client: AsyncOpenAI, gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id, text = new_id(), "one two three four five six seven eight"
    stream = await async_client.chat.completions.create(
        model="gpt-5", stream=True, **asking(id, text=text, chunks=8, hold=3)
    )
    got: list[str] = []
    async for chunk in stream:
        got += [chunk.choices[0].delta.content] if chunk.choices[0].delta.content else []
        if len(got) == 3:
            break
    await stream.close()
    row = await asyncio.to_thread(gateway.settled, id)
    call = upstream.calls(id)[0]
    assert (row["status"], row["estimated"], call["end"]) == ("cancelled", True, "left")
    assert row["completion_tokens"] == call["completion_tokens"] == text_tokens("".join(got))
    assert row["cost_nanousd"] == call["cost_nanousd"]


def test_the_models_are_those_of_the_key(client: OpenAI, gateway: Gateway) -> None:
    names = {one.id for one in client.models.list()}
    assert {"gpt-5", "fast", "house", "twins"} <= names
    with OpenAI(base_url=gateway.url, api_key=KEYS["narrow"], max_retries=0) as narrow:
        assert {one.id for one in narrow.models.list()} == {"gpt-5"}


def test_paths_work_without_v1(gateway: Gateway, new_id: NewId) -> None:
    with OpenAI(base_url=gateway.root, api_key=KEYS["main"], max_retries=0) as short:
        assert short.chat.completions.create(model="gpt-5", **asking(new_id(), text="short")).choices
        assert list(short.models.list())


UPSTREAM_ERRORS = [
    (400, openai.BadRequestError, 400),
    (404, openai.NotFoundError, 404),
    (409, openai.ConflictError, 409),
    (422, openai.UnprocessableEntityError, 422),
    (429, openai.RateLimitError, 429),
    (500, openai.InternalServerError, 500),
    (503, openai.InternalServerError, 503),
    (401, openai.InternalServerError, 502),
    (403, openai.InternalServerError, 502),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind", "seen"), UPSTREAM_ERRORS)
def test_an_error_of_the_provider_raises_the_sdks_own_exception(
    client: OpenAI,
    gateway: Gateway,
    new_id: NewId,
    status: int,
    kind: type[openai.APIStatusError],
    seen: int,
    stream: bool,
) -> None:
    id = new_id()
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="gpt-5", stream=stream, **asking(id, status=status, code="scripted_code"))
    assert caught.value.status_code == seen
    assert caught.value.request_id is not None
    assert caught.value.request_id in caught.value.message
    if seen == status:
        assert caught.value.code == "scripted_code"
    row = gateway.settled(id)
    assert (row["status"], row["cost_nanousd"], row["id"]) == ("failed", 0, caught.value.request_id)


def test_a_providers_retry_after_reaches_the_client(client: OpenAI, new_id: NewId) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-5", **asking(new_id(), status=429, retry_after="17"))
    assert caught.value.response.headers["retry-after"] == "17"


def test_our_own_errors_raise_the_sdks_own_exceptions(gateway: Gateway, new_id: NewId) -> None:
    cases: list[tuple[str, str, type[openai.APIStatusError], str]] = [
        ("sk-gw-nobody", "gpt-5", openai.AuthenticationError, "invalid_api_key"),
        (KEYS["expired"], "gpt-5", openai.AuthenticationError, "invalid_api_key"),
        (KEYS["narrow"], "fast", openai.PermissionDeniedError, "model_not_allowed"),
        (KEYS["main"], "gpt-99", openai.NotFoundError, "model_not_found"),
    ]
    for key, model, kind, code in cases:
        with OpenAI(base_url=gateway.url, api_key=key, max_retries=0) as client, pytest.raises(kind) as caught:
            client.chat.completions.create(model=model, **asking(new_id()))
        assert caught.value.code == code
        assert str(caught.value.request_id) in caught.value.message


def test_a_conversation_over_its_budget_is_made_to_fit(gateway: Gateway, upstream: Upstream, new_id: NewId) -> None:
    id = new_id()
    history: list[Any] = [{"role": "system", "content": "Be brief."}]
    for at in range(40):
        history += [{"role": "user", "content": f"Question {at}. " + "lorem ipsum " * 40}]
        history += [{"role": "assistant", "content": f"Answer {at}. " + "dolor sit " * 40}]
    history += asking(id, text="done")["messages"]
    with OpenAI(base_url=gateway.url, api_key=KEYS["tight"], max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-5", messages=history, user=id)
    assert raw.parse().choices[0].message.content == "done"
    assert raw.headers["x-gateway-plan"].startswith("rewritten;")
    call, row = upstream.calls(id)[0], gateway.settled(id)
    assert call["prompt_tokens"] <= 2000
    assert (row["tokens_after"], row["plan"]) == (call["prompt_tokens"], "rewritten")
    sent = json.loads(upstream.received(id))["messages"]
    assert (sent[0], sent[-1]) == (history[0], history[-1])


def test_what_cannot_be_made_to_fit_is_refused_in_the_words_agents_match(
    gateway: Gateway, upstream: Upstream, new_id: NewId
) -> None:
    id = new_id()
    big = [{"role": "user", "content": "lorem ipsum dolor " * 2000 + mark(id=id)}]
    with (
        OpenAI(base_url=gateway.url, api_key=KEYS["tight"], max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="maximum context length is 2000 tokens") as caught,
    ):
        client.chat.completions.create(model="gpt-5", messages=big, user=id)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    detail = caught.value.body["gateway"]  # type: ignore[index]
    assert detail["component"] == "input"
    assert detail["tokens"] > detail["room"]
    row = gateway.settled(id)
    assert (row["status"], row["cost_nanousd"], upstream.calls(id)) == ("refused", 0, [])

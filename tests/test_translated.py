"""Providers behind litellm, against servers that speak their APIs: the answer, the usage, the errors, the connections.

Nothing of the gateway is stood in for: litellm is the real one, and what it sends goes over a socket.
"""

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from gateway.routing.deployment import Deployment
from gateway.routing.too_long import TooLong, too_long
from gateway.routing.upstreams.translated import REQUEST_FIELDS, Translated, _Recent
from gateway.routing.upstreams.upstream import Reply, Unfit, UpstreamError
from gateway.wire.usage import usage_from_openai
from tests.matrix.features import Said
from tests.matrix.openai_forms import Responses
from tests.providers.anthropic import Anthropic, text, tool_use
from tests.providers.deployments import deployment
from tests.providers.gemini import Gemini, error
from tests.providers.openai import OpenAI
from tests.providers.serving import Provider, serving

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"n": {}}}}}
    for name in ("f", "g")
]
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 100}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

CLAUDE_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 100,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
    "output_tokens": 7,
}
GEMINI_USAGE = {
    "promptTokenCount": 2000,
    "cachedContentTokenCount": 1024,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 2035,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2000}],
}


@pytest.fixture
async def translated() -> AsyncIterator[Translated]:
    upstream = Translated()
    yield upstream
    await upstream.close()


def test_it_stops_though_litellm_was_given_work_on_a_loop_that_is_closed() -> None:
    async def left_behind() -> None:
        importlib.import_module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER.start()
        await asyncio.sleep(0)

    async def stopped() -> None:
        upstream = Translated()
        await upstream.load()
        await upstream.close()

    asyncio.run(stopped())
    asyncio.run(left_behind())
    asyncio.run(stopped())


def claude(server: Anthropic, timeout: float = 5.0, **params: Any) -> Deployment:
    return deployment("anthropic/claude-sonnet-4-5", server.url, kind="translated", timeout=timeout, **params)


def gemini(server: Gemini, timeout: float = 5.0) -> Deployment:
    return deployment("gemini/gemini-2.5-flash", server.url, kind="translated", timeout=timeout)


async def send(upstream: Translated, target: Deployment, body: dict[str, Any]) -> Reply:
    stream = bool(body.get("stream"))
    return await upstream.send(target, json.dumps(body).encode(), stream=stream, request_id="gw_1")


async def answer(upstream: Translated, target: Deployment, body: dict[str, Any]) -> dict[str, Any]:
    reply = await send(upstream, target, body)
    told: dict[str, Any] = json.loads(await reply.read())
    assert reply.status == 200, told
    return told


async def events(upstream: Translated, target: Deployment, body: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await send(upstream, target, body | {"stream": True})
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    sent = b"".join([chunk async for chunk in reply.chunks()]).decode().removesuffix("\n\n").split("\n\n")
    await reply.close()
    assert sent[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in sent[:-1]]


def joined(stream: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a stream together as a client does."""
    words, reason = "", None
    calls: dict[int, dict[str, str]] = {}
    for event in stream:
        for choice in event["choices"]:
            delta = choice["delta"]
            words += delta.get("content") or ""
            reason = choice["finish_reason"] or reason
            for part in delta.get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"id": part.get("id"), "name": "", "arguments": ""})
                call["name"] += part["function"].get("name") or ""
                call["arguments"] += part["function"].get("arguments") or ""
    return {"content": words, "calls": [calls[index] for index in sorted(calls)], "finish_reason": reason}


# ---- Anthropic


async def test_a_plain_answer_of_claude_is_a_chat_completion(translated: Translated):
    async with serving(Anthropic(usage=CLAUDE_USAGE)) as server:
        reply = await send(translated, claude(server), ASK)
        told = json.loads(await reply.read())
    assert (told["object"], told["model"]) == ("chat.completion", "claude-sonnet-4-5")
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "Hello there."} | {
        name: value for name, value in told["choices"][0]["message"].items() if name == "provider_specific_fields"
    }
    assert told["choices"][0]["finish_reason"] == "stop"
    assert reply.headers["x-request-id"] == "req_anthropic_1"
    assert server.received[0].headers["x-api-key"] == "sk-upstream"


async def test_prompt_tokens_of_claude_include_what_was_read_from_and_written_to_its_cache(translated: Translated):
    async with serving(Anthropic(usage=CLAUDE_USAGE)) as server:
        plain = (await answer(translated, claude(server), ASK))["usage"]
        streamed = (await events(translated, claude(server), ASK))[-1]["usage"]
    for usage in (plain, streamed):
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1110, 7, 1117)
        read = usage_from_openai(usage)
        assert read is not None
        assert (read.prompt, read.cached, read.cache_write, read.cache_write_1h) == (1110, 1000, 100, 40)
        assert "cost" not in usage


async def test_a_stream_of_claude_says_the_same_as_its_plain_answer(translated: Translated):
    content = [text("Two calls at once."), tool_use("t1", "f", {"n": 1}), tool_use("t2", "g", {"n": 2})]
    async with serving(Anthropic(content=content, stop_reason="tool_use")) as server:
        plain = (await answer(translated, claude(server), ASK | {"tools": TOOLS}))["choices"][0]
        streamed = joined(await events(translated, claude(server), ASK | {"tools": TOOLS}))
    assert streamed["content"] == plain["message"]["content"] == "Two calls at once."
    assert streamed["finish_reason"] == plain["finish_reason"] == "tool_calls"
    calls = [{"id": call["id"], **call["function"]} for call in plain["message"]["tool_calls"]]
    for told in (calls, streamed["calls"]):
        assert [(call["id"], call["name"], json.loads(call["arguments"])) for call in told] == [
            ("t1", "f", {"n": 1}),
            ("t2", "g", {"n": 2}),
        ]


def conversation_with_parallel_calls() -> list[dict[str, Any]]:
    calls = [
        {"id": f"t{n}", "type": "function", "function": {"name": name, "arguments": json.dumps({"n": n})}}
        for n, name in ((1, "f"), (2, "g"))
    ]
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Both, please."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": "two"},
    ]


async def test_results_of_parallel_calls_reach_claude_in_one_message(translated: Translated):
    async with serving(Anthropic()) as server:
        await answer(translated, claude(server), ASK | {"messages": conversation_with_parallel_calls(), "tools": TOOLS})
    sent = server.received[0].body
    assert sent["system"][0]["text"] == "Be brief."
    assert [block["tool_use_id"] for block in sent["messages"][-1]["content"]] == ["t1", "t2"]
    assert [block["id"] for block in sent["messages"][-2]["content"]] == ["t1", "t2"]


def asking_about(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "See http://a.example?"},
                                         {"type": "image_url", "image_url": {"url": url}}]}]  # fmt: skip


async def test_images_reach_claude_as_base64_and_https_addresses_as_addresses(translated: Translated):
    async with serving(Anthropic()) as server:
        for url in (f"data:image/png;base64,{PIXEL}", "https://images.example/cat.png"):
            await answer(translated, claude(server), ASK | {"messages": asking_about(url)})
    first, second = (received.body["messages"][0]["content"][1]["source"] for received in server.received)
    assert first == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert second == {"type": "url", "url": "https://images.example/cat.png"}


async def test_thinking_rides_along_with_its_signature(translated: Translated):
    thinking = {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmVk"}
    async with serving(Anthropic(content=[thinking, text("Yes.")])) as server:
        message = (await answer(translated, claude(server), ASK))["choices"][0]["message"]
        streamed = await events(translated, claude(server), ASK)
    assert message["thinking_blocks"] == [thinking]
    assert (message["content"], message["reasoning_content"]) == ("Yes.", "Let me see.")
    deltas = [choice["delta"] for event in streamed for choice in event["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Let me see."
    signatures = [block.get("signature") for delta in deltas for block in delta.get("thinking_blocks", ())]
    assert "c2lnbmVk" in signatures


async def test_pieces_of_thoughts_are_numbered_for_clients_and_not_for_claude(translated: Translated):
    thoughts = [{"type": "thinking", "thinking": f"Thought number {n}.", "signature": f"sig{n}"} for n in (1, 2)]
    hidden = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    async with serving(Anthropic(content=[*thoughts, text("Yes.")])) as server:
        streamed = await events(translated, claude(server), ASK)
        pieces = [one for event in streamed for choice in event["choices"]
                  for one in choice["delta"].get("thinking_blocks", ())]  # fmt: skip
        sent_back = [{**thought, "index": n} for n, thought in enumerate([*thoughts, hidden])]
        messages = [*ASK["messages"], {"role": "assistant", "content": "Yes.", "thinking_blocks": sent_back},
                    {"role": "user", "content": "And?"}]  # fmt: skip
        await answer(translated, claude(server), ASK | {"messages": messages})
    for number, thought in enumerate(thoughts):
        own = [piece for piece in pieces if piece["index"] == number]
        assert "".join(piece["thinking"] for piece in own) == thought["thinking"]
        assert own[-1]["signature"] == thought["signature"]
    assert server.received[-1].body["messages"][1]["content"][:3] == [*thoughts, hidden]


async def test_a_model_that_reasons_unasked_is_not_told_how_to_in_its_prompt(translated: Translated):
    async with serving(OpenAI()) as server:
        magistral = deployment("mistral/magistral-medium-latest", f"{server.url}/v1", kind="translated")
        await answer(translated, magistral, ASK | {"reasoning_effort": "low"})
    assert server.received[-1].body["messages"] == ASK["messages"]


class Responding(Provider):
    """OpenAI's Responses."""

    async def respond(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(Responses().whole(self.received[-1].body, Said("Yes.")))


@pytest.mark.parametrize(
    ("model", "asked", "kept", "encrypted"),
    [("gpt-5", {}, False, True), ("gpt-5", {"store": True}, True, True), ("gpt-4.1", {}, False, False)],
)
async def test_a_chat_that_becomes_a_response_is_kept_only_where_it_says_so(
    translated: Translated, model: str, asked: dict[str, Any], kept: bool, encrypted: bool
):
    async with serving(Responding()) as server:
        target = deployment(f"openai/responses/{model}", f"{server.url}/v1", kind="translated")
        assert (await answer(translated, target, ASK | asked))["choices"][0]["message"]["content"] == "Yes."
    sent = server.received[-1].body
    assert sent["store"] is kept
    assert ("reasoning.encrypted_content" in sent.get("include", ())) is encrypted


async def test_cache_markers_of_the_caller_reach_claude(translated: Translated):
    marked = [{"type": "text", "text": "Long rules.", "cache_control": {"type": "ephemeral"}}]
    messages = [{"role": "system", "content": marked}, *ASK["messages"]]
    async with serving(Anthropic()) as server:
        await answer(translated, claude(server), ASK | {"messages": messages})
    assert server.received[0].body["system"][0]["cache_control"] == {"type": "ephemeral"}


# ---- Gemini


async def test_headers_of_the_client_reach_claude_and_its_betas_with_them(translated: Translated):
    along = {"anthropic-beta": "context-1m-2025-08-07", "traceparent": "00-1", "x-client-request-id": "mine"}
    async with serving(Anthropic()) as server:
        target = claude(server, extra_headers={"x-team": "blue"})
        body = json.dumps(ASK).encode()
        await (await translated.send(target, body, stream=False, request_id="gw_1", headers=along)).read()
    received = {name.lower(): value for name, value in server.received[0].headers.items()}
    assert along["anthropic-beta"] in received["anthropic-beta"]
    assert [received[name] for name in ("traceparent", "x-client-request-id", "x-team")] == ["00-1", "mine", "blue"]


async def test_a_request_whose_pooled_connection_was_closed_goes_again_over_a_new_one(translated: Translated):
    async with serving(Anthropic(usage=CLAUDE_USAGE)) as server:
        server.close_reused = True
        for _ in range(3):
            await answer(translated, claude(server), ASK)
    assert len(server.received) == 4, "one of three met a connection that was used before"


async def test_a_plain_answer_and_a_stream_of_gemini_say_the_same(translated: Translated):
    parts: list[dict[str, Any]] = [
        {"text": "Two calls at once."},
        {"functionCall": {"name": "f", "args": {"n": 1}}},
        {"functionCall": {"name": "g", "args": {"n": 2}}},
    ]
    async with serving(Gemini(parts=parts, usage=GEMINI_USAGE)) as server:
        plain = (await answer(translated, gemini(server), ASK | {"tools": TOOLS}))["choices"][0]
        streamed = joined(await events(translated, gemini(server), ASK | {"tools": TOOLS}))
    assert streamed["content"] == plain["message"]["content"] == "Two calls at once."
    assert streamed["finish_reason"] == plain["finish_reason"] == "tool_calls"
    calls = [call["function"] for call in plain["message"]["tool_calls"]]
    for told in (calls, streamed["calls"]):
        assert [(call["name"], json.loads(call["arguments"])) for call in told] == [("f", {"n": 1}), ("g", {"n": 2})]
    assert len({call["id"] for call in streamed["calls"]}) == 2
    assert server.received[0].headers["x-goog-api-key"] == "sk-upstream"


async def test_usage_of_gemini_includes_cached_tokens_and_thoughts(translated: Translated):
    async with serving(Gemini(usage=GEMINI_USAGE)) as server:
        plain = (await answer(translated, gemini(server), ASK))["usage"]
        streamed = (await events(translated, gemini(server), ASK))[-1]["usage"]
    for usage in (plain, streamed):
        read = usage_from_openai(usage)
        assert read is not None
        assert (read.prompt, read.cached, read.completion, read.reasoning) == (2000, 1024, 35, 30)


async def test_results_of_parallel_calls_and_images_reach_gemini(translated: Translated):
    messages = [*conversation_with_parallel_calls(), *asking_about(f"data:image/png;base64,{PIXEL}")]
    async with serving(Gemini()) as server:
        await answer(translated, gemini(server), ASK | {"messages": messages, "tools": TOOLS})
    sent = json.dumps(server.received[0].body["contents"])
    assert sent.count("function_response") == 2
    assert PIXEL in sent


# ---- what a client may choose


async def test_a_client_can_set_no_field_that_steers_litellm_itself(translated: Translated):
    evil = {
        "api_base": "http://127.0.0.1:9", "base_url": "http://127.0.0.1:9", "api_key": "sk-mine", "timeout": 0.001,
        "custom_llm_provider": "openai", "fallbacks": ["x"], "num_retries": 9, "extra_headers": {"x": "y"},
        "mock_response": "free", "model_list": [], "client": 1, "extra_body": {"model": "dearer"}, "metadata": {},
    }  # fmt: skip
    async with serving(Anthropic()) as server:
        await answer(translated, claude(server), ASK | evil)
    received = server.received[0]
    assert received.headers["x-api-key"] == "sk-upstream"
    assert "x" not in received.headers
    assert set(received.body) == {"model", "messages", "max_tokens"}
    assert not REQUEST_FIELDS & set(evil)


async def test_a_field_that_the_provider_does_not_know_is_left_out_not_refused(translated: Translated):
    async with serving(Anthropic()) as server:
        await answer(translated, claude(server), ASK | {"seed": 7, "logit_bias": {"1": 2}, "temperature": 0.5})
    assert server.received[0].body["temperature"] == 0.5


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x.png", "https://127.0.0.1:1/x", "gs://bucket/x", "data:image/png;base64,gs://bucket/x"]
)
async def test_what_has_an_address_that_the_gateway_would_have_to_fetch_is_not_asked(translated: Translated, url: str):
    """Another deployment may read it."""
    async with serving(Gemini()) as server:
        with pytest.raises(Unfit) as caught:
            await send(translated, gemini(server), ASK | {"messages": asking_about(url)})
    assert caught.value.param == "messages"
    assert "data: URL" in caught.value.message
    assert server.received == []


# ---- errors


async def test_errors_of_claude_keep_status_type_and_words(translated: Translated):
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_9"}
    async with serving(
        Anthropic(status=529, error=body, headers={"request-id": "req_9", "retry-after": "4"})
    ) as server:
        for stream in (False, True):
            reply = await send(translated, claude(server), ASK | {"stream": stream})
            assert reply.status == 529
            assert reply.headers == {"content-type": "application/json", "x-request-id": "req_9", "retry-after": "4"}
            told = json.loads(await reply.read())["error"]
            assert (told["message"], told["type"]) == ("Overloaded", "overloaded_error")
            assert told["provider_error"] == body["error"]
    assert len(server.received) == 2, "nothing is retried on the quiet"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
async def test_errors_of_gemini_keep_status_code_and_words(translated: Translated, status: int):
    async with serving(Gemini(status=status, error=error(status, "SOME_STATUS", "It is so."))) as server:
        for stream in (False, True):
            reply = await send(translated, gemini(server), ASK | {"stream": stream})
            told = json.loads(await reply.read())["error"]
            assert (reply.status, told["message"]) == (status, "It is so.")
            assert told["code"] == ("rate_limit_exceeded" if status == 429 else "SOME_STATUS")
    assert len(server.received) == 2


async def test_an_error_page_is_passed_on_as_words(translated: Translated):
    async with serving(Anthropic(status=502, error=b"<html>bad gateway</html>")) as server:
        reply = await send(translated, claude(server), ASK)
        told = json.loads(await reply.read())["error"]
    assert (reply.status, told["message"], told["type"]) == (502, "<html>bad gateway</html>", "api_error")


async def test_a_prompt_that_is_too_long_is_recognised_with_the_count_of_the_provider(translated: Translated):
    async with serving(Anthropic(count=lambda body: 210_000)) as server:
        reply = await send(translated, claude(server), ASK)
        told = await reply.read()
    assert json.loads(told)["error"]["code"] == "context_length_exceeded"
    assert too_long(reply.status, told) == TooLong(210_000, 200_000)
    words = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    async with serving(Gemini(status=400, error=error(400, "INVALID_ARGUMENT", words))) as other:
        reply = await send(translated, gemini(other), ASK | {"stream": True})
        told = await reply.read()
    assert json.loads(told)["error"]["code"] == "context_length_exceeded"
    assert too_long(reply.status, told) == TooLong(1_200_000, 1_048_576)


async def test_what_litellm_itself_refuses_is_the_clients_400(translated: Translated):
    async with serving(Anthropic()) as server:
        reply = await send(translated, claude(server), ASK | {"messages": [{"role": "wizard", "content": "x"}]})
        told = json.loads(await reply.read())["error"]
    assert (reply.status, told["type"]) == (400, "invalid_request_error")
    assert server.received == []


async def trouble(upstream: Translated, target: Deployment, stream: bool) -> str:
    async def read() -> None:
        reply = await send(upstream, target, ASK | {"stream": stream})
        _ = [chunk async for chunk in reply.chunks()]

    with pytest.raises(UpstreamError) as caught:
        await read()
    return caught.value.kind


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_connection_a_silent_one_and_a_broken_one_are_told_apart(translated: Translated, stream: bool):
    async with serving(Anthropic()) as nobody:
        pass
    assert await trouble(translated, claude(nobody), stream) == "connect"
    async with serving(Anthropic(stall_before=True)) as server:
        assert await trouble(translated, claude(server, timeout=0.3), stream) == "timeout"
    async with serving(Anthropic(close_before=True)) as server:
        assert await trouble(translated, claude(server), stream) == "reset"
    assert len(server.received) == 1, "a request that may have been billed is never sent twice"
    async with serving(Gemini(close_before=True)) as other:
        assert await trouble(translated, gemini(other), stream) == "reset"
    assert len(other.received) == 1
    async with serving(Gemini(stall_before=True)) as other:
        assert await trouble(translated, gemini(other, timeout=0.3), stream) == "timeout"


@pytest.mark.parametrize("ending", [{"cut_after": 4}, {"end_after": 4}])
async def test_a_stream_that_stops_short_is_a_reset_however_politely_it_ends(
    translated: Translated, ending: dict[str, int]
):
    async with serving(Anthropic(content=[text("A long answer. " * 9)], **ending)) as server:  # type: ignore[arg-type]
        assert await trouble(translated, claude(server), stream=True) == "reset"
    async with serving(Gemini(parts=[{"text": "A long answer. " * 9}], **ending)) as other:  # type: ignore[arg-type]
        assert await trouble(translated, gemini(other), stream=True) == "reset"


async def test_a_stream_that_falls_silent_is_a_timeout(translated: Translated):
    async with serving(Anthropic(stall_after=4)) as server:
        assert await trouble(translated, claude(server, timeout=0.3), stream=True) == "timeout"


async def test_an_error_event_in_a_stream_is_a_reset_with_the_providers_words(translated: Translated):
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    async with serving(Anthropic(error_event=overloaded)) as server:
        reply = await send(translated, claude(server), ASK | {"stream": True})
        with pytest.raises(UpstreamError) as caught:
            _ = [chunk async for chunk in reply.chunks()]
    assert caught.value.kind == "reset"
    assert "Overloaded" in caught.value.said


async def test_an_answer_that_cannot_be_read_is_garbage(translated: Translated):
    class Nonsense(Anthropic):
        async def respond(self, request: Any) -> Any:
            from aiohttp import web

            return web.Response(body=b"\x00nonsense", content_type="application/json")

    async with serving(Nonsense()) as server:
        assert await trouble(translated, claude(server), stream=False) == "garbage"


# ---- connections


@pytest.mark.parametrize("kind", [Anthropic, Gemini])
async def test_closing_a_stream_closes_the_upstream_connection(
    translated: Translated, kind: type[Anthropic] | type[Gemini]
):
    async with serving(kind(stall_after=5)) as server:
        target = claude(server) if isinstance(server, Anthropic) else gemini(server)
        if isinstance(server, Gemini):
            server.parts = [{"text": "A long answer. " * 9}]
        else:
            server.content = [text("A long answer. " * 9)]
        reply = await send(translated, target, ASK | {"stream": True})
        await anext(reply.chunks())
        await reply.close()
        await asyncio.wait_for(server.gone.wait(), 2)


async def arrival(server: Provider) -> None:
    async with asyncio.timeout(2):
        while not server.received:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", [Anthropic, Gemini])
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_a_call_closes_the_upstream_connection(
    translated: Translated, kind: type[Anthropic] | type[Gemini], stream: bool
):
    async with serving(kind(stall_before=True)) as server:
        target = claude(server) if isinstance(server, Anthropic) else gemini(server)
        call = asyncio.create_task(send(translated, target, ASK | {"stream": stream}))
        await arrival(server)
        call.cancel()
        await asyncio.wait_for(server.gone.wait(), 2)
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_cancelling_a_reader_closes_the_upstream_connection(translated: Translated):
    async with serving(Anthropic(content=[text("A long answer. " * 9)], stall_after=6)) as server:
        reply = await send(translated, claude(server), ASK | {"stream": True})

        async def read() -> None:
            async for _ in reply.chunks():
                pass

        reader = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        await reply.close()
        await asyncio.wait_for(server.gone.wait(), 2)


async def test_usage_that_no_provider_reported_is_not_made_up(translated: Translated):
    class Silent(Anthropic):
        def _events(self, body: Any) -> Any:
            for event in super()._events(body):
                data = json.loads(event.split(b"data: ")[1])
                data.get("message", {}).pop("usage", None)
                data.pop("usage", None)
                yield f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()

    async with serving(Silent()) as server:
        stream = await events(translated, claude(server), ASK)
    assert joined(stream)["content"] == "Hello there."
    assert all("usage" not in event for event in stream)


def test_litellm_is_loaded_late_and_never_reaches_for_the_network(tmp_path: Path):
    """In a process of its own, under an audit hook that knows of every address asked for."""
    (tmp_path / ".env").write_text("ANTHROPIC_API_BASE=http://127.0.0.1:9\nREAD_BY_MISTAKE=1\n")
    checkout = Path(__file__).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "tests.providers.audited"],
        cwd=tmp_path, env={"PYTHONPATH": str(checkout), "PATH": ""}, capture_output=True, check=False,
        text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == "ok\n", (run.stdout, run.stderr)
    assert run.stderr == ""


# ---- Cohere


COHERE_CALLS: list[dict[str, Any]] = [
    {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I look both up."}}},
    *(
        event
        for index, name in enumerate(("f", "g"))
        for event in (
            {
                "type": "tool-call-start",
                "index": index,
                "delta": {"message": {"tool_calls": {"id": f"{name}_1", "function": {"name": name, "arguments": ""}}}},
            },
            *(
                {
                    "type": "tool-call-delta",
                    "index": index,
                    "delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}},
                }
                for piece in ('{"n":', f"{index}}}")
            ),
            {"type": "tool-call-end", "index": index},
        )
    ),
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 9}}}},
]


async def test_a_stream_of_cohere_has_its_calls_apart_and_its_own_end(translated: Translated):
    class Cohere(Provider):
        async def respond(self, request: web.Request) -> web.StreamResponse:
            lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in COHERE_CALLS]
            return await self.stream(request, [b"".join(lines)[at : at + 50] for at in range(0, 5000, 50)])

    async with serving(Cohere()) as server:
        target = deployment("cohere/command-r-plus", f"{server.url}/v2/chat", kind="translated")
        stream = joined(await events(translated, target, ASK | {"tools": TOOLS}))
    assert stream["finish_reason"] == "tool_calls"
    assert [(call["id"], call["name"], call["arguments"]) for call in stream["calls"]] == [
        ("f_1", "f", '{"n":0}'),
        ("g_1", "g", '{"n":1}'),
    ]
    assert server.received[0].headers["Accept-Encoding"] == "identity", "not by a client of litellm's own making"


async def test_a_redirect_is_not_followed_with_the_key(translated: Translated):
    class Moved(Provider):
        async def respond(self, request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"{self.url}/elsewhere")

    async with serving(Moved()) as server:
        target = deployment("cohere/command-r-plus", f"{server.url}/v2/chat", kind="translated")
        assert await trouble(translated, target, stream=False) == "garbage"
    assert len(server.received) == 1


# ---- what a provider has no word for


async def test_hints_that_claude_has_no_word_for_are_named_and_defaults_are_not(translated: Translated):
    hints = {"seed": 7, "verbosity": "low", "n": 1, "service_tier": "auto", "logprobs": False, "made_up": 1}
    async with serving(Anthropic()) as server:
        for stream in (False, True):
            reply = await send(translated, claude(server), ASK | hints | {"stream": stream})
            assert reply.headers["x-gateway-dropped"] == "seed, verbosity, made_up"
            await reply.read()
    assert set(server.received[0].body) == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize("asked", [{"n": 2}, {"logprobs": True}, {"modalities": ["audio"]}])
async def test_what_claude_cannot_answer_is_not_asked(translated: Translated, asked: dict[str, Any]):
    async with serving(Anthropic()) as server:
        with pytest.raises(Unfit) as caught:
            await send(translated, claude(server), ASK | asked)
    assert caught.value.param == next(iter(asked))
    assert "anthropic/claude-sonnet-4-5" in caught.value.message
    assert server.received == []


async def test_functions_are_called_as_functions(translated: Translated):
    functions = [tool["function"] for tool in TOOLS]
    async with serving(Anthropic(content=[tool_use("t1", "f", {"n": 1})], stop_reason="tool_use")) as server:
        plain = (await answer(translated, claude(server), ASK | {"functions": functions}))["choices"][0]
        stream = await events(translated, claude(server), ASK | {"functions": functions})
    assert plain["finish_reason"] == "function_call"
    assert (plain["message"]["function_call"]["name"], json.loads(plain["message"]["function_call"]["arguments"])) == (
        "f", {"n": 1},
    )  # fmt: skip
    assert "tool_calls" not in plain["message"]
    pieces = [choice for event in stream for choice in event["choices"]]
    told = [piece["delta"]["function_call"] for piece in pieces if "function_call" in piece["delta"]]
    assert told[0]["name"] == "f"
    assert json.loads("".join(one.get("arguments") or "" for one in told)) == {"n": 1}
    assert pieces[-1]["finish_reason"] == "function_call"
    assert all("tool_calls" not in piece["delta"] for piece in pieces)


async def test_of_a_long_stream_litellm_keeps_the_latest_chunks_and_those_with_usage():
    chunks = _Recent([SimpleNamespace(usage="first")])
    for number in range(5_000):
        chunks.append(SimpleNamespace(usage="later" if number == 2_500 else None, number=number))
    assert len(chunks) <= 300
    assert [one.usage for one in chunks if one.usage] == ["first", "later"]
    assert [one.number for one in chunks[-100:]] == list(range(4_900, 5_000))

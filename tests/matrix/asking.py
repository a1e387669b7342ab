"""The same requests in three shapes, by the official SDKs, and what comes of them read into one value.

Every byte that comes is kept beside what the SDK makes of it, so that each event can be held against its types.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anthropic
import httpx2 as httpx
import openai

from tests.matrix.features import PIXEL, RESULTS, SCHEMA, TOOLS, marked

Json = dict[str, Any]
SYSTEM: Final = "You are terse."
LIMIT: Final = 4_000
_OF_SDK: Final = ("parsed", "parsed_arguments", "parsed_output")
"""Members that SDKs add to what came."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer as a client has it."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, str, Any], ...]
    """Each call's id, name and arguments."""
    finish: str
    prompt: int
    cached: int
    written: int | None
    completion: int
    reasoned: int | None
    turn: tuple[Json, ...]
    """What is sent back before the results."""


class Tee(httpx.AsyncHTTPTransport):
    """A transport that keeps what comes."""

    def __init__(self) -> None:
        super().__init__(verify=False)  # nothing is asked over TLS here, and reading what is trusted takes a while
        self.came: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        self.came.append(b"")
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        return httpx.Response(response.status_code, headers=response.headers, stream=_Kept(stream, self.came),
                              extensions=response.extensions)  # fmt: skip

    @property
    def answers(self) -> Iterator[tuple[str, Json]]:
        """Yield all that came, each with `answer` or `event`."""
        for body in self.came:
            if body.lstrip().startswith(b"{"):
                yield "answer", json.loads(body)
                continue
            for line in body.split(b"\n"):
                if line.startswith(b"data: {"):
                    yield "event", json.loads(line[6:])


class _Kept(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, came: list[bytes]) -> None:
        self._stream, self._came, self._at = stream, came, len(came) - 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._came[self._at] += part
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class Asker(Protocol):
    """One shape of requests."""

    def request(self, feature: str, cell: str, model: str) -> Json:
        """Write the first request of a feature."""
        ...

    def answered(self, request: Json, heard: Heard) -> Json:
        """Write the next request: the answer sent back, with the results of its calls."""
        ...

    async def ask(self, request: Json, *, stream: bool) -> Heard:
        """Send a request by the SDK. Raises the SDK's own errors."""
        ...


def _bare(value: Any) -> Any:
    """Return what a client sends back of an answer: all of it, without what its SDK added."""
    if isinstance(value, dict):
        added = (*_OF_SDK, "index") if "function" in value else _OF_SDK
        return {name: _bare(held) for name, held in value.items() if name not in added and held is not None}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _result(name: str) -> str:
    return RESULTS[name]


@dataclass
class Chat:
    """Chat completions."""

    client: openai.AsyncOpenAI
    shape: str = field(default="chat", init=False)

    def request(self, feature: str, cell: str, model: str) -> Json:
        content: Any = marked(feature, cell)
        if feature == "images":
            url = {"url": f"data:image/png;base64,{PIXEL}"}
            content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": url}]
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
        request: Json = {"model": model, "messages": messages, "max_completion_tokens": LIMIT, "user": cell}
        if feature in ("tools", "reasoning"):
            request["tools"] = [
                {"type": "function", "function": {"name": name, "description": f"Do {name}.", "parameters": schema,
                                                  "strict": True}}
                for name, schema in TOOLS.items()
            ]  # fmt: skip
        if feature == "structured":
            wanted = {"name": "sky", "schema": SCHEMA, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return request | ({"reasoning_effort": "low"} if feature == "reasoning" else {})

    def answered(self, request: Json, heard: Heard) -> Json:
        results = [{"role": "tool", "tool_call_id": id, "content": _result(name)} for id, name, _ in heard.calls]
        return {**request, "messages": [*request["messages"], *heard.turn, *results]}

    async def ask(self, request: Json, *, stream: bool) -> Heard:
        if stream:
            options: Any = {"include_usage": True}
            async with self.client.chat.completions.stream(**request, stream_options=options) as events:
                async for _ in events:
                    pass
                answer: Any = await events.get_final_completion()
        else:
            answer = await self.client.chat.completions.create(**request)
        choice, usage = answer.choices[0], answer.usage
        said, details, more = choice.message, usage.prompt_tokens_details, usage.completion_tokens_details
        held = said.model_dump()
        return Heard(
            text=said.content or "",
            reasoning=str(held.get("reasoning_content") or held.get("reasoning") or ""),
            calls=tuple((one.id, one.function.name, json.loads(one.function.arguments))
                        for one in said.tool_calls or ()),
            finish=choice.finish_reason,
            prompt=usage.prompt_tokens,
            cached=(details.cached_tokens or 0) if details else getattr(usage, "prompt_cache_hit_tokens", 0),
            written=None,
            completion=usage.completion_tokens,
            reasoned=more.reasoning_tokens if more else None,
            turn=(_bare(held),),
        )  # fmt: skip


@dataclass
class Responses:
    """Responses."""

    client: openai.AsyncOpenAI
    shape: str = field(default="responses", init=False)

    def request(self, feature: str, cell: str, model: str) -> Json:
        content: Any = [{"type": "input_text", "text": marked(feature, cell)}]
        if feature == "images":
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"})
        items = [{"role": "user", "content": content}]
        request: Json = {"model": model, "instructions": SYSTEM, "input": items, "max_output_tokens": LIMIT,
                         "store": False, "user": cell}  # fmt: skip
        if feature in ("tools", "reasoning"):
            request["tools"] = [
                {"type": "function", "name": name, "description": f"Do {name}.", "parameters": schema, "strict": True}
                for name, schema in TOOLS.items()
            ]
        if feature == "structured":
            request["text"] = {"format": {"type": "json_schema", "name": "sky", "schema": SCHEMA, "strict": True}}
        if feature == "reasoning":
            request |= {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
        return request

    def answered(self, request: Json, heard: Heard) -> Json:
        results = [{"type": "function_call_output", "call_id": id, "output": _result(name)}
                   for id, name, _ in heard.calls]  # fmt: skip
        return {**request, "input": [*request["input"], *heard.turn, *results]}

    async def ask(self, request: Json, *, stream: bool) -> Heard:
        if stream:
            async with self.client.responses.stream(**request) as events:
                async for _ in events:
                    pass
                answer: Any = await events.get_final_response()
        else:
            answer = await self.client.responses.create(**request)
        calls = [one for one in answer.output if one.type == "function_call"]
        thoughts = [one for one in answer.output if one.type == "reasoning"]
        usage = answer.usage
        return Heard(
            text=answer.output_text,
            reasoning="".join(part.text for one in thoughts for part in one.summary),
            calls=tuple((one.call_id, one.name, json.loads(one.arguments)) for one in calls),
            finish=answer.status,
            prompt=usage.input_tokens,
            cached=usage.input_tokens_details.cached_tokens,
            written=None,
            completion=usage.output_tokens,
            reasoned=usage.output_tokens_details.reasoning_tokens,
            turn=tuple(_bare(one.model_dump()) for one in answer.output),
        )


@dataclass
class Messages:
    """Messages."""

    client: anthropic.AsyncAnthropic
    shape: str = field(default="messages", init=False)

    def request(self, feature: str, cell: str, model: str) -> Json:
        content: Any = [{"type": "text", "text": marked(feature, cell)}]
        if feature == "images":
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
            content.append({"type": "image", "source": source})
        request: Json = {"model": model, "system": [{"type": "text", "text": SYSTEM}], "max_tokens": LIMIT,
                         "messages": [{"role": "user", "content": content}], "metadata": {"user_id": cell}}  # fmt: skip
        if feature in ("tools", "reasoning"):
            request["tools"] = [{"name": name, "description": f"Do {name}.", "input_schema": schema}
                                for name, schema in TOOLS.items()]  # fmt: skip
        if feature == "structured":
            request["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        return request | ({"thinking": {"type": "enabled", "budget_tokens": 1_024}} if feature == "reasoning" else {})

    def answered(self, request: Json, heard: Heard) -> Json:
        results = [{"type": "tool_result", "tool_use_id": id, "content": _result(name)} for id, name, _ in heard.calls]
        turn = [*heard.turn, {"role": "user", "content": results}]
        return {**request, "messages": [*request["messages"], *turn]}

    async def ask(self, request: Json, *, stream: bool) -> Heard:
        if stream:
            async with self.client.messages.stream(**request) as events:
                async for _ in events:
                    pass
                answer: Any = await events.get_final_message()
        else:
            answer = await self.client.messages.create(**request)
        usage, blocks = answer.usage, answer.content
        cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        return Heard(
            text="".join(one.text for one in blocks if one.type == "text"),
            reasoning="".join(one.thinking for one in blocks if one.type == "thinking"),
            calls=tuple((one.id, one.name, one.input) for one in blocks if one.type == "tool_use"),
            finish=answer.stop_reason,
            prompt=usage.input_tokens + cached + written,
            cached=cached,
            written=written,
            completion=usage.output_tokens,
            reasoned=None,
            turn=({"role": "assistant", "content": [_bare(one.model_dump()) for one in blocks]},),
        )


FINISHES: Final[Mapping[str, tuple[str, str]]] = {
    "chat": ("stop", "tool_calls"),
    "responses": ("completed", "completed"),
    "messages": ("end_turn", "tool_use"),
}
"""Why an answer ended: with words, and with calls."""
SHAPES: Final = tuple(FINISHES)


def asker(shape: str, root: str, tee: Tee) -> Asker:
    """Return the client of a shape, at a gateway."""
    http: Any = httpx.AsyncClient(transport=tee, timeout=60)
    if shape == "messages":
        return Messages(anthropic.AsyncAnthropic(base_url=root, api_key="k", max_retries=0, http_client=http))
    client = openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="k", max_retries=0, http_client=http)
    return Chat(client) if shape == "chat" else Responses(client)

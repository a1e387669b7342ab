"""The HTTP side of the scripted provider: chat completions and the paths beside them, and its books for whoever checks.

POST /v1/chat/completions       does what the request's script says
POST /v1/responses, /v1/messages  the same, in their shapes (`shapes.py`)
POST /v1/embeddings             the same, as /v1/completions, /v1/moderations and /v1/rerank; the script is in a text
GET  /tally[?id=…][&rows=0]     what was taken, sent and charged
GET  /received?id=…[&call=0]    the exact bytes of a call; &part=headers | digest for its headers or SHA-256
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.upstream.counting import prompt_tokens, text_tokens
from tests.upstream.exchange import TALLY, Exchange, error_of, frame_of, usage_of
from tests.upstream.prices import PRICES
from tests.upstream.script import read
from tests.upstream.shapes import MessagesExchange, ResponsesExchange, chat_of_message, chat_of_response
from tests.upstream.tally import Call, Received, Tally


def _lenient_integer(digits: str) -> int:
    return int(digits) if len(digits) < 300 else 0  # Python refuses integers of more than 4,300 digits


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


async def chat(request: web.Request) -> web.StreamResponse:
    """Take one request for a chat."""
    return await taken(request, Exchange, lambda body: body)


async def response(request: web.Request) -> web.StreamResponse:
    """Take one request for a response."""
    return await taken(request, ResponsesExchange, chat_of_response)


async def message(request: web.Request) -> web.StreamResponse:
    """Take one request for a message."""
    return await taken(request, MessagesExchange, chat_of_message)


async def taken(
    request: web.Request, exchanged: type[Exchange], read_as_chat: Callable[[dict[str, Any]], dict[str, Any]]
) -> web.StreamResponse:
    """Take one request: enter it, then do as its script says."""
    raw = await request.read()
    try:
        body = json.loads(raw, parse_int=_lenient_integer, parse_constant=_refuse_constant)
        chats = read_as_chat(body)
        script = read(chats)
        prompt = script.prompt if script.prompt is not None else int(prompt_tokens(chats) * script.scale)
        options = body.get("stream_options") or {}
        asked_for_usage = options.get("include_usage") is True
        model, stream = str(body.get("model")), body.get("stream") is True
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as reason:
        return web.json_response(error_of(400, f"Bad request: {reason!r}"[:300], None), status=400)
    call = Call(script.id, model, stream, asked_for_usage)
    request.app[TALLY].enter(call, Received(raw, dict(request.headers)))
    exchange = exchanged(request, call, script, prompt)
    try:
        if model not in PRICES:
            return exchange.fail(404, "model_not_found", f"The model `{model}` does not exist.")
        return await exchange.answer()
    finally:
        call.open = False
        if call.end == "open":
            call.end = "left"


class MeteredExchange(Exchange):
    """One call for something else than a chat."""

    @property
    def operation(self) -> str:
        return self.request.path.removeprefix("/v1/")

    def _plain(self) -> web.Response:
        self.call.end = "answered"
        body = self._body()
        self.call.bill(self.prompt, text_tokens(self.script.answer) if self.operation == "completions" else 0)
        if self.script.usage and self.operation != "moderations":
            body["usage"] = {name: count for name, count in usage_of(self.call).items() if isinstance(count, int)}
            self.call.stated = True
        return web.json_response(body, headers=self.headers)

    def _body(self) -> dict[str, Any]:
        answer, model = self.script.answer, self.call.model
        match self.operation:
            case "embeddings":
                vector: Any = "AAAAPwAAgL4=" if self.script.text == "base64" else [0.5, -0.25]
                data = [{"object": "embedding", "index": 0, "embedding": vector}]
                return {"object": "list", "data": data, "model": model}
            case "completions":
                choice = {"text": answer, "index": 0, "logprobs": None, "finish_reason": "stop"}
                return {**frame_of(self.call), "object": "text_completion", "choices": [choice]}
            case "moderations":
                scores: dict[str, Any] = {"violence": 0.1}
                result = {"flagged": False, "categories": {"violence": False}, "category_scores": scores}
                return {"id": "modr-1", "model": model, "results": [result]}
            case _:
                return {"id": "rank-1", "results": [{"index": 0, "relevance_score": 0.9}]}

    async def _delta(self, response: web.StreamResponse, delta: dict[str, Any], finish: str | None = None) -> None:
        if delta.get("role"):
            return
        choice = {"text": delta.get("content") or "", "index": 0, "logprobs": None, "finish_reason": finish}
        fields = {**frame_of(self.call), "object": "text_completion", "choices": [choice]}
        await self._event(response, json.dumps(fields))


def _asked(body: dict[str, Any]) -> tuple[list[str], int]:
    """The texts of what is asked, and how many tokens came as numbers."""
    read = [body.get(name) for name in ("input", "prompt", "query", "documents")]
    flat: list[Any] = []
    while read:
        one = read.pop(0)
        read = [*one, *read] if isinstance(one, list) else read
        flat += [] if isinstance(one, list) or one is None else [one]
    return [one for one in flat if isinstance(one, str)], sum(isinstance(one, int) for one in flat)


async def metered(request: web.Request) -> web.StreamResponse:
    """Take one request for something else than a chat: enter it, then do as its script says."""
    raw = await request.read()
    body = json.loads(raw)
    texts, tokens = _asked(body)
    script = read({"messages": [{"role": "user", "content": "\n".join(texts)}]})
    prompt = tokens + sum(map(text_tokens, texts)) if script.prompt is None else script.prompt
    asked = (body.get("stream_options") or {}).get("include_usage") is True
    call = Call(script.id, str(body.get("model")), body.get("stream") is True, asked)
    request.app[TALLY].enter(call, Received(raw, dict(request.headers)))
    try:
        return await MeteredExchange(request, call, script, prompt).answer()
    finally:
        call.open = False
        if call.end == "open":
            call.end = "left"


async def tally(request: web.Request) -> web.Response:
    """Tell the books: of the ids named, or of all."""
    ids = request.query.getall("id", None)
    return web.json_response(request.app[TALLY].summary(ids, rows=request.query.get("rows") != "0"))


async def received(request: web.Request) -> web.Response:
    """Hand back the bytes of a call, or their digest, or its headers."""
    calls = request.app[TALLY].received.get(request.query.get("id", ""), [])
    number = int(request.query.get("call", "0"))
    if number >= len(calls):
        return web.Response(status=404)
    one, part = calls[number], request.query.get("part", "body")
    if part == "headers":
        return web.json_response({name.lower(): value for name, value in one.headers.items()})
    if part == "digest":
        return web.Response(text=hashlib.sha256(one.body).hexdigest())
    return web.Response(body=one.body)


async def models(_request: web.Request) -> web.Response:
    """List what this provider has prices for."""
    return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in PRICES]})


def create_app() -> web.Application:
    """The application with empty books."""
    app = web.Application(client_max_size=256 * 2**20)
    app[TALLY] = Tally()
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat),
            web.post("/v1/responses", response),
            web.post("/v1/messages", message),
            *(web.post(f"/v1/{path}", metered) for path in ("embeddings", "completions", "moderations", "rerank")),
            web.get("/v1/models", models),
            web.get("/tally", tally),
            web.get("/received", received),
        ]
    )
    return app


async def serve(port: int) -> None:
    """Serve on the loopback address until cancelled; print the port first."""
    runner = web.AppRunner(create_app(), handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()

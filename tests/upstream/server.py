"""The HTTP side of the scripted provider: chat completions and the paths beside them, and its books for whoever checks.

POST /v1/chat/completions       does what the request's script says
POST /v1/embeddings             the same, as /v1/completions, /v1/moderations and /v1/rerank; the script is in a text
GET  /tally[?id=…][&rows=0]     what was taken, sent and charged
GET  /received?id=…[&call=0]    the exact bytes of a call; &part=headers | digest for its headers or SHA-256
"""

import asyncio
import hashlib
import json
import time
from typing import Any

from aiohttp import web

from tests.upstream.counting import prompt_tokens, text_tokens
from tests.upstream.prices import PRICES
from tests.upstream.raw import reset
from tests.upstream.script import Script, read
from tests.upstream.tally import Call, Received, Tally

_TALLY = web.AppKey("tally", Tally)
_HOLD_SECONDS = 60.0
"""The longest a held stream waits for its reader to leave."""


def _lenient_integer(digits: str) -> int:
    return int(digits) if len(digits) < 300 else 0  # Python refuses integers of more than 4,300 digits


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _error(status: int, message: str, code: str | None, *, param: str | None = None) -> dict[str, Any]:
    kinds = {401: "invalid_request_error", 429: "requests"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _usage(call: Call) -> dict[str, Any]:
    return {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "total_tokens": call.prompt_tokens + call.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": call.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": call.reasoning_tokens, "audio_tokens": 0},
    }


def _frame(call: Call, **fields: Any) -> dict[str, Any]:
    kind = "chat.completion.chunk" if call.stream else "chat.completion"
    return {"id": f"chatcmpl-{call.id}", "object": kind, "created": int(time.time()), "model": call.model, **fields}


def _tool_calls(script: Script) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{script.id}_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(script.calls)
    ]


class Exchange:
    """One call being answered: the script, the entry in the books, and the connection."""

    def __init__(self, request: web.Request, call: Call, script: Script, prompt: int) -> None:
        self.request, self.call, self.script, self.prompt = request, call, script, prompt
        self.sent: list[str] = []
        self.headers = {"x-request-id": f"up_{call.id}"}

    async def answer(self) -> web.StreamResponse:
        """Do as the script says; whatever way it ends, the books say which."""
        script = self.script
        if script.delay:
            await asyncio.sleep(script.delay)
        if script.stall:
            self.call.end = "stalled"
            await asyncio.sleep(3600)
        if script.reset == 0 and not self._failed_enough():
            self.call.end = "reset"
            reset(self.request.transport)
            return web.Response()
        if script.garbage:
            self.call.end = "error"
            return web.Response(body=b'{"id": "chatcmpl-\xff, <html>', content_type="application/json")
        if script.status != 200 and not self._failed_enough():
            return self.fail(script.status, script.code or "scripted")
        if script.window is not None and self.prompt > script.window:
            return self._too_long(script.window)
        return await self._stream() if self.call.stream else self._plain()

    def _failed_enough(self) -> bool:
        calls = self.request.app[_TALLY].calls[self.call.id]
        return self.script.fails is not None and len(calls) > self.script.fails

    def fail(self, status: int, code: str, message: str = "", param: str | None = None) -> web.Response:
        """Answer with an error of OpenAI's shape; nothing is charged for it."""
        self.call.end = "error"
        if self.script.retry_after is not None:
            self.headers["retry-after"] = self.script.retry_after
        text = message or f"Scripted failure {status} of {self.call.id}."
        return web.json_response(_error(status, text, code, param=param), status=status, headers=self.headers)

    def _too_long(self, window: int) -> web.Response:
        message = (
            f"This model's maximum context length is {window} tokens. However, your messages resulted in "
            f"{self.prompt} tokens. Please reduce the length of the messages."
        )
        return self.fail(400, "context_length_exceeded", message, "messages")

    def _bill_whole(self) -> None:
        script = self.script
        written = "" if script.calls else script.answer
        calls = sum(8 + text_tokens(name) + text_tokens(arguments) for name, arguments in script.calls)
        self.call.bill(
            self.prompt,
            text_tokens(written) + calls + script.reasoning,
            cached=min(script.cached, self.prompt),
            reasoning=script.reasoning,
        )

    def _plain(self) -> web.Response:
        self._bill_whole()
        self.call.end = "answered"
        message: dict[str, Any] = {"role": "assistant", "content": self.script.answer, "refusal": None}
        if self.script.calls:
            message |= {"content": None, "tool_calls": _tool_calls(self.script)}
        finish = "tool_calls" if self.script.calls else "stop"
        body = _frame(self.call, choices=[{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}])
        if self.script.usage:
            body["usage"] = _usage(self.call)
        return web.json_response(body, headers=self.headers)

    async def _stream(self) -> web.StreamResponse:
        response = web.StreamResponse(headers={**self.headers, "content-type": "text/event-stream"})
        try:
            await response.prepare(self.request)
            await self._send_pieces(response)
        except (asyncio.CancelledError, ConnectionError):
            self._bill_sent("left")
            raise
        return response

    def _bill_sent(self, end: str) -> None:
        """Charge for exactly what was sent, unless the whole was sent already."""
        if self.call.end == "open":
            self.call.end = end
            self.call.bill(self.prompt, text_tokens("".join(self.sent)))

    async def _send_pieces(self, response: web.StreamResponse) -> None:
        script = self.script
        await self._delta(response, {"role": "assistant", "content": None if script.calls else "", "refusal": None})
        stops = {script.hold, script.cut, script.reset or None, script.error_event, script.stall_after} - {None}
        pieces = [] if script.calls else script.pieces()
        for piece in pieces:
            if self.call.pieces_sent in stops:
                break
            await self._delta(response, {"content": piece})
            self.sent.append(piece)
            self.call.pieces_sent += 1
            if script.pause:
                await asyncio.sleep(script.pause)
        if stops:
            await self._stop(response)
            return
        for index, call in enumerate(_tool_calls(script)):
            await self._tool_call(response, index, call)
        await self._finish(response)

    async def _stop(self, response: web.StreamResponse) -> None:
        """End as the script says, after the pieces it asked for."""
        script, transport = self.script, self.request.transport
        if script.hold is not None or script.stall_after is not None:
            await asyncio.sleep(_HOLD_SECONDS)
            self._bill_sent("stalled")
        elif script.error_event is not None:
            self._bill_sent("error")
            await self._event(response, json.dumps(_error(500, "The model broke off.", "server_error")))
            await response.write_eof()
        elif script.cut is not None:
            self._bill_sent("cut")
            if transport is not None:
                transport.close()
        else:
            self._bill_sent("reset")
            await asyncio.sleep(0.2)  # what was sent has to be read first: a reset throws away what was not
            reset(transport)

    async def _tool_call(self, response: web.StreamResponse, index: int, call: dict[str, Any]) -> None:
        function = call["function"]
        head = {"index": index, "id": call["id"], "type": "function"}
        await self._delta(response, {"tool_calls": [{**head, "function": {"name": function["name"], "arguments": ""}}]})
        arguments = function["arguments"]
        middle = len(arguments) // 2
        for half in (arguments[:middle], arguments[middle:]):
            await self._delta(response, {"tool_calls": [{"index": index, "function": {"arguments": half}}]})

    async def _finish(self, response: web.StreamResponse) -> None:
        self._bill_whole()
        self.call.end = "answered"
        await self._delta(response, {}, "tool_calls" if self.script.calls else "stop")
        if self.call.asked_for_usage and self.script.usage:
            await self._event(response, json.dumps(_frame(self.call, choices=[], usage=_usage(self.call))))
        await self._event(response, "[DONE]")
        await response.write_eof()

    async def _delta(self, response: web.StreamResponse, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        fields: dict[str, Any] = {"choices": [choice]}
        if self.call.asked_for_usage:
            fields["usage"] = None
        await self._event(response, json.dumps(_frame(self.call, **fields), ensure_ascii=False))

    async def _event(self, response: web.StreamResponse, data: str) -> None:
        await response.write(f"data: {data}{self.script.linebreak * 2}".encode())


async def chat(request: web.Request) -> web.StreamResponse:
    """Take one request: enter it, then do as its script says."""
    raw = await request.read()
    try:
        body = json.loads(raw, parse_int=_lenient_integer, parse_constant=_refuse_constant)
        script = read(body)
        prompt = script.prompt if script.prompt is not None else int(prompt_tokens(body) * script.scale)
        options = body.get("stream_options") or {}
        asked_for_usage = options.get("include_usage") is True
        model, stream = str(body.get("model")), body.get("stream") is True
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as reason:
        return web.json_response(_error(400, f"Bad request: {reason!r}"[:300], None), status=400)
    call = Call(script.id, model, stream, asked_for_usage)
    request.app[_TALLY].enter(call, Received(raw, dict(request.headers)))
    exchange = Exchange(request, call, script, prompt)
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
            body["usage"] = {name: count for name, count in _usage(self.call).items() if isinstance(count, int)}
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
                return {**_frame(self.call), "object": "text_completion", "choices": [choice]}
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
        fields = {**_frame(self.call), "object": "text_completion", "choices": [choice]}
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
    request.app[_TALLY].enter(call, Received(raw, dict(request.headers)))
    try:
        return await MeteredExchange(request, call, script, prompt).answer()
    finally:
        call.open = False
        if call.end == "open":
            call.end = "left"


async def tally(request: web.Request) -> web.Response:
    """Tell the books: of the ids named, or of all."""
    ids = request.query.getall("id", None)
    return web.json_response(request.app[_TALLY].summary(ids, rows=request.query.get("rows") != "0"))


async def received(request: web.Request) -> web.Response:
    """Hand back the bytes of a call, or their digest, or its headers."""
    calls = request.app[_TALLY].received.get(request.query.get("id", ""), [])
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
    app[_TALLY] = Tally()
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat),
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

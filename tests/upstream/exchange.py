"""One call of the scripted provider as it is answered: what its script says, and what the books say of it."""

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from tests.upstream.counting import text_tokens
from tests.upstream.raw import reset
from tests.upstream.script import Script
from tests.upstream.tally import Call, Tally

TALLY = web.AppKey("tally", Tally)
_HOLD_SECONDS = 60.0
"""The longest a held stream waits for its reader to leave."""


def error_of(status: int, message: str, code: str | None, *, param: str | None = None) -> dict[str, Any]:
    kinds = {401: "invalid_request_error", 429: "requests"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def usage_of(call: Call) -> dict[str, Any]:
    return {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "total_tokens": call.prompt_tokens + call.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": call.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": call.reasoning_tokens, "audio_tokens": 0},
    }


def frame_of(call: Call, **fields: Any) -> dict[str, Any]:
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
        calls = self.request.app[TALLY].calls[self.call.id]
        return self.script.fails is not None and len(calls) > self.script.fails

    def fail(self, status: int, code: str, message: str = "", param: str | None = None) -> web.Response:
        """Answer with an error of OpenAI's shape; nothing is charged for it."""
        self.call.end = "error"
        if self.script.retry_after is not None:
            self.headers["retry-after"] = self.script.retry_after
        text = message or f"Scripted failure {status} of {self.call.id}."
        body = self.error_body(error_of(status, text, code, param=param)["error"], status)
        return web.json_response(body, status=status, headers=self.headers)

    def error_body(self, error: dict[str, Any], status: int) -> dict[str, Any]:
        """Write an error in the shape of this call."""
        return {"error": error}

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
        body = frame_of(
            self.call, choices=[{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}]
        )
        if self.script.usage:
            body["usage"], self.call.stated = usage_of(self.call), True
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
        await self._begin(response)
        stops = {script.hold, script.cut, script.reset or None, script.error_event, script.stall_after} - {None}
        pieces = [] if script.calls else script.pieces()
        for piece in pieces:
            if self.call.pieces_sent in stops:
                break
            await self._say(response, piece)
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
            await self._break_off(response, error_of(500, "The model broke off.", "server_error")["error"])
            await response.write_eof()
        elif script.cut is not None:
            self._bill_sent("cut")
            if transport is not None:
                transport.close()
        else:
            self._bill_sent("reset")
            await asyncio.sleep(0.2)  # what was sent has to be read first: a reset throws away what was not
            reset(transport)

    async def _begin(self, response: web.StreamResponse) -> None:
        said = None if self.script.calls else ""
        await self._delta(response, {"role": "assistant", "content": said, "refusal": None})

    async def _say(self, response: web.StreamResponse, piece: str) -> None:
        await self._delta(response, {"content": piece})

    async def _break_off(self, response: web.StreamResponse, error: dict[str, Any]) -> None:
        await self._event(response, json.dumps({"error": error}))

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
            await self._event(response, json.dumps(frame_of(self.call, choices=[], usage=usage_of(self.call))))
            self.call.stated = True
        await self._event(response, "[DONE]")
        await response.write_eof()

    async def _delta(self, response: web.StreamResponse, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        fields: dict[str, Any] = {"choices": [choice]}
        if self.call.asked_for_usage:
            fields["usage"] = None
        await self._event(response, json.dumps(frame_of(self.call, **fields), ensure_ascii=False))

    async def _event(self, response: web.StreamResponse, data: str) -> None:
        await response.write(f"data: {data}{self.script.linebreak * 2}".encode())

"""The scripted provider in two other shapes: `/v1/responses` and `/v1/messages`, with the same scripts and books.

A request is read as the chat that it says, so that a prompt counts the same in every shape.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.in_messages import chat_of
from tests.items import as_messages
from tests.upstream.exchange import Exchange

Json = dict[str, Any]


def chat_of_response(body: Json) -> Json:
    """Read a Responses request as a chat."""
    tools = [{"type": "function", "function": {k: v for k, v in one.items() if k != "type"}} for one in _tools(body)]
    return {"messages": as_messages(body), "tools": tools}


def chat_of_message(body: Json) -> Json:
    """Read a Messages request as a chat."""
    tools = [
        {"type": "function", "function": {"name": one["name"], "parameters": one["input_schema"]}}
        for one in _tools(body)
    ]
    return {"messages": chat_of(body), "tools": tools}


def _tools(body: Json) -> list[Json]:
    return list(body.get("tools") or ())


class _Spoken(Exchange):
    """One call whose events have names."""

    at = 0
    """Events that were sent."""

    async def named(self, to: web.StreamResponse, kind: str, /, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self.at, **fields}
        self.at += 1
        data = f"data: {json.dumps(event, ensure_ascii=False)}"
        end = self.script.linebreak
        await to.write(f"event: {kind}{end}{data}{end * 2}".encode())

    def _plain(self) -> web.Response:
        self._bill_whole()
        self.call.end, self.call.stated = "answered", self.script.usage
        return web.json_response(self._whole(), headers=self.headers)

    def _whole(self) -> Json:
        raise NotImplementedError


class ResponsesExchange(_Spoken):
    """One call for a response."""

    @property
    def item(self) -> Json:
        part = {"type": "output_text", "text": self.script.answer, "annotations": []}
        message = {"type": "message", "id": f"msg_{self.call.id}", "status": "completed", "role": "assistant"}
        return {**message, "content": [part]}

    def _calls(self) -> list[Json]:
        return [
            {"type": "function_call", "id": f"fc_{self.call.id}_{at}", "call_id": f"call_{self.call.id}_{at}"}
            | {"name": name, "arguments": arguments, "status": "completed"}
            for at, (name, arguments) in enumerate(self.script.calls)
        ]

    def _frame(self, status: str, output: list[Json]) -> Json:
        head = {"id": f"resp_{self.call.id}", "object": "response", "created_at": 1, "model": self.call.model}
        return {**head, "status": status, "error": None, "output": output, "usage": None}

    def _whole(self) -> Json:
        whole = self._frame("completed", self._calls() or [self.item])
        return whole | ({"usage": self._usage()} if self.script.usage else {})

    def _usage(self) -> Json:
        call = self.call
        return {
            "input_tokens": call.prompt_tokens,
            "input_tokens_details": {"cached_tokens": call.cached_tokens},
            "output_tokens": call.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": call.reasoning_tokens},
            "total_tokens": call.prompt_tokens + call.completion_tokens,
        }

    async def _begin(self, response: web.StreamResponse) -> None:
        await self.named(response, "response.created", response=self._frame("in_progress", []))
        if not self.script.calls:
            item = {**self.item, "status": "in_progress", "content": []}
            await self.named(response, "response.output_item.added", output_index=0, item=item)

    async def _say(self, response: web.StreamResponse, piece: str) -> None:
        place = {"item_id": f"msg_{self.call.id}", "output_index": 0, "content_index": 0}
        await self.named(response, "response.output_text.delta", **place, delta=piece)

    async def _tool_call(self, response: web.StreamResponse, index: int, call: Json) -> None:
        item = self._calls()[index]
        begun = {**item, "arguments": "", "status": "in_progress"}
        await self.named(response, "response.output_item.added", output_index=index, item=begun)
        place = {"item_id": item["id"], "output_index": index}
        await self.named(response, "response.function_call_arguments.delta", **place, delta=item["arguments"])
        await self.named(response, "response.output_item.done", output_index=index, item=item)

    async def _finish(self, response: web.StreamResponse) -> None:
        self._bill_whole()
        self.call.end, self.call.stated = "answered", self.script.usage
        if not self.script.calls:
            await self.named(response, "response.output_item.done", output_index=0, item=self.item)
        await self.named(response, "response.completed", response=self._whole())
        await response.write_eof()

    async def _break_off(self, response: web.StreamResponse, error: Json) -> None:
        await self.named(response, "error", code=error["code"], message=error["message"], param=None)


class MessagesExchange(_Spoken):
    """One call for a message."""

    def _content(self) -> list[Json]:
        uses = [
            {"type": "tool_use", "id": f"toolu_{self.call.id}_{at}", "name": name, "input": json.loads(arguments)}
            for at, (name, arguments) in enumerate(self.script.calls)
        ]
        return uses or [{"type": "text", "text": self.script.answer}]

    def _usage(self, completion: int) -> Json:
        cached = min(self.script.cached, self.prompt)
        return {
            "input_tokens": self.prompt - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": completion,
        }

    def _frame(self, content: list[Json], reason: str | None) -> Json:
        head = {"id": f"msg_{self.call.id}", "type": "message", "role": "assistant", "model": self.call.model}
        return {**head, "content": content, "stop_reason": reason, "stop_sequence": None}

    def _reason(self) -> str:
        return "tool_use" if self.script.calls else "end_turn"

    def _whole(self) -> Json:
        whole = self._frame(self._content(), self._reason())
        return whole | ({"usage": self._usage(self.call.completion_tokens)} if self.script.usage else {})

    def error_body(self, error: Json, status: int) -> Json:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
        kind = kinds.get(status, "rate_limit_error" if status == 429 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": error["message"]}}

    async def _begin(self, response: web.StreamResponse) -> None:
        usage = {"usage": self._usage(1)} if self.script.usage else {}
        await self.named(response, "message_start", message=self._frame([], None) | usage)
        if not self.script.calls:
            block = {"type": "text", "text": ""}
            await self.named(response, "content_block_start", index=0, content_block=block)

    async def _say(self, response: web.StreamResponse, piece: str) -> None:
        delta = {"type": "text_delta", "text": piece}
        await self.named(response, "content_block_delta", index=0, delta=delta)

    async def _tool_call(self, response: web.StreamResponse, index: int, call: Json) -> None:
        use = self._content()[index]
        await self.named(response, "content_block_start", index=index, content_block={**use, "input": {}})
        delta = {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}
        await self.named(response, "content_block_delta", index=index, delta=delta)
        await self.named(response, "content_block_stop", index=index)

    async def _finish(self, response: web.StreamResponse) -> None:
        self._bill_whole()
        self.call.end, self.call.stated = "answered", self.script.usage
        if not self.script.calls:
            await self.named(response, "content_block_stop", index=0)
        usage = {"usage": {"output_tokens": self.call.completion_tokens}} if self.script.usage else {}
        delta = {"stop_reason": self._reason(), "stop_sequence": None}
        await self.named(response, "message_delta", delta=delta, **usage)
        await self.named(response, "message_stop")
        await response.write_eof()

    async def _break_off(self, response: web.StreamResponse, error: Json) -> None:
        await self.named(response, "error", error={"type": "api_error", "message": error["message"]})

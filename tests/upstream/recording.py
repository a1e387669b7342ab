"""A provider that keeps the exact bytes of each request, and answers alike where it is asked alike.

Answers are by model name, in the form of the case files of wire faults: `status`, `headers`, `body`, or `stream`, a
list of events in which a string is sent as it is, RESET cuts and HANG stalls. Without an entry the answer is what the
client of the test wants to hear next, in OpenAI's shape or, on a path of theirs, in Anthropic's.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_BYTES_PER_TOKEN = 4
_LEAST_CACHED, _STEP = 1024, 128
_REMEMBERED = 12
_HANG_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
"""Seconds between the events of a table: an error that is read together with what came before has reached nobody."""
_VALUES, _WORDS = 18, 40
WRITER = "writer"
"""The model that sums up: its answer is made of words of what it was sent."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    head: str
    body: bytes


@dataclass
class Recording:
    """A running provider: what it was sent, and what it says next."""

    answers: Mapping[str, Json] = field(default_factory=dict)
    port: int = 0
    received: list[Received] = field(default_factory=list)
    next: Json = field(default_factory=lambda: {"role": "assistant", "content": "Done."})
    """The message to answer with where no table says otherwise."""
    _prompts: deque[bytes] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def taken(self) -> list[Received]:
        """Hand out what has come since this was asked last."""
        taken, self.received = self.received, []
        return taken

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        number = 0
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                found = re.search(r"(?i)content-length: *(\d+)", head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                number += 1
                self.received.append(Received(head, body))
                if not await self._answer(writer, head, body, number):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, head: str, body: bytes, number: int) -> bool:
        """Answer one request; False where the connection is done with."""
        sent: Json = json.loads(body) if body else {}
        path = head.split(" ", 2)[1]
        answer = self.answers.get(str(sent.get("model", "")), self.answers.get("*", {}))
        if answer.get("reset_when_reused") and number > 1:
            writer.transport.abort()
            return False
        if answer.get("forbid") in sent and "forbid" in answer:
            answer = answer["forbidden"]
        if "stream" in answer and (sent.get("stream") or answer.get("always")):
            return await _streamed(writer, answer["stream"], answer.get("headers", {}), _PAUSE_SECONDS)
        if "status" in answer or "body" in answer or "headers" in answer:
            await _whole(writer, answer)
            return True
        usage = self._usage(json.dumps([sent.get("tools"), sent.get("system"), sent.get("messages")]).encode())
        said = self.next if sent.get("model") != WRITER else {"role": "assistant", "content": _summed_up(sent)}
        if "/messages" in path:
            told = _anthropic(sent, said, usage)
        else:
            told = _openai(sent, said, usage)
        if isinstance(told, list):
            return await _streamed(writer, told, {})
        await _whole(writer, {"body": told})
        return True

    def _usage(self, prompt: bytes) -> Json:
        """Count by bytes; what one of the last requests began with, too, was cached."""
        begins = max((_common(prompt, other) for other in self._prompts), default=0) // _BYTES_PER_TOKEN
        self._prompts.append(prompt)
        cached = begins // _STEP * _STEP if begins >= _LEAST_CACHED else 0
        return {"prompt": len(prompt) // _BYTES_PER_TOKEN, "cached": cached, "completion": 12}


@asynccontextmanager
async def recording(answers: Mapping[str, Json] | None = None, port: int = 0) -> AsyncIterator[Recording]:
    """Serve on a port of the loopback address until the end of the block, once it is free; 0 is any."""
    provider, tasks = Recording(answers or {}), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await provider.serve(reader, writer)
        tasks.discard(task)

    while True:
        try:
            server = await asyncio.start_server(serve, "127.0.0.1", port, limit=2**27)
            break
        except OSError:
            await asyncio.sleep(0.2)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _whole(writer: asyncio.StreamWriter, answer: Json) -> None:
    said = answer.get("body", _openai({}, {"role": "assistant", "content": "fine"}, _FEW))
    data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
    head = {"content-type": "application/json", **answer.get("headers", {})}
    writer.write(_head(answer.get("status", 200), {**head, "content-length": str(len(data))}) + data)
    await writer.drain()


async def _streamed(writer: asyncio.StreamWriter, events: list[Any], headers: Json, pause: float = 0.0) -> bool:
    writer.write(_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers}))
    for event in events:
        if event == "RESET":
            writer.transport.abort()
            return False
        if event == "HANG":
            await asyncio.sleep(_HANG_SECONDS)
            return False
        data = event.encode() if isinstance(event, str) else b"data: " + json.dumps(event).encode() + b"\n\n"
        writer.write(b"%x\r\n" % len(data) + data + b"\r\n")
        await writer.drain()
        await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _head(status: int, headers: Json) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


# ---------------------------------------------------------------- answers


_FEW = {"prompt": 1000, "cached": 0, "completion": 50}


def _openai(sent: Json, said: Json, usage: Json) -> Json | list[Any]:
    counted = {
        "prompt_tokens": usage["prompt"],
        "completion_tokens": usage["completion"],
        "total_tokens": usage["prompt"] + usage["completion"],
        "prompt_tokens_details": {"cached_tokens": usage["cached"]},
    }
    finish = "tool_calls" if said.get("tool_calls") else "stop"
    begin = {"id": "chatcmpl-1", "created": 1, "model": str(sent.get("model", "m"))}
    if not sent.get("stream"):
        choice = {"index": 0, "message": said, "finish_reason": finish}
        return {**begin, "object": "chat.completion", "choices": [choice], "usage": counted}
    chunk = {**begin, "object": "chat.completion.chunk"}
    deltas: list[Json] = [{"content": piece} for piece in _pieces(said.get("content") or "")]
    deltas += [{"tool_calls": [{"index": at, **call}]} for at, call in enumerate(said.get("tool_calls") or ())]
    events: list[Any] = [{**chunk, "choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in deltas]
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if (sent.get("stream_options") or {}).get("include_usage"):
        events.append({**chunk, "choices": [], "usage": counted})
    return [*events, "data: [DONE]\n\n"]


def _anthropic(sent: Json, said: Json, usage: Json) -> Json | list[Any]:
    marked = '"cache_control"' in json.dumps(sent)
    cached = usage["cached"] if marked else 0
    told = {
        "input_tokens": usage["prompt"] - cached,
        "output_tokens": usage["completion"],
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }
    text = said.get("content") or "Done."
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": sent.get("model"), "stop_sequence": None}
    if not sent.get("stream"):
        return {**message, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": told}
    begin: Json = {**message, "content": [], "stop_reason": None, "usage": told}
    listed: list[Json] = [
        {"type": "message_start", "message": begin},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in _pieces(text)
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": told},
        {"type": "message_stop"},
    ]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in listed]


def _pieces(text: str) -> list[str]:
    size = max(1, -(-len(text) // 3))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _summed_up(sent: Json) -> str:
    """Make a summary of what the source says: its first values with digits, between words of its own."""
    source = str(sent["messages"][-1].get("content"))
    values = list(dict.fromkeys(re.findall(r"(?<![\w-])[\w-]*\d[\w-]*(?![\w-])", source)))[:_VALUES]
    if "of the plan" in source:
        return f"The plan was gone through part by part, {', '.join(values)}; the questions about them are settled."
    words = [word for line in source.splitlines() if len(line.split()) > 5 for word in line.split()[1:7]]
    return f"{' '.join(words[:: max(1, len(words) // _WORDS)][:_WORDS])} {', '.join(values)}."


def _common(one: bytes, other: bytes) -> int:
    """Measure how far two texts begin alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

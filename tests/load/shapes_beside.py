"""One conversation in three shapes of one gateway, each of a provider that speaks it: CPU seconds for 1,000 requests.

    python -m tests.load.shapes_beside                                # small, large, growing, tools, streams; 15 rounds
    python -m tests.load.shapes_beside --only grow --rounds 30

The provider answers from memory, in a process of its own. Each round asks every shape in turn; what is told is the
least of the rounds, which others at work on the machine disturbed least, and its ratio to the chat's. `messages` are
asked of the server that chats; `claude` is Anthropic's, whose prompt cache is known and marked. `embeddings` stand
beside the small chat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.contract.running import KEYS, Program, config, running_gateway, wait_for, write_setup
from tests.in_messages import messages_of
from tests.items import as_items

Json = dict[str, Any]

PATHS: Final = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "claude": "/v1/messages",
    "embeddings": "/v1/embeddings",
}
AT_ONCE: Final = 8
_WORDS: Final = ("the", "system", "reads", "a", "file", "and", "returns", "its", "lines", "then", "a", "tool", "edits")


# ---------------------------------------------------------------- what is asked


def _text(draw: random.Random, size: int) -> str:
    return " ".join(draw.choices(_WORDS, k=size // 5))


def conversation(scenario: str, number: int) -> Json:
    """Make the chat of one request of a scenario; `number` tells it from the others."""
    draw = random.Random(7)
    small = scenario in ("small", "stream")
    messages: list[Json] = [{"role": "system", "content": "You are careful. " + _text(draw, 400 if small else 4000)}]
    if small:
        messages.append({"role": "user", "content": _text(draw, 400)})
    elif scenario == "tools":
        messages.append({"role": "user", "content": _text(draw, 400)})
        for step in range(40):
            function = {"name": "look_up", "arguments": json.dumps({"id": step}, separators=(",", ":"))}
            call = {"id": f"call_{step}", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": _text(draw, 100), "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": f"call_{step}", "content": _text(draw, 900)})
        messages[-1]["content"] += f" {number}"
    else:
        messages += [{"role": ("user", "assistant")[at % 2], "content": _text(draw, 920)} for at in range(99)]
    if scenario == "grow":
        messages[-1]["content"] = f"{number} " + messages[-1]["content"]
    if scenario == "fresh":
        messages = [{**one, "content": f"{number} {one['content']}"} for one in messages]
    body: Json = {"model": "gpt-5", "messages": messages, "temperature": 0.7, "max_tokens": 256}
    if scenario == "tools":
        parameters = {"type": "object", "properties": {"id": {"type": "integer"}}}
        names = ["look_up", *(f"tool_{at}" for at in range(20))]
        body["tools"] = [
            {"type": "function", "function": {"name": n, "description": _text(draw, 300), "parameters": parameters}}
            for n in names
        ]
    if scenario == "stream":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def body_of(shape: str, scenario: str, number: int) -> bytes:
    """Write the same conversation in a shape."""
    chat = conversation(scenario, number)
    if shape == "embeddings":
        return json.dumps({"model": "embed", "input": chat["messages"][-1]["content"]}).encode()
    streamed = {"stream": True} if scenario == "stream" else {}
    if shape == "responses":
        return json.dumps(as_items(chat) | {"temperature": 0.7, "store": False} | streamed).encode()
    if shape in ("messages", "claude"):
        asked = messages_of({**chat, "model": "gpt-5" if shape == "messages" else "claude"}, temperature=0.7)
        return json.dumps(asked | streamed).encode()
    return json.dumps(chat).encode()


# ---------------------------------------------------------------- the provider

_USED: Final = {"input_tokens": 120, "output_tokens": 50}
_SAID: Final = " ".join(random.Random(3).choices(_WORDS, k=24))


def _event(fields: Json, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(fields).encode() + b"\n\n"


_PIECES: Final = [f"word{at} " for at in range(50)]


def _answers() -> dict[tuple[str, bool], bytes]:
    """Write the answer of each path, whole and as a stream of fifty pieces."""
    vector = {"object": "embedding", "index": 0, "embedding": [round(0.001 * at, 4) for at in range(256)]}
    made: Json = {"object": "list", "data": [vector], "model": "text-embedding-3-small"}
    made["usage"] = {"prompt_tokens": 8, "total_tokens": 8}
    written = {"chat/completions": _chats(), "responses": _responses(), "messages": _messages()}
    out = {(path, streamed): both[streamed] for path, both in written.items() for streamed in (False, True)}
    return {**out, ("embeddings", False): json.dumps(made).encode()}


def _chats() -> tuple[bytes, bytes]:
    usage: Json = {"prompt_tokens": 120, "completion_tokens": 50, "total_tokens": 170}
    usage["prompt_tokens_details"] = {"cached_tokens": 64}
    choice = {"index": 0, "message": {"role": "assistant", "content": _SAID}, "finish_reason": "stop"}
    head: Json = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5"}
    chunk: Json = {**head, "object": "chat.completion.chunk"}
    deltas: list[Json] = [{"index": 0, "delta": {"content": one}, "finish_reason": None} for one in _PIECES]
    deltas += [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    events = [_event({**chunk, "choices": [one]}) for one in deltas]
    events += [_event({**chunk, "choices": [], "usage": usage}), b"data: [DONE]\n\n"]
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode(), b"".join(events)


def _responses() -> tuple[bytes, bytes]:
    part = {"type": "output_text", "text": _SAID, "annotations": []}
    item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}
    used = {**_USED, "total_tokens": 170, "input_tokens_details": {"cached_tokens": 64}}
    whole: Json = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed"}
    whole |= {"error": None, "output": [item], "usage": used}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[Json] = [{"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}]
    events += [{"type": "response.output_text.delta", **place, "delta": one} for one in _PIECES]
    events += [{"type": "response.completed", "response": whole}]
    named = [_event({**one, "sequence_number": at}, str(one["type"])) for at, one in enumerate(events)]
    return json.dumps(whole).encode(), b"".join(named)


def _messages() -> tuple[bytes, bytes]:
    whole: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    whole |= {"content": [{"type": "text", "text": _SAID}], "stop_reason": "end_turn", "stop_sequence": None}
    whole |= {"usage": {**_USED, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 0}}
    deltas = [{"type": "text_delta", "text": one} for one in _PIECES]
    events: list[Json] = [{"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}]
    events += [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}]
    events += [{"type": "content_block_delta", "index": 0, "delta": one} for one in deltas]
    events += [{"type": "content_block_stop", "index": 0}]
    events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 50}}]
    events += [{"type": "message_stop"}]
    return json.dumps(whole).encode(), b"".join([_event(one, str(one["type"])) for one in events])


class _Provider(asyncio.Protocol):
    """Answers each request by its path, at once."""

    def __init__(self, answers: dict[tuple[str, bool], bytes]) -> None:
        self.answers, self.came = answers, b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        while (head := self.came.find(b"\r\n\r\n")) >= 0:
            said = self.came[:head].lower()
            at = said.find(b"content-length:")
            size = int(said[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.came) < head + 4 + size:
                return
            body, self.came = self.came[head + 4 : head + 4 + size], self.came[head + 4 + size :]
            self._answer(said.split(b" ", 2)[1].decode().removeprefix("/v1/"), b'"stream": true' in body)

    def _answer(self, path: str, streamed: bool) -> None:
        body = self.answers.get((path, streamed), b"{}")
        kind = "text/event-stream" if streamed else "application/json"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def provide() -> None:
    """Serve on a free port, and say which."""
    answers = _answers()
    server = await asyncio.get_running_loop().create_server(lambda: _Provider(answers), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ---------------------------------------------------------------- the client


def cpu_seconds(pid: int) -> float:
    """CPU seconds of the threads of a process, to the nanosecond: a tick is a hundredth of a second."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text(encoding="ascii").split()[0]) for one in threads) / 1e9


async def ask(port: int, path: str, bodies: Sequence[bytes]) -> None:
    """Send requests over a few connections, each one after another."""
    waiting = iter(bodies)

    async def one_by_one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEYS['main']}\r\n"
        head += "content-type: application/json\r\n"
        for body in waiting:
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            said = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in said[:20]:
                raise SystemExit(f"{path}: {said.decode()} {(await reader.read(2000)).decode()}")
            at = said.find(b"content-length:")
            if at >= 0:
                await reader.readexactly(int(said[at + 15 :].split(b"\r\n", 1)[0]))
                continue
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        writer.close()

    await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))


Measured = dict[tuple[str, str], list[float]]


def measure(
    port: int,
    pid: int,
    scenarios: Sequence[str],
    shapes: Sequence[str],
    rounds: int,
    count: int,
    say: Callable[[str], None],
) -> Measured:
    """Ask every shape in turn, round after round: CPU seconds for 1,000 requests, by scenario and shape."""
    found: Measured = defaultdict(list)
    number = 0
    for scenario in scenarios:
        asked = [shape for shape in shapes if shape != "embeddings" or scenario == "small"]
        many = count * (8 if scenario in ("small", "stream") else 1)
        for turn in range(rounds + 1):
            for shape in asked if turn % 2 else reversed(asked):
                bodies = [body_of(shape, scenario, number + at) for at in range(many if turn else many // 4)]
                before = cpu_seconds(pid)
                asyncio.run(ask(port, PATHS[shape], bodies))
                if turn:  # the first one warms up
                    found[scenario, shape].append(1000 * (cpu_seconds(pid) - before) / len(bodies))
            number += many
        chats = found[scenario, asked[0]]
        for shape in asked:
            took = found[scenario, shape]
            least, middle = min(took) / min(chats), statistics.median(took) / statistics.median(chats)
            say(f"{scenario:7} {shape:10} {min(took):7.3f} s   {least:.3f} x {asked[0]}'s; of the medians {middle:.3f}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["small", "large", "grow", "fresh", "tools", "stream"])
    parser.add_argument(
        "--shapes", nargs="*", default=list(PATHS), help="the first one is what the others stand beside"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=50, help="requests of a round; eight times as many small ones")
    parser.add_argument("--provide", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.provide:
        asyncio.run(provide())
        return 0
    provider = Program.start([sys.executable, "-m", "tests.load.shapes_beside", "--provide"])
    try:
        url = f"http://127.0.0.1:{wait_for(lambda: next(iter(provider.lines), None), 20, 'the provider')}"
        info = {"max_input_tokens": 1_000_000, "input_cost_per_token": 1.25e-6, "output_cost_per_token": 1e-5}
        entries = [
            _entry("gpt-5", "openai/mock", f"{url}/v1", {**info, "speaks": ["chat", "responses", "messages"]}),
            _entry("claude", "anthropic/claude-sonnet-4-5", url, info),
            _entry("embed", "openai/text-embedding-3-small", f"{url}/v1", {"mode": "embedding", **info}),
        ]
        with tempfile.TemporaryDirectory() as folder:
            setup = write_setup(Path(folder), config(url, model_list=entries, fallbacks=[]))
            with running_gateway(setup) as gateway:
                measure(gateway.port, gateway.program.pid, args.only, args.shapes, args.rounds, args.count, print)
    finally:
        provider.stop(3)
    return 0


def _entry(name: str, model: str, base: str, info: Json) -> Json:
    params = {"model": model, "api_base": base, "api_key": "sk-upstream"}
    return {"model_name": name, "litellm_params": params, "model_info": info}


if __name__ == "__main__":
    sys.exit(main())

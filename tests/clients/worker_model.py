"""A model that works: a scripted provider of chat completions for programs that call tools.

A task that names a run (`run-abc123`) is worked through in twenty steps. Each step calls a tool that the program has,
and expects its result in the next request. Steps are counted here by the name of the run, not in the conversation: the
gateway may have folded it. Anything else is answered in words.

python -m tests.clients.worker_model --port 0
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiohttp import web

STEPS = 20
RUN = re.compile(r"run-[a-z0-9]{6,}")
DONE = "All twenty steps are done; the code word is heron."
PLAIN = "The capital of France is Paris."

ARGUMENTS: Mapping[str, Any] = {
    "number": lambda step: step,
    "cmd": lambda step: f"echo step {step}; seq 1 1500",
    "command": lambda step: f"echo step {step}; seq 1 1500",
    "city": lambda _: "Paris",
}
"""The argument that a tool of work takes, by its name: a function of the step."""

REQUIRED: Mapping[str, Any] = {"string": "step", "boolean": False, "number": 60_000, "integer": 60_000, "array": []}
"""Other arguments that a tool insists on, by their type."""


def words_of(content: object) -> str:
    """Return the text of a message's content."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def tool_of_work(tools: Sequence[Mapping[str, Any]]) -> tuple[str, str, Mapping[str, Any]] | None:
    """Choose the tool that is called, with the name of its argument and its schema."""
    for wanted in ARGUMENTS:
        for tool in tools:
            function = tool.get("function") or {}
            schema = function.get("parameters") or {}
            if wanted in (schema.get("properties") or {}):
                return function["name"], wanted, schema
    return None


def arguments_for(schema: Mapping[str, Any], name: str, step: int) -> str:
    """Write the arguments of a call."""
    value: Any = ARGUMENTS[name](step)
    if (schema["properties"][name] or {}).get("type") == "array":
        value = ["bash", "-lc", value]
    out = {name: value}
    for required in schema.get("required", ()):
        kind = (schema["properties"].get(required) or {}).get("type", "string")
        out.setdefault(required, REQUIRED.get(kind, "step"))
    return json.dumps(out)


class Model:
    """The model, and how far each run is."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.calls = 0

    def message(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Say the next message of a conversation."""
        self.calls += 1
        messages, tools = fields["messages"], fields.get("tools") or ()
        said = [words_of(one.get("content")) for one in messages if one.get("role") == "user"]
        run = next((found[0] for text in said if (found := RUN.search(text))), None)
        work = tool_of_work(tools)
        if work is None or fields.get("tool_choice") == "none":
            return {"role": "assistant", "content": PLAIN}
        if run is not None:
            return self._step(run, *work)
        if messages[-1].get("role") == "tool":
            return {"role": "assistant", "content": f"It says {words_of(messages[-1].get('content'))[:40]}."}
        return self._call(f"call_{self.calls}", *work, 1) if "Use the tool" in said[-1] else _said(PLAIN)

    def _step(self, run: str, name: str, argument: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self.steps[run] >= STEPS:
            return _said(DONE)
        self.steps[run] += 1
        return self._call(f"call_{run}_{self.steps[run]}", name, argument, schema, self.steps[run])

    def _call(self, call_id: str, name: str, argument: str, schema: Mapping[str, Any], step: int) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments_for(schema, argument, step)}
        return {
            "role": "assistant",
            "content": f"Step {step}.",
            "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        }


def _said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def completion(fields: Mapping[str, Any], message: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Write a whole answer."""
    prompt = len(json.dumps(fields["messages"])) // 4
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": fields["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20},
    }


def chunks(whole: Mapping[str, Any]) -> Iterator[bytes]:
    """Write the same answer as a stream."""
    head = {"id": whole["id"], "object": "chat.completion.chunk", "created": 1, "model": whole["model"]}
    message, reason = whole["choices"][0]["message"], whole["choices"][0]["finish_reason"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = message.get("content") or ""
    deltas += [{"content": text[at : at + 12]} for at in range(0, len(text), 12)]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        begun = {"name": function["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": begun}]})
        for at in range(0, len(function["arguments"]), 16):
            part = {"arguments": function["arguments"][at : at + 16]}
            deltas.append({"tool_calls": [{"index": index, "function": part}]})
    for delta in deltas:
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    yield _event({**head, "choices": [], "usage": whole["usage"]})
    yield b"data: [DONE]\n\n"


def _event(fields: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def app() -> web.Application:
    """Build the provider."""
    model = Model()

    async def answer(request: web.Request) -> web.StreamResponse:
        fields = await request.json()
        whole = completion(fields, model.message(fields), model.calls)
        if not fields.get("stream"):
            return web.json_response(whole)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in chunks(whole):
            await response.write(part)
        return response

    async def steps(_request: web.Request) -> web.Response:
        return web.json_response(dict(model.steps))

    made = web.Application(client_max_size=64 * 2**20)
    made.router.add_post("/v1/chat/completions", answer)
    made.router.add_get("/steps", steps)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    web.run_app(app(), host="127.0.0.1", port=parser.parse_args().port, print=None)


if __name__ == "__main__":
    main()

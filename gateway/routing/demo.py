"""The provider `demo/…`: no network, deterministic answers, real usage numbers with a simulated prefix cache.

The answer to a request depends on nothing but its body: a hash of it chooses the words. Where tools are defined and the
last message is the user's, the answer may be a call. What the prompt costs is counted with the counter handed in;
the prefix cache works as OpenAI's documents it: the longest run of whole messages sent before, from 1,024 tokens on,
in steps of 128 (platform.openai.com/docs/guides/prompt-caching). It serves demonstrations and tests, not load.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.routing.deployment import Deployment
from gateway.routing.upstream import WholeReply

CACHE_MINIMUM: Final = 1024
CACHE_STEP: Final = 128
MOST_PREFIXES: Final = 65_536
"""Prefixes remembered; the oldest are forgotten first, as a provider's cache forgets."""

_JSON: Final = {"content-type": "application/json"}
_EVENTS: Final = {"content-type": "text/event-stream; charset=utf-8"}
_CREATED: Final = 1_700_000_000
"""A constant in place of the time: equal requests get equal answers, to the byte."""

_OPENINGS: Final = ("I looked into this.", "Here is what I found.", "Done.", "Thank you for the details.")
_MIDDLES: Final = (
    "The records agree with what you describe.",
    "Two of the entries needed a second look, and both are in order.",
    "Nothing in the history contradicts it.",
    "The figures match to the last digit.",
    "I compared the newest result with the one before it.",
)
_CLOSINGS: Final = (
    "Shall I go on?",
    "Tell me if anything is missing.",
    "The next step is yours.",
    "That is all for now.",
)


@dataclass(frozen=True, slots=True)
class _Said:
    """What the demo model answers: words, or one call."""

    text: str
    call: tuple[str, str, str] | None
    """Id, name and arguments."""
    tokens: int


class Demo:
    """The upstream of every deployment of kind `demo`. `count` returns the tokens of a text."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    async def send(self, deployment: Deployment, body: bytes, *, stream: bool, request_id: str) -> WholeReply:
        try:
            fields = orjson.loads(body)
            messages = [message for message in fields["messages"] if isinstance(message, dict)]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return _refusal(400, "the body is not a chat completion request", None)
        key = hashlib.sha256(body).digest()
        marks = self._marks(deployment.model, fields.get("tools"), messages)
        prompt = marks[-1][1] + 3
        window = deployment.facts.window
        if window is not None and prompt > window:
            return _refusal(400, _too_long(window, prompt), "context_length_exceeded")
        said = self._say(key, fields, messages)
        usage = _usage(prompt, self._cached(marks), said.tokens)
        head = {"id": f"chatcmpl-demo-{key.hex()[:20]}", "created": _CREATED, "model": deployment.model}
        headers = {"x-request-id": f"req_demo_{key.hex()[:16]}"}
        if not stream:
            return WholeReply(200, _JSON | headers, (_whole(head, said, usage),))
        asked = _object(fields.get("stream_options")).get("include_usage") is True
        return WholeReply(200, _EVENTS | headers, tuple(_events(head, said, usage if asked else None)))

    async def close(self) -> None:
        self._seen.clear()

    def _marks(self, model: str, tools: Any, messages: Sequence[Mapping[str, Any]]) -> list[tuple[bytes, int]]:
        """Return, for the tools and then each message, the hash of the prompt so far and its tokens."""
        text = orjson.dumps(tools).decode() if tools else ""
        chain, total = hashlib.sha256(f"{model}\n{text}".encode()).digest(), self._count(text) if text else 0
        marks = [(chain, total)]
        for message in messages:
            chain = hashlib.sha256(chain + orjson.dumps(message, option=orjson.OPT_SORT_KEYS)).digest()
            total += self._message_tokens(message)
            marks.append((chain, total))
        return marks

    def _message_tokens(self, message: Mapping[str, Any]) -> int:
        tokens = 4 + self._count(_text(message.get("content")))
        for call in _list(message.get("tool_calls")):
            function = _object(_object(call).get("function"))
            tokens += 8 + self._count(_text(function.get("name"))) + self._count(_text(function.get("arguments")))
        return tokens + (1 + self._count(_text(message["name"])) if message.get("name") else 0)

    def _cached(self, marks: Sequence[tuple[bytes, int]]) -> int:
        """Tokens served from the simulated cache; then remember this prompt."""
        hit = 0
        for mark, upto in marks:
            if mark not in self._seen:
                break
            hit = upto
        for mark, _ in marks:
            self._seen[mark] = None
            self._seen.move_to_end(mark)
        while len(self._seen) > MOST_PREFIXES:
            self._seen.popitem(last=False)
        return hit // CACHE_STEP * CACHE_STEP if hit >= CACHE_MINIMUM else 0

    def _say(self, key: bytes, fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> _Said:
        tool = _wanted_tool(key, fields, messages)
        if tool is not None:
            name, arguments = tool, "{}"
            call = (f"call_demo_{key.hex()[:12]}", name, arguments)
            return _Said("", call, 8 + self._count(name) + self._count(arguments))
        middles = " ".join(_MIDDLES[(key[1] + step) % len(_MIDDLES)] for step in range(1 + key[2] % len(_MIDDLES)))
        text = f"{_OPENINGS[key[0] % len(_OPENINGS)]} {middles} {_CLOSINGS[key[3] % len(_CLOSINGS)]}"
        return _Said(text, None, self._count(text))


def _wanted_tool(key: bytes, fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Name the tool to call: always where the choice demands one, else for half of the user's messages."""
    choice = fields.get("tool_choice")
    functions = [_object(_object(tool).get("function")) for tool in _list(fields.get("tools"))]
    names = [function["name"] for function in functions if isinstance(function.get("name"), str)]
    if not names or choice == "none":
        return None
    if isinstance(choice, dict):
        named = _object(choice.get("function")).get("name")
        return named if isinstance(named, str) else None
    asks = bool(messages) and messages[-1].get("role") == "user" and key[4] % 2 == 0
    return names[key[5] % len(names)] if choice == "required" or asks else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def _usage(prompt: int, cached: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _whole(head: Mapping[str, Any], said: _Said, usage: Mapping[str, Any]) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
    if said.call is not None:
        message["tool_calls"] = [_call(*said.call)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said)}
    return orjson.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _events(head: Mapping[str, Any], said: _Said, usage: Mapping[str, Any] | None) -> Iterator[bytes]:
    """Yield the events of a stream: one a word, or a call in two pieces; the usage last where it was asked for."""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return (
            b"data: " + orjson.dumps({**head, "object": "chat.completion.chunk", "choices": choices, **more}) + b"\n\n"
        )

    def piece(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        silent = {} if usage is None else {"usage": None}
        return event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], **silent)

    yield piece({"role": "assistant", "content": None if said.call else "", "refusal": None})
    if said.call is not None:
        call_id, name, arguments = said.call
        yield piece({"tool_calls": [{"index": 0, **_call(call_id, name, "")}]})
        yield piece({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})
    for position, word in enumerate(said.text.split(" ") if said.text else ()):
        yield piece({"content": f" {word}" if position else word})
    yield piece({}, _finish(said))
    if usage is not None:
        yield event([], usage=usage)
    yield b"data: [DONE]\n\n"


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _finish(said: _Said) -> str:
    return "stop" if said.call is None else "tool_calls"


def _too_long(window: int, prompt: int) -> str:
    return (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {prompt} tokens. "
        "Please reduce the length of the messages."
    )


def _refusal(status: int, message: str, code: str | None) -> WholeReply:
    error = {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}
    return WholeReply(status, _JSON, (orjson.dumps({"error": error}),))

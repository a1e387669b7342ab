"""A chat completion as the response that it stands for, whole and streamed. Pure.

The chat is listened to by its own shape: errors, breaks and usage are told there. Its deltas are written as the events
of a response (`composing.py`), and a whole one by the same hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from gateway.request import Request
from gateway.wire import lenient
from gateway.wire.chat.output import finish_of, spoken
from gateway.wire.chat.reasoning import joined_details
from gateway.wire.responses.chat_tools import CalledTool, custom_input, tools_in
from gateway.wire.responses.composing import Composer
from gateway.wire.responses.thinking import encrypted, joined_blocks
from gateway.wire.tool_members import member
from gateway.wire.usage import usage_from_openai

_ECHOED: Final = (
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "reasoning", "text"),
    *("temperature", "tool_choice", "tools", "top_p", "truncation", "user", "prompt_cache_key", "safety_identifier"),
    *("top_logprobs",),
)
"""Members of a request that its response repeats."""
_DEFAULTS: Final[Mapping[str, Any]] = {
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
_REASONS: Final[Mapping[str, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""The reason of an incomplete response, by the finish reason of a chat."""


class Translation:
    """One response that is made of a chat's chunks."""

    __slots__ = ("_base", "_calls", "_composer", "_finish", "_request", "_thinking", "_tools", "_usage")

    def __init__(self, request: Request) -> None:
        """Begin an answer to a request."""
        self._request, self._tools = request, tools_in(request)
        self._composer: Composer | None = None
        self._base = ""
        self._calls: dict[object, _Call] = {}
        self._finish: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._thinking = _Thinking()

    def take(self, fields: Mapping[str, Any]) -> bytes:
        """Take in one chunk; return the events that it becomes."""
        composer, out = self._composer, b""
        if composer is None:
            composer = self._composer = Composer(self._head(fields))
            out = composer.begin()
        if isinstance(usage := fields.get("usage"), dict):
            self._usage = usage
        choices = fields.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        self._finish = finish_of(first) or self._finish
        delta = first.get("delta")
        if not isinstance(delta, dict):
            delta = first.get("message")
        return out + (self._take_delta(composer, delta) if isinstance(delta, dict) else b"")

    def end(self, usage: Mapping[str, Any] | None = None) -> bytes:
        """Write what ends the response."""
        composer = self._composer
        if composer is None:
            composer = self._composer = Composer(self._head({}))
        reason = _REASONS.get(self._finish or "")
        status = "completed" if reason is None else "incomplete"
        out = self._close_thinking(composer) + self._write_customs(composer, is_over=True) + composer.close_all(status)
        ended: dict[str, Any] = {"status": status, "usage": _usage(usage or self._usage)}
        if reason is not None:
            ended["incomplete_details"] = {"reason": reason}
        return out + composer.end(ended)

    def whole(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a whole chat completion as a response."""
        self.take(fields)
        self.end()
        return {} if self._composer is None else self._composer.whole

    def _head(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        created, request = fields.get("created"), self._request
        seed = f"{fields.get('id')} {created}".encode(errors="replace")
        self._base = blake2b(seed + request.body, digest_size=16).hexdigest()
        echoed = {name: held for name in _ECHOED if (held := member(request, name)) is not None}
        tier = fields.get("service_tier")
        return {
            "id": f"resp_{self._base}",
            "object": "response",
            "created_at": created if isinstance(created, int) else 0,
            "model": request.model,
            **_DEFAULTS,
            **echoed,
            "service_tier": tier if isinstance(tier, str) else member(request, "service_tier"),
        }

    # ------------------------------------------------------------ what the model says

    def _take_delta(self, composer: Composer, delta: Mapping[str, Any]) -> bytes:
        out = self._think(composer, delta)
        for text in spoken(_without_thinking(delta.get("content"))):
            out += self._close_thinking(composer) + self._say(composer, "output_text", text)
        for text in spoken(delta.get("refusal")):
            out += self._close_thinking(composer) + self._say(composer, "refusal", text)
        calls = delta.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                out += self._close_thinking(composer) + self._call(composer, number, call)
        return out

    def _think(self, composer: Composer, delta: Mapping[str, Any]) -> bytes:
        texts = self._thinking.take(delta)
        if not texts and not self._thinking.is_new:
            return b""
        out = b""
        if not composer.is_open("reasoning"):
            out = self._write_customs(composer)
            item = {"id": self._id("rs", composer), "type": "reasoning", "summary": []}
            out += composer.open("reasoning", item)
            self._thinking.is_new = False
        return out + b"".join([composer.think("reasoning", text) for text in texts])

    def _close_thinking(self, composer: Composer) -> bytes:
        if not composer.is_open("reasoning"):
            return b""
        composer.amend("reasoning", {"encrypted_content": encrypted(self._thinking.members())})
        self._thinking = _Thinking()
        return composer.close("reasoning")

    def _say(self, composer: Composer, part: Any, text: str) -> bytes:
        out = b""
        if not composer.is_open("message"):
            out = self._write_customs(composer)
            item = {"id": self._id("msg", composer), "type": "message", "role": "assistant"}
            out += composer.open("message", {**item, "status": "in_progress", "content": []})
        return out + composer.say("message", part, text)

    def _call(self, composer: Composer, number: int, piece: Mapping[str, Any]) -> bytes:
        index = piece.get("index")
        key = index if isinstance(index, int) else number
        function = piece.get("function")
        said = function if isinstance(function, dict) else {}
        call = self._calls.get(key)
        out = b""
        if call is None or (isinstance(piece.get("id"), str) and piece["id"] and call.id not in ("", piece["id"])):
            call = self._calls[key] = _Call(str(piece.get("id") or ""))
        call.id = call.id or str(piece.get("id") or "")
        if isinstance(said.get("name"), str) and not call.is_open:
            call.name += said["name"]
        if isinstance(said.get("arguments"), str):
            call.arguments += said["arguments"]
        elif isinstance(said.get("arguments"), dict):
            call.arguments += lenient.write(said["arguments"]).decode()
        if not call.is_open and call.name:
            out += self._open_call(composer, call)
        return out + self._write_call(composer, call)

    def _open_call(self, composer: Composer, call: _Call) -> bytes:
        out = self._write_customs(composer)
        call.tool, call.is_open = self._tools.called(call.name), True
        call.id = call.id or f"call_{self._base[:20]}{len(composer.output)}"
        kind, member_of, start = (
            ("custom_tool_call", "input", "ctc") if call.tool.is_custom else ("function_call", "arguments", "fc")
        )
        item: dict[str, Any] = {"id": self._id(start, composer), "type": kind, "call_id": call.id}
        item |= {"name": call.tool.name, member_of: ""}
        item |= {"namespace": call.tool.namespace} if call.tool.namespace else {}
        return out + composer.open(call, item if call.tool.is_custom else {**item, "status": "in_progress"})

    def _write_call(self, composer: Composer, call: _Call) -> bytes:
        """Write what is new of a call's arguments; those of a custom tool at its end, once they can be read."""
        if not call.is_open or call.tool.is_custom or call.written == len(call.arguments):
            return b""
        new, call.written = call.arguments[call.written :], len(call.arguments)
        return composer.call(call, new) if composer.is_open(call) else b""

    def _write_customs(self, composer: Composer, *, is_over: bool = False) -> bytes:
        """Write the inputs of custom tools that are complete, as far as anybody can tell."""
        out = b""
        for call in self._calls.values():
            waits = call.is_open and call.tool.is_custom and composer.is_open(call) and not call.written
            if waits and (is_over or call.is_complete):
                call.written = len(call.arguments)
                out += composer.call(call, custom_input(call.arguments))
        return out

    def _id(self, start: str, composer: Composer) -> str:
        return f"{start}_{self._base}{len(composer.output):x}"


class _Call:
    """A call that is being written."""

    __slots__ = ("arguments", "id", "is_open", "name", "tool", "written")

    def __init__(self, call_id: str) -> None:
        self.id, self.name, self.arguments = call_id, "", ""
        self.is_open, self.written = False, 0
        self.tool = CalledTool("")

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are all here, as far as anybody can tell."""
        return isinstance(lenient.read(self.arguments.encode("utf-8", "surrogatepass")), dict)


class _Thinking:
    """The reasoning of one message, in all the members that chats have for it."""

    __slots__ = ("_blocks", "_details", "_text", "is_new")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._blocks: list[Any] = []
        self._details: list[Any] = []
        self.is_new = False
        """True if some of it has come and no item stands for it yet."""

    def take(self, delta: Mapping[str, Any]) -> list[str]:
        """Take in a delta; return the texts in it."""
        said = delta.get("reasoning_content") or delta.get("reasoning")
        texts = [*spoken(said), *spoken(_thinking_of(delta.get("content")))]
        self._text += texts
        blocks, details = delta.get("thinking_blocks"), delta.get("reasoning_details")
        self._blocks += blocks if isinstance(blocks, list) else []
        self._details += details if isinstance(details, list) else []
        self.is_new = bool(texts or blocks or details)
        return texts

    def members(self) -> dict[str, Any]:
        """Return the members of a chat's message that hold it."""
        out: dict[str, Any] = {"reasoning_content": "".join(self._text)} if self._text else {}
        if self._blocks:
            out["thinking_blocks"] = joined_blocks(self._blocks)
        return out | ({"reasoning_details": joined_details(self._details)} if self._details else {})


def _thinking_of(content: Any) -> list[Any]:
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") == "thinking"]


def _without_thinking(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [part for part in content if not (isinstance(part, dict) and part.get("type") == "thinking")]


def _usage(stated: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Write the usage of a chat as that of a response."""
    used = usage_from_openai(stated)
    if used is None:
        return None
    return {
        "input_tokens": used.prompt,
        "input_tokens_details": {"cached_tokens": used.cached, "cache_write_tokens": used.cache_write},
        "output_tokens": used.completion,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.prompt + used.completion,
    }

"""A Responses request as a chat completion, for a deployment that speaks no Responses. Pure.

Items become messages: a call stands in the assistant's message before it, results follow at once, reasoning that was
given by such a deployment goes back as it came. Members that mean the same in both APIs go along
(platform.openai.com/docs/guides/migrate-to-responses); `member_unsaid` names what no chat can say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from gateway.conversation import Changes, sent_messages
from gateway.request import Marks, Request
from gateway.wire.chat.read import parse as parse_chat
from gateway.wire.chat.write import sent as sent_chat
from gateway.wire.lexical import value
from gateway.wire.memo import Memo
from gateway.wire.outgoing import PLAIN, Additions
from gateway.wire.responses.chat_parts import chat_content, chat_result, refusal_in
from gateway.wire.responses.chat_tools import ChatTools, chat_choice, chat_tools, tools_in, untranslatable_tool
from gateway.wire.responses.items import CALLS, RESULTS, item_kind
from gateway.wire.responses.read import ELSEWHERE, ResponsePlaces
from gateway.wire.responses.thinking import thinking_in
from gateway.wire.responses.write import LIMIT, message_left
from gateway.wire.tool_members import member

_ALIKE: Final = (
    *("temperature", "top_p", "parallel_tool_calls", "user", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "service_tier", "stream"),
)
"""Members that chat completions have too, and mean the same by."""
_LIMIT_OF_CHATS: Final = "max_tokens"

ChatMessage = dict[str, Any]


@dataclass(slots=True)
class _Chat:
    """The messages of a chat, put together item by item."""

    tools: ChatTools
    written: list[ChatMessage] = field(default_factory=list)
    ends: list[ChatMessage | None] = field(default_factory=list)
    """The last message behind each of the request's messages, as they leave."""
    thinking: Mapping[str, Any] = field(default_factory=dict)
    """The reasoning that belongs to the next message of the assistant."""

    def say(self, role: str, content: Any) -> None:
        """Add a message."""
        self.written.append({"role": role, "content": content})

    def end(self) -> None:
        """Note that one message of the request is all here."""
        self.ends.append(self.written[-1] if self.written else None)

    def add(self, item: Mapping[str, Any]) -> None:
        """Add one item; what only its provider understands is left out."""
        kind = item_kind(item)
        if kind == "reasoning":
            self.thinking = thinking_in(item)
        elif kind == "message":
            self._add_message(item)
        elif kind in CALLS and isinstance(item.get("call_id"), str):
            self._assistant().setdefault("tool_calls", []).append(self.tools.call(item, kind))
        elif kind in RESULTS and isinstance(item.get("call_id"), str):
            self.written.append(
                {"role": "tool", "tool_call_id": item["call_id"], "content": chat_result(item.get("output"))}
            )
        elif kind == "mcp_call":
            self._add_served_call(item)

    def _add_message(self, item: Mapping[str, Any]) -> None:
        role, content = item.get("role"), item.get("content")
        role = "system" if role == "developer" else role
        message: ChatMessage = {"role": role, "content": chat_content(content, is_users=role == "user")}
        if role == "assistant":
            refusal = refusal_in(content)
            message |= {**self.thinking, **({"refusal": refusal} if refusal else {})}
        self.thinking = {}
        self.written.append(message)

    def _assistant(self) -> ChatMessage:
        """Return the assistant's message that calls stand in: the last one, or a new one."""
        last = self.written[-1] if self.written else {}
        if last.get("role") == "assistant" and not self.thinking:
            return last
        self.written.append({"role": "assistant", "content": None, **self.thinking})
        self.thinking = {}
        return self.written[-1]

    def _add_served_call(self, item: Mapping[str, Any]) -> None:
        """Add a call that the provider made and answered by itself, as one of the client's."""
        call_id, name = str(item.get("id") or "call_served"), str(item.get("name") or "mcp_call")
        function = {"name": name, "arguments": str(item.get("arguments") or "{}")}
        call = {"id": call_id, "type": "function", "function": function}
        self._assistant().setdefault("tool_calls", []).append(call)
        said = item.get("output") or item.get("error") or ""
        content = said if isinstance(said, str) else orjson.dumps(said).decode()
        self.written.append({"role": "tool", "tool_call_id": call_id, "content": content})


def as_chat(
    request: Request,
    model: str,
    changes: Changes | None = None,
    marks: Marks | None = None,
    additions: Additions = PLAIN,
) -> bytes:
    """Write the request as a chat completion for a deployment."""
    chat = _chat(request, changes)
    messages = _in_order(chat.written)
    body = {"model": request.model, "messages": messages, **_settings(request)}
    read = parse_chat(orjson.dumps(body), Memo(0))
    return sent_chat(read, model, None, None if marks is None else _marks(marks, chat, messages), additions)


def _chat(request: Request, changes: Changes | None) -> _Chat:
    """Turn the messages, as they leave, into those of a chat."""
    places: ResponsePlaces = request.original
    out = _Chat(tools_in(request))
    for index in sent_messages(changes, len(places.messages)):
        if index < 0:
            assert changes is not None
            out.say("user", changes.inserted[-1 - index].text)
        elif changes is None or index not in changes.unreasoned or not request.conversation.messages[index].reasons:
            raw = request.body[slice(*places.messages[index])]
            read = value(raw if changes is None else message_left(raw, changes, index))
            if isinstance(read, str):
                out.say("system" if index < places.instructions else "user", read)
            else:
                out.add(read)
        out.end()
    return out


def _in_order(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Put each result right behind its call: Responses take it anywhere after that, chats do not."""
    results: dict[int, list[ChatMessage]] = {}
    open_calls: dict[str, int] = {}
    moved: set[int] = set()
    for number, message in enumerate(messages):
        for call in message.get("tool_calls", ()):
            open_calls[call["id"]] = number
        caller = open_calls.pop(message["tool_call_id"], None) if message["role"] == "tool" else None
        if caller is not None:
            results.setdefault(caller, []).append(message)
            moved.add(number)
    out: list[ChatMessage] = []
    for number, message in enumerate(messages):
        if number not in moved:
            out += [message, *results.get(number, ())]
    return out


def _marks(marks: Marks, chat: _Chat, messages: Sequence[ChatMessage]) -> Marks:
    """Give each mark the number of the chat's messages up to its place."""
    number = {id(message): link for link, message in enumerate(messages, 1)}
    places = {}
    for link, lifetime in marks.places.items():
        last = chat.ends[link - 1] if 0 < link <= len(chat.ends) else None
        places[0 if last is None else number[id(last)]] = lifetime
    return replace(marks, places=places)


def _settings(request: Request) -> dict[str, Any]:
    """Write the members beside the messages."""
    out = {name: held for name in _ALIKE if (held := member(request, name)) is not None}
    if tools := chat_tools(request):
        out["tools"] = tools
        if (choice := chat_choice(member(request, "tool_choice"))) is not None:
            out["tool_choice"] = choice
    else:
        out.pop("parallel_tool_calls", None)
    if (limit := member(request, LIMIT)) is not None:
        out[_LIMIT_OF_CHATS] = limit
    reasoning, text = member(request, "reasoning"), member(request, "text")
    if isinstance(reasoning, dict) and reasoning.get("effort") is not None:
        out["reasoning_effort"] = reasoning["effort"]
    if isinstance(text, dict):
        out |= {"verbosity": text["verbosity"]} if text.get("verbosity") is not None else {}
        out |= _form(text.get("format"))
    return out


def _form(wanted: Any) -> dict[str, Any]:
    """Write the form of the answer."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        schema = {name: held for name, held in wanted.items() if name != "type" and held is not None}
        return {"response_format": {"type": kind, "json_schema": schema}}
    return {"response_format": {"type": kind}} if kind == "json_object" else {}


def member_unsaid(request: Request) -> str | None:
    """Name the member of a request that no chat completion can say; None where there is none."""
    places: ResponsePlaces = request.original
    conversation = request.conversation
    if conversation.elsewhere in ELSEWHERE:
        return conversation.elsewhere
    if places.background:
        return "background"
    if (tool := untranslatable_tool(request)) is not None:
        return tool
    for index, message in enumerate(conversation.messages):
        is_away = message.role in ("user", "tool") and any(
            one.kind in ("image", "file") and (not one.data or (one.kind == "file" and one.data.startswith("http")))
            for one in message.media
        )
        if is_away:
            return f"{conversation.place(index)} (a file that the provider holds, or fetches)"
        if message.content == "other" and message.role == "developer" and not message.media:
            return f"{conversation.place(index)} (a compaction)"
    return None if conversation.elsewhere is None else "item_reference"

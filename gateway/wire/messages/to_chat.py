"""A Messages request as a chat completion, for a deployment that speaks no Messages. Pure.

A result becomes a message of its own, a call one of its assistant's, reasoning goes back as it was given. Members that
mean the same in both APIs go along; `unsaid_member` names what no chat can say. What only Claude takes (cache markers,
`thinking`, `top_k`) goes where the deployment takes it (`Additions.chats`); others are told an effort instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from gateway.conversation import Changes, sent_messages
from gateway.request import Marks, Request
from gateway.wire.chat.read import parse as parse_chat
from gateway.wire.chat.write import sent as sent_chat
from gateway.wire.lexical import value
from gateway.wire.memo import Memo
from gateway.wire.messages.blocks import CALL, RESULT, THINKING, block_text
from gateway.wire.messages.cache_marks import unmarked
from gateway.wire.messages.definitions import in_chats_form, is_clients, schema_of
from gateway.wire.messages.thoughts import as_members
from gateway.wire.messages.write import LIMIT, content_bytes
from gateway.wire.outgoing import PLAIN, Additions, ChatForm
from gateway.wire.tool_members import member

_ALIKE: Final = ("temperature", "top_p", "stream")
"""Members that chat completions have too, and mean the same by."""
_CLAUDES: Final = ("thinking", "top_k")
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_LONGEST_USER: Final = 64
"""Characters of `user` that OpenAI takes."""
_SPOKEN: Final = ("text", "image", "document", "search_result", CALL, RESULT, *THINKING)
"""Types of blocks that a chat can say."""
_ELSEWHERE: Final = ("mcp_servers", "container")

ChatMessage = dict[str, Any]


@dataclass(slots=True)
class _Chat:
    """The messages of a chat, put together one by one."""

    form: ChatForm
    written: list[ChatMessage] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """The number of the chat's messages up to the end of each of the request's, as they leave."""
    seen: list[Any] = field(default_factory=list)
    """The media of results, for deployments whose results are texts alone."""

    def add(self, role: str, content: Any) -> None:
        """Add a message of the request, by its content."""
        blocks = content if isinstance(content, list) else []
        if role == "tool" and blocks:
            self._add_result(blocks[0])
        elif role == "assistant":
            self._show()
            self.written.append(self._assistant(content))
        elif role == "system" and self.written and all(one["role"] == "system" for one in self.written):
            self._extend_system(content)
        else:
            said = self._content(content)
            self._show()
            self.written.append({"role": role, "content": said})
        self.ends.append(len(self.written))

    def finish(self) -> list[ChatMessage]:
        self._show()
        return self.written

    def _add_result(self, block: Mapping[str, Any]) -> None:
        content = block.get("content")
        said: Any = "" if content is None else self._content(content)
        if isinstance(said, list) and not self.form.is_claude:
            self.seen += [part for part in said if part["type"] != "text"]
            said = "\n".join([part["text"] for part in said if part["type"] == "text"])
        message = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": said}
        if self.form.takes_markers and "cache_control" in block:
            message["cache_control"] = block["cache_control"]
        self.written.append(message)

    def _show(self) -> None:
        """Put the media of results behind the last of them, said to be theirs."""
        if self.seen:
            told = {"type": "text", "text": "[The tool results above hold these:]"}
            self.written.append({"role": "user", "content": [told, *self.seen]})
            self.seen = []

    def _extend_system(self, content: Any) -> None:
        """Join a system text to the one before it: chats have one."""
        said, before = self._content(content), self.written[-1]["content"]
        if isinstance(said, str) and isinstance(before, str):
            self.written[-1]["content"] = f"{before}\n\n{said}"
        else:
            self.written[-1]["content"] = [*_parts(before), *_parts(said)]

    def _assistant(self, content: Any) -> ChatMessage:
        if not isinstance(content, list):
            return {"role": "assistant", "content": content}
        blocks = [block for block in content if isinstance(block, dict)]
        texts = [text for block in blocks if block.get("type") == "text" and (text := block_text(block))]
        calls = [
            {
                "id": block.get("id"),
                "type": "function",
                "function": {"name": block.get("name"), "arguments": orjson.dumps(block.get("input") or {}).decode()},
            }
            for block in blocks
            if block.get("type") == CALL
        ]
        message: ChatMessage = {"role": "assistant", "content": "\n".join(texts) if texts or not calls else None}
        message |= as_members([block for block in blocks if block.get("type") in THINKING])
        return message | ({"tool_calls": calls} if calls else {})

    def _content(self, content: Any) -> Any:
        """Write a content: as a string where it is text alone, and carries no marker that is taken."""
        if not isinstance(content, list):
            return content
        parts = [part for block in content if isinstance(block, dict) for part in self._block(block)]
        if all(part["type"] == "text" and "cache_control" not in part for part in parts):
            return "\n".join([part["text"] for part in parts])
        return parts

    def _block(self, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        marker = {"cache_control": block["cache_control"]} if "cache_control" in block else {}
        marker = marker if self.form.takes_markers else {}
        match block:
            case {"type": "image", "source": {"type": "base64", "data": str(data), **rest}}:
                url = f"data:{rest.get('media_type')};base64,{data}"
                yield {"type": "image_url", "image_url": {"url": url}, **marker}
            case {"type": "image", "source": {"type": "url", "url": url}}:
                yield {"type": "image_url", "image_url": {"url": url}, **marker}
            case {"type": "document", "source": {"type": "base64", "data": str(data), **rest}}:
                name = block.get("title") or "document.pdf"
                file = {"filename": name, "file_data": f"data:{rest.get('media_type')};base64,{data}"}
                yield {"type": "file", "file": file, **marker}
            case _:
                if (text := block_text(block)) is not None:
                    yield {"type": "text", "text": text, **marker}


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def as_chat(
    request: Request,
    model: str,
    changes: Changes | None = None,
    marks: Marks | None = None,
    additions: Additions = PLAIN,
) -> bytes:
    """Write the request as a chat completion for a deployment."""
    chat = _Chat(additions.chats)
    for index in sent_messages(changes, len(request.conversation.messages)):
        if index < 0:
            assert changes is not None
            chat.add("user", changes.inserted[-1 - index].text)
        else:
            role = request.conversation.messages[index].role
            content = value(content_bytes(request, index, changes))
            chat.add(role, content if chat.form.takes_markers else _plain(content))
    body = {"model": request.model, "messages": chat.finish(), **_settings(request, additions.chats)}
    read = replace(parse_chat(orjson.dumps(body), Memo(0)), asks_usage=False)
    if marks is not None:
        places = {chat.ends[link - 1] if link else 0: life for link, life in marks.places.items()}
        marks = replace(marks, places=places)
    return sent_chat(read, model, None, marks, additions)


def _plain(content: Any) -> Any:
    return unmarked(content) if isinstance(content, list) else content


def _settings(request: Request, form: ChatForm) -> dict[str, Any]:
    """Write the members beside the messages."""
    out = {name: held for name in _ALIKE if (held := member(request, name)) is not None}
    if form.is_claude:
        out |= {name: held for name in _CLAUDES if (held := member(request, name)) is not None}
    if (limit := request.answer_limit) is not None and member(request, LIMIT) is not None:
        out[form.limit] = limit if form.most_answer is None else min(limit, form.most_answer)
    if (stops := member(request, "stop_sequences")) is not None:
        out["stop"] = stops
    if request.user is not None and len(request.user) <= _LONGEST_USER:
        out["user"] = request.user
    if tools := member(request, "tools"):
        out["tools"] = [_tool(tool, form) for tool in tools]
        out |= _choice(member(request, "tool_choice"))
    config, thinking = member(request, "output_config"), member(request, "thinking")
    if form.takes_effort and not form.is_claude and (effort := _effort(config, thinking)) is not None:
        out["reasoning_effort"] = effort
    schema = schema_of({"output_config": config, "output_format": member(request, "output_format")})
    if schema is not None:
        wanted = {"name": "answer", "schema": schema, "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return out


_EFFORTS: Final = {"xhigh": "high", "max": "high"}
"""Efforts that not every model takes that reasons (platform.openai.com/docs/guides/reasoning)."""
_BUDGETS: Final = ((4_096, "low"), (16_384, "medium"))
"""Tokens below which a budget of thinking is an effort. Claude Code's own steps are 4,000, 10,000 and 32,000."""


def _effort(config: Any, thinking: Any) -> str | None:
    """Return how much is to be reasoned, in a chat's words; None where the model decides.

    platform.claude.com/docs/en/build-with-claude/effort, …/extended-thinking and …/adaptive-thinking
    """
    effort = config.get("effort") if isinstance(config, dict) else None
    if isinstance(effort, str):
        return _EFFORTS.get(effort, effort)
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "adaptive":
        return "medium"
    budget = thinking.get("budget_tokens") if kind == "enabled" else None
    if not isinstance(budget, int):
        return None
    return next((word for most, word in _BUDGETS if budget < most), "high")


def _tool(tool: Any, form: ChatForm) -> Any:
    written = in_chats_form(tool)
    kept = {"type", "function"} | ({"cache_control"} if form.takes_markers else set())
    return {name: held for name, held in written.items() if name in kept}


def _choice(choice: Any) -> dict[str, Any]:
    if not isinstance(choice, dict):
        return {}
    kind = choice.get("type")
    out: dict[str, Any] = {}
    if kind == "tool":
        out["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in _CHOICES:
        out["tool_choice"] = _CHOICES[kind]
    if choice.get("disable_parallel_tool_use") is True:
        out["parallel_tool_calls"] = False
    return out


# ---------------------------------------------------------------- what no chat can say


def unsaid_member(request: Request) -> str | None:
    """Name the member of a request that no chat completion can say; None where there is none."""
    for name in _ELSEWHERE:
        if member(request, name):
            return name
    for number, tool in enumerate(member(request, "tools") or ()):
        if not is_clients(tool):
            kind = tool.get("type") if isinstance(tool, dict) else None
            return f"tools[{number}] (a tool of Anthropic's own{f', {kind}' if isinstance(kind, str) else ''})"
    for index, message in enumerate(request.conversation.messages):
        if message.content != "other" and not any(_is_away(one.kind, one.data) for one in message.media):
            continue
        content = value(content_bytes(request, index))
        unsaid = next(_unsaid(content if isinstance(content, list) else []), None)
        if unsaid is not None:
            return f"{request.conversation.place(index)} ({unsaid})"
    return None


def _is_away(kind: str, data: str) -> bool:
    return not data or (kind == "file" and data.startswith("http"))


def _unsaid(content: Sequence[Any]) -> Iterator[str]:
    """Yield what of a content no chat can say."""
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in _SPOKEN:
            yield f"a block of type {str(kind)[:40]}"
            continue
        source = block.get("source")
        held = source.get("type") if kind in ("image", "document") and isinstance(source, dict) else None
        if held == "file" or (held == "url" and kind == "document"):
            yield "a file that the provider holds, or fetches"
        inner = block.get("content")
        if kind == RESULT and isinstance(inner, list):
            yield from _unsaid(inner)

"""Chat completions turned into Anthropic's Messages and back, for tests: a client's own way of saying the same.

A result is a block at the head of the next user message, where the user's words follow it. What Messages cannot say
(names of speakers, audio, legacy functions) makes a conversation `None`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Wire = dict[str, Any]
_MEMBERS = frozenset({"role", "content", "tool_calls", "tool_call_id"})


def compact(messages: Sequence[Wire]) -> list[Wire] | None:
    """Return a chat's messages with arguments as Messages carry them; None where Messages cannot say one of them."""
    out = []
    for message in messages:
        if message.keys() - _MEMBERS or message.get("role") not in ("system", "user", "assistant", "tool"):
            return None
        calls = []
        for call in message.get("tool_calls") or ():
            try:
                read = orjson.loads(call["function"]["arguments"])
                arguments = orjson.dumps(read).decode()
            except (orjson.JSONDecodeError, orjson.JSONEncodeError, KeyError, TypeError):
                return None
            if not isinstance(read, dict) or call.keys() != {"id", "type", "function"}:
                return None
            calls.append({**call, "function": {"name": call["function"].get("name"), "arguments": arguments}})
        parts = message.get("content")
        if isinstance(parts, list) and not all(_is_known(part) for part in parts):
            return None
        out.append({**message, "tool_calls": calls} if calls else message)
        if "tool_calls" in message and not calls:
            return None
    return out


def messages_of(chat: Mapping[str, Any], **members: Any) -> Wire:
    """Turn a chat completion into a Messages request."""
    listed: Sequence[Wire] = chat["messages"]
    head = next((at for at, one in enumerate(listed) if one["role"] != "system"), len(listed))
    system = [block for one in listed[:head] for block in _blocks(one["content"])]
    out: list[Wire] = []
    for message in listed[head:]:
        role, content = message["role"], message.get("content")
        if role == "tool":
            said = content if isinstance(content, str) else _blocks(content)
            block = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": said}
            if out and out[-1]["role"] == "user" and _holds_results(out[-1]):
                out[-1]["content"].append(block)
            else:
                out.append({"role": "user", "content": [block]})
        elif role == "user" and out and out[-1]["role"] == "user" and _holds_results(out[-1]):
            out[-1]["content"] += _blocks(content)
        elif message.get("tool_calls"):
            said = _blocks(content) if content else []
            out.append({"role": "assistant", "content": [*said, *map(_use, message["tool_calls"])]})
        else:
            out.append({"role": role, "content": content if isinstance(content, str) else _blocks(content)})
    body = {"model": chat["model"], "max_tokens": chat.get("max_tokens", 1), "messages": out, **members}
    if system:
        body["system"] = system
    if chat.get("tools"):
        body["tools"] = [_tool(one["function"]) for one in chat["tools"]]
    return body


def chat_of(body: Mapping[str, Any]) -> list[Wire]:
    """Turn the messages of a Messages request back into those of a chat."""
    system = body.get("system") or []
    out = [{"role": "system", "content": one["text"]} for one in system] if isinstance(system, list) else []
    out += [{"role": "system", "content": system}] if isinstance(system, str) else []
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        if isinstance(content, str):
            out.append({"role": role, "content": content})
            continue
        texts = [block["text"] for block in content if block["type"] == "text"]
        uses = [block for block in content if block["type"] == "tool_use"]
        out += [
            {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block.get("content", "")}
            for block in content
            if block["type"] == "tool_result"
        ]
        if uses:
            out.append({"role": role, "content": "\n".join(texts) or None, "tool_calls": [_call(use) for use in uses]})
        else:
            out += [{"role": role, "content": text} for text in texts]
    return out


def faults(body: Mapping[str, Any]) -> list[str]:
    """List what Anthropic's API would refuse in the messages of a request."""
    found: list[str] = []
    listed: Sequence[Wire] = body["messages"]
    if not listed or listed[0]["role"] != "user":
        found.append("the first message is not the user's")
    seen: set[str] = set()
    for at, message in enumerate(listed):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks or any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            found.append(f"messages[{at}] says nothing")
        uses = [block["id"] for block in blocks if block["type"] == "tool_use"]
        found += [f"messages[{at}] repeats {use}" for use in uses if use in seen]
        seen |= set(uses)
        following = listed[at + 1]["content"] if at + 1 < len(listed) else []
        behind = following if isinstance(following, list) else []
        count = len(uses)
        answers = [block.get("tool_use_id") for block in behind[:count] if block["type"] == "tool_result"]
        if sorted(uses) != sorted(map(str, answers)):
            found.append(f"messages[{at}] calls {uses} and is answered {answers}")
        results = [n for n, block in enumerate(blocks) if block["type"] == "tool_result"]
        before = listed[at - 1]["content"] if at else []
        own = [block["id"] for block in before if isinstance(block, dict) and block["type"] == "tool_use"]
        if results and (results != list(range(len(results))) or len(results) != len(own)):
            found.append(f"messages[{at}] has results that no call asks for, or behind other blocks")
    return found


def _holds_results(message: Wire) -> bool:
    return isinstance(message["content"], list) and any(one["type"] == "tool_result" for one in message["content"])


def _is_known(part: Any) -> bool:
    match part:
        case {"type": "text", "text": str(), **rest}:
            return not rest
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return url.startswith(("data:", "https://"))
    return False


def _blocks(content: Any) -> list[Wire]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else [_block(part) for part in content]


def _block(part: Wire) -> Wire:
    if part["type"] == "text":
        return part
    url: str = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _use(call: Mapping[str, Any]) -> Wire:
    function = call["function"]
    return {
        "type": "tool_use",
        "id": call["id"],
        "name": function["name"],
        "input": orjson.loads(function["arguments"]),
    }


def _call(use: Mapping[str, Any]) -> Wire:
    function = {"name": use["name"], "arguments": orjson.dumps(use["input"]).decode()}
    return {"id": use["id"], "type": "function", "function": function}


def _tool(function: Mapping[str, Any]) -> Wire:
    named = {"name": function["name"], "description": function.get("description")}
    tool = {name: held for name, held in named.items() if held is not None}
    return {**tool, "input_schema": function.get("parameters", {})}

"""Chat transcripts as Responses items, and items as a chat again: for what is to hold in both shapes alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def as_items(chat: Mapping[str, Any]) -> Json:
    """Write a chat request as a Responses request: the first leading system text as instructions, the rest as items."""
    messages = list(chat["messages"])
    body: Json = {name: held for name, held in chat.items() if name in ("model", "stream", "user", "metadata")}
    if messages and messages[0]["role"] == "system" and isinstance(messages[0].get("content"), str):
        body["instructions"] = messages.pop(0)["content"]
    body["input"] = [item for message in messages for item in _items(message)]
    if chat.get("tools"):
        body["tools"] = [{"type": "function", **tool["function"]} for tool in chat["tools"]]
    limit = chat.get("max_completion_tokens") or chat.get("max_tokens")
    if limit is not None:
        body["max_output_tokens"] = limit
    form = chat.get("response_format")
    if isinstance(form, dict):
        body["text"] = {"format": {"type": form["type"], **form.get("json_schema", {})}}
    return body


def _items(message: Mapping[str, Any]) -> list[Json]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": _parts(content, role)}]
    calls = [
        {"type": "function_call", "call_id": call["id"], **call["function"]} for call in message.get("tool_calls") or ()
    ]
    says = content or not calls
    return [*([{"role": role, "content": _parts(content or "", role)}] if says else []), *calls]


def _parts(content: Any, role: str) -> Any:
    if not isinstance(content, list):
        return content or ""
    kind = "output_text" if role == "assistant" else "input_text"
    out: list[Json] = []
    for part in content:
        if part.get("type") == "image_url":
            image = part["image_url"]
            out.append(
                {"type": "input_image", "image_url": image["url"]}
                | ({"detail": image["detail"]} if "detail" in image else {})
            )
        elif part.get("type") == "file":
            out.append({"type": "input_file", **part["file"]})
        else:
            out.append({**part, "type": kind} if part.get("type") == "text" else dict(part))
    return out


def as_messages(body: Mapping[str, Any]) -> list[Json]:
    """Read the items of a Responses request as the messages of a chat."""
    out: list[Json] = []
    if body.get("instructions"):
        out.append({"role": "system", "content": body["instructions"]})
    for item in body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]:
        kind = item.get("type", "message")
        if kind == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            if not out or out[-1]["role"] != "assistant":
                out.append({"role": "assistant", "content": None})
            call = {"id": item["call_id"], "type": "function", "function": function}
            out[-1].setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            out.append({"role": "tool", "tool_call_id": item["call_id"], "content": _chat_parts(item["output"])})
        elif kind == "message":
            out.append({"role": item["role"], "content": _chat_parts(item["content"])})
    return out


def _chat_parts(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    out: list[Json] = []
    for part in content:
        match part:
            case {"type": "input_text" | "output_text"}:
                out.append({**part, "type": "text"})
            case {"type": "input_image"}:
                image = {"url": part["image_url"]} | ({"detail": part["detail"]} if "detail" in part else {})
                out.append({"type": "image_url", "image_url": image})
            case {"type": "input_file"}:
                out.append({"type": "file", "file": {name: held for name, held in part.items() if name != "type"}})
            case _:
                out.append(part)
    return out


def texts_of(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the text of each message, as one."""
    found = []
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content or ""}]
        found.append("\n".join([str(part.get("text", "")) for part in parts]))
    return found

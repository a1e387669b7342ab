"""The content of an item as that of a chat's message. Pure and total."""

from __future__ import annotations

from typing import Any, Final

import orjson

_TEXTS: Final = ("input_text", "output_text", "text", "summary_text")


def chat_content(content: Any, *, is_users: bool) -> Any:
    """Write a content: as one text where it is nothing but text and nobody but a user may send parts."""
    if not isinstance(content, list):
        return "" if content is None else content
    texts = [part["text"] for part in content if _is_text(part)]
    spoken = [part for part in content if not _refuses(part)]
    if len(texts) == len(spoken) and (not is_users or len(texts) == 1):
        return "\n".join(texts)
    return [_part(part) for part in spoken]


def chat_result(output: Any) -> Any:
    """Write what a tool gave."""
    if isinstance(output, str):
        return output
    if isinstance(output, dict) and "image_url" in output:
        return [_part({**output, "type": "input_image"})]
    if not isinstance(output, list):
        return "" if output is None else orjson.dumps(output).decode()
    if all(isinstance(part, dict) and "type" in part for part in output):
        return chat_content(output, is_users=False)
    return "\n".join([_printed(part) for part in output])


def refusal_in(content: Any) -> str:
    """Return the words of a refusal in a content."""
    parts = content if isinstance(content, list) else []
    return "\n".join([str(part.get("refusal") or "") for part in parts if _refuses(part)])


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)


def _refuses(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "refusal"


def _part(part: Any) -> Any:
    match part:
        case {"type": kind, "text": str(text)} if kind in _TEXTS:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            detail = {"detail": part["detail"]} if isinstance(part.get("detail"), str) else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case {"type": "input_file", "file_data": str(data)}:
            return {"type": "file", "file": {"filename": part.get("filename") or "file", "file_data": data}}
    return part


def _printed(part: Any) -> str:
    """Return what a command of a shell printed, or all that stands there."""
    fields = part if isinstance(part, dict) else {}
    texts = [fields[name] for name in ("stdout", "stderr") if isinstance(fields.get(name), str)]
    return "".join(texts) if texts else orjson.dumps(part).decode()

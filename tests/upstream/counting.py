"""How this provider counts a prompt: o200k text, 4 a message, 8 a call, 1 a name, tools as minified JSON. Pure.

The encodings are read from litellm's wheel, found without importing litellm, so that nothing is fetched.
"""

import functools
import importlib.util
import json
import os
from pathlib import Path
from typing import Any


@functools.lru_cache(1)
def _encoding() -> Any:
    """Load o200k_base when a text is counted for the first time: it takes half a second."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("litellm is not installed; the encodings are read from its wheel")
    folder = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))
    import tiktoken

    return tiktoken.get_encoding("o200k_base")


@functools.lru_cache(20_000)
def text_tokens(text: str) -> int:
    """Count a text with o200k_base; special tokens are plain text here."""
    return len(_encoding().encode_ordinary(text))


def content_text(message: dict[str, Any]) -> str:
    """The text of a message: its content, or its text parts one per line."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return ""


def message_tokens(message: dict[str, Any]) -> int:
    """Count one message with what it calls."""
    tokens = 4 + text_tokens(content_text(message))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        tokens += 8 + text_tokens(function["name"]) + text_tokens(function.get("arguments") or "")
    if message.get("name"):
        tokens += 1 + text_tokens(message["name"])
    return tokens


def prompt_tokens(body: dict[str, Any]) -> int:
    """Count a request: 3 to begin with, the tools, and every message."""
    tools = body.get("tools")
    minified = json.dumps(tools, ensure_ascii=False, separators=(",", ":")) if tools else ""
    return 3 + text_tokens(minified) + sum(message_tokens(message) for message in body["messages"])

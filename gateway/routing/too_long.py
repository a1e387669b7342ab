"""Whether an upstream's error says that the request is too long, and by what count.

Pure. Providers agree on the status (400, or 413) and on little else: OpenAI and most compatible engines set the code,
the others are known by their wording. Each pattern below names where it was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import orjson


@dataclass(frozen=True, slots=True)
class TooLong:
    """What the upstream counted and what it takes, where it says so."""

    tokens: int | None
    limit: int | None


_CODE: Final = "context_length_exceeded"
_N: Final = r"([\d][\d,_]*)"

_WORDINGS: Final[tuple[tuple[re.Pattern[str], int | None, int | None], ...]] = tuple(
    (re.compile(wording, re.IGNORECASE), tokens, limit)
    for wording, tokens, limit in (
        # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum" (docs.claude.com/en/api/errors)
        (rf"prompt is too long: {_N} tokens > {_N} maximum", 1, 2),
        # Anthropic: "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000, decrease …"
        (rf"exceed context limit: {_N} \+ [\d,_]+ > {_N}", 1, 2),
        # Gemini: "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        (rf"input token count \(?{_N}\)? exceeds the maximum number of tokens allowed \(?{_N}", 1, 2),
        # OpenAI, vLLM: "maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the …"
        (rf"maximum context length is {_N} tokens.*?\({_N} (?:in the|from the|input|prompt|of text)", 2, 1),
        # OpenAI: "… However, your messages resulted in 9000 tokens"; vLLM: "your request has 9000 input tokens"
        (rf"maximum context length is {_N} tokens.*?(?:resulted in|request has|requested)[^\d]*{_N}", 2, 1),
        (rf"maximum context length is {_N}", None, 1),
        # llama.cpp: "the request exceeds the available context size. try increasing …"
        (r"exceeds the available context size", None, None),
        # OpenAI: "Your input exceeds the context window of this model."; Bedrock: "Input is too long …"
        (r"exceeds the context window|input is too long|prompt is too long|too many (?:input )?tokens in", None, None),
    )
)


def too_long(status: int, body: bytes) -> TooLong | None:
    """Read an error answer; None where it is about something else."""
    if status not in {400, 413, 422}:
        return None
    message, code = _error(body)
    for pattern, tokens, limit in _WORDINGS:
        if found := pattern.search(message):
            return TooLong(_number(found, tokens), _number(found, limit))
    return TooLong(None, None) if code == _CODE else None


def _error(body: bytes) -> tuple[str, str | None]:
    """Return message and code of an error body in any of the shapes in use; unreadable ones are their own message."""
    try:
        data: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:2000].decode(errors="replace"), None
    if isinstance(data, list) and data:
        data = data[0]
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return str(error)[:2000], None
    code = error.get("code")
    return str(error.get("message") or "")[:2000], code if isinstance(code, str) else None


def _number(found: re.Match[str], group: int | None) -> int | None:
    return None if group is None else int(re.sub(r"\D", "", found.group(group)))

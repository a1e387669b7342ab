"""Whether a chunk says anything that a client waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_OUTPUT: Final = (
    "content",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "refusal",
    "tool_calls",
    "function_call",
    "audio",
    "images",
)
"""Members of a delta in which a model speaks. Roles, usage, filters' verdicts and ids are none."""


def has_output(fields: Mapping[str, Any]) -> bool:
    """Whether a chunk holds text, reasoning, a refusal, a call, audio, an image or a finish reason."""
    choices = fields.get("choices")
    listed = choices if isinstance(choices, list) else ()
    return any(finish_of(one) is not None or speaks(one) for one in listed if isinstance(one, dict))


def speaks(choice: Mapping[str, Any]) -> bool:
    """Whether a model says something in a choice."""
    if choice.get("text"):
        return True
    said = choice.get("delta")
    if not isinstance(said, dict):
        said = choice.get("message")
    return isinstance(said, dict) and any(_says_something(said[name]) for name in _OUTPUT if said.get(name))


def _says_something(said: object) -> bool:
    """Whether a member has more in it than parts without content."""
    if isinstance(said, list):
        return any(
            any(v for name, v in one.items() if name != "type") if isinstance(one, dict) else one for one in said
        )
    return bool(said)


def finish_of(choice: Mapping[str, Any]) -> str | None:
    """Return a choice's finish reason; an empty one is none."""
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason else None


def spoken(said: object) -> Iterator[str]:
    """Yield the texts of a content: a string, or parts of text and thinking, as Mistral sends them."""
    if isinstance(said, list):
        for part in said:
            yield from spoken(part.get("text") or part.get("thinking") if isinstance(part, dict) else part)
    elif isinstance(said, str) and said:
        yield said

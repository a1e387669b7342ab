"""The remedy for the same result twice, or nearly so: the older becomes a pointer to the newer."""

from __future__ import annotations


def pointer(tool: str, call_id: str) -> str:
    """Say which later result is the same; call ids stay true when messages move."""
    return f"[same as {_later(tool, call_id)}]"


def nearly(tool: str, call_id: str, changes: str) -> str:
    """Say which later result is nearly the same, and what was different in this one."""
    return f"[as {_later(tool, call_id)}, but for what follows]\n{changes.partition(chr(10))[2]}"


def _later(tool: str, call_id: str) -> str:
    """Name a result by its call; a tool's output that stands as a user message has none."""
    return f"the later result of {tool}, call {call_id}" if call_id else "a later result"

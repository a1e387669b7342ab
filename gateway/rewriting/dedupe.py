"""The remedy for the same result twice: the older becomes a pointer to the newer."""

from __future__ import annotations


def pointer(tool: str, call_id: str) -> str:
    """Say which later result is the same; call ids stay true when messages move."""
    return f"[same as the later result of {tool}, call {call_id}]"

"""The last remedy for history: the oldest units are left out whole, and one line says so."""

from __future__ import annotations


def placeholder(messages: int, tokens: int, *, holds: bool = False) -> str:
    """Write the line that stands where messages of so many tokens were left out; `holds` where a list follows."""
    what = "1 earlier message" if messages == 1 else f"{messages} earlier messages"
    more = "; what only they held, by message]" if holds else " to fit the context window]"
    return f"[{what} ({tokens:,} tokens) left out here{more}"

"""The remedy that leaves one line of a tool result: tool, size, first telling line, where it went."""

from __future__ import annotations

_MOST_CHARACTERS = 120
_LEAST_LETTERS = 3
_LINES_LOOKED_AT = 40


def stub(tool: str, tokens: int, text: str) -> str:
    """Write the line that stands for a result of so many tokens."""
    began = f', began "{line}"' if (line := telling_line(text)) else ""
    return f"[result of {tool}: {tokens:,} tokens{began}; left out to make room, call {tool} again to see it]"


def telling_line(text: str) -> str:
    """Find the first line that says something: brackets, rules and blank lines do not."""
    start = text[: _MOST_CHARACTERS * _LINES_LOOKED_AT]
    for line in start.splitlines()[:_LINES_LOOKED_AT]:
        if sum(map(str.isalnum, line[:_MOST_CHARACTERS])) >= _LEAST_LETTERS:
            said = " ".join(line.split())
            return said if len(said) <= _MOST_CHARACTERS else said[:_MOST_CHARACTERS].rstrip() + "…"
    return ""

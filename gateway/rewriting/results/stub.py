"""The remedy that leaves one line of a tool result: tool, size, and how the result began."""

from __future__ import annotations

import json
import re

_MOST_CHARACTERS = 120
_WORD_END = re.compile(r" |[\u3002\uff0c\u3001\uff1b\uff1a\uff01\uff1f]")
_LEAST_LETTERS = 3
_LINES_LOOKED_AT = 40


def stub(tool: str, tokens: int, text: str) -> str:
    """Write the line that stands for a result of so many tokens; `tool` is empty where no call is known.

    It says that the result is left out, never how to get it: a call that did something is not to be made twice.
    """
    line = telling_line(text)
    whole = _begun(line)
    began = f"; began {json.dumps(whole, ensure_ascii=False)}{'' if whole == line else ' …'}" if whole else ""
    return f"[{f'result of {tool}' if tool else 'result'}: {tokens:,} tokens left out{began}]"


def telling_line(text: str) -> str:
    """Find the first line that says something; brackets, rules and blank lines do not."""
    start = text[: _MOST_CHARACTERS * _LINES_LOOKED_AT]
    for line in start.splitlines()[:_LINES_LOOKED_AT]:
        if sum(map(str.isalnum, line[:_MOST_CHARACTERS])) >= _LEAST_LETTERS:
            return " ".join(line.split())
    return ""


def _begun(line: str) -> str:
    """Cut a line that is too long between words; where its first word is, nothing is left."""
    if len(line) <= _MOST_CHARACTERS:
        return line
    ends = [found.end() for found in _WORD_END.finditer(line, 0, _MOST_CHARACTERS + 1)]
    return line[: ends[-1]].rstrip() if ends else ""

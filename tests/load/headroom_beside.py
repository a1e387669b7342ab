"""Shorten texts with headroom-ai: a JSON string a line in, a JSON string a line out.

Run by crushing.py with an interpreter that has headroom-ai installed; imports nothing of this project. Each text is
given as the result of one call between two user messages, with the library's defaults.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any


def messages_around(text: str) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": text},
        {"role": "user", "content": "next"},
    ]


def main() -> None:
    # Whatever the library prints goes to stderr, so that our lines stay alone.
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    compress = import_module("headroom").compress
    for line in sys.stdin:
        text = json.loads(line)
        answer = compress(messages_around(text), model="gpt-4o")
        left = next(m["content"] for m in getattr(answer, "messages", answer) if m.get("role") == "tool")
        ours.write(json.dumps(left) + "\n")
        ours.flush()


if __name__ == "__main__":
    main()

"""The checks of one program: each prints a line of JSON, `{"check", "ok", "note"}`."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from typing import Any

ROOT = os.environ["GATEWAY_ROOT"]
KEY = os.environ["GATEWAY_KEY"]
MODEL = os.environ.get("GATEWAY_MODEL", "gpt-5")
CLAUDE = os.environ.get("GATEWAY_CLAUDE", "claude-sonnet-5")
DEMO = os.environ.get("GATEWAY_DEMO", "demo")
QUESTION = "What is the capital of France?"
TOOL_QUESTION = "Use the tool: look up number 1."
WORDS = ["amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "joule"]

_CHECKS: list[tuple[str, Callable[[], Any]]] = []


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """Register a check by the name of its function."""
    _CHECKS.append((function.__name__, function))
    return function


def task(name: str) -> str:
    """Write a task of twenty steps for the model that works."""
    letters = "".join(character for character in name.lower() if character.isalnum())
    run = f"run-{letters}{random.randrange(16**6):06x}"
    return f"Look up the numbers of {run} one by one with the tool, until the model says that it is done."


def looked_up(number: int) -> str:
    """Return a long result, another for each number."""
    draw = random.Random(number)
    return f"number {number}: " + " ".join(draw.choices(WORDS, k=900))


def main() -> None:
    """Run all checks."""
    wanted = set(sys.argv[1:])
    for name, function in _CHECKS:
        if wanted and name not in wanted:
            continue
        try:
            note = function()
            if inspect.iscoroutine(note):
                note = asyncio.run(note)
            line = {"check": name, "ok": True, "note": str(note or "")[:120]}
        except Exception as error:  # noqa: BLE001  # whatever a program raises is its result
            traceback.print_exc(file=sys.stderr)
            line = {"check": name, "ok": False, "note": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps(line), flush=True)

"""The demo's conversation as requests: one per assistant message, each with everything that came before it.

Three colleagues talk to one agent; the `name` of the last user message is the user of the request. The demo provider's
answers are not in the file: it goes on as it was written, as a recorded conversation does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class DemoTurn:
    number: int
    user: str
    messages: tuple[dict[str, Any], ...]
    stream: bool


@dataclass(frozen=True, slots=True)
class Recording:
    tools: tuple[dict[str, Any], ...]
    messages: tuple[dict[str, Any], ...]

    def turns(self) -> tuple[DemoTurn, ...]:
        """Return the requests in order; every second one is streamed."""
        turns: list[DemoTurn] = []
        user = ""
        for index, message in enumerate(self.messages):
            if message["role"] == "user":
                user = message["name"]
            elif message["role"] == "assistant":
                number = len(turns) + 1
                turns.append(DemoTurn(number, user, self.messages[:index], stream=number % 2 == 0))
        return tuple(turns)


def load_conversation() -> Recording:
    """Read the conversation that is shipped with the package."""
    data = json.loads(files("gateway.demo").joinpath("conversation.json").read_bytes())
    return Recording(tuple(data["tools"]), tuple(data["messages"]))

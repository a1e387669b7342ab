"""What the measurements read: recorded conversations, whole or joined to a length, or made-up ones.

Counts here are tiktoken's own, apart from the gateway's counter.
"""

import json
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from tests.conftest import Conversations, _data_folder, _data_says
from tests.upstream.counting import message_tokens

Body = dict[str, Any]

MADE_UP = "made-up"
_WORDS = 4000
_LETTERS = "etaoinshrdlucmfw"
_SAID = "Please look into the next one as well, and tell me what is odd about it."


class NoData(SystemExit):
    """There are no recorded conversations, and the measurement is of nothing else."""


def data() -> Conversations | None:
    """Give the recorded conversations, where there are any."""
    folder = _data_folder()
    return None if folder is None else Conversations(folder)


def recorded() -> Conversations:
    """Give the recorded conversations; ends the command, saying what to set, where there are none."""
    found = data()
    if found is None:
        raise NoData(f"{_data_says()}. Set GATEWAY_DATA to the folder with one NAME.jsonl.gz a source.")
    return found


def sets(named: Sequence[str]) -> list[str]:
    """Give the sets that were named on the command line, else all there are, else the made-up one."""
    if named:
        return list(named)
    found = data()
    return [MADE_UP] if found is None else list(found.names)


def joined(name: str, tokens: int, skip: int = 0) -> Body:
    """Join conversations of one set, from the `skip`-th on, to a request of about so many tokens.

    System messages are left out but for the first; calls get ids of their own; the last message is a user's.
    """
    messages: list[Body] = []
    held = 0
    for number, conversation in enumerate(_conversations(name, skip)):
        for message in conversation:
            if message["role"] == "system" and messages:
                continue
            if held > tokens and message["role"] in ("user", "assistant"):
                break
            messages.append(_renamed(message, f"{number}-"))
            held += message_tokens(message)
        if held > tokens:
            break
    if messages[-1]["role"] != "user":
        messages.append({"role": "user", "content": "What was the first one of these, and which of them failed?"})
    return {"model": "gpt-5", "messages": messages}


def cut_at_requests(body: Body) -> Iterator[Body]:
    """Give the requests that this conversation consists of: one before each answer of the model, and the last."""
    messages = body["messages"]
    for at in range(1, len(messages) + 1):
        if at == len(messages) or messages[at]["role"] == "assistant":
            yield {**body, "messages": messages[:at]}


def raw(body: Body) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _conversations(name: str, skip: int) -> Iterator[list[Body]]:
    if name == MADE_UP:
        yield from (made_up(number) for number in range(skip, skip + 1000))
        return
    found = recorded()
    if name not in found.names:
        raise SystemExit(f"there is no set {name!r}; there are {', '.join(found.names)}")
    read = _read(found, name)
    for number in range(50 * len(read)):
        yield read[(skip + number) % len(read)]


@lru_cache(maxsize=1)
def _read(found: Conversations, name: str) -> list[list[Body]]:
    return [conversation["messages"] for conversation in found.read(name)]


def _renamed(message: Body, before: str) -> Body:
    """Prefix the ids of calls, so that two conversations in one keep theirs apart."""
    out = dict(message)
    if out.get("tool_calls"):
        out["tool_calls"] = [{**call, "id": before + call["id"]} for call in out["tool_calls"]]
    if out.get("tool_call_id"):
        out["tool_call_id"] = before + out["tool_call_id"]
    return out


# ---------------------------------------------------------------- made up


@lru_cache(maxsize=1)
def _words() -> list[str]:
    draw = random.Random(7)
    return ["".join(draw.choices(_LETTERS, k=draw.randint(2, 9))) for _ in range(_WORDS)]


def made_up(seed: int, steps: int = 12) -> list[Body]:
    """Make up the messages of an agent at work: a question, then calls whose results are records, a log or prose."""
    draw = random.Random(seed)
    messages: list[Body] = [
        {"role": "system", "content": "You look into incidents. " + _prose(draw, 60)},
        {"role": "user", "content": f"Incident {seed}: {_prose(draw, 40)}"},
    ]
    for step in range(steps):
        arguments = json.dumps({"id": f"T-{seed}-{step}", "words": _prose(draw, 4)})
        call = {"id": f"c{step}", "type": "function", "function": {"name": "look_up", "arguments": arguments}}
        kind = (_records, _log, _prose)[step % 3]
        messages += [
            {"role": "assistant", "content": _prose(draw, 15), "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{step}", "content": kind(draw, 30 if kind is not _prose else 400)},
        ]
    return [*messages, {"role": "assistant", "content": _prose(draw, 60)}, {"role": "user", "content": _SAID}]


def _prose(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_words(), k=words))


def _records(draw: random.Random, number: int) -> str:
    rows = [
        {
            "id": f"W-{draw.randrange(10**7)}",
            "state": draw.choice(("open", "shut")),
            "total": draw.randrange(10**4) / 100,
        }
        for _ in range(number)
    ]
    return json.dumps({"rows": rows}, indent=2)


def _log(draw: random.Random, number: int) -> str:
    return "\n".join(
        f"12:{draw.randrange(60):02}:07 worker-{draw.randrange(9)} {_prose(draw, 8)}" for _ in range(number)
    )

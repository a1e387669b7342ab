"""Every recorded conversation, turn by turn, under a policy that nothing exceeds: upstream receives the client's bytes.

What may differ is what the route declares: the model's name behind an alias, and the asking for usage in a stream.
A few turns of each conversation are sent by default; `PASSTHROUGH=all` sends every turn of every one (about 12,000).
"""

import asyncio
import itertools
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import aiohttp

from tests.conftest import Conversations
from tests.contract.running import KEYS, Gateway, Upstream

EVERY_TURN = os.environ.get("PASSTHROUGH") == "all"
TURNS_EACH = 2
AT_ONCE = 8
SPLICE = re.compile(rb'\s*,?\s*"stream_options"\s*:\s*\{\s*"include_usage"\s*:\s*true\s*\}\s*,?\s*')
STYLES: tuple[dict[str, Any], ...] = (
    {"separators": (",", ":"), "ensure_ascii": False},
    {},
    {"ensure_ascii": False},
    {"indent": 1},
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a recorded conversation: its bytes as the client sends them, and as upstream should see them."""

    id: str
    sent: bytes
    expected: bytes
    stream: bool


def ends(conversation: dict[str, Any]) -> list[int]:
    """How many messages each request of a conversation had: all before each assistant message, and the whole."""
    messages = conversation["messages"]
    every = [at for at, message in enumerate(messages) if at and message["role"] == "assistant"]
    every = [at for at in every if any(one["role"] == "user" for one in messages[:at])]
    every.append(len(messages))
    if EVERY_TURN or len(every) <= TURNS_EACH:
        return every
    return [*random.Random(conversation["id"]).sample(every[:-1], TURNS_EACH - 1), every[-1]]


def turn_of(conversation: dict[str, Any], messages: int, number: int) -> Turn:
    """Write one request in one of several styles, the alias and the stream in turn."""
    alias, stream, style = number % 3 == 1, number % 5 == 2, STYLES[number % len(STYLES)]
    id = f"pass-{number}"
    body: dict[str, Any] = {"metadata": {"id": id, "script": json.dumps({"id": id, "prompt": 7, "words": 2})}}
    body |= {"messages": conversation["messages"][:messages]}
    body |= {"tools": conversation["tools"]} if conversation.get("tools") else {}
    body |= {"stream": True} if stream else {}
    sent, expected = ("fast", "gpt-5-mini") if alias else ("gpt-5", "gpt-5")
    return Turn(
        id,
        json.dumps({"model": sent, **body}, **style).encode("utf-8", "surrogatepass"),
        json.dumps({"model": expected, **body}, **style).encode("utf-8", "surrogatepass"),
        stream,
    )


def turns(conversations: Conversations) -> Iterator[Turn]:
    """Every request to be sent; bodies are made one at a time, as they are large."""
    numbers = itertools.count()
    for conversation in conversations.all():
        for messages in ends(conversation):
            yield turn_of(conversation, messages, next(numbers))


def same(one: bytes, other: bytes) -> int:
    """How many bytes two texts have in common at their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def without_splice(expected: bytes, received: bytes) -> bytes | None:
    """The one stretch of bytes that `received` has more than `expected`, where that is their only difference."""
    extra = len(received) - len(expected)
    if extra < 0:
        return None
    start, end = same(expected, received), same(expected[::-1], received[::-1])
    if start + end < len(expected):
        return None
    return received[start : start + extra]


async def difference(session: aiohttp.ClientSession, gateway: Gateway, upstream: Upstream, turn: Turn) -> str | None:
    """Send one turn and say what upstream received differently."""
    async with session.post(f"{gateway.url}/chat/completions", data=turn.sent) as response:
        answer = await response.read()
        if response.status != 200:
            return f"{turn.id}: {response.status} {answer[:300]!r}"
    address = f"{upstream.url}/received?id={turn.id}"
    async with session.get(f"{address}&part=digest") as response:
        if await response.text() == sha256(turn.expected).hexdigest():
            return f"{turn.id}: usage was not asked for" if turn.stream else None
    async with session.get(address) as response:
        received = await response.read()
    spliced = without_splice(turn.expected, received)
    if turn.stream and spliced is not None and SPLICE.fullmatch(spliced):
        return None
    return f"{turn.id}: sent {len(turn.expected)} bytes, received {len(received)}, the difference {spliced!r}"


async def differences(gateway: Gateway, upstream: Upstream, work: Iterator[Turn]) -> tuple[int, list[str]]:
    """Send everything, a few at once; how many requests, and what differed."""
    sent, found = 0, []
    headers = {"authorization": f"Bearer {KEYS['main']}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def worker() -> None:
            nonlocal sent
            for turn in work:
                sent += 1
                if (one := await difference(session, gateway, upstream, turn)) is not None:
                    found.append(one)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return sent, found


async def test_upstream_receives_every_turn_byte_for_byte(
    gateway: Gateway, upstream: Upstream, conversations: Conversations
) -> None:
    sent, found = await differences(gateway, upstream, turns(conversations))
    print(f"{sent} requests, {len(found)} differences")
    assert found == []
    assert sent >= 500


def test_the_comparison_sees_a_single_byte() -> None:
    assert without_splice(b'{"a":1}', b'{"a":1}') == b""
    assert without_splice(b'{"a":1}', b'{"a":1,"b":2}') == b',"b":2'
    assert without_splice(b'{"a":1}', b'{"a":2}') is None
    assert without_splice(b'{"a":1}', b'{"x":1,"b":2}') is None

"""Counters in a Redis server that several machines share: each step is one run of counters.lua."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Final, assert_never

from gateway.state.counters import (
    AccountCharge,
    Balance,
    Begun,
    Booked,
    Granted,
    Hold,
    Holds,
    Look,
    Once,
    Recount,
    Renew,
    Result,
    Settle,
    Short,
    Step,
    TakeHold,
    TopUp,
)
from gateway.state.redis import PREFIX, Script

SOURCES: Final = f"{PREFIX}{{limits}}:sources"
"""The script makes the other keys of this one. What is between the braces is their hash tag."""

Argument = str | int | float


class RedisCounters:
    """Counters in a Redis server, 6.0 or later. Connects when it is first used."""

    def __init__(self, url: str, answer_seconds: float) -> None:
        text = files("gateway.state").joinpath("counters.lua").read_text(encoding="utf-8")
        self._script = Script(url, text, answer_seconds)

    def __repr__(self) -> str:
        return "RedisCounters()"

    def run(self, steps: Sequence[Step], source: str) -> list[Result]:
        replies = self._script.run(SOURCES, [[source, *_arguments(step)] for step in steps])
        return [_result(step, reply) for step, reply in zip(steps, replies, strict=True)]

    def close(self) -> None:
        self._script.close()


def _arguments(step: Step) -> list[Argument]:
    match step:
        case TakeHold():
            own: list[Argument] = [step.id, step.owner, json.dumps(step.charges), json.dumps(step.offers)]
            return ["reserve", *own, repr(step.now), repr(step.expires)]
        case TopUp():
            own = [step.id, step.owner, json.dumps(step.charges), step.amount]
            return ["top_up", *own, repr(step.now), repr(step.expires)]
        case Settle():
            return ["settle", step.id, json.dumps(step.charges), step.nanousd, step.tokens, int(step.is_unheld)]
        case Renew():
            rows: list[Argument] = []
            for hold in step.holds:
                rows += [hold.id, hold.owner, json.dumps(hold.charges), hold.expected, hold.most]
            return ["renew", repr(step.now), repr(step.expires), *rows]
        case Look():
            return ["look", json.dumps(step.charges), repr(step.now)]
        case Recount():
            return ["recount", json.dumps([[*at, amount] for at, amount in step.amounts.items()])]
        case Booked():
            return ["booked"]
        case Holds():
            return ["holds"]
        case Once():
            return ["once", step.name, max(1, int((step.expires - step.now) * 1000))]
    assert_never(step)


def _result(step: Step, reply: Sequence[bytes]) -> Result:
    word = reply[0]
    if word == b"begun":
        return Begun()
    if isinstance(step, Booked):
        rows = range(1, len(reply), 3)
        return {(reply[i].decode(), int(reply[i + 1])): int(reply[i + 2]) for i in rows if int(reply[i + 2])}
    if isinstance(step, Holds):
        return [_hold(reply[i : i + 5]) for i in range(1, len(reply), 5)]
    if word in (b"granted", b"short", b"balances"):
        numbers = [int(number) for number in reply[3:]]
        found = [Balance(*numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
        if word == b"balances":
            return found
        at = int(reply[1])
        return Granted(at, int(reply[2]), found) if word == b"granted" else Short(at, found)
    return None if word == b"done" else word == b"1"


def _hold(row: Sequence[bytes]) -> Hold:
    name, owner, charges, expected, most = row
    return Hold(
        name.decode(), owner.decode(), [AccountCharge(*one) for one in json.loads(charges)], int(expected), int(most)
    )

"""50,000 mutated bodies: no 500, no crash, no hang over a second, and memory stays flat.

python -m tests.load.mutated_bodies --bodies 50000
"""

import argparse
import asyncio
import copy
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.contract.raw import resident_bytes
from tests.contract.running import KEYS, Gateway, config, running_gateway, running_upstream, write_setup

HANG_SECONDS = 1.0
GROWTH_BYTES = 20_000_000
AT_ONCE = 4

_TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkAAAAYAAjgU9uAAAAAElFTkSuQmCC"
)


def _turns(count: int) -> list[dict[str, Any]]:
    asking: Any = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": [ "grey", 1.10 ]}' * 20}
    turn = [
        {"role": "user", "content": "lorem ipsum " * 20},
        asking,
        result,
        {"role": "assistant", "content": "dolor " * 30},
    ]
    return [copy.deepcopy(turn[at % 4]) for at in range(count)]


def seeds() -> list[dict[str, Any]]:
    """Legal requests of every kind, small enough to mutate 50,000 times."""
    user = {"role": "user", "content": "What now?"}
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": _PIXEL, "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
    ]
    named = [
        {"role": "system", "name": "example_user", "content": "1+1"},
        {"role": "system", "name": "example_assistant", "content": "2"},
    ]
    documents = {"role": "user", "content": "<document>one</document>\n<document>two</document>\nWhich?"}
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "properties": {}}}}
    return [
        {"model": "gpt-5", "messages": [user]},
        {
            "model": "fast",
            "messages": [{"role": "developer", "content": "Be brief."}, user],
            "user": "ann",
            "stream": True,
        },
        {"model": "gpt-5", "messages": [*_turns(8), user], "tools": [_TOOL], "tool_choice": "auto", "seed": 12},
        {"model": "gpt-5", "messages": [*_turns(64), user], "tools": [_TOOL]},
        {
            "model": "gpt-5",
            "messages": [*_turns(67)],
            "tools": [_TOOL],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}], "max_completion_tokens": 100},
        {
            "model": "gpt-5",
            "messages": [{"role": "system", "content": "S"}, *named, documents],
            "response_format": schema,
        },
        {"model": "house", "messages": [user], "metadata": {"tags": ["a", "b"], "x": "y"}, "temperature": 0.10, "n": 1},
        {
            "model": "gpt-5",
            "messages": [*_turns(4), user],
            "functions": [_TOOL["function"]],
            "logit_bias": {"1": -1.5e1},
        },
    ]


# fmt: off
WEIRD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**30, 2**63, -(2**63) - 1, -0.0, 1e308,
    "", " ", "\u0000", "💥" * 3, "é\u202e", "x" * 3000, "Infinity", '{"a":', "<document>",
    "example_x", "\ud7ff", "call_1", "assistant", "tool", "system", "function", "anyone", "data:image/png;base64,",
    [], {}, [[]], [None], {"": ""}, [[[[[]]]]], [1, "a", None], {"text": 5}, {"role": "user"}, [{"type": "text"}],
)
SPLINTERS = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf0\x9f\x92\xa5", b'"', b"\\", b"\\u", b"\\ud800",
    b"\\u0000", b"{", b"}", b"[", b"]", b",", b":", b"//", b"-", b"\n", b"\r", b"\t", b" " * 1000,
    b"null", b"NaN", b"1e999", b"7" * 5000, b"9" * 400 + b"." + b"9" * 400, b"[" * 300, b'{"a":' * 250,
    b'"model":"fast",', b'"messages":[],', b'"role":"user",', b'"content":null,', b'"stream":true,',
)
# fmt: on


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON document."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _in_structure(body: dict[str, Any], draw: random.Random) -> None:
    """Replace, remove, repeat or exchange something inside the document."""
    places = list(_places(body))
    if not places:
        return
    container, key = draw.choice(places)
    match draw.randrange(5):
        case 0 | 1:
            container[key] = copy.deepcopy(draw.choice(WEIRD))
        case 2:
            del container[key]
        case 3:
            other, place = draw.choice(places)
            if isinstance(container, list):
                container.insert(key, copy.deepcopy(other[place]))
            else:
                container[f"{key}_"] = copy.deepcopy(other[place])
        case _ if isinstance(container, list) and len(container) > 1:
            draw.shuffle(container)
        case _ if isinstance(container, dict):
            container[str(draw.choice(WEIRD))[:50]] = container.pop(key)


def _in_bytes(raw: bytes, draw: random.Random) -> bytes:
    """Change, drop, repeat or insert bytes."""
    at, size = draw.randrange(len(raw) + 1), draw.choice((1, 1, 2, 8, 64))
    match draw.randrange(5):
        case 0:
            return raw[:at] + bytes(draw.randrange(256) for _ in range(size)) + raw[at + size :]
        case 1:
            return raw[:at] + raw[at + size :]
        case 2:
            return raw[:at] + raw[at : at + 64] + raw[at:]
        case 3:
            return raw[:at] + draw.choice(SPLINTERS) + raw[at:]
        case _:
            return raw[:at]


def mutated(number: int, seed: int, legal: list[dict[str, Any]]) -> bytes:
    """Make the body of this number; the same numbers make the same body."""
    draw = random.Random(seed * 1_000_003 + number)
    body = draw.choice(legal)
    kind = draw.random()
    if kind < 0.6:
        body = copy.deepcopy(body)
        for _ in range(draw.randint(1, 3)):
            _in_structure(body, draw)
    raw = json.dumps(body, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    if kind > 0.5:
        for _ in range(draw.randint(1, 3)):
            raw = _in_bytes(raw, draw)
    return raw


def _distinct(tracebacks: Iterable[str]) -> list[str]:
    """One log line of each kind of exception: the end of its traceback tells the kind."""
    return list({line[-120:]: line for line in tracebacks}.values())


@dataclass
class Outcome:
    """What a run found; `problems` empty means that nothing broke."""

    bodies: int
    seconds: float
    statuses: dict[int, int]
    slowest_ms: float
    settled_bytes: int
    """Memory after the first part, when caches are filled."""
    least_bytes: int
    most_bytes: int
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        megabytes = [size / 1e6 for size in (self.settled_bytes, self.least_bytes, self.most_bytes)]
        lines = [
            (
                f"{self.bodies} bodies in {self.seconds:.0f} s, slowest {self.slowest_ms:.0f} ms, "
                f"statuses {dict(sorted(self.statuses.items()))}"
            ),
            f"memory {megabytes[0]:.1f} MB, then {megabytes[1]:.1f} to {megabytes[2]:.1f} MB",
            f"{len(self.problems)} problems",
        ]
        return "\n".join([*lines, *self.problems[:20]])


class Attack:
    """Sends the bodies and watches the gateway."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, body_of: Callable[[int], bytes]) -> None:
        self.gateway, self.session, self.body_of = gateway, session, body_of
        self.problems: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0

    async def _post(self, number: int, raw: bytes) -> tuple[int, bytes, float]:
        key = KEYS["tight"] if number % 2 else KEYS["main"]
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        started = time.perf_counter()
        try:
            async with self.session.post(f"{self.gateway.url}/chat/completions", data=raw, headers=headers) as response:
                answer = await response.read()
                return response.status, answer, time.perf_counter() - started
        except (aiohttp.ClientError, TimeoutError) as reason:
            return 0, repr(reason).encode(), time.perf_counter() - started

    async def one(self, number: int) -> None:
        """Send one body; a slow answer is asked for again, as the machine may be what was slow."""
        raw = self.body_of(number)
        status, answer, seconds = await self._post(number, raw)
        for _ in range(2):
            if status and seconds > HANG_SECONDS:
                status, answer, seconds = await self._post(number, raw)
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        told = f"body {number}: {status} in {seconds:.2f} s: {answer[:300]!r} for {raw[:600]!r}"
        if status == 0 or status >= 500:
            self.problems.append(f"broken: {told}")
        elif seconds > HANG_SECONDS:
            self.problems.append(f"hang: {told}")
        elif status >= 400 and not self._openai_shaped(answer):
            self.problems.append(f"not OpenAI's shape: {told}")

    @staticmethod
    def _openai_shaped(answer: bytes) -> bool:
        try:
            error = json.loads(answer)["error"]
            return bool(error["message"]) and "gw_" in error["message"] and {"type", "code", "param"} <= error.keys()
        except (ValueError, TypeError, KeyError):
            return False


async def run(gateway: Gateway, bodies: int, first: int, seed: int) -> Outcome:
    """Send them, `AT_ONCE` at a time; memory is watched from body number `first` on."""
    legal, numbers, pid = seeds(), iter(range(bodies)), gateway.program.pid
    sizes: list[int] = []
    started = time.monotonic()
    timeout = aiohttp.ClientTimeout(15)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        attack = Attack(gateway, session, lambda number: mutated(number, seed, legal))

        async def worker() -> None:
            for number in numbers:
                if gateway.program.process.poll() is not None or len(attack.problems) > 200:
                    return
                await attack.one(number)
                if number >= first and number % max(1, bodies // 100) == 0:
                    sizes.append(resident_bytes(pid))

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    problems = attack.problems
    if gateway.program.process.poll() is not None:
        problems.append(f"crashed with {gateway.program.process.returncode}:\n{gateway.program.log[-3000:]}")
    elif gateway.program.tracebacks:
        problems[:0] = [f"the gateway logged: {one}" for one in _distinct(gateway.program.tracebacks)]
    if sizes and max(sizes) - sizes[0] > GROWTH_BYTES:
        problems.append(f"memory grew from {sizes[0]:,} to {max(sizes):,} bytes")
    if sizes and sizes[0] - min(sizes) > GROWTH_BYTES:
        problems.append(f"memory fell from {sizes[0]:,} to {min(sizes):,} bytes")
    return Outcome(
        bodies,
        time.monotonic() - started,
        dict(attack.statuses),
        attack.slowest * 1000,
        sizes[0] if sizes else 0,
        min(sizes, default=0),
        max(sizes, default=0),
        problems,
    )


def measure(folder: Path, bodies: int, first: int, seed: int = 1) -> Outcome:
    """Start both programs in `folder`, run, and stop them."""
    with running_upstream() as upstream, running_gateway(write_setup(folder, config(upstream.url))) as gateway:
        return asyncio.run(run(gateway, bodies, first, seed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=5_000, help="bodies before memory is watched")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(Path(folder), arguments.bodies, arguments.first, arguments.seed)
    print(outcome)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

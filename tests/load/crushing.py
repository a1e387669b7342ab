"""Crush alone on the tool results of all recorded conversations: what goes without loss, and with how much loss.

Without loss: tokens before and after, and which of the values that later turns use (the data's `carried`) still stand.
To a room: the smallest of the rooms below in which those values are kept to .99; every result of at least 100 tokens is
brought to that part of its size, knowing only what was said before it. Nothing here is tuned per set.

    python -m tests.load.crushing                                   # all sets that hold tool results
    python -m tests.load.crushing tau2_bench livemcp --every 4
    python -m tests.load.crushing --beside headroom --python /path/to/its/python

`--python` is an interpreter that has headroom-ai installed; this command runs headroom_beside.py with it. It needs
nothing of the gateway, and no network where TIKTOKEN_CACHE_DIR names a folder with the encodings.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.budget.tokens import Counter
from gateway.packaged_data import tokenizers_dir
from gateway.rewriting.results import crush
from tests.contract.running import environment
from tests.load.recorded import recorded
from tests.upstream.counting import content_text

ROOMS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
KEPT = 0.99
LEAST_TOKENS = 100
"""A smaller result is not brought to a room: it stays as `lossless` leaves it."""
BESIDE = Path(__file__).with_name("headroom_beside.py")

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Result:
    """One tool result with what was said before it, and the values in it that a later turn uses."""

    text: str
    before: tuple[str, ...]
    used: frozenset[str]


@dataclass
class Tally:
    """What became of the results of one set."""

    before: int = 0
    after: int = 0
    used: int = 0
    kept: int = 0
    seconds: float = 0.0

    def add(self, result: Result, left: str, tokens: int, after: int) -> None:
        self.before += tokens
        self.after += after
        self.used += len(result.used)
        self.kept += sum(value in left for value in result.used)

    @property
    def removed(self) -> float:
        return 1 - self.after / max(1, self.before)

    @property
    def share_kept(self) -> float:
        return self.kept / self.used if self.used else 1.0

    def __str__(self) -> str:
        return f"{self.removed:6.1%} removed, {self.kept} of {self.used} kept ({self.share_kept:.4f})"


@dataclass
class Outcome:
    """The figures of one set."""

    name: str
    results: int
    lossless: Tally
    rooms: dict[float, Tally] = field(default_factory=dict)
    """Down to the first room at which less is kept than KEPT."""
    beside: dict[str, Tally] = field(default_factory=dict)

    @property
    def smallest(self) -> float | None:
        """The smallest room at which, and at every larger one, enough is kept."""
        return min((room for room, tally in self.rooms.items() if tally.share_kept >= KEPT), default=None)

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.results} results, {self.lossless.before:,} tokens",
            f"  lossless    {self.lossless}  {self.lossless.seconds:.1f} s",
        ]
        if (room := self.smallest) is None:
            lines.append("  lossy       no room keeps enough")
        else:
            lines.append(f"  lossy {room:.1f}   {self.rooms[room]}  {self.rooms[room].seconds:.1f} s")
        lines += [f"  (room {room:.1f}  {tally})" for room, tally in self.rooms.items() if room != self.smallest]
        lines += [f"  {name:<11} {tally}  {tally.seconds:.1f} s" for name, tally in self.beside.items()]
        return "\n".join(lines)


def results(conversations: Iterable[dict[str, Any]]) -> Iterator[Result]:
    """Yield each tool result, also those that a text-only agent was given as user messages (`obs_turns`)."""
    for conversation in conversations:
        used: dict[int, set[str]] = defaultdict(set)
        for carried in conversation.get("carried") or ():
            for at in carried["from"]:
                used[at].add(str(carried["value"]))
        observed = set(conversation.get("obs_turns") or ())
        said: list[str] = []
        for index, message in enumerate(conversation["messages"]):
            text = content_text(message)
            if message["role"] == "tool" or index in observed:
                yield Result(text, tuple(said), frozenset(value for value in used[index] if value in text))
            elif index:
                said += [text, *(call["function"].get("arguments") or "" for call in message.get("tool_calls") or ())]


def without_loss(listed: Sequence[Result], count: Count) -> Tally:
    tally = Tally()
    for result in listed:
        started = time.process_time()
        left = crush.lossless(result.text)
        tally.seconds += time.process_time() - started
        tally.add(result, left, count(result.text), count(left))
    return tally


def to_room(listed: Sequence[Result], room: float, count: Count) -> Tally:
    """Bring every result to this part of its tokens; one that comes out larger than its room is a fault."""
    tally = Tally()
    for result in listed:
        tokens = count(result.text)
        started = time.process_time()
        if tokens < LEAST_TOKENS:
            left = crush.lossless(result.text)
        else:
            most = int(room * tokens)
            left = crush.lossy(result.text, most, count, crush.Wanted.of(result.before))
            assert count(left) <= most, (count(left), most)
        tally.seconds += time.process_time() - started
        tally.add(result, left, tokens, count(left))
    return tally


def measure(name: str, listed: Sequence[Result], count: Count) -> Outcome:
    """Crush the results of one set: without loss, then to smaller and smaller rooms until too little is kept."""
    outcome = Outcome(name, len(listed), without_loss(listed, count))
    for room in ROOMS:
        outcome.rooms[room] = to_room(listed, room, count)
        if outcome.rooms[room].share_kept < KEPT:
            break
    return outcome


def beside(listed: Sequence[Result], python: str, count: Count) -> Tally:
    """Shorten the same results with headroom-ai, in a process of its own."""
    command = [python, str(BESIDE)]
    asked = "".join(json.dumps(result.text) + "\n" for result in listed)
    env = environment(TIKTOKEN_CACHE_DIR=str(tokenizers_dir()))
    started = time.monotonic()
    ran = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, env=env, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ran.returncode}; is headroom-ai installed there?")
    tally = Tally(seconds=time.monotonic() - started)
    answered = ran.stdout.splitlines()
    for result, line in zip(listed, answered, strict=True):
        left = json.loads(line)
        tally.add(result, left, count(result.text), count(left))
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help="sources to read; all by default")
    parser.add_argument("--every", type=int, default=1, help="only every so manieth result")
    parser.add_argument("--beside", choices=["headroom"])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has what stands beside")
    arguments = parser.parse_args()
    data, count = recorded(), Counter("o200k_base", 64 * 2**20).count
    lost = 0
    for name in arguments.sets or data.names:
        listed = list(results(data.read(name)))[:: arguments.every]
        if not listed:
            continue
        outcome = measure(name, listed, count)
        if arguments.beside:
            outcome.beside[arguments.beside] = beside(listed, arguments.python, count)
        print(outcome, flush=True)
        lost += outcome.lossless.share_kept < KEPT
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())

"""What do markers cost, and what do they save? Recorded conversations, replayed turn by turn under Anthropic's rules.

Each set is the traffic of one team that starts with nothing known. Beside what is paid with `markers: on_reuse` stand
the same requests without markers, always marked, and an oracle that knows each conversation in advance and has no limit
on markers: a token costs w where a later request of the conversation reads it, else 1, and r when it is read again. The
least length that is cached holds for the oracle as well. Prices are in plain input tokens.

    python -m tests.load.marking                      # all sets
    python -m tests.load.marking tau2_bench beam --gap 60 --at-once 20
    python -m tests.load.marking --one-team           # all sets are one team's traffic
    python -m tests.load.marking --live --limit 5

Offline: the decisions are the gateway's (gateway/prompt_cache/economics.py), memory and placement are plain ones of
this file, and the provider is the simulator below, which shares no code with the gateway. With `--live`, every request
goes through a gateway to `demo/anthropic` as fast as it is answered, each set under a key of its own, and what was paid
is read from the ledger.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.prompt_cache.economics import head_pays, tail_pays
from gateway.prompt_cache.usage_patterns import (
    NO_HISTORY,
    NOTHING_KNOWN,
    GroupHistory,
    Habits,
    PreviousRequest,
    Stage,
    end_waiting,
    halve_old,
    head_stage,
    request_habits,
    turn_stage,
)
from tests.contract.running import Gateway, running_gateway, write_setup
from tests.load.recorded import cut_at_requests, raw, recorded, sets
from tests.upstream.counting import message_tokens, text_tokens

READ, WRITE, LIFETIME = 0.1, 1.25, 300
LEAST, LOOK_BACK, MOST_MARKERS = 1024, 20, 4
MOST_OF_ORACLE, MOST_OF_PLAIN = 1.08, 1.01
SINGLE_SHOT = ("bfcl_live_tools", "mcp_schemas")


@dataclass(frozen=True, slots=True)
class Prices:
    """Claude's, with the shorter lifetime: platform.claude.com/docs/en/build-with-claude/prompt-caching."""

    read: Decimal = Decimal("0.1")
    writes: dict[int, Decimal] = field(default_factory=lambda: {300: Decimal("1.25"), 3600: Decimal(2)})


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request as a chain: place 0 is the tools, place n the first n messages with them."""

    links: tuple[bytes, ...]
    tokens: tuple[int, ...]
    """Of the prompt up to each place; so too the blocks, as the provider counts them."""
    blocks: tuple[int, ...]
    system: int
    """The place where leading system text ends."""

    @property
    def last(self) -> int:
        return len(self.links) - 1


def prompts(conversation: dict[str, Any]) -> list[Prompt]:
    """Read a conversation as the requests that it was: one before each answer of the model, and its last."""
    messages, tools = conversation["messages"], conversation.get("tools")
    said = json.dumps(tools, ensure_ascii=False, separators=(",", ":")) if tools else ""
    link, tokens, blocks = sha256(said.encode()).digest(), 3 + text_tokens(said), int(bool(tools))
    chain = [(link, tokens, blocks)]
    for message in messages:
        link = sha256(link + json.dumps(message, sort_keys=True).encode()).digest()
        tokens += message_tokens(message)
        blocks += max(1, bool(message.get("content")) + len(message.get("tool_calls") or ()))
        chain.append((link, tokens, blocks))
    system = next((i for i, m in enumerate(messages) if m["role"] not in ("system", "developer")), len(messages))
    lengths = [len(body["messages"]) for body in cut_at_requests({"messages": messages})]
    asked = (n for n in lengths if any(m["role"] == "user" for m in messages[:n]))
    links, counts, ends = zip(*chain, strict=True)
    return [Prompt(links[: n + 1], counts[: n + 1], ends[: n + 1], system) for n in asked]


# ---------------------------------------------------------------- the provider


class Provider:
    """Anthropic's prompt cache: entries are written at breakpoints, and found at most 20 blocks before one."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def charge(self, prompt: Prompt, breakpoints: Iterable[int], now: float) -> float:
        """Take a request with breakpoints at these places; return its price in plain input tokens."""
        marked = sorted(place for place in set(breakpoints) if prompt.tokens[place] >= LEAST)
        if len(marked) > MOST_MARKERS:
            raise ValueError(f"{len(marked)} breakpoints; {MOST_MARKERS} are allowed")
        found = max((self._found(prompt, place, now) for place in marked), default=-1)
        read = prompt.tokens[found] if found >= 0 else 0
        written = max(0, prompt.tokens[marked[-1]] - read) if marked else 0
        for place in (*marked, *([found] if found >= 0 else [])):
            self._until[prompt.links[place]] = now + LIFETIME
        return READ * read + WRITE * written + prompt.tokens[-1] - read - written

    def _found(self, prompt: Prompt, place: int, now: float) -> int:
        at = place
        while at >= 0 and prompt.blocks[place] - prompt.blocks[at] < LOOK_BACK:
            if self._until.get(prompt.links[at], 0.0) >= now:
                return at
            at -= 1
        return -1


def oracle(traffic: Sequence[tuple[float, Prompt]]) -> float:
    """Price requests, each with its time, as one would that knows them all in advance and marks wherever it likes.

    A token is written where a later request begins with all up to it, while that can still be read, and read where an
    earlier one did; both from the least length on that a cache takes.
    """
    read, written = _agreeing(traffic), _agreeing(traffic[::-1])[::-1]
    price = 0.0
    for (_, prompt), hit, kept in zip(traffic, read, written, strict=True):
        fresh = max(0, kept - hit)
        price += READ * hit + WRITE * fresh + prompt.tokens[-1] - hit - fresh
    return price


def _agreeing(traffic: Sequence[tuple[float, Prompt]]) -> list[int]:
    """Count, for each request, the tokens with which one before it in this order began alike."""
    last: dict[bytes, float] = {}
    out: list[int] = []
    for now, prompt in traffic:
        near = (tokens for link, tokens in zip(prompt.links, prompt.tokens, strict=True) if _is_near(last, link, now))
        tokens = max(near, default=0)
        out.append(tokens if tokens >= LEAST else 0)
        last.update(dict.fromkeys(prompt.links, now))
    return out


def _is_near(times: dict[bytes, float], link: bytes, now: float) -> bool:
    return link in times and abs(now - times[link]) <= LIFETIME


# ---------------------------------------------------------------- the team's traffic


@dataclass(frozen=True, slots=True)
class Request:
    """What is remembered of one."""

    turn: int
    stage: Stage
    at: float
    shared: int
    """The place up to which others began alike."""


class Team:
    """What is remembered of one team's requests, and where markers stand for it."""

    def __init__(self) -> None:
        self.habits: Habits = NOTHING_KNOWN
        self._requests: dict[bytes, Request] = {}
        """By the whole of each."""
        self._starts: dict[bytes, tuple[int, float]] = {}
        """Beginnings of first requests: how many had it, and when the last."""
        self._own: dict[bytes, GroupHistory] = {}
        """By tools and system text."""
        self._written: dict[bytes, float] = {}

    def marked(self, prompt: Prompt, now: float) -> list[int]:
        """Decide where this request is marked, by what was known before it, and learn from it."""
        if prompt.tokens[-1] < LEAST:
            return []
        before = next((found for link in prompt.links[-2::-1] if (found := self._requests.get(link))), None)
        app = prompt.links[prompt.system]
        turn = 1 if before is None else before.turn + 1
        stage = turn_stage(turn, is_new=app not in self._own)
        sights = [self._starts.get(link, (0, 0.0))[0] + 1 for link in prompt.links]
        shared = max((place for place, times in enumerate(sights) if times > 1), default=prompt.system)
        if before is not None:
            shared = before.shared
        places = self._worth(prompt, stage, sights, shared, self._own.get(app, NO_HISTORY))
        self._learn(prompt, before, stage, sights[shared], shared, now)
        self._requests[prompt.links[-1]] = Request(turn, stage, now, shared)
        return self._noted(prompt, places, now)

    def _worth(
        self, prompt: Prompt, stage: Stage, sights: Sequence[int], shared: int, history: GroupHistory
    ) -> list[int]:
        """List the places that are worth a marker. What is read stays alive, so heads are marked at later turns too."""
        places, prices = sorted({0, prompt.system, shared}), Prices()
        if tail_pays(self.habits, prices, stage, LIFETIME, history):
            return [*places, prompt.last]
        long = [place for place in places if prompt.tokens[place] >= LEAST]
        worth = [at for at in long if head_pays(self.habits, prices, stage, sights[at], LIFETIME, history)]
        return [place for place in places if place <= max(worth, default=-1)]

    def _learn(
        self, prompt: Prompt, before: Request | None, stage: Stage, sights: int, shared: int, now: float
    ) -> None:
        """Count this request; a first one for its head as well, which is what it shares with others."""
        app = prompt.links[prompt.system]
        is_second = before is not None and before.turn == 1 and now - before.at <= LIFETIME
        self._own[app] = self._own.get(app, NO_HISTORY).plus(before is None, is_second)
        delta = request_habits(stage, now, None if before is None else PreviousRequest(before.stage, now - before.at))
        if before is None:
            if prompt.tokens[shared] >= LEAST:
                _, last = self._starts.get(prompt.links[shared], (0, now))
                previous = PreviousRequest(head_stage(sights - 1), now - last) if sights > 1 else None
                delta += request_habits(head_stage(sights), now, previous)
            for link in prompt.links:
                self._starts[link] = self._starts.get(link, (0, 0.0))[0] + 1, now
        self.habits = halve_old(end_waiting(self.habits + delta, now))

    def _noted(self, prompt: Prompt, places: Sequence[int], now: float) -> list[int]:
        """Choose at most four, with a bridge to what is written already, and remember them."""
        chosen = sorted({place for place in places if prompt.tokens[place] >= LEAST}, reverse=True)
        if not chosen:
            return []
        held = [at for at in range(chosen[0] + 1) if now - self._written.get(prompt.links[at], -1e9) <= LIFETIME]
        if held and prompt.blocks[chosen[0]] - prompt.blocks[held[-1]] >= LOOK_BACK:
            chosen = [chosen[0], held[-1], *[place for place in chosen[1:] if place != held[-1]]]
        chosen = chosen[:MOST_MARKERS]
        for place in (*chosen, *held[-1:]):
            self._written[prompt.links[place]] = now
        return chosen


@dataclass(slots=True)
class Costs:
    """What one set's requests cost, in plain input tokens."""

    requests: int = 0
    paid: float = 0.0
    plain: float = 0.0
    always: float = 0.0
    oracle: float = 0.0
    oracle_of_all: float = 0.0
    """Of one that knows the other conversations as well, and what they share."""

    def add(self, other: Costs) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def of_oracle(self) -> float:
        return self.paid / self.oracle

    @property
    def of_plain(self) -> float:
        return self.paid / self.plain

    def __str__(self) -> str:
        return (
            f"{self.requests:7,} {self.paid / 1e6:9.3f} M {self.of_oracle:8.3f} {self.paid / self.oracle_of_all:8.3f} "
            f"{self.of_plain:9.3f} {self.plain / self.oracle:10.3f} {self.always / self.oracle:8.3f}"
        )


HEADING = """\
                                   paid by on_reuse, as multiple of   as multiple of the oracle
set                requests       paid   oracle   of all  unmarked    unmarked   always"""


def in_order(conversations: Sequence[Sequence[Prompt]], at_once: int) -> Iterator[tuple[int, Prompt]]:
    """Give the requests of conversations, so many of which are under way at a time, each a turn in its turn."""
    waiting = [(number, iter(conversation)) for number, conversation in enumerate(conversations)]
    while waiting:
        for one in waiting[:at_once]:
            prompt = next(one[1], None)
            if prompt is None:
                waiting.remove(one)
            else:
                yield one[0], prompt


def measured(
    conversations: Sequence[Sequence[Prompt]], team: Team, gap: float, at_once: int = 1, at: float = 0.0
) -> Costs:
    """Replay conversations, a request of each every `gap` seconds."""
    costs, provider, other = Costs(), Provider(), Provider()
    traffic: list[tuple[float, Prompt]] = []
    by_conversation: dict[int, list[tuple[float, Prompt]]] = defaultdict(list)
    for number, prompt in in_order(conversations, at_once):
        at += gap / at_once
        traffic.append((at, prompt))
        by_conversation[number].append((at, prompt))
        costs.requests += 1
        costs.plain += prompt.tokens[-1]
        costs.paid += provider.charge(prompt, team.marked(prompt, at), at)
        costs.always += other.charge(prompt, {prompt.last, prompt.system, 0}, at)
    costs.oracle = sum(map(oracle, by_conversation.values()))
    costs.oracle_of_all = oracle(traffic)
    return costs


# ---------------------------------------------------------------- live


def live(
    folder: Path, named: Mapping[str, Sequence[dict[str, Any]]], markers: str, model: str
) -> Iterator[tuple[str, Costs]]:
    """Send every request of every set through one gateway to the demo provider; give what the ledger says of each."""
    keys = {name: f"sk-marking-{name}" for name in named}
    settings = {
        "server": {"host": "127.0.0.1", "port": 0, "max_body": "32MB"},
        "model_list": [{"model_name": "claude", "litellm_params": {"model": model}}],
        "teams": {name: {"policy": "marked"} for name in named},
        "keys": [{"name": n, "sha256": sha256(key.encode()).hexdigest(), "team": n} for n, key in keys.items()],
        "policies": "policies",
        "default_policy": "marked",
        "state": {"dir": "state"},
        "ledger": {"dir": "ledger"},
    }
    policy = {"name": "marked", "context_window": "deployment", "prompt_cache": {"markers": markers}}
    with running_gateway(write_setup(folder, settings, {"marked": policy})) as gateway:
        for name, conversations in named.items():
            costs, at = Costs(), 0.0
            for conversation in conversations:
                chains = prompts(conversation)
                timed = [(at := at + 1.0, chain) for chain in chains]
                costs.oracle += oracle(timed)
                costs.oracle_of_all = costs.oracle
                for chain in chains:
                    _post(gateway, keys[name], conversation, chain.last)
            rows = [row for row in gateway.rows() if row["event"] == "settled" and row["team"] == name]
            costs.requests = len(rows)
            costs.plain = sum(row["prompt_tokens"] for row in rows)
            read, written = (sum(row.get(key, 0) for row in rows) for key in ("cached_tokens", "cache_write_tokens"))
            costs.paid = costs.plain - (1 - READ) * read + (WRITE - 1) * written
            yield name, costs


def _post(gateway: Gateway, key: str, conversation: dict[str, Any], messages: int) -> None:
    body = {"model": "claude", "messages": conversation["messages"][:messages]}
    if conversation.get("tools"):
        body["tools"] = conversation["tools"]
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/chat/completions", data=raw(body), headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        response.read()


# ---------------------------------------------------------------- the command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--gap", type=float, default=20.0, help="seconds between the turns of a conversation")
    parser.add_argument("--at-once", type=int, default=1, help="conversations under way at a time")
    parser.add_argument("--limit", type=int, help="conversations of a set")
    parser.add_argument("--seed", type=int, help="shuffle the conversations of each set; otherwise as recorded")
    parser.add_argument("--one-team", action="store_true", help="all sets are the traffic of one team")
    parser.add_argument("--live", action="store_true", help="through a gateway, to demo/anthropic")
    parser.add_argument("--model", default="demo/anthropic", help="whom the live run asks")
    parser.add_argument("--markers", default="on_reuse", help="what the policy of the live run says of markers")
    arguments = parser.parse_args()
    found, whole, missed = recorded(), Costs(), 0
    named = {name: list(found.read(name, arguments.limit)) for name in sets(arguments.sets)}
    if arguments.seed is not None:
        for conversations in named.values():
            random.Random(arguments.seed).shuffle(conversations)
    with tempfile.TemporaryDirectory() as folder:
        runs = offline(named, arguments)
        if arguments.live:
            runs = live(Path(folder), named, arguments.markers, arguments.model)
        print(HEADING)
        for name, costs in runs:
            print(f"{name:18} {costs}", flush=True)
            whole.add(costs)
            missed += name in SINGLE_SHOT and costs.of_plain > MOST_OF_PLAIN
    print(f"{'all':18} {whole}")
    return 1 if missed or whole.of_oracle > MOST_OF_ORACLE else 0


def offline(named: Mapping[str, Sequence[dict[str, Any]]], said: argparse.Namespace) -> Iterator[tuple[str, Costs]]:
    team = Team()
    for number, (name, conversations) in enumerate(named.items()):
        team = team if said.one_team else Team()
        chains = [prompts(one) for one in conversations]
        yield name, measured(chains, team, said.gap, said.at_once, 1e6 * number)


if __name__ == "__main__":
    sys.exit(main())

"""Replay recorded conversations as chats, Responses and Messages, and judge what leaves as `replay.py` judges a chat.

    python -m tests.load.replay_in_shapes --tools FOLDER [tau2_bench:8000:60 ...] [--shapes responses] [--translated]

Each request is turned into the other shape, planned and written in it, and turned back into a chat; with `--translated`
it is the gateway's own translation that is judged. The script ends with 1 where a shape breaks a rule, or keeps, tells
or costs another share than the chat does, by more than .005. `FOLDER` is the one that holds `replay.py`, which is no
part of this checkout. The chat beside is as the other shape can say it: results without the names of their tools; for
Messages with compact arguments, and tools of a name, a description and a schema. Conversations that they have no words
for (names of speakers) are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.budget.tokens import Counter
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Refusal
from gateway.serving.fit import decided
from gateway.wire.memo import Memo
from gateway.wire.shape import CHAT, MESSAGES, RESPONSES, Shape
from tests.in_messages import chat_of, compact, faults, messages_of
from tests.items import as_items, as_messages
from tests.laws.generators import model_of
from tests.load.recorded import data, raw

Json = dict[str, Any]

RUNS: Final = (
    *("tau2_bench:8000:60", "livemcp:8000:60", "openhands:16000:40", "openhands:8000:20"),
    *("swe_agent_java:16000:40", "tau_bench:6000:60", "beam:24000:19"),
)
"""A set, its budget, and how many of its conversations."""
SHAPES: Final[Mapping[str, Shape]] = {"chat": CHAT, "responses": RESPONSES, "messages": MESSAGES}
NONE_OF: Final = ("failed", "refused_needless", "invalid", "over_budget_after")
ALIKE: Final = {
    "kept": "retention_when_over",
    "told": "told_when_over",
    "told first": "told_first_when_over",
}
CACHED_AND_WRITTEN: Final = "claude/gpt-5.6 r.1 w1.25"
MOST_APART: Final = 0.005


class Refused(Exception):
    """A request that cannot fit."""

    def __repr__(self) -> str:
        return "refused"  # by this word replay.py knows it


class IllegalError(Exception):
    """A request that its own API would refuse."""


class Passage:
    """The way of a conversation through one shape, in place of a gateway."""

    def __init__(self, name: str, *, translated: bool) -> None:
        self.name, self.shape, self.translated = name, SHAPES[name], translated
        self.counter, self.model = Counter("o200k_base"), model_of()
        self.memo, self.known = Memo(), Known()

    def __call__(self, body: Json, budget: int) -> Json:
        """Return a chat as it leaves."""
        policy = Policy("replayed", context_window=budget, reserve=Reserve(0, 0))
        asked = _said_as(self.name, body)
        request = self.shape.read(raw(asked), self.memo)
        made = decided(request, policy, self.model, self.model.bounds(policy), self.counter, self.known)
        if isinstance(made, Refusal):
            raise Refused
        if self.translated:
            left: Json = json.loads(self.shape.as_chat(request, request.model, made.changes))
            return left | ({"tools": body["tools"]} if body.get("tools") and left.get("tools") else {})
        left = json.loads(self.shape.write(request, request.model, made.changes))
        if left.get("tools") != asked.get("tools"):
            raise IllegalError("tools altered")
        tools = {"tools": body["tools"]} if body.get("tools") else {}
        return {"model": left["model"], "messages": _as_chat(self.name, asked, left), **tools}


def _said_as(name: str, body: Json) -> Json:
    if name == "responses":
        return as_items(body)
    return messages_of(body) if name == "messages" else body


def _as_chat(name: str, asked: Json, left: Json) -> list[Json]:
    """Turn what leaves back into the messages of a chat."""
    if name == "responses":
        return as_messages(left)
    if name == "chat":
        listed: list[Json] = left["messages"]
        return listed
    if not faults(asked) and (found := faults(left)):
        raise IllegalError(found[0])
    return chat_of(left)


def _tools(folder: Path) -> Any:
    """Import `replay.py` of a folder."""
    path = folder / "replay.py"
    if not path.is_file():
        raise SystemExit(f"there is no {path}: name the folder that holds replay.py with --tools")
    spec = importlib.util.spec_from_file_location("replay", path)
    assert spec is not None
    assert spec.loader is not None
    found = sys.modules["replay"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def _sayable(load: Any, shape: str, left_out: list[str], path: str) -> Iterator[Json]:
    """Yield the conversations of a file as they can be said in a shape."""
    for conversation in load(path):
        messages: list[Json] | None = [_unnamed(one) for one in conversation["messages"]]
        said = dict(conversation)
        if shape == "messages":
            messages = compact([_joined(one) for one in messages or ()])
            said["tools"] = [_described(tool["function"]) for tool in conversation.get("tools") or ()]
        if messages is None:
            left_out.append(conversation["id"])
        else:
            yield {**said, "messages": messages}


def _described(function: Json) -> Json:
    """Return a tool with what Messages say of one: they have no `strict` here, and always a schema."""
    said = {name: function[name] for name in ("name", "description") if function.get(name) is not None}
    return {"type": "function", "function": {**said, "parameters": function.get("parameters", {})}}


def _unnamed(message: Json) -> Json:
    """Return a result without the name of its tool, which stands in its call; any other message as it is."""
    return {name: held for name, held in message.items() if name != "name" or message["role"] != "tool"}


def _joined(message: Json) -> Json:
    """Return a message of several texts as one of their sum: blocks beside each other are one message there."""
    content = message.get("content")
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return {**message, "content": "\n".join([part["text"] for part in content])}
    return message


def judged(replay: Any, shape: str, name: str, budget: int, limit: int, *, translated: bool) -> Json:
    """Replay a set in one shape."""
    recorded = data()
    if recorded is None:
        raise SystemExit("there are no recorded conversations: set GATEWAY_DATA")
    replay.LOCAL[shape] = Passage(shape, translated=translated and shape != "chat")
    asked = argparse.Namespace(
        data=[str(recorded.folder / f"{name}.jsonl.gz")], rewriter=shape, budget=budget, limit=limit, qa=False, seed=7
    )
    found: Json = asyncio.run(replay.run(asked))
    return found


def apart(chat: Json, other: Json) -> list[str]:
    """List by what a shape is worse than the chat, or other than it."""
    out = [f"{other[name]} {name} ({other['problems'][:2]})" for name in NONE_OF if other[name] > chat[name]]
    out += [
        f"{name} {other[key]} beside {chat[key]}"
        for name, key in ALIKE.items()
        if abs((other[key] or 0) - (chat[key] or 0)) > MOST_APART
    ]
    costs = [one["cost_vs_direct"][CACHED_AND_WRITTEN] for one in (chat, other)]
    return out + ([f"cost {costs[1]} beside {costs[0]}"] if abs(costs[1] - costs[0]) > MOST_APART else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=RUNS, help="SET:BUDGET:CONVERSATIONS")
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--shapes", nargs="*", default=["responses", "messages"])
    parser.add_argument("--translated", action="store_true")
    args = parser.parse_args()
    replay, faulty = _tools(args.tools), 0
    load = replay.load
    for run in args.runs:
        name, budget, limit = run.split(":")
        for shape in args.shapes:
            left_out: list[str] = []
            replay.load = partial(_sayable, load, shape, left_out)
            of_chat: Json = {}
            for one in ("chat", shape):
                began = time.process_time()
                found = judged(replay, one, name, int(budget), int(limit), translated=args.translated)
                of_chat = of_chat or found
                worse = apart(of_chat, found)
                faulty += bool(worse)
                print(_line(run, one, found, time.process_time() - began), *worse, sep="\n    ", flush=True)
            if left_out:
                print(f"    {len(set(left_out))} conversations of {name} have no words in Messages", flush=True)
    return int(bool(faulty))


def _line(run: str, shape: str, found: Json, seconds: float) -> str:
    shares = ", ".join(f"{name} {found[key]}" for name, key in ALIKE.items())
    none = ", ".join(f"{found[name]} {name}" for name in NONE_OF)
    return (
        f"{run} {shape:9} {found['requests']} requests, {found['over_budget_before']} over: {shares}, "
        f"cost {found['cost_vs_direct'][CACHED_AND_WRITTEN]}; {found['refused']} refused, {none} ({seconds:.0f} s)"
    )


if __name__ == "__main__":
    sys.exit(main())

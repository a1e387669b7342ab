"""One request as it came beside what left, read with the standard library: what is missing, altered, and ours.

Messages carry `x_id` (meant.py), so nothing of the gateway's own account is believed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.conftest import Conversations
from tests.laws import oracle, transcripts
from tests.laws.driving import Walk
from tests.laws.generators import Case, Talk

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Leaving:
    """A request of a walk that was rewritten."""

    walk: Walk
    step: int

    @property
    def upto(self) -> int:
        return self.walk.upto[self.step]

    @cached_property
    def came(self) -> Sequence[Message]:
        return self.walk.case.talk.read[: self.upto]

    @cached_property
    def went(self) -> list[Message]:
        body = self.walk.left[self.step].body
        assert body is not None
        return list(json.loads(body)["messages"])

    @cached_property
    def standing(self) -> dict[int, Message]:
        """What left of each message, by its number."""
        return {m["x_id"]: m for m in self.went if "x_id" in m}

    @cached_property
    def missing(self) -> list[int]:
        return [n for n in range(self.upto) if n not in self.standing]

    @cached_property
    def ours(self) -> list[str]:
        """What we say, in order."""
        return [oracle.content_text(m) for m in self.went if "x_id" not in m]

    def is_whole(self, number: int) -> bool:
        """Whether a message left as it came."""
        return number in self.standing and self.standing[number] == self.came[number]

    def tokens(self, number: int) -> int:
        return oracle.message_tokens(self.came[number], self.walk.count)


def rewritten(walk: Walk) -> Iterator[Leaving]:
    """Give each request of a walk that does not leave as it came."""
    for step, left in enumerate(walk.left):
        if left.body is not None and left.changes is not None:
            yield Leaving(walk, step)


# ---------------------------------------------------------------- whose words


def kinds(messages: Sequence[Message]) -> list[str]:
    """Name what each message is: system, shot, task, rule, said, answer, step, result.

    The task is what people say up to the first answer to them; a greeting before it is none.
    """
    out: list[str] = []
    asked = answered = False
    head = oracle.head(messages)
    for number, message in enumerate(messages):
        kind = str(message["x_kind"])
        if number < head:
            kind = "system"
        elif kind == "system":
            kind = "rule"
        if kind == "said":
            asked = True
            kind = "said" if answered else "task"
        elif kind in ("answer", "step"):
            answered = answered or asked
        out.append(kind)
    return out


def hard(messages: Sequence[Message], kinds: Sequence[str]) -> set[int]:
    """Number what nobody may touch: the newest unit, the last message of a person and that of a user, and newest
    results it came behind.
    """
    asked = max(
        (n for n, kind in enumerate(kinds) if kind in ("said", "task", "shot") and _is_user(messages[n])), default=None
    )
    newest, last = oracle.newest(messages), oracle.last_user(messages)
    out = {*range(newest, len(messages)), *(n for n in (asked, last) if n is not None)}
    return out | oracle.unanswered(messages)


def _is_user(message: Message) -> bool:
    return bool(message["role"] == "user")


def exchange(messages: Sequence[Message], kinds: Sequence[str]) -> list[int]:
    """Number the last answer before what a person said last, and what it answers."""
    people = [n for n, kind in enumerate(kinds) if kind in ("said", "task")]
    if not people or any(message.get("x_unsure") for message in messages[people[-1] :]):
        return []
    answer = max((n for n in range(people[-1]) if kinds[n] == "answer"), default=None)
    if answer is None:
        return []
    return [*[n for n in people if n < answer][-1:], answer]


def requests(messages: Sequence[Message]) -> list[int]:
    """Number the prefixes that may have been requests: what an assistant answered, and the whole."""
    return [*[n for n, m in enumerate(messages) if m["role"] == "assistant" and n], len(messages)]


# ---------------------------------------------------------------- plain and quoted

_FENCE = re.compile(r"(?m)^(`{3,})(?=\n)")
_STRING = json.JSONDecoder()


def unquoted(text: str) -> str:
    """Leave out of a message of ours what is fenced, and every JSON string; what is left speaks for itself."""
    out: list[str] = []
    at = 0
    while at < len(text):
        fence = _FENCE.match(text, at)
        close = None if fence is None else re.compile(rf"\n{fence[1]}(?=\n|\Z)").search(text, fence.end())
        if close is not None:
            at = close.end()
            continue
        if text[at] == '"':
            try:
                _, at = _STRING.raw_decode(text, at)
                out.append("\x00")
                continue
            except ValueError:
                pass
        out.append(text[at])
        at += 1
    return "".join(out)


_PLACE = re.compile(r"(?m)^(?:\[([\d, ]+)\]|messages\[(\d+)\]) ([^\n:]*): ?")
_NUMBERED = re.compile(r"\d+: ?")


def quotations(text: str) -> Iterator[tuple[list[int], str, list[str]]]:
    """Give the quotations of a list or of excerpts: the numbers of the messages, who speaks, and the pieces."""
    at = 0
    while (place := _PLACE.search(text, at)) is not None:
        numbers = [int(number) for number in re.findall(r"\d+", place[1] or place[2])]
        at, pieces = place.end(), []
        while at < len(text) and not (text[at - 1] == "\n" and _PLACE.match(text, at)):
            fence = _FENCE.match(text, at)
            close = None if fence is None else re.compile(rf"\n{fence[1]}(?=\n|\Z)").search(text, fence.end())
            if fence is not None and close is not None:
                pieces += _fenced(text[fence.end() + 1 : close.start()])
                at = close.end()
            elif text[at] == '"':
                said, at = string(text, at)
                pieces += said.split(" … ")
            else:
                at += 1
        yield numbers, place[3], pieces


def string(text: str, at: int) -> tuple[str, int]:
    """Read a JSON string that begins there, and find its end."""
    try:
        said, end = _STRING.raw_decode(text, at)
    except ValueError as problem:
        raise AssertionError(f"a quotation that does not end: {text[at - 20 : at + 80]!r}") from problem
    return str(said), end


def _fenced(text: str) -> list[str]:
    """Give the pieces in a fence: numbered lines, the cells of a table, or text with gaps."""
    lines = text.split("\n")
    if all(_NUMBERED.match(line) for line in lines):
        return [_NUMBERED.sub("", line, count=1) for line in lines]
    return text.split("\n[…]\n")


# ---------------------------------------------------------------- recorded


OUTPUT = re.compile(
    r"(?i)\A\s*(?:<\w*(?:output|result|observation)|observation|execution|\[|```|\{)|[$#>]\s*\Z|bash-\$\s*\Z"
)
"""What a tool's output in a user message looks like. Whoever sends such a thing is taken for no person whose words must
stay; it may be one all the same."""


def marked(talk: Talk) -> Talk:
    """Number the messages of a recorded conversation, and say whose words they hold, by form."""
    messages = []
    calls: dict[str, str] = {}
    for number, message in enumerate(talk.read):
        calls |= {call: name for call, name, _ in oracle.calls(message)}
        kind = {"tool": "result", "function": "result", "user": "said", "assistant": "answer"}.get(
            message["role"], "system" if message["role"] in ("system", "developer") else "said"
        )
        if kind == "answer" and oracle.calls(message):
            kind = "step"
        more: dict[str, Any] = {"x_id": number, "x_kind": kind}
        if kind == "said" and OUTPUT.search(oracle.content_text(message)):
            kind = "result"
            more |= {"x_kind": kind, "x_unsure": True}
        if kind == "result":
            more["x_tool"] = calls.get(message.get("tool_call_id") or "", message.get("name") or "tool")
        messages.append(json.dumps({**message, **more}, ensure_ascii=False))
    return Talk(tuple(messages), talk.opening, talk.between, talk.closing)


def recorded_walks(conversations: Conversations, part: int) -> Iterator[Walk]:
    """Walk a third of the sampled conversations, each under one budget, counted fast."""
    talks = list(transcripts.talks(conversations))
    budget = transcripts.BUDGETS[part]
    for talk in talks if transcripts.ALL else talks[part::3]:
        for policy in transcripts.policies(budget):
            yield Walk(Case(marked(talk), policy))

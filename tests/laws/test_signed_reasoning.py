"""Law 4 for reasoning that its maker signed or sealed, in the shapes that carry it as it is.

Thinking in Messages and encrypted reasoning in Responses leave in their own bytes, beside what they came with, or not
at all; and where a model binds it, behind the very messages that it was given after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.policy import Fold, Policy, Reserve
from gateway.providers.anthropic import MESSAGES_API
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Refusal
from gateway.serving.fit import decided
from gateway.wire.legality import CHAT, Rules
from gateway.wire.memo import Memo
from gateway.wire.shape import MESSAGES, RESPONSES, Shape
from tests.conftest import Conversations, examples
from tests.in_messages import compact, faults, messages_of
from tests.items import as_items
from tests.laws.driving import counter_of
from tests.laws.generators import ASKED, FULL, model_of
from tests.laws.oracle import quarter
from tests.laws.transcripts import ALL
from tests.talk import words

Json = dict[str, Any]
BOUND = replace(MESSAGES_API, binds_reasoning=True)
BUDGETS = (200, 600, 1500)
RECORDED_BUDGETS = (1500, 4000)


def policy_of(budget: int, **fold: Any) -> Policy:
    return Policy("p", context_window=budget, reserve=Reserve(0, 0), fold=Fold(**fold), ladder=FULL)


# ---------------------------------------------------------------- conversations


def sealed(seed: str) -> str:
    """A signature as JSON that no library would write: with escapes that say plain characters."""
    return f'"Eq\\u002B{seed}\\/x+\\u003d"'


def thinking(seed: str) -> str:
    return f'{{"type": "thinking","thinking":"Step {seed}: \\u0077hat now?" , "signature":{sealed(seed)}}}'


def redacted(seed: str) -> str:
    return f'{{ "type":"redacted_thinking","data" : {sealed(seed)}}}'


def dumped(value: Any) -> str:
    return json.dumps(value)


@dataclass(frozen=True)
class Talk:
    """The messages, or items, of a conversation, each as it is written."""

    written: tuple[str, ...]
    asks: tuple[int, ...]
    """After how many of them a request is made."""
    frame: str
    """The rest of the body, with `%s` for them."""

    def body(self, upto: int) -> bytes:
        return (self.frame % ",".join(self.written[:upto])).encode()


@st.composite
def in_messages(draw: st.DrawFn) -> Talk:
    """Draw a conversation of Messages whose answers think."""
    out: list[str] = []
    asks: list[int] = []

    def reasons(seed: str) -> list[str]:
        kinds = draw(st.lists(st.sampled_from([thinking, redacted]), min_size=0, max_size=2))
        return [kind(f"{seed}.{number}") for number, kind in enumerate(kinds)]

    def say(role: str, blocks: Sequence[str]) -> None:
        out.append(f'{{"role": "{role}","content":[{",".join(blocks)}]}}')
        if role == "user":
            asks.append(len(out))

    def text(seed: str, most: int) -> str:
        return dumped({"type": "text", "text": words(draw(st.integers(1, most)), seed)})

    pending: list[str] = []
    for turn in range(draw(st.integers(1, 7))):
        say("user", [*pending, text(f"u{turn}", 60)])
        pending = []
        for step in range(draw(st.integers(0, 4))):
            seed = f"t{turn}s{step}"
            ids = [f"toolu_{seed}_{at}" for at in range(draw(st.integers(1, 2)))]
            uses = [dumped({"type": "tool_use", "id": one, "name": "read", "input": {"path": one}}) for one in ids]
            says = [text(seed, 20)] if draw(st.booleans()) else []
            say("assistant", [*reasons(seed), *says, *uses])
            results = [
                dumped({"type": "tool_result", "tool_use_id": one, "content": words(draw(st.integers(1, 200)), one)})
                for one in ids
            ]
            say("user", results)
        if out[-1].startswith('{"role": "user"') or draw(st.booleans()):
            say("assistant", [*reasons(f"a{turn}"), text(f"a{turn}", 60)])
    if not out[-1].startswith('{"role": "user"'):
        say("user", [text("last", 5)])
    tools = '[{"name":"read","input_schema":{"type":"object"}}]'
    thinks = '{"type":"enabled","budget_tokens":1024}'
    frame = f'{{"model":"{ASKED}","max_tokens":9,"thinking":{thinks},"tools":{tools},"messages":[%s]}}'
    return Talk(tuple(out), tuple(asks), frame)


def sealed_item(seed: str) -> str:
    return f'{{"type":"reasoning", "id":"rs_{seed}","summary":[ ] ,"encrypted_content":{sealed(seed)}}}'


@st.composite
def in_items(draw: st.DrawFn) -> Talk:
    """Draw a conversation of items whose reasoning is sealed."""
    out: list[str] = []
    asks: list[int] = []
    for turn in range(draw(st.integers(1, 7))):
        out.append(dumped({"role": "user", "content": words(draw(st.integers(1, 60)), f"u{turn}")}))
        asks.append(len(out))
        for step in range(draw(st.integers(0, 4))):
            seed = f"t{turn}s{step}"
            if draw(st.booleans()):
                out.append(sealed_item(seed))
            out.append(dumped({"type": "function_call", "call_id": seed, "name": "read", "arguments": "{}"}))
            output = words(draw(st.integers(1, 200)), seed)
            out.append(dumped({"type": "function_call_output", "call_id": seed, "output": output}))
            asks.append(len(out))
        if draw(st.booleans()):
            out.append(sealed_item(f"a{turn}"))
        said = [{"type": "output_text", "text": words(draw(st.integers(1, 60)), f"a{turn}")}]
        out.append(dumped({"type": "message", "role": "assistant", "content": said}))
    out.append(dumped({"role": "user", "content": "And now?"}))
    tools = '[{"type":"function","name":"read","parameters":{}}]'
    frame = (
        f'{{"model":"{ASKED}","store":false,"include":["reasoning.encrypted_content"],"tools":{tools},"input":[%s]}}'
    )
    return Talk(tuple(out), (*asks, len(out)), frame)


# ---------------------------------------------------------------- what left


@dataclass
class Tally:
    """What became of the requests of conversations."""

    faults: list[str] = field(default_factory=list)
    served: int = 0
    rewritten: int = 0
    refused: int = 0
    sealed: int = 0
    """Pieces of reasoning that left in rewritten requests."""


def seals(content: Any) -> list[str]:
    """List the signatures and sealed texts in the content of a message of Messages."""
    blocks = content if isinstance(content, list) else []
    kinds = {"thinking": "signature", "redacted_thinking": "data"}
    return [str(block[kinds[block["type"]]]) for block in blocks if block["type"] in kinds]


def walk(shape: Shape, talk: Talk, policy: Policy, rules: Rules, tally: Tally, *, remembers: bool) -> None:
    """Send each request of a conversation and judge what leaves."""
    model, counter, memo, known = (
        model_of(None, legal=rules),
        counter_of(quarter),
        Memo(),
        Known() if remembers else None,
    )
    given: dict[str, Any] = {}
    member = "messages" if shape is MESSAGES else "input"
    for upto in talk.asks:
        request = shape.read(talk.body(upto), memo)
        window = model.bounds(policy, answer_limit=None, thinking=0)
        plan = decided(request, policy, model, window, counter, known)
        if isinstance(plan, Refusal):
            assert not plan.ours
            tally.refused += 1
            continue
        left = shape.write(request, ASKED, plan.changes)
        if plan.changes is None:
            assert left == talk.body(upto)
        went = orjson.loads(left)[member]
        judge = judged_messages if shape is MESSAGES else judged_items
        tally.faults += judge(orjson.loads(talk.body(upto))[member], went, left, talk.written[:upto])
        if rules.binds_reasoning:
            tally.faults += behind_others(went, given)
            tally.faults += loop_lost(orjson.loads(talk.body(upto))[member], went)
        if upto < len(talk.written) and shape is MESSAGES:
            answer = orjson.loads(talk.written[upto])
            given |= dict.fromkeys(seals(answer["content"]), went)
        tally.served += 1
        tally.rewritten += plan.changes is not None
        pieces = [one for message in went for one in seals(message.get("content"))]
        pieces += [item["encrypted_content"] for item in went if item.get("type") == "reasoning"]
        tally.sealed += len(pieces) if plan.changes is not None else 0


def judged_messages(came: Sequence[Json], went: Sequence[Json], left: bytes, written: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with Messages that left."""
    yield from faults({"messages": went})
    owner = {seal: at for at, message in enumerate(came) for seal in seals(message["content"])}
    for at, message in enumerate(went):
        own = seals(message["content"])
        places = {owner.get(seal) for seal in own}
        if not own:
            continue
        place = places.pop()
        if places or place is None:
            yield f"messages[{at}] holds reasoning of several messages, or of none"
        elif written[place].encode() not in left:
            yield f"messages[{at}] holds reasoning, and is not what came as messages[{place}]"


def loop_lost(came: Sequence[Json], went: Sequence[Json]) -> Iterator[str]:
    """Yield reasoning of the newest tool loop that did not leave: a model that binds it wants all of it back."""
    last = max((at for at, message in enumerate(came) if _asks(message)), default=-1)
    loop = {seal for message in came[last + 1 :] for seal in seals(message["content"])}
    there = {seal for message in went for seal in seals(message["content"])}
    yield from (f"{seal} of the newest tool loop did not leave" for seal in loop - there)


def _asks(message: Json) -> bool:
    """Whether a user speaks in a message, beside results or alone."""
    content = message["content"]
    return message["role"] == "user" and any(block["type"] == "text" for block in content)


def judged_items(came: Sequence[Json], went: Sequence[Json], left: bytes, written: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with items that left."""
    calls = [item["call_id"] for item in went if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in went if item.get("type") == "function_call_output"]
    if calls != outputs:
        yield f"calls {calls}, outputs {outputs}"
    places = {item["id"]: at for at, item in enumerate(came) if item.get("type") == "reasoning"}
    for at, item in enumerate(went):
        if item.get("type") != "reasoning":
            continue
        place = places[item["id"]]
        if b",".join([one.encode() for one in written[place : place + 2]]) not in left:
            yield f"input[{at}] is not what came as input[{place}], with the item behind it"


def behind_others(went: Sequence[Json], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield reasoning that came back behind other messages than it was given after."""
    for at, message in enumerate(went):
        for seal in seals(message["content"]):
            if seal in given and given[seal] != list(went[:at]):
                yield f"{seal} behind {at} messages, given behind {len(given[seal])}"


# ---------------------------------------------------------------- laws


@settings(max_examples=examples(30))
@given(in_messages(), st.sampled_from(BUDGETS), st.sampled_from([MESSAGES_API, BOUND]), st.booleans())
def test_thinking_leaves_as_it_came_or_not_at_all(talk: Talk, budget: int, rules: Rules, remembers: bool) -> None:
    tally = Tally()
    walk(MESSAGES, talk, policy_of(budget), rules, tally, remembers=remembers)
    assert tally.faults == []


@settings(max_examples=examples(30))
@given(in_items(), st.sampled_from(BUDGETS), st.booleans())
def test_sealed_reasoning_leaves_as_it_came_or_not_at_all(talk: Talk, budget: int, remembers: bool) -> None:
    tally = Tally()
    walk(RESPONSES, talk, policy_of(budget, keep_turns=1), CHAT, tally, remembers=remembers)
    assert tally.faults == []


# ---------------------------------------------------------------- recorded conversations


def recorded(conversations: Conversations) -> Iterator[tuple[Talk, Talk]]:
    """A few recorded tool loops, as Messages whose answers think and as items with sealed reasoning."""
    for name in conversations.names:
        for one in list(conversations.read(name))[: None if ALL else 2]:
            listed = compact(one["messages"][: None if ALL else 80])
            if listed is None or not any(message.get("tool_calls") for message in listed):
                continue
            chat = {"model": ASKED, "messages": listed}
            wire = messages_of(chat)
            if not faults(wire):
                yield _thinks(wire), _sealed_items(as_items(chat))


def _thinks(wire: Json) -> Talk:
    written = []
    for at, message in enumerate(wire["messages"]):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        raw = [dumped(block) for block in blocks]
        own = [thinking(str(at))] if at % 3 else [redacted(str(at))]
        raw = [*own, *raw] if message["role"] == "assistant" else raw
        written.append(f'{{"role": "{message["role"]}","content":[{",".join(raw)}]}}')
    asks = [at + 1 for at, message in enumerate(wire["messages"]) if message["role"] == "user"]
    return Talk(tuple(written), tuple(asks), _frame(wire, "messages"))


def _sealed_items(body: Json) -> Talk:
    written: list[str] = []
    asks: list[int] = []
    for at, item in enumerate(body["input"]):
        if item.get("role") == "assistant" or item.get("type") == "function_call":
            written.append(sealed_item(str(at)))
        written.append(dumped(item))
        if item.get("role") == "user" or item.get("type") == "function_call_output":
            asks.append(len(written))
    following = [at for at in asks if at == len(written) or "_output" not in written[at][:40]]
    return Talk(tuple(written), tuple(following), _frame(body, "input"))


def _frame(body: Json, member: str) -> str:
    rest = dumped({name: held for name, held in body.items() if name != member}).replace("%", "%%")
    return f'{rest[:-1]}, "{member}":[%s]}}'


@pytest.mark.long
def test_recorded_loops_leave_with_their_reasoning_whole(conversations: Conversations) -> None:
    thought, kept = Tally(), Tally()
    for messages, items in recorded(conversations):
        for budget in RECORDED_BUDGETS:
            for rules in (MESSAGES_API, BOUND):
                walk(MESSAGES, messages, policy_of(budget), rules, thought, remembers=True)
            walk(RESPONSES, items, policy_of(budget), CHAT, kept, remembers=True)
    assert (thought.faults, kept.faults) == ([], [])
    for tally in (thought, kept):
        assert tally.served > 50
        assert tally.rewritten > 10
        assert tally.sealed > 20

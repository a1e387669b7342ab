"""Law 4 for the newest models: reasoning is only taken back behind the very messages that it was given after."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.config.policy import Policy, Reserve
from gateway.providers.anthropic import MESSAGES_API
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Refusal
from gateway.wire.memo import Memo
from tests.conftest import Conversations, examples
from tests.laws import oracle, transcripts
from tests.laws.driving import Left, counter_of, leave
from tests.laws.generators import Talk, cases, model_of

BOUND = replace(MESSAGES_API, binds_reasoning=True)
Body = dict[str, Any]


def thinking(talk: Talk, everywhere: bool = False) -> Talk:
    """Give each assistant message that calls tools (or each) signed reasoning, as litellm passes Claude's on."""
    messages: list[str] = []
    for index, (raw, message) in enumerate(zip(talk.messages, talk.read, strict=True)):
        said = f"Step {index}: what now?"
        block = {"type": "thinking", "thinking": said, "signature": f"sig-{index}"}
        thinks = message["role"] == "assistant" and (everywhere or message.get("tool_calls"))
        dressed = {**message, "thinking_blocks": [block], "reasoning_content": said}
        messages.append(json.dumps(dressed) if thinks else raw)
    return replace(talk, messages=tuple(messages))


@dataclass(frozen=True)
class Judged:
    """What became of one conversation's requests."""

    illegal: tuple[str, ...]
    served: int
    rewritten: int
    refused: int
    kept: int
    """Reasoning that left, in rewritten requests."""


def judge(talk: Talk, policy: Policy, count: oracle.CountText, *, remembers: bool) -> Judged:
    """Send a conversation turn by turn and hold each request to what its reasoning is bound to."""
    model, counter, memo, known = model_of(legal=BOUND), counter_of(count), Memo(), Known() if remembers else None
    served: list[tuple[list[Body], str]] = []
    bad: list[str] = []
    rewritten = refused = kept = 0
    for upto in talk.requests():
        left: Left = leave(talk.body(upto), policy, model, counter, memo, known=known)
        if left.body is None:
            assert isinstance(left.plan, Refusal)
            assert not left.plan.ours
            refused += 1
            continue
        went = json.loads(left.body)["messages"]
        bad += oracle.reasoning_lost(talk.read[:upto], went)
        bad += oracle.violations(went) - oracle.violations(talk.read[:upto])
        bad += oracle.provider_violations(went, "Anthropic") - oracle.provider_violations(talk.read[:upto], "Anthropic")
        served.append((went, f"sig-{upto}"))
        rewritten += left.changes is not None
        kept += sum(len(oracle.signatures(message)) for message in went) if left.changes is not None else 0
    return Judged((*bad, *oracle.unbound(served)), len(served), rewritten, refused, kept)


def recorded(conversations: Conversations) -> Iterator[Talk]:
    for talk in transcripts.talks(conversations):
        if any(message.get("tool_calls") for message in talk.read):
            yield thinking(talk)


@pytest.mark.parametrize("budget", [4000, 8000])
def test_recorded_tool_loops_with_thinking_never_leave_illegal(conversations: Conversations, budget: int):
    served = rewritten = kept = 0
    for talk in recorded(conversations):
        for policy in transcripts.policies(budget):
            found = judge(talk, policy, oracle.tokens, remembers=True)
            assert found.illegal == ()
            served, rewritten, kept = served + found.served, rewritten + found.rewritten, kept + found.kept
    assert served > 100
    assert rewritten > 10
    assert kept > 10


@settings(max_examples=examples(100))
@given(cases(), st.booleans(), st.booleans())
def test_reasoning_never_comes_back_behind_other_messages(case: Any, everywhere: bool, remembers: bool):
    calls = any(message.get("tool_calls") for message in case.talk.read)
    assume(not calls or "tools" in case.talk.frame)  # a model calls only what is declared
    found = judge(thinking(case.talk, everywhere), case.policy, oracle.quarter, remembers=remembers)
    assert found.illegal == ()


@dataclass(frozen=True)
class _Turns:
    """A chat with tools: `turns` questions, each with so many calls of so many words."""

    turns: int
    calls: int
    words: int

    def talk(self) -> Talk:
        out: list[Body] = [{"role": "system", "content": "Be brief."}]
        for turn in range(self.turns):
            out.append({"role": "user", "content": f"Question {turn}: what is in file {turn}?"})
            for call in range(self.calls):
                name = f"c{turn}-{call}"
                function = {"name": "read", "arguments": f'{{"path": "/{name}"}}'}
                calls = [{"id": name, "type": "function", "function": function}]
                out.append({"role": "assistant", "content": None, "tool_calls": calls})
                out.append({"role": "tool", "tool_call_id": name, "content": f"{name} says " + "word " * self.words})
            out.append({"role": "assistant", "content": f"Answer {turn}."})
        return thinking(
            Talk(tuple(map(json.dumps, out)), closing='], "tools": [{"type": "function"}]}'), everywhere=True
        )


POLICY = Policy("tight", context_window=3000, reserve=Reserve(0, 0))


def test_a_fold_is_made_at_a_users_turn_and_the_reasoning_behind_it_goes():
    found = judge(_Turns(12, 2, 150).talk(), POLICY, oracle.tokens, remembers=False)
    assert found.illegal == ()
    assert found.refused == 1, "the loop in which it was over for the first time"
    assert found.rewritten > 10
    assert found.kept > 5


def test_a_loop_that_outgrows_its_window_is_refused_until_the_user_speaks():
    talk = _Turns(3, 8, 400).talk()
    found = judge(talk, POLICY, oracle.tokens, remembers=False)
    assert found.illegal == ()
    assert found.refused > 0
    last = leave(talk.body(len(talk.messages) - 2 * 8 - 1), POLICY, model_of(legal=BOUND), counter_of(oracle.tokens))
    assert last.body is not None, "the user's next question is served"
    free = leave(talk.body(len(talk.messages) - 1), POLICY, model_of(legal=MESSAGES_API), counter_of(oracle.tokens))
    assert free.body is not None, "where nothing is bound the loop goes on"


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_last_message_that_says_nothing_but_reasoning_stays(role: str):
    chat = [{"role": ("user", "assistant")[n % 2], "content": f"{n}: " + "word " * 150} for n in range(40)]
    last = {"role": role, "content": "", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}
    talk = Talk(tuple(map(json.dumps, [*chat, last])), closing="]}")
    left = leave(talk.body(41), POLICY, model_of(legal=BOUND), counter_of(oracle.tokens))
    assert left.changes is not None
    assert left.body is not None
    assert json.loads(left.body)["messages"][-1] == last

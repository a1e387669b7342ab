"""The same conversation as a chat and as Messages: fitted alike, legal, kept byte for byte where nothing is done.

Made conversations and recorded ones. The full run over all that were recorded: GATEWAY_ALL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from hypothesis import given, settings

from gateway.config.policy import Policy, Reserve
from gateway.providers.anthropic import MESSAGES_API
from gateway.rewriting.plan import Plan, Refusal
from gateway.routing.models import Model
from gateway.serving.fit import decided
from gateway.wire.memo import Memo
from gateway.wire.shape import CHAT, MESSAGES, Shape
from tests.conftest import Conversations, examples
from tests.in_messages import chat_of, compact, faults, messages_of
from tests.laws import oracle
from tests.laws.driving import counter_of
from tests.laws.generators import ASKED, FULL, Case, cases, model_of
from tests.laws.transcripts import ALL

_PLACE = re.compile(r"messages\[\d+\](?:\.content\[\d+\])?|system\[\d+\]")
BUDGETS = (4000, 8000)


def left(shape: Shape, body: bytes, policy: Policy, model: Model) -> tuple[Plan | Refusal, bytes | None]:
    """Plan a request and write it; None where it is refused."""
    request = shape.read(body, Memo())
    window = model.bounds(policy, answer_limit=None, thinking=0)
    found = decided(request, policy, model, window, counter_of(oracle.quarter))
    return found, None if isinstance(found, Refusal) else shape.write(request, ASKED, found.changes)


def plain(messages: Any) -> list[Any]:
    """Return the messages of a chat without what its form alone makes different."""
    out = []
    for one in messages:
        content = one.get("content")
        if isinstance(content, list):
            content = "\n".join([part["text"] for part in content])
        calls = [
            (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in one.get("tool_calls", ())
        ]
        out.append((one["role"], _PLACE.sub("[place]", content or ""), one.get("tool_call_id"), calls))
    return out


def check(chat: Mapping[str, Any], policy: Policy, model: Model) -> bool:
    """Hold one conversation to it; tell whether it could be said in both shapes."""
    listed = compact(chat["messages"])
    if listed is None:
        return False
    asked = {**chat, "messages": listed}
    theirs = messages_of(asked)
    body = orjson.dumps(theirs)
    request = MESSAGES.read(body, Memo())
    assert MESSAGES.write(request, request.model) == body
    if faults(theirs) or len(request.conversation.messages) != len(listed):
        return False
    chats, went = left(CHAT, orjson.dumps(asked), policy, model)
    found, out = left(MESSAGES, body, policy, model)
    assert type(found) is type(chats)
    if went is None or out is None:
        assert went is out is None
        return True
    written = json.loads(out)
    assert not faults(written)
    assert plain(chat_of(written)) == plain(json.loads(went)["messages"])
    again, twice = left(MESSAGES, out, policy, model)
    assert not isinstance(again, Plan) or not again.rewrites or twice == out
    return True


@settings(max_examples=examples(200))
@given(cases(legal=(MESSAGES_API,), strict=False, limits=False))
def test_made_conversations_are_fitted_alike(case: Case) -> None:
    check({"model": ASKED, "messages": spoken(case.talk.read)}, case.policy, case.model)


def spoken(messages: Sequence[Any]) -> list[Any]:
    """Return a chat's messages without what Messages have no place for."""
    out = []
    for one in messages:
        message = {name: one[name] for name in ("role", "content", "tool_calls", "tool_call_id") if name in one}
        message["role"] = "system" if message["role"] == "developer" else message["role"]
        if isinstance(message.get("content"), list):
            message["content"] = [part for part in message["content"] if part.get("type") == "text"] or "…"
        out.append(message)
    return out


def test_recorded_conversations_are_fitted_alike(conversations: Conversations) -> None:
    tried = 0
    for name in conversations.names:
        read = list(conversations.read(name))
        for conversation in read if ALL else read[:: max(1, len(read) // 2)][:1]:
            messages = conversation["messages"] if ALL else conversation["messages"][:60]
            last = max((at for at, one in enumerate(messages) if one["role"] in ("user", "tool")), default=-1)
            chat = {"model": ASKED, "messages": messages[: last + 1]}
            for budget in BUDGETS:
                policy = Policy(name="all", context_window=budget, reserve=Reserve(0, 0), ladder=FULL)
                tried += check(chat, policy, model_of(None, legal=MESSAGES_API))
    assert tried >= 10

"""Recorded conversations as talks, and the policies they are walked under."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config.ladder import Ladder
from gateway.config.policy import Policy, Reserve
from gateway.rewriting.memory import Known
from tests.conftest import Conversations
from tests.laws import oracle
from tests.laws.driving import Walk
from tests.laws.generators import ASKED, DROP, FULL, Case, Talk

BUDGETS = (4000, 8000, 16_000)

ALL = bool(os.environ.get("GATEWAY_ALL"))
"""Whether every conversation is walked; else a few of each source."""

_SAMPLE = 6
_LONGEST = 120
"""Messages of a sampled conversation at most."""


def talk_of(conversation: Mapping[str, Any], longest: int | None = None) -> Talk:
    tools = conversation.get("tools")
    return Talk(
        messages=tuple(json.dumps(m, ensure_ascii=False) for m in conversation["messages"][:longest]),
        opening=f'{{"model": "{ASKED}", "messages": [',
        between=", ",
        closing=f'], "tools": {json.dumps(tools)}}}' if tools else "]}",
    )


def policies(budget: int) -> Iterator[Policy]:
    """Give the built-in ladder and dropping only; of a sample each budget sees one of them."""
    ladders = {"all": FULL, "drop": Ladder((), (), (), DROP, ())}
    for name, ladder in ladders.items():
        if ALL or (name == "drop") == (budget == BUDGETS[1]):
            yield Policy(name=name, context_window=budget, reserve=Reserve(0, 0), ladder=ladder)


def talks(conversations: Conversations) -> Iterator[Talk]:
    for name in conversations.names:
        read = list(conversations.read(name))
        if not ALL:
            read = read[:: max(1, len(read) // _SAMPLE)][:_SAMPLE]
        for conversation in read:
            yield talk_of(conversation, None if ALL else _LONGEST)


def walks(conversations: Conversations, part: int) -> Iterator[Walk]:
    """Walk a third of the conversations under each budget, counted as a provider would.

    As in a gateway, what was read of a conversation is known when it comes again under another policy.
    """
    for talk in list(talks(conversations))[part :: len(BUDGETS)]:
        known = Known()
        for budget in BUDGETS:
            for policy in policies(budget):
                yield Walk(Case(talk, policy), oracle.tokens, known)

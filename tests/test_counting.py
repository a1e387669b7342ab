"""Our count of a prompt is the count of whoever counts it independently, on every recorded conversation."""

from __future__ import annotations

import json

from gateway.budget.components import Recognition, dissect
from gateway.budget.tokens import Counter
from gateway.wire.chat.read import parse
from gateway.wire.memo import Memo
from tests.conftest import Conversations
from tests.upstream.counting import prompt_tokens


def test_every_recorded_prompt_counts_what_an_independent_count_says(conversations: Conversations):
    counter, memo, seen = Counter("o200k_base"), Memo(), 0
    for conversation in conversations.all():
        body = {"model": "gpt-5", "messages": conversation["messages"]}
        if conversation.get("tools"):
            body["tools"] = conversation["tools"]
        request = parse(json.dumps(body).encode(), memo)
        anatomy = dissect(request.conversation, Recognition(), counter.count, lambda _: 0)
        assert anatomy.total == prompt_tokens(body), conversation["id"]
        assert sum(anatomy.by_component().values()) == anatomy.total
        seen += 1
    assert seen > 0

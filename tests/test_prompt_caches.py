"""What is believed of the providers' caches, held against what the demo provider reports, turn by turn.

A few conversations of each source in the suite, all of them with CACHING=all.
"""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.caching.misses import FIRST_SIGHT, WHAT_IT_MEANS
from tests.caching_replay import RULES, Body, Replay, marked, requests_of, sampled
from tests.conftest import Conversations
from tests.upstream.counting import message_tokens, text_tokens

ALL = os.environ.get("CACHING") == "all"
SAMPLE = None if ALL else 2
LONGEST = 10**9 if ALL else 40
"""Requests of one conversation, from its beginning on."""
DETERMINISTIC = ("openai", "openai-5.6", "anthropic", "gemini/gemini-3-pro")
"""vLLM reads tokens that agree inside a message too; the gateway's beliefs end with a message."""


class LongestPrefix:
    """The longest run of whole messages sent before, from 1,024 tokens on, in steps of 128: an oracle of its own."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def cached(self, body: Body) -> int:
        tools = body.get("tools") or []
        said = json.dumps(tools, sort_keys=True)
        upto = text_tokens(json.dumps(tools, ensure_ascii=False, separators=(",", ":"))) if tools else 0
        marks = [(hash(said), upto)]
        for message in body["messages"]:
            said = str(hash(said + json.dumps(message, sort_keys=True)))
            upto += message_tokens(message)
            marks.append((hash(said), upto))
        hit = 0
        for mark, tokens in marks:
            if str(mark) not in self.seen:
                break
            hit = tokens
        self.seen.update(str(mark) for mark, _ in marks)
        return hit // 128 * 128 if hit >= 1024 else 0


async def replayed(
    folder: Path, rules: str, conversations: Conversations, **more: Any
) -> tuple[list[Body], list[dict[str, Any]]]:
    """Send every conversation to the provider of one rule set, a second between two requests."""
    replay = Replay(folder, [rules], **more)
    sent: list[Body] = []
    for _, conversation in sampled(conversations, SAMPLE):
        for number, body in enumerate(requests_of(conversation)):
            if number >= LONGEST:
                break
            body = marked(body) if rules == "anthropic" else body
            client = await replay.send(body)
            assert client.status == 200, client.text
            sent.append(body)
            replay.clock.at += 1
    return sent, await replay.close()


@pytest.mark.parametrize("rules", DETERMINISTIC)
async def test_what_is_expected_is_what_the_provider_reports_and_every_miss_has_a_cause(
    rules: str, conversations: Conversations, tmp_path: Path
):
    sent, rows = await replayed(tmp_path, rules, conversations)
    off = [
        (at, row.get("expected_cached", 0), row["cached_tokens"])
        for at, row in enumerate(rows)
        if row.get("expected_cached", 0) != row["cached_tokens"]
    ]
    assert off == []
    nameless = [row["id"] for row in rows if not row["cached_tokens"] and "miss" not in row]
    assert nameless == []
    causes = Counter(row["miss"].partition(":")[0] for row in rows if "miss" in row)
    assert causes.keys() <= WHAT_IT_MEANS.keys()
    print(f"\n{rules}: {len(rows)} requests, {sum(row['cached_tokens'] for row in rows)} cached tokens, {dict(causes)}")
    if rules == "openai":
        oracle = LongestPrefix()
        assert [oracle.cached(body) for body in sent] == [row["cached_tokens"] for row in rows]
    assert causes[FIRST_SIGHT]
    assert RULES


assert asyncio

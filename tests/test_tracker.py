"""What is believed of the providers' caches, held against what the demo provider reports, turn by turn.

A few conversations of each source in the suite, all of them with CACHING=all.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from gateway.prompt_cache.breakpoints import Breakpoint
from gateway.prompt_cache.lookup import CacheLookup, ConversationOwner
from gateway.prompt_cache.misses import BELOW_MINIMUM, FIRST_SIGHT, MISS_MEANINGS
from gateway.prompt_cache.tracker import PromptCaches
from gateway.wire.chat.read import parse
from gateway.wire.memo import Memo
from tests.caching_replay import Replay, facts_of, marked, requests_of, sampled
from tests.conftest import Conversations
from tests.load.recorded import Body
from tests.passage import NOW, deployment
from tests.passage import policy as read_policy
from tests.talk import assistant, body, system, user
from tests.upstream.counting import message_tokens, text_tokens

ALL = os.environ.get("CACHING") == "all"
TALK = [system("Be brief. " * 600), user("one"), assistant("1")]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SAMPLE = None if ALL else 2
Row = dict[str, Any]
LONGEST = 10**9 if ALL else 40
"""Requests of one conversation, from its beginning on."""
STEP = 0.01
"""Seconds from one request to the next: all of them are within five minutes, so that nothing expires."""
DETERMINISTIC = ("openai", "openai-5.6", "anthropic", "anthropic/sonnet", "gemini/gemini-3-pro")
"""Under `anthropic` the client sets markers, and we what is left; under `anthropic/sonnet` all are ours.
vLLM reads tokens that agree inside a message too; the gateway's beliefs end with a message."""


class LongestPrefix:
    """The longest run of whole messages sent before, from 1,024 tokens on, in steps of 128: an oracle of its own."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def cached(self, body: Body) -> int:
        tools = body.get("tools") or []
        said = json.dumps(tools, sort_keys=True)
        up_to = text_tokens(json.dumps(tools, ensure_ascii=False, separators=(",", ":"))) if tools else 0
        marks = [(hash(said), up_to)]
        for message in body["messages"]:
            said = str(hash(said + json.dumps(message, sort_keys=True)))
            up_to += message_tokens(message)
            marks.append((hash(said), up_to))
        hit = 0
        for mark, tokens in marks:
            if str(mark) not in self.seen:
                break
            hit = tokens
        self.seen.update(str(mark) for mark, _ in marks)
        return hit // 128 * 128 if hit >= 1024 else 0


def turns_of(conversations: Conversations, rules: str) -> Iterator[list[Body]]:
    """Give each conversation's requests; a client marks them where nothing is kept without."""
    for _, conversation in sampled(conversations, SAMPLE):
        bodies = islice(requests_of(conversation), LONGEST)
        yield [marked(one) for one in bodies] if rules == "anthropic" else list(bodies)


REFUSED = {"context_length_exceeded", "prompt_too_large_for_policy"}


async def replayed(
    folder: Path, rules: str, turns: Iterable[list[Body]], policy: str | None = None
) -> tuple[list[list[Body]], list[Row]]:
    """Send every conversation to the provider of one rule set, up to a request that is refused.

    Returns what was served, and the rows of that.
    """
    replay = Replay(folder, [rules], [] if policy is None else [read_policy(policy)])
    served: list[list[Body]] = []
    for bodies in turns:
        served.append([])
        for asked in bodies:
            client = await replay.send(asked)
            replay.clock.at += STEP
            if policy is not None and client.status == 400 and client.error["code"] in REFUSED:
                replay.clock.at -= STEP
                break
            assert client.status == 200, client.text
            served[-1].append(asked)
    return served, [row for row in await replay.close() if row["status"] == "answered"]


@pytest.mark.parametrize("rules", DETERMINISTIC)
async def test_what_is_expected_is_what_the_provider_reports_and_every_miss_has_a_cause(
    rules: str, conversations: Conversations, tmp_path: Path
):
    served, rows = await replayed(tmp_path, rules, turns_of(conversations, rules))
    assert_as_expected(rows, [one for bodies in served for one in bodies])
    if rules == "openai":
        oracle = LongestPrefix()
        assert [oracle.cached(one) for bodies in served for one in bodies] == [row["cached_tokens"] for row in rows]
    told(rules, rows)


def assert_as_expected(rows: list[Row], asked: list[Body]) -> None:
    off = [at for at, row in enumerate(rows) if row.get("expected_cached", 0) != row["cached_tokens"]]
    told = {at: (rows[at].get("expected_cached", 0), rows[at]["cached_tokens"]) for at in off}
    assert {at: pair for at, pair in told.items() if not begins_like_other_tools(asked, at)} == {}
    assert [row["id"] for row in rows if not row["cached_tokens"] and "miss" not in row] == []
    assert causes(rows).keys() <= MISS_MEANINGS.keys()
    assert {FIRST_SIGHT, BELOW_MINIMUM} & causes(rows).keys()


def begins_like_other_tools(asked: list[Body], at: int) -> bool:
    """Whether a request's tools are those of an earlier one and some more: Claude reads the former from the cache.

    To us the tools are one block: five requests of the 12,000.
    """
    tools = asked[at].get("tools") or []
    return any(
        0 < len(earlier := one.get("tools") or []) < len(tools) and bare(earlier) == bare(tools[: len(earlier)])
        for one in asked[:at]
    )


def bare(tools: list[Any]) -> list[Any]:
    return [{name: part for name, part in tool.items() if name != "cache_control"} for tool in tools]


def causes(rows: list[Row]) -> Counter[str]:
    return Counter(row["miss"].partition(":")[0] for row in rows if "miss" in row)


def told(rules: str, rows: list[Row]) -> None:
    print(f"\n{rules}: {len(rows)} requests, {sum(row['cached_tokens'] for row in rows)} cached", dict(causes(rows)))


TIGHT = """
name: tight
context_window: 6k
reserve: {output: 0, margin: 0}
ladder: {tool_results: [minify, dedupe, crush, stub], history: [drop_oldest]}
"""
"""The last message is left alone, so that both replays get the same answers."""
OFF = f"{TIGHT}mode: 'off'\n"


@pytest.mark.parametrize("rules", DETERMINISTIC)
async def test_net_savings_are_the_difference_of_two_real_replays_to_the_nano_dollar(
    rules: str, conversations: Conversations, tmp_path: Path
):
    served, rewritten = await replayed(tmp_path / "a", rules, turns_of(conversations, rules), TIGHT)
    _, as_they_came = await replayed(tmp_path / "b", rules, served, OFF)
    assert_as_expected(rewritten, [one for bodies in served for one in bodies])
    assert any(row["plan"] == "rewritten" for row in rewritten)
    answers = [[row["completion_tokens"] for row in rows] for rows in (rewritten, as_they_came)]
    assert answers[0] == answers[1]
    saved = [row.get("saved_nanousd", 0) for row in rewritten]
    differences = [
        came["cost_nanousd"] - left["cost_nanousd"] for left, came in zip(rewritten, as_they_came, strict=True)
    ]
    off = {at: pair for at, pair in enumerate(zip(saved, differences, strict=True)) if pair[0] != pair[1]}
    assert off == {}
    assert sum(saved) == sum(row["cost_nanousd"] for row in as_they_came) - sum(
        row["cost_nanousd"] for row in rewritten
    )
    told(rules, rewritten)


# ---------------------------------------------------------------- what is decided for a conversation


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "none"},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"listed": [*TALK, {"role": "user", "content": [PICTURE]}]},
    ],
)
def test_decisions_for_a_conversation_hold_with_another_tool_choice_or_a_picture(fields: dict[str, Any]):
    claude = deployment("m", "demo/anthropic", kind="demo", cache=facts_of("anthropic"))
    caches, memo, owner = PromptCaches(), Memo(), ConversationOwner(("team",), ("team",), "team/p/m")
    plain, other = (
        caches.look(claude, parse(body(**{"listed": TALK, **more}), memo), None, owner, NOW) for more in ({}, fields)
    )
    assert plain is not None
    assert other is not None
    assert plain.identity.links[:2] == other.identity.links[:2]
    assert plain.identity.links[2:] != other.identity.links[2:4]
    assert caches.content_links(plain) == caches.content_links(other)[:4]


def test_what_is_cached_under_a_key_of_ours_is_known_before_the_key_is_chosen():
    gpt = deployment("m", "demo/openai-5.6", kind="demo", cache=facts_of("openai-5.6"))
    caches, memo, owner = PromptCaches(), Memo(), ConversationOwner(("team",), ("team",), "team/p/m")
    one = caches.look(gpt, parse(body(TALK), memo), None, owner, NOW)
    assert one is not None
    caches.mark(one, one.sent.breakpoints, caches.choose_cache_key(one))
    caches.note(one)
    other = caches.look(gpt, parse(body([*TALK, user("two")]), memo), None, owner, NOW + 5)
    assert other is not None
    assert next(caches.cached_links(other), None) == 2


def test_a_clock_that_is_set_back_moves_no_group_to_another_key():
    gpt = deployment("m", "demo/openai", kind="demo", cache=facts_of("openai"))
    caches, owner = PromptCaches(), ConversationOwner(("team",), ("team",), "team/p/m")
    seen = [caches.look(gpt, parse(body(TALK), Memo()), None, owner, NOW - back) for back in (0, 3600, 13 * 3600)]
    assert len({caches.choose_cache_key(one) for one in seen if one is not None}) == 1


def test_a_conversation_keeps_its_lifetime_though_its_client_marks_nothing():
    claude = deployment("m", "demo/anthropic", kind="demo", cache=facts_of("anthropic"))
    caches, memo, owner = PromptCaches(), Memo(), ConversationOwner(("team",), ("team",), "team/p/m")

    def looked(*more: Any) -> CacheLookup:
        one = caches.look(claude, parse(body([*TALK, *more]), memo), None, owner, NOW)
        assert one is not None
        return one

    first = looked()
    assert caches.current_lifetime(first) is None
    caches.mark(first, (Breakpoint(1, 3600, ours=True), Breakpoint(3, 3600, ours=True)))
    caches.note(first)
    assert caches.current_lifetime(looked(user("two"))) == 3600
    other = parse(body([TALK[0], user("another"), assistant("?"), user("!")]), memo)
    begun = caches.look(claude, other, None, owner, NOW)
    assert begun is not None
    assert caches.current_lifetime(begun) is None  # the system text alone is everybody's


# ---------------------------------------------------------------- what it takes


MANY = 100_000 if ALL else 25_000
GROUPS = f"""
import gc
from tests.test_tracker import see, Memo, PromptCaches, resident

caches, memo = PromptCaches(), Memo(1000)
for number in range(100):
    see(caches, memo, -number - 1)
gc.collect()
before = resident()
for number in range({MANY}):
    one = see(caches, memo, number)
    caches.note(one)
    caches.groups.note_start(one.group, one.now)
held = resident() - before
asked = [see(caches, memo, number) for number in range(0, {MANY}, 997)]
assert all(caches.groups.sights(one.group) == 1 for one in asked)
assert all(one.sent.match.read == 2 for one in asked)
print(held)
"""


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


VLLM = deployment("m", "demo/vllm", kind="demo", cache=facts_of("vllm"))


def see(caches: PromptCaches, memo: Memo, number: int) -> CacheLookup:
    """Look at the first request of a group of its own."""
    owner = ConversationOwner(("team", "key", "", "m"), ("team", "m"), "team/policy/m")
    model = VLLM
    came = parse(body([system(f"You are number {number}, and careful."), user(f"Go on, {number}.")]), memo)
    one = caches.look(model, came, None, owner, NOW)
    assert one is not None
    return one


def test_a_hundred_thousand_prefix_groups_take_no_more_than_64_mb():
    run = subprocess.run([sys.executable, "-c", GROUPS], capture_output=True, text=True, check=True)
    held = int(run.stdout)
    print(f"\n{MANY} groups: {held / 1e6:.1f} MB")
    assert held <= 12e6 + 52e6 * MANY / 100_000  # 64 MB for a hundred thousand

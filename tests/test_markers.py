"""Where cache markers stand: never too many, never the caller's changed, never behind a shorter lifetime."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.prompt_cache_rules import shipped_rules
from gateway.conversation import Changes, Insertion, leading_system
from gateway.prompt_cache.breakpoints import Breakpoint, callers
from gateway.prompt_cache.markers import markable, marks_of, place_markers
from gateway.prompt_cache.prefixes import Chain, Digests, chain_of
from gateway.prompt_cache.rules import NOTHING, CacheFacts, book_of, facts_for
from gateway.request import Marks, Request
from gateway.routing.upstreams.demo import Demo
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from tests.conftest import examples
from tests.laws.generators import Talk, talks
from tests.providers.deployments import deployment
from tests.talk import Wire, assistant, calls, request, result, system, user, words

BOOK = book_of(shipped_rules())
CLAUDE = facts_for("anthropic", "claude-sonnet-5", BOOK)
GPT = facts_for("openai", "gpt-5.6", BOOK)
OLD_GPT = facts_for("openai", "gpt-5", BOOK)
BEDROCK = facts_for("bedrock", "anthropic.claude-sonnet-4-20250514-v1:0", BOOK)

MARK = {"type": "ephemeral"}
MARK_HOUR = {"type": "ephemeral", "ttl": "1h"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
TALK: list[Wire] = [system("Rules."), user("Go."), calls("c1 read"), result("c1", "found"), user("Now?")]


def placed(
    came: Request,
    facts: CacheFacts = CLAUDE,
    changes: Changes | None = None,
    frozen: int | None = None,
    known: tuple[int, ...] = (),
    lifetime: int = 300,
    steady: int | None = None,
) -> tuple[Breakpoint, ...]:
    chain = chain_of(came, changes, Digests())
    head = leading_system(came.conversation.messages)
    theirs, may = callers(came, facts, changes), markable(came, facts, changes)
    return place_markers(chain, facts, theirs, head, frozen, sorted(known, reverse=True), lifetime, may, steady)


def ours(breakpoints: tuple[Breakpoint, ...]) -> list[int]:
    return [one.link for one in breakpoints if one.ours]


def long(messages: int) -> list[Wire]:
    return [system("Rules."), *[user(f"{n}") if n % 2 else assistant(f"{n}") for n in range(1, messages)]]


# ---------------------------------------------------------------- places


def test_tools_system_text_the_frozen_part_and_the_newest_message_are_marked():
    came = request(long(12), tools=[TOOL])
    assert ours(placed(came, frozen=4)) == [0, 1, 4, 12]


def test_without_tools_and_without_a_fold_there_is_nothing_else_to_mark():
    assert ours(placed(request(TALK))) == [1, 5]


def test_the_newest_message_that_can_carry_one_is_marked():
    prefilled = [*TALK, assistant("{")]
    assert ours(placed(request(prefilled))) == [1, 5]
    assert ours(placed(request([*TALK[:4], user(" ")]))) == [1, 4]


def test_where_the_newest_entry_is_too_far_back_a_marker_between_finds_it():
    came = request(long(60), tools=[TOOL])
    assert ours(placed(came, known=(0, 1, 50))) == [0, 1, 60]
    found = placed(came, known=(0, 1, 10), frozen=6)
    assert ours(found) == [1, 6, 28, 60]
    blocks = chain_of(came, None, Digests()).blocks
    assert blocks[28] - blocks[10] < CLAUDE.look_back


def test_with_one_marker_to_set_an_old_entry_is_found_before_a_new_one_is_written():
    marked = [{"type": "text", "text": text, "cache_control": MARK} for text in ("a", "b", "c")]
    listed = long(60)
    listed[1] = {"role": "user", "content": marked}
    assert ours(placed(request(listed), known=(10,))) == [28]


def test_what_only_this_request_says_is_not_worth_a_marker():
    assert ours(placed(request(TALK), steady=2)) == [1, 2]


def test_openai_sets_one_itself_and_gets_up_to_three_more():
    came = request(long(12), tools=[TOOL])
    found = placed(came, GPT, frozen=4)
    assert [(one.link, one.ours) for one in found] == [(1, True), (4, True), (12, False)]
    explicit = request(long(12), prompt_cache_options={"mode": "explicit"})
    assert ours(placed(explicit, GPT, frozen=4)) == [1, 4, 12]


def test_who_keeps_prompts_by_themselves_get_no_marker():
    for facts in (NOTHING, OLD_GPT, facts_for("gemini", "gemini-3.5-flash", BOOK), facts_for("demo", "vllm", BOOK)):
        assert placed(request(TALK), facts, known=(1,), frozen=2) == ()


def test_places_are_those_of_the_request_as_it_is_sent():
    changes = Changes({3: "f"}, frozenset({1}), (Insertion(1, "What went."), Insertion(4, "Recalled.")))
    assert ours(placed(request(TALK), changes=changes, frozen=2)) == [1, 2, 6]


# ---------------------------------------------------------------- the caller's own


def test_with_four_of_the_callers_none_is_added():
    listed = [{**one, "cache_control": MARK} if one["role"] != "assistant" else one for one in TALK]
    came = request(listed)
    assert [one.link for one in callers(came, CLAUDE)] == [1, 2, 4, 5]
    assert ours(placed(came)) == []


def test_with_three_of_the_callers_one_is_added():
    listed = [{**one, "cache_control": MARK} if i in (0, 1, 3) else one for i, one in enumerate(TALK)]
    assert ours(placed(request(listed, tools=[TOOL]))) == [5]


# ---------------------------------------------------------------- lifetimes


def lifetimes(breakpoints: tuple[Breakpoint, ...]) -> list[tuple[int, int]]:
    return [(one.link, one.lifetime) for one in breakpoints]


def test_an_hour_is_asked_for_where_it_is_offered():
    assert lifetimes(placed(request(TALK), lifetime=3600)) == [(1, 3600), (5, 3600)]
    assert lifetimes(placed(request(TALK), BEDROCK, lifetime=3600)) == [(1, 300), (5, 300)]


def test_none_of_an_hour_stands_behind_one_of_five_minutes():
    short = [TALK[0], user("Go.", cache_control=MARK), *TALK[2:]]
    assert lifetimes(placed(request(short), lifetime=3600)) == [(1, 3600), (2, 300), (5, 300)]


def test_none_of_five_minutes_stands_before_one_of_an_hour():
    late = [TALK[0], user("Go.", cache_control=MARK_HOUR), *TALK[2:]]
    assert lifetimes(placed(request(late), lifetime=300)) == [(1, 3600), (2, 3600), (5, 300)]


# ---------------------------------------------------------------- always


def with_marks(talk: Talk, indices: set[int], hours: bool) -> bytes:
    """Write the conversation with markers of the caller's on some messages."""
    body = json.loads(talk.body())
    for index in indices:
        if index < len(body["messages"]) and isinstance(body["messages"][index].get("content"), str):
            body["messages"][index]["cache_control"] = MARK_HOUR if hours else MARK
    return json.dumps(body).encode()


@settings(max_examples=examples(200))
@given(talks(), st.sets(st.integers(0, 20), max_size=5), st.booleans(), st.data())
def test_never_too_many_never_a_callers_changed_never_an_illegal_place(
    talk: Talk, marked: set[int], hours: bool, data: st.DataObject
):
    came = parse(with_marks(talk, marked, hours), Memo())
    links = st.integers(0, len(came.conversation.messages))
    facts = data.draw(st.sampled_from([CLAUDE, BEDROCK, GPT]))
    theirs = callers(came, facts)
    frozen, known = data.draw(st.none() | links), tuple(data.draw(st.lists(links, max_size=5)))
    lifetime = data.draw(st.sampled_from([300, 3600]))
    found = placed(came, facts, None, frozen, known, lifetime)
    assert found == placed(came, facts, None, frozen, known, lifetime)
    assert [one for one in found if not one.ours] == list(theirs)
    assert len(found) <= max(facts.most_markers, len(theirs))
    may = markable(came, facts)
    assert all(may(one.link) for one in found if one.ours)
    if facts is not GPT:
        check_order(found, theirs)
    marks = marks_of(found, facts) or Marks()
    out = parse(sent(came, came.model, None, marks), Memo())
    arrived = [one.link for one in callers(out, facts)]
    assert arrived == [one.link for one in found], "what was placed is what is sent"


def check_order(found: tuple[Breakpoint, ...], theirs: tuple[Breakpoint, ...]) -> None:
    lives = [one.lifetime for one in found]
    if [one.lifetime for one in theirs] == sorted((one.lifetime for one in theirs), reverse=True):
        assert lives == sorted(lives, reverse=True)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.data())
def test_the_newest_entry_is_always_within_sight_where_a_marker_may_stand_near_it(
    steps: list[int], data: st.DataObject
):
    blocks = tuple(sum(steps[:n]) for n in range(len(steps) + 1))
    chain = Chain(tuple(range(len(blocks))), tuple(range(len(steps))), blocks)
    known = sorted(data.draw(st.lists(st.integers(0, len(steps)), min_size=1, max_size=3)), reverse=True)
    found = place_markers(chain, CLAUDE, (), 1, None, known, 300, lambda link: True)
    newest = max(known)
    assert any(one.link >= newest and blocks[one.link] - blocks[newest] < 20 for one in found)
    assert len(found) <= 4


# ---------------------------------------------------------------- the key


def test_a_key_goes_to_openai_alone():
    assert marks_of((), OLD_GPT, "k") == Marks("control", {}, "k")
    assert marks_of((), GPT, "k") == Marks("breakpoint", {}, "k")
    assert marks_of((), CLAUDE, "k") is None
    assert marks_of((Breakpoint(1, 300, ours=False),), CLAUDE) is None


# ---------------------------------------------------------------- the demo provider is the judge


@pytest.mark.parametrize("model", ["anthropic", "anthropic/claude-opus-5", "openai-5.6"])
@pytest.mark.parametrize("grown_by", [[2] * 12, [2, 2, 30, 2, 64, 2, 2]])
async def test_each_request_reads_all_that_the_one_before_it_marked(model: str, grown_by: list[int]):
    facts = facts_for("demo", model, BOOK)
    demo, target = Demo(lambda text: len(text.split()), lambda: 0.0), deployment(f"demo/{model}", kind="demo")
    listed = [system(words(1500, "rule")), user("Go.")]
    known: tuple[int, ...] = ()
    before = 0
    for step, messages in enumerate(grown_by):
        listed += [user(f"{step}.{n} " + words(50)) for n in range(messages)]
        came = request(listed, tools=[TOOL])
        found = placed(came, facts, known=known)
        reply = await demo.send(target, sent(came, model, None, marks_of(found, facts)), stream=False, request_id="gw")
        told = json.loads(await reply.read())
        assert reply.status == 200, told
        cached = told["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached >= 0.99 * before
        before, known = told["usage"]["prompt_tokens"], tuple(one.link for one in found)


async def test_the_demo_provider_takes_every_marked_request():
    facts = facts_for("demo", "anthropic", BOOK)
    demo, target = Demo(lambda text: len(text.split()), lambda: 0.0), deployment("demo/anthropic", kind="demo")
    own = [system("Rules.", cache_control=MARK_HOUR), user("a", cache_control=MARK)]
    listed = [*own, assistant("b"), user([{"type": "text", "text": "c"}]), calls("c1 f"), result("c1", [])]  # type: ignore[arg-type]
    for upto in (2, 4, 6):
        came = request(listed[:upto], tools=[TOOL])
        found = placed(came, facts, lifetime=3600)
        body = sent(came, "m", None, marks_of(found, facts))
        reply = await demo.send(target, body, stream=False, request_id="gw")
        assert reply.status == 200, await reply.read()

"""The chain of a request: what two requests share, told without session ids, markers or the way their JSON is set."""

import json
import subprocess
import sys
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Changes, Insertion
from gateway.prompt_cache.prefixes import Chain, Digests, chain_of, prefix_group
from gateway.wire.chat.read import parse
from gateway.wire.chat.write import sent
from gateway.wire.memo import Memo
from tests.talk import Wire, assistant, body, calls, loop, request, result, system, user, words
from tests.timing import within

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
TALK: list[Wire] = [system("Be brief."), user("one"), assistant("1"), user("two")]
MARK = {"type": "ephemeral"}


def chain(listed: list[Wire], **fields: Any) -> Chain:
    return chain_of(request(listed, **fields), None, Digests())


def test_a_chain_has_one_link_more_than_there_are_messages():
    found = chain(TALK, tools=[TOOL])
    assert (len(found.links), len(found.message_hashes), len(found.blocks)) == (5, 4, 5)


def test_a_longer_conversation_has_all_the_links_of_its_beginning():
    assert chain(TALK).common_links(chain([*TALK, assistant("2"), user("three")])) == 5


def test_a_branch_has_the_links_up_to_where_it_parts():
    assert chain(TALK).common_links(chain([*TALK[:2], assistant("other"), user("two")])) == 3


def test_other_tools_share_nothing():
    assert chain(TALK, tools=[TOOL]).common_links(chain(TALK)) == 0


def test_a_schema_for_the_answer_stands_before_the_messages_as_tools_do():
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert chain(TALK, response_format=schema).common_links(chain(TALK)) == 0


def test_how_the_json_is_set_and_in_which_order_its_keys_stand_is_no_difference():
    turned = [{"content": message["content"], "role": message["role"]} for message in TALK]
    loose = json.dumps({"model": "m", "messages": turned}, indent=2).encode()
    assert chain_of(parse(loose, Memo()), None, Digests()).links == chain(TALK).links


def test_markers_are_no_difference_wherever_they_stand():
    marked: list[Wire] = [
        system("Be brief.", cache_control=MARK),
        {"role": "user", "content": [{"type": "text", "text": "one", "cache_control": MARK}]},
        *TALK[2:],
    ]
    for tool in (
        {**TOOL, "cache_control": MARK},
        {**TOOL, "function": {**TOOL["function"], "cache_control": MARK}},
    ):
        assert chain(marked, tools=[tool]).links == chain(TALK, tools=[TOOL]).links


def test_a_member_that_has_the_name_of_a_marker_but_is_text_is_a_difference():
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    one = {"type": "function", "function": {"name": "read", "parameters": schema}}
    assert chain(TALK, tools=[one]).common_links(chain(TALK, tools=[TOOL])) == 0


def test_positions_are_counted_as_anthropic_does_with_a_run_of_calls_as_one():
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    listed = [system("a"), {"role": "user", "content": parts}, calls("c1 read", "c2 read"), result("c1", "x")]
    assert chain([*listed, result("c2", "y")], tools=[TOOL]).blocks == (1, 2, 4, 5, 6, 6)


def test_a_number_that_nobody_can_write_anew_does_no_harm():
    raw = body([user("hi")]).replace(b'"hi"', b'"hi","extra":' + b"1" * 5000)
    assert chain_of(parse(raw, Memo()), None, Digests()).links != chain([user("hi")]).links


def test_a_role_that_is_no_text_is_one_position():
    assert chain([{"role": {"user": 1}, "content": "a"}, {"role": [], "content": "b"}]).blocks == (0, 1, 2)


def test_a_marker_is_no_difference_beside_a_long_rule_of_dashes_either():
    ruled = user("-" * 400)
    assert chain([{**ruled, "cache_control": MARK}]).links == chain([ruled]).links


def test_a_group_holds_who_shares_the_beginning_and_whatever_else_the_policy_names():
    short, other = chain(TALK), chain([TALK[0], user("else")])
    assert prefix_group(short, 1, ["team a"]) == prefix_group(other, 1, ["team a"])
    assert prefix_group(short, 2, ["team a"]) != prefix_group(other, 2, ["team a"])
    assert prefix_group(short, 1, ["team a"]) != prefix_group(short, 1, ["team b"])


def test_links_are_the_same_in_another_process():
    script = (
        "from tests.test_prefixes import TALK, TOOL, chain, prefix_group;"
        "found = chain(TALK, tools=[TOOL]);"
        "print(found.links, prefix_group(found, 1, ['team']))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = chain(TALK, tools=[TOOL])
    assert run.stdout.strip() == f"{found.links} {prefix_group(found, 1, ['team'])}"


LISTED = st.lists(
    st.one_of(
        st.text(max_size=20).map(user),
        st.text(min_size=1, max_size=20).map(assistant),
        st.lists(st.text(max_size=9), min_size=1, max_size=3).map(
            lambda texts: {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}
        ),
    ),
    min_size=1,
    max_size=8,
)


@given(LISTED, st.data())
def test_the_chain_of_a_rewritten_request_is_always_that_of_the_bytes_that_leave(listed: list[Wire], data: Any):
    came, count = request(listed), len(listed)
    indexes = st.integers(0, count - 1)
    texts = data.draw(st.dictionaries(indexes, st.text(max_size=9)))
    dropped = frozenset(data.draw(st.sets(indexes, max_size=count - 1)))
    inserted = data.draw(st.lists(st.tuples(indexes, st.text(max_size=9)), max_size=2).map(sorted))
    ours = tuple([Insertion(before, text) for before, text in inserted])
    changes = Changes(texts, dropped - {count - 1}, ours)
    left = parse(sent(came, "m", changes), Memo())
    digests = Digests()
    assert chain_of(came, changes, digests) == chain_of(left, None, digests)


def test_what_is_remembered_is_bounded_and_never_changes_a_chain():
    digests = Digests(most_bytes=8_000)
    memo = Memo()
    for number in range(200):
        came = parse(body([*TALK, user(f"say {number}")]), memo)
        assert chain_of(came, None, digests) == chain_of(came, None, Digests())
    assert len(digests._digests) + len(digests._chains) <= 40


def test_memory_of_a_conversation_says_nothing_of_one_with_another_system_text():
    digests, dropped = Digests(), Changes({}, frozenset({0}))
    chain_of(request([system("s"), *TALK[1:]]), None, digests, 5)
    other = request([user("old"), system("s"), *TALK[1:]])
    assert chain_of(other, dropped, digests, 5) == chain_of(other, dropped, Digests(), 5)


def test_a_body_of_a_hundred_messages_costs_its_newest_ones():
    memo, digests = Memo(), Digests()
    listed = [system("s"), user("go"), *loop(49, 60)]
    came = parse(orjson.dumps({"model": "m", "messages": listed, "tools": [TOOL]}), memo)
    assert len(came.conversation.messages) == 100
    chain_of(came, None, digests)
    with within(200 * 200e-6):  # 30 µs each on a quiet machine
        for _ in range(200):
            chain_of(came, None, digests)
    assert words(1)


def test_a_message_that_leaves_without_its_reasoning_is_the_one_that_never_had_any():
    thought = [*TALK[:2], assistant("1", reasoning_content="hm"), user("two")]
    left = chain_of(request(thought), Changes({}, unreasoned=frozenset({2})), Digests())
    assert left.links == chain(TALK).links
    assert chain(thought).common_links(left) == 3

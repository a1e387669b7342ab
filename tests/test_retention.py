"""What a rewrite took away, and what of it an answer used all the same."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Changes, Insertion
from gateway.memory import Memory
from gateway.request import Said
from gateway.rewriting.retention import MOST_WORDINGS, Values, cut_of, misses, retention, value_hashes
from gateway.wire.chat import completion
from gateway.wire.chat.relay import EventRelay
from gateway.wire.sse import event
from tests.contract.raw import post
from tests.contract.running import (
    KEYS,
    Gateway,
    Upstream,
    config,
    get,
    run_gateway,
    running_gateway,
    running_upstream,
    write_setup,
)
from tests.talk import assistant, calls, conversation, result, system, user

LISTED = [
    system("You help. Policy P-100."),
    user("Where is my order?"),
    calls('c1 find {"name": "Mei Patel", "zip": "76165"}'),
    result("c1", '{"order": "W-2378156", "total": 241.50, "path": "src/a.py"}'),
    assistant("It is W-2378156."),
    user("and what did it cost?"),
]
GONE = Changes({}, frozenset({2, 3}), (Insertion(2, "[2 earlier messages left out]"),))


def missed(changes: Changes, text: str = "", *arguments: object, listed: Any = LISTED, tools: Any = ()) -> list[str]:
    written = [one if isinstance(one, str) else json.dumps(one) for one in arguments]
    return misses(cut_of(conversation(listed, tools), changes), [text], written, Memory(0))


# ---------------------------------------------------------------- removed


def removed(changes: Changes, listed: Any = LISTED, tools: Any = ()) -> int:
    return retention(conversation(listed, tools), changes, (), (), Memory(0)).removed


def test_values_are_removed_only_where_they_stand_nowhere_in_what_is_sent():
    assert removed(GONE) == 3, "76165, 241.50 and src/a.py; the order stands in the answer after it"


def test_a_value_in_a_tool_definition_or_in_our_own_line_is_not_removed():
    assert removed(GONE, tools=['{"name":"find","description":"by zip, e.g. 76165"}']) == 2
    assert removed(replace(GONE, inserted=(Insertion(2, "[left out: 241.50, src/a.py]"),))) == 1


def test_a_result_with_a_new_text_removes_what_the_new_text_lacks():
    assert removed(Changes({3: "total 241.50"})) == 1, "src/a.py"


def test_nothing_is_removed_where_everything_still_stands():
    assert removed(Changes({3: LISTED[3]["content"] + " "})) == 0


def test_a_message_that_came_twice_and_leaves_once_is_not_removed():
    twice = conversation(LISTED)
    same = replace(twice, messages=(*twice.messages, twice.messages[3], twice.messages[5]))
    assert retention(same, Changes({}, frozenset({3})), (), (), Memory(0)).removed == 0


@pytest.mark.parametrize(
    ("came", "sent"),
    [
        ("see src/a_1.py", "at lib/src/a_1.py:12"),
        ("order W-2378156", "https://shop.example/orders/W-2378156?tab=1"),
        ("costs 241.50 now", "costs 241.50."),
        ("https://shop.example/a.", "https://shop.example/a"),
        ('{"menu": "caf\\u00e9/menu_1.txt"}', "café/menu_1.txt"),
        ("café/menu_1.txt", '[quoted: {\\"menu\\": \\"caf\\\\u00e9/menu_1.txt\\"}]'),
        ('{"at": "https:\\/\\/shop.example\\/a"}', "https://shop.example/a"),
        ("first\nsrc/b_1.py", '"first\\\\nsrc/b_1.py"'),
        ('say \\"W-77\\"', '"say \\\\\\"W-77\\\\\\""'),
    ],
)
def test_what_stands_inside_a_longer_value_or_in_another_escaping_is_not_removed(came, sent):
    listed = [user("go"), calls("c1 find"), result("c1", came), user("and now")]
    assert removed(Changes({2: sent}), listed) == 0
    assert removed(Changes({2: "nothing"}), listed) > 0


def test_a_part_of_a_word_is_not_the_value():
    listed = [user("go"), calls("c1 find"), result("c1", "row 4421"), user("and now")]
    assert removed(Changes({2: "row 144210"}), listed) == 1


def test_the_name_of_a_message_is_sent_too():
    listed = [user("go", name="desk_7"), calls("c1 find"), result("c1", "ask desk_7"), user("and now")]
    assert removed(Changes({2: "ask"}), listed) == 0


# ---------------------------------------------------------------- missed


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("The total was 241.50.", ()),
        ("", ({"amount": 241.5, "note": "total 241.50"},)),
        ("", ('{"amount": 241.50}',)),
        ("", ({"deep": [{"er": {"total": "241.50"}}]},)),
        ("", ('{"total": 241.50, "cut',)),
    ],
)
def test_a_removed_value_in_a_text_or_an_argument_is_a_miss(text, arguments):
    assert missed(GONE, text, *arguments) == ["241.50"]


def test_what_still_stands_or_never_stood_is_no_miss():
    assert missed(GONE, "W-2378156 under P-100, as RFC-2616 says", {"id": "W-2378156", "zip": "99999"}) == []


def test_a_value_that_stands_inside_a_longer_one_is_no_miss():
    pointed = replace(GONE, inserted=(Insertion(2, "src/a.py:12 failed"),))
    assert missed(pointed, "I open src/a.py") == []
    assert missed(GONE, "I open src/a.py") == ["src/a.py"]


def test_a_value_in_escaped_json_is_the_value():
    listed = [*LISTED[:3], result("c1", json.dumps({"out": "line\nsrc/b_1.py\tok"})), *LISTED[4:]]
    assert missed(GONE, "", {"path": "src/b_1.py"}, listed=listed) == ["src/b_1.py"]


def test_two_characters_are_written_by_chance():
    listed = [*LISTED[:3], result("c1", "row 42 of 421"), *LISTED[4:]]
    assert missed(GONE, "42 and 421", listed=listed) == ["421"]


def test_a_name_as_a_whole_argument_is_a_miss_and_the_same_words_in_prose_are_not():
    assert missed(GONE, "", {"name": "Mei Patel"}) == ["Mei Patel"]
    assert missed(GONE, "Mei Patel") == []
    assert missed(GONE, "", {"note": f"{'so I say ' * 20}Mei Patel"}) == []
    assert missed(replace(GONE, inserted=(Insertion(2, "[Mei Patel, order]"),)), "", {"name": "Mei Patel"}) == []
    assert missed(GONE, "", {"name": "Mei"}) == ["Mei"], "a word of its own, there and here"
    assert missed(GONE, "", {"name": "Pat"}) == [], "a part of a word"


def test_only_so_many_wordings_are_looked_for():
    names = [f"Person {chr(97 + n)}{chr(97 + n)}" for n in range(20)]
    listed = [*LISTED[:3], result("c1", "; ".join(names)), *LISTED[4:]]
    assert missed(GONE, "", names, listed=listed) == names[:MOST_WORDINGS]


def test_each_miss_is_named_once_in_the_order_of_the_answer():
    assert missed(GONE, "src/a.py, 241.50, src/a.py", {"zip": "76165"}) == ["76165", "src/a.py", "241.50"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_an_answer_says_it_is_read(said):
    missed(GONE, repr(said), said, str(said))


@pytest.mark.parametrize("arguments", ["[" * 200_000, "\ud800", '{"a": "\\ud800 241.50"}', "9" * 50_000, "\0"])
def test_arguments_that_are_no_json_are_read_as_they_stand(arguments):
    assert set(missed(GONE, "", arguments)) <= {"241.50"}


@given(st.sets(st.sampled_from(range(1, 5))), st.text(alphabet="abc_123./ W-", max_size=60))
def test_a_miss_was_always_removed(dropped, text):
    talk = conversation(LISTED)
    changes = Changes({}, frozenset(dropped))
    kept = retention(talk, changes, (text,), (), Memory(0))
    assert len(kept.missed) <= kept.removed


# ---------------------------------------------------------------- what is remembered


def test_what_is_known_is_never_read_twice_and_says_the_same():
    known: Values = Memory(10_000)
    first = value_hashes("W-1 and W-2 and W-1", known)
    assert value_hashes("W-1 and W-2 and W-1", known) is first
    assert sorted(first) == sorted([hash("W-1"), hash("W-2")])


@given(st.lists(st.sampled_from(LISTED[1:5]), min_size=1), st.sets(st.integers(0, 9)))
def test_what_was_read_before_never_changes_what_is_found(listed, dropped):
    known: Values = Memory(1_000)
    for _ in range(2):
        talk = conversation(listed)
        changes = Changes({}, frozenset(n for n in dropped if n < len(listed)))
        said = (("241.50 src/a.py",), ('{"zip": "76165"}',))
        assert retention(talk, changes, *said, known) == retention(talk, changes, *said, Memory(0))


# ---------------------------------------------------------------- what an answer says


def answer(message: Any) -> bytes:
    return orjson.dumps({"choices": [{"index": 0, "message": message}, "junk", {"message": None}]})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (assistant("hello", reasoning_content="hm 1234"), Said(("hello",), ())),
        (calls('c1 read {"a": 1}', 'c2 read {"b": 2}'), Said((), ('{"a": 1}', '{"b": 2}'))),
        ({"content": [{"type": "text", "text": "in parts"}]}, Said(("in parts",), ())),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, Said((), ("{}",))),
        ({"content": 7, "tool_calls": [{"function": None}, 3, {"function": {"arguments": {"a": 1}}}]}, Said()),
        ({"tool_calls": "junk"}, Said()),
    ],
)
def test_a_whole_answer_says_its_text_and_its_arguments(message, said):
    whole = completion.Completion(answer(message), orjson.loads(answer(message)))
    assert whole.said() == said
    assert whole.heard_bytes == len(answer(message))


def chunk(index: int = 0, **delta: Any) -> bytes:
    return event(orjson.dumps({"choices": [{"index": index, "delta": delta}]}))


def call(index: int, **function: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": function}]}


def test_a_stream_says_what_its_pieces_make_together():
    relay = EventRelay(hold_back_usage=True)
    pieces = [
        chunk(content="241"),
        chunk(content=".50", reasoning_content="hm 1234"),
        chunk(1, content="other"),
        chunk(**call(0, name="read", arguments='{"path": "src/')),
        chunk(**call(1, name="read", arguments="{}")),
        chunk(**call(0, arguments='a.py"}')),
    ]
    for piece in pieces:
        relay.feed(piece)
    assert relay.said() == Said(("241.50", "other"), ('{"path": "src/a.py"}', "{}"))
    assert relay.heard_bytes == sum(map(len, pieces))
    relay.feed(chunk(content=" more"))
    assert relay.said().texts[0] == "241.50 more"
    assert relay.heard_bytes > sum(map(len, pieces))


# ---------------------------------------------------------------- over a socket


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


FORGETFUL = {
    "context_window": 600,
    "reserve": {"output": 0, "margin": 0},
    "ladder": {"history": ["drop_oldest"]},
    "fold": {"artifacts": 0, "keep_turns": 0, "keep_tool_results": 0},
    "recall": 0,
}
"""A policy that keeps nothing of what it leaves out."""
POLICIES = {
    "roomy": {"name": "roomy"},
    "tight": {"name": "tight", **FORGETFUL},
    "watching": {"name": "watching", "mode": "observe", **FORGETFUL},
}


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = config(upstream.url)
    settings["teams"] = {"contract": {"policy": "roomy"}, "tight": {"policy": "tight"}}
    settings["keys"][1] |= {"team": "contract", "policy": "watching", "models": ["gpt-5"]}
    with running_gateway(write_setup(tmp_path_factory.mktemp("gateway"), settings, POLICIES)) as running:
        yield running


SECRET = "W-7300112"


def long_body(id: str, *, stream: bool, **script: Any) -> dict[str, Any]:
    """A conversation of 900 tokens whose oldest result alone holds the secret: the script stands in no message."""
    listed = [
        user("Find my order, please."),
        calls('c1 find {"who": "me"}'),
        result("c1", f'{{"order": "{SECRET}", "state": "sent"}}'),
        assistant("I found it."),
        *[one for n in range(12) for one in (user(f"go on {n} " * 15), assistant(f"so it goes {n} " * 15))],
        user("Cancel it."),
    ]
    metadata = {"script": json.dumps({"id": id, **script})}
    return {"model": "gpt-5", "messages": listed, "user": id, "metadata": metadata} | (
        {"stream": True} if stream else {}
    )


CANCEL = {"calls": (("cancel", json.dumps({"order": SECRET})),)}


def sent_for(gateway: Gateway, key: str, **body: Any) -> dict[str, Any]:
    answered = asyncio.run(post(gateway.port, long_body(**body), key=KEYS[key]))
    assert answered.status == 200, answered.body
    return gateway.settled(body["id"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_uses_a_removed_id_is_entered_as_one_miss(
    gateway: Gateway, upstream: Upstream, stream: bool
) -> None:
    row = sent_for(gateway, "tight", id=f"miss-{stream}", stream=stream, **CANCEL)
    assert row["plan"] == "rewritten"
    assert SECRET.encode() not in upstream.received(row["user"]).split(b"Cancel it.")[0]
    assert (row["missed"], len(row["missed_values"])) == (1, 1)
    assert row["values_removed"] >= 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_uses_it_is_one_too_and_an_answer_without_it_is_none(gateway: Gateway, stream: bool) -> None:
    row = sent_for(
        gateway, "tight", id=f"text-{stream}", stream=stream, text=f"I cancelled {SECRET} for you.", chunks=9
    )
    assert row["missed"] == 1
    row = sent_for(gateway, "tight", id=f"none-{stream}", stream=stream, text="Which one, please?")
    assert (row["missed"], "missed_values" in row) == (0, False)
    assert row["values_removed"] >= 1


@pytest.mark.parametrize("stream", [False, True])
def test_under_observe_what_would_have_been_missed_is_entered(
    gateway: Gateway, upstream: Upstream, stream: bool
) -> None:
    row = sent_for(gateway, "narrow", id=f"observed-{stream}", stream=stream, **CANCEL)
    assert (row["plan"], row["missed"]) == ("observed", 1)
    assert SECRET.encode() in upstream.received(row["user"]).split(b"Cancel it.")[0], "the original left"


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_leaves_unchanged_has_no_such_fields(gateway: Gateway, stream: bool) -> None:
    row = sent_for(gateway, "main", id=f"unchanged-{stream}", stream=stream, **CANCEL)
    assert row["plan"] == "unchanged"
    assert row.keys().isdisjoint({"values_removed", "missed", "missed_values"})


def test_report_and_explain_tell_of_misses_and_no_value_is_ever_in_the_ledger(gateway: Gateway) -> None:
    row = sent_for(gateway, "tight", id="told", stream=False, **CANCEL)
    shown = run_gateway("explain", row["id"], "--ledger", str(gateway.ledger)).stdout
    assert f"1 of them missed by the answer ({row['missed_values'][0]})" in shown
    status, told = get(f"{gateway.url}/requests/{row['id']}", {"authorization": f"Bearer {KEYS['tight']}"})
    assert (status, json.loads(told)["missed"]) == (200, 1)
    files = b"".join(file.read_bytes() for file in gateway.ledger.glob("*.jsonl"))
    assert row["id"].encode() in files
    assert SECRET.encode() not in files

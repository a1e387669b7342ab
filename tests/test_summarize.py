"""Summaries as values: which segment they are of, how one is asked for, and which may stand. Sizes are words."""

from dataclasses import replace

import pytest

from gateway.policy import Ladder, Policy, Summarize
from gateway.rewriting.summarize import (
    LEAST,
    PROMPT,
    Asking,
    Event,
    Facts,
    Prefixes,
    Segment,
    asked,
    asking_of,
    cut,
    fault,
    line,
    segment_of,
    source,
)
from tests.talk import assistant, calls, count, messages, result, user, words

ON = Summarize(enabled=True, model="writer")
POLICY = Policy("p", summarize=ON, ladder=Ladder(history=("summarize", "drop_oldest")))
SAID = messages(
    [user("Where is order 4711?"), calls('c1 find {"id":4711}'), result("c1", "in Lisbon"), assistant("There.")]
)
SEGMENT = Segment("k", (0, 1, 2, 3), 1000, 100)


def asking(policy: Policy = POLICY, **facts: object) -> Asking:
    found = asking_of(policy, Facts(model="writer", **facts))  # type: ignore[arg-type]
    assert found is not None
    return found


# ---------------------------------------------------------------- who wants any


def test_a_policy_wants_summaries_where_it_enables_them_and_its_ladder_names_them():
    assert asking().prompt == PROMPT
    assert asking_of(replace(POLICY, summarize=Summarize()), None) is None
    assert asking_of(replace(POLICY, ladder=Ladder()), None) is None
    assert asking(replace(POLICY, summarize=replace(ON, prompt="Be short."))).prompt == "Be short."
    assert not asking(replace(POLICY, summarize=replace(ON, on_failure="drop_oldest"))).lists


# ---------------------------------------------------------------- keys


def key(asks: Asking, said=SAID, most: int = 500) -> str:
    found = segment_of(asks, said, range(len(said)), 5000, most)
    assert found is not None
    return found.key


def test_a_segments_key_is_its_content_and_all_that_a_summary_of_it_depends_on():
    same = key(asking())
    assert same == key(asking(texts={"x": "y"})) == key(asking(), messages([user("Where is order 4711?")]) + SAID[1:])
    others = [
        key(asking(), SAID[:3]),
        key(asking(), (*SAID[:3], *messages([assistant("Here.")]))),
        key(asking(replace(POLICY, summarize=replace(ON, prompt="Be short.")))),
        key(asking(replace(POLICY, summarize=replace(ON, at_most=0.2)))),
        key(asking(replace(POLICY, version=2))),
        key(asking(), most=400),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_two_sequences_of_messages_never_read_the_same():
    one, two = messages([user("ab"), user("c")]), messages([user("a"), user("bc")])
    assert key(asking(), one) != key(asking(), two)


def test_a_segment_too_small_for_a_summary_that_says_anything_is_none():
    assert segment_of(asking(), SAID, range(4), 10 * LEAST - 10, 500) is None
    assert segment_of(asking(), SAID, range(4), 5000, LEAST - 1) is None
    found = segment_of(asking(), SAID, range(4), 3000, 500)
    assert found is not None
    assert found.limit == 300


def test_a_prefix_has_one_key_however_far_it_was_read_before():
    straight, stepped = Prefixes(asking(), SAID, 8000), Prefixes(asking(), SAID, 8000)
    stepped.key(1)
    assert straight.key(3) == stepped.key(3)
    assert straight.key(4) != stepped.key(3)
    assert Prefixes(asking(), SAID, 9000).key(3) != stepped.key(3)
    assert Prefixes(asking(replace(POLICY, version=2)), SAID, 8000).key(3) != stepped.key(3)


# ---------------------------------------------------------------- what was decided


@pytest.mark.parametrize(
    ("event", "texts", "decisions", "holds"),
    [
        (Event("p", ("a",), ()), {}, {}, True),
        (Event("p", ("a",), ()), {"a": "A"}, {}, False),
        (Event("p", ("a",), ()), {"a": "A"}, {"p": ()}, True),
        (Event("p", ("a",), (("a", "A"),)), {"a": "A"}, {"p": ("a",)}, True),
        (Event("p", ("a",), (("a", "A"),)), {"a": "A"}, {}, False),
        (Event("p", ("a",), (("a", "A"),)), {"a": "B"}, {"p": ("a",)}, False),
        (Event("p", ("a",), (("a", "A"),)), {}, {"p": ("a",)}, False),
        (Event("p", ("a",), ()), {}, {"p": ("a",)}, True),
        (Event("p", ("a", "b"), (("b", "B"),)), {"a": "A", "b": "B"}, {"p": ("b",)}, True),
    ],
)
def test_a_walk_is_taken_up_again_only_where_planning_anew_would_come_to_the_same(event, texts, decisions, holds):
    assert event.holds(Facts(texts, decisions)) is holds


# ---------------------------------------------------------------- texts


def test_a_segment_is_told_as_who_said_what():
    assert list(source(SAID)) == [
        "user: Where is order 4711?",
        'assistant called find({"id":4711})',
        "find returned: in Lisbon",
        "assistant: There.",
    ]


def test_what_cannot_be_written_as_utf_8_is_replaced():
    assert list(source(messages([user("a\ud800b")]))) == ["user: a?b"]


def test_the_line_says_how_many_messages_a_summary_is_of():
    assert line(SEGMENT, "All is well.") == "[summary of the 4 messages left out above]\nAll is well."
    assert line(replace(SEGMENT, messages=(3,)), "x").startswith("[summary of the 1 message left out above]")


def test_the_writer_is_told_how_long_it_may_be():
    assert asked("Sum up.", 150).endswith("Write at most 100 words.")


def test_what_the_writers_window_does_not_take_goes_from_the_oldest_and_a_line_says_so():
    parts = [words(100, "old"), words(100, "mid"), words(100, "new")]
    assert cut(parts, 400, count) == "\n\n".join(parts)
    short = cut(parts, 250, count)
    assert short.startswith("[the oldest part of the text, 1 of 3 messages, is left out here]")
    assert "old old" not in short
    assert short.endswith(parts[2])
    assert count(cut([words(900, "huge")], 250, count)) <= 250


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (words(100), None),
        (" \n", "it is empty"),
        (words(101), "it has 101 tokens, at most 100 are allowed"),
        (words(1000), "it is no smaller than its source: 1,000 tokens of 1,000"),
    ],
)
def test_a_summary_stands_only_where_it_says_something_in_less(text, wrong):
    assert fault(text, SEGMENT, count) == wrong

"""A dry run tells in full what the live path would do, because it decides with the same functions."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.budget.components import OVERHEAD_REPLY
from gateway.conversation import Changes, Insertion
from gateway.reports.explain import FIRST_WORDS_CHARS, MOST_VALUES, dry_run, lined_up
from gateway.reports.tables import dry_run_tables
from gateway.routing.models import models_of
from gateway.wire.errors import GatewayError
from tests.passage import COUNTERS, Script, Setting, deployment, policy
from tests.talk import assistant, body, calls, loop, messages, result, system, user, words
from tests.test_cases import FOLDER, message, read
from tests.test_docs import blocks

COUNTER = COUNTERS.for_encoding("o200k_base")
MODEL = models_of({"asked": (deployment(),)}, unpriced=False)["asked"]
TIGHT = policy(
    "{name: tight, context_window: 2000, reserve: {output: 500, margin: 0}, "
    "fold: {keep_turns: 0, keep_tool_results: 0}}"
)
STUBBING = policy(
    "{name: stubbing, context_window: 2000, reserve: {output: 500, margin: 0}, ladder: {tool_results: [stub]}, "
    "fold: {keep_turns: 0, keep_tool_results: 0}}"
)
LONG = [system("be kind"), user("begin"), *loop(12, 90), user("and now?")]


def told(listed, under=TIGHT, **fields):
    return dry_run(body(listed, **fields), under, MODEL, COUNTER)


def test_what_fits_is_unchanged_and_its_components_are_counted_all_the_same():
    found = told([system("be kind"), user("hello")])
    assert (found["plan"], found["edits"], found["refusal"]) == ("unchanged", [], None)
    assert found["tokens"] == [14, 14]
    assert found["level"] == "whole"
    assert found["components"]["input"] == {"before": 5, "after": 5, "room": 5, "share": "10%", "bound": False}
    assert (found["model"], found["policy"], found["mode"], found["budget"]) == ("asked", str(TIGHT), "enforce", 1500)
    assert found["window"] == {"policy": 2000, "deployment": 128_000, "reserve": 500}


async def test_what_is_rewritten_is_told_as_the_live_path_tells_it(tmp_path):
    found = told(LONG, STUBBING)
    passed = await Setting(tmp_path, policies=(STUBBING,))(body(LONG), Script())
    assert found["plan"] == passed.client.got["x-gateway-plan"]
    assert found["tokens"] == [passed.settled["tokens_before"], passed.settled["tokens_after"]]
    assert {"at": 3, "remedy": "stub", "tool": "read"}.items() <= found["edits"][0].items()
    assert found["edits"][0]["reason"] == "older results were over; oldest first"
    assert found["edits"][0]["after"] < found["edits"][0]["before"]
    history = found["components"]["history"]
    assert history["after"] < history["before"]


def test_a_refusal_is_told_with_component_size_room_and_place():
    found = told([user("a"), user(words(3000))])
    assert found["plan"] == "refused"
    assert found["tokens"] == [3012, None]
    assert found["refusal"] == {
        "component": "input",
        "tokens": 3004,
        "room": 1497,
        "at": "messages[1]",
        "illegal": None,
    }
    history = {"before": 5, "after": 5, "room": None, "share": "40%", "bound": None}
    assert found["components"]["history"] == history
    assert found["components"]["input"] == {**history, "before": 3004, "after": 3004, "room": 1497, "share": "10%"} | {
        "bound": True
    }


def test_an_answer_limit_that_leaves_no_room_is_told_as_the_live_path_tells_it():
    refusal = told([user("hello")], max_tokens=128_000)["refusal"]
    named = {"component": "completion", "tokens": 128_000, "room": 127_992, "at": "max_tokens"}
    assert refusal == {**named, "illegal": None}


def test_a_refused_request_has_no_conversation_that_would_leave():
    found = told([user("a"), user(words(3000))])
    assert (found["conversation"], found["values_removed"]) == ([], 0)


# ---------------------------------------------------------------- the conversation as it would leave


ORDERED = [
    system("be kind"),
    user("my order"),
    calls("c0 find {}"),
    result("c0", "\n".join(f"order W-{n} of ann@example.com" for n in range(100, 140))),
    *loop(12, 90),
    user("and now? I asked for W-139"),
]
FORGETFUL = policy(
    "{name: forgetful, context_window: 2000, reserve: {output: 500, margin: 0}, recall: 0, "
    "ladder: {history: [drop_oldest]}, fold: {keep_turns: 0, keep_tool_results: 0, artifacts: 0}}"
)


def left(listed=ORDERED, under=FORGETFUL, **fields):
    return told(listed, under, **fields)


def test_each_message_is_told_with_what_becomes_of_it():
    found = left()
    by_place = {one["at"]: one for one in found["conversation"]}
    assert by_place.keys() - {None} == set(range(len(ORDERED)))
    assert by_place[0] == {
        "at": 0,
        "leaves_at": 0,
        "role": "system",
        "tool": None,
        "before": 6,
        "after": 6,
        "remedy": None,
        "reason": None,
        "words": "be kind",
        "text": None,
        "kept": 0,
        "gone": 0,
        "values_gone": [],
        "stays": None,
    }
    gone = by_place[3]
    assert (gone["leaves_at"], gone["after"], gone["remedy"]) == (None, 0, "drop_oldest")
    assert (gone["role"], gone["tool"], gone["text"]) == ("tool", "find", None)
    assert "over" in gone["reason"]
    stays = min(at for at, one in by_place.items() if at and one["role"] == "tool" and one["leaves_at"] and at < 27)
    assert gone["stays"] == stays
    assert by_place[2]["words"] == "find({})"


def test_values_are_told_as_kept_or_gone_and_the_gone_by_name():
    found = left()
    gone = next(one for one in found["conversation"] if one["at"] == 3)
    assert (gone["kept"], gone["gone"]) == (1, 40), "W-139 stands in the question"
    assert gone["values_gone"] == ["W-100", "ann@example.com", *(f"W-{n}" for n in range(101, 111))]
    assert len(gone["values_gone"]) == MOST_VALUES
    assert sum(one["gone"] for one in found["conversation"]) == found["values_removed"]


def test_a_value_that_stands_inside_a_longer_one_or_in_another_escaping_is_kept():
    said = "see src/app_1.py of W-7, caf\u00e9/menu_2.txt"
    listed = [user("go"), calls("c0 find {}"), result("c0", said), *loop(12, 90), user("now")]
    question = 'lib/src/app_1.py:12, https://shop.example/W-7?a=1, "caf\\u00e9/menu_2.txt"'
    gone = [one for one in left([*listed[:-1], user(question)])["conversation"] if one["at"] == 2]
    assert [one["gone"] for one in gone] == [0]
    assert [one["gone"] for one in left(listed)["conversation"] if one["at"] == 2] == [3]


def test_a_value_that_stands_in_a_tool_definition_is_kept():
    tools = [{"type": "function", "function": {"name": "find", "description": "of W-100 or ann@example.com"}}]
    assert next(one for one in left(tools=tools)["conversation"] if one["at"] == 3)["gone"] == 38


def test_a_message_of_ours_stands_where_it_would_leave():
    (ours,) = [one for one in left()["conversation"] if one["at"] is None]
    assert (ours["before"], ours["role"], ours["tool"]) == (None, "user", None)
    assert ours["remedy"] == "artifacts", "of an edit that puts a message in, not of the message it is put before"
    assert ours["text"] == ours["words"]
    assert "left out" in ours["text"]
    places = [one["leaves_at"] for one in left()["conversation"] if one["leaves_at"] is not None]
    assert places == list(range(len(places)))


def test_a_message_with_a_new_text_is_told_with_it_whole():
    stubbed = [one for one in told(LONG, STUBBING)["conversation"] if one["remedy"] == "stub"]
    assert stubbed
    assert all(one["text"].startswith("[result of read") and one["after"] < one["before"] for one in stubbed)


def test_tokens_of_the_messages_add_up_to_the_prompt():
    for found in (left(), told(LONG, STUBBING), told(LONG, tools=[{"type": "function", "function": {"name": "read"}}])):
        listed, tools = found["conversation"], found["components"]["tools"]
        assert sum(one["before"] or 0 for one in listed) + tools["before"] + OVERHEAD_REPLY == found["tokens"][0]
        assert sum(one["after"] for one in listed) + tools["after"] + OVERHEAD_REPLY == found["tokens"][1]


def test_the_first_words_are_one_line_of_bounded_length():
    long = left([user("a\n\n b\t" + "word " * 1000), *ORDERED[4:]])
    assert long["conversation"][0]["words"].startswith("a b word word")
    assert long["conversation"][0]["words"].endswith("…")
    assert all(len(one["words"]) <= FIRST_WORDS_CHARS for one in long["conversation"])


async def test_what_is_told_is_what_the_live_path_sends(tmp_path):
    passed = await Setting(tmp_path, policies=(FORGETFUL,))(body(ORDERED), Script())
    texts = [one["text"] for one in left()["conversation"] if one["at"] is None]
    assert [one["content"] for one in passed.received if one not in ORDERED] == texts
    assert passed.settled["values_removed"] == left()["values_removed"]


async def test_as_sent_is_message_by_message_what_the_live_path_sends(tmp_path):
    passed = await Setting(tmp_path, policies=(FORGETFUL,))(body(ORDERED), Script())
    sent = dry_run(body(ORDERED), FORGETFUL, MODEL, COUNTER, as_sent=True)["sent"]
    assert [(one["role"], one["text"]) for one in sent] == [
        (one["role"], one.get("content") or "") for one in passed.received
    ]
    assert [ORDERED[one["at"]]["role"] for one in sent if one["at"] is not None]
    assert any(one["at"] is None for one in sent)
    called = next(one for one in sent if one["calls"])
    assert called["calls"][0]["name"] == "read"
    assert {one["answers"] for one in sent if one["role"] == "tool"} >= {called["calls"][0]["id"]}


def test_the_level_says_how_far_the_remedies_went():
    assert told([user("hello")])["level"] == "whole"
    assert left()["level"] == "dropped", "nothing says what it held"
    listing = replace(FORGETFUL, fold=replace(FORGETFUL.fold, artifacts=0.2))
    assert left(under=listing)["level"] == "lists"
    assert told(LONG, STUBBING)["level"] == "lists"
    same = [user("go"), *(m for n in range(6) for m in (calls(f"c{n} read"), result(f"c{n}", words(300)))), user("b")]
    once = policy(
        "{name: once, context_window: 1500, reserve: {output: 0, margin: 0}, ladder: {tool_results: [dedupe]}, "
        "fold: {keep_turns: 0, keep_tool_results: 0}, protect: 0}"
    )
    assert told(same, once)["level"] == "lossless"


async def test_the_level_is_in_the_ledger_where_it_is_not_the_whole(tmp_path):
    passed = await Setting(tmp_path, policies=(FORGETFUL,))(body(ORDERED), Script())
    assert passed.settled["level"] == "dropped"
    passed = await Setting(tmp_path / "whole", policies=(FORGETFUL,))(body([user("hello")]), Script())
    assert "level" not in passed.settled


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_where_nothing_would_be_sent_otherwise_it_is_told_what_enforce_would_do(mode):
    assert left(under=replace(FORGETFUL, mode=mode))["conversation"] == left()["conversation"]


PAGE = Path(__file__).parents[1] / "docs" / "what-is-done-to-my-request.md"


def drawn_case(name):
    """The conversation of a golden case as the command line shows it, without trailing blanks."""
    case = read(FOLDER / f"{name}.yaml")
    raw = body([message(one) for one in case["request"]["messages"]], model="gpt-4o")
    model = models_of({"gpt-4o": (deployment("gpt-4o"),)}, unpriced=False)["gpt-4o"]
    run = dry_run(raw, policy(yaml.safe_dump({"name": "case", **case["policy"]})), model, COUNTER)
    file = io.StringIO()
    Console(file=file, width=80).print(dry_run_tables(run))
    drawn = file.getvalue()
    lines = [line.rstrip() for line in drawn[drawn.index("The conversation as it would leave") :].splitlines()]
    return "".join(f"{line}\n" for line in lines if line)


def test_the_page_shows_a_case_as_the_command_does():
    (block,) = [block for block in blocks(PAGE) if block.option("explains") is not None]
    assert block.text == drawn_case(block.option("explains"))


TALK = messages([user("a"), assistant("b"), user("a"), calls("c1 f {}"), result("c1", "long"), user("c")])


@given(
    st.dictionaries(st.sampled_from([4, 5]), st.sampled_from(["long", "a", "short"])),
    st.sets(st.integers(0, 5)),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ours", "short", "a"])), max_size=3),
)
def test_messages_are_always_lined_up_each_once_and_in_order(texts, dropped, inserted):
    ours = [Insertion(before, text) for before, text in sorted(inserted, key=lambda one: one[0])]
    changes = Changes(texts, frozenset(dropped), tuple(ours))
    after = changes.applied(TALK)
    pairs = list(lined_up(TALK, after, changes))
    assert [at for at, _ in pairs if at is not None] == list(range(len(TALK)))
    assert [place for _, place in pairs if place is not None] == list(range(len(after)))
    assert {at for at, place in pairs if place is None} == dropped
    for at, place in pairs:
        if at is not None and place is not None and at not in texts:
            assert after[place] is TALK[at]


def test_what_came_illegal_is_told_as_such():
    found = told([user("a"), user(words(3000)), result("nobody", "x")])
    assert found["refusal"]["at"] == "messages[2]"
    assert "not open" in found["refusal"]["illegal"]


def test_a_body_that_is_no_request_raises_as_it_would_be_refused():
    with pytest.raises(GatewayError, match="not a JSON object"):
        dry_run(b"{", TIGHT, MODEL, COUNTER)

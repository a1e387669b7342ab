"""Folding by hysteresis: when, how far, in which order, what stays and what is said of the rest. Sizes are words."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import OVERHEAD_MESSAGE, Recognition
from gateway.config.shares import Shares
from gateway.rewriting.folds import FoldedConversation, FoldRules, fold, reasoning_open
from gateway.rewriting.folds.voiced import voiced
from gateway.rewriting.ladder import Ladders
from gateway.rewriting.memory import Known
from tests.talk import anatomy, assistant, calls, count, loop, messages, result, step, system, user, words

SHARES = Shares(1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6)
DROP = Ladders(tool_results=(), documents=(), examples=(), history=("drop_oldest",), input=())
STUB = Ladders(tool_results=("stub",), documents=(), examples=(), history=(), input=())
RULES = FoldRules(
    budget=1000,
    final_budget=1000,
    trigger=1.0,
    target=0.5,
    clear_at_least=0.1,
    keep_turns=0,
    keep_tool_results=0,
    shares=SHARES,
    borrow=("input", "documents", "history"),
)


def folded(listed, ladders=DROP, recognition=None, **rules) -> FoldedConversation:
    if "budget" in rules:
        rules = {"final_budget": rules["budget"], **rules}
    known, recognised = Known(), recognition or Recognition()
    named = voiced(anatomy(listed, recognised), recognised.document_tags, count, known)
    return fold(named, replace(RULES, **rules), ladders, count, known)


def chat(turns: int, size: int, says: int | None = None) -> list[dict[str, object]]:
    """So many questions (of `says` words, else as many as the answers), each with its answer, and one more question."""
    said = [
        one
        for number in range(turns)
        for one in (user(words(says or size, f"q{number}")), assistant(words(size, f"a{number}")))
    ]
    return [*said, user("now")]


def gone(found: FoldedConversation) -> list[int]:
    return sorted(found.dropped)


# ---------------------------------------------------------------- when


def test_a_conversation_that_was_never_over_is_not_touched():
    found = folded(chat(4, 90))
    assert not found.dropped
    assert not found.shortened
    assert not found.lines


def test_what_models_wrote_goes_oldest_first_and_what_people_said_stays():
    found = next(fold for turns in range(3, 30) if (fold := folded(chat(turns, 60, says=20))).dropped)
    assert gone(found) == list(range(1, 2 * len(found.dropped), 2))
    assert 400 <= found.total <= 520


def test_after_a_fold_nothing_moves_until_history_is_over_its_trigger_again():
    listed = chat(40, 100, says=5)
    folds = {}
    for end in range(1, len(listed) + 1, 2):
        folds[end] = len(folded(listed[:end]).dropped)
    assert list(folds.values()) == sorted(folds.values())
    assert len(set(folds.values())) <= 11, "a fold only about every half a room of growth"


def test_a_conversation_that_was_once_over_stays_folded():
    listed = [*chat(10, 60)[:-1], user(words(400)), assistant("ok"), user("now")]
    assert folded(listed).dropped


def test_the_trigger_is_a_share_of_the_room_that_counts_only_after_the_first_fold():
    early, late = folded(chat(10, 40), trigger=0.6), folded(chat(20, 40), trigger=0.6)
    assert not early.dropped
    assert late.dropped


def test_a_prefix_that_is_over_by_its_answer_limit_alone_is_folded_for_this_request():
    listed = chat(6, 60)
    assert not folded(listed).dropped
    assert folded(listed, final_budget=600).total <= 600


def test_only_prefixes_that_were_requests_are_asked_whether_they_are_over():
    # The two user messages came together: the first alone was never a request.
    listed = [user(words(800)), user(words(100)), assistant("a"), user(words(50))]
    assert not folded(listed).dropped


# ---------------------------------------------------------------- stability


def sent(listed, found: FoldedConversation) -> list[str]:
    return [f"{m.role} {m.text}" for m in found.changes.applied(messages(listed))]


@pytest.mark.long
@pytest.mark.parametrize("ladders", [DROP, Ladders()], ids=["drop_oldest", "all remedies"])
def test_what_an_extension_sends_begins_with_what_was_sent_before_unless_it_folds(ladders):
    listed = [user(words(50)), *loop(60, 60), user("now")]
    folds, before = 0, None
    for end in range(3, len(listed), 2):
        found = folded(listed[:end], ladders)
        now = sent(listed[:end], found)
        if before is not None and now[: len(before)] != before:
            folds += 1
        before = now
        assert found.total <= 1000
    assert folds <= 12


TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.integers(1, 160)),
        st.tuples(st.just("step"), st.integers(1, 160)),
        st.tuples(st.just("say"), st.integers(1, 90)),
    ),
    min_size=1,
    max_size=24,
)
LADDERS = st.sampled_from([DROP, STUB, Ladders(), Ladders(tool_results=("stub",))])
KEEP = st.fixed_dictionaries({"keep_turns": st.integers(0, 3), "keep_tool_results": st.integers(0, 3)})


def spoken(turns) -> list[dict[str, object]]:
    out: list[dict[str, object]] = [system("s"), user("begin")]
    for number, (kind, size) in enumerate(turns):
        out += {
            "user": lambda n=number, s=size: [assistant(f"ok{n}"), user(words(s, f"q{n}"))],
            "step": lambda n=number, s=size: step(n, s),
            "say": lambda n=number, s=size: [assistant(words(s, f"a{n}")), user("go on")],
        }[kind]()
    return out


@given(TURNS, LADDERS, KEEP)
def test_the_newest_unit_the_last_user_message_and_the_head_never_change(turns, ladders, keep):
    listed = spoken(turns)
    found = folded(listed, ladders, budget=500, **keep)
    taken = anatomy(listed)
    asked = max(i for i, m in enumerate(listed) if m["role"] == "user")
    kept = {0, asked, *taken.units[-1]}
    assert not kept & (found.dropped.keys() | found.shortened.keys())


@given(TURNS, LADDERS, KEEP)
def test_the_total_always_is_what_the_messages_that_leave_count(turns, ladders, keep):
    listed = spoken(turns)
    found = folded(listed, ladders, budget=500, **keep)
    taken = anatomy(listed)
    out = taken.total - sum(taken.tokens)
    for index, tokens in enumerate(taken.tokens):
        if index not in found.dropped:
            out += found.shortened[index].tokens if index in found.shortened else tokens
    out += sum(OVERHEAD_MESSAGE + count(line.text) for line in found.lines)
    assert found.total == out


@given(TURNS, KEEP)
def test_whole_units_always_go_together(turns, keep):
    listed = spoken(turns)
    found = folded(listed, budget=500, **keep)
    for unit in anatomy(listed).units:
        assert len({index in found.dropped for index in unit}) == 1


@given(TURNS, KEEP, st.integers(0, 3))
def test_where_history_may_go_all_fits_or_only_what_must_stay_is_left(turns, keep, wide):
    listed = spoken(turns)
    found = folded(listed, budget=300 + 100 * wide, **keep)
    taken = anatomy(listed)
    asked = max(i for i, m in enumerate(listed) if m["role"] == "user")
    must = taken.system_tokens + sum(taken.tokens[i] for i in {asked, *taken.units[-1]})
    assert found.total <= max(300 + 100 * wide, must)


# ---------------------------------------------------------------- order and what is kept


def test_the_newest_turns_stay_while_that_is_enough():
    listed = chat(10, 60)
    assert max(gone(folded(listed, keep_turns=3))) < len(listed) - 6


def test_keep_turns_gives_way_before_keep_tool_results():
    listed = [user(words(30)), *loop(12, 90)]
    found = folded(listed, STUB, keep_turns=2, keep_tool_results=3)
    assert found.shortened
    assert max(found.shortened) < len(listed) - 6


def test_keep_tool_results_gives_way_before_the_request_is_refused():
    listed = [user(words(30)), *loop(4, 290)]
    found = folded(listed, STUB, keep_tool_results=3)
    assert found.total <= 1000


def test_the_lightest_remedy_is_tried_on_all_old_results_before_the_next_one():
    listed = [
        user("a"),
        *(m for n in range(30) for m in (calls(f"c{n} read"), result(f"c{n}", f"[ {'1 , ' * 30} 1 ]"))),
        user("b"),
    ]
    found = folded(listed, Ladders(tool_results=("minify", "stub"), history=("drop_oldest",)))
    assert {short.remedy for short in found.shortened.values()} == {"minify"}
    assert not found.dropped


def test_dropping_comes_after_stubbing():
    listed = [user("a"), *loop(14, 90)]
    found = folded(listed, Ladders(tool_results=("stub",), history=("drop_oldest",)))
    assert found.shortened
    assert not found.dropped


def test_what_users_said_stays_where_it_was_in_the_middle_of_what_goes():
    listed = [system("s"), user("the task"), assistant(words(400)), user("go on"), *loop(14, 90)]
    found = folded(listed)
    assert not {1, 3} & found.dropped.keys()
    assert {4, 5} <= found.dropped.keys()
    assert [line.before for line in found.lines] == [max(found.dropped) + 1]


def test_a_user_message_that_was_the_last_stays_at_a_later_fold():
    listed = [user("old task"), *loop(14, 90), assistant("done"), user("new task"), *loop(14, 90, first=20)]
    found = folded(listed)
    assert {0, len(loop(14, 90)) + 2}.isdisjoint(found.dropped)


# ---------------------------------------------------------------- dedupe


def test_of_identical_results_the_newest_stays_and_the_older_point_to_it():
    same = words(120)
    listed = [
        user("a"),
        calls("x read"),
        result("x", same),
        calls("y read"),
        result("y", same),
        *loop(9, 80),
        user("b"),
    ]
    found = folded(listed, Ladders(tool_results=("dedupe",), history=()))
    assert found.shortened[2].text == "[same as the later result of read, call y]"
    assert 4 not in found.shortened


def test_what_a_pointer_leads_to_is_crushed_before_anything_goes():
    rows = json.dumps({"rows": [{"id": f"r-{n}", "city": "Oslo", "price": 10 * n} for n in range(40)]}, indent=1)
    listed = [user("a"), calls("x read"), result("x", rows), calls("y read"), result("y", rows)]
    more = [user("b"), *loop(3, 200), user("c")]
    ladders = Ladders(tool_results=("dedupe", "crush"))
    before = folded(listed, ladders, budget=450)
    after = folded([*listed, *more], ladders, budget=900)
    assert {index: short.remedy for index, short in before.shortened.items()} == {2: "dedupe"}
    assert {index: short.remedy for index, short in after.shortened.items()} == {2: "dedupe", 4: "crush"}
    assert not after.dropped


BY_REPEATS = Ladders(tool_results=("dedupe",), documents=(), examples=(), history=("drop_oldest",), input=())


def asked_again(times: int) -> list[dict[str, object]]:
    """A question of its own, one that is asked so many times and always gets the same answer, and one more question."""
    own = [user(words(30, "own")), assistant(words(100, "told"))]
    again = [user(words(30, "q")), assistant(words(100, "a"))]
    return [user("begin"), assistant("yes"), *own, *again * times, user("and else"), assistant("no"), user("now")]


def test_an_exchange_that_is_repeated_word_for_word_goes_before_all_that_is_not():
    found = folded(asked_again(7), BY_REPEATS)
    assert gone(found) == list(range(4, 14))  # the newest two stay: one is what was asked last when it was folded
    assert set(found.dropped.values()) == {"dedupe"}
    assert not found.kept  # nothing of it is missing


def test_what_is_left_out_later_is_all_that_a_note_counts():
    more = [one for n in range(8) for one in (user(words(20, f"m{n}")), assistant(words(90, f"n{n}")))]
    listed = asked_again(7)
    found = folded([*listed, assistant("yes"), *more, user("and?")], BY_REPEATS)
    missed = [index for index, remedy in found.dropped.items() if remedy != "dedupe"]
    assert missed
    assert sum(note.messages for note in found.kept) == len(missed)


def test_repeats_stay_where_the_ladder_has_no_such_remedy():
    assert "dedupe" not in folded(asked_again(7)).dropped.values()


def test_results_that_differ_in_white_space_of_their_json_alone_are_the_same():
    listed = [
        user("a"),
        calls("x read"),
        result("x", '{"a": "' + words(120) + '"}'),
        calls("y read"),
        result("y", '{ "a" : "' + words(120) + '"}'),
        *loop(9, 80),
        user("b"),
    ]
    found = folded(listed, Ladders(tool_results=("dedupe",), history=()))
    assert found.shortened[2].remedy == "dedupe"


def pointed_to(listed, text: str) -> int:
    return next(i for i, m in enumerate(listed) if text.endswith(f"call {m.get('tool_call_id')}]"))


REPEATED = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=40)


@given(
    REPEATED,
    st.sampled_from(
        [Ladders(), Ladders(tool_results=("dedupe",)), Ladders(tool_results=("dedupe", "stub"), history=())]
    ),
    KEEP,
)
def test_a_pointer_always_leads_to_a_result_that_stands(repeated, ladders, keep):
    listed = [user("a")]
    for number, (which, asks) in enumerate(repeated):
        listed += [calls(f"c{number} read"), result(f"c{number}", words(70, f"text-{which}-".ljust(50, "-")))]
        listed += [assistant("ok"), user("go on")] if asks else []
    found = folded(listed, ladders, **keep)
    for index, short in found.shortened.items():
        if index not in found.dropped and short.remedy == "dedupe":
            newer = pointed_to(listed, short.text)
            stands = found.shortened.get(newer)
            assert newer > index
            assert newer not in found.dropped
            assert stands is None or stands.remedy == "minify"


def retrieved(*numbers: int, words_each: int = 100) -> str:
    """A question over documents, each of which begins as its number says."""
    documents = [f"<document>{words(words_each, f'd{number}')}</document>" for number in numbers]
    return "\n".join([*documents, "What of it?"])


def test_documents_that_a_later_message_nearly_repeats_go_before_anything_said():
    listed = [
        *(user(retrieved(1, 2, 3)), assistant("one")),
        *(user(retrieved(2, 3, 4)), assistant("two")),
        *(user(retrieved(3, 4, 5)), assistant("three")),
        user("now"),
    ]
    ladders = Ladders(documents=("dedupe",), history=("drop_oldest",))
    found = folded(listed, ladders, budget=850, shares=Shares(0, 0, 0, 0.1, 0.9, 0))
    assert not found.dropped
    assert [short.remedy for short in found.shortened.values()] == ["dedupe", "dedupe"]
    assert found.shortened[0].text.count("<document>") == 1
    assert "2 more documents left out: nearly the same as one of a later message" in found.shortened[0].text
    assert found.shortened[0].text.endswith("What of it?")
    assert found.shortened[2].text.count("<document>") == 1
    assert 4 not in found.shortened


# ---------------------------------------------------------------- deep, and forced


def test_a_fold_goes_deep_so_that_its_edge_stands_still_for_long():
    listed = [user("a"), *loop(24, 50), user("b")]
    edge = {max(folded(listed[:end]).dropped, default=-1) for end in range(17, len(listed), 2)}
    assert len(edge) <= 3


@pytest.mark.long
def test_what_stays_whole_is_no_more_than_the_target_leaves_beside_the_list():
    listed = [user("a"), *loop(40, 50), user("b")]
    for artifacts in (0.0, 0.2, 0.4):
        left = [
            found.total
            for end in range(17, len(listed), 2)
            if (found := folded(listed[:end], artifacts=artifacts)).dropped
        ]
        assert min(left) <= 0.5 * 1000 + 2 * OVERHEAD_MESSAGE


def test_where_the_newest_leaves_no_room_for_a_tail_the_oldest_units_go():
    listed = [user(words(950)), *step(1, 20), *step(2, 5)]
    found = folded(listed)
    assert gone(found) == [1, 2]
    assert found.total <= 1000
    assert found.forced


def test_a_fold_that_came_in_time_does_not_say_forced():
    assert not folded(chat(10, 60)).forced


def test_the_placeholder_is_left_out_where_it_alone_would_not_fit():
    listed = [user(words(80)), assistant(words(10)), user(words(92))]
    found = folded(listed, budget=100)
    assert found.dropped.keys() == {0, 1}
    assert not found.lines
    assert found.total <= 100


def test_what_cannot_fit_is_left_over_for_the_plan_to_refuse():
    found = folded([user(words(1500))])
    assert found.total > 1000
    assert not found.dropped


# ---------------------------------------------------------------- examples and documents


EXAMPLES = Ladders(tool_results=(), documents=(), examples=("drop_oldest",), history=())


def examples(pairs: int, size: int) -> list[dict[str, object]]:
    return [
        one
        for n in range(pairs)
        for one in (
            user(words(size, f"eq{n}"), name="example_user"),
            assistant(words(size, f"ea{n}"), name="example_bot"),
        )
    ]


def test_examples_go_in_pairs_oldest_first():
    listed = [*examples(6, 40), user(words(700))]
    found = folded(listed, EXAMPLES)
    assert gone(found) == list(range(len(found.dropped)))
    assert len(found.dropped) % 2 == 0
    assert 0 < len(found.dropped) < 12


def test_examples_leave_no_line_behind():
    assert not folded([*examples(6, 40), user(words(700))], EXAMPLES).lines


def test_examples_stay_where_their_ladder_is_empty():
    assert not folded([*examples(6, 90), user(words(700))], DROP).dropped


RETRIEVAL = Recognition(document_tools=("search",))


def test_documents_that_came_twice_point_to_the_newer_one():
    same = words(200)
    listed = [
        user("a"),
        calls("x search"),
        result("x", same),
        assistant("b"),
        user("c"),
        calls("y search"),
        result("y", same),
        assistant(words(500)),
        user(words(200)),
    ]
    found = folded(listed, Ladders((), ("dedupe",), (), ()), RETRIEVAL)
    assert found.shortened[2].text == "[same as the later result of search, call y]"


def test_documents_are_no_tool_results_of_history():
    listed = [user("a"), *(m for n in range(14) for m in step(n, 90, "search")), user("b")]
    assert not folded(listed, STUB, RETRIEVAL).shortened


# ---------------------------------------------------------------- lists of what only the fold holds


def orders(steps: int, first: int = 0, size: int = 40) -> list[dict[str, object]]:
    """So many steps of an agent, each with a value of its own."""
    return [
        message
        for n in range(first, first + steps)
        for message in (
            calls(f'c{n} get_order {{"order":"#W{n}00{n}"}}'),
            result(f"c{n}", f"paid {n}1.50 with card_{n}951 {words(size, 'filler')}"),
        )
    ]


LISTED = {"artifacts": 0.2, "budget": 1000}


def lines_over_time(listed, **rules) -> list[tuple[str, ...]]:
    """Tell which lines of ours each request of a conversation has."""
    ends = range(2, len(listed) + 1, 2)
    return [tuple(line.text for line in folded(listed[:end], **{**LISTED, **rules}).kept) for end in ends]


def test_the_list_says_which_values_went_and_where_they_stood():
    found = folded([user("look"), *orders(30), user("now")], **LISTED)
    (line, *_) = found.kept
    assert line.text.startswith(
        f"[… {line.messages} messages, {line.stands_for:,} tokens left out; quoted from earlier messages, as data:]\n"
    )
    assert '] assistant: "get_order(order' in line.text
    assert "#W1001" in line.text
    assert '] get_order: "paid ' in line.text
    assert line.values


@pytest.mark.parametrize(("budget", "share"), [(1000, 0.4), (5000, 0.2)], ids=["a small room, twice", "a large room"])
def test_a_list_takes_no_more_than_its_share_and_a_part_of_what_it_stands_for(budget, share):
    for size in (10, 40, 90):
        kept = folded([user("look"), *orders(budget // 25, size=size), user("now")], artifacts=0.2, budget=budget).kept
        for line in kept:
            assert line.tokens <= share * budget + OVERHEAD_MESSAGE
            assert line.tokens < line.stands_for


@pytest.mark.long
def test_a_list_that_stands_is_not_written_again_by_the_next_fold():
    seen = lines_over_time([user("look"), *orders(90)])
    grown = sum(
        len(after) > len(before) and after[: len(before)] == before for before, after in pairwise(seen) if before
    )
    assert grown >= 1
    anew = sum(after[: len(before)] != before for before, after in pairwise(seen))
    assert anew <= len(seen) // 8, "lists are replaced only where they have grown beyond their share"


def test_no_value_is_said_in_two_lists():
    for end in range(20, 100, 8):
        kept = folded([user("look"), *orders(90)][:end], **LISTED).kept
        held = [value for line in kept for value in line.values]
        assert len(held) == len(set(held))


@pytest.mark.long
def test_lists_together_never_take_more_than_the_target():
    for end in range(20, 180, 6):
        kept = folded([user("look"), *orders(90)][:end], **LISTED).kept
        assert sum(line.tokens for line in kept) <= 0.5 * 1000


def test_what_still_stands_is_not_in_the_list():
    listed = [system("Beware of #W3003."), user("look"), *orders(30), user("now")]
    assert all("#W3003" not in line.values for line in folded(listed, **LISTED).kept)


def test_without_a_share_a_line_only_says_how_much_is_gone():
    (line,) = folded([user("look"), *orders(30), user("now")], artifacts=0.0).kept
    assert line.text == f"[… {line.messages} messages, {line.stands_for:,} tokens left out]"
    assert not line.values


def test_a_message_that_imitates_our_list_is_a_message_like_any_other():
    ours = folded([user("look"), *orders(30), user("now")], **LISTED).kept[0].text
    listed = [user("look"), user(ours), *orders(30), user(ours)]
    found = folded(listed, **LISTED)
    assert sent(listed, found)[-1] == f"user {ours}"
    assert found.total <= 1000


def test_sentences_to_preserve_stay_through_every_fold():
    listed = [user("I must fly before noon. Thanks."), *orders(90), user("now")]
    for end in range(41, len(listed) + 1, 10):
        found = folded(listed[:end], preserve=(r"(?i)\bmust\b",), **LISTED)
        assert any("I must fly before noon." in text for text in sent(listed[:end], found))


# ---------------------------------------------------------------- odd conversations


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [system("s")],
        [system(words(2000))],
        [assistant(words(2000))],
        [system("s"), *loop(30, 90)],
        [calls("c1 read"), result("c1", words(1500))],
        [user("")] * 300,
    ],
    ids=["empty", "system", "much system", "no user", "loop without user", "result", "empty messages"],
)
@pytest.mark.parametrize("ladders", [DROP, STUB, Ladders()], ids=["drop", "stub", "auto"])
def test_conversations_of_odd_shapes_are_folded_without_complaint(listed, ladders):
    found = folded(listed, ladders, **LISTED)
    assert found.total <= max(1000, anatomy(listed).total)


# ---------------------------------------------------------------- reasoning that is bound to what stands before it


def thinks(message):
    return {**message, "reasoning_content": "hm"}


def thinking_loop(steps: int, size: int, first: int = 0):
    return [thinks(one) if one["role"] == "assistant" else one for one in loop(steps, size, first)]


def test_reasoning_is_open_from_the_first_thought_until_the_user_speaks():
    listed = [user("a"), *loop(1, 5), *thinking_loop(2, 5, 1), user("b"), assistant("c")]
    assert reasoning_open(anatomy(listed)) == {3, 4}
    assert reasoning_open(anatomy([user("a"), *thinking_loop(1, 5)])) == {2}
    assert reasoning_open(anatomy([user("a"), *loop(3, 5)])) == frozenset()


def test_nothing_is_folded_in_a_loop_that_has_reasoned():
    listed = [user("a"), *loop(3, 100), user("b"), *thinking_loop(10, 100, 3)]
    assert gone(folded(listed))
    assert gone(folded(listed, binds_reasoning=True)) == []
    assert gone(folded([user("a"), *loop(12, 100)], binds_reasoning=True))


def test_reasoning_before_a_change_is_left_out_and_what_came_after_keeps_it():
    turn = [user("a"), *thinking_loop(12, 100), thinks(assistant("done"))]
    asked = folded([*turn, user("b")], binds_reasoning=True)
    first = min(asked.dropped)
    standing = {i for i in range(first, len(turn)) if i not in asked.dropped and turn[i].get("reasoning_content")}
    assert standing
    assert asked.unreasoned - asked.dropped.keys() == standing
    later = folded([*turn, user("b"), *thinking_loop(2, 50, 20)], binds_reasoning=True)
    assert (later.dropped, later.kept, later.unreasoned) == (asked.dropped, asked.kept, asked.unreasoned)


def test_what_carries_nothing_but_reasoning_goes_with_it():
    turn = [user("a"), *thinking_loop(12, 100), thinks(assistant(""))]
    asked = folded([*turn, user("b")], binds_reasoning=True)
    assert len(turn) - 1 in asked.dropped
    assert len(turn) - 1 not in asked.changes.unreasoned


def test_where_nothing_is_bound_all_reasoning_stays():
    listed = [user("a"), *thinking_loop(12, 100), user("b")]
    assert folded(listed).dropped
    assert folded(listed).unreasoned == frozenset()


def test_a_list_takes_what_is_left_of_the_target_where_no_whole_unit_fits():
    def boxes(n: int) -> str:
        return " ".join([f"Box {n}{k}77 is to go to bay {k}{n} of the new box if we do it now." for k in range(4)])

    looks = [message for n in range(10) for message in (calls(f"c{n} look_up"), result(f"c{n}", boxes(n)))]
    found = folded([user("look"), *looks, *step(40, 600), user("now")], artifacts=0.04, budget=1000)
    (line,) = found.kept
    assert line.tokens > 2 * 0.04 * 1000, "more than the share of a small room"
    assert found.total <= 0.5 * 1000


def test_what_the_model_said_before_anybody_spoke_stays_while_it_is_short():
    told = chat(12, 60, says=20)
    short, long = assistant("Good morning. What can I do for you?"), assistant(words(80))
    assert 0 not in folded([short, *told]).dropped
    assert 2 in folded([short, *told]).dropped
    assert 0 in folded([long, *told]).dropped

"""What is decided for one request: as it is, rewritten, or refused with the component, its size and its room."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.allocation import Window
from gateway.budget.components import COMPONENTS, OVERHEAD_MESSAGE, dissect, message_tokens
from gateway.config.ladder import Ladder
from gateway.config.policy import Fold, Policy, Reserve
from gateway.config.shares import Shares
from gateway.conversation import Insertion
from gateway.providers.anthropic import MESSAGES_API
from gateway.providers.gemini import GENERATE_CONTENT
from gateway.providers.mistral import TEMPLATES
from gateway.rewriting.memory import Known
from gateway.rewriting.ours import left_out, summary
from gateway.rewriting.plan import Plan, Refusal, plan, recognition_of
from gateway.rewriting.volatile import LABEL
from gateway.wire.legality import CHAT, introduced
from gateway.wire.legality import Rules as LegalRules
from tests.talk import assistant, calls, conversation, count, count_media, loop, result, step, system, user, words

BARE = Policy("bare", reserve=Reserve(0, 0), fold=Fold(keep_turns=0, keep_tool_results=0))
DROP = replace(BARE, ladder=Ladder((), (), (), ("drop_oldest",), ()))
NOTHING = replace(BARE, ladder=Ladder((), (), (), (), ()))
STRICT = replace(BARE, strict=True)


def decided(
    listed, policy=BARE, window=1000, limit=0, tools=(), legal: LegalRules = CHAT, known: Known | None = None, **bounds
) -> Plan | Refusal:
    taken = dissect(conversation(listed, tools), recognition_of(policy), count, count_media)
    bounds = {"deployment": None, "shared": True, "reserve": 0, "margin": 0, **bounds}
    return plan(taken, policy, Window(policy=window, **bounds), limit, (legal,), count, known)


def planned(*args, **more) -> Plan:
    found = decided(*args, **more)
    assert isinstance(found, Plan), found
    return found


def refused(*args, **more) -> Refusal:
    found = decided(*args, **more)
    assert isinstance(found, Refusal), found
    return found


def chat(turns: int, size: int):
    return [m for n in range(turns) for m in (user(words(size, f"q{n}")), assistant(words(size, f"a{n}")))]


# ---------------------------------------------------------------- as it is


def test_what_fits_is_not_touched():
    found = planned([system("s"), *chat(3, 50), user("now")])
    assert found.changes is None
    assert found.before == found.after
    assert found.summary == ""
    assert found.edits == ()


def test_what_fits_exactly_fits():
    listed = [user(words(100))]
    assert planned(listed, window=107).changes is None
    assert refused(listed, window=106).tokens == 104


def test_where_nothing_bounds_a_prompt_nothing_is_done():
    assert planned([user(words(10_000))], window=None).changes is None


def test_what_fits_is_not_judged():
    assert planned([user("a"), result("nobody", "x")]).changes is None


# ---------------------------------------------------------------- rewritten


def test_a_plan_says_what_was_done_and_where_it_begins():
    found = planned(
        [system("s"), user("a"), *loop(14, 90), user("now")], replace(DROP, ladder=Ladder(("stub",), (), (), ()))
    )
    stubs = [edit for edit in found.edits if edit.remedy == "stub"]
    assert found.summary == (
        f"tokens={found.tokens_before}/{found.tokens_after}; stub={len(stubs)}; first_changed=messages[3]"
    )
    assert stubs[0].at == 3
    assert (stubs[0].tool, stubs[0].before) == ("read", OVERHEAD_MESSAGE + 90)
    assert stubs[0].reason == "older results were over; oldest first"


def test_edits_are_told_in_the_order_of_the_messages_and_dropping_with_its_component():
    found = planned([*chat(8, 60), user("now")], DROP)
    line = next(edit for edit in found.edits if not edit.before)
    gone = [edit for edit in found.edits if edit.before]
    assert (line.at, line.remedy) == (max(edit.at for edit in gone) + 1, "artifacts")
    assert [edit.at for edit in gone] == list(range(1, 2 * len(gone), 2)), "what models wrote, the oldest first"
    assert {(edit.remedy, edit.tool, edit.after, edit.reason) for edit in gone} == {
        ("drop_oldest", None, 0, "history was over; oldest first")
    }


def test_what_is_put_in_is_told_before_the_message_that_it_stands_before():
    documents = "".join(
        f"<doc>Title: t{n}\n{words(40, f'alpha{n}')}.\n{words(40, f'beta{n}')}.</doc>" for n in range(8)
    )
    ladder = Ladder((), ("extract",), (), ("drop_oldest",), ())
    listed = [user("a"), *loop(1, 900), user(f"what of alpha3? {documents}")]
    found = planned(listed, replace(DROP, ladder=ladder, recall=0.0))
    assert [(edit.at, edit.remedy) for edit in found.edits[-2:]] == [(3, "artifacts"), (3, "extract")]


def test_a_fold_that_had_to_be_forced_says_so():
    found = planned([user(words(950)), *step(1, 20), *step(2, 5)], DROP)
    assert found.forced
    assert found.summary.endswith("; first_changed=messages[1]; forced")


def test_an_answer_limit_that_eats_the_deployments_window_makes_a_prompt_too_long():
    listed = [*chat(6, 60), user("now")]
    assert planned(listed, DROP, window=None, deployment=2000).changes is None
    assert planned(listed, DROP, window=None, deployment=2000, limit=1500).tokens_after <= 500


# ---------------------------------------------------------------- legality


def test_an_illegal_old_orphan_goes_first_and_the_rest_is_planned_without_it():
    rest = [user("a"), *chat(9, 90), user("b")]
    found, alone = planned([rest[0], result("nobody", words(10)), *rest[1:]], DROP), planned(rest, DROP)
    assert found.changes is not None
    assert alone.changes is not None
    assert 1 in found.changes.dropped
    assert found.changes.applied(conversation([rest[0], result("nobody", "x"), *rest[1:]]).messages)[1].text
    assert [edit.at for edit in found.edits if edit.remedy == "drop_illegal"] == [1]
    assert {at for at in found.changes.dropped if at > 1} == {at + 1 for at in alone.changes.dropped if at}
    assert [own.text for own in found.changes.inserted] == [own.text for own in alone.changes.inserted]
    assert found.tokens_after == alone.tokens_after
    assert found.tokens_before == alone.tokens_before + 14


def test_where_leaving_out_an_illegal_call_is_enough_nothing_else_is_done():
    listed = [user("a"), calls("c1 read", "c2 read"), result("c1", words(900)), *chat(2, 90), user("b")]
    found = planned(listed, DROP)
    assert found.changes is not None
    assert found.changes.dropped == {1, 2}
    assert (found.changes.texts, found.changes.inserted) == ({}, ())
    assert found.summary.startswith("tokens=")
    assert "drop_illegal=2" in found.summary


def test_what_is_illegal_where_nothing_may_be_cut_is_refused_by_index():
    found = refused([user("a"), *chat(9, 90), user("b"), result("nobody", words(10))], DROP)
    assert found.illegal is not None
    assert found.at == "messages[20]"
    assert "messages[20]" in found.illegal


def test_a_refusal_names_its_place_in_the_request_as_it_came():
    found = refused([user("a"), result("nobody", "x"), user(words(3000))], DROP)
    assert (found.illegal, found.component, found.at) == (None, "input", "messages[2]")


def in_json(listed, policy=DROP, legal: LegalRules = CHAT, window=1000) -> Plan | Refusal:
    asked = replace(conversation(listed), required_word="json")
    taken = dissect(asked, recognition_of(policy), count, count_media)
    return plan(taken, policy, Window(window, None, True, 0, 0), 0, (legal,), count)


def test_a_fold_in_json_mode_says_the_form_of_the_answer():
    found = in_json([user("a"), assistant("I answer in JSON."), *chat(9, 90), user("b")])
    assert isinstance(found, Plan)
    assert any("[answer: json]" in own.text for own in inserted(found))


def test_leading_system_text_that_says_json_needs_no_word_of_ours():
    found = in_json([system("Answer in json."), *chat(9, 90), user("b")])
    assert isinstance(found, Plan)
    assert not any("json" in own.text for own in inserted(found))


def test_where_no_line_stands_one_is_put_in_for_the_form_of_the_answer():
    crush = replace(BARE, ladder=Ladder(("stub",), (), (), (), ()))
    found = in_json(
        [user("a"), calls("c1 read"), result("c1", f"{words(450)} json {words(450)}"), user("b")], crush, window=500
    )
    assert isinstance(found, Plan)
    assert inserted(found) == (Insertion(1, "[answer: json]"),)
    assert found.tokens_after == sum(found.after.values())


def inserted(found: Plan) -> tuple[Insertion, ...]:
    assert found.changes is not None
    return found.changes.inserted


def test_where_a_line_of_ours_would_break_a_rule_it_is_left_out():
    listed = [user("q0"), assistant(words(700)), user(words(300)), assistant("a1"), user("now")]
    chatty, strict = planned(listed, DROP), planned(listed, DROP, legal=TEMPLATES)
    assert inserted(chatty)
    assert not inserted(strict)
    assert strict.tokens_after < chatty.tokens_after


def test_a_line_of_ours_speaks_first_where_the_user_must():
    assert inserted(planned([user("a"), *loop(14, 90), user("now")], DROP, legal=MESSAGES_API))


# ---------------------------------------------------------------- refusals: component, size, room, place


@pytest.mark.parametrize(
    ("listed", "tools", "policy", "said"),
    [
        ([user("a"), assistant("b"), user(words(1200))], (), BARE, ("input", 1204, 997 - 4, "messages[2]")),
        ([system(words(1200)), user("a")], (), BARE, ("system", 1207, 1000, "messages[0]")),
        ([system("s"), user("a")], [words(1500)], BARE, ("tools", 1500, 992, "tools")),
        ([system(words(600)), user("a")], [words(500)], BARE, ("system", 607, 500, "messages[0]")),
        ([system(words(500)), user("a")], [words(600)], BARE, ("tools", 600, 493, "tools")),
        ([user(words(5)), *chat(9, 90), user("b")], (), NOTHING, ("history", 1701, 992, "messages[1]")),
        ([user("a"), *loop(3, 200), *step(9, 1500)], (), DROP, ("input", 1519, 997, "messages[8]")),
        ([user("a"), *loop(3, 200), *step(9, 1500)], (), STRICT, ("input", 1519, 997, "messages[8]")),
        ([user(f"q <doc>{words(1500)}</doc>")], (), DROP, ("documents", 1500, 992, "messages[0]")),
        ([user(f"q {words(1200)} <doc>{words(300)}</doc>")], (), BARE, ("input", 1205, 997, "messages[0]")),
        ([user(words(1500), name="example_user"), user("a")], (), NOTHING, ("examples", 1506, 992, "messages[0]")),
    ],
)
def test_a_refusal_names_the_component_that_is_too_big_with_size_room_and_place(listed, tools, policy, said):
    found = refused(listed, policy, tools=tools)
    component, tokens, room, at = said
    assert (found.component, found.at) == (component, at)
    assert found.tokens == pytest.approx(tokens, abs=8)
    assert found.room == pytest.approx(room, abs=8)
    assert found.tokens > found.room
    assert found.prompt_tokens == sum(found.before.values())
    assert found.budget == 1000


def test_a_component_whose_remedies_were_too_weak_is_named_with_what_is_left_of_it():
    results_only = replace(BARE, ladder=Ladder(("minify",), (), (), ()))
    found = refused([*chat(9, 90), user("now")], results_only)
    assert (found.component, found.tokens, found.room) == ("history", 9 * 2 * 94, 1000 - 3 - 5)


def test_a_refusal_never_changes_the_request():
    assert not hasattr(refused([user(words(2000))]), "changes")


# ---------------------------------------------------------------- strict

FLAT = Shares(1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6)


def test_strict_makes_every_share_a_ceiling():
    policy = replace(
        STRICT, allocation=Shares(system=0.1, tools=0.1, examples=0.1, documents=0.1, history=0.5, input=0.1)
    )
    assert planned([system("s"), *chat(2, 30), user("now")], policy).changes is None
    assert refused([system(words(200)), user("now")], policy).component == "system"
    assert refused([system("s"), user("now")], policy, tools=[words(150)]).component == "tools"
    found = refused([user(words(150))], policy)
    assert (found.component, found.tokens, found.room) == ("input", 154, 100)


@pytest.mark.parametrize(
    "ours",
    [
        left_out(4, 4225),
        left_out(1, 20, quotes=True),
        summary(3, "Bob goes to Rome."),
        f"{LABEL}\nCurrent time: 12:00",
    ],
)
def test_a_message_of_ours_that_comes_back_last_is_history_under_strict_too(ours):
    listed = [
        user("go"),
        user(ours),
        calls("c2 read"),
        result("c2", "done"),
    ]
    found = planned(listed, replace(STRICT, allocation=Shares(0.1, 0.1, 0.05, 0.25, 0.4, 0.1)), window=300)
    asked, own, *newest = (message_tokens(one, count, count_media) for one in conversation(listed).messages)
    assert (found.before["input"], found.before["history"]) == (asked + sum(newest), own)
    assert found.changes is None


def test_strict_folds_history_down_to_its_share_though_the_whole_would_fit():
    policy = replace(DROP, strict=True, allocation=FLAT)
    found = planned([system("s"), *chat(4, 40), user("now")], policy)
    assert found.before["history"] > 1000 // 6
    assert found.after["history"] <= 1000 // 6


@pytest.mark.parametrize("share", [0.2, 0.11, 0.08, 0.04])
def test_strict_cuts_history_to_its_share_by_all_that_has_a_remedy_before_it_refuses(share):
    policy = replace(DROP, strict=True, allocation=Shares(0.1, 0.1, 0, 0, share, 0.8 - share))
    found = planned([system("s"), *chat(4, 30), user("now")], policy)
    assert 0 < found.after["history"] <= share * 1000


# ---------------------------------------------------------------- always, never

SIZES = st.integers(1, 120)
VALUES = st.integers(0, 5).map(
    lambda n: "\n".join(f"order #W{n}{k} delivered, total {k}1.5{n} in src/file_{n}_{k}.py" for k in range(9))
)
GROUPS = st.lists(
    st.one_of(
        VALUES.map(lambda text: [user(text), assistant("ok")]),
        st.tuples(st.integers(0, 5), VALUES).map(lambda p: [calls(f"c{p[0]} read"), result(f"c{p[0]}", p[1])]),
        SIZES.map(lambda n: [user(words(n, "q"))]),
        SIZES.map(lambda n: [assistant(words(n, "a"))]),
        st.tuples(st.integers(0, 5), SIZES).map(lambda p: step(p[0], p[1])),
        st.tuples(st.integers(6, 9), SIZES).map(
            lambda p: [
                calls(f"c{p[0]} read", f"d{p[0]} search"),
                result(f"d{p[0]}", words(p[1], "same")),
                result(f"c{p[0]}", "ok"),
            ]
        ),
        SIZES.map(lambda n: [system(words(n, "note"))]),
        SIZES.map(lambda n: [user(words(n, "q"), name="example_user"), assistant("a", name="example_bot")]),
        SIZES.map(lambda n: [user(f"see <doc>{words(n)}</doc>")]),
    ),
    max_size=16,
)
ENDINGS = st.one_of(
    st.just([user("and now")]),
    st.just([user("where is order #W11? see src/file_2_3.py")]),
    SIZES.map(lambda n: [user(f"what of <doc>Title: a\n{words(n, 'alpha')}. It is 12.5.</doc> is it?")]),
    SIZES.map(lambda n: [user("do it"), calls("z1 read", "z2 search"), result("z1", words(n)), result("z2", words(9))]),
)
CONVERSATIONS = st.tuples(GROUPS, ENDINGS).map(
    lambda drawn: [system("you are"), *(m for group in drawn[0] for m in group), *drawn[1]]
)
POLICIES = st.builds(
    lambda ladder, fold, strict, search, recall, protect: replace(
        BARE,
        recall=recall,
        protect=protect,
        ladder=ladder,
        fold=fold,
        strict=strict,
        allocation=FLAT,
        documents=replace(BARE.documents, tools=("search",) if search else ()),
    ),
    st.builds(
        Ladder,
        st.sampled_from(
            [(), ("stub",), ("minify", "dedupe", "stub"), ("minify", "dedupe", "crush"), ("crush", "stub")]
        ),
        st.sampled_from([(), ("dedupe",), ("dedupe", "extract"), ("extract", "arrange")]),
        st.sampled_from([(), ("drop_oldest",)]),
        st.sampled_from([(), ("drop_oldest",)]),
        st.sampled_from([(), ("crush",)]),
    ),
    st.builds(
        Fold,
        st.sampled_from([1.0, 0.7]),
        st.sampled_from([0.3, 0.5, 0.9]),
        st.sampled_from([0.0, 0.2]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.1]),
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0, 100]),
)
LEGAL = st.sampled_from([CHAT, MESSAGES_API, GENERATE_CONTENT, TEMPLATES])


@given(CONVERSATIONS, POLICIES, st.integers(50, 900), LEGAL)
def test_what_leaves_always_fits_by_a_count_of_its_own_and_is_as_legal_as_it_came(listed, policy, window, legal):
    found = decided(listed, policy, window, legal=legal)
    if isinstance(found, Refusal):
        assert found.component in COMPONENTS
        return
    before = conversation(listed).messages
    after = before if found.changes is None else found.changes.applied(before)
    counted = 3 + sum(message_tokens(message, count, count_media) for message in after)
    assert counted == found.tokens_after <= window
    assert not introduced(before, after, legal)


@given(CONVERSATIONS, POLICIES, st.integers(50, 900))
def test_a_plan_always_changes_something_or_nothing_and_its_edits_say_which_messages(listed, policy, window):
    found = decided(listed, policy, window)
    if isinstance(found, Refusal):
        assert found.tokens > found.room or found.illegal is not None or found.ours
    elif found.changes is not None:
        edits, lines = [e for e in found.edits if e.before], [e for e in found.edits if not e.before]
        assert {edit.at for edit in edits} == {*found.changes.texts, *found.changes.dropped}
        assert all(edit.after < edit.before for edit in edits)
        assert [line.at for line in lines] == sorted(one.before for one in found.changes.inserted)
        assert sum(e.after - e.before for e in found.edits) == found.tokens_after - found.tokens_before
        assert found.summary
        assert found.tokens_after < found.tokens_before
    else:
        assert found.tokens_before <= window


@given(CONVERSATIONS, POLICIES, st.integers(50, 900))
def test_the_same_request_always_gets_the_same_plan(listed, policy, window):
    assert decided(listed, policy, window) == decided(listed, policy, window)


@given(CONVERSATIONS, POLICIES, st.integers(50, 900))
def test_a_component_without_a_remedy_never_loses_a_token(listed, policy, window):
    found = decided(listed, policy, window)
    if isinstance(found, Plan):
        for name in ("system", "tools", *(() if policy.ladder.input and not policy.strict else ("input",))):
            assert found.after[name] == found.before[name]
        if not policy.ladder.examples:
            assert found.after["examples"] == found.before["examples"]

"""What providers accept. Examples first, then what must hold for every conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Call, Conversation, Message, units
from gateway.providers.anthropic import MESSAGES_API
from gateway.providers.gemini import GENERATE_CONTENT
from gateway.providers.mistral import TEMPLATES
from gateway.wire.chat.read import message_of
from gateway.wire.legality import (
    CHAT,
    Rules,
    droppable,
    introduced,
    lacks_word,
    violations,
    wanted_word,
)


def user(text: str = "go on") -> Message:
    return Message("user", text)


def system(text: str = "be brief") -> Message:
    return Message("system", text)


def says(text: str = "done") -> Message:
    return Message("assistant", text)


def calls(*ids: str) -> Message:
    return Message("assistant", calls=tuple(Call(i, "search", "{}") for i in ids), content="null")


def result(call_id: str, text: str = "found") -> Message:
    return Message("tool", text, call_id=call_id)


def broken(messages: list[Message], rules: Rules = CHAT) -> list[tuple[int, str]]:
    return [(v.index, v.rule) for v in violations(messages, rules)]


def test_a_conversation_with_parallel_calls_is_legal_everywhere():
    messages = [system(), user(), calls("a", "b"), result("b"), result("a"), says(), user()]
    for rules in (CHAT, MESSAGES_API, GENERATE_CONTENT, TEMPLATES):
        assert broken(messages, rules) == []


def test_a_result_without_its_call_is_an_orphan():
    assert broken([user(), result("a")]) == [(1, "orphan_result")]


def test_a_result_of_an_older_call_is_an_orphan():
    assert broken([user(), calls("a"), result("a"), says(), result("a")]) == [(4, "orphan_result")]


def test_a_second_result_for_the_same_call_is_an_orphan():
    assert broken([user(), calls("a"), result("a"), result("a")]) == [(3, "orphan_result")]


def test_a_result_without_an_id_is_an_orphan():
    assert broken([user(), calls("a"), result("a"), Message("tool", "found")]) == [(3, "orphan_result")]


def test_a_call_needs_its_result_at_once():
    assert broken([user(), calls("a", "b"), result("a"), user(), result("b")]) == [
        (1, "missing_result"),
        (4, "orphan_result"),
    ]


def test_a_call_at_the_end_needs_its_result_too():
    assert broken([user(), calls("a")]) == [(1, "missing_result")]


def test_the_message_names_the_index_and_the_call():
    (violation,) = violations([user(), calls("call_7")], CHAT)
    assert "messages[1]" in violation.message
    assert "`call_7`" in violation.message


def test_a_hostile_id_is_made_safe_in_the_message():
    (violation,) = violations([user(), result("\x1b[31m" + "x" * 9_000)], CHAT)
    assert violation.message.isprintable()
    assert len(violation.message) < 500


def test_empty_tool_calls_are_refused():
    assert broken([user(), Message("assistant", "hm", empty_calls=True)]) == [(1, "empty_calls")]


@pytest.mark.parametrize("shape", ["null", "missing"])
def test_content_may_be_absent_only_beside_calls_or_a_refusal(shape):
    assert broken([Message("user", content=shape)]) == [(0, "no_content")]
    assert broken([user(), Message("assistant", content=shape)]) == [(1, "no_content")]
    assert broken([user(), Message("assistant", content=shape, speaks_otherwise=True)]) == []
    assert broken([user(), calls("a"), result("a")]) == []


def test_the_older_function_messages_are_not_held_to_each_other():
    legacy = Message("assistant", calls=(Call("", "search", "{}"),), content="null")
    assert broken([user(), legacy, Message("function", "found", name="search"), user()]) == []
    assert broken([user(), legacy]) == []
    assert broken([user(), Message("function", "found", name="search")]) == []


def test_anthropic_wants_the_user_first():
    assert broken([system(), says(), user()], MESSAGES_API) == [(1, "user_first")]
    assert broken([system(), says(), user()], CHAT) == []


def test_anthropic_refuses_empty_text_except_in_the_last_assistant_message():
    assert broken([user(), says(" "), user("")], MESSAGES_API) == [(1, "empty_text"), (2, "empty_text")]
    assert broken([user(), says("")], MESSAGES_API) == []
    assert broken([user(), calls("a"), result("a", "")], MESSAGES_API) == []


def test_anthropic_wants_every_id_once():
    messages = [user(), calls("a"), result("a"), calls("a"), result("a")]
    assert broken(messages, MESSAGES_API) == [(3, "repeated_call")]
    assert broken(messages, CHAT) == []


def test_gemini_refuses_calls_before_anybody_has_spoken():
    assert broken([system(), calls("a"), result("a"), user()], GENERATE_CONTENT) == [(1, "calls_open")]
    assert broken([says(), calls("a"), result("a"), user()], GENERATE_CONTENT) == [(1, "calls_open")]
    assert broken([says(), user(), calls("a"), result("a")], GENERATE_CONTENT) == []


def test_mistral_templates_want_turns_apart_from_calls_and_results():
    assert broken([system(), user(), user()], TEMPLATES) == [(2, "alternation")]
    assert broken([says(), user()], TEMPLATES) == [(0, "alternation")]
    assert broken([user(), calls("a"), result("a"), says(), user()], TEMPLATES) == []


def test_every_recorded_conversation_is_legal(conversations):
    for recorded in conversations.all(limit=40):
        messages = [message_of(fields) for fields in recorded["messages"]]
        assert violations(messages, CHAT) == (), recorded["id"]


def test_what_was_wrong_before_is_not_introduced_wherever_it_stands_now():
    before = [user(), user(), result("lost"), user()]
    assert introduced(before, before[2:]) == ()


def test_what_is_newly_wrong_is_introduced():
    before = [user(), result("lost"), calls("a"), result("a"), user()]
    after = [user(), result("lost"), result("a"), user()]
    assert [(v.index, v.rule) for v in introduced(before, after)] == [(2, "orphan_result")]


def test_a_fault_that_doubles_is_introduced_once():
    before = [user(), result("lost")]
    assert len(introduced(before, [user(), result("lost"), result("lost")])) == 1


# --- a word that the form of the answer demands


def as_json(*messages: Message) -> Conversation:
    return Conversation(tuple(messages), required_word="json")


def test_a_rewrite_that_takes_the_last_json_away_breaks_json_mode():
    talk = as_json(system(), user("hello"), says("I answer in JSON."), user("go on"))
    assert lacks_word(talk, [talk.messages[0], talk.messages[3]], [CHAT])
    assert not lacks_word(talk, talk.messages, [CHAT])
    assert not lacks_word(talk, [user("[answer: json]"), talk.messages[3]], [CHAT])


def test_where_the_word_never_stood_its_lack_is_not_ours():
    talk = as_json(user("hello"), says(), user("go on"))
    assert not lacks_word(talk, talk.messages[2:], [CHAT])


def test_arguments_of_a_call_may_have_counted_as_the_word_and_do_not_stand_in_for_it():
    asks = Message("assistant", calls=(Call("a", "write", '{"path": "facts.json"}'),), content="null")
    talk = as_json(user("hello"), asks, result("a"), user("go on"))
    assert lacks_word(talk, talk.messages, [CHAT])


def test_nobody_but_providers_of_chat_completions_demands_the_word():
    talk = as_json(user("give me json"), says(), user("go on"))
    for rules in (MESSAGES_API, GENERATE_CONTENT, TEMPLATES):
        assert not lacks_word(talk, talk.messages[2:], [rules])
        assert wanted_word(talk, [rules]) is None
    assert wanted_word(talk, [MESSAGES_API, CHAT]) == "json"


def test_a_message_of_ours_says_the_word_unless_leading_system_text_does():
    assert wanted_word(as_json(system("Answer in Json only."), user(), says(), user()), [CHAT]) is None
    assert wanted_word(as_json(user("as json, please"), says(), user()), [CHAT]) == "json"
    assert wanted_word(Conversation((user("as json, please"),)), [CHAT]) is None


def test_what_our_messages_say_never_depends_on_what_is_said_later():
    first = [system(), user("as json, please"), says()]
    assert wanted_word(as_json(*first, user("and now")), [CHAT]) == wanted_word(as_json(*first, user("json!")), [CHAT])


# --- what may go


def may_go(*messages: Message) -> set[int] | None:
    found = droppable(messages, violations(messages))
    return None if found is None else set(found)


def test_a_result_without_its_call_may_go():
    assert may_go(system(), user(), result("lost"), says(), user()) == {2}


def test_a_call_without_all_of_its_results_may_go_with_those_that_are_there():
    assert may_go(user(), calls("a", "b"), result("a"), says(), user()) == {1, 2}
    assert may_go(user(), calls("a"), user(), result("a"), says(), user()) == {1, 3}


def test_a_message_of_a_model_that_says_nothing_may_go():
    assert may_go(user(), Message("assistant", content="null"), user()) == {1}


def test_nothing_may_go_where_the_last_unit_or_what_somebody_said_is_illegal():
    assert may_go(user(), says(), user(), result("lost")) is None
    assert may_go(user(), calls("a", "b"), result("a")) is None
    assert may_go(user(), result("lost"), says(), user(), result("also lost")) is None
    assert may_go(Message("user", "my task", empty_calls=True), says(), user()) is None


# --- always


def legal_conversations() -> st.SearchStrategy[list[Message]]:
    """Legal conversations: a call is always followed by its results, ids are unique."""
    shapes = st.lists(st.one_of(st.sampled_from(["user", "says", "system"]), st.integers(1, 4)), max_size=20)

    def build(shape: list[str | int]) -> list[Message]:
        messages: list[Message] = [user()]
        for number, step in enumerate(shape):
            if isinstance(step, int):
                ids = [f"call_{number}_{i}" for i in range(step)]
                messages += [calls(*ids), *(result(i) for i in reversed(ids))]
            else:
                messages.append({"user": user, "says": says, "system": system}[step]())
        return messages

    return shapes.map(build)


def any_messages() -> st.SearchStrategy[list[Message]]:
    ids = st.sampled_from(["a", "b", "c"])
    return st.lists(
        st.one_of(
            st.builds(user),
            st.builds(says),
            st.builds(system),
            st.builds(result, ids),
            st.builds(lambda some: calls(*some), st.lists(ids, min_size=1, max_size=3)),
            st.builds(lambda: Message("assistant", content="null", empty_calls=True)),
        ),
        max_size=15,
    )


@given(legal_conversations(), st.data())
def test_leaving_out_whole_units_never_makes_a_legal_conversation_illegal(messages, data):
    kept = [unit for unit in units(messages) if data.draw(st.booleans())]
    after = [messages[index] for unit in kept for index in unit]
    assert violations(messages, CHAT) == ()
    assert violations(after, CHAT) == ()
    assert violations([user(), *after], MESSAGES_API) == ()
    assert violations([user(), *after], GENERATE_CONTENT) == ()


@given(any_messages(), st.sampled_from([CHAT, MESSAGES_API, GENERATE_CONTENT, TEMPLATES]))
def test_violations_always_come_in_order_and_nothing_is_introduced_by_no_change(messages, rules):
    indexes = [violation.index for violation in violations(messages, rules)]
    assert indexes == sorted(indexes)
    assert all(0 <= index < len(messages) for index in indexes)
    assert introduced(messages, messages, rules) == ()


@given(any_messages(), any_messages())
def test_from_a_legal_conversation_everything_wrong_is_introduced(before, after):
    if not violations(before):
        assert introduced(before, after) == violations(after)


@given(any_messages())
def test_what_may_go_always_leaves_a_legal_rest_with_all_that_people_said(messages):
    gone = droppable(messages, violations(messages))
    if gone is not None:
        rest = [message for index, message in enumerate(messages) if index not in gone]
        assert violations(rest) == ()
        assert not any(messages[index].role in ("user", "system") for index in gone)
        assert len(messages) - 1 not in gone

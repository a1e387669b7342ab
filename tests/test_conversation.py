"""A conversation as values: units, heads, and what changes make of messages."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Changes, Insertion, Message, last_user, leading_system, units
from tests.talk import Wire, assistant, calls, loop, messages, result, system, user

ROLES = st.sampled_from(["system", "developer", "user", "assistant", "caller", "tool", "function", "alien"])


def spelled(role: str) -> Message:
    return messages([calls("c1 read")])[0] if role == "caller" else Message(role=role)


MESSAGES = st.lists(ROLES.map(spelled), max_size=12)


def spans(listed: list[Wire], start: int = 0) -> list[tuple[int, int]]:
    return [(unit.first, unit.after) for unit in units(messages(listed), start)]


def test_a_message_is_a_unit():
    assert spans([user("a"), assistant("b"), user("c")]) == [(0, 1), (1, 2), (2, 3)]


def test_calls_and_all_results_right_after_them_are_one_unit():
    assert spans([user("a"), calls("c1 read", "c2 list"), result("c1", "x"), result("c2", "y"), user("b")]) == [
        (0, 1),
        (1, 4),
        (4, 5),
    ]


def test_the_older_function_messages_are_results_too():
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "read", "arguments": "{}"}}
    assert spans([legacy, {"role": "function", "name": "read", "content": "x"}, user("a")]) == [(0, 2), (2, 3)]


def test_a_result_that_no_call_precedes_is_a_unit_of_its_own():
    assert spans([user("a"), result("c1", "x")]) == [(0, 1), (1, 2)]


def test_units_begin_where_they_are_asked_to():
    assert spans([system("s"), user("a"), *loop(1, 3)], start=1) == [(1, 2), (2, 4)]


@given(MESSAGES, st.integers(0, 12))
def test_units_always_cover_every_message_once_and_in_order(listed, start):
    start = min(start, len(listed))
    assert [index for unit in units(listed, start) for index in unit] == list(range(start, len(listed)))


@given(MESSAGES)
def test_a_result_after_a_call_is_never_parted_from_it(listed):
    firsts = {unit.first for unit in units(listed)}
    for index in range(1, len(listed)):
        before = listed[index - 1]
        if listed[index].is_result and before.calls:
            assert index not in firsts


def test_leading_system_text_ends_at_the_first_other_message():
    assert leading_system(messages([system("a"), {"role": "developer", "content": "b"}, user("c"), system("d")])) == 2
    assert leading_system(messages([system("a")])) == 1
    assert leading_system(messages([user("a")])) == 0


def test_the_last_user_message_is_found_behind_a_loop():
    assert last_user(messages([user("a"), user("b"), *loop(3, 1)])) == 1
    assert last_user(messages([system("a")])) is None


def test_changes_shorten_leave_out_and_put_each_line_before_its_message():
    listed = messages([system("s"), user("a"), calls("c1 read"), result("c1", "long"), user("b")])
    lines = (Insertion(1, "[gone]"), Insertion(4, "[this too]"), Insertion(4, "[recalled]"))
    after = Changes({3: "short"}, frozenset({1}), lines).applied(listed)
    assert [(message.role, message.text) for message in after] == [
        ("system", "s"),
        ("user", "[gone]"),
        ("assistant", ""),
        ("tool", "short"),
        ("user", "[this too]"),
        ("user", "[recalled]"),
        ("user", "b"),
    ]
    assert after[3].call_id == "c1"


def test_no_change_gives_the_very_same_messages():
    listed = messages([user("a"), *loop(2, 2)])
    assert all(a is b for a, b in zip(Changes({}).applied(listed), listed, strict=True))


def test_two_messages_with_equal_text_are_two_messages():
    one, other = messages([user("a"), user("a")])
    assert one != other

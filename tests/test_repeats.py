"""An exchange that comes again word for word says nothing that the later one does not."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.components import Recognition
from gateway.rewriting.folds.repeats import repeated
from gateway.rewriting.folds.state import Prefix
from gateway.rewriting.folds.voiced import voiced
from gateway.rewriting.memory import Known
from tests.talk import anatomy, assistant, count, step, user
from tests.test_folds import RULES

ASKED = "What are the opening hours of the library in the old town, on week days and on Sundays?"
ANSWER = "From nine to six, and on Sundays it stays closed."
TASK = [user("I plan a trip and have some questions."), assistant("Ask them.")]


def prefix(listed):
    named = voiced(anatomy(listed), Recognition().document_tags, count, Known())
    out = Prefix(named, RULES, newest_bend=True)
    for number in range(len(named.anatomy.units)):
        out.add(number)
    return out


def test_the_older_of_two_like_exchanges_is_repeated():
    listed = [*TASK, user(ASKED), assistant(ANSWER), user("Thanks."), assistant("Sure."), user(ASKED)]
    assert repeated(prefix(listed)) == []
    assert repeated(prefix([*listed, assistant(ANSWER), user("And now?")])) == [2, 3]


def test_white_space_does_not_tell_exchanges_apart_and_other_words_do():
    again = [user(ASKED.replace(" ", "\n", 3)), assistant(f"  {ANSWER}\n"), user("And now?")]
    assert repeated(prefix([*TASK, user(ASKED), assistant(ANSWER), *again])) == [2, 3]
    other = [user(ASKED), assistant("From ten to six."), user("And now?")]
    assert repeated(prefix([*TASK, user(ASKED), assistant(ANSWER), *other])) == []
    named = [user(ASKED) | {"name": "ada"}, assistant(ANSWER), user("And now?")]
    assert repeated(prefix([*TASK, user(ASKED), assistant(ANSWER), *named])) == []


def test_of_many_copies_the_last_one_stays():
    copies = [user(ASKED), assistant(ANSWER)] * 4
    assert repeated(prefix([*TASK, *copies, user("And now?")])) == [2, 3, 4, 5, 6, 7]


def test_short_words_lean_on_what_stands_before_them():
    yes = [assistant("Shall I delete the first file?"), user("yes"), assistant("Done.")]
    assert repeated(prefix([*TASK, *yes, *yes, user("And now?")])) == []


def test_the_task_and_exchanges_with_tools_are_never_repeated():
    same = [user(ASKED), assistant(ANSWER)]
    assert repeated(prefix([*same, *same, user("And now?")])) == []
    with_tools = [user(ASKED), *step(0, 20), assistant(ANSWER)]
    assert repeated(prefix([*TASK, *with_tools, *with_tools, user("And now?")])) == []


def test_what_is_gone_or_cut_repeats_nothing():
    listed = [*TASK, user(ASKED), assistant(ANSWER), user(ASKED), assistant(ANSWER), user("And now?")]
    left = prefix(listed)
    left.state.gone[5] = "drop_oldest"
    assert repeated(left) == []


@given(st.lists(st.sampled_from([ASKED, "Where is " * 12, "yes"]), max_size=12), st.booleans())
def test_what_is_repeated_always_stands_again_later(asked, same):
    listed = [*TASK]
    for number, text in enumerate(asked):
        listed += [user(text), assistant(ANSWER if same else f"{ANSWER} {number % 3}")]
    listed.append(user("And now?"))
    found = repeated(prefix(listed))
    assert found == sorted(set(found))
    standing = [one["content"] for number, one in enumerate(listed) if number not in found]
    for number in found:
        assert listed[number]["content"] in standing

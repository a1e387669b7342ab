"""What is done to the newest messages, where it must be, and what comes back of what is gone."""

from dataclasses import replace

import pytest

from gateway.budget.components import OVERHEAD_MESSAGE
from gateway.config.ladder import Ladder
from gateway.config.policy import Documents
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan
from tests.talk import assistant, calls, loop, result, system, user, words
from tests.test_plan import BARE, DROP, STRICT, inserted, planned, refused

LOG = "\n".join(f"step {n} of the build took {n} seconds and was done by worker_{n}" for n in range(300))
FACTS = "\n".join(
    f"<doc>Title: City {n}\nCity {n} has {n}000 people. Its mayor is Mayor{n} Smith.</doc>" for n in range(90)
)


def text(found: Plan, index: int) -> str:
    assert found.changes is not None
    return found.changes.texts[index]


# ---------------------------------------------------------------- the newest results


def test_the_newest_result_is_shortened_only_where_it_alone_does_not_fit():
    fits = [user("a"), *loop(9, 90), calls("z read"), result("z", words(500))]
    assert 20 not in (planned(fits).changes or Plan({}, {}, {})).texts  # type: ignore[union-attr]
    found = planned([user("a"), calls("z read"), result("z", LOG)])
    assert found.tokens_after <= 1000
    assert found.edits[-1].reason == "the newest results alone do not fit"
    assert "step 0" in text(found, 2)


def test_the_newest_results_come_down_to_one_size_and_small_ones_stay_whole():
    listed = [user("a"), calls("x read", "y read", "z read"), result("x", LOG), result("y", "ok"), result("z", LOG)]
    found = planned(listed)
    assert found.changes is not None
    assert found.changes.texts.keys() == {2, 4}
    sizes = [edit.after for edit in found.edits]
    assert max(sizes) - min(sizes) < 60


def test_what_retrieval_brought_is_shortened_before_other_results():
    policy = replace(BARE, documents=Documents(tools=("search",)))
    listed = [user("who is mayor of City 7?"), calls("x read", "y search"), result("x", words(300)), result("y", FACTS)]
    found = planned(listed, policy)
    assert found.changes is not None
    assert found.changes.texts.keys() == {3}
    assert "Mayor7" in text(found, 3)


@pytest.mark.parametrize("listed", [LOG, FACTS, '[{"id": 1, "text": "' + "a word " * 900 + '"}, {"id": 2}]'])
def test_what_is_remembered_of_a_shortened_result_never_changes_it(listed):
    known = Known()
    asked = ("who is mayor of City 7?", "and of City 8?")
    for said, window in ((said, window) for _ in range(2) for said in asked for window in (1000, 600)):
        talk = [user(said), calls("z read"), result("z", listed)]
        assert planned(talk, window=window, known=known) == planned(talk, window=window)
    assert len(known.newest) == 4


def test_results_that_the_last_user_message_follows_are_newest_too():
    found = planned([user("a"), calls("z read"), result("z", LOG), user("Go on.")])
    assert found.tokens_after <= 1000
    assert "step 0" in text(found, 2)


def test_what_is_too_long_to_be_read_keeps_its_beginning_and_its_end():
    found = planned([user("a"), calls("z read"), result("z", LOG)], replace(BARE, effort=100))
    assert text(found, 2).startswith("step 0 of the build")
    assert text(found, 2).endswith("worker_299")
    assert "left out to fit the context window" in text(found, 2)


def test_strict_refuses_instead():
    found = refused([user("a"), calls("z read"), result("z", LOG)], STRICT)
    assert (found.component, found.at) == ("input", "messages[2]")


def test_a_ladder_without_a_remedy_for_input_refuses_too():
    assert refused([user("a"), calls("z read"), result("z", LOG)], DROP).component == "input"


def test_results_with_media_or_parts_that_nobody_knows_are_not_shortened():
    for part in (
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "video", "video": "v"},
    ):
        parts = [{"type": "text", "text": LOG}, part]
        assert refused([user("a"), calls("z read"), result("z", parts)]).component == "input"


def test_a_result_in_text_parts_is_shortened():
    parts = [{"type": "text", "text": LOG[:9000]}, {"type": "text", "text": LOG[9000:]}]
    assert planned([user("a"), calls("z read"), result("z", parts)]).tokens_after <= 1000


def test_names_and_arguments_of_the_newest_calls_are_never_touched():
    arguments = '{"text": "' + words(1200) + '"}'
    assert refused([user("a"), calls(f"z write {arguments}"), result("z", "ok")]).component == "input"


def test_a_total_is_right_where_a_result_is_shortened_twice():
    policy = replace(BARE, documents=Documents(tools=("search",)))
    listed = [user("a"), calls("x read", "y search"), result("x", LOG), result("y", words(400, "same"))]
    found = planned(listed, policy, 200)
    assert found.tokens_after <= 200
    assert sum(edit.after - edit.before for edit in found.edits) == found.tokens_after - found.tokens_before


# ---------------------------------------------------------------- documents in the question


def test_documents_of_the_last_message_shrink_to_what_it_asks_and_its_text_stays():
    question = "Who is the mayor of City 7? Answer with a name."
    found = planned([system("s"), user(f"Read this.\n{FACTS}\n{question}")])
    left = text(found, 1)
    assert left.startswith("Read this.\n<doc>")
    assert left.endswith(question)
    assert "Mayor7 " in left
    assert found.tokens_after <= 1000


def test_documents_stay_while_all_fits():
    assert planned([system("s"), user(f"{FACTS}\nWho?")], window=5000).changes is None


def test_documents_without_a_remedy_are_refused():
    policy = replace(BARE, ladder=Ladder((), (), (), ("drop_oldest",), ("crush",)))
    assert refused([system("s"), user(f"{FACTS}\nWho?")], policy).component == "documents"


def test_a_last_user_message_with_an_image_keeps_it_and_is_refused():
    image = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    listed = [{"role": "user", "content": [{"type": "text", "text": f"{FACTS}\nWho?"}, image]}]
    assert refused(listed).at == "messages[0]"


@pytest.mark.parametrize("order", ["rank", "bookend", "alternate", "interleave"])
def test_documents_are_arranged_where_the_policy_says_so(order):
    policy = replace(BARE, documents=Documents(order=order))
    found = planned([system("s"), user(f"{FACTS}\nWho is the mayor of City 7?")], policy)
    assert "Mayor7 " in text(found, 1)
    assert text(found, 1).endswith("Who is the mayor of City 7?")
    assert found.tokens_after <= 1000


# ---------------------------------------------------------------- recall


TOLD = [
    message
    for n in range(40)
    for message in (
        user(f"Now tell me of project P{n}, its people and all else that you know of it."),
        assistant(
            f"Person{n} Miller was the first head of project P{n}. "
            f"What the team gave it is the code name bluebird_{n}. " + words(30, "indeed")
        ),
    )
]


def recalled(found: Plan) -> str | None:
    at = [edit.at for edit in found.edits if edit.remedy == "recall"]
    return inserted(found)[-1].text if at else None


def asking(turns: int) -> list[dict[str, object]]:
    return [system("s"), *TOLD[: 2 * turns], user("What was the code name of project P3?")]


def right_after_a_fold(**policy) -> tuple[list[dict[str, object]], Plan]:
    """Ask where the history has just been folded, so that there is room; of lists only their lines are there."""
    listed = asking(24)
    return listed, planned(listed, replace(BARE, fold=replace(BARE.fold, artifacts=0.0), **policy))


def test_what_the_question_asks_for_and_is_gone_comes_back_right_before_it():
    listed, found = right_after_a_fold(recall=0.2)
    said = recalled(found)
    assert said is not None
    assert "bluebird_3" in said
    assert inserted(found)[-1].before == len(listed) - 1
    assert found.tokens_after <= 1000


def test_without_a_share_nothing_comes_back():
    assert recalled(right_after_a_fold(recall=0.0)[1]) is None


def test_what_asks_for_nothing_brings_nothing_back():
    agent = [system("s"), user("Do it."), *loop(20, 60), user("zzz")]
    assert recalled(planned(agent, replace(BARE, recall=0.2))) is None


def test_nothing_comes_back_in_the_middle_of_a_loop():
    listed, _ = right_after_a_fold(recall=0.2)
    assert recalled(planned([*listed, calls("z read"), result("z", "ok")], replace(BARE, recall=0.2))) is None


def test_an_excerpt_says_its_true_size():
    _, found = right_after_a_fold(recall=0.2)
    said = recalled(found)
    assert said is not None
    edit = next(edit for edit in found.edits if edit.remedy == "recall")
    assert edit.after == OVERHEAD_MESSAGE + len(said.split())

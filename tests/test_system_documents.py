"""Documents in leading system text shrink where a policy says so: once, by the task, and nothing else of the text."""

from dataclasses import replace

import pytest

from gateway.budget.allocation import Window
from gateway.budget.components import dissect
from gateway.config.policy import Documents, Policy, Reserve
from gateway.config.shares import Shares
from gateway.rewriting.history.excerpt_text import HEADER
from gateway.rewriting.plan import Plan, Refusal, plan, recognition_of
from gateway.wire.legality import CHAT
from tests.talk import assistant, conversation, count, count_media, system, user, words

SHARES = Shares(system=0.1, tools=0, examples=0, documents=0.4, history=0.4, input=0.1)
POLICY = Policy("p", reserve=Reserve(0, 0), allocation=SHARES, documents=Documents(in_system=True))
RULES, LAST = "Answer only from these  documents. Be brief.", "Never name a price."
WINDOW = 1_000


def keeper(number: int) -> str:
    return f"The keeper of hall {number} is Mrs Quill-{number} and nobody else."


FORMS = {
    "tags": '<document id="{n}">\n{b}\n</document>',
    "passages": "[{n}] Hall {n}\n{b}\n",
    "source": "Source: hall-{n}.md\n{b}\n",
    "Quelle": "Quelle: Halle {n}\n{b}\n",
    "文档": "文档 {n}：\n{b}\n",
    "printed": "Document(metadata={{'source': '{n}'}}, page_content='{b}')",
    "json": '{{"id": {n}, "text": "{b}"}}',
}


def prompt(form: str = "tags", halls: int = 40) -> str:
    listed = (
        FORMS[form].format(n=n, b=" ".join([keeper(n), *(f"Room {n}-{i} is {i * 7} feet wide." for i in range(9))]))
        for n in range(1, halls + 1)
    )
    return f"{RULES}\n\n" + "\n".join(listed) + f"\n\n{LAST}"


def decided(listed, policy=POLICY, window=WINDOW) -> Plan | Refusal:
    taken = dissect(conversation(listed), recognition_of(policy), count, count_media)
    return plan(
        taken, policy, Window(policy=window, deployment=None, shared=True, reserve=0, margin=0), 0, (CHAT,), count
    )


def sent(listed, policy=POLICY, window=WINDOW):
    found = decided(listed, policy, window)
    assert isinstance(found, Plan), found
    messages = conversation(listed).messages
    return found, messages if found.changes is None else found.changes.applied(messages)


@pytest.mark.parametrize("form", FORMS)
def test_documents_in_system_text_come_down_to_their_share_and_the_rest_of_it_stays(form):
    listed = [system(prompt(form)), user("Who is the keeper of hall 12?")]
    found, left = sent(listed)
    assert keeper(12) in left[0].text
    assert left[0].text.startswith(f"{RULES}\n\n")
    assert left[0].text.rstrip().endswith(LAST)
    assert "left out" in left[0].text
    assert 0.3 * WINDOW < found.after["documents"] <= 0.5 * WINDOW
    assert found.tokens_after <= WINDOW
    assert left[-1].text == "Who is the keeper of hall 12?"


def test_without_the_opt_in_system_text_stays_and_what_is_too_big_is_refused():
    listed = [system(prompt()), user("Who is the keeper of hall 12?")]
    found = decided(listed, replace(POLICY, documents=Documents()))
    assert isinstance(found, Refusal)
    assert found.component == "system"


def test_what_fits_is_not_touched():
    found, left = sent([system(prompt(halls=8)), user("Who is the keeper of hall 2?")])
    assert found.changes is None
    assert left[0].text == prompt(halls=8)


def test_the_cut_is_the_same_in_every_later_request_and_what_is_asked_comes_back():
    listed = [system(prompt()), user("Who is the keeper of hall 12?")]
    first = sent(listed)[1][0].text
    for number in (3, 31, 22, 9, 40, 17):
        listed += [assistant("Mrs Quill, as it says there."), user(f"Who is the keeper of hall {number}?")]
        found, left = sent(listed)
        assert left[0].text == first
        assert found.tokens_after <= WINDOW
        assert any(keeper(number) in message.text for message in left)
        assert keeper(number) in first or left[-2].text.startswith(HEADER)


def test_history_that_grows_folds_and_the_system_text_stays_as_it_was_cut():
    listed = [system(prompt()), user("Who is the keeper of hall 12?")]
    first = sent(listed)[1][0].text
    for number in range(12):
        listed += [assistant(words(60, f"a{number}")), user(words(20, f"q{number}"))]
        found, left = sent(listed)
        assert left[0].text == first
        assert found.tokens_after <= WINDOW


def test_a_system_message_of_parts_keeps_its_parts():
    content = [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": prompt(), "cache_control": {"type": "ephemeral"}},
    ]
    listed = [{"role": "system", "content": content}, user("Who is the keeper of hall 12?")]
    found, left = sent(listed)
    assert found.changes is not None
    assert left[0].parts[0] == "Be brief."
    assert keeper(12) in (left[0].parts[1] or "")
    assert set(found.changes.parts) == {0}


def test_documents_in_the_first_message_share_the_room_with_those_in_the_system_text():
    own = "\n".join(f'<document id="u{n}">\n{words(40, f"user-{n}-")}\n</document>' for n in range(20))
    found, left = sent([system(prompt()), user(f"{own}\n\nWho is the keeper of hall 12?")])
    assert keeper(12) in left[0].text
    assert "<document id=" in left[-1].text
    assert left[-1].text.endswith("Who is the keeper of hall 12?")
    assert found.tokens_after <= WINDOW


def test_a_strict_share_is_a_ceiling_for_documents_in_system_text_too():
    policy = replace(POLICY, strict=True)
    found, left = sent([system(prompt()), user("Who is the keeper of hall 12?")], policy)
    assert found.after["documents"] <= 0.4 * WINDOW
    assert keeper(12) in left[0].text


def test_where_the_share_is_still_too_much_they_are_cut_further_before_a_refusal():
    asked = f"{words(700, 'background')} Who is the keeper of hall 12?"
    found, left = sent([system(prompt()), user(asked)])
    assert found.tokens_after <= WINDOW
    assert left[-1].text == asked
    assert left[0].text.startswith(RULES)


def test_near_duplicates_go_first():
    same = "\n".join(f'<document id="{n}">\n{keeper(1)} {words(30, "same")}\n</document>' for n in range(40))
    found, left = sent([system(f"{RULES}\n\n{same}"), user("Who is the keeper of hall 1?")])
    assert left[0].text.count(keeper(1)) == 1
    assert "39 more documents left out: nearly the same as another" in left[0].text
    assert found.edits[0].remedy == "extract"


def test_the_plan_says_what_was_cut():
    found, _ = sent([system(prompt()), user("Who is the keeper of hall 12?")])
    edit = next(one for one in found.edits if one.at == 0)
    assert abs(edit.before - edit.after - (found.before["documents"] - found.after["documents"])) <= len("left out")
    assert found.tokens_before > WINDOW

"""Which lines of a system text change with each request, what would declare them, and that nothing else is told."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.fields import LONGEST_PATTERN
from gateway.config.policy import PromptCache
from gateway.prompt_cache import system_text_changes
from gateway.prompt_cache.system_text_changes import (
    LineChanges,
    PromptFamily,
    RecentTexts,
    from_json,
    label_of,
    merge_changes,
    suggestions,
    to_json,
)
from gateway.prompt_cache.system_text_sharing import (
    KEY,
    LINE_CHANGES,
    SystemTextWatch,
    share_system_texts,
    stored_suggestions,
)
from gateway.rewriting.volatile import SystemTextMemory, without_matches
from gateway.state import StateUnavailable
from gateway.state.disk import DiskState
from tests.passage import Setting, policy
from tests.sharing import at, sharing
from tests.talk import body, conversation, system, user
from tests.timing import within

FAMILY = PromptFamily("support", "p", "gpt", 3)


def seen(*texts):
    prompts, head = RecentTexts(), LineChanges()
    for text in texts:
        head += prompts.compared(text)
    return head


def told(head):
    return [str(one) for one in suggestions({FAMILY: head})]


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("was", "now", "label"),
    [
        ("Current time: 2026-01-01 12:00:00", "Current time: 2026-01-01 12:00:01", "Current time: "),
        ("Today is Monday, 5 January 2026.", "Today is Tuesday, 6 January 2026.", "Today is "),
        ("Today is Monday, 5 January 2026.", "Today is Monday, 5 February 2026.", "Today is "),
        ("Session 42 of user Bob", "Session 42 of user Al", r"Session \d+ of user "),
        ("(Time) [x]: 1", "(Time) [x]: 2", r"\(Time\) \[x\]: "),
        ("Time:12:00", "Time:12:01", "Time:"),
        ("id=a7", "id=a8", "id="),
        ("a8f3", "b9e2", ""),
        ("2026-01-01", "2026-01-02", ""),
        ("Rules", "Rules of 5", ""),
    ],
)
def test_a_label_is_what_stands_before_the_value_that_changes(was, now, label):
    assert label_of(was, now) == label


def test_a_long_line_is_not_read_word_by_word():
    line = "One of its many words. " * 8000
    with within(0.05):
        found = label_of(f"{line}Time: 12:30", f"{line}Time: 12:31")
    assert found.endswith(r"many words\. Time: ")


@given(st.text(max_size=120), st.text(max_size=60), st.text(max_size=60))
def test_a_suggested_pattern_is_always_accepted_and_takes_the_change_out(same, was, now):
    before, after = (f"{same} {end}".replace("\n", " ") for end in (was, now))
    if before != after and (label := label_of(before, after)):
        pattern = f"{label}.*"
        assert len(pattern) <= system_text_changes.LONGEST_PATTERN <= LONGEST_PATTERN
        PromptCache(volatile=(pattern,))
        rests = {without_matches(text, (pattern,), SystemTextMemory())[0] for text in (before, after)}
        assert len(rests) == 1


def test_of_what_changes_nothing_is_told():
    head = seen(*(f"You help.\nCustomer: secret{n} pays 77{n}\nBe brief." for n in range(50)))
    assert "secret" not in json.dumps(to_json({FAMILY: head}))
    assert "77" not in json.dumps(to_json({FAMILY: head}))
    assert "You help" not in json.dumps(to_json({FAMILY: head}))


# ---------------------------------------------------------------- counting


def test_a_line_that_changes_with_each_request_is_told_with_what_declares_it():
    texts = [f"You help.\nBe brief.\nCurrent time: 12:{n // 2:02}" for n in range(101)]
    (said,) = told(seen(*texts))
    where, _, what = said.partition("; ")
    assert where == "support, policy p, gpt: line 3 of the system text changes in 50% of requests"
    assert what == "declare volatile: ['Current time: .*']"


def test_a_line_that_changes_now_and_then_is_not_told():
    assert told(seen(*(f"You help.\nBe brief.\nDay: {n // 10}" for n in range(100)))) == []


def test_few_requests_say_nothing():
    assert told(seen(*(f"You help.\nCurrent time: {n}" for n in range(system_text_changes.LEAST_COMPARED)))) == []


def test_a_line_of_which_nothing_stays_is_told_without_a_pattern():
    assert "nothing of it stays the same" in told(seen(*(f"You help.\n{n}f\nx" for n in range(30))))[0]


def test_prompts_of_as_many_lines_are_told_apart():
    texts = [text for n in range(40) for text in (f"A\nB\nC\nTime: {n}", f"E\nF\nTicket: {n}\nG", "H\nI\nJ\nK")]
    head = seen(*texts)
    assert {(line, label) for line, label in head.changed} == {(4, "Time: "), (3, "Ticket: ")}


def test_a_change_that_began_sooner_at_times_is_one():
    head = seen(*(f"You help.\nDate: {'AB'[n % 7 == 0]} of week {n}" for n in range(60)))
    (one,) = suggestions({FAMILY: head})
    assert (one.line, one.pattern, one.share) == (2, "Date: .*", 1.0)


def test_counts_of_several_processes_add_up():
    texts = [f"You help.\nCurrent time: {n}" for n in range(60)]
    both = seen(*texts[:30]) + seen(*texts[30:])
    assert both.compared == 58
    assert both.changed == {(2, "Current time: "): 58}


def test_what_is_kept_is_bounded():
    many = {PromptFamily("t", "p", "m", n): LineChanges(1) for n in range(500)}
    assert len(merge_changes({}, many)) == system_text_changes.MOST_FAMILIES
    head = LineChanges()
    for n in range(9000):
        head += LineChanges(1, {(n % 40, f"{n % 40} "): 1})
    assert len(head.changed) <= system_text_changes.MOST_CHANGING
    assert head.compared < system_text_changes.AGES_AT


def test_what_is_written_is_read_again_and_nonsense_is_refused():
    table = {FAMILY: LineChanges(7, {(3, "Time: "): 6})}
    assert from_json(json.loads(json.dumps(to_json(table)))) == table
    for nonsense in ([1], [["a"]], {"a": 1}):
        with pytest.raises((TypeError, ValueError)):
            from_json(nonsense)


# ---------------------------------------------------------------- told to the state


def noted(texts, *numbers):
    for n in numbers:
        said = conversation([system(f"You help.\nCurrent time: {n}"), user("Hi")])
        texts.note(said, "support", "p", "gpt")


async def test_workers_add_up_in_the_state_and_the_report_reads_it(tmp_path):
    for first in (0, 100):
        texts = SystemTextWatch()
        shares = sharing(at(tmp_path), share_system_texts(texts))
        noted(texts, *range(first, first + 40))
        await shares.close()
    opened = DiskState(tmp_path)
    (one,) = stored_suggestions(opened)
    assert str(one).endswith(
        "line 2 of the system text changes in 100% of requests; declare volatile: ['Current time: .*']"
    )
    opened.put(KEY, b"nonsense")
    assert stored_suggestions(opened) == []
    opened.close()


def test_a_line_with_half_a_character_is_told_like_any_other():
    texts = SystemTextWatch()
    for n in range(30):
        said = conversation([system("x")])
        message = replace(said.messages[0], text=f"You help.\nMood \ud83d: {n}")
        texts.note(replace(said, messages=(message,)), "support", "p", "gpt")
    assert suggestions(LINE_CHANGES.read(LINE_CHANGES.write(texts.take())))


async def test_what_could_not_be_told_is_told_later():
    def down():
        raise StateUnavailable("down")

    texts = SystemTextWatch()
    shares = sharing(down, share_system_texts(texts))
    noted(texts, *range(10))
    await shares.exchange()
    await shares.exchange()
    assert next(iter(texts.take().values())).compared == 9
    await shares.close()


async def test_what_a_policy_declares_is_told_no_more(tmp_path):
    said = policy("name: p\nprompt_cache: {volatile: ['Current time: .*']}\n")
    passed = await Setting(tmp_path, [said])(body([system("You help.\nCurrent time: 1"), user("Hi")]))
    texts = passed.gateway.system_texts
    texts.note(conversation([system("You help."), user("Hi")]), passed.settled["team"] or "", "p", "asked")
    assert [(family.lines, head) for family, head in texts.take().items()] == [(1, LineChanges(1))]

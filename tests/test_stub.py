"""The lines that stand for what was left out: stub, pointer, note."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.ours import left_out
from gateway.rewriting.results.dedupe import nearly, pointer
from gateway.rewriting.results.stub import stub, telling_line


def test_a_stub_names_tool_size_and_the_first_telling_line():
    assert stub("read_file", 1234, "---\n\nimport os\nimport sys") == (
        '[result of read_file: 1,234 tokens left out; began "import os"]'
    )


def test_a_stub_quotes_what_it_repeats_in_whole_words():
    assert stub("t", 9, 'say "no"]\nmore') == '[result of t: 9 tokens left out; began "say \\"no\\"]"]'
    assert (
        stub("t", 9, "price 12345 " * 40)
        == f'[result of t: 9 tokens left out; began "{"price 12345 " * 9}price 12345" …]'
    )
    assert stub("t", 9, "数据库、" * 60) == f'[result of t: 9 tokens left out; began "{"数据库、" * 30}" …]'
    assert stub("t", 9, "x" * 500) == "[result of t: 9 tokens left out]"


@given(st.text(max_size=300))
def test_a_stub_never_tells_to_call_again(text):
    assert "again" in text or "again" not in stub("t", 9, text)


def test_a_stub_of_what_says_nothing_says_only_tool_and_size():
    assert stub("list", 7, "\n\n{}\n") == "[result of list: 7 tokens left out]"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Error: no such file\nmore", "Error: no such file"),
        ("\n  \n==========\n{\n[\n  'status':   'ok'  ,\n", "'status': 'ok' ,"),
        ("ab\nabc", "abc"),
        ("x" * 120, "x" * 120),
        ("", ""),
        ("-\n" * 50 + "too far down", ""),
        ("日本語", "日本語"),
    ],
)
def test_the_telling_line_is_the_first_that_says_something(text, line):
    assert telling_line(text) == line


@given(st.text(max_size=400))
def test_a_stub_is_always_short_and_one_line(text):
    assert len(telling_line(text).splitlines()) <= 1
    line = stub("t", 9, text)
    assert len(line) <= 60 + 6 * 120
    assert "\n" not in line


@given(st.text(max_size=50), st.text(max_size=4000))
def test_a_stub_never_depends_on_what_stands_far_behind(start, rest):
    padded = start.ljust(50) + "\n" + "filler line\n" * 500
    assert stub("t", 9, padded) == stub("t", 9, padded + rest)


def test_a_pointer_names_the_later_call_by_an_id_that_stays_true_when_messages_move():
    assert pointer("read", "call_7") == "[same as the later result of read, call call_7]"


def test_a_note_says_how_much_is_left_out():
    assert left_out(9, 12_345) == "[… 9 messages, 12,345 tokens left out]"
    assert left_out(1, 7) == "[… 1 message, 7 tokens left out]"


def test_a_note_before_a_list_says_that_it_quotes_data():
    assert left_out(2, 70, quotes=True) == (
        "[… 2 messages, 70 tokens left out; quoted from earlier messages, as data:]"
    )


def test_a_pointer_to_what_is_nearly_the_same_is_followed_by_what_was_different():
    assert nearly("read", "call_7", "head\n-a\n+b") == (
        "[as the later result of read, call call_7, but for what follows]\n-a\n+b"
    )

"""Which regular expressions are refused for the time they can take, and that those which are taken are fast."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.config.patterns import may_be_cubic, why_slow, worst_texts
from tests.conftest import examples
from tests.timing import within


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i)\b(must|never|always)\b",
        r"https?://\S+",
        r"^.*\bdeadline\b.*$",
        r"[\w.+-]+@[\w-]+\.[\w.-]+",
        r"(?:\w+\.)+\w+",
        r"(\w+\s)+",
        r"(?:\d{1,3}\.){3}\d{1,3}",
        r"\d{1,3}(?:,\d{3})*",
        r"\b[A-Z]{2,5}-\d{1,6}\b",
        r"[0-9a-f]{40}",
        r"(?:ab)+(?:cd)+",
        r"\d+[a-z]+\d*",
        r"^\s*Today is \w+ .*$",
        r"^(?:(?!draft).)*$",
        r"(?:[^,]*,)*x",
        r"(?:(?:(?:){99}){99}){99}",
        "",
    ],
)
def test_what_people_write_is_taken(pattern):
    assert why_slow(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+",
        r"(a*)*b",
        r"(a|a)*",
        r"(?:a|(?:|)b){3,}",
        r"(?:\b|$){3,}",
        r"(a?b?)*",
        r"(x+x+)+y",
        r"(\w+\s?)+$",
        r"(\d|\d\d)*",
        r"(?=(a+)+$)",
        r"(?i:(k+\u212a)+)",
        r"(?:(?:a{0,19}){0,19}){0,19}b",
        r"(([a-z])+.)+[A-Z]([a-z])+$",
    ],
)
def test_a_repeat_whose_text_can_be_read_in_several_ways_is_refused(pattern):
    assert "several ways" in (why_slow(pattern) or "")


@pytest.mark.parametrize("pattern", [r".*.*.*x", r"(.*a){12}", r"(a?){30}a{30}", r".*a.*b.*c.*d"])
def test_choices_that_multiply_are_refused(pattern):
    assert "too many parts" in (why_slow(pattern) or "")


@pytest.mark.parametrize(
    "pattern",
    [r"\d+\d+", r"\w+\s*\w+", r".*\w+", r"(?:ab)+(?:ab)*", r"x\d{2,}(?:\d\d)+", r"[a-f]+\b[f-k]{3,}", r".*(?:a|.+)"],
)
def test_endless_neighbours_that_take_the_same_text_are_refused(pattern):
    assert "side by side" in (why_slow(pattern) or "")


@pytest.mark.parametrize("pattern", [r"(['\"]).*?\1", r"(?P<a>\w+) (?P=a)", r"(a)(?:b|\1)"])
def test_what_refers_back_to_a_group_is_refused(pattern):
    assert "refers back" in (why_slow(pattern) or "")


def test_texts_to_try_a_pattern_on_are_long_and_make_it_slow():
    for pattern in (r"\d+\d+x", r".*a.*b", r"(?:\w+\.)+\w+!", "", "x{3}", r"[^\x00-\xff]+a"):
        texts = worst_texts(pattern, 1_000)
        assert all(len(text) == 1_000 for text in texts), pattern
    compiled = re.compile(r"a.*a.*a.*b")
    slowest = max(timed(compiled, text) for text in worst_texts(compiled.pattern, 150))
    assert slowest > 20 * timed(compiled, "the quick brown fox " * 8)


def timed(compiled: re.Pattern[str], text: str) -> float:
    started = time.process_time()
    compiled.search(text)
    return time.process_time() - started + 1e-6


def test_a_pattern_that_unfolds_to_much_is_refused():
    assert "too large" in (why_slow(r"(?:(?:\w{50}-){50}){50}") or "")
    assert "too large" in (why_slow("x{100000}") or "")


@pytest.mark.parametrize(
    "pattern", [r"(?:(?:(?:a?){15}){15}){4}", r"(?:(?:(?:(?:){999}){999}){999}){999}", "(" * 80 + ")" * 80]
)
def test_telling_takes_no_time(pattern):
    with within(1):
        why_slow(pattern)


ATOMS = st.sampled_from(["a", "b", ".", r"\w", r"[ab]", "[^a]", "ab", "", r"\b", "$"])
COUNTS = st.sampled_from(["", "", "?", "*", "+", "*?", "{2}", "{0,3}", "{12}", "{3,}"])


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    counted = st.builds("(?:{}){}".format, inner, COUNTS)
    return counted | st.builds("{}{}".format, counted, counted) | st.builds("(?:{}|{})".format, inner, inner)


@settings(max_examples=examples(400), deadline=None)
@given(st.recursive(ATOMS, combined, max_leaves=8))
def test_a_pattern_that_is_taken_is_always_fast(pattern):
    assume(why_slow(pattern) is None)
    compiled = re.compile(pattern + "!")
    for text in ("a" * 40, "ab" * 20, "a" * 20 + "b" * 20):
        with within(2):
            compiled.search(text)


@pytest.mark.parametrize("pattern", [r"a[ab]*b[ab]*!", r"\w+ \w* x", r"<.*>(?:x[^,]*,)!"])
def test_endless_parts_that_may_share_a_text_may_take_cubic_time(pattern):
    assert why_slow(pattern) is None
    assert may_be_cubic(pattern)


@pytest.mark.parametrize(
    "pattern", [r"\d+[a-z]+", r"(?:\w+\s)+", r"(?:[^,]*,)*x", r"\d{4}-\d{2}-\d{2}T[\d:]+", r"^.*!", ""]
)
def test_others_are_quadratic_at_most(pattern):
    assert not may_be_cubic(pattern)

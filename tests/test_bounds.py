"""What bytes say of a number of tokens: held against the encodings themselves."""

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budget.bounds import LONGEST_RUN, WHOLE, at_least, has_endless_run, weights_by_byte
from gateway.budget.tokens import ENCODINGS, Counter, byte_weights, verified_file
from gateway.config.policy import Policy, Reserve
from gateway.packaged_data import tokenizers_dir
from gateway.rewriting.memory import Known
from gateway.rewriting.plan import Plan, Refusal
from gateway.serving.fit import HUGE_TEXT, MOST_REWRITTEN, Form
from gateway.wire.chat.read import parse
from gateway.wire.memo import Memo
from tests.laws.generators import model_of
from tests.passage import COUNTERS
from tests.talk import assistant, body, user

RUNS = ["a", "Z", "aB", "é", "漢", "-", "=", "*", " ", "\n", "\t", "1", "0123456789", "😀", "\u0301", "ab ", "\ud800"]
PIECES = st.one_of(
    st.text(max_size=60),
    st.builds(lambda run, number: run * number, st.sampled_from(RUNS), st.integers(1, 300)),
    st.sampled_from(["the quick brown fox ", "def f(x):\n    return x\n", '{"a": [1, 2.5, null]}', "ACGTACGGT"]),
)


def vocabulary(name: str) -> list[bytes]:
    lines = verified_file(name, tokenizers_dir()).read_bytes().splitlines()
    return [base64.b64decode(line.split()[0]) for line in lines]


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_token_of_the_vocabulary_weighs_more_than_one(name: str) -> None:
    weights = byte_weights(name)
    assert all(sum(entry.translate(weights)) <= WHOLE for entry in vocabulary(name))


@given(st.sampled_from(ENCODINGS), st.lists(PIECES, max_size=12).map("".join))
def test_the_count_is_never_outside_its_bounds(name: str, text: str) -> None:
    counter = COUNTERS.for_encoding(name)
    assert counter.at_least(text) <= counter.count(text) <= len(text.encode("utf-8", "surrogatepass"))


@given(st.lists(st.binary(min_size=1, max_size=6), max_size=20), st.data())
@settings(max_examples=100)
def test_however_bytes_are_cut_into_entries_there_are_no_fewer(entries: list[bytes], data: st.DataObject) -> None:
    every = [bytes([byte]) for byte in range(256)] + entries
    cut = data.draw(st.lists(st.sampled_from(every), max_size=50))
    assert at_least(b"".join(cut), weights_by_byte(every)) <= len(cut)


@pytest.mark.parametrize("run", ["a", "é", "漢", "-", " ", "\n", "aB", "\n ", "e\u0301"])
def test_an_endless_run_is_found_wherever_it_stands(run: str) -> None:
    endless = (run * LONGEST_RUN)[: LONGEST_RUN + 10]
    assert has_endless_run(endless)
    assert has_endless_run("some words. " * 50_000 + endless + "1")
    assert not has_endless_run(("x" * 1000 + "1") * (LONGEST_RUN // 500))


def test_it_is_counted_by_its_bytes_and_what_stands_apart_from_it_by_its_tokens() -> None:
    counter = Counter("o200k_base")
    apart = "some words \n" * 10_000
    run = "a" * (LONGEST_RUN + 1)
    assert counter.count(apart + run) >= counter.count(apart) + LONGEST_RUN
    assert counter.count(apart + run) <= len(apart + run)
    assert counter.is_bounded(apart + run)
    assert not counter.is_bounded(apart * 50)


# ---------------------------------------------------------------- what is planned with them


def form(raw: bytes, window: int = 20_000) -> Form:
    policy, model, request = Policy("p", reserve=Reserve(0, 0)), model_of(window), parse(raw, Memo())
    return Form(request, policy, model, model.bounds(policy), COUNTERS.for_encoding("o200k_base"), Known(), None)


def test_a_text_many_times_the_window_is_refused_by_its_bytes_and_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = form(body([user("hello"), assistant("yes"), user("a" * HUGE_TEXT)]))
    monkeypatch.setattr(Counter, "_tokens", lambda _self, text: len(text) if len(text) < 100 else pytest.fail("read"))
    found = asked.planned(None, frozenset())
    assert isinstance(found, Refusal)
    assert (found.component, found.bounded) == ("input", "at least")
    assert 20_000 < found.tokens <= HUGE_TEXT // 8 + 10


def test_an_old_one_goes_and_the_rest_is_counted_as_ever() -> None:
    draw = random.Random(1)
    long = " ".join(
        draw.choices(["the", "quick", "brown", "fox", "jumps", "over", "some", "lazy", "dogs"], k=HUGE_TEXT // 4)
    )
    found = form(body([user("the task"), assistant(long), user("go on"), assistant("well"), user("and?")])).planned(
        None, frozenset()
    )
    assert isinstance(found, Plan)
    assert found.bounded == "at least"
    assert found.changes is not None
    assert found.tokens_after < 20_000 < found.tokens_before


def test_what_may_fit_is_read() -> None:
    asked = form(body([user("word " * (HUGE_TEXT // 5))]), 1_000_000)
    assert asked.bounded is None
    assert asked.anatomy.total == HUGE_TEXT // 5 + 1 + 7


def many(number: int, window: int) -> Form:
    return form(body([one for _ in range(number // 2) for one in (user("so"), assistant("yes"))]), window)


def test_too_many_messages_are_refused_by_their_number_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = many(MOST_REWRITTEN + 2, 20_000)
    monkeypatch.setattr(Counter, "_tokens", lambda _self, _text: pytest.fail("read"))
    found = asked.planned(None, frozenset())
    assert isinstance(found, Refusal)
    assert (found.component, found.bounded) == ("history", "at least")
    assert found.tokens == 4 * (MOST_REWRITTEN + 2) + 3


def test_too_many_messages_leave_whole_or_are_refused_by_count() -> None:
    asked = many(MOST_REWRITTEN + 2, 4 * MOST_REWRITTEN + 1000)
    refused = asked.planned(None, frozenset())
    assert isinstance(refused, Refusal)
    assert (refused.bounded, refused.tokens) == (None, asked.anatomy.total)
    left = many(MOST_REWRITTEN + 2, 200_000).planned(None, frozenset())
    assert isinstance(left, Plan)
    assert not left.edits

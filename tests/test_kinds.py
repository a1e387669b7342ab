"""How much of a text is words, ids or another script."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget.kinds import EVEN, Kinds, kinds_of, kinds_of_message, weighed
from gateway.budget.tokens import Counter
from gateway.conversation import Call, Message

PROSE = "The customer asked whether the order could still be changed before it ships. " * 20
IDS = "\n".join(str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))) for number in range(200))
COUNTER = Counter()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (PROSE, "words"),
        (IDS, "ids"),
        ("4859937227 1586641416 503.58 2026-11-30 " * 20, "ids"),
        ("v2.1.0-rc1_x86_64 " * 20, "ids"),
        ("今天的天气很好。我们去公园散步吧。" * 20, "others"),
        ("Сегодня хорошая погода. " * 20, "others"),
        ("आज मौसम बहुत अच्छा है। " * 20, "others"),
        ("", "words"),
        (" \n\t" * 90, "words"),
    ],
)
def test_a_text_is_of_the_kind_that_a_reader_would_say(text, kind):
    kinds = kinds_of(text, 1000)
    assert getattr(kinds, kind) >= 930
    assert kinds.total == 1000


def test_a_mixed_text_is_shared_out():
    words, ids, others = kinds_of('{"id": "c0ffee12-77", "name": "Ana", "city": "Москва"}', 30)
    assert min(words, ids, others) >= 3


def test_keys_of_minified_json_are_no_ids():
    assert kinds_of('{"orders":[{"status":"pending","count":1},{"status":"done","count":2}]}', 30).ids <= 5


def test_a_message_counts_its_calls_and_what_is_no_text_as_words():
    message = Message("assistant", text=PROSE, calls=(Call("c1", "find", IDS),))
    own = COUNTER.count(PROSE) + COUNTER.count(IDS)
    kinds = kinds_of_message(message, own + 12, COUNTER.count)
    assert kinds.total == own + 12
    assert kinds.ids == COUNTER.count(IDS)


def test_what_weighs_more_counts_more_and_words_stay_as_they_are():
    counter = COUNTER.weighed((150, 120))
    assert counter.count(PROSE) == COUNTER.count(PROSE)
    assert counter.count(IDS) == -(-COUNTER.count(IDS) * 3 // 2)
    assert counter is COUNTER.weighed((150, 120))
    assert COUNTER.weighed(EVEN) is COUNTER


@given(st.text(), st.integers(0, 10**6))
def test_the_kinds_of_a_text_always_sum_up_to_its_tokens(text, tokens):
    kinds = kinds_of(text, tokens)
    assert kinds.total == tokens
    assert min(kinds) >= 0


@given(st.builds(Kinds, *[st.integers(0, 10**6)] * 3), st.tuples(st.integers(1, 900), st.integers(1, 900)))
def test_a_weight_is_never_less_than_its_share_and_never_a_token_more(kinds, weights):
    exact = kinds.words + (kinds.ids * weights[0] + kinds.others * weights[1]) / 100
    assert exact - 1e-6 <= weighed(kinds, weights) < exact + 1
    assert weighed(kinds, EVEN) == kinds.total

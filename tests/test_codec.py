"""Whatever lies in the state, reading it gives a value that can be used and written again, or one error."""

import gc
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.state.codec import LONGEST, Codec, Unreadable, flag, number, text, whole_number
from tests.load import decoding
from tests.nonsense import KINDS, Kind, nonsense


@pytest.mark.parametrize("kind", KINDS, ids=[f"{kind.codec.kind} {n}" for n, kind in enumerate(KINDS)])
def test_what_is_written_is_read(kind: Kind):
    assert kind.take_in(kind.genuine)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_unreadable(raw: bytes):
    for kind in KINDS:
        kind.take_in(raw)


@given(st.integers(0, 2**64))
def test_nonsense_made_of_what_is_written_is_a_value_or_unreadable(seed: int):
    for kind in KINDS:
        kind.take_in(nonsense(random.Random(seed), kind.genuine))


def test_every_kind_of_value_is_tried_here():
    ours = {one.kind for one in gc.get_objects() if isinstance(one, Codec) and "tests" not in repr(one.from_json)}
    assert {kind.codec.kind for kind in KINDS} >= ours - {"count", "one", "other"}


def test_the_error_says_what_is_wrong_and_nothing_of_the_value():
    codec: Codec[int] = Codec("count", 2, int, whole_number)
    for raw, told in (
        (b"secret", "it has no version"),
        (b'["secret"]', "it has no version"),
        (b'{"v":1,"is":"secret"}', "it is of another version; this release reads version 2"),
        (b'{"v":2,"is":"secret"}', r"it is not what this release writes \(ValueError\)"),
        (b" " * (LONGEST + 1), "4,194,305 bytes; at most"),
    ):
        with pytest.raises(Unreadable, match=told) as caught:
            codec.read(raw)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("check", "value"),
    [(text, 7), (text, None), (whole_number, 1.0), (whole_number, True), (whole_number, -1), (whole_number, 2**63),
     (number, "1"), (number, True), (number, 1e16), (number, float("nan")), (number, -0.1), (flag, 1), (flag, None)],
)  # fmt: skip
def test_what_json_holds_is_checked(check, value):
    with pytest.raises(ValueError, match=r"no text|no whole|no number|neither"):
        check(value)


def test_a_hundred_thousand_of_them_are_read_in_a_run_of_its_own():
    outcome = decoding.measure(rounds=500)
    assert not outcome.problems, str(outcome)
    assert outcome.understood > 0

"""Errors inside good answers: found by their shape, and read in any of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire import lenient
from gateway.wire.failures import UNSAID, complaint_in, error_in
from tests.conftest import examples


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "429"}, 429),
        ({"status": 503, "code": "x"}, 503),
        ({"status_code": 400}, 400),
        ({"type": "rate_limit_error"}, 429),
        ({"type": "error", "code": "context_length_exceeded"}, 400),
        ({"status": "RESOURCE_EXHAUSTED", "code": 8}, 429),
        ({"type": "authentication_error"}, 401),
        ({"type": "server_error"}, 500),
        ({"code": 200}, UNSAID),
        ({"code": 1113}, UNSAID),
        ({"code": True}, UNSAID),
        ({"code": "4290"}, UNSAID),
        ({"type": "of its own"}, UNSAID),
    ],
)
def test_an_error_has_the_status_that_it_names_or_that_its_type_stands_for(error: dict[str, Any], status: int):
    found = error_in({"error": {"message": "no", **error}})
    assert found is not None
    assert found.status == status


def test_one_choice_that_went_wrong_leaves_the_others():
    failed, sound = {"index": 0, "error": {"message": "no"}}, {"index": 1, "message": {"content": "yes"}}
    assert error_in({"choices": [failed, sound]}) is None
    assert error_in({"choices": [failed]}) is not None


@pytest.mark.parametrize(
    "fields", [{}, {"error": None}, {"error": {}}, {"error": {"code": 0, "message": ""}}, {"error": " "}]
)
def test_what_says_nothing_is_no_error(fields: dict[str, Any]):
    assert error_in(fields) is None
    assert complaint_in(fields) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "status", "choices"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=examples(100))
@given(st.dictionaries(st.sampled_from(["error", "message", "code", "choices", "object", "detail"]), JSON))
def test_whatever_an_upstream_says_is_always_read_and_can_always_be_told(fields: dict[str, Any]):
    for found in (error_in(fields), complaint_in(fields)):
        if found is not None:
            assert 400 <= found.status <= 599
            assert found.members["message"]
            assert found.code is None or found.code.isprintable()
            assert lenient.read(found.body) is not None

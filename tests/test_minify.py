"""Minify: the white space between the tokens of JSON goes, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rewriting.results.minify import minify

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
).filter(lambda value: isinstance(value, list | dict))


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ('{ "a" : 1 }', '{"a":1}'),
        ('\n[1,\t2 , "a b"]\r\n', '[1,2,"a b"]'),
        ('{"a": " \\" { : "}', '{"a":" \\" { : "}'),
        (
            '{"a": 1.10, "b": 1E5, "c": 123456789012345678901234567890}',
            '{"a":1.10,"b":1E5,"c":123456789012345678901234567890}',
        ),
        ('{"a": 1, "a": 2}', '{"a":1,"a":2}'),
        ('{"a": "\\u00e9\\/é"}', '{"a":"\\u00e9\\/é"}'),
        (f"[ 1, {'9' * 5000} ]", f"[1,{'9' * 5000}]"),
    ],
)
def test_the_space_between_tokens_goes_and_every_token_keeps_its_spelling(text, shorter):
    assert minify(text) == shorter


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "hello",
            "a  b",
            "12  ",
            '"a  b"',
            "null ",
            '{"a":1}',
            "[]",
            "{ not json }",
            '{"a": 1,}',
            "[1, 2",
            "[1] [2]",
        ),
        *(
            '{"a": NaN}',
            "[ \ud800 ]",
            '[ "\\ud800" ]',
            "[ 1e999, 1-2 ]",
            "[ " * 200 + "] " * 200,
            "[1,\u00a02]",
            "- [ ] todo",
        ),
    ],
)
def test_what_is_no_json_object_or_array_or_has_no_space_to_give_is_left_alone(text):
    assert minify(text) is None


@given(VALUES, st.sampled_from([None, 0, 1, 4, "\t"]), st.booleans())
def test_the_value_is_always_the_same_and_the_text_never_longer(value, indent, plain):
    text = json.dumps(value, indent=indent, ensure_ascii=plain)
    shorter = minify(text)
    if shorter is not None:
        assert len(shorter) < len(text)
        assert json.loads(shorter) == value


@given(VALUES, st.sampled_from([None, 2]))
def test_minifying_twice_never_changes_anything(value, indent):
    shorter = minify(json.dumps(value, indent=indent))
    assert shorter is None or minify(shorter) is None


@given(st.text(max_size=80))
def test_a_text_of_any_kind_never_fails(text):
    minify("[" + text)
    minify(text)

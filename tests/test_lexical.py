"""JSON cut into the bytes of its members: nothing moves, nothing is written anew, no key stands twice."""

import json
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.lexical import (
    MOST_NESTED,
    DuplicateKey,
    NotJSON,
    Span,
    array_spans,
    cuts,
    nesting,
    object_spans,
    splice,
    value,
)

LONG = "9" * 5000
SPACE = st.sampled_from(["", " ", "\n", "\t \r\n"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)


def members(data: bytes) -> dict[str, bytes]:
    return {key: data[span.start : span.end] for key, span in object_spans(data).items()}


def elements(data: bytes) -> list[bytes]:
    return [data[span.start : span.end] for span in array_spans(data, Span(0, len(data)))]


@st.composite
def written(draw, inner):
    """JSON text of a value as some client might write it: spaces anywhere, escapes or none."""
    said = draw(inner)
    text = json.dumps(said, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    return said, f"{draw(SPACE)}{text}{draw(SPACE)}".encode()


def test_the_values_of_an_object_are_located_with_their_bytes():
    data = b' {"a" : 1.10 ,\n"b": [1, 2 ] ,"c":{"a":1,"a":2}, "d":"\\u0041"} '
    assert members(data) == {"a": b"1.10", "b": b"[1, 2 ]", "c": b'{"a":1,"a":2}', "d": b'"\\u0041"'}


def test_a_key_is_known_by_what_it_spells():
    assert members(rb'{"m\u006fdel":1, "\"\\": 2}') == {"model": b"1", '"\\': b"2"}


def test_an_empty_object_has_no_members():
    assert members(b"{}") == members(b" { } ") == {}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":1,"b":3,"a":1}', "a"),
        (rb'{"a":1,"\u0061":2}', "a"),
        (rb'{"\u0061":1,"a":2}', "a"),
        (rb'{"a\/b":1,"a/b":2}', "a/b"),
        (b'{"":1,"":2}', ""),
        ('{"é":1,"\\u00e9":2}'.encode(), "é"),
        (b'{"a":{},"a":{}}', "a"),
    ],
)
def test_a_key_that_stands_twice_is_named_however_it_is_spelled(data, key):
    with pytest.raises(DuplicateKey) as raised:
        object_spans(data)
    assert raised.value.key in (key, "?")


@pytest.mark.parametrize("levels", [100, 400, 800, 900, 950, 990, 2000])
def test_a_key_that_stands_twice_is_refused_however_deeply_its_value_is_nested(levels):
    with pytest.raises((DuplicateKey, NotJSON)):
        object_spans(b'{"a":1,"a":' + b"[" * levels + b"]" * levels + b"}")


def test_keys_of_objects_inside_are_not_looked_at():
    assert members(b'{"a":{"b":1,"b":2},"c":[{"b":1,"b":2}]}').keys() == {"a", "c"}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"1", b"{", b'{"a":1,}', b'{"a":1}x', b"{'a':1}", b'{"a":NaN}', b'{"a":1}{"b":2}', b"{1:2}"]
)
def test_what_is_no_object_is_refused(data):
    with pytest.raises(NotJSON):
        object_spans(data)


@pytest.mark.parametrize("data", [rb'{"a":"\ud800"}', rb'{"a":"\ud800 more"}', rb'{"a":"\udc00\ud800"}'])
def test_half_a_character_is_refused_with_its_place(data):
    with pytest.raises(NotJSON, match=r"a lone surrogate, which is half a character \(byte 6\)"):
        object_spans(data)


def test_a_whole_character_in_two_escapes_and_a_backslash_before_a_u_are_taken():
    assert object_spans(rb'{"a":"\ud83d\ude00","b":"\\ud800"}').keys() == {"a", "b"}


@given(written(st.dictionaries(st.text(max_size=6), VALUES, max_size=6)))
def test_what_is_located_always_reads_as_the_value_it_is(pair):
    said, data = pair
    assert {key: json.loads(raw) for key, raw in members(data).items()} == said


@given(written(st.lists(VALUES, max_size=6)))
def test_elements_always_read_as_the_values_they_are(pair):
    said, data = pair
    assert [json.loads(raw) for raw in elements(data.strip())] == said


@given(written(st.dictionaries(st.text(max_size=6), VALUES, max_size=5)))
def test_spans_never_overlap_and_never_leave_the_text(pair):
    _, data = pair
    spans = list(object_spans(data).values())
    assert all(0 <= span.start < span.end <= len(data) for span in spans)
    assert all(one.end < other.start for one, other in pairwise(spans))


@given(st.dictionaries(st.text(max_size=4), SCALARS, min_size=1, max_size=4), st.data())
def test_a_key_that_stands_twice_never_passes(said, data):
    again = data.draw(st.sampled_from(sorted(said)))
    spelled = data.draw(st.sampled_from([json.dumps(again), '"' + "".join(f"\\u{u:04x}" for u in utf16(again)) + '"']))
    text = json.dumps(said)[:-1] + f", {spelled}: 0}}"
    with pytest.raises(DuplicateKey):
        object_spans(text.encode())


def utf16(text: str) -> list[int]:
    raw = text.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_never_raise_anything_else(data):
    try:
        spans = object_spans(data)
    except (NotJSON, DuplicateKey):
        return
    assert all(0 <= span.start <= span.end <= len(data) for span in spans.values())


# ---------------------------------------------------------------- values


def test_a_value_is_read_as_json_says():
    assert value(b' {"a": [1, 2.5, null, "x"]} ') == {"a": [1, 2.5, None, "x"]}


def test_numbers_of_any_length_are_let_through():
    assert value(f'{{"a": {LONG}, "b": "{LONG}", "c": -1.5e9999}}'.encode()) == {"a": None, "b": LONG, "c": None}


@pytest.mark.parametrize(
    "data",
    [b"", b"nan", b"NaN", b"[1,]", b'"\xff"', rb'"\ud800"', b"[1e999, 1-2]", b"[1e999, 1.2.3]", b"[9" + b"9" * 400],
)
def test_what_is_not_json_is_refused(data):
    with pytest.raises(NotJSON):
        value(data)


def test_a_value_may_be_nested_as_deeply_as_anybody_needs_and_no_deeper():
    assert value(b"[" * MOST_NESTED + b"]" * MOST_NESTED)
    with pytest.raises(NotJSON, match=f"nested more than {MOST_NESTED} levels deep"):
        value(b"[" * (MOST_NESTED + 1) + b"]" * (MOST_NESTED + 1))


def test_brackets_in_strings_and_beside_one_another_do_not_nest():
    assert nesting(b'["[[[{{{", "\\"[", []]') == 2
    assert value(orjson.dumps(["[" * 500, *[[]] * 500]))


@given(VALUES)
def test_a_value_written_by_another_library_is_always_read_back(said):
    assert value(json.dumps(said).encode()) == said


# ---------------------------------------------------------------- splices


def test_a_splice_replaces_ranges_and_keeps_every_other_byte():
    assert splice(b"0123456789", [(8, 9, b"X"), (2, 4, b""), (5, 5, b"+")]) == b"014+567X9"


def test_an_insertion_comes_before_the_removal_that_begins_where_it_stands():
    assert splice(b"abc", [(1, 2, b""), (1, 1, b"+")]) == b"a+c"


@given(st.binary(max_size=30), st.data())
def test_what_no_splice_covers_always_stays(data, draw):
    edges = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6, unique=True)))
    edits = [(one, other, b"") for one, other in list(pairwise(edges))[::2]]
    kept = [byte for at, byte in enumerate(data) if not any(start <= at < end for start, end, _ in edits)]
    assert splice(data, edits) == bytes(kept)


# ---------------------------------------------------------------- members taken out


@pytest.mark.parametrize(
    ("data", "names", "left"),
    [
        (b'{"a":1,"b":2,"c":3}', {"b"}, b'{"a":1,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {"a"}, b'{"b":2,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {"c"}, b'{"a":1,"b":2}'),
        (b'{"a":1,"b":2,"c":3}', {"a", "b"}, b'{"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {"a", "c"}, b'{"b":2}'),
        (b'{"a":1,"b":2,"c":3}', {"b", "c"}, b'{"a":1}'),
        (b'{"a":1,"b":2,"c":3}', {"a", "b", "c"}, b"{}"),
        (b' { "a" : 1 , "b" : 2 } ', {"a"}, b' { "b" : 2 } '),
        (b'{"a":1}', {"z"}, b'{"a":1}'),
    ],
)
def test_a_member_goes_with_one_comma(data, names, left):
    assert splice(data, cuts(data, object_spans(data), names)) == left


@given(written(st.dictionaries(st.text(max_size=3), VALUES, max_size=6)), st.sets(st.integers(0, 5)))
def test_what_is_left_when_members_go_is_the_object_without_them(said_and_data, gone):
    said, data = said_and_data
    names = {name for index, name in enumerate(said) if index in gone}
    left = splice(data, cuts(data, object_spans(data), names))
    assert json.loads(left) == {name: value for name, value in said.items() if name not in names}

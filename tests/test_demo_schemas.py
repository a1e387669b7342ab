"""Values that the demo model makes for a JSON Schema: what is asked for holds, and nothing asked for takes long."""

import json
import time
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.upstreams.demo.patterns import LONGEST_TEXT, text_for
from gateway.routing.upstreams.demo.schemas import Material, names_in, value_for

WORDS = Material(("Jason", "Berlin"), (25.0, 3.5), ("All is well.",))
NODE = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["label", "children", "next"],
        }
    },
    "$ref": "#/$defs/Node",
}
SCHEMAS: dict[str, Any] = {
    "person": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "a tree": NODE,
    "itself": {"properties": {"of": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["of"]},
    "bounds": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "steps": {"type": "integer", "minimum": 7, "multipleOf": 5},
    "cents": {"type": "number", "minimum": 0.5, "maximum": 0.6, "multipleOf": 0.05},
    "below nothing": {"type": "integer", "maximum": -3},
    "beyond doubles": {"type": "integer", "minimum": 2**60},
    "old bounds": {"type": "integer", "minimum": 4, "exclusiveMinimum": True, "$schema": "http://json-schema.org/draft-04/schema#"},
    "lengths": {"type": "string", "minLength": 30, "maxLength": 31},
    "short": {"type": "string", "maxLength": 3},
    "zip": {"type": "string", "pattern": r"^\d{5}(-\d{4})?$"},
    "code": {"type": "string", "pattern": r"^[A-Z]{2,4}_[0-9a-f]+(x|y)$", "minLength": 20},
    "not only signs": {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"},
    "constant": {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]},
    "choice": {"enum": ["a", 1, None]},
    "nullable": {"type": ["string", "null"]},
    "one of": {"oneOf": [{"type": "null"}, {"type": "boolean"}]},
    "all of": {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                         {"properties": {"b": {"type": "string"}}, "required": ["b"]}], "type": "object"},
    "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
    "several": {"type": "array", "items": {"type": "string"}, "minItems": 7, "uniqueItems": True},
    "few": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "maxItems": 3, "uniqueItems": True},
    "none": {"type": "array", "items": False},
    "dictionary": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    "unspoken": {"required": ["a"]},
    "date": {"type": "string", "format": "date"},
    "no type": {},
    "anything": True,
}  # fmt: skip


def valid(value: Any, schema: Any) -> None:
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    kind(schema, format_checker=kind.FORMAT_CHECKER).validate(value)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_value_is_what_the_schema_asks_for(schema: Any, whole: bool) -> None:
    valid(json.loads(json.dumps(value_for(schema, b"seed", WORDS, whole=whole))), schema)


NAMES = st.sampled_from(["a", "b", "c", "d"])
COUNT = st.integers(0, 3)


def _some(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=more)


def _typed(kind: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _some(**more).map(lambda made: {"type": kind, **made})


LEAVES = st.one_of(
    _typed("string", minLength=COUNT, maxLength=st.integers(3, 9)),
    _typed("integer", minimum=st.integers(-9, 9), maximum=st.integers(20, 99), multipleOf=st.integers(1, 5)),
    _typed("number", minimum=st.floats(-9, 9), exclusiveMaximum=st.floats(10, 99)),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 1.5}, {"type": ["null", "integer"]}]),
    st.builds(lambda allowed: {"enum": allowed}, st.lists(st.integers(), min_size=1, max_size=3)),
)


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        _typed("object", properties=st.dictionaries(NAMES, inner, max_size=4), required=st.lists(NAMES, max_size=3),
               minProperties=COUNT),
        _typed("array", items=inner, minItems=COUNT, maxItems=st.integers(3, 5)),
        st.builds(lambda either: {"anyOf": either}, st.lists(inner, min_size=1, max_size=3)),
    )  # fmt: skip


@given(st.recursive(LEAVES, _larger, max_leaves=8), st.binary(max_size=4), st.integers(0, 5), st.booleans())
def test_a_value_is_what_any_schema_asks_for(schema: Any, seed: bytes, turn: int, whole: bool) -> None:
    made = value_for(schema, seed, WORDS, turn, whole=whole)
    assert made == value_for(schema, seed, WORDS, turn, whole=whole)
    valid(made, schema)


def _deep(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


HOSTILE: dict[str, Any] = {
    "for ever": {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
    "in a circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "of itself": {"allOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]},
    "deep": _deep(120),
    "wide": {"type": "array", "minItems": 10**9, "items": {"minItems": 10**9, "items": {"type": "null"}}},
    "many": {"type": "object", "minProperties": 10**12},
    "long": {"type": "string", "minLength": 10**12},
    "long repeats": {"type": "string", "pattern": "((((a{200}){200}){200}){200})"},
    "slow": {"type": "string", "pattern": "^(a+)+b$", "minLength": 3000},
    "no expression": {"type": "string", "pattern": "(["},
    "foreign": {"$ref": "https://example.com/schema"},
    "odd": {"type": 3, "required": 7, "properties": [1], "enum": {}, "anyOf": "x", "items": 9, "minItems": "many"},
    "odd references": {"$ref": "#/$defs/%/~2/99999999999999999999", "$defs": []},
    "numbers": {"type": "number", "minimum": 1e308, "maximum": -1e308, "multipleOf": 1e-300},
    "not numbers": {"type": "integer", "minimum": "a", "maximum": True, "multipleOf": 0},
}  # fmt: skip


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_no_schema_takes_long(schema: Any) -> None:
    began = time.process_time()
    made = value_for(schema, b"seed", WORDS)
    assert time.process_time() - began < 1
    assert len(json.dumps(made)) < 2_000_000


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from([*"abc", "$ref", "allOf", "anyOf", "type", "properties", "required", "items",
                                         "enum", "minItems", "minimum", "pattern", "format", "default", "$defs"]),
                        inner | st.sampled_from(["#", "#/a", "object", "array", "string"]), max_size=4),
                    max_leaves=12))  # fmt: skip
def test_no_schema_is_raised_over(schema: Any) -> None:
    value_for(schema, b"", WORDS)


def test_optional_members_are_there_only_in_an_answer_that_is_to_be_whole() -> None:
    schema = {
        "properties": {"a": {"type": "null"}, "b": {"type": "integer"}, "c": {"type": "integer", "default": 10},
                       "d": {"type": "array", "default": []}, "e": {"$ref": "#"}},
        "required": ["a"],
    }  # fmt: skip
    assert value_for(schema, b"", WORDS, whole=True).keys() == {"a", "b", "d"}
    assert value_for(schema, b"", WORDS, whole=False).keys() == {"a"}


@pytest.mark.parametrize(
    ("text", "names", "numbers"),
    [
        ("Extract: Jason is 25 years old.", ("Jason",), (25.0,)),
        ("What is the weather in New York? And in Paris?", ("New York", "Paris"), ()),
        ("Where is parcel QM-48213 of 1.5 kg?", ("QM-48213",), (1.5,)),
        ("Write a lasagna recipe.", ("lasagna", "recipe"), ()),
        ("go on", (), ()),
        ("", (), ()),
    ],
)
def test_names_and_numbers_are_taken_from_what_was_said(text: str, names: tuple[str, ...], numbers: Any) -> None:
    found = names_in(text, ["Done."])
    assert (found.names, found.numbers) == (names, numbers)


def test_a_text_that_no_length_fits_is_none() -> None:
    assert text_for("^[a-z]{3}$", 4, 9) is None
    assert text_for("^[a-z]+$", 4, 9) is not None
    assert text_for("a" * 5000, 0, LONGEST_TEXT) is None

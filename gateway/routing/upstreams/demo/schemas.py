"""A value that a JSON Schema takes, made from the schema and from what the request says. Pure and bounded.

Of the vocabulary of JSON Schema 2020-12 (and `definitions` of older drafts): types, `enum`, `const`, `$ref` inside the
schema, `anyOf`, `oneOf`, `allOf`, `properties`, `required`, `items`, `prefixItems`, counts, lengths, bounds,
`multipleOf`, `pattern` and the usual formats. Passed over: `not`, `if`, `dependent…`, `contains`.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final

import orjson

from gateway.routing.upstreams.demo.patterns import LONGEST_PATTERN, refuses, text_for
from gateway.routing.upstreams.demo.prompt import as_list, as_object

MOST_VALUES: Final = 5_000
"""Values in one answer; what lies beyond is null."""
MOST_NESTED: Final = 64
LONGEST_TEXT: Final = 20_000
MOST_ITEMS: Final = 1_000
USUAL_ITEMS: Final = 2

_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-03-14T09:26:53Z",
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "duration": "P3D",
    "email": "ines@example.com",
    "idn-email": "ines@example.com",
    "hostname": "www.example.com",
    "idn-hostname": "www.example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://www.example.com/",
    "url": "https://www.example.com/",
    "iri": "https://www.example.com/",
    "uri-reference": "/orders",
    "uuid": "7f0c2a4e-5b1d-4c3a-9e8f-1a2b3c4d5e6f",
    "json-pointer": "/orders/0",
    "regex": "^[a-z]+$",
    "byte": "ZGVtbw==",
    "base64": "ZGVtbw==",
    "binary": "demo",
}
_FILLING: Final = "x"
_KINDS: Final = (
    ("object", ("properties", "required", "additionalProperties", "minProperties")),
    ("array", ("items", "prefixItems", "minItems", "maxItems")),
    ("string", ("pattern", "minLength", "maxLength", "format")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)
"""Types of a schema that names none, by what it speaks of."""

_FARTHEST: Final = 1e15
"""Numbers beyond are not looked among: steps between them cannot be told any more."""

_WORD: Final = re.compile(r"[.!?\n]\s*|[\w][\w'-]*")
_NUMBER: Final = re.compile(r"(?<![\w.-])-?\d{1,12}(?:\.\d{1,6})?(?![\w-])")
_LEAST_PLAIN: Final = 5
"""Characters of a word that may stand in for a name where there is none."""
_MOST_READ: Final = 4_000
"""Characters of a text in which names and numbers are looked for."""


@dataclass(frozen=True, slots=True)
class Material:
    """The words that a value is filled with."""

    names: tuple[str, ...] = ()
    """Names and codes that the text says."""
    numbers: tuple[float, ...] = ()
    sentences: tuple[str, ...] = ("demo",)
    """The type for a schema that states none."""


def names_in(text: str, sentences: Sequence[str]) -> Material:
    """Find what a text names: what is written large within a sentence, or holds a digit; and its numbers.

    The first word of a sentence is written large without being a name. Longer words serve for a value without a name.
    """
    read = text[-_MOST_READ:]
    names: list[str] = []
    plain: list[str] = []
    run, begins = False, True
    for word in _WORD.findall(read):
        if not word[0].isalnum():
            run, begins = False, True
            continue
        is_code = any(map(str.isdigit, word)) and not word.isdigit()
        is_name = is_code or (word[0].isupper() and len(word) > 1)
        if not is_name or (not is_code and (begins or word.isupper())):
            plain += [word] if len(word) >= _LEAST_PLAIN and not begins else []
        elif is_name and run:
            names[-1] += f" {word}"
        elif is_name:
            names.append(word)
        run, begins = bool(names) and names[-1].endswith(word), False
    numbers = tuple(float(number) for number in _NUMBER.findall(read))
    return Material(tuple(dict.fromkeys(names or plain)), numbers, tuple(sentences) or ("demo",))


def value_for(schema: Any, seed: bytes, read: Material, turn: int = 0, *, whole: bool = True) -> Any:
    """Make a value that the schema takes; equal arguments make equal values.

    `turn` counts those of one request. Members that are not required are there if it is `whole`, but for those with a
    plain default; else they are left out.
    """
    return _Making(schema, seed, read, turn, whole=whole).value(schema, "$", frozenset({"#"}), 0)


class _Making:
    """One value on its way."""

    def __init__(self, root: Any, seed: bytes, read: Material, turn: int, *, whole: bool) -> None:
        self.root, self.seed, self.read, self.whole = root, seed, read, whole
        self.left = MOST_VALUES
        self.texts = self.numbers = turn
        """The number made of each: no two take the same words while there are others."""

    def value(self, schema: Any, path: str, inside: frozenset[str], depth: int) -> Any:
        """`inside`: the references that are being followed."""
        self.left -= 1
        if self.left < 0 or depth > MOST_NESTED:
            return None
        schema, inside = self._resolved(schema, inside)
        if "const" in schema:
            return schema["const"]
        if allowed := as_list(schema.get("enum")):
            return allowed[self._draw(path) % len(allowed)]
        for key in ("anyOf", "oneOf"):
            if branches := as_list(schema.get(key)):
                rest = {name: each for name, each in schema.items() if name != key}
                return self.value(_joined(rest, self._branch(branches, inside)), path, inside, depth + 1)
        match _type_of(schema):
            case "object":
                return self._object(schema, path, inside, depth)
            case "array":
                return self._array(schema, path, inside, depth)
            case "integer":
                return self._number(schema, whole=True)
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return self._draw(path) % 2 == 0
            case "null":
                return None
        return self._text(schema)

    def _resolved(self, schema: Any, inside: frozenset[str], depth: int = 0) -> tuple[dict[str, Any], frozenset[str]]:
        """Follow references, and take what is said together by `allOf` as one schema."""
        found = as_object(schema)
        while depth < MOST_NESTED and self.left > 0 and ("$ref" in found or "allOf" in found):
            depth, self.left = depth + 1, self.left - 1
            reference, parts = found.get("$ref"), as_list(found.get("allOf"))
            rest = {name: each for name, each in found.items() if name not in ("$ref", "allOf")}
            found = {}
            if isinstance(reference, str):
                found, inside = self._at(reference), inside | {reference}
            for part in parts:
                one, inside = self._resolved(part, inside, depth)
                found = _joined(found, one)
            found = _joined(found, rest)
        return found, inside

    def _at(self, reference: str) -> dict[str, Any]:
        """Return what a reference inside the schema points to; nothing for any other."""
        if not reference.startswith("#"):
            return {}
        found = self.root
        for step in reference.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = found[int(name)] if name.isdecimal() and len(name) < 6 and int(name) < len(found) else None
            else:
                found = as_object(found).get(name)
        return as_object(found)

    def _branch(self, branches: Sequence[Any], inside: frozenset[str]) -> dict[str, Any]:
        """Choose a branch: the first that neither is null nor leads back to what is being made."""
        read = [as_object(branch) for branch in branches]

        def rank(branch: Mapping[str, Any]) -> int:
            return 2 if self._leads_back(branch, inside) else 1 if branch.get("type") == "null" else 0

        return min(read, key=rank)

    def _is_told(self, schema: Any, inside: frozenset[str]) -> bool:
        """Whether a member that may be left out is not: it has no plain default, and does not lead back."""
        read = as_object(schema)
        if "default" in read and not isinstance(read["default"], list | dict):
            return False
        branches = [as_object(each) for key in ("anyOf", "oneOf") for each in as_list(read.get(key))] or [read]
        return not any(self._leads_back(branch, inside) for branch in branches)

    def _leads_back(self, schema: Mapping[str, Any], inside: frozenset[str]) -> bool:
        if schema.get("$ref") in inside:
            return True
        items = schema.get("items")
        return isinstance(items, dict) and items.get("$ref") in inside and bool(schema.get("minItems"))

    def _object(self, schema: Mapping[str, Any], path: str, inside: frozenset[str], depth: int) -> dict[str, Any]:
        properties = as_object(schema.get("properties"))
        required = dict.fromkeys(name for name in as_list(schema.get("required")) if isinstance(name, str))
        wanted = {name for name, each in properties.items() if self.whole and self._is_told(each, inside)}
        names = [name for name in properties if name in required or name in wanted]
        names += [name for name in required if name not in properties]
        least = _count(schema.get("minProperties"), 0)
        names += [name for name in properties if name not in names][: max(0, least - len(names))]
        names += [f"key_{number}" for number in range(len(names) + 1, min(least, MOST_ITEMS) + 1)]
        other = schema.get("additionalProperties")
        return {name: self.value(properties.get(name, other), f"{path}.{name}", inside, depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], path: str, inside: frozenset[str], depth: int) -> list[Any]:
        leading, items = as_list(schema.get("prefixItems")), schema.get("items")
        if isinstance(items, list):  # as drafts before 2020-12 write it
            leading, items = items, schema.get("additionalItems")
        least, most = _count(schema.get("minItems"), 0), _count(schema.get("maxItems"), MOST_ITEMS)
        usual = len(leading) or USUAL_ITEMS
        if not as_object(items) or self._leads_back({"items": items, "minItems": 1}, inside):
            usual = len(leading)  # nothing is known of others, or they would go on for ever
        wanted = max(least, min(usual, most))
        made: list[Any] = []
        seen: set[bytes] = set()
        for number in range(min(4 * wanted + 16, 4 * MOST_ITEMS)):
            if len(made) >= min(wanted, MOST_ITEMS):
                break
            each = leading[number] if number < len(leading) else items
            one = self.value(each, f"{path}.{number}", inside, depth + 1)
            if schema.get("uniqueItems") is True:
                known = orjson.dumps(one, option=orjson.OPT_SORT_KEYS)
                if known in seen:
                    continue
                seen.add(known)
            made.append(one)
        return made

    def _text(self, schema: Mapping[str, Any]) -> str:
        least = min(_count(schema.get("minLength"), 0), LONGEST_TEXT)
        most = min(_count(schema.get("maxLength"), LONGEST_TEXT), LONGEST_TEXT)
        pattern, form = schema.get("pattern"), schema.get("format")
        pattern = pattern if isinstance(pattern, str) and len(pattern) <= LONGEST_PATTERN else None
        known = _FORMATS.get(form) if isinstance(form, str) else None
        if known is not None and not (pattern is not None and refuses(pattern, known)):
            return known
        if pattern is not None and (found := text_for(pattern, least, most)) is not None:
            return found
        texts = self.read.names or self.read.sentences
        number, turn = self.texts % len(texts), self.texts // len(texts)
        self.texts += 1
        text = texts[number] if turn == 0 else f"{texts[number]} {turn + 1}"
        return text[:most].ljust(least, _FILLING)

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> int | float:
        bounds = _bounds(schema, whole=whole)
        said = self.read.numbers
        candidates = [*said[self.numbers % len(said) :], *said] if said else []
        self.numbers += 1
        candidates += [float(self.numbers), *bounds.inside()]
        found = next((number for number in candidates if bounds.take(number)), bounds.nearest())
        return int(found) if found.is_integer() and abs(found) < 2**53 else found

    def _draw(self, path: str) -> int:
        return int.from_bytes(hashlib.blake2b(self.seed + path.encode(), digest_size=4).digest())


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The numbers that a schema takes."""

    least: float
    most: float
    beyond_least: bool
    """Whether the least itself is no longer taken; so for the most."""
    below_most: bool
    step: Decimal | None

    def take(self, number: float) -> bool:
        if number < self.least or (self.beyond_least and number == self.least):
            return False
        if number > self.most or (self.below_most and number == self.most):
            return False
        return self.step is None or Decimal(str(number)) % self.step == 0

    def inside(self) -> list[float]:
        """List numbers at the ends and in the middle."""
        least, most = (min(max(end, -_FARTHEST), _FARTHEST) for end in (self.least, self.most))
        if self.step is None:
            return [least, least + 1, most, most - 1, (least + most) / 2]
        start = (Decimal(str(least)) / self.step).to_integral_value("ROUND_CEILING")
        return [float(self.step * (start + more)) for more in range(3)]

    def nearest(self) -> float:
        return self.least if math.isfinite(self.least) else self.most if math.isfinite(self.most) else 1.0


def _bounds(schema: Mapping[str, Any], *, whole: bool) -> _Bounds:
    least, beyond = _lower(schema.get("minimum"), schema.get("exclusiveMinimum"))
    most, below = _lower(_negated(schema.get("maximum")), _negated(schema.get("exclusiveMaximum")))
    step = schema.get("multipleOf")
    try:
        steps = Decimal(str(step)) if _finite(step) is not None else None
    except InvalidOperation:
        steps = None
    steps = steps if steps is not None and steps > 0 and 1e-9 <= float(steps) <= _FARTHEST else None
    if whole:
        steps = Decimal(1 if steps is None else Fraction(steps).numerator)
    return _Bounds(least, -most, beyond, below, steps)


def _lower(least: Any, beyond: Any) -> tuple[float, bool]:
    """Read a lower bound; `beyond` is a number of its own, or says that the other is not taken (drafts up to 4)."""
    at, after = _finite(least), _finite(beyond)
    if after is not None and (at is None or after >= at):
        return after, True
    return (-math.inf if at is None else at), beyond is True


def _negated(number: Any) -> Any:
    found = _finite(number)
    return number if found is None else -found


def _finite(number: Any) -> float | None:
    if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
        return None
    return float(number)


def _count(number: Any, otherwise: int) -> int:
    found = _finite(number)
    return otherwise if found is None or found < 0 else int(min(found, 1e9))


def _type_of(schema: Mapping[str, Any]) -> str | None:
    named = schema.get("type")
    if isinstance(named, list):
        named = next((one for one in named if one != "null"), "null" if named else None)
    if isinstance(named, str):
        return named
    return next((kind for kind, keys in _KINDS if any(key in schema for key in keys)), None)


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Take two schemas as one: what either requires, with the members of both."""
    joined = {**one, **other}
    for key in ("properties", "required"):
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict):
            joined[key] = {**one[key], **other[key]}
        if isinstance(one.get(key), list) and isinstance(other.get(key), list):
            joined[key] = [*one[key], *other[key]]
    return joined

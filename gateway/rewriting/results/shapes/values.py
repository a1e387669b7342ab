"""JSON said in fewer tokens: no white space, arrays of like objects as a header and rows, encoded text as it reads.

The output is JSON but for these forms, each of which can be read back (tests/test_crush.py does):

    [{id,price,size{w,h}}             an array of objects: the header names the members, nested ones in braces;
    "a",1.10,3,4                      each line is one object, a cell left empty is a member that is not there
    "b",2,5,6]
                                      JSON lines, one object each, are said in the same way;
    {*:{price,stock}                  an object of like objects: `*` is the key, which begins each line
    "p1":9.5,3
    "p2":7,0}
    {*=id:{price,stock}               the same, where every object repeats its key as its member `id`
    {id,unit="kg",price}              a member that is the same on every line is said once
    {"a":1,null:b,c}                  members that are null, named at the end
    {"a":{…},"b":(same as first a)}   a member that was written before
    '{"a":1}'                         a string that held JSON
    \"\"\"first line …\"\"\"                a string of several lines

Numbers keep their spelling: 1.10 stays 1.10, and thirty digits stay thirty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any

MOST_NESTED = 64
"""Levels of a value that is taken apart; what is nested deeper stays as it came."""
_MOST_COLUMNS = 64
_LEAST_FILLED = 0.6
"""Share of the cells of a table that must be there; below, objects are unlike each other."""
_LEAST_WORDS = 4
"""Words on a line of a table without which its values would stand alone."""
_LEAST_TEXT = 3
"""Line breaks that make a string worth its own quotes."""

_LEAST_SAID_TWICE = 60
"""Characters of a member that is not written a second time."""
_LEAST_OBJECTS = 3
"""Lines that are objects which are read as an array of them."""
_LONG = 300
"""Characters of an array or a text whose items or lines stand on lines of their own, where they are spread."""
_LEAST_CUT = 1000
"""Characters of a string that is taken for JSON which ends too early."""

_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.#/ -]*\Z")
_WORD = re.compile(r"[A-Za-z_]{3,}")
_NOT_TEXT = re.compile("[\ud800-\udfff]")
_HALF_ESCAPE = re.compile(r"\\(?:u[\da-fA-F]{0,3})?\Z")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)


class NotAValue(ValueError):
    """The text is no JSON object or array, or one that cannot be said anew without loss."""


class Number(str):
    """A number as it was spelled."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A member of the objects of a table; `inner` where those are objects themselves."""

    name: str
    inner: tuple[Column, ...] = ()
    constant: str | None = None


# ---------------------------------------------------------------- reading


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise NotAValue("an object holds a key twice")
    return out


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=Number, strict=False
)


def read_literal(text: str) -> Any:
    """Read an object or array, numbers as they are spelled. Raises NotAValue."""
    if text[:1] not in ("{", "["):
        raise NotAValue("no object or array")
    try:
        return _DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotAValue(str(error)) from None


def read_lines(text: str) -> list[Any]:
    """Read JSON lines, one object each, as an array. Raises NotAValue."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < _LEAST_OBJECTS or not all(line[0] == "{" and line.rstrip()[-1] == "}" for line in lines):
        raise NotAValue("no objects on lines")
    value = read_literal("[" + ",".join(lines) + "]")
    if len(value) != len(lines):
        raise NotAValue("not one object a line")
    return value  # type: ignore[no-any-return]


def read_at(text: str, at: int) -> tuple[Any, int]:
    """Read the object or array that begins at a place; return it, and where it ends. Raises NotAValue."""
    try:
        return _DECODER.raw_decode(text, at)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotAValue(str(error)) from None


def read_cut(text: str) -> tuple[Any, str]:
    """Read an object or array that ends too early: the value up to where it is whole, and the text after it.

    A string that the end cuts off counts as whole, so that what it says is there.
    """
    if text[:1] not in ("{", "["):
        raise NotAValue("no object or array")
    last, open_ = 0, [""]
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case "{":
                open_.append("}")
            case "[":
                open_.append("]")
            case "}" | "]":
                open_.pop()
            case ",":
                last = token.start()
            case _ if token.end() == len(text) and _is_cut_value(text, token.start(), token.end(), open_[-1]):
                return read_literal(_closed_string(text) + "".join(reversed(open_))), ""
        if len(open_) > MOST_NESTED:
            raise NotAValue("nested too deep")
        if len(open_) == 1:
            break
    if not last or len(open_) == 1:
        raise NotAValue("nothing whole in it")
    return read_literal(text[:last] + "".join(reversed(_open_at(text, last)))), text[last:]


def _is_cut_value(text: str, start: int, end: int, within: str) -> bool:
    """Tell whether a string without its end is a value, not a key."""
    token = text[start:end]
    if len(token) > 1 and token.endswith('"') and (len(token) - len(token[:-1].rstrip("\\")) - 1) % 2 == 0:
        return False
    return within == "]" or text[:start].rstrip()[-1:] == ":"


def _closed_string(text: str) -> str:
    """End the string that the text breaks off in, before an escape that is not whole."""
    cut = _HALF_ESCAPE.search(text, max(0, len(text) - 6))
    if cut is not None and (len(text[: cut.start()]) - len(text[: cut.start()].rstrip("\\"))) % 2 == 0:
        text = text[: cut.start()]
    return text + '"'


def _open_at(text: str, end: int) -> tuple[str, ...]:
    """List the closing brackets that are due at `end`, outermost first."""
    open_: list[str] = []
    for token in _TOKEN.finditer(text, 0, end):
        match text[token.start()]:
            case "{":
                open_.append("}")
            case "[":
                open_.append("]")
            case "}" | "]" if open_:
                open_.pop()
    return tuple(open_)


# ---------------------------------------------------------------- writing


@dataclass(slots=True)
class Writer:
    """Says one value in fewer tokens; `lines` shortens strings of several lines."""

    lines: Callable[[str], str]
    encoded: int = 0
    """The depth of strings in which the value stands."""
    said: dict[str, str] = field(default_factory=dict)
    """Objects and arrays that were written, and the key of each."""
    keys: set[str] = field(default_factory=set)
    spread: bool = False
    """Whether records, rows and lines of text stand on lines of their own, so that each can be chosen by itself."""

    def say(self, value: Any, depth: int = 0) -> str:
        """Write a value. Raises NotAValue where it is nested too deep."""
        kind = type(value)
        if kind is Number:
            return str(value)
        if kind is str:
            return self._string(value)
        if value is None or kind is bool:
            return _scalar(value)
        if depth > MOST_NESTED:
            raise NotAValue("nested too deep")
        return self._object(value, depth) if isinstance(value, dict) else self._array(value, depth)

    def _string(self, value: str) -> str:
        if len(value) < 3:
            return encode_basestring(value)
        if value[0] in "{[" and value[-1] in "}]" and self.encoded < 4:
            try:
                inner = read_literal(value)
            except NotAValue:
                inner = None
            if inner:
                return f"'{self._within().say(inner)}'"
        elif value[0] in "{[" and len(value) > _LEAST_CUT and self.encoded < 4:
            try:
                inner, rest = read_cut(value)
            except NotAValue:
                inner = None
            if inner:
                return f"'{self._within().say(inner)}(cut off){encode_basestring(rest)}'"
        breaks = value.count("\n")
        if (
            breaks >= (1 if self.spread and len(value) > _LONG else _LEAST_TEXT)
            and '"""' not in value
            and value[-1] not in '"\\'
        ):
            said = self.lines(value)
            if '"""' not in said and said[-1:] not in ('"', "\\"):
                return f'"""\n{said}\n"""' if self.spread else f'"""{said}"""'
        return encode_basestring(value)

    def _within(self) -> Writer:
        """Write what a string holds: it may name what stands before the string."""
        return Writer(self.lines, self.encoded + 1, self.said, self.keys, self.spread)

    def _object(self, value: dict[str, Any], depth: int) -> str:
        table = self._keyed(value, depth)
        if table is not None:
            return table
        nulls = [key for key, member in value.items() if member is None]
        if len(nulls) < 2 or not all(map(_PLAIN_NAME.match, nulls)):
            nulls = []
        members = [
            f"{encode_basestring(key)}:{self._member(key, member, depth)}"
            for key, member in value.items()
            if not nulls or member is not None
        ]
        if nulls:
            members.append("null:" + ",".join(nulls))
        return "{" + ",".join(members) + "}"

    def _member(self, key: str, member: Any, depth: int) -> str:
        """Write a member, or name the earlier one that says the same."""
        first = key not in self.keys
        self.keys.add(key)
        said = self.say(member, depth + 1)
        if len(said) < _LEAST_SAID_TWICE or said[0] not in "{['":
            return said
        bare = said[1:-1] if said[0] == "'" else said
        before = self.said.get(bare)
        if before is not None:
            return f"(same as first {before})"
        if first and _PLAIN_NAME.match(key):
            self.said[bare] = key
        return said

    def _array(self, value: list[Any], depth: int) -> str:
        if len(value) > 1 and all(map(_is_object, value)):
            columns = _columns(value)
            if columns is not None and (len(columns) > 1 or all(columns[0].name in item for item in value)):
                columns = _with_constants(columns, value)
                self.keys.update([column.name for column in columns])
                rows = [",".join(self._cells(columns, item, depth)) for item in value]
                return "[" + _header(columns) + "\n" + "\n".join(rows) + self._end + "]"
        items = [self.say(item, depth + 1) for item in value]
        if self.spread and sum(map(len, items)) > _LONG and any(map(_holds, value)):
            return "[\n" + ",\n".join(items) + "\n]"
        return "[" + ",".join(items) + "]"

    @property
    def _end(self) -> str:
        """The text between the last row of a table and its bracket."""
        return "\n" if self.spread else ""

    def _keyed(self, value: dict[str, Any], depth: int) -> str | None:
        items = list(value.values())
        if len(items) < 3 or not all(map(_is_object, items)):
            return None
        columns = _columns(items)
        if columns is None:
            return None
        same = next((c.name for c in columns if not c.inner and _repeats_key(c.name, value)), "")
        if same and _PLAIN_NAME.match(same) and len(columns) > 1:
            columns = tuple([c for c in columns if c.name != same])
        else:
            same = ""
        columns = _with_constants(columns, items)
        self.keys.update([column.name for column in columns])
        rows = [
            f"{encode_basestring(key)}:" + ",".join(self._cells(columns, item, depth)) for key, item in value.items()
        ]
        return "{*" + (f"={same}" if same else "") + ":" + _header(columns) + "\n" + "\n".join(rows) + self._end + "}"

    def _cells(self, columns: Sequence[Column], item: dict[str, Any], depth: int) -> list[str]:
        out: list[str] = []
        for column in columns:
            if column.constant is not None:
                continue
            if column.inner:
                out += self._cells(column.inner, item[column.name], depth + 1)
            else:
                out.append(self.say(item[column.name], depth + 2) if column.name in item else "")
        return out


def sayable(text: str) -> bool:
    """Whether the text can be sent at all: half a surrogate pair cannot."""
    return text.isascii() or _NOT_TEXT.search(text) is None


# ---------------------------------------------------------------- tables


def _columns(items: Sequence[dict[str, Any]], level: int = 0) -> tuple[Column, ...] | None:
    """Find the members that the objects share, in order of appearance; None where they are too unlike."""
    first = items[0].keys()
    filled = len(first) * len(items)
    names = list(first)
    if not all(item.keys() == first for item in items):
        seen: dict[str, None] = {}
        filled = 0
        for item in items:
            filled += len(item)
            seen.update(dict.fromkeys(item))
            if len(seen) > _MOST_COLUMNS:
                return None
        names = list(seen)
    if len(names) > _MOST_COLUMNS or filled < _LEAST_FILLED * len(names) * len(items):
        return None
    return tuple([Column(name, _inner(items, name, level)) for name in names])


def _inner(items: Sequence[dict[str, Any]], name: str, level: int) -> tuple[Column, ...]:
    if level > 3 or type(items[0].get(name)) is not dict:
        return ()
    inside = [item.get(name) for item in items]
    if not all(map(_is_object, inside)):
        return ()
    keys = inside[0].keys()  # type: ignore[union-attr]
    if not all(value.keys() == keys for value in inside):  # type: ignore[union-attr]
        return ()
    return _columns(inside, level + 1) or ()  # type: ignore[arg-type]


def _with_constants(columns: tuple[Column, ...], items: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """Say a member once that is the same in every object, where enough words are left beside each value."""
    if len(items) < 3:
        return columns
    constant, words = {}, 0
    for column in columns:
        value = items[0].get(column.name)
        if not column.inner and _is_scalar(value) and _constant(items, column.name, value):
            constant[column.name] = _scalar(value)
        elif isinstance(value, str) and not isinstance(value, Number):
            words += len(_WORD.findall(value[:80]))
    if words < _LEAST_WORDS or len(constant) == len(columns):
        return columns
    return tuple([Column(c.name, c.inner, constant.get(c.name)) for c in columns])


def _is_object(value: Any) -> bool:
    """Tell whether a value is an object with members."""
    return type(value) is dict and bool(value)


def _holds(value: Any) -> bool:
    """Tell whether a value is an object or array with something in it, or a text."""
    return isinstance(value, dict | list | str) and len(value) > 0 and not isinstance(value, Number)


def _repeats_key(name: str, value: dict[str, Any]) -> bool:
    """Tell whether each object holds its own key as the member of that name."""
    return all(_same(item.get(name), key) for key, item in value.items())


def _constant(items: Sequence[dict[str, Any]], name: str, value: Any) -> bool:
    """Tell whether each object has this value as the member of that name."""
    return all(name in item and _same(item[name], value) for item in items)


def _same(value: Any, other: Any) -> bool:
    """Tell whether two values are one: the number 5 and the text "5" are not."""
    return type(value) is type(other) and bool(value == other)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | Number) or (isinstance(value, str) and len(value) < 80)


def _scalar(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    return "null" if value is None else "true" if value else "false"


def _header(columns: Sequence[Column]) -> str:
    return "{" + ",".join([_column(column) for column in columns]) + "}"


def _column(column: Column) -> str:
    name = column.name if _PLAIN_NAME.match(column.name) else encode_basestring(column.name)
    if column.inner:
        return name + _header(column.inner)
    return name if column.constant is None else f"{name}={column.constant}"

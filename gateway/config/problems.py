"""Problems of files: the fault, its place, and the probable intention. Pydantic's errors become problems here.

Pure: nothing is read and nothing is printed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

    from gateway.config.yaml import YamlDocument

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `str()` is the line shown to the operator."""

    file: Path
    line: int | None
    key_path: KeyPath
    message: str
    suggestion: str | None = None

    @property
    def path(self) -> str:
        """The place inside the file, as `model_list[0].litellm_params.model`."""
        return dotted(self.key_path)

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        told = f"{self.message}; did you mean {self.suggestion!r}?" if self.suggestion else self.message
        return f"{place}: {self.path}: {told}" if self.key_path else f"{place}: {told}"


def dotted(path: KeyPath) -> str:
    """Return `("a", 0, "b")` as `a[0].b`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems once each, sorted by file, line and path."""
    return tuple(
        sorted(dict.fromkeys(problems), key=lambda problem: (str(problem.file), problem.line or 0, problem.path))
    )


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def one_slip_from(word: str, known: Iterable[str]) -> str | None:
    """Return the known word from which `word` differs by one letter added, missing, wrong or swapped."""
    return next((name for name in known if _one_slip(word, name)), None)


def _one_slip(one: str, other: str) -> bool:
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[start:], other[start:]
    swapped = one[:2] == other[:2][::-1] and one[2:] == other[2:]
    return swapped or one[1:] == other[1:] or one[1:] == other or one == other[1:]


def from_validation(
    error: ValidationError, schema: TypeAdapter[Any], document: YamlDocument, data: Any
) -> list[Problem]:
    """Return pydantic's errors about `data` as problems of `document`, each with the place it stands at.

    `data` may differ from the document's own where the environment was read in; a message repeats only the latter.
    """
    details = error.errors(include_url=False)
    about_keys = any(detail["type"] in (*_UNKNOWN, "missing") for detail in details)
    tree = schema.json_schema() if about_keys else {}
    found = []
    for detail in details:
        path = _existing(detail["loc"], data)
        if detail["type"] in _UNKNOWN:
            found.append(_unknown_key(path, document, _known_keys(tree, path[:-1])))
        elif detail["type"] == "missing":
            found += _missing_key(detail["loc"], document, data, _known_keys(tree, detail["loc"][:-1]))
        else:
            found.append(_wrong_value(detail, path, document, data))
    return found


def _existing(loc: Sequence[str | int], data: Any) -> KeyPath:
    """Return `loc` without the steps that pydantic adds for its own types."""
    path: list[str | int] = []
    for step in loc:
        in_list = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if in_list or (isinstance(data, dict) and step in data):
            path.append(step)
            data = data[step]
    return tuple(path)


def _unknown_key(path: KeyPath, document: YamlDocument, known: Sequence[str]) -> Problem:
    suggestion = closest(str(path[-1]), known)
    told = f"unknown key {str(path[-1])!r}"
    if suggestion is None and known:
        told += f"; known here: {', '.join(known)}"
    return document.problem(path, told, suggestion)


def _missing_key(loc: KeyPath, document: YamlDocument, data: Any, known: Sequence[str]) -> list[Problem]:
    """Say that a key is missing, unless a mistyped one is there instead: that one is named, once."""
    parent = _existing(loc[:-1], data)
    around = data
    for step in parent:
        around = around[step]
    wanted = str(loc[-1])
    strangers = [key for key in around if key not in known] if isinstance(around, Mapping) else []
    for key in strangers:
        if closest(key, known) == wanted:
            return [_unknown_key((*parent, key), document, known)]
    return [document.problem((*parent, wanted), f"{wanted!r} is missing")]


def _known_keys(tree: Mapping[str, Any], path: KeyPath) -> list[str]:
    """Return the keys that a JSON Schema knows at `path`."""
    here: Mapping[str, Any] = _resolved(tree, tree)
    for step in path:
        if isinstance(step, int):
            inner = here.get("items", {})
        else:
            inner = here.get("properties", {}).get(step) or here.get("additionalProperties", {})
        here = _resolved(tree, inner if isinstance(inner, Mapping) else {})
    return list(here.get("properties", {}))


def _resolved(tree: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = tree["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
    return node


_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""A key that nobody knows: of a model, and of a dataclass."""
_EXPECTED = {
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "dataclass_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text (a number wants quotes around it)",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
}
_EMPTY = frozenset({"string_too_short", "too_short"})


def _wrong_value(detail: Any, path: KeyPath, document: YamlDocument, data: Any) -> Problem:
    value = _value_at(document.data, path)
    if detail["type"] == "literal_error":
        allowed = [word.strip("'") for word in str(detail["ctx"]["expected"]).replace(" or ", ", ").split(", ")]
        suggestion = closest(value, allowed) if isinstance(value, str) else None
        return document.problem(path, f"{_shown(value, path)} is not one of {', '.join(allowed)}", suggestion)
    if detail["type"] in _EMPTY:
        return document.problem(path, "must not be empty")
    if detail["type"] == "value_error":
        said = str(detail["msg"]).removeprefix("Value error, ")
        return document.problem(path, said if value == _value_at(data, path) else _unread(said, value))
    told = _EXPECTED.get(detail["type"]) or str(detail["msg"]).replace("Input should be", "must be")
    return document.problem(path, f"{told}, not {_shown(value, path)}")


def _unread(told: str, written: Any) -> str:
    """Return a message about a value from the environment without that value: it may be a credential."""
    if told.startswith("is not "):
        return f"{written!r} {told}"
    _, is_not, what = told.partition(" is not ")
    return f"{written!r} is not {what}" if is_not else f"what {written!r} gives cannot be used here"


def _value_at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


def _shown(value: Any, path: KeyPath) -> str:
    """Return a value as a message may show it: short, and never a credential."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if any(part in str(path[-1]).lower() for part in ("key", "secret", "token", "password") if path):
        return "what stands there"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

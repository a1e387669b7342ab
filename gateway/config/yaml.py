"""YAML as plain data, with the line on which every value stands.

Words and numbers are read by the core rules of YAML 1.2, not PyYAML's 1.1: `off` is the word off, `1e-6` is a number,
a date and `12:30` are text. A key written twice is a problem, not a silent overwrite. Nothing here knows any schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway.config.problems import KeyPath, Problem

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"[-+]?[0-9]{1,40}\Z")
"""Bounded: 64 digits are a hash that somebody did not quote, not a number."""
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]{1,20}|[0-9]{1,20}(?:\.[0-9]{0,20})?)(?:[eE][-+]?[0-9]{1,3})?\Z")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
)
_MOST_VALUES = 100_000
"""Aliases multiply; a file that unfolds to more values than this is refused."""
_DEEPEST = 100
"""Levels of lists and mappings in each other; a file with more is refused, before anything recurses into it."""


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """The content of one file. `data` is None if the file could not be read at all; `problems` then says why."""

    file: Path
    data: Any
    lines: dict[KeyPath, int]
    problems: tuple[Problem, ...] = ()

    def line(self, path: KeyPath) -> int | None:
        """Return the line of the value at `path`, else of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def problem(self, path: KeyPath, message: str, suggestion: str | None = None) -> Problem:
        """Return `message` as a problem of the value at `path`."""
        return Problem(self.file, self.line(path), path, message, suggestion)

    def matches(self, *pattern: str) -> Iterator[tuple[KeyPath, Any]]:
        """Yield every (path, value) whose path fits `pattern`, where `*` stands for any key or index."""
        found: list[tuple[KeyPath, Any]] = [((), self.data)]
        for step in pattern:
            inside = [((*path, key), inner) for path, value in found for key, inner in _children(value)]
            found = [(path, value) for path, value in inside if step in ("*", path[-1])]
        yield from found


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def read_yaml(file: Path) -> YamlDocument:
    """Read one file; whatever is wrong with it is in the document's `problems`."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return YamlDocument(file, None, {}, (Problem(file, None, (), "there is no such file"),))
    except OSError as error:
        return YamlDocument(file, None, {}, (Problem(file, None, (), f"cannot be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return YamlDocument(file, None, {}, (Problem(file, None, (), f"is not UTF-8 (byte {error.start})"),))
    return parse_yaml(text, file)


def written(data: Any) -> str:
    """Write plain data as YAML that reads back as the same data."""
    text: str = yaml.dump(data, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Writer(yaml.SafeDumper):
    """PyYAML's writer, with quotes where our reading differs from its own, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    looks_otherwise = text in _WORDS or _INTEGER.match(text) or _NUMBER.match(text)
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style='"' if looks_otherwise else None)


_Writer.add_representer(str, _text)


def reads_as_text(text: str) -> bool:
    """Say whether a word without quotes is read as itself."""
    return bool(parse_yaml(f"- {text}\n", Path()).data == [text])


def parse_yaml(text: str, file: Path) -> YamlDocument:
    """Read YAML text as if it stood in `file`."""
    reading = _Reading(file)
    try:
        _bound_depth(text)
        root = _compose(text)
        data = {} if root is None else reading.value(root, ())
    except _Unfolds as error:
        return YamlDocument(file, None, {}, (Problem(file, error.line, (), error.message),))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return YamlDocument(file, None, {}, (Problem(file, line, (), f"not valid YAML: {_in_words(error, text)}"),))
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        return YamlDocument(file, None, {}, (Problem(file, None, (), f"not valid YAML: {said}"),))
    if root is None:
        return YamlDocument(file, {}, {(): 1})
    return YamlDocument(
        file, {} if data is None and not reading.problems else data, reading.lines, tuple(reading.problems)
    )


_PLAINLY = {
    "did not find expected key": "a line is indented further or less than its neighbours, or lacks a `-` or a quote",
    "did not find expected '-' indicator": "this line belongs to a list but does not begin with `-` like the others",
    "mapping values are not allowed in this context": "a second `:` on a line, or a line indented too far: a value "
    "with a colon in it wants quotes",
    "could not find expected ':'": "a `:` is missing after a key, or this line is indented too little",
    "did not find expected ',' or '}'": "a `,` or the closing `}` is missing on this line or before it",
    "did not find expected ',' or ']'": "a `,` or the closing `]` is missing on this line or before it",
    "did not find expected node content": "a value is missing, or a bracket is not closed",
}
"""Messages of libyaml, and the writer's mistake behind each."""


def _in_words(error: yaml.MarkedYAMLError, text: str) -> str:
    """Say what is wrong in the writer's words, what libyaml says where we know no better."""
    said = error.problem or error.context or "cannot be parsed"
    mark = error.problem_mark
    lines = text.splitlines()
    around = lines[max(0, mark.line - 1) : mark.line + 1] if mark else []
    if any("\t" in line[: len(line) - len(line.lstrip())] for line in around) or "start any token" in said:
        if any("\t" in line for line in around):
            return "a tab where only spaces may indent"
        return f"{said}: a text that begins with a sign wants quotes"
    return f"{_PLAINLY[said]} ({said})" if said in _PLAINLY else said


def _bound_depth(text: str) -> None:
    """Raise `_Unfolds` where lists and mappings stand too deep in each other: libyaml composes them on its stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _Unfolds(event.start_mark.line + 1 if event.start_mark else 1, _TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


_TOO_DEEP = f"lists and mappings in each other, more than {_DEEPEST} levels of them; no key here has so many"


def _compose(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class _Unfolds(Exception):
    """The file is endless, or much larger or deeper than any that is meant."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class _Reading:
    file: Path
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    open_nodes: set[int] = field(default_factory=set)

    def value(self, node: Any, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.count += 1
        if self.count > _MOST_VALUES:
            raise _Unfolds(line, f"unfolds to more than {_MOST_VALUES:,} values")
        if node.tag not in _PLAIN_TAGS:
            self.problems.append(Problem(self.file, line, path, f"tags such as {node.tag!r} are not read here"))
            return None
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self.open_nodes:
            raise _Unfolds(line, "an alias that contains itself")
        if len(self.open_nodes) >= _DEEPEST:
            raise _Unfolds(line, _TOO_DEEP)
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.mapping(node, path)
        finally:
            self.open_nodes.discard(id(node))

    def mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(self.file, line, path, "a key must be a word"))
            elif key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            elif key_node.value in data:
                first = self.lines[(*path, key_node.value)]
                message = f"key {key_node.value!r} is written twice (first on line {first})"
                self.problems.append(Problem(self.file, line, (*path, key_node.value), message))
            else:
                self.lines[(*path, key_node.value)] = line
                data[key_node.value] = self.value(value_node, (*path, key_node.value))
        for other in merged:
            inherited = self.value(other, path)
            if isinstance(inherited, dict):
                data = inherited | data
            else:
                self.problems.append(Problem(self.file, other.start_mark.line + 1, path, "<< takes a mapping"))
        return data


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if _NUMBER.match(text):
        return float(text)
    return text

"""The language of the code, measured: openings of docstrings, owners of names, lengths. Ceilings only fall."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.test_structure import ROOT, functions, shapes, sources, tree, where

OPENINGS = {"What", "Who", "Whose", "Whom", "Which", "Where", "How", "When", "Whatever", "Whoever", "Wherever"}
"""A sentence of a docstring that begins with one of these names nothing until its end is read."""

MOST_OPENINGS = 0.01
"""Share of the sentences of docstrings."""
MOST_OWNERS = 5
"""Public classes and functions of one name in several modules."""
LONGEST_TEST_NAME = 80
LONGEST_FILE = 600
LONGEST_CLASS = 350
LONGEST_FUNCTION = 60
LONGEST_TEST = 100
MODULES_AT_THE_TOP = 12


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions, and those behind fields and constants."""
    for node in ast.walk(tree(path)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def sentences(text: str) -> list[str]:
    """Split a docstring where a sentence ends and another begins."""
    flat = re.sub(r"\s+", " ", text.strip())
    return [part for part in re.split(r"(?<=[.!?:])\s+(?=[A-Z\[`\"'])", flat) if part]


def test_sentences_begin_with_their_subject():
    every = [sentence for path in sources("gateway") for text in docstrings(path) for sentence in sentences(text)]
    free = [sentence for sentence in every if re.split(r"\W", sentence, maxsplit=1)[0] in OPENINGS]
    assert len(free) <= MOST_OPENINGS * len(every), f"{len(free)} of {len(every)}"


def owner(path: Path) -> str:
    """Name the module that owns a name: the modules of one name in the folders of shapes are one, since each shape has
    its own functions for the same.
    """
    named = str(path.relative_to(ROOT))
    return re.sub(rf"^gateway/wire/({'|'.join(shapes())})/", "gateway/wire/SHAPE/", named)


def test_a_public_name_has_one_owner():
    owners = defaultdict(set)
    for path in sources("gateway"):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                owners[node.name].add(owner(path))
    several = {name: sorted(files) for name, files in owners.items() if len(files) > 1}
    assert len(several) <= MOST_OWNERS, (len(several), several)


def test_names_of_tests_can_be_read():
    long = [
        f"{where(path, function)} {function.name}"
        for path in sources("tests")
        for function in functions(path)
        if function.name.startswith("test_") and len(function.name) > LONGEST_TEST_NAME
    ]
    assert long == []


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_classes_and_functions_are_short():
    files = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in sources("gateway")}
    classes: dict[str, int] = {}
    longest: dict[str, int] = {}
    for path in sources("gateway"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                classes[f"{where(path, node)} {node.name}"] = length(node)
        longest |= {f"{where(path, node)} {node.name}": length(node) for node in functions(path)}
    assert {name: lines for name, lines in files.items() if lines > LONGEST_FILE} == {}
    assert {name: lines for name, lines in classes.items() if lines > LONGEST_CLASS} == {}
    tests = {f"{where(path, node)} {node.name}": length(node) for path in sources("tests") for node in functions(path)}
    assert {name: lines for name, lines in longest.items() if lines > LONGEST_FUNCTION} == {}
    assert {name: lines for name, lines in tests.items() if lines > LONGEST_TEST} == {}


def test_few_modules_stand_at_the_top():
    assert len(list((ROOT / "gateway").glob("*.py"))) <= MODULES_AT_THE_TOP


def test_the_map_names_files_that_are_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py)|[a-z_]+/[a-z_/]+)`", page))
    rooms = [ROOT, ROOT / "tests", ROOT / "tests" / "laws"]
    rooms += [ROOT / "gateway" / room for room in ("", "rewriting", "routing")]
    there = {name for name in named for room in rooms if (room / name).exists() or (room / f"{name}.py").exists()}
    assert named - there == set()

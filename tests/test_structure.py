"""What holds for every file of the project: lengths, doors, layers, tests without patches, no host of a registry."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

PATCHES_PER_TEST = 0.03

DOORS = {
    "Stemmer": "gateway/rewriting/language.py",
    "aiohttp": "gateway/routing/upstreams/direct.py",
    "diskcache": "gateway/state/disk.py",
    "duckdb": "gateway/reports/spend.py",
    "litellm": "gateway/routing/upstreams/translated.py",
    "msgspec": "gateway/wire/lexical.py",
    "zstandard": "gateway/wire/packing.py",
    "opentelemetry": "gateway/operators/otel.py",
    "prometheus_client": "gateway/operators/metrics.py",
    "redis": "gateway/state/redis.py",
    "ruamel": "gateway/config/keys_writing.py",
    "tiktoken": "gateway/budget/tokens.py",
}
"""The one module that may import each of these libraries."""

INSTALLED_AS = {"common-expression-language": "cel", "pystemmer": "Stemmer", "pyyaml": "yaml", "ruamel-yaml": "ruamel"}
"""Distributions whose module has another name."""

USED_BY_NAME = {
    "tzdata": "zoneinfo reads it where the machine has no time zones",
}
"""Declared dependencies that no line of ours imports, and who needs them."""

OF_EXTRAS = {"opentelemetry": "otel"}
"""Modules that an extra installs, imported where the configuration asks for them."""

# A broad `except` is for the outermost handler, and for clean-up that raises again.
OUTERMOST = {
    *("gateway/app.py", "gateway/serving/passage.py", "gateway/state/store.py"),
}

PLACES_IN_BYTES = {"Span", "array_spans", "cuts", "object_spans", "splice"}
"""The part of `wire/lexical.py` that is about places in bytes; the other reads JSON."""

NAMES_OF_CHAT = {"ChatPlaces", "ChatRequest", "marks_tools", "message_spans", "tools_end"}
"""Names of the values in which chat keeps such places."""

MEMBERS = {"cache_control", "prompt_cache_breakpoint", "prompt_cache_key", "tool_call_id", "tool_calls", "tool_choice"}
"""Members of requests and of their messages."""

SPEAK_TO_PROVIDERS = ("providers/", "routing/upstreams/", "routing/deployment.py", "demo/shapes.py")
"""Rooms that know what single providers take, and the client of the demo, which writes each shape as a program does."""

NAMES_OF_RULES = {"config/prompt_cache_rules.py", "prompt_cache/rules.py"}
"""Modules in which `cache_control` is the name of a rule in the configuration. Only ever take away from it."""

# In pieces, so that this file does not hold what it looks for.
REGISTRY_HOSTS = re.compile(
    "|".join(["py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.", r"deb\." + "debian", "crates" + r"\.io"])
)
MACHINE_PATHS = re.compile("|".join(["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/[a-z]+/", "/op" + "t/(?:pypi|wheels)"]))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def where(path: Path, node: ast.stmt | ast.expr | ast.excepthandler) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def imported(path: Path) -> set[str]:
    """Return the modules that a file imports: inside functions, for types only and by `import_module` too."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {str(name.value) for name in node.args if isinstance(name, ast.Constant)}
    return found


def foreign(path: Path) -> set[str]:
    """Return the top-level packages that a file imports and that are neither ours nor Python's."""
    tops = {name.partition(".")[0] for name in imported(path)}
    return tops - sys.stdlib_module_names - {"gateway", "tests"}


@cache
def tracked() -> list[Path]:
    """Return the files of the project as git sees them: tracked ones, and new ones that are not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for line in listing.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_nothing_is_global():
    found = [
        where(path, node)
        for path in sources("gateway") + sources("tests")
        for node in nodes(path)
        if isinstance(node, ast.Global)
    ]
    assert found == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = (
        [None] if handler.type is None else handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    )
    return any(
        kind is None or ast.unparse(kind).removeprefix("builtins.") in {"Exception", "BaseException"} for kind in caught
    )


def raises_again(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise)


def test_a_broad_except_raises_again_or_is_the_one_outermost_handler_of_its_file():
    swallowed: dict[str, list[str]] = defaultdict(list)
    for path in sources("gateway"):
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler) and is_broad(node) and not raises_again(node):
                swallowed[str(path.relative_to(ROOT))].append(where(path, node))
    assert {file: places for file, places in swallowed.items() if file not in OUTERMOST or len(places) > 1} == {}


def test_each_foreign_library_has_one_door():
    users = defaultdict(set)
    for path in sources("gateway"):
        for library in foreign(path) & DOORS.keys():
            users[library].add(str(path.relative_to(ROOT)))
    assert {library: files for library, files in users.items() if files != {DOORS[library]}} == {}


def outside_the_wire() -> Iterator[tuple[str, Path]]:
    """Yield the modules of rooms that know requests as values alone, by their place in `gateway`."""
    room = ROOT / "gateway"
    yield from ((str(path.relative_to(room)), path) for path in sources("gateway") if room / "wire" not in path.parents)


def shapes() -> set[str]:
    """List the folders of `wire/` that are shapes."""
    return {path.parent.name for path in (ROOT / "gateway" / "wire").glob("*/shape.py")}


def is_of_a_shape(module: str) -> bool:
    _, *within = module.removeprefix("gateway.").split(".")
    if not module.startswith("gateway.wire.") or not within:
        return False
    return within[0] in shapes() or (within[0] == "lexical" and within[-1] in PLACES_IN_BYTES)


def looks_inside(path: Path, node: ast.AST) -> bool:
    """Tell whether a node looks into the bytes of a request, or into what its shape keeps for itself."""
    match node:
        case ast.Attribute(attr="original", value=of):
            return ast.unparse(of).split(".")[-1] == "request"
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in NAMES_OF_CHAT
        case ast.Subscript(value=ast.Attribute(attr="body") | ast.Name(id="body")):
            return "gateway.request.Request" in imported(path)
    return False


def test_no_module_outside_the_wire_knows_a_shape_or_a_byte_offset():
    assert "chat" in shapes()
    found = [
        f"{name}: {module}" for name, path in outside_the_wire() for module in imported(path) if is_of_a_shape(module)
    ]
    found += [
        where(path, node)
        for _, path in outside_the_wire()
        for node in nodes(path)
        if isinstance(node, ast.expr) and looks_inside(path, node)
    ]
    assert found == []


def test_members_of_requests_are_named_in_the_wire_alone():
    found = {
        name
        for name, path in outside_the_wire()
        for node in nodes(path)
        if isinstance(node, ast.Constant) and node.value in MEMBERS and not name.startswith(SPEAK_TO_PROVIDERS)
    }
    assert found == NAMES_OF_RULES


def test_tables_are_made_in_one_module():
    makers = [str(path.relative_to(ROOT)) for path in sources("gateway") if "rich.table" in imported(path)]
    assert makers == ["gateway/reports/tables.py"]


def test_the_doors_that_ruff_guards_are_the_same():
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    banned = lint["flake8-tidy-imports"]["banned-api"]
    assert {library for library, rule in banned.items() if DOORS[library] in rule["msg"]} == DOORS.keys()
    opened = {file for file, ignored in lint["per-file-ignores"].items() if "TID251" in ignored and file != "tests/**"}
    assert opened == set(DOORS.values())


def declared(requirements: list[str]) -> set[str]:
    names = {re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower() for requirement in requirements}
    return {INSTALLED_AS.get(name, name).replace("-", "_") for name in names}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    project = PYPROJECT["project"]
    needed = set().union(*map(foreign, sources("gateway")))
    assert needed - OF_EXTRAS.keys() == declared(project["dependencies"]) - USED_BY_NAME.keys()
    for module, extra in OF_EXTRAS.items():
        assert any(one.startswith(module) for one in project["optional-dependencies"][extra])


def test_every_module_has_its_layer():
    contract = PYPROJECT["tool"]["importlinter"]["contracts"][0]
    layered = {name.strip(" ()") for layer in contract["layers"] for name in re.split(r"[|:]", layer)}
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sources("gateway")
    }
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in sources("gateway") if path.name == "__init__.py"
    }
    unplaced = [
        module
        for module in sorted(modules - packages)
        if not any(module == layer or module.startswith(f"{layer}.") for layer in layered)
    ]
    assert unplaced == []


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in sources("gateway")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_no_module_has_a_name_that_says_nothing():
    empty = {"utils", "util", "helpers", "common", "manager", "base", "core", "misc"}
    assert [str(path) for path in sources("gateway") if {path.stem, path.parent.name} & empty] == []


def test_every_module_begins_with_its_purpose():
    assert [str(path) for path in sources("gateway") if tree(path).body and not ast.get_docstring(tree(path))] == []


def test_tests_hardly_ever_patch():
    tests = patches = 0
    for path in sources("tests"):
        tests += sum(function.name.startswith("test_") for function in functions(path))
        names = Counter(node.attr for node in nodes(path) if isinstance(node, ast.Attribute))
        patches += (
            names["setattr"]
            + names["setitem"]
            + sum(names[name] for name in ("patch", "MagicMock", "AsyncMock", "Mock"))
        )
        patches += sum(name.startswith(("unittest.mock", "mock", "pytest_mock")) for name in imported(path))
    assert patches <= PATCHES_PER_TEST * tests


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}: {match.group()}"
            for pattern in (REGISTRY_HOSTS, MACHINE_PATHS)
            for match in pattern.finditer(text)
        ]
    assert found == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"])
def test_a_lock_pins_every_package_with_hashes_and_names_no_place(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    packages = re.findall(r"^[A-Za-z0-9][^\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)
    assert packages
    rest = text
    for package in packages:
        assert re.match(r"[A-Za-z0-9._-]+==[^ ]+ ", package)
        rest = rest.replace(package, "", 1)
    assert [line for line in rest.splitlines() if line and not line.startswith("    #")] == []
    assert re.findall(r"https?:|file:|--(?:extra-)?index|--find-links", text) == []


def test_the_development_lock_holds_the_versions_that_are_shipped():
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))

    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()
    assert pins("requirements-build.lock").items() <= pins("requirements-dev.lock").items()


def test_the_locks_hold_what_the_project_asks_for():
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {
        re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0] for requirement in PYPROJECT["project"]["dependencies"]
    }
    assert asked - pinned == set()

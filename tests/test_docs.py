"""The examples in README.md and docs/ are true: files load, marked commands run, links lead somewhere.

A code block's info string says what it is: after the language, `run` executes it, `file=NAME` first writes it into the
page's scratch folder, `served` runs it with the demo gateway up, `exit=N` expects that exit code, `needs=PROGRAM`
leaves it out where the program is missing. Blocks of a page run in order, in one folder.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Block:
    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def option(self, name: str) -> str | None:
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), None)

    @property
    def runs(self) -> bool:
        return "run" in self.words


def blocks(page: Path) -> Iterator[Block]:
    source = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(source):
        language, *words = found["info"].split() or [""]
        text = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Block(page, source.count("\n", 0, found.start()) + 1, language, tuple(words), text)


ALL = [block for page in PAGES for block in blocks(page)]
RUNNING = [page for page in PAGES if any(block.runs for block in blocks(page))]


@pytest.mark.parametrize("block", [b for b in ALL if b.language in ("yaml", "yml")], ids=str)
def test_a_yaml_example_loads(block: Block) -> None:
    assert list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", [b for b in ALL if b.language in ("json", "jsonl")], ids=str)
def test_a_json_example_parses_whole_or_line_by_line(block: Block) -> None:
    lines = block.text.splitlines()
    for document in lines if all(line.startswith("{") and line.endswith("}") for line in lines) else [block.text]:
        json.loads(document)


@pytest.mark.parametrize("block", [b for b in ALL if b.language in ("python", "py")], ids=str)
def test_a_python_example_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_to_a_file_leads_to_one(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_well_fenced(page: Path) -> None:
    assert "```" not in _FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `gateway` is this checkout's, whether or not it is installed."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("gateway", "-m gateway "), ("python", "")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "OPENAI_API_KEY": "unused",
        "ANTHROPIC_API_KEY": "unused",
        "GEMINI_API_KEY": "unused",
    }


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.name)
def test_the_marked_examples_of_a_page_run_in_order(page: Path, scratch: Path, environment: dict[str, str]) -> None:
    marked = list(blocks(page))
    server = _demo_gateway(scratch, environment) if any("served" in block.words for block in marked) else None
    try:
        for block in marked:
            _carry_out(block, scratch, environment)
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=_SECONDS)


def _carry_out(block: Block, scratch: Path, environment: dict[str, str]) -> None:
    name = block.option("file")
    if name is not None:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_text(block.text, encoding="utf-8")
    needed = block.option("needs")
    if not block.runs or (needed is not None and shutil.which(needed) is None):
        return
    command = [sys.executable, "-c", block.text] if block.language == "python" else ["sh", "-eu", "-c", block.text]
    done = subprocess.run(
        command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    expected = int(block.option("exit") or 0)
    assert done.returncode == expected, f"{block}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def _demo_gateway(scratch: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start the gateway of `make serve` on a free port, and do what its one line says."""
    server = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--serve", "--port", "0"],
        cwd=scratch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            environment[name] = value
            return server
    raise AssertionError("the demo gateway did not start")

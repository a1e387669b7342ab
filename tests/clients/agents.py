"""Agents of the command line, each with a home of its own: a plain question, and a task of twenty commands."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

QUESTION = "What is the capital of France? Answer in one sentence. Do not use any tool."
SECONDS = 240


@dataclass(frozen=True)
class Setting:
    """The gateway that an agent is pointed at, and the folder that it has for itself."""

    root: str
    key: str
    home: Path


@dataclass(frozen=True)
class Agent:
    """A program, how it is set up, and how it is asked."""

    name: str
    shape: str
    prepare: Callable[[Setting], Mapping[str, str]]
    """Writes its files; returns its environment."""
    command: Callable[[str], Sequence[str]]


def _claude(at: Setting) -> Mapping[str, str]:
    return {
        "ANTHROPIC_BASE_URL": at.root,
        "ANTHROPIC_API_KEY": at.key,
        "ANTHROPIC_MODEL": "claude-sonnet-5",
        "ANTHROPIC_SMALL_FAST_MODEL": "claude-sonnet-5",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }


def _codex(at: Setting) -> Mapping[str, str]:
    folder = at.home / ".codex"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (
        'model = "gpt-5"',
        'model_provider = "gateway"',
        'approval_policy = "never"',
        'sandbox_mode = "danger-full-access"',
        "[model_providers.gateway]",
        'name = "gateway"',
        f'base_url = "{at.root}/v1"',
        'env_key = "GATEWAY_KEY"',
        'wire_api = "responses"',
    )
    (folder / "config.toml").write_text("\n".join(lines), encoding="utf-8")
    return {"GATEWAY_KEY": at.key, "CODEX_HOME": str(folder)}


def _opencode(at: Setting) -> Mapping[str, str]:
    options = {"baseURL": f"{at.root}/v1", "apiKey": at.key}
    models = {"gpt-5": {"name": "gpt-5", "limit": {"context": 400_000, "output": 4096}}}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "gateway", "options": options, "models": models}
    settings = {"autoupdate": False, "share": "disabled", "model": "gateway/gpt-5", "small_model": "gateway/gpt-5"}
    settings |= {"provider": {"gateway": provider}, "permission": {"bash": "allow"}}
    (at.home / "opencode.json").write_text(json.dumps(settings), encoding="utf-8")
    names = ("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH")
    return {**dict.fromkeys(names, "1"), "OPENCODE_CONFIG": str(at.home / "opencode.json")}


def _qwen(at: Setting) -> Mapping[str, str]:
    folder = at.home / ".qwen"
    folder.mkdir(parents=True, exist_ok=True)
    auth = {"security": {"auth": {"selectedType": "openai"}}, "model": {"name": "gpt-5"}}
    (folder / "settings.json").write_text(json.dumps(auth), encoding="utf-8")
    return {"OPENAI_BASE_URL": f"{at.root}/v1", "OPENAI_API_KEY": at.key, "OPENAI_MODEL": "gpt-5"}


AGENTS = (
    Agent(
        "claude-code",
        "messages",
        _claude,
        lambda said: ("claude", "-p", said, "--dangerously-skip-permissions", "--max-turns", "60"),
    ),
    Agent("codex", "responses", _codex, lambda said: ("codex", "exec", "--skip-git-repo-check", said)),
    Agent("opencode", "chat", _opencode, lambda said: ("opencode", "run", "--model", "gateway/gpt-5", said)),
    Agent("qwen-code", "chat", _qwen, lambda said: ("qwen", "--yolo", "-p", said)),
)


def ask(agent: Agent, at: Setting, said: str, path: str) -> tuple[int, str]:
    """Ask an agent once; returns its exit code and all that it printed."""
    at.home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    environment = {**kept, **agent.prepare(at), "HOME": str(at.home), "PATH": path, "CI": "1", "NO_COLOR": "1"}
    try:
        ended = subprocess.run(
            agent.command(said),
            cwd=at.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace")
    return ended.returncode, ended.stdout.decode(errors="replace")

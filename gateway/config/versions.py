"""Two configurations of one program, the running one and the next: their digests, and what needs a restart. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

from gateway.config import Config

_APART: Final = frozenset({"file", "lines", "network", "usual_keys"})
"""Left out of the digest: where the file lies, and what is of the environment and not of the files."""
_RESTART: Final = ("server", "state", "ledger", "memory", "metrics", "otel", "response_cache")
"""Sections that hold for as long as the program runs: what they name is opened at its start."""


def config_digest(config: Config) -> str:
    """Return what tells this configuration from others, the same on every machine: 12 hex digits.

    Comments, order of keys and the folder of the file do not count. Credentials are in it, and nobody can read them.
    """
    said = {one.name: getattr(config, one.name) for one in fields(config) if one.name not in _APART}
    return hashlib.sha256(_canonical(said).encode()).hexdigest()[:12]


def with_running_sections(running: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """Return the new configuration with what the program was started with, and the keys that need a restart."""
    changed = tuple(key for section in _RESTART for key in _changed(section, running, new))
    kept = {section: getattr(running, section) for section in _RESTART}
    return replace(new, **kept), changed


def _changed(section: str, running: Config, new: Config) -> list[str]:
    before, after = getattr(running, section), getattr(new, section)
    if not is_dataclass(before):
        return [section] if before != after else []
    names = (one.name for one in fields(before))
    return [f"{section}.{name}" for name in names if getattr(before, name) != getattr(after, name)]


def _canonical(value: Any) -> str:
    """Write a value down, whatever order its mappings and sets happen to have."""
    if is_dataclass(value) and not isinstance(value, type):
        members = [f"{one.name}={_canonical(getattr(value, one.name))}" for one in fields(value) if one.name != "line"]
        return f"{type(value).__name__}({','.join(members)})"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{key!r}:{_canonical(inner)}" for key, inner in value.items())) + "}"
    if isinstance(value, Path):
        return repr(value.name)
    if isinstance(value, frozenset | set):
        return "{" + ",".join(sorted(map(_canonical, value))) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return repr(value)

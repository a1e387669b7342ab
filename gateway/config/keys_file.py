"""The keys file beside `config.yaml`: read like it, with every mistake and its line. Nothing here writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gateway.config.fields import FROM_FILE
from gateway.config.problems import Problem, from_validation
from gateway.config.settings import KEYS_FILE, KeyEntry
from gateway.config.yaml import YamlDocument, read_yaml


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """The keys of a file."""

    document: YamlDocument | None = None
    """As it is written; None where there is no such file."""
    entries: tuple[KeyEntry, ...] = ()
    problems: tuple[Problem, ...] = ()


def keys_place(document: YamlDocument) -> Path | None:
    """Return the keys file that a configuration names."""
    named = document.data.get("keys_file") if isinstance(document.data, dict) else None
    return document.file.parent / named if isinstance(named, str) and named else None


def load_keys(path: Path | None) -> LoadedKeys:
    """Read the keys of a file; None for a configuration that names none."""
    if path is None:
        return LoadedKeys()
    if not path.exists():
        missing = "there is no such file yet; `gateway keys new` makes it"
        return LoadedKeys(problems=(Problem(path, None, (), missing),))
    document = read_yaml(path)
    if document.data is None or document.problems:
        return LoadedKeys(document, problems=document.problems)
    try:
        return LoadedKeys(document, tuple(KEYS_FILE.validate_python(document.data, context=FROM_FILE).keys))
    except ValidationError as error:
        return LoadedKeys(document, problems=tuple(from_validation(error, KEYS_FILE, document, document.data)))

"""Variables of the environment: those that a configuration names, and those that may be providers' keys.

Pure: the environment is an argument. Values lose the white space around them: a secret that was read from a file ends
in a newline, and no header takes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.config.problems import KeyPath, Problem
from gateway.config.yaml import YamlDocument

ENVIRONMENT: Final = "os.environ/"
"""Before a name: the whole value is that variable's."""

_BRACES: Final = re.compile(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")
"""`${NAME}` and `${NAME:-otherwise}` anywhere in a text; `$${NAME}` is the text `${NAME}`."""


def usual_keys(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return every variable that may be a provider's key, with its value."""
    ends = ("_KEY", "_TOKEN")
    return {name: stripped for name, value in environ.items() if name.endswith(ends) and (stripped := value.strip())}


def read_in(
    value: Any, path: KeyPath, document: YamlDocument, environ: Mapping[str, str], missing: list[Problem]
) -> Any:
    """Return `value` with everything read that it takes from the environment; what is not there goes to `missing`."""
    if isinstance(value, dict):
        return {key: read_in(item, (*path, key), document, environ, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [read_in(item, (*path, i), document, environ, missing) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    if value.startswith(ENVIRONMENT):
        name = value.removeprefix(ENVIRONMENT).strip()
        found = environ.get(name, "").strip()
        if not found:
            missing.append(_missing(name, path, document, environ))
        return found or value
    return _with_braces(value, path, document, environ, missing) if "${" in value else value


def is_read_in(value: str) -> bool:
    """Say whether a text takes anything from the environment, so that its value is not written in the file."""
    return value.startswith(ENVIRONMENT) or any(not match[0].startswith("$$") for match in _BRACES.finditer(value))


def _with_braces(
    text: str, path: KeyPath, document: YamlDocument, environ: Mapping[str, str], missing: list[Problem]
) -> str:
    gone = []

    def found(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        value = environ.get(match[1], "").strip() or match[2]
        if value is None:
            gone.append(_missing(match[1], path, document, environ))
        return match[0] if value is None else value

    out = _BRACES.sub(found, text)
    missing += gone
    return out


def _missing(name: str, path: KeyPath, document: YamlDocument, environ: Mapping[str, str]) -> Problem:
    state = "empty" if name in environ else "not set"
    return document.problem(path, f"environment variable {name} is {state}")

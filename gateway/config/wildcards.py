"""Names with asterisks: the one that covers a requested name, and what its asterisks stand for then. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

LONGEST: Final = 256
"""Characters of a name that is looked up under a pattern; no model's is longer."""

_FILLED: Final = re.compile(r"[A-Za-z0-9_.:@+-]+(?:/[A-Za-z0-9_.:@+-]+)*\Z")
"""Texts that an asterisk may stand for. Some providers put the name into the path of an address: no query, no `..`."""


def is_pattern(name: str) -> bool:
    return "*" in name


def covering(patterns: Iterable[str], name: str) -> str | None:
    """Return the pattern that covers a name most closely: most letters of its own, fewest asterisks, first in order."""
    fitting = [one for one in patterns if filling(one, name) is not None]
    return max(fitting, key=_closeness, default=None)


def filling(pattern: str, name: str) -> tuple[str, ...] | None:
    """Return what the asterisks of a pattern stand for in a name; None where it does not cover the name."""
    if not is_pattern(pattern) or len(name) > LONGEST:
        return None
    found = _compiled(pattern).match(name)
    if found is None:
        return None
    parts = found.groups()
    return parts if all(_FILLED.match(part) and ".." not in part for part in parts) else None


def filled(model: str, parts: tuple[str, ...]) -> str:
    """Put what the asterisks stand for in the place of a model's asterisks, one after the other."""
    for part in parts:
        model = model.replace("*", part, 1)
    return model


def _closeness(pattern: str) -> tuple[int, int]:
    stars = pattern.count("*")
    return len(pattern) - stars, -stars


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, pattern.split("*"))) + r"\Z", re.DOTALL)

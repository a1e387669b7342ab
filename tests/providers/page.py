"""The tables of docs/providers.md, from what the tests hold: `python -m tests.providers.page` writes them anew."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gateway.providers.provider import Provider
from gateway.providers.table import PROVIDERS, REFUSED
from tests.providers.documented import documented

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"


def with_tables(page: str) -> str:
    """Return the page with its tables as they should be; each stands between two comments."""
    for name, table in _TABLES.items():
        written = "\n".join([f"<!-- {name} -->", "", *table(), "", f"<!-- end of {name} -->"])
        pattern = re.escape(f"<!-- {name} -->") + ".*?" + re.escape(f"<!-- end of {name} -->")
        page = re.sub(pattern, written.replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


def _table() -> Iterator[str]:
    yield "| name | how | address | whole | stream | tools | pictures | usage |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sorted(PROVIDERS):
        facts, how = PROVIDERS[name], documented(name)
        marks = ["✓", "✓", "✓" if how.tools else "–", "✓" if how.images else "–", "✓" if how.usage else "whole"]
        route = f"{facts.route}*" if facts.at_an_address else facts.route
        yield f"| `{name}` | {route} | {_address(facts)} | {' | '.join(marks)} |"


def _address(facts: Provider) -> str:
    if facts.wants:
        return f"yours, as `{facts.hint}`"
    return f"`{facts.home}`" if facts.home else "its own"


def _refused() -> Iterator[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in REFUSED.items():
        by_reason[reason].append(f"`{name}`")
    yield "| names | each … |"
    yield "|---|---|"
    for reason, names in by_reason.items():
        yield f"| {', '.join(sorted(names))} | {reason} |"


_TABLES: Mapping[str, Callable[[], Iterator[str]]] = {"served": _table, "refused": _refused}


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

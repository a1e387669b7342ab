"""The table of docs/which-providers-work.md, written from the outcomes of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tests.contract.running import CHECKOUT
from tests.matrix.asking import SHAPES
from tests.matrix.driver import Outcome
from tests.matrix.features import FEATURES
from tests.matrix.places import LOCAL, ROWS

PAGE = CHECKOUT / "docs" / "which-providers-work.md"
TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)
MARKS = {"works": "yes", "refused": "refused", "failed": "**no**"}
REMARKS = {"ollama": {"usage": "yes, it counts no cached tokens"}}


def table(found: Iterable[Outcome]) -> str:
    """Write the table, and the documentation behind what is refused."""
    by_cell = {(one.cell.row.slug, one.cell.shape, one.cell.feature): one for one in found}
    return "\n".join([*_lines(by_cell), "", *_reasons(list(by_cell.values())), "", *_addresses(), ""])


def _lines(by_cell: dict[tuple[str, str, str], Outcome]) -> Iterator[str]:
    yield f"| provider | asked by | {' | '.join(FEATURES)} |"
    yield "|---" * (2 + len(FEATURES)) + "|"
    for row in ROWS:
        for shape in SHAPES:
            marks = []
            for feature in FEATURES:
                mark = MARKS[by_cell[row.slug, shape, feature].state]
                remark = REMARKS.get(row.slug, {}).get(feature)
                marks.append(remark if remark and mark == "yes" else mark)
            yield f"| {row.name} | {shape} | {' | '.join(marks)} |"


def _reasons(found: Sequence[Outcome]) -> Iterator[str]:
    told = {f"- {one.cell.row.name}, {one.cell.feature}: {one.faults[0]}": 0 for one in found if one.state == "refused"}
    yield from told


def _addresses() -> Iterator[str]:
    yield "| provider | its list entry | is asked at | as |"
    yield "|---|---|---|---|"
    for row in ROWS:
        places = "<br>".join([f"`{place.url.replace(LOCAL, 'http://127.0.0.1')}`" for place in row.places])
        sources = "<br>".join(dict.fromkeys([place.source for place in row.places]))
        yield f"| {row.name} | `{row.params['model']}` | {places} | {sources} |"


def write_table(found: Iterable[Outcome]) -> None:
    """Put the table of a run into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(found), text), encoding="utf-8")

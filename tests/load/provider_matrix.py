"""Ask the whole matrix of providers through a gateway, and write its table into docs/which-providers-work.md.

python -m tests.load.provider_matrix                  # makes an environment of the SDKs once; needs a package index
python -m tests.load.provider_matrix --sdk DIR        # an environment that is there already
python -m tests.load.provider_matrix --only azure,gemini --shape messages --feature tools
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.contract.running import CHECKOUT
from tests.matrix.asking import SHAPES
from tests.matrix.driver import Judge, Outcome, cells, of_forms, outcomes, setting
from tests.matrix.features import FEATURES
from tests.matrix.page import write_table
from tests.matrix.places import FIRST, MORE, ROWS

WORK = CHECKOUT / "var" / "matrix"
SDKS = Path(__file__).parents[1] / "matrix" / "requirements.txt"
LARGEST_SHARE = 0.1
"""Of the cells behind the first seven providers that may be refused."""


def environment(named: str | None) -> Path:
    """Return the Python that has the SDKs; without a name it is made, once."""
    folder = Path(named or WORK / "sdk").absolute()
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(SDKS)], check=True)
    return python


async def _run(arguments: argparse.Namespace) -> list[Outcome]:
    only = set(filter(None, arguments.only.split(",")))
    listed = MORE if arguments.more else ROWS
    rows = [row for row in listed if not only or row.slug in only]
    shapes = [shape for shape in SHAPES if arguments.shape in ("", shape)]
    features = [feature for feature in FEATURES if arguments.feature in ("", feature)]
    python = environment(arguments.sdk)
    with Judge(python) as judge:
        for fault in sorted(set(of_forms(judge, rows))):
            print("the script of", fault)
    with tempfile.TemporaryDirectory() as folder:
        async with setting(Path(folder), rows) as at:
            found = await outcomes(at, cells(rows, shapes, features), python)
            if arguments.log:
                print(at.gateway.program.log)
            if arguments.sent:
                for name, arrivals in at.providers.arrivals.items():
                    for one in arrivals:
                        print(name, one.url, json.dumps(one.body)[:3000])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="comma-separated providers")
    parser.add_argument("--more", action="store_true", help="ask other ways to some of the providers instead")
    parser.add_argument("--shape", default="", choices=("", *SHAPES))
    parser.add_argument("--feature", default="", choices=("", *FEATURES))
    parser.add_argument("--sdk", help="an environment that has the SDKs already")
    parser.add_argument("--log", action="store_true", help="print what the gateway wrote")
    parser.add_argument("--sent", action="store_true", help="print what the providers were sent")
    arguments = parser.parse_args()
    found = asyncio.run(_run(arguments))
    for one in found:
        if one.state != "works":
            print(
                f"{one.state:8}{one.cell.row.slug:18}{one.cell.shape:10} {one.cell.feature:11}",
                *one.faults,
                sep="\n    ",
            )
    by_row = Counter((one.cell.row.name, one.state) for one in found)
    for row in {one.cell.row.slug: one.cell.row for one in found}.values():
        states = [by_row[row.name, state] for state in ("works", "refused", "failed")]
        print(f"{row.name:26} {sum(states):4} cells, {states[0]:4} work, {states[1]:3} refused, {states[2]:3} failed")
    failed = sum(one.state == "failed" for one in found)
    others = [one.state for one in found if one.cell.row in ROWS[FIRST:]]
    share = others.count("refused") / max(1, len(others))
    print(f"{len(found)} cells, {failed} failed; of those behind the first {FIRST} providers {share:.1%} are refused")
    if not arguments.more and len(found) == len(cells()):
        write_table(found)
    return 1 if failed or share > LARGEST_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())

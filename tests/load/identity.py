"""Does a checkout behave as another one does, byte for byte? For changes that are to change nothing.

Both are started as the programs they are, on the same configurations, and are asked the same: recorded conversations at
three budgets, the cases of tests/cases, prompt-cache marking, summaries, warm-ups, refusals, faults of providers, and
the commands that read a ledger. Compared are answers, what reached the provider, the ledger's rows, and what commands
print. Clock, ids, ports, durations and folders are left out (`identity_session.Plain`), and nothing else.

    python -m tests.load.identity --before ../main --after .            # about ten minutes
    python -m tests.load.identity --before ../main --after . --quick
    python -m tests.load.identity --before ../main --after . --wire ../shared/cases/wire

Prints each difference, and exits with 1 where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import CHECKOUT, _data_folder
from tests.load.identity_commands import commands
from tests.load.identity_parts import PACED, PACKED, Asked, Part, conversations
from tests.load.identity_session import Record, read_record, read_text

SIDES = ("before", "after")
MOST_SHOWN = 40
MOST_PACED = 4
"""Gateways of a side that run at once beside the busy one."""
_WIDTH = 160
_AROUND = 60


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.side is not None:
        asyncio.run(_side(asked))
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="identity-run-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        roots = {side: Path(getattr(asked, side)).resolve() for side in SIDES}
        for side, root in roots.items():
            print(f"{side}: {_where(root, folder)}")
        sides = {side: _started(folder / side, root, arguments) for side, root in roots.items()}
        codes = [process.wait() for process in sides.values()]
        if any(codes):
            print("a side did not come to its end")
            return 2
        kinds = json.loads((folder / "before" / "kinds.json").read_text(encoding="utf-8"))
        if asked.only is None or asked.only in "commands":
            kinds["commands"] = commands(roots, folder, quick=asked.quick, wire=asked.wire)
        different = sum(_compared(place) for place in (folder, folder / "commands") if (place / "before").exists())
    took = time.monotonic() - started
    told = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    print(f"{told}: {'all the same' if not different else f'{different} differ'} ({took:.0f} s)")
    return 1 if different else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.load.identity", description=__doc__.partition("\n")[0])
    parser.add_argument("--before", required=True, help="a checkout")
    parser.add_argument("--after", required=True, help="another")
    parser.add_argument("--data", type=Path, default=_data_folder(), help="recorded conversations, else GATEWAY_DATA")
    parser.add_argument("--wire", type=Path, help="a folder of cases of answers that upstreams really give")
    parser.add_argument("--quick", action="store_true", help="two conversations of each set, fewer turns")
    parser.add_argument("--each", type=int, help="so many conversations of each set")
    parser.add_argument("--only", help="only parts whose name holds this")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    return parser


def _where(root: Path, folder: Path) -> str:
    """Insist that it is this checkout's program which is started."""
    code = "import gateway; print(gateway.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if not run.stdout.startswith(str(root)):
        raise SystemExit(f"{root} is no checkout of the gateway: {run.stdout}{run.stderr}")
    return str(root)


def _started(folder: Path, root: Path, arguments: Sequence[str] | None) -> subprocess.Popen[bytes]:
    folder.mkdir()
    told = [*(sys.argv[1:] if arguments is None else arguments), "--side", str(folder), "--after", str(root)]
    return subprocess.Popen([sys.executable, "-m", "tests.load.identity", *told], cwd=CHECKOUT)


async def _side(asked: argparse.Namespace) -> None:
    """Run all parts against one checkout, which `--after` names."""
    root, record = Path(asked.after), Record(asked.side)
    each = asked.each or (2 if asked.quick else 8)
    what = Asked(
        asked.data,
        asked.wire,
        asked.quick,
        each,
        8 if asked.quick else 40,
        asked.side.name == "after",
        asked.side / "kept",
    )

    def wanted(part: Part) -> bool:
        return asked.only is None or asked.only in part.__qualname__

    async def packed() -> None:
        for part in filter(wanted, (conversations, *PACKED)):
            await part(root, record, what)

    at_once = asyncio.Semaphore(MOST_PACED)

    async def paced(part: Part) -> None:
        async with at_once:
            await part(root, record, what)

    await asyncio.gather(packed(), *map(paced, filter(wanted, PACED)))
    record.close()
    (asked.side / "kinds.json").write_text(json.dumps(record.kinds), encoding="utf-8")


# ---------------------------------------------------------------- what differs


def _compared(folder: Path) -> int:
    """Print what differs; return how many places."""
    before, after = (read_record(folder / side) for side in SIDES)
    different = 0
    for place in [*before, *(place for place in after if place not in before)]:
        if place in before and place in after and before[place][0] == after[place][0]:
            continue
        different += 1
        if different > MOST_SHOWN:
            continue
        print(f"\n{place}")
        held = [record.get(place) for record in (before, after)]
        texts = [
            None if one is None else read_text(folder / side, *one[1:]) for side, one in zip(SIDES, held, strict=True)
        ]
        for line in shown(*texts):
            print(f"  {line}")
    if different > MOST_SHOWN:
        print(f"\nand {different - MOST_SHOWN} more")
    return different


def shown(before: str | None, after: str | None) -> Iterator[str]:
    """Show where two texts differ first, with a little of what stands around; a text that is missing is said to be."""
    if before is None or after is None:
        yield f"only {'after' if before is None else 'before'}: {(before or after or '')[:_WIDTH]!r}"
        return
    at = next((at for at, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), None)
    at = min(len(before), len(after)) if at is None else at
    yield f"at character {at:,} of {len(before):,} and {len(after):,}"
    for side, text in zip(SIDES, (before, after), strict=True):
        yield f"{side:6} {text[max(0, at - _AROUND) : at + _WIDTH - _AROUND]!r}"


if __name__ == "__main__":
    sys.exit(main())

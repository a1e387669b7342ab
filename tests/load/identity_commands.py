"""Commands of two checkouts over the same files: a ledger that the run before has left, and cases of this checkout.

Each pair of commands runs at the same time, each on a copy of its own. What they print is written down as the rest is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from tests.conftest import CHECKOUT
from tests.load.identity_session import Plain, Record, environment
from tests.test_cases import CASES, message, read

FIXTURES = CHECKOUT / "tests" / "cases"
REPORTS = (
    "--by team",
    "--by user --format csv",
    "--by policy --format json --utilization --retention --caching --saving",
    "--by policy --utilization --retention --caching --saving",
    "--by model --since 2026-05-01 --until 2026-06-30",
    "--by day --format csv --saving",
)
_SECONDS = 120.0


def commands(roots: Mapping[str, Path], folder: Path, *, quick: bool, wire: Path | None) -> int:
    """Run all commands in copies of one folder; a record for each side lies in `folder/commands` then."""
    filled = folder / "filled"
    shutil.copytree(folder / "before" / "kept" / "conversations", filled) if (
        folder / "before" / "kept"
    ).exists() else (filled.mkdir())
    _lay_out(filled, wire)
    places = {side: folder / "commands" / side for side in roots}
    for place in places.values():
        shutil.copytree(filled, place / "in")
    records = {side: Record(place) for side, place in places.items()}
    number = 0
    for line in _lines(filled, quick=quick):
        number += 1
        running = {side: _started(root, places[side] / "in", line) for side, root in roots.items()}
        for side, process in running.items():
            told, wrong = process.communicate(timeout=_SECONDS)
            said = f"exit {process.returncode}\n{told}\n{wrong}"
            records[side].see(f"gateway {line}", Plain(places[side] / "in")(said))
    for record in records.values():
        record.close()
    return number


def _started(root: Path, folder: Path, line: str) -> subprocess.Popen[str]:
    where, _, rest = line.partition(": ") if line.startswith("in ") else ("", "", line)
    place = folder / where.removeprefix("in ") if where else folder
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *rest.split()],
        cwd=place,
        env={**environment(root, folder), "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _lay_out(folder: Path, wire: Path | None) -> None:
    """Write the files that commands are given."""
    for kind in ("config", "litellm"):
        for path in sorted((FIXTURES / kind).glob("*.txt")):
            for name, text in _sections(path.read_text(encoding="utf-8")):
                file = folder / kind / path.stem / name
                if ".yaml" in name or name.endswith(".txt"):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text, encoding="utf-8")
    shutil.copytree(FIXTURES / "traffic", folder / "traffic")
    for path in CASES:
        case = read(path)
        place = folder / "plans" / path.stem
        (place / "policies").mkdir(parents=True)
        told = {"name": "case", **case["policy"]}
        (place / "policies" / "case.yaml").write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        models = [{"model_name": "demo", "litellm_params": {"model": "demo/gpt-5"}}]
        said = {"model_list": models, "policies": "policies", "default_policy": "case"}
        (place / "config.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
        messages = [message(one) for one in case["request"]["messages"]]
        request = {**case["request"], "model": "demo", "messages": messages}
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
    for path in sorted(wire.glob("*.json")) if wire is not None else ():
        case = json.loads(path.read_text(encoding="utf-8"))
        place = folder / "wire" / path.stem
        place.mkdir(parents=True)
        (place / "config.yaml").write_text(case["config"].replace("UP", "http://127.0.0.1:9"), encoding="utf-8")


def _sections(text: str) -> list[tuple[str, str]]:
    """Part a case file at its lines `-- name --`."""
    parts = re.split(r"(?m)^-- (.+) --\n", text)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _lines(folder: Path, *, quick: bool) -> Iterator[str]:
    """Yield command lines; `in FOLDER: ` before one says where it runs."""
    yield "check --schema policy"
    yield "check --schema config"
    if (folder / "ledger").is_dir():
        yield "check --config config.yaml --no-environment"
        yield from (f"report --config config.yaml {how}" for how in REPORTS)
        for number, id in enumerate(_ids(folder / "ledger")):
            yield f"explain {id} --config config.yaml --format {('table', 'json')[number % 2]}"
    cases = sorted(place.parent for place in folder.glob("*/*/config.yaml"))
    for number, place in enumerate(cases):
        if place.parent.name in ("config", "wire") and (not quick or number % 5 == 0):
            yield f"in {place.relative_to(folder)}: check --config config.yaml --no-environment"
    for number, place in enumerate(sorted((folder / "plans").iterdir())):
        if number % (12 if quick else 3) == 0:
            style = ("text", "json", "table")[number // 3 % 3]
            yield f"in plans/{place.name}: explain --request request.json --config config.yaml --format {style}"
    for number, place in enumerate(sorted((folder / "litellm").iterdir())):
        if not quick or number % 5 == 0:
            yield f"in litellm/{place.name}: import litellm litellm.yaml"
    tried = "--policy tight --policy roomy --window 8000"
    yield f"in traffic: simulate conversations.jsonl --config config.yaml {tried}"


def _ids(ledger: Path) -> list[str]:
    """Choose requests of a ledger: the first that was rewritten, that was refused and that was not changed."""
    chosen: dict[str, str] = {}
    for file in sorted(ledger.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["event"] == "settled":
                chosen.setdefault(f"{row['status']} {row['plan']}", row["id"])
    return list(chosen.values())

"""The ledger's lines stay what they are, byte for byte, and what the command line says of them, those of old too.

`GOLDEN=write pytest tests/test_ledger_lines.py` rewrites what the command line says: read the diff. The lines
themselves are never rewritten: ledgers hold them for years.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.ledger_cases import write_ledger

CASES = Path(__file__).parent / "cases" / "ledger"
FLAGS = ("--utilization", "--retention", "--caching", "--saving")


def ids(folder: Path) -> list[str]:
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    return list(dict.fromkeys(orjson.loads(line)["id"] for line in lines))


def commands(folder: Path) -> Iterator[list[str]]:
    for by in ("user", "team", "key", "model", "policy", "tag", "day"):
        yield ["report", "--by", by]
    for style in ("table", "json"):
        yield ["report", "--by", "policy", *FLAGS, "--format", style]
    for flag in FLAGS:
        yield ["report", "--by", "team", flag, "--format", "csv"]
    for request_id in ids(folder):
        yield ["explain", request_id]
        yield ["explain", request_id, "--format", "json"]


def said(folder: Path) -> str:
    out = []
    for words in commands(folder):
        result = CliRunner().invoke(main, [*words, "--ledger", str(folder)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        out.append(f"$ gateway {' '.join(words)}\n{result.output}")
    return "\n".join(out)


def test_lines_are_what_they_were(tmp_path: Path) -> None:
    write_ledger(tmp_path / "ledger")
    (written,) = (tmp_path / "ledger").glob("*.jsonl")
    kept = CASES / "now" / written.name
    assert written.read_bytes().splitlines() == kept.read_bytes().splitlines()


@pytest.mark.long
@pytest.mark.parametrize("name", ["now", "older"])
def test_the_command_line_says_of_them_what_it_said(name: str) -> None:
    golden = CASES / f"{name}.txt"
    found = said(CASES / name)
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")

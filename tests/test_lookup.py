"""A past request is found by its time, in pieces of bounded size, however large the books are."""

import asyncio
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.money.ledger import lookup, new_id, timestamp
from gateway.money.ledger.lookup import MOST_WAITING, PIECE_BYTES, Lookups, Record, TooManyLookups, find
from gateway.money.row import LedgerRow

DAY = datetime(2026, 1, 31, tzinfo=UTC).timestamp()


def written(folder: Path, rows: int, *, seconds: float = 80_000, name: str = "2026-01-31.jsonl") -> list[str]:
    """Write the books of a day: each request opened at its time, and settled some lines later. Return the ids."""
    ids = [new_id(DAY + seconds * number / rows, number.to_bytes(10, "big")) for number in range(rows)]
    lines = []
    for number, request_id in enumerate(ids):
        at = timestamp(DAY + seconds * number / rows + 0.5)
        lines.append({"event": "opened", "id": request_id, "user": f"u{number}", "pad": "x" * 300, "ts": at})
        if number >= 20:
            lines.append({"event": "settled", "id": ids[number - 20], "status": "answered", "ts": at})
    folder.mkdir(exist_ok=True)
    with (folder / name).open("ab") as file:
        file.writelines(orjson.dumps(line) + b"\n" for line in lines)
    return ids


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("books")
    return folder, written(folder, 20_000)


@pytest.mark.parametrize("number", [0, 1, 19, 20, 5_000, 10_001, 19_979, 19_980, 19_999])
def test_a_request_is_found_wherever_it_stands(books: tuple[Path, list[str]], number: int):
    folder, ids = books
    found = find(folder, ids[number])
    assert found is not None
    assert (found.row.id, found.row.user) == (ids[number], f"u{number}")
    assert found.members["status"] == ("answered" if number < 19_980 else "unsettled")


def test_little_of_the_books_is_read(books: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch):
    folder, ids = books
    read, blocks = [0], lookup._blocks

    def counted(*place: Any) -> Any:
        for block in blocks(*place):
            read[0] += len(block)
            yield block

    monkeypatch.setattr(lookup, "_blocks", counted)
    assert find(folder, ids[15_000]) is not None
    assert read[0] <= 2 * PIECE_BYTES
    assert find(folder, new_id(DAY + 40_000.001, b"\xff" * 10)) is None  # what was never opened is given up
    assert read[0] < 40 * PIECE_BYTES


def test_clocks_that_differ_and_bytes_that_are_no_lines_hide_nothing(tmp_path: Path):
    ids = written(tmp_path, 3_000)
    path = tmp_path / "2026-01-31.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3_000:3_000] = [b"\0" * 700_000, b'{"torn": "', b"\n", b"\xff\xfe" * 1_000 + b"\n"]
    lines[100], lines[110] = lines[110], lines[100]
    path.write_bytes(b"".join(lines))
    for number in (0, 55, 1_400, 1_480, 1_600, 2_999):
        found = find(tmp_path, ids[number])
        assert found is not None, number
        assert found.row.user == f"u{number}"


def test_a_request_of_last_night_is_found_and_one_that_was_refused(tmp_path: Path):
    night = new_id(DAY + 86_399, bytes(10))
    refused = new_id(DAY + 86_398, bytes(10))
    rows = [
        ("2026-01-31.7.jsonl", {"event": "opened", "id": night, "ts": timestamp(DAY + 86_399.5)}),
        ("2026-01-31.jsonl", {"event": "settled", "id": refused, "status": "refused", "ts": timestamp(DAY + 86_398)}),
        ("2026-02-01.7.jsonl", {"event": "settled", "id": night, "status": "failed", "ts": timestamp(DAY + 90_000)}),
    ]
    for name, row in rows:
        (tmp_path / name).write_bytes(orjson.dumps(row) + b"\n")
    assert [found.row.status for one in (night, refused) if (found := find(tmp_path, one))] == ["failed", "refused"]


@pytest.mark.parametrize("seconds", [0.0, 1e11, 2.6e11, (2**48 - 1) / 1000])
def test_a_moment_beyond_reason_is_no_request(tmp_path: Path, seconds: float):
    assert find(tmp_path, new_id(seconds, bytes(10))) is None


# ---------------------------------------------------------------- the server's


async def test_lookups_of_a_key_take_turns_and_do_not_wait_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    at_once, most = [0], [0]

    def slow(_folder: Path, request_id: str) -> Record:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.01)
        at_once[0] -= 1
        return Record(LedgerRow("settled", request_id), None, None, {"thread": threading.current_thread().name})

    monkeypatch.setattr(lookup, "find", slow)
    lookups = Lookups()
    found = await asyncio.gather(*(lookups.find(tmp_path, str(number), "key") for number in range(MOST_WAITING)))
    assert [one.row.id for one in found if one] == [str(number) for number in range(MOST_WAITING)]
    assert most[0] == 1
    assert all(one.members["thread"].startswith("lookup") for one in found if one)
    many = [lookups.find(tmp_path, str(number), "key") for number in range(2 * MOST_WAITING)]
    ends = await asyncio.gather(*many, lookups.find(tmp_path, "of another", "other"), return_exceptions=True)
    assert sum(isinstance(end, TooManyLookups) for end in ends) == MOST_WAITING - 1
    assert isinstance(ends[-1], Record)
    assert ends[-1].row.id == "of another"
    assert (lookups._turns, lookups._waiting) == ({}, {})
    lookups.close()

"""The ledger's schema: what is written reads back, old lines are read, and nothing in a file breaks the reading."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.money.row import (
    AttemptRow,
    ComponentSizes,
    LedgerRow,
    Milliseconds,
    RefusalReason,
    Status,
    duckdb_columns,
)

CASES = sorted((Path(__file__).parent / "cases" / "ledger").glob("*/*.jsonl"))
LINES = [line for file in CASES for line in file.read_bytes().splitlines(keepends=True)]
NOW = [line for line in LINES if b'"ts":"2026' in line]

TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**53)
EDIT = st.tuples(COUNT, st.none() | TEXT, TEXT, COUNT, COUNT)
ROWS = st.builds(
    LedgerRow,
    st.just("settled"),
    TEXT,
    status=st.sampled_from(get_args(Status)),
    user=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    deployment=st.none() | TEXT,
    policy_version=COUNT,
    stream=st.booleans(),
    cost_nanousd=st.none() | COUNT,
    components=st.builds(
        ComponentSizes, st.dictionaries(st.sampled_from(["tools", "input"]), st.tuples(COUNT, COUNT)), st.none()
    ),
    budget=st.none() | COUNT,
    error=st.none() | TEXT,
    ms=st.builds(Milliseconds, st.floats(0, 1e6), st.none() | st.floats(0, 1e6), st.none() | st.floats(0, 1e6)),
    saved_nanousd=st.integers(-(2**53), 2**53),
    refusal=st.none() | st.builds(RefusalReason, TEXT, COUNT, COUNT, st.none() | TEXT),
    tokens_planned=st.none() | COUNT,
    edits=st.lists(EDIT, max_size=2).map(tuple),
    edited=st.none() | st.dictionaries(TEXT, st.tuples(COUNT, COUNT, COUNT, COUNT), max_size=2),
    attempts=st.lists(st.builds(AttemptRow, TEXT, st.none() | COUNT, st.none() | TEXT, st.floats(0, 1e6))).map(tuple),
)


@settings(max_examples=100)
@given(ROWS, TEXT)
def test_what_is_written_reads_back(row: LedgerRow, ts: str) -> None:
    read = LedgerRow.from_json(row.to_json(ts))
    assert read.ts == ts
    assert read.to_json() == row.to_json(ts)
    assert {**vars(read), "ts": ""} == {**vars(LedgerRow.from_json(row.to_json())), "ts": ""}
    assert LedgerRow.from_json(row.to_json()) == row


@pytest.mark.parametrize("line", NOW)
def test_a_line_of_this_version_is_written_as_it_was_read(line: bytes) -> None:
    assert LedgerRow.from_json(line).to_json() == line


def test_lines_of_earlier_versions_are_read_whatever_they_left_out_or_said_besides() -> None:
    old = [LedgerRow.from_json(line) for line in LINES if line not in NOW]
    assert {(row.policy_version, row.kind, row.error) for row in old if row.status == "answered"} == {
        (1, "request", None)
    }
    assert [row.more_edits for row in old if row.more_edits] == [4]
    row = LedgerRow.from_json(b'{"event": "settled", "id": "1", "team": "a", "of_another_time": {}}')
    assert (row.kind, row.policy_version, row.counted, row.components) == ("request", 2, "tokens", ComponentSizes())


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"5", b"null", b"{}", b'{"event": "content", "id": "1"}'])
def test_what_is_no_line_of_a_ledger_is_told(line: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        LedgerRow.from_json(line)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([one.name for one in fields(LedgerRow)])


@settings(max_examples=200)
@given(st.dictionaries(NAMES, ANYTHING, max_size=12), st.sampled_from(["opened", "settled"]))
def test_a_member_of_another_kind_counts_as_absent_and_never_breaks_the_reading(
    members: dict[str, Any], event: str
) -> None:
    row = LedgerRow.from_members({**members, "event": event})
    assert LedgerRow.from_json(row.to_json()).to_json() == row.to_json()
    kinds = {"BIGINT": int, "VARCHAR": str, "BOOLEAN": bool}
    for name, sql in duckdb_columns().items():
        if sql in kinds and (value := getattr(row, name)) is not None:
            assert type(value) is kinds[sql]


def test_a_row_does_not_change() -> None:
    row = LedgerRow("opened", "gw_1")
    with pytest.raises(FrozenInstanceError):
        row.team = "another"  # type: ignore[misc]  # that is the point


def test_the_columns_of_reports_have_the_types_of_their_fields() -> None:
    columns = duckdb_columns()
    assert (columns["cost_nanousd"], columns["tags"], columns["components"]) == ("BIGINT", "VARCHAR[]", "JSON")
    assert columns.keys() <= {one.name for one in fields(LedgerRow)}
    assert orjson.loads(LedgerRow("opened").to_json()).keys() == {
        *("event", "id", "key", "team", "user", "tags", "model", "policy"),
        *("estimate_prompt", "estimate_completion", "estimate_nanousd"),
    }

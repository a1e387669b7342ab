"""The report: what a ledger's lines sum to, whatever state its files are in."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gateway import packaged_data
from gateway.money.prices.table import PriceBook
from gateway.reports.figures import cell
from gateway.reports.spend import By, Report, parse_moment, spend_report
from gateway.reports.tables import report_tables
from gateway.request import Usage
from tests.conftest import examples

DAY = "2026-01-31"


def opened(request_id: str, ts: str = f"{DAY}T12:00:00.000Z", **more: Any) -> dict[str, Any]:
    row = {"event": "opened", "id": request_id, "ts": ts, "key": "bot", "team": "support", "user": "alice", "tags": []}
    return {**row, "model": "gpt-5", "policy": "support@4c1e", "estimate_prompt": 90, "estimate_nanousd": 1_000, **more}


def settled(request_id: str, ts: str = f"{DAY}T12:00:01.000Z", **more: Any) -> dict[str, Any]:
    row = {**opened(request_id, ts), "event": "settled", "status": "answered", "cost_nanousd": 700, "estimated": False}
    del row["estimate_prompt"], row["estimate_nanousd"]
    tokens = {"prompt_tokens": 100, "cached_tokens": 40, "cache_write_tokens": 8, "completion_tokens": 9}
    return {**row, **tokens, "reasoning_tokens": 4, "tokens_before": 200, "tokens_after": 95, **more}


def write(directory: Path, name: str, rows: Iterable[dict[str, Any]], end: bytes = b"") -> None:
    with (directory / name).open("ab") as file:
        file.write(b"".join(orjson.dumps(row) + b"\n" for row in rows) + end)


def by(directory: Path, name: By, **more: Any) -> dict[Any, dict[str, Any]]:
    return {row[name]: row for row in spend_report(directory, name, **more).rows}


def test_each_operation_has_its_sum_and_a_row_without_one_is_a_chat(tmp_path: Path) -> None:
    rows = [
        opened("1"),
        settled("1"),
        settled("2", operation="embeddings", cost_nanousd=5),
        opened("3", operation="rerank"),
    ]
    write(tmp_path, f"{DAY}.jsonl", rows)
    found = by(tmp_path, "operation")
    assert {name: (row["requests"], row["cost_nanousd"]) for name, row in found.items()} == {
        "chat": (1, 700),
        "embeddings": (1, 5),
        "rerank": (1, rows[-1]["estimate_nanousd"]),
    }
    cached = spend_report(tmp_path, "operation", caching=True)
    assert "embeddings" not in {row["operation"] for row in orjson.loads(cached.json())["caching"]["groups"]}


def drawn(shown: Report, width: int) -> str:
    """Return a report as a terminal shows it."""
    console = Console(file=io.StringIO(), width=width)
    for table in report_tables(shown, width):
        console.print(table)
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # it is the StringIO above


def test_a_settled_request_counts_with_all_its_figures(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1")])
    shown = spend_report(tmp_path, "user")
    assert shown.rows == [
        {
            "user": "alice",
            "team": "support",
            "requests": 1,
            "answered": 1,
            "refused": 0,
            "failed": 0,
            "cancelled": 0,
            "unsettled": 0,
            "prompt_tokens": 100,
            "cached_tokens": 40,
            "cache_write_tokens": 8,
            "completion_tokens": 9,
            "reasoning_tokens": 4,
            "tokens_before": 200,
            "tokens_after": 95,
            "cost_nanousd": 700,
            "unsettled_nanousd": 0,
            "estimated": 0,
            "unpriced": 0,
            "would_be_rewritten": 0,
            "would_be_refused": 0,
            "tokens_observed": 0,
            "tokens_planned": 0,
            "cost_usd": "0.0000007",
        }
    ]
    row = {name: value for name, value in shown.rows[0].items() if name not in ("user", "team")}
    assert shown.total == {**row, "duplicates": 0}


def test_a_request_never_settled_is_shown_and_costs_its_estimate(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1"), opened("2"), opened("3", estimate_nanousd=None)])
    total = spend_report(tmp_path).total
    assert (total["requests"], total["unsettled"], total["estimated"], total["unpriced"]) == (3, 2, 2, 1)
    assert (total["cost_nanousd"], total["unsettled_nanousd"]) == (1_700, 1_000)


def test_a_refused_request_needs_no_opened_row(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1", status="refused", cost_nanousd=0, prompt_tokens=None)])
    total = spend_report(tmp_path).total
    assert (total["requests"], total["refused"], total["unsettled"], total["cost_nanousd"]) == (1, 1, 0, 0)


def test_an_unpriced_request_is_shown_as_such_and_not_as_free(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1", cost_nanousd=None, unpriced=True)])
    shown = spend_report(tmp_path)
    assert (shown.total["unpriced"], shown.total["cost_nanousd"]) == (1, 0)
    assert "1 unpriced, not in the cost" in drawn(shown, 160)


def test_a_second_line_of_the_same_kind_is_refused_and_counted(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1"), settled("1", f"{DAY}T13:00:00.000Z", cost_nanousd=9)])
    write(tmp_path, f"{DAY}.copy.jsonl", [opened("1")])
    shown = spend_report(tmp_path)
    assert (shown.total["requests"], shown.total["cost_nanousd"], shown.total["duplicates"]) == (1, 700, 2)
    assert "2 duplicate lines, not counted" in drawn(shown, 160)


@pytest.mark.parametrize(
    "torn",
    [
        b'{"event":"settled","id":"9","cost_nan',
        b'{"event":"opened","id":"caf\xc3',
        b'{"event":"op{"event":"settled","id":"9"}\n',
        b"\n\n[1]\n5\nnull\n",
        b'{"event":"settled","id":"9","ts":"x","cost_nanousd":"much"}\n',
        b"\x00" * 100,
    ],
)
def test_torn_lines_are_passed_over(tmp_path: Path, torn: bytes) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1")], torn)
    write(tmp_path, f"{DAY}.jsonl", [], b"\n")
    write(tmp_path, f"{DAY}.jsonl", [opened("2"), settled("2")], torn)
    total = spend_report(tmp_path).total
    assert (total["requests"], total["cost_nanousd"]) == (2, 1_400)


@pytest.mark.parametrize("name", get_args(By))
def test_an_empty_folder_is_an_empty_report(tmp_path: Path, name: By) -> None:
    for files in ([], [f"{DAY}.jsonl"]):
        for file in files:
            (tmp_path / file).touch()
        shown = spend_report(tmp_path, name, utilization=True)
        assert (shown.rows, shown.utilization) == ([], [])
        assert set(shown.total.values()) == {0, "0"}
        assert shown.csv().count("\n") == 1
        assert drawn(shown, 120) == "no requests between the beginning and now (UTC)\n"


def test_ledgers_of_several_machines_are_one_report(tmp_path: Path) -> None:
    for folder in ("host-1", "host-2/nested"):
        (tmp_path / folder).mkdir(parents=True)
        write(tmp_path / folder, f"{DAY}.{folder[:6]}-7.jsonl", [opened(folder), settled(folder)])
    total = spend_report([tmp_path / "host-1", tmp_path / "host-2"]).total
    assert (total["requests"], total["cost_nanousd"]) == (2, 1400)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no ledger folder"):
        spend_report(tmp_path / "typo")


def test_a_grouping_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be one of user, team, key"):
        spend_report(tmp_path, "colour")  # type: ignore[arg-type]


def test_the_files_of_several_workers_are_one_ledger(tmp_path: Path) -> None:
    for worker in range(3):
        rows = [row for number in range(10) for row in (opened(f"{worker}-{number}"), settled(f"{worker}-{number}"))]
        write(tmp_path, f"{DAY}.{worker}.jsonl", rows)
    (tmp_path / "notes.jsonl").write_text("not a ledger")
    assert spend_report(tmp_path).total["requests"] == 30


def test_each_grouping_reads_its_own_field(tmp_path: Path) -> None:
    other = {"key": "k2", "team": "t2", "model": "m2", "policy": "p2@0000"}
    write(
        tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1"), opened("2", **other), settled("2", **other, user="bob")]
    )
    write(
        tmp_path,
        "2026-02-01.jsonl",
        [opened("3", "2026-02-01T00:00:00.000Z"), settled("3", "2026-02-01T00:00:00.000Z")],
    )
    for name, first, second in (
        ("key", "bot", "k2"),
        ("team", "support", "t2"),
        ("model", "gpt-5", "m2"),
        ("policy", "support@4c1e", "p2@0000"),
        ("user", "alice", "bob"),
        ("day", DAY, "2026-02-01"),
    ):
        counts = {value: row["requests"] for value, row in by(tmp_path, name).items()}  # type: ignore[arg-type]
        assert counts == ({first: 2, second: 1})


def test_the_same_user_name_in_two_teams_is_two_users(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1"), settled("2", team="research"), settled("3", user=None)])
    assert {(row["user"], row["team"]) for row in spend_report(tmp_path, "user").rows} == {
        ("alice", "support"),
        ("alice", "research"),
        (None, "support"),
    }


def test_by_tag_a_request_stands_with_each_of_its_tags_and_once_in_the_total(tmp_path: Path) -> None:
    rows = [
        settled("1", tags=["a", "b", "a"]),
        settled("2", tags=["a"]),
        settled("3", tags=[]),
        settled("4", tags=None),
    ]
    write(tmp_path, f"{DAY}.jsonl", rows)
    shown = spend_report(tmp_path, "tag")
    assert {row["tag"]: row["requests"] for row in shown.rows} == {"a": 2, "b": 1, None: 2}
    assert (shown.total["requests"], shown.total["cost_nanousd"]) == (4, 2_800)
    assert "a request stands in" in drawn(shown, 200)


def test_rows_come_dearest_first_and_days_in_order(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1", user="a", cost_nanousd=1), settled("2", user="b", cost_nanousd=5)])
    write(tmp_path, "2026-02-01.jsonl", [settled("3", "2026-02-01T00:00:00.000Z", user="c", cost_nanousd=9)])
    assert [row["user"] for row in spend_report(tmp_path, "user").rows] == ["c", "b", "a"]
    assert [row["day"] for row in spend_report(tmp_path, "day").rows] == [DAY, "2026-02-01"]


# ---------------------------------------------------------------------------------------------------------------- time


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_request_belongs_to_the_moment_it_was_opened(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1", f"{DAY}T23:59:59.000Z")])
    write(tmp_path, "2026-02-01.jsonl", [settled("1", "2026-02-01T00:00:30.000Z")])
    assert by(tmp_path, "day").keys() == {DAY}
    midnight = moment("2026-02-01")
    before, after = spend_report(tmp_path, until=midnight).total, spend_report(tmp_path, since=midnight).total
    assert (before["requests"], before["unsettled"], before["cost_nanousd"]) == (1, 0, 700)
    assert after["requests"] == 0


def test_since_is_included_and_until_is_not(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled(str(hour), f"{DAY}T{hour:02}:00:00.000Z") for hour in range(24)])
    nine, noon = moment(f"{DAY}T09:00"), moment(f"{DAY}T12:00")
    assert spend_report(tmp_path, since=nine, until=noon).total["requests"] == 3
    local = noon.astimezone(tz=None)
    assert spend_report(tmp_path, since=local).total["requests"] == 12
    assert spend_report(tmp_path, since=noon.replace(tzinfo=None)).total["requests"] == 12


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-01-30", "2026-01-30", "2026-01-31"),
        ("today", "2026-01-31", "2026-02-01"),
        ("yesterday", "2026-01-30", "2026-01-31"),
        ("2026-01-30T09:30", "2026-01-30T09:30", "2026-01-30T09:30"),
        ("2026-01-30T09:30:00+02:00", "2026-01-30T07:30", "2026-01-30T07:30"),
        ("7d", "2026-01-24T12:00", "2026-01-24T12:00"),
        ("36h", "2026-01-30T00:00", "2026-01-30T00:00"),
        ("30m", "2026-01-31T11:30", "2026-01-31T11:30"),
    ],
)
def test_a_moment_may_be_written_in_several_ways(text: str, start: str, end: str) -> None:
    now = moment(f"{DAY}T12:00")
    assert parse_moment(text, now) == moment(start)
    assert parse_moment(text, now, is_end=True) == moment(end)


@pytest.mark.parametrize("text", ["", "yesterday-ish", "2026-13-01", "7", "7w", "999999d"])
def test_what_is_no_moment_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 2026-01-31"):
        parse_moment(text, moment(f"{DAY}T12:00"))


# ------------------------------------------------------------------------------------------------------------- observed


def test_what_policies_that_observe_would_have_done_is_summed(tmp_path: Path) -> None:
    refusal = {"component": "input", "tokens": 9_005, "room": 6_992, "at": "messages[3]"}
    rows = [
        settled("1", plan="observed", tokens_before=10_000, tokens_after=10_000, tokens_planned=7_000),
        settled("2", plan="observed", tokens_before=5_000, tokens_after=5_000, tokens_planned=4_000),
        settled("3", plan="observed"),  # nobody counted
        settled("4", plan="observed", tokens_after=12_000, refusal=refusal),
        settled("5", plan="unchanged"),
        settled("6", plan="refused", status="refused", refusal=refusal, team="lab"),
    ]
    write(tmp_path, f"{DAY}.jsonl", rows)
    found = spend_report(tmp_path, "team")
    names = ("would_be_rewritten", "would_be_refused", "tokens_observed", "tokens_planned")
    told = {row["team"]: tuple(row[name] for name in names) for row in found.rows}
    assert told == {"support": (3, 1, 15_000, 11_000), "lab": (0, 0, 0, 0)}
    (row, _) = csv.DictReader(io.StringIO(found.csv()))
    assert (row["would_be_refused"], row["tokens_planned"]) == ("1", "11000")
    table = drawn(found, 100).partition("What policies that observe would have done, by team")[2]
    assert re.search(r"support +3 +1 +15,000 +11,000", table)
    assert "lab" not in table


def test_where_nothing_was_observed_no_table_says_so(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1", plan="rewritten")])
    assert "observe" not in drawn(spend_report(tmp_path), 100)


# ----------------------------------------------------------------------------------------------------------- retention


def rewritten(request_id: str, removed: int, missed: int, **more: Any) -> dict[str, Any]:
    return settled(request_id, **{"plan": "rewritten", "values_removed": removed, "missed": missed, **more})


def test_retention_sums_what_was_removed_and_missed(tmp_path: Path) -> None:
    rows = [
        rewritten("1", 40, 0),
        rewritten("2", 60, 3),
        rewritten("3", 5, 1, plan="observed", policy="watching@77aa"),
        settled("4", plan="unchanged"),
        settled("5", plan="refused", status="refused", policy="strict@0000"),
        opened("6"),
    ]
    write(tmp_path, f"{DAY}.jsonl", rows)
    shown = by(tmp_path, "policy", retention=True)
    names = ("rewritten", "observed", "values_removed", "missed", "with_misses")
    told = {policy: tuple(row[name] for name in names) for policy, row in shown.items()}
    assert told == {"support@4c1e": (2, 0, 100, 3, 1), "watching@77aa": (0, 1, 5, 1, 1), "strict@0000": (0, 0, 0, 0, 0)}
    total = spend_report(tmp_path, "policy", retention=True).total
    assert tuple(total[name] for name in names) == (2, 1, 105, 4, 2)
    assert "missed" not in spend_report(tmp_path, "policy").total


@pytest.mark.long
def test_retention_can_be_had_in_each_form_and_by_each_grouping(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [rewritten("1", 40, 2), rewritten("2", 1_200, 0)])
    for name in get_args(By):
        shown = spend_report(tmp_path, name, retention=True)
        assert orjson.loads(shown.json())["total"]["values_removed"] == 1_240
        (row,) = csv.DictReader(io.StringIO(shown.csv()))
        assert (row["values_removed"], row["missed"]) == ("1240", "2")
        table = drawn(shown, 80)
        assert f"What rewriting took away, by {name}" in table
        assert "1 (50.0%)" in table
        assert all(len(line) <= 80 for line in table.splitlines())
    assert "What rewriting took away" not in drawn(spend_report(tmp_path), 80)


def test_retention_of_an_old_ledger_or_an_empty_one_is_nothing(tmp_path: Path) -> None:
    assert "values_removed,missed" in spend_report(tmp_path, "team", retention=True).csv()
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1")])
    shown = spend_report(tmp_path, "team", retention=True)
    assert (shown.total["values_removed"], shown.total["missed"]) == (0, 0)
    assert "What rewriting took away" in drawn(shown, 80)


# --------------------------------------------------------------------------------------------------------- utilization


def test_utilization_sets_what_was_sent_against_what_was_granted(tmp_path: Path) -> None:
    rows = [
        settled("1", components={"system": [50, 50], "history": [900, 300], "room": {"system": 100, "history": 400}}),
        settled("2", components={"system": [50, 50], "history": [100, 100], "room": {"system": 100, "history": 600}}),
        settled("3", components=None),
        settled("4", components={"system": [7, 7]}),
        opened("5"),
    ]
    write(tmp_path, f"{DAY}.jsonl", rows)
    used = spend_report(tmp_path, "policy", utilization=True).utilization
    assert used is not None
    history, system = used
    assert {name: history[name] for name in ("policy", "component", "requests", "over", "cut")} == {
        "policy": "support@4c1e",
        "component": "history",
        "requests": 2,
        "over": 1,
        "cut": 1,
    }
    assert (history["tokens_before"], history["tokens_after"], history["room"], history["used"]) == (
        1000,
        400,
        1000,
        0.4,
    )
    assert (system["component"], system["requests"], system["used"], system["used_p95"]) == ("system", 2, 0.5, 0.5)
    assert (system["tokens_before"], system["tokens_after"], system["room"]) == (100, 100, 200)
    assert spend_report(tmp_path, "policy").utilization is None


def test_a_component_without_a_room_beside_others_had_what_it_asked_for(tmp_path: Path) -> None:
    components = {"system": [50, 50], "history": [900, 300], "room": {"history": 400}}
    fits = {"system": [50, 50], "history": [10, 10], "room": {}}
    write(tmp_path, f"{DAY}.jsonl", [settled("1", components=components), settled("2", components=fits)])
    used = spend_report(tmp_path, "team", utilization=True).utilization or []
    rooms = {one["component"]: (one["requests"], one["room"], one["over"]) for one in used}
    assert rooms == {"history": (2, 410, 1), "system": (2, 100, 0)}


def test_a_refusal_counts_as_over_in_what_was_too_big(tmp_path: Path) -> None:
    refusal = {"component": "input", "tokens": 9005, "room": 6992, "at": "messages[3]"}
    components = {"system": [7, 0], "input": [9005, 0]}
    write(tmp_path, f"{DAY}.jsonl", [settled("1", status="refused", components=components, refusal=refusal)])
    (used,) = spend_report(tmp_path, "team", utilization=True).utilization or []
    assert (used["component"], used["requests"], used["over"], used["cut"]) == ("input", 1, 1, 0)
    assert (used["tokens_before"], used["tokens_after"], used["room"]) == (9005, 0, 6992)


def with_rooms(name: str, sizes: dict[str, list[int]], room: dict[str, int], **more: Any) -> dict[str, Any]:
    before, after = (sum(pair[at] for pair in sizes.values()) for at in (0, 1))
    told = {"components": {**sizes, "room": room}, "budget": 1000, "tokens_before": before, "tokens_after": after}
    return settled(name, **{**told, **more})


ROOM = {"system": 100, "documents": 300, "history": 400, "examples": 200}


def test_utilization_counts_what_plainly_fits_too_and_says_that_it_was_estimated(tmp_path: Path) -> None:
    plain = with_rooms("1", {"system": [50, 50], "history": [100, 100]}, ROOM, counted="bytes")
    write(tmp_path, f"{DAY}.jsonl", [plain, with_rooms("2", {"system": [50, 50], "history": [900, 400]}, ROOM)])
    used = {one["component"]: one for one in spend_report(tmp_path, "policy", utilization=True).utilization or []}
    assert list(used) == ["documents", "examples", "history", "system", "overall"]
    assert [used[name]["estimated"] for name in used] == [1, 1, 1, 1, 1]
    assert (used["history"]["used"], used["history"]["cut"], used["history"]["verdict"]) == (0.625, 1, "too small")
    assert (used["documents"]["tokens_before"], used["documents"]["verdict"]) == (0, "never used")
    assert (used["system"]["used"], used["system"]["verdict"]) == (0.5, None)
    assert (used["overall"]["room"], used["overall"]["tokens_before"], used["overall"]["used"]) == (2000, 1100, 0.3)
    assert "counted in bytes" in drawn(spend_report(tmp_path, "policy", utilization=True), 200)


def test_a_share_of_which_little_is_ever_used_is_called_so(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [with_rooms("1", {"history": [40, 40], "documents": [150, 150]}, ROOM)])
    used = spend_report(tmp_path, "team", utilization=True).utilization or []
    verdicts = {one["component"]: one["verdict"] for one in used}
    assert (verdicts["history"], verdicts["documents"], verdicts["overall"]) == ("hardly used", None, None)


def test_the_targets_of_a_policy_are_told_where_rows_are_policies(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [with_rooms("1", {"history": [280, 280], "documents": [150, 150]}, ROOM)])
    targets = {"support": {"history": (0.6, 0.75), "documents": (0.6, 0.75), "overall": (0.1, 0.2)}}
    used = spend_report(tmp_path, "policy", utilization=True, targets=targets).utilization or []
    told = {one["component"]: (one["target"], one["verdict"]) for one in used}
    assert told["history"] == ("60-75%", "on target")
    assert told["documents"] == ("60-75%", "below target")
    assert told["overall"] == ("10-20%", "above target")
    by_team = spend_report(tmp_path, "team", utilization=True, targets=targets).utilization or []
    assert [one["target"] for one in by_team] == [None] * len(by_team)


@pytest.mark.long
def test_utilization_can_be_had_in_each_form_and_by_each_grouping(tmp_path: Path) -> None:
    components = {"history": [900, 300], "odd'name\"": [1, 1], "room": {"history": 0, "odd'name\"": 1}}
    write(tmp_path, f"{DAY}.jsonl", [settled("1", tags=["a"], components=components)])
    for name in get_args(By):
        shown = spend_report(tmp_path, name, utilization=True)
        assert orjson.loads(shown.json())["utilization"][0]["component"] == "history"
        assert "history" in shown.csv()
        assert "Use of the room granted" in drawn(shown, 160)


# ---------------------------------------------------------------------------------------------------------------- forms


def test_the_json_form_has_rows_and_a_total(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1")])
    shown = orjson.loads(spend_report(tmp_path, "team").json())
    assert list(shown) == ["by", "rows", "total"]
    assert shown["rows"][0]["team"] == "support"
    assert shown["total"]["cost_nanousd"] == 700


def test_the_csv_form_has_the_rows_only_and_runs_no_formulas(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1", user="=1+1"), settled("2", user='a,"b"\nc', cost_nanousd=1)])
    read = list(csv.DictReader(io.StringIO(spend_report(tmp_path, "user").csv())))
    assert [row["user"] for row in read] == ["'=1+1", 'a,"b" c']
    assert sum(int(row["cost_nanousd"]) for row in read) == 701


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\n=1+1", "' =1+1"),
        ("\r\n \t@x", "'    @x"),
        ("\u200b=1", "'\u200b=1"),
        ("\x1b[2J-1", "[2J-1"),
        ("\x00+1", "'+1"),
        ("\uff1d1", "'\uff1d1"),
        ("a\u202eb\u2066c\u200fd\x7f\x85e", "abcd e"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
        ("", ""),
        ("\n", " "),
    ],
)
def test_a_cell_of_csv_does_nothing(name: str, shown: str) -> None:
    assert cell(name) == shown


def test_the_table_shows_names_as_they_are_and_nothing_they_could_do(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1", user="[red]x[/red]\x1b[2J"), settled("2", user=None)])
    shown = drawn(spend_report(tmp_path, "user"), 160)
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown
    assert "$0.000001400" in shown


@pytest.mark.parametrize("name", get_args(By))
@pytest.mark.parametrize("width", [50, 60, 80, 100, 160])
def test_a_table_of_any_width_shows_who_and_how_much_whole(tmp_path: Path, name: By, width: int) -> None:
    big: dict[str, Any] = {"prompt_tokens": 123_456_789, "tokens_before": 234_567_890, "tokens_after": 123_456_789}
    big["policy"] = "coding-agent/nightly@43016be8"
    write(tmp_path, f"{DAY}.jsonl", [settled(str(n), cost_nanousd=1_234_567_891, **big) for n in range(9)])
    shown = drawn(spend_report(tmp_path, name), width)
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("$11.111111") == 2, shown
    assert by(tmp_path, name).keys() <= {*shown.split(), None}
    assert ("failed" in shown.splitlines()[1].split()) == (width == 160)
    assert ("left out to fit" in shown) == (width < 160)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_table_names_its_rows_whole_and_cuts_no_figure(tmp_path: Path, width: int) -> None:
    big: dict[str, Any] = {"prompt_tokens": 123_456_789, "cached_tokens": 98_765_432, "policy": "coding-agent@43016be8"}
    big |= {"plan": "rewritten", "values_removed": 1_234_567, "missed": 1_234, "user": "ines.meier@example.com"}
    big |= {
        "miss": "client_changed:3",
        "expected_cached": 99_999_999,
        "lost": 12_345_678,
        "lost_nanousd": 4_321_987_654,
    }
    big |= {"saved_nanousd": 55_123_456_789, "cost_nanousd": 44_987_654_321}
    big["components"] = {"tool_results": [123_456_789, 98_765_432], "room": {"tool_results": 98_765_431}}
    write(tmp_path, f"{DAY}.jsonl", [settled("1", **big)])
    found = spend_report(tmp_path, "user", utilization=True, retention=True, caching=True, saving=True)
    shown = drawn(found, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert [shown.count(name) for name in ("ines.meier@example.com", "coding-agent@43016be8")] == [5, 1]
    for told in ("$44.987654", "80%", "client_changed", "$4.321988", "$55.123457 (55%)", "1 (100.0%)", "tool_results"):
        assert told in shown, shown


def test_an_end_before_the_beginning_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing lies between 2026-02-01 00:00 and 2026-01-31 00:00"):
        spend_report(tmp_path, since=moment("2026-02-01"), until=moment("2026-01-31"))


# ----------------------------------------------------------------------------------------------------------------- docs


def test_the_lines_in_the_documentation_sum_to_what_it_says(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "costs.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith('{"event"')]
    (tmp_path / f"{DAY}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    total = spend_report(tmp_path).total
    assert (total["requests"], total["unsettled"], total["cost_usd"]) == (1, 0, "0.0033475")
    assert f"${total['cost_usd']}" in page
    usage = Usage(prompt=total["prompt_tokens"], cached=total["cached_tokens"], completion=total["completion_tokens"])
    price = PriceBook.read(packaged_data.price_table(), [("openai", "gpt-5")]).price("openai", "gpt-5")
    assert price is not None
    assert price.cost(usage) == total["cost_nanousd"]
    assert price.cost(Usage(2006, 4000)) == orjson.loads(lines[0])["estimate_nanousd"]
    assert all(f"`{column}`" in page for column in total)


# ------------------------------------------------------------------------------------------------------------------ law

NAMES = st.sampled_from(["a", "b", None])
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "key": NAMES,
            "team": NAMES,
            "user": NAMES,
            "model": NAMES,
            "policy": NAMES,
            "tags": st.lists(st.sampled_from("xyz"), max_size=3),
            "minute": st.integers(0, 3 * 1440 - 1),
            "lasts": st.integers(0, 1440),
            "rows": st.sampled_from(["opened", "settled", "both", "twice"]),
            "status": st.sampled_from(["answered", "refused", "failed", "cancelled"]),
            "estimate_nanousd": st.integers(0, 2**40),
            "cost_nanousd": st.integers(0, 2**53),
            "prompt_tokens": st.integers(0, 10**9),
            "worker": st.sampled_from(["", ".1", ".2"]),
        }
    ),
    max_size=12,
)
START = datetime(2026, 1, 30, tzinfo=UTC)
SUMMED = ("requests", "unsettled", "answered", "cost_nanousd", "unsettled_nanousd", "prompt_tokens", "refused")


def _lines(requests: Sequence[dict[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield each row and the file it stands in, in the order in which they would be written."""
    for number, request in enumerate(requests):
        came = START + timedelta(minutes=request["minute"])
        went = came + timedelta(minutes=request["lasts"])
        same = {name: request[name] for name in ("key", "team", "user", "model", "policy", "tags")}
        if request["rows"] != "settled":
            row = opened(str(number), _stamp(came), **same, estimate_nanousd=request["estimate_nanousd"])
            yield f"{came:%Y-%m-%d}{request['worker']}.jsonl", row
        if request["rows"] != "opened":
            figures = {name: request[name] for name in ("status", "cost_nanousd", "prompt_tokens")}
            row = settled(str(number), _stamp(went), **same, **figures)
            for _ in range(2 if request["rows"] == "twice" else 1):
                yield f"{went:%Y-%m-%d}{request['worker']}.jsonl", row


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def _sum(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    total = dict.fromkeys(SUMMED, 0)
    for row in rows:
        for column in SUMMED:
            total[column] += row[column]
    return total


@settings(max_examples=examples(60))  # each writes a ledger and opens a database; the law of conservation tries more
@given(requests=REQUESTS, name=st.sampled_from(get_args(By)))
def test_the_rows_always_sum_to_the_total_and_the_total_to_the_ledger(
    base: Any, requests: list[dict[str, Any]], name: By
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file, row in _lines(requests):
            write(Path(folder), file, [row])
        shown = spend_report(Path(folder), name, base=base)
    unsettled = [request for request in requests if request["rows"] == "opened"]
    others = [request for request in requests if request["rows"] != "opened"]
    estimates = sum(request["estimate_nanousd"] for request in unsettled)
    assert shown.total["requests"] == len(requests)
    assert shown.total["unsettled"] == len(unsettled)
    assert shown.total["unsettled_nanousd"] == estimates
    assert shown.total["cost_nanousd"] == estimates + sum(request["cost_nanousd"] for request in others)
    assert shown.total["duplicates"] == sum(request["rows"] == "twice" for request in requests)
    if name == "tag":
        assert sum(row["requests"] for row in shown.rows) == sum(len({*each["tags"]} or {None}) for each in requests)
    else:
        assert _sum(shown.rows) == _sum([shown.total])


@settings(max_examples=examples(30))  # three reports a time
@given(requests=REQUESTS, split=st.integers(0, 4 * 1440))
def test_two_reports_that_meet_always_sum_to_one_over_both(
    base: Any, requests: list[dict[str, Any]], split: int
) -> None:
    at = START + timedelta(minutes=split)
    with tempfile.TemporaryDirectory() as folder:
        for file, row in _lines(requests):
            write(Path(folder), file, [row])
        before = spend_report(Path(folder), until=at, base=base).total
        after = spend_report(Path(folder), since=at, base=base).total
        whole = spend_report(Path(folder), base=base).total
    assert _sum([before, after]) == _sum([whole])


def test_the_report_reads_while_the_ledger_is_written(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [opened("1"), settled("1"), opened("2")])
    with (tmp_path / f"{DAY}.jsonl").open("ab") as writer:
        writer.write(orjson.dumps(settled("2"))[:100])
        writer.flush()
        os.fsync(writer.fileno())
        assert spend_report(tmp_path).total["unsettled"] == 1
        writer.write(orjson.dumps(settled("2"))[100:] + b"\n")
    assert spend_report(tmp_path).total["unsettled"] == 0

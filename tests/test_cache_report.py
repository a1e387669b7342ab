"""What caches gave and why they gave less, and what was saved: sums over the ledger, in each form."""

from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from gateway.reports.spend import By, spend_report
from tests.test_report import DAY, drawn, opened, settled, write


def missed(request_id: str, cause: str, lost: int, **more: Any) -> dict[str, Any]:
    return settled(request_id, miss=cause, lost=lost, lost_nanousd=900 * lost, **more)


def test_the_share_expected_is_of_the_prompts_whose_rules_are_known(tmp_path: Path) -> None:
    rows = [settled("1", expected_cached=60), missed("2", "first_sight", 0, cached_tokens=0), settled("3", team="b")]
    write(tmp_path, f"{DAY}.jsonl", rows)
    found = spend_report(tmp_path, "team", caching=True).caching
    assert found is not None
    assert found["groups"] == [
        {
            "team": "support",
            "requests": 2,
            "prompt_tokens": 200,
            "cached_tokens": 40,
            "cached_share": 0.2,
            "known_prompt_tokens": 200,
            "expected_tokens": 60,
            "expected_share": 0.3,
            "misses": 1,
            "lost_tokens": 0,
            "lost_nanousd": 0,
        },
        {
            "team": "b",
            "requests": 1,
            "prompt_tokens": 100,
            "cached_tokens": 40,
            "cached_share": 0.4,
            "known_prompt_tokens": 0,
            "expected_tokens": 0,
            "expected_share": None,
            "misses": 0,
            "lost_tokens": 0,
            "lost_nanousd": 0,
        },
    ]


def test_misses_are_summed_by_cause_and_changed_messages_as_one(tmp_path: Path) -> None:
    rows = [missed("1", "client_changed:3", 50), missed("2", "client_changed:8", 30), missed("3", "expired", 10)]
    write(tmp_path, f"{DAY}.jsonl", rows)
    found = spend_report(tmp_path, "policy", caching=True).caching
    assert found is not None
    assert found["misses"] == [
        {"policy": "support@4c1e", "cause": cause, "requests": number, "lost_tokens": lost, "lost_nanousd": 900 * lost}
        for cause, number, lost in (("client_changed", 2, 80), ("expired", 1, 10))
    ]


def test_what_was_saved_is_net_of_summaries_and_warm_ups_and_may_be_negative(tmp_path: Path) -> None:
    rows = [
        settled("1", saved_nanousd=500, plan="rewritten"),
        settled("2", saved_nanousd=-200, plan="rewritten"),
        settled("3", kind="summary", cost_nanousd=1_000),
        settled("4", team="b", kind="request"),
        settled("5", team="b", kind="warm_up", cost_nanousd=30, plan="rewritten"),
        opened("6"),
    ]
    write(tmp_path, f"{DAY}.jsonl", rows)
    saving = spend_report(tmp_path, saving=True).saving
    assert saving is not None
    assert saving["rows"] == [
        {
            "team": "b",
            "policy": "support@4c1e",
            "requests": 1,
            "rewritten": 0,
            "dearer": 0,
            "unknown": 0,
            "cost_nanousd": 730,
            "gross_nanousd": 0,
            "summaries_nanousd": 0,
            "warm_ups_nanousd": 30,
            "saved_nanousd": -30,
        },
        {
            "team": "support",
            "policy": "support@4c1e",
            "requests": 2,
            "rewritten": 2,
            "dearer": 1,
            "unknown": 0,
            "cost_nanousd": 2_400,
            "gross_nanousd": 300,
            "summaries_nanousd": 1_000,
            "warm_ups_nanousd": 0,
            "saved_nanousd": -700,
        },
    ]
    assert saving["total"]["saved_nanousd"] == sum(row["saved_nanousd"] for row in saving["rows"])


def test_a_saving_that_nobody_knows_is_told_as_unknown_and_not_as_nothing(tmp_path: Path) -> None:
    unknown: dict[str, Any] = {"saved_unknown": True, "plan": "rewritten"}
    rows = [settled("1", **unknown), settled("2", team="b", **unknown), settled("3", team="b", saved_nanousd=500_000)]
    write(tmp_path, f"{DAY}.jsonl", rows)
    found = spend_report(tmp_path, saving=True)
    assert found.saving is not None
    assert [(row["unknown"], row["saved_nanousd"]) for row in found.saving["rows"]] == [(1, 500_000), (1, 0)]
    table = drawn(found, 140)
    support = next(line for line in table.splitlines() if "support " in line and "unknown" in line)
    assert support.split()[-1] == "unknown"
    assert "+ unknown" in table
    assert "2 changed requests" in " ".join(table.split())


@pytest.mark.parametrize("name", get_args(By))
def test_both_can_be_had_in_each_form_and_by_each_grouping(tmp_path: Path, name: By) -> None:
    write(tmp_path, f"{DAY}.jsonl", [missed("1", "our_fold", 40, saved_nanousd=-90, tags=["a", "b"])])
    found = spend_report(tmp_path, name, caching=True, saving=True)
    read = orjson.loads(found.json())
    assert set(read) == {"by", "rows", "total", "caching", "saving"}
    table = drawn(found, 140)
    assert "Prompt caches, by" in table
    assert "our_fold" in table
    assert "-$0.000000090 (-15%)" in table
    assert "our_fold" in found.csv()


def test_an_old_ledger_says_nothing_of_either(tmp_path: Path) -> None:
    write(tmp_path, f"{DAY}.jsonl", [settled("1")])
    found = spend_report(tmp_path, caching=True, saving=True)
    assert found.caching is not None
    assert found.caching["misses"] == []
    assert found.saving is not None
    assert found.saving["total"]["saved_nanousd"] == 0


def test_an_empty_ledger_has_no_rows_of_either(tmp_path: Path) -> None:
    found = spend_report(tmp_path, caching=True, saving=True)
    assert found.caching == {"groups": [], "misses": []}
    assert found.saving is not None
    assert found.saving["rows"] == []
    assert "no requests" in drawn(found, 100)

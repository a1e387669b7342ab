"""Budgets beside what the ledger says is spent of them, and the limits that a configuration declares."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner

from gateway.cli import main
from gateway.config import Config, load
from gateway.money.audit import recounted
from gateway.money.ledger import new_id
from gateway.money.limits import Limits
from gateway.money.scopes import declared_scopes
from gateway.reports.budgets import BudgetQuestion
from gateway.reports.spend import By, spend_report

NOW = datetime(2026, 3, 11, tzinfo=UTC).timestamp()
"""Ten days of 31 are over."""
DOLLAR = 10**9


def config(folder: Path, more: str) -> Config:
    (folder / "ledger").mkdir(exist_ok=True)
    models = "model_list:\n  - {model_name: m, litellm_params: {model: demo/demo}}\n"
    models += "  - {model_name: other, litellm_params: {model: demo/demo}}\n"
    (folder / "config.yaml").write_text(f"{models}ledger: {{dir: ledger}}\n{more}\n", encoding="utf-8")
    return load(folder / "config.yaml", {})


def enter(folder: Path, day: str, nanousd: int, **more: Any) -> None:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    number = len(list((folder / "ledger").iterdir())) + nanousd
    row: dict[str, Any] = {
        "event": "settled",
        "id": new_id(at.timestamp(), number.to_bytes(10)),
        "status": "answered",
        "tags": [],
    }
    row |= {"ts": f"{at:%Y-%m-%dT%H:%M:%S}.500Z", "key": "bot", "team": "support", "user": "ann", "model": "m"}
    row |= {"policy": "default@0", "cost_nanousd": nanousd, **more}
    with (folder / "ledger" / f"{at:%Y-%m-%d}.jsonl").open("ab") as file:
        file.write(orjson.dumps(row) + b"\n")


def budgets(folder: Path, read: Config, by: By) -> list[dict[str, Any]]:
    question = BudgetQuestion(read, Limits.of(read), ["m", "other"], NOW)
    return list(spend_report(folder / "ledger", by, budgets=question).budgets or ())


KEYS = f"""
teams:
  support: {{budgets: [{{max_budget: 31, soft_budget: 20}}, {{per: user, max_budget: 2, budget_duration: 1d}}]}}
keys:
  - {{name: bot, sha256: "{0:064}", team: support, budgets: [{{max_budget: 20, window: rolling, budget_duration: 7d}}]}}
  - {{name: idle, sha256: "{1:064}", team: support, budgets: [{{max_budget: 5}}]}}
"""


def test_what_is_spent_of_a_budget_stands_beside_it_with_a_forecast(tmp_path):
    read = config(tmp_path, KEYS)
    enter(tmp_path, "2026-02-28T23:59:59", 400 * DOLLAR)  # of the month before
    enter(tmp_path, "2026-03-01T00:00:00", 5 * DOLLAR)
    enter(tmp_path, "2026-03-10T00:00:00", 7 * DOLLAR, user="bob")
    [team] = budgets(tmp_path, read, "team")
    assert team["spent_nanousd"] == 12 * DOLLAR
    assert (team["scope"], team["place"], team["used"]) == ("team=support", "team support", round(12 / 31, 4))
    assert team["forecast_nanousd"] == 12 * DOLLAR * 31 // 10
    assert team["runs_out"] == "2026-03-26T20:00:00+00:00"  # 31 of 12 in ten days
    assert (team["soft_nanousd"], team["ends"]) == (20 * DOLLAR, "2026-04-01T00:00:00+00:00")
    bot, idle = sorted(budgets(tmp_path, read, "key"), key=lambda row: str(row["scope"]))
    assert (bot["scope"], bot["spent_nanousd"], bot["forecast_nanousd"]) == ("key=bot", 7 * DOLLAR, None)
    assert (idle["scope"], idle["spent_nanousd"], idle["runs_out"]) == ("key=idle", 0, None)


def test_users_are_told_of_where_the_report_is_by_them(tmp_path):
    read = config(tmp_path, KEYS)
    enter(tmp_path, "2026-03-11T00:00:00", DOLLAR)
    enter(tmp_path, "2026-03-10T23:59:59", DOLLAR, user="bob")
    [ann] = budgets(tmp_path, read, "user")
    assert (ann["scope"], ann["spent_nanousd"]) == ("team=support/user=ann", DOLLAR)
    every = {row["scope"] for row in budgets(tmp_path, read, "day")}
    assert every == {"team=support/user=ann", "team=support", "key=bot", "key=idle"}


def test_the_sums_are_those_that_the_counters_are_counted_from(tmp_path):
    more = "budgets: [{max_budget: 100, time_zone: Pacific/Auckland}, {per: model, max_budget: 9, budget_duration: 1w}]"
    read = config(tmp_path, f"{KEYS}\n{more}")
    for number, day in enumerate(("2026-02-28T11:00:01", "2026-03-08T23:59:59", "2026-03-09T00:00:00", "2026-03-10")):
        enter(tmp_path, day, DOLLAR // 7 + number, model=("m", "other")[number % 2], tags=["night"])
    counted: dict[str, int] = {}
    for (account, _), amount in recounted(Limits.of(read), tmp_path / "ledger", NOW).amounts.items():
        counted[account[1:].partition("|")[0]] = amount
    told = {row["scope"]: row["spent_nanousd"] for row in budgets(tmp_path, read, "operation")}
    assert told["gateway"] == counted["gateway"]
    assert told["team=support"] == counted["team=support"]
    assert told["model=m"] == DOLLAR // 7 + 2
    assert told["model=other"] == DOLLAR // 7 + 3


def test_the_command_shows_them_and_says_what_it_needs(tmp_path):
    config(tmp_path, "budgets: [{max_budget: 5, budget_duration: 3650d}]")
    enter(tmp_path, "2026-03-10T00:00:00", DOLLAR)
    asked = ["report", "--budgets", "--by", "key"]
    shown = CliRunner().invoke(main, [*asked, "--config", str(tmp_path / "config.yaml")])
    assert (shown.exit_code, "Budgets and what is spent of them now" in shown.output) == (0, True)
    assert re.search(r"gateway +3650d +\$5\.000000 +- +\$1\.000000 +20%", shown.output), shown.output
    refused = CliRunner().invoke(main, [*asked, "--ledger", str(tmp_path / "ledger")])
    assert (refused.exit_code, "give --config" in refused.output) == (2, True)


def test_budgets_are_in_the_json_whatever_the_reports_own_beginning(tmp_path):
    read = config(tmp_path, "budgets: [{max_budget: 5}]")
    enter(tmp_path, "2026-03-10T00:00:00", DOLLAR)
    question = BudgetQuestion(read, Limits.of(read), ["m"], NOW)
    since = datetime(2026, 3, 11, tzinfo=UTC)
    found = json.loads(spend_report(tmp_path / "ledger", "key", since, budgets=question).json())
    assert (found["rows"], found["budgets"][0]["spent_nanousd"]) == ([], DOLLAR)


def test_each_declared_limit_is_listed_once_and_no_users(tmp_path):
    read = config(tmp_path, f"{KEYS}\nbudgets: [{{max_budget: 100}}, {{per: model, max_budget: 9}}]")
    groups = declared_scopes(read, Limits.of(read), ["m", "other"], NOW)
    assert [one.party for found in groups for one in found] == [
        "gateway", "team=support", "key=bot", "model=m", "model=other", "key=idle",
    ]  # fmt: skip

"""Budgets beside what the ledger says is spent of them, and what will be by the end of their windows. Pure.

A request counts in the window that its id was made in, settled ones alone: the same sums as the counters of limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.config import Config
from gateway.money.amounts import rounded
from gateway.money.audit import policy_name
from gateway.money.ledger import ID_ENTROPY_BYTES, new_id
from gateway.money.limits import Applied, Limits, Parties
from gateway.money.scopes import declared_scopes
from gateway.reports.figures import Figures, Row, share_text

SPENT: Final = """
SELECT key, team, "user", coalesce(tags, []) AS tags, model, policy, sum(cost_nanousd) AS spent
FROM entries WHERE event = 'settled' AND nth = 1 AND id >= ? AND cost_nanousd <> 0 GROUP BY ALL
"""
"""Ids sort by their moments."""

Read = Callable[[str, Sequence[object]], list[dict[str, Any]]]
"""Runs a query over the ledger."""


@dataclass(frozen=True, slots=True)
class BudgetQuestion:
    """The budgets of a configuration at a moment."""

    config: Config
    limits: Limits
    models: Sequence[str]
    now: float

    @property
    def earliest(self) -> float:
        """The moment before which nothing counts."""
        return self.limits.earliest(self.now)

    def rows(self, read: Read, by: str) -> list[dict[str, Any]]:
        """Return a row for each budget of the parties that a report is by, the fullest first; where none is, of all."""
        applied = self._declared()
        spent: dict[str, int] = {}
        for first in {one.charge.first for one in applied.values()} | self._firsts():
            for row in read(SPENT, [_first_id(first)]):
                for one in self._limits_of(row):
                    if one.charge.first == first:
                        applied.setdefault(one.charge.account, one)
                        spent[one.charge.account] = spent.get(one.charge.account, 0) + int(row["spent"])
        rows = [_row(one, spent.get(account, 0), self.now) for account, one in applied.items()]
        of_them = [row for row, one in zip(rows, applied.values(), strict=True) if one.rule.per == by]
        return sorted(of_them or rows, key=lambda row: (-(row["used"] or 0), row["scope"], row["period"]))

    def _declared(self) -> dict[str, Applied]:
        groups = declared_scopes(self.config, self.limits, self.models, self.now)
        return {one.charge.account: one for found in groups for one in found if one.rule.kind == "money"}

    def _firsts(self) -> set[int]:
        """Return the beginnings of all windows of money, those of users and tags too."""
        return {rule.span(self.now).first for rule in self.limits.rules() if rule.kind == "money"}

    def _limits_of(self, row: Mapping[str, Any]) -> Iterable[Applied]:
        parties = Parties(row["key"] or "", row["team"] or "", row["user"], tuple(row["tags"]), row["model"] or "")
        return self.limits.of_money(parties, policy_name(row["policy"] or ""), self.now)


def _first_id(moment: int) -> str:
    """Return the least id of a moment."""
    return new_id(moment, bytes(ID_ENTROPY_BYTES))


def _row(one: Applied, spent: int, now: float) -> dict[str, Any]:
    rule, limit = one.rule, one.charge.limit
    forecast, runs_out = _forecast(one, spent, now)
    return {
        "scope": one.party,
        "place": rule.place,
        "period": rule.period,
        "window": "rolling" if rule.is_rolling else "calendar",
        "budget_nanousd": limit,
        "soft_nanousd": one.soft,
        "spent_nanousd": spent,
        "used": None if not limit else round(spent / limit, 4),
        "forecast_nanousd": forecast,
        "runs_out": None if runs_out is None else _utc(runs_out),
        "ends": _utc(one.ends),
    }


def _forecast(one: Applied, spent: int, now: float) -> tuple[int | None, float | None]:
    """Say what will be spent at the end of a window if it goes on as it did, and when that passes the budget.

    A rolling window has no end: what leaves it is replaced.
    """
    if one.rule.is_rolling:
        return None, None
    gone, whole = max(1.0, now - one.charge.first), one.ends - one.charge.first
    forecast = math.ceil(spent * whole / gone)
    limit = one.charge.limit
    if limit is None or forecast <= limit or not spent:
        return forecast, None
    return forecast, max(now, one.charge.first + gone * limit / spent)


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(math.floor(moment), UTC).isoformat()


def budget_figures(rows: Sequence[Row]) -> Figures:
    """Lay budgets out."""
    return Figures(
        "Budgets and what is spent of them now",
        ("scope",),
        rows,
        {
            "period": lambda row: str(row["period"]) if row["window"] == "calendar" else f"last {row['period']}",
            "budget": _amount("budget_nanousd"),
            "soft": _amount("soft_nanousd"),
            "spent": _amount("spent_nanousd"),
            "used": share_text("used"),
            "forecast": _amount("forecast_nanousd"),
            "runs out": _moment("runs_out"),
            "begins anew": _moment("ends"),
        },
        ("soft", "begins anew", "period"),
        notes=["forecast: at the end of the window, if it goes on as it has; all moments are UTC"],
        nothing="no budget is declared",
        whole_in="json",
    )


def _amount(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row[name] is None else rounded(row[name])


def _moment(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row[name] is None else str(row[name])[:16].replace("T", " ")

"""What providers' prompt caches gave, why they gave less than they could, and what the gateway saved: SQL, and tables.

`report.py` runs the queries over its table `requests` and shows what comes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from gateway.money.amounts import rounded

Row = Mapping[str, Any]

COLUMNS: Final = {
    "kind": "VARCHAR",
    "expected_cached": "BIGINT",
    "miss": "VARCHAR",
    "lost": "BIGINT",
    "lost_nanousd": "BIGINT",
    "saved_nanousd": "BIGINT",
}
"""What is read of a settled row for these."""

_KNOWN: Final = "(expected_cached IS NOT NULL OR miss IS NOT NULL)"
"""Whether the rules of the cache that was asked are known: then something was expected, or is missed."""

CACHED: Final = f"""
SELECT {{groups}}, count(*) AS requests, sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
       round(sum(cached_tokens) / sum(prompt_tokens), 6) AS cached_share,
       coalesce(sum(prompt_tokens) FILTER ({_KNOWN}), 0) AS known_prompt_tokens,
       coalesce(sum(expected_cached), 0) AS expected_tokens,
       round(coalesce(sum(expected_cached), 0) / nullif(sum(prompt_tokens) FILTER ({_KNOWN}), 0), 6) AS expected_share,
       count(*) FILTER (miss IS NOT NULL) AS misses, coalesce(sum(lost), 0) AS lost_tokens,
       coalesce(sum(lost_nanousd), 0) AS lost_nanousd
FROM {{source}} WHERE prompt_tokens > 0 AND NOT estimated GROUP BY ALL ORDER BY prompt_tokens DESC, {{groups}}
"""  # as in report.py: put together from names of our own

MISSES: Final = """
SELECT {groups}, split_part(miss, ':', 1) AS cause, count(*) AS requests, coalesce(sum(lost), 0) AS lost_tokens,
       coalesce(sum(lost_nanousd), 0) AS lost_nanousd
FROM {source} WHERE miss IS NOT NULL AND prompt_tokens > 0 GROUP BY ALL
ORDER BY {groups}, lost_nanousd DESC, requests DESC, cause
"""

_OURS: Final = "kind IN ('summary', 'warm_up')"
"""Calls that nobody asked for: the gateway's own. A row without a kind is a request's."""

_SAVED: Final = f"""
count(*) FILTER (({_OURS}) IS NOT TRUE) AS requests,
count(*) FILTER (plan = 'rewritten' AND ({_OURS}) IS NOT TRUE) AS rewritten,
count(*) FILTER (saved_nanousd < 0) AS dearer,
coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
coalesce(sum(saved_nanousd), 0) AS gross_nanousd,
coalesce(sum(cost_nanousd) FILTER (kind = 'summary'), 0) AS summaries_nanousd,
coalesce(sum(cost_nanousd) FILTER (kind = 'warm_up'), 0) AS warm_ups_nanousd,
coalesce(sum(saved_nanousd), 0) - coalesce(sum(cost_nanousd) FILTER ({_OURS}), 0) AS saved_nanousd
"""
"""`gross_nanousd`: what the requests would have cost as they came, less what they cost; `saved_nanousd`: less what
summaries and warm-ups cost too."""

SAVING: Final = f"""
SELECT team, policy, {_SAVED} FROM requests WHERE status <> 'unsettled' GROUP BY ALL ORDER BY team, policy
"""
SAVING_TOTAL: Final = f"SELECT {_SAVED} FROM requests WHERE status <> 'unsettled'"


def cached_table(table: Table, names: Sequence[str], rows: Sequence[Row], name: Callable[[Any], Any]) -> Table:
    """Fill a table with what caches gave, a row for each group."""
    for group in names:
        table.add_column(group, overflow="fold")
    for title in ("requests", "prompt", "cached", "share", "expected", "misses", "tokens lost", "money lost"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *[name(row[group]) for group in names],
            f"{row['requests']:,}",
            f"{row['prompt_tokens']:,}",
            f"{row['cached_tokens']:,}",
            _share(row["cached_share"]),
            _share(row["expected_share"]),
            f"{row['misses']:,}",
            f"{row['lost_tokens']:,}",
            rounded(row["lost_nanousd"]),
        )
    table.caption = "expected: by the provider's own rules, of the prompts where these are known"
    return table


def misses_table(table: Table, names: Sequence[str], rows: Sequence[Row], name: Callable[[Any], Any]) -> Table:
    """Fill a table with the causes of misses."""
    for group in (*names, "cause"):
        table.add_column(group, overflow="fold")
    for title in ("requests", "tokens lost", "money lost"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        cells = [name(row[group]) for group in names]
        lost = rounded(row["lost_nanousd"])
        table.add_row(*cells, row["cause"], f"{row['requests']:,}", f"{row['lost_tokens']:,}", lost)
    return table


def saving_table(table: Table, rows: Sequence[Row], total: Row, name: Callable[[Any], Any]) -> Table:
    """Fill a table with what the gateway saved, net."""
    for group in ("team", "policy"):
        table.add_column(group, overflow="fold")
    for title in ("requests", "rewritten", "dearer", "as it came", "paid", "summaries", "warm-ups", "saved"):
        table.add_column(title, justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(name(row["team"]), name(row["policy"]), *_saving(row), end_section=index == len(rows) - 1)
    table.add_row("total", "", *_saving(total), style="bold")
    table.caption = (
        "as it came: the same answers, without rewriting or markers of ours, under the same cache rules\n"
        "paid: summaries and warm-ups, the gateway's own calls, included"
    )
    return table


def _saving(row: Row) -> list[str]:
    counts = [f"{row[title]:,}" for title in ("requests", "rewritten", "dearer")]
    saved, instead = row["saved_nanousd"], row["cost_nanousd"] + row["saved_nanousd"]
    amounts = (instead, *[row[f"{name}_nanousd"] for name in ("cost", "summaries", "warm_ups")])
    share = f" ({saved / instead:.0%})" if instead else ""
    return [*counts, *map(rounded, amounts), f"{rounded(saved)}{share}"]


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"

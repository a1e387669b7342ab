"""Use of providers' prompt caches, causes of misses, and the gateway's net saving: SQL, and the tables of it.

`spend.py` runs the queries over its table `requests` and shows what comes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.money.amounts import rounded
from gateway.reports.figures import Figures, Row, count, share_text

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
FROM {{source}} WHERE prompt_tokens > 0 AND NOT estimated AND operation IN ('chat', 'completions')
GROUP BY ALL ORDER BY prompt_tokens DESC, {{groups}}
"""  # as in spend.py: put together from names of our own

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
count(*) FILTER (saved_unknown) AS unknown,
coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
coalesce(sum(saved_nanousd), 0) AS gross_nanousd,
coalesce(sum(cost_nanousd) FILTER (kind = 'summary'), 0) AS summaries_nanousd,
coalesce(sum(cost_nanousd) FILTER (kind = 'warm_up'), 0) AS warm_ups_nanousd,
coalesce(sum(saved_nanousd), 0) - coalesce(sum(cost_nanousd) FILTER ({_OURS}), 0) AS saved_nanousd
"""
"""`gross_nanousd`: what the requests would have cost as they came, less what they cost; `saved_nanousd`: less what
summaries and warm-ups cost too. `unknown`: requests of which nobody can say what they would have cost; they are in
neither."""

SAVING: Final = f"""
SELECT team, policy, {_SAVED} FROM requests WHERE status <> 'unsettled' GROUP BY ALL ORDER BY team, policy
"""
SAVING_TOTAL: Final = f"SELECT {_SAVED} FROM requests WHERE status <> 'unsettled'"


def cached_figures(by: str, names: Sequence[str], rows: Sequence[Row]) -> Figures:
    """Lay out what caches gave, a row for each group."""
    return Figures(
        f"Prompt caches, by {by}",
        names,
        rows,
        {
            "requests": count("requests"),
            "prompt": count("prompt_tokens"),
            "cached": count("cached_tokens"),
            "share": share_text("cached_share"),
            "expected": share_text("expected_share"),
            "misses": count("misses"),
            "tokens lost": count("lost_tokens"),
            "money lost": _money("lost_nanousd"),
        },
        ("tokens lost", "requests", "misses", "cached", "prompt", "expected", "money lost"),
        notes=["expected: by the provider's own rules, of the prompts where these are known"],
        nothing="nothing to show; no provider has reported a prompt",
        whole_in="json",
    )


def misses_figures(by: str, names: Sequence[str], rows: Sequence[Row]) -> Figures:
    """Lay out the causes of misses."""
    return Figures(
        f"Misses, by {by} and cause",
        (*names, "cause"),
        rows,
        {
            "requests": count("requests"),
            "tokens lost": count("lost_tokens"),
            "money lost": _money("lost_nanousd"),
        },
        ("tokens lost", "requests"),
    )


def saving_figures(rows: Sequence[Row], total: Row) -> Figures:
    """Lay out what the gateway saved, net."""
    return Figures(
        "Saved, net",
        ("team", "policy"),
        rows,
        {
            "requests": count("requests"),
            "rewritten": count("rewritten"),
            "dearer": count("dearer"),
            "as it came": lambda row: rounded(_instead(row)),
            "paid": _money("cost_nanousd"),
            "summaries": _money("summaries_nanousd"),
            "warm-ups": _money("warm_ups_nanousd"),
            "saved": _saved,
        },
        ("warm-ups", "summaries", "rewritten", "dearer", "requests", "as it came", "paid"),
        total,
        [
            "as it came: the same answers, without rewriting or markers of ours, under the same cache rules",
            "paid: summaries and warm-ups, the gateway's own calls, included; they are not among the requests here",
            *_unknown(total),
        ],
    )


def _unknown(total: Row) -> list[str]:
    if not total["unknown"]:
        return []
    why = "no known cache rules, no price, or no report of the provider's"
    return [f"unknown: what {total['unknown']:,} changed requests would have cost as they came ({why})"]


def _instead(row: Row) -> int:
    """Return what the same answers would have cost."""
    return int(row["cost_nanousd"] + row["saved_nanousd"])


def _saved(row: Row) -> str:
    saved, instead = row["saved_nanousd"], _instead(row)
    if row["unknown"]:
        return f"{rounded(saved)} + unknown" if saved else "unknown"
    return f"{rounded(saved)}{f' ({saved / instead:.0%})' if instead else ''}"


def _money(name: str) -> Callable[[Row], str]:
    return lambda row: rounded(row[name])

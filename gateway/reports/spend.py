"""Spend: SQL over the ledger with DuckDB. The duckdb door; only the command line loads it, never the server.

A request is one opened row, one settled row, or both, joined by id. Settled, it costs what the settled row says;
opened and never settled (it is running, or its process was killed) it is *unsettled* and costs its estimate, which
`unsettled_nanousd` shows apart. Its time is that of its opened row. A second row of the same kind for an id is a
duplicate: never summed, only counted. Torn lines are passed over.

The sum of the rows is the total, with one exception that cannot be otherwise: by tag, a request stands in the row of
each of its tags, and once in the total.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

import duckdb
import orjson

from gateway.money.amounts import dollars, rounded, usd
from gateway.money.ledger import Folders, files, timestamp
from gateway.money.row import duckdb_columns
from gateway.reports import prompt_cache
from gateway.reports.budgets import BudgetQuestion, budget_figures
from gateway.reports.figures import Figures, Row, cell, count, share_text

By = Literal["user", "team", "key", "model", "policy", "operation", "tag", "day"]

_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("user", "team"),  # a user is one within his team: the same name in two teams is two people
    "team": ("team",),
    "key": ("key",),
    "model": ("model",),
    "policy": ("policy",),
    "operation": ("operation",),
    "tag": ("tag",),
    "day": ("day",),
}

_COLUMNS: Final = duckdb_columns()
"""The columns that are read of a row. Types are given, not guessed: a file of one row must read as a file of millions.
"""

_SUMS: Final = {
    "requests": "count(*)",
    "answered": "count(*) FILTER (status = 'answered')",
    "refused": "count(*) FILTER (status = 'refused')",
    "failed": "count(*) FILTER (status = 'failed')",
    "cancelled": "count(*) FILTER (status = 'cancelled')",
    "unsettled": "count(*) FILTER (status = 'unsettled')",
    "prompt_tokens": "coalesce(sum(prompt_tokens), 0)",
    "cached_tokens": "coalesce(sum(cached_tokens), 0)",
    "cache_write_tokens": "coalesce(sum(cache_write_tokens), 0)",
    "completion_tokens": "coalesce(sum(completion_tokens), 0)",
    "reasoning_tokens": "coalesce(sum(reasoning_tokens), 0)",
    "tokens_before": "coalesce(sum(tokens_before), 0)",
    "tokens_after": "coalesce(sum(tokens_after), 0)",
    "cost_nanousd": "coalesce(sum(cost_nanousd), 0)",
    "unsettled_nanousd": "coalesce(sum(cost_nanousd) FILTER (status = 'unsettled'), 0)",
    "estimated": "count(*) FILTER (estimated)",
    "unpriced": "count(*) FILTER (unpriced)",
    "would_be_rewritten": "count(*) FILTER (plan = 'observed' AND refusal IS NULL)",
    "would_be_refused": "count(*) FILTER (plan = 'observed' AND refusal IS NOT NULL)",
    "tokens_observed": "coalesce(sum(tokens_after) FILTER (tokens_planned IS NOT NULL), 0)",
    "tokens_planned": "coalesce(sum(tokens_planned), 0)",
}
"""`cost_nanousd` includes `unsettled_nanousd`; `estimated` and `unpriced` count requests. The last four tell of those
under `observe`: `tokens_observed` were sent where `tokens_planned` would have been."""

_RETENTION: Final = {
    "rewritten": "count(*) FILTER (plan = 'rewritten' AND values_removed IS NOT NULL)",
    "observed": "count(*) FILTER (plan = 'observed' AND values_removed IS NOT NULL)",
    "values_removed": "coalesce(sum(values_removed), 0)",
    "missed": "coalesce(sum(missed), 0)",
    "with_misses": "count(*) FILTER (missed > 0)",
}
"""`rewritten` and `observed` count answered requests for which it is known; under `observed` the other three are what
would have been."""

_ENTRIES: Final = f"""
CREATE TEMP TABLE entries AS
SELECT *, row_number() OVER (PARTITION BY id, event ORDER BY ts) AS nth
FROM read_json(?, format = 'newline_delimited', ignore_errors = true,
               columns = {{{", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items())}}})
WHERE id IS NOT NULL AND ts IS NOT NULL AND event IN ('opened', 'settled')
"""  # put together from the constants above; what a caller wrote is only ever a parameter

_NO_ENTRIES: Final = f"""
CREATE TEMP TABLE entries ({", ".join(f'"{name}" {kind}' for name, kind in _COLUMNS.items())}, nth BIGINT)
"""

_BOTH: Final = ("key", "team", "user", "tags", "model", "policy")
"""The columns of which the settled row's are taken, and the opened row's where it has none."""
_APART: Final = {
    "event",
    "id",
    "ts",
    "status",
    "estimate_nanousd",
    "cost_nanousd",
    "estimated",
    "unpriced",
    "operation",
    *_BOTH,
}
_SETTLED: Final = [name for name in _COLUMNS if name not in _APART]
"""The columns that are the settled row's, as they stand there."""
_REQUESTS: Final = f"""
CREATE TEMP TABLE requests AS
SELECT *, substr(came, 1, 10) AS day FROM (
    SELECT coalesce(opened.ts, settled.ts) AS came,
           coalesce(settled.status, 'unsettled') AS status,
           {", ".join(f'coalesce(settled."{name}", opened."{name}") AS "{name}"' for name in _BOTH)},
           coalesce(settled.operation, opened.operation, 'chat') AS operation,
           CASE WHEN settled.id IS NULL THEN opened.estimate_nanousd ELSE settled.cost_nanousd END AS cost_nanousd,
           {", ".join(f"settled.{name}" for name in _SETTLED)},
           coalesce(settled.estimated, settled.id IS NULL) AS estimated,
           CASE WHEN settled.id IS NULL THEN opened.estimate_nanousd IS NULL
                ELSE coalesce(settled.unpriced, false) END AS unpriced
    FROM (FROM entries WHERE event = 'opened' AND nth = 1) AS opened
    FULL JOIN (FROM entries WHERE event = 'settled' AND nth = 1) AS settled ON opened.id = settled.id)
WHERE came >= ? AND came < ?
"""  # as above

_DUPLICATES: Final = """
SELECT count(*) AS duplicates FROM entries WHERE nth > 1 AND ts >= ? AND ts < ?
"""

_BY_TAG: Final = """
(SELECT *, unnest(CASE WHEN coalesce(len(tags), 0) = 0 THEN [NULL] ELSE list_distinct(tags) END) AS tag FROM requests)
"""

_UTILIZATION: Final = """
FROM (
SELECT {groups}, component, count(*) AS requests, count(*) FILTER (counted = 'bytes') AS estimated,
       sum(before) AS tokens_before, sum(after) AS tokens_after,
       sum(room) AS room, round(sum(after) / nullif(sum(room), 0), 4) AS used,
       round(quantile_cont(after / room, 0.95) FILTER (room > 0), 4) AS used_p95,
       count(*) FILTER (before > room OR too_big) AS over, count(*) FILTER (after < before AND NOT too_big) AS cut,
       count(*) FILTER (too_big) AS refused
FROM (SELECT *, CASE WHEN component = 'overall' THEN tokens_before
                     ELSE coalesce(TRY_CAST(json_extract(components, component)->>0 AS BIGINT), 0) END AS before,
             CASE WHEN component = 'overall' THEN tokens_after
                  ELSE coalesce(TRY_CAST(json_extract(components, component)->>1 AS BIGINT), 0) END AS after,
             CASE WHEN component = 'overall' THEN budget
                  WHEN too_big THEN TRY_CAST(refusal->>'room' AS BIGINT)
                  WHEN (components->'room') IS NULL THEN NULL
                  ELSE coalesce(TRY_CAST(json_extract_string(components->'room', component) AS BIGINT),
                                TRY_CAST(json_extract(components, component)->>0 AS BIGINT)) END AS room
      FROM (SELECT *, coalesce(refusal->>'component' = component OR (component = 'overall' AND status = 'refused'
                                                                     AND refusal IS NOT NULL), false) AS too_big
            FROM (SELECT *, unnest(list_distinct(list_concat(
                      json_keys(components), coalesce(json_keys(components->'room'), []), ['overall']))) AS component
                  FROM {source} WHERE components IS NOT NULL))
      WHERE component <> 'room')
WHERE room IS NOT NULL
GROUP BY ALL) ORDER BY {groups}, component = 'overall', component
"""
"""Every column sums the same requests: those in which this component had a room; where none is told beside others', it
is what was asked for. A refused one had a room for what was too big, and sent nothing of it. `overall` is the whole
prompt, and its room the budget."""

_OFTEN: Final = 0.05
"""The share of requests in which a component was cut, or refused, from which on its share is called too small."""
_HARDLY: Final = 0.2
"""The use that 95 of 100 requests stay below, of a share that is called hardly used."""

Targets = Mapping[str, Mapping[str, tuple[float, float]]]
"""By policy, as the ledger names it without its digest, and component: the range in which `used` should lie."""


def _judged(row: dict[str, Any], targets: Targets) -> dict[str, Any]:
    """Add the target of a component, where its policy has one, and a verdict on its share."""
    policy = str(row["policy"] or "").partition("@")[0] if "policy" in row else ""
    target = targets.get(policy, {}).get(row["component"])
    told = list(_verdicts(row))
    if target is not None and row["used"] is not None:
        low, high = target
        told.append("below target" if row["used"] < low else "above target" if row["used"] > high else "on target")
    shown = None if target is None else f"{100 * target[0]:g}-{100 * target[1]:g}%"
    return {**row, "target": shown, "verdict": ", ".join(told) or None}


def _verdicts(row: Mapping[str, Any]) -> Iterator[str]:
    if row["component"] == "overall":
        return
    if not row["tokens_before"]:
        if row["room"]:
            yield "never used"
    elif row["cut"] + row["refused"] >= _OFTEN * row["requests"]:
        yield "too small"
    elif row["used_p95"] is not None and row["used_p95"] < _HARDLY:
        yield "hardly used"


@dataclass(frozen=True, slots=True)
class Report:
    """The answer, ready to be shown."""

    by: By
    rows: list[dict[str, Any]]
    total: dict[str, Any]
    """As a row, and `duplicates`."""
    utilization: list[dict[str, Any]] | None = None
    """For each group and component, and for the whole prompt: what was asked for, sent, and granted; `used` = sent ÷
    granted; `estimated` requests were counted in bytes; what the policy aims at, and a verdict on the share."""
    since: datetime | None = None
    until: datetime | None = None
    retention: bool = False
    """Whether rows and total say what rewriting took away and how often an answer missed it."""
    caching: dict[str, list[dict[str, Any]]] | None = None
    """`groups`: what the providers' caches gave each; `misses`: why less than they could, by cause."""
    saving: dict[str, Any] | None = None
    """`rows`, by team and policy, and `total`: what the same answers would have cost as the requests came, less what
    was paid, summaries and warm-ups included. Negative where it would have been cheaper.
    """

    budgets: list[dict[str, Any]] | None = None
    """Budgets, and what is spent of them in their present windows, whatever the report's own beginning and end."""

    def json(self) -> str:
        """Return `{"rows": […], "total": {…}}`; `utilization`, `caching`, `saving`, `budgets` where asked for."""
        shown: dict[str, Any] = {"by": self.by, "rows": self.rows, "total": self.total}
        if self.utilization is not None:
            shown["utilization"] = self.utilization
        if self.caching is not None:
            shown["caching"] = self.caching
        if self.saving is not None:
            shown["saving"] = self.saving
        if self.budgets is not None:
            shown["budgets"] = self.budgets
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()

    def csv(self) -> str:
        """Return the rows, or what was asked for beyond them: use of the room, misses, or savings; never a total, which
        would be summed with them.
        """
        rows = self._detail()
        sums = {**_SUMS, **_RETENTION} if self.retention else _SUMS
        names = list(rows[0]) if rows else [*_GROUPS[self.by], *sums, "cost_usd"]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([[cell(row[name]) for name in names] for row in rows])
        return out.getvalue()

    def _detail(self) -> list[dict[str, Any]]:
        if self.budgets is not None:
            return self.budgets
        if self.utilization is not None:
            return self.utilization
        if self.caching is not None:
            return self.caching["misses"]
        return self.rows if self.saving is None else self.saving["rows"]

    def figures(self) -> list[Figures]:
        """Return what the report shows, table by table; nothing where there was no request."""
        shown = list(self._figures()) if self.total["requests"] else []
        return shown if self.budgets is None else [*shown, budget_figures(self.budgets)]

    def _figures(self) -> Iterator[Figures]:
        names = _GROUPS[self.by]
        yield _spend_figures(self)
        if _is_observed(self.total):
            yield _observed_figures(self)
        if self.utilization is not None:
            yield _utilization_figures(self.by, self.utilization)
        if self.retention:
            yield _retention_figures(self)
        if self.caching is not None:
            yield prompt_cache.cached_figures(self.by, names, self.caching["groups"])
            if self.caching["misses"]:
                yield prompt_cache.misses_figures(self.by, names, self.caching["misses"])
        if self.saving is not None:
            yield prompt_cache.saving_figures(self.saving["rows"], self.saving["total"])

    def nothing(self) -> str:
        """Say that there was no request, and when."""
        first = "the beginning" if self.since is None else f"{_utc(self.since):%Y-%m-%d %H:%M}"
        last = "now" if self.until is None else f"{_utc(self.until):%Y-%m-%d %H:%M}"
        return f"no requests between {first} and {last} (UTC)"


def spend_report(
    folders: Folders,
    by: By = "user",
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    utilization: bool = False,
    retention: bool = False,
    caching: bool = False,
    saving: bool = False,
    targets: Targets | None = None,
    budgets: BudgetQuestion | None = None,
    base: duckdb.DuckDBPyConnection | None = None,
) -> Report:
    """Sum the requests that came from `since` to before `until`, by one of `By`, the dearest first.

    `retention` adds to each row what rewriting took away: `rewritten` and `observed` requests, `values_removed`,
    `missed` (how often an answer used one of those values) and requests `with_misses`. `caching` adds what the
    providers' prompt caches gave and why they gave less than they could; `saving` what the gateway saved, net.

    `budgets` asks for budgets beside what is spent of them. `targets` are what policies say of the use of their rooms;
    they are told where the rows are policies. Reports in a row are cheaper with a `base` that stays open (see
    `database`); nothing of a report stays in it.

    Raises `ValueError` for another `by` and for an end that is not after the beginning, `FileNotFoundError` where there
    is no such folder; an empty one is an empty report.
    """
    if by not in get_args(By):
        raise ValueError(f"by {by!r}: must be one of {', '.join(get_args(By))}")
    if since is not None and until is not None and _utc(since) >= _utc(until):
        raise ValueError(f"nothing lies between {_utc(since):%Y-%m-%d %H:%M} and {_utc(until):%Y-%m-%d %H:%M} (UTC)")
    for folder in [folders] if isinstance(folders, Path) else folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no ledger folder {folder}")
    first, last = _bound(since, "0"), _bound(until, "9999")
    with database() if base is None else base.cursor() as tables:
        _load(tables, folders, since, until)
        tables.execute(_REQUESTS, [first, last])
        source = _BY_TAG if by == "tag" else "requests"
        groups = ", ".join(f'"{name}"' for name in _GROUPS[by])
        wanted = {**_SUMS, **_RETENTION} if retention else _SUMS
        sums = ", ".join(f"{sql} AS {name}" for name, sql in wanted.items())
        order = "day" if by == "day" else f"cost_nanousd DESC, requests DESC, {groups}"
        rows = _read(tables, f"SELECT {groups}, {sums} FROM {source} GROUP BY ALL ORDER BY {order}")  # as above
        total = _read(tables, f"SELECT {sums} FROM requests")[0]  # as above
        total |= _read(tables, _DUPLICATES, [first, last])[0]
        used = _read(tables, _UTILIZATION.format(groups=groups, source=source)) if utilization else None
        used = None if used is None else [_judged(row, targets or {}) for row in used]
        given = _caching(tables, groups, source) if caching else None
        saved = _saving(tables) if saving else None
    for row in (*rows, total):
        row["cost_usd"] = usd(row["cost_nanousd"])
    left = None if budgets is None else _budgets(folders, by, budgets)
    return Report(by, rows, total, used, since, until, retention, given, saved, left)


def database() -> duckdb.DuckDBPyConnection:
    """Open an empty database in memory; it fetches nothing."""
    return duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})


def _budgets(folders: Folders, by: By, question: BudgetQuestion) -> list[dict[str, Any]]:
    """Sum the present windows of budgets, which may begin before the report does."""
    with database() as tables:
        _load(tables, folders, datetime.fromtimestamp(question.earliest, UTC), None)
        return question.rows(partial(_read, tables), by)


def _caching(base: duckdb.DuckDBPyConnection, groups: str, source: str) -> dict[str, list[dict[str, Any]]]:
    queries = {"groups": prompt_cache.CACHED, "misses": prompt_cache.MISSES}
    return {name: _read(base, query.format(groups=groups, source=source)) for name, query in queries.items()}


def _saving(base: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    return {"rows": _read(base, prompt_cache.SAVING), "total": _read(base, prompt_cache.SAVING_TOTAL)[0]}


def _load(base: duckdb.DuckDBPyConnection, folders: Folders, since: datetime | None, until: datetime | None) -> None:
    """Read the days asked for, and one more at each end: a request may pass midnight between its two rows."""
    day = timedelta(days=1)
    first = None if since is None else (_utc(since) - day).date()
    last = None if until is None else (_utc(until) + day).date()
    paths = [str(path) for path in files(folders, first, last)]
    if paths:
        base.execute(_ENTRIES, [paths])
    else:
        base.execute(_NO_ENTRIES)


def _read(base: duckdb.DuckDBPyConnection, query: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
    result = base.execute(query, list(values))
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def parse_moment(text: str, now: datetime, *, is_end: bool = False) -> datetime:
    """Read a moment: `2026-01-31`, `2026-01-31T09:30`, `today`, `yesterday`, or how long ago, `7d`, `12h`, `30m`.
    Without a zone it is UTC.

    A day as an end is that whole day. Raises `ValueError`.
    """
    ago = re.fullmatch(r"(\d{1,6})([dhm])", text)
    try:
        if ago:
            unit = {"d": "days", "h": "hours", "m": "minutes"}[ago[2]]
            return _utc(now) - timedelta(**{unit: int(ago[1])})
        today = _utc(now).date()
        named = {"today": today, "yesterday": today - timedelta(days=1)}
        moment = _utc(datetime.fromisoformat(named[text].isoformat() if text in named else text))
    except (ValueError, OverflowError):
        known = "2026-01-31, 2026-01-31T09:30, today, yesterday, 7d, 12h or 30m"
        raise ValueError(f"{text!r} is no moment: write {known}") from None
    is_day = text in named or re.fullmatch(r"\d{4}-?\d\d-?\d\d", text) is not None
    return moment + timedelta(days=1) if is_end and is_day else moment


def _bound(moment: datetime | None, otherwise: str) -> str:
    """Return a moment as the ledger writes it: such texts sort as the moments do."""
    return otherwise if moment is None else timestamp(_utc(moment).timestamp())


def _utc(moment: datetime) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _spend_figures(shown: Report) -> Figures:
    total = shown.total
    notes = [f"{total['unsettled']:,} unsettled, at their estimates: {dollars(total['unsettled_nanousd'])}"]
    notes += [f"{total['unpriced']:,} unpriced, not in the cost"] if total["unpriced"] else []
    notes += [f"{total['duplicates']:,} duplicate lines, not counted"] if total["duplicates"] else []
    notes += ["a request stands in the row of each of its tags, once in the total"] if shown.by == "tag" else []
    return Figures(
        f"Spend by {shown.by}",
        _GROUPS[shown.by],
        shown.rows,
        {
            "requests": count("requests"),
            "refused": count("refused"),
            "failed": count("failed"),
            "prompt": count("prompt_tokens"),
            "cached": lambda row: f"{row['cached_tokens'] / row['prompt_tokens']:.0%}" if row["prompt_tokens"] else "-",
            "completion": count("completion_tokens"),
            "before → after": lambda row: f"{row['tokens_before']:,} → {row['tokens_after']:,}",
            "cost": lambda row: rounded(row["cost_nanousd"]),
        },
        ("failed", "refused", "completion", "before → after", "cached", "prompt", "requests"),
        total,
        notes,
    )


def _is_observed(row: Row) -> bool:
    return bool(row["would_be_rewritten"] or row["would_be_refused"])


def _observed_figures(shown: Report) -> Figures:
    """Lay out what policies that only watch would have done, for the groups in which they would have done anything."""
    return Figures(
        f"What policies that observe would have done, by {shown.by}",
        _GROUPS[shown.by],
        [row for row in shown.rows if _is_observed(row)],
        {
            "would be rewritten": count("would_be_rewritten"),
            "would be refused": count("would_be_refused"),
            "tokens sent": count("tokens_observed"),
            "planned tokens": count("tokens_planned"),
        },
        ("tokens sent", "planned tokens", "would be rewritten"),
        shown.total,
        ["tokens: of those that would be rewritten"],
    )


def _utilization_figures(by: By, rows: Sequence[Row]) -> Figures:
    return Figures(
        f"Use of the room granted, by {by} and component",
        (*_GROUPS[by], "component"),
        rows,
        {
            "requests": count("requests"),
            "before": count("tokens_before"),
            "after": count("tokens_after"),
            "room": count("room"),
            "used": share_text("used"),
            "p95": share_text("used_p95"),
            "over": count("over"),
            "cut": count("cut"),
            "estimated": count("estimated"),
            "target": _word("target"),
            "verdict": _word("verdict"),
        },
        ("before", "after", "estimated", "room", "requests", "cut", "p95", "over", "target"),
        notes=["estimated: requests that plainly fit, counted in bytes; there documents and examples are history"]
        if any(row["estimated"] for row in rows)
        else [],
        nothing="nothing to show; no component had a room, as nothing bounds a prompt",
    )


def _word(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row[name] is None else str(row[name])


def _retention_figures(shown: Report) -> Figures:
    """Lay out what was taken away and missed, for the groups in which anything was rewritten."""
    return Figures(
        f"What rewriting took away, by {shown.by}",
        _GROUPS[shown.by],
        [row for row in shown.rows if row["rewritten"] or row["observed"]],
        {
            "rewritten": count("rewritten"),
            "observed": count("observed"),
            "values removed": count("values_removed"),
            "misses": count("missed"),
            "with a miss": _with_a_miss,
        },
        ("misses", "observed", "rewritten", "values removed"),
        shown.total,
        ["observed: not sent; what would have been removed and missed"],
        nothing="nothing was rewritten",
    )


def _with_a_miss(row: Row) -> str:
    requests = row["rewritten"] + row["observed"]
    return f"{row['with_misses']:,} ({row['with_misses'] / requests:.1%})" if requests else "-"

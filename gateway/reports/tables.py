"""Tables for people at a terminal: reports, one request, a dry run. The one module that makes tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.money import amounts
from gateway.money.row import AttemptRow, EditRow, LedgerRow, Milliseconds, RefusalReason
from gateway.prompt_cache.misses import MISS_MEANINGS
from gateway.reports.figures import Figures, terminal_text

if TYPE_CHECKING:
    from gateway.money.ledger.lookup import LedgerRecord
    from gateway.reports.spend import Report

LEVELS = {
    "whole": "whole: nothing is left out or shortened",
    "lossless": "lossless: old results are written shorter and say the same",
    "lists": "lists: something is left out, and what stands for it says what it held",
    "dropped": "dropped: something is left out, and nothing stands for it",
}

_WIDER_THAN_ANY = 1000
"""Columns in which every table is measured: what it would take, not what there is."""
_MOST_NAMED = 12
"""The number of values that are named in one place; the rest is counted."""


def thousands(value: float | None) -> str:
    """Return a count with its thousands apart, a dash where there is none."""
    return "-" if value is None else f"{value:,}"


def facts_grid(pairs: Iterable[tuple[str, object]]) -> RenderableType:
    """Return two columns without a frame: a name and what it is. Empty ones are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value not in {None, ""}:
            grid.add_row(name, Text(str(value)))
    return Padding(grid, (0, 0, 0, 1), expand=False)


def plain_table(title: str | None = None) -> Table:
    """Return an empty table in the one look that the command line has: no frame, a line below the head."""
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        padding=(0, 1),
        show_edge=False,
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, last: Sequence[str] | None = None) -> Table:
    """Return a table whose columns named with a leading `>` are right-aligned; `last` is set apart below a line."""
    made = plain_table()
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    kept = [tuple(row) for row in rows]
    for index, row in enumerate(kept):
        made.add_row(*(Text(cell) for cell in row), end_section=last is not None and index == len(kept) - 1)
    if last is not None:
        made.add_row(*(Text(cell, style="bold") for cell in last))
    return made


def report_tables(report: Report, width: int) -> list[RenderableType]:
    """Return a report's tables for a terminal of so many columns; where there is nothing to show, a sentence."""
    tables: list[RenderableType] = [figures_table(figures, width) for figures in report.figures()]
    return tables or [Text(report.nothing())]


def figures_table(figures: Figures, width: int) -> Table | Text:
    """Return figures with as many columns as `width` has room for. The subject of a row is shown whole, and so is every
    figure that is shown: a narrow terminal shows fewer columns, never parts of them, and a note says which.
    """
    if not figures.rows:
        return Text(f"{figures.title}: {figures.nothing}")
    shown, left_out = list(figures.columns), list[str]()
    made = _with(figures, shown)
    for heading in figures.left_out_first:
        if Console(width=_WIDER_THAN_ANY).measure(made).maximum <= width:
            break
        shown.remove(heading)
        left_out.append(heading)
        made = _with(figures, shown)
    wider = [f"left out to fit this terminal, in {figures.whole_in}: {', '.join(left_out)}"] if left_out else []
    made.caption = "\n".join([*figures.notes, *wider])
    return made


def _with(figures: Figures, headings: Sequence[str]) -> Table:
    """Return the table with these columns."""
    made = plain_table(figures.title)
    for name in figures.names:
        made.add_column(name, overflow="fold")
    for heading in headings:
        made.add_column(heading, justify="right", no_wrap=True)
    for index, row in enumerate(figures.rows):
        cells = [_name(row[name]) for name in figures.names]
        cells += [Text(figures.columns[heading](row)) for heading in headings]
        made.add_row(*cells, end_section=figures.total is not None and index == len(figures.rows) - 1)
    if figures.total is not None:
        names = ["total", *("" for _ in figures.names[1:])]
        made.add_row(*names, *(figures.columns[heading](figures.total) for heading in headings), style="bold")
    return made


def _name(value: str | None) -> Text:
    """Show a name that a caller may have chosen: no markup, no control characters."""
    return Text("-") if value is None else Text(terminal_text(value))


def request_tables(record: LedgerRecord) -> RenderableType:
    """Return all that the ledger knows of one request: what came of it, its components, edits and attempts."""
    row = record.row
    blocks: list[RenderableType] = [facts_grid(_request_facts(record))]
    if row.components.tokens:
        blocks += ["", _component_table(_ledger_components(row))]
    if row.edits:
        blocks += ["", _edit_table(_ledger_edits(row.edits))]
    if row.edited:
        blocks += ["", _edited_table(row.edited)]
    if row.more_edits:
        blocks.append(Text(f"and {thousands(row.more_edits)} more", style="dim"))
    if row.attempts:
        blocks += ["", _attempt_table(row.attempts)]
    return Group(*blocks)


def dry_run_tables(run: Mapping[str, Any]) -> RenderableType:
    """Return what a policy would do to a request that was not sent."""
    refusal = run.get("refusal")
    blocks: list[RenderableType] = [
        facts_grid(
            [
                ("model", run["model"]),
                ("policy", run["policy"]),
                ("prompt budget", f"{thousands(run['budget'])} tokens" if run["budget"] is not None else "unbounded"),
                ("mode", _mode(run)),
                ("plan", run["plan"] if not refusal else None),
                ("level", LEVELS.get(run["level"])),
                ("refused", _dry_refusal(refusal) if refusal else None),
                (
                    "values",
                    f"{thousands(run['values_removed'])} would stand nowhere any more" if run["edits"] else None,
                ),
            ]
        ),
        "",
        _share_table(run["components"]),
    ]
    if run["edits"]:
        blocks += ["", _conversation_table(run["conversation"])]
    return Group(*blocks)


def _request_facts(record: LedgerRecord) -> list[tuple[str, object]]:
    row, settled = record.row, record.settled_at is not None
    tokens = (
        f"{thousands(row.prompt_tokens)} prompt ({thousands(row.cached_tokens)} cached),"
        f" {thousands(row.completion_tokens)} completion"
    )
    cost = _dollars(row.cost_nanousd) + (" (estimated)" if row.estimated else "")
    unsettled = f"unsettled; priced at its estimate, {_dollars(row.estimate_nanousd)}"
    used = row.prompt_tokens or row.completion_tokens
    return [
        ("request", row.id),
        ("at", record.opened_at or record.settled_at),
        ("team / key / user", " / ".join(filter(None, (row.team, row.key, row.user)))),
        ("tags", ", ".join(row.tags)),
        ("operation", row.operation if row.operation != "chat" else None),
        ("model", _arrow(row.model, row.deployment)),
        ("policy", row.policy),
        ("tightened", f"by {row.tightened} of the policy's steps" if row.tightened else None),
        ("status", f"{row.status} (HTTP {row.http_status})" if settled else unsettled),
        ("error", row.error),
        ("refused" if row.status == "refused" else "would refuse", row.refusal and refusal_text(row.refusal)),
        ("plan", _planned(row) if settled else None),
        ("values", _retention(row)),
        ("usage", (tokens if used else None) if settled else f"about {thousands(row.estimate_prompt)} prompt"),
        ("cache", _cache(row) if settled else None),
        ("cost", cost if settled else None),
        ("saved", _saved(row) if settled else None),
        ("time", _times(row.ms)),
    ]


def _planned(row: LedgerRow) -> str | None:
    """Say what was planned, and what tokens that came to; None where there was no plan to send."""
    if not row.tokens_before or (row.status == "refused" and row.refusal):
        return None
    plan = row.plan if row.level == "whole" else f"{row.plan} ({row.level})"
    bounds = {"bytes": " (from bytes)", "at least": " (at least)", "at most": " (at most)"}
    counted = bounds.get(row.counted, "")
    counted += " (media in part guessed)" if row.guessed_media else ""
    sizes = f"{thousands(row.tokens_before)} → {thousands(row.tokens_after)} tokens by our count{counted}"
    would = "" if row.tokens_planned is None else f"; it would have been {thousands(row.tokens_planned)}"
    return f"{plan}: {sizes}{would}"


def _retention(row: LedgerRow) -> str | None:
    """Say what the rewrite took away and what of it was missed."""
    if row.values_removed is None:
        return None
    would = "would have been " if row.plan == "observed" else ""
    marks = f" ({', '.join(row.missed_values)})" if row.missed_values else ""
    missed = (
        f"{thousands(row.missed)} of them {would}missed by the answer" if row.missed else f"none of them {would}missed"
    )
    return f"{thousands(row.values_removed)} {would}removed; {missed}{marks}"


def _arrow(asked: object, billed: object) -> str:
    return f"{asked} → {billed}" if billed and billed != asked else str(asked)


def _cache(row: LedgerRow) -> str | None:
    """Say what the provider's prompt cache was expected to give and gave, and why that was less than it could be."""
    if not row.expected_cached and row.miss is None:
        return None
    told = f"{thousands(row.cached_tokens)} tokens read, {thousands(row.expected_cached)} expected"
    if row.markers:
        told += f", {thousands(row.markers)} markers of ours"
    if row.lost:
        told += f"; {thousands(row.lost)} tokens lost, {_dollars(row.lost_nanousd)}"
    if row.miss is None:
        return told
    name, _, at = row.miss.partition(":")
    where = f" (messages[{at}])" if at else ""
    return f"{told}\n{name}{where}: {MISS_MEANINGS.get(name, 'unknown')}"


def _saved(row: LedgerRow) -> str | None:
    """Say how much more the request would have cost as it came; negative: less."""
    if row.saved_unknown:
        return "unknown: nobody can say what it would have cost as it came"
    saved = row.saved_nanousd
    return f"{'-' if saved < 0 else ''}{_dollars(abs(saved))} against the request as it came" if saved else None


def _times(ms: Milliseconds) -> str:
    spans = (("total", ms.total), ("plan", ms.plan), ("upstream first", ms.upstream_first))
    return ", ".join(f"{name} {value:,} ms" for name, value in spans if value is not None)


def _ledger_components(row: LedgerRow) -> Iterable[tuple[str, int, int, int | None]]:
    """Give each component with its room; of a refused request only that of what was too big is known."""
    rooms, refusal = row.components.room, row.refusal
    too_big = {} if refusal is None else {refusal.component: refusal.room}
    for name, (before, after) in row.components.tokens.items():
        yield name, before, after, too_big.get(name) if rooms is None else rooms.get(name, before)


def _ledger_edits(edits: Iterable[EditRow]) -> Iterable[tuple[str, str, str, int, int, str]]:
    for edit in edits:
        index, tool, remedy, before, after, *last = edit
        yield _at(index, last[0] if last else index), remedy, tool or "", before, after, ""


def _conversation_table(messages: Iterable[Mapping[str, Any]]) -> Table:
    """Return the conversation as it would leave: a line for what leaves as it came, a block for what does not.

    Neighbours that are left out for the same reason are one block: one for each would hide the rest.
    """
    made = plain_table("The conversation as it would leave")
    made.add_column("message", no_wrap=True)
    made.add_column("what stands there", overflow="fold")
    for run in _runs(messages):
        name = _message_name(run)
        for line in _message_lines(run):
            made.add_row(name, line)
            name = Text()
    return made


def _runs(messages: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    run: list[Mapping[str, Any]] = []
    for message in messages:
        if run and not _follows(message, run[-1]):
            yield run
            run = []
        run.append(message)
    if run:
        yield run


def _follows(message: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    alike = all(message[name] == one[name] for name in ("remedy", "reason"))
    return alike and message["leaves_at"] is None and one["leaves_at"] is None and message["at"] == one["at"] + 1


def _message_name(run: Sequence[Mapping[str, Any]]) -> Text:
    return Text("put in") if run[0]["at"] is None else Text(_at(run[0]["at"], run[-1]["at"]))


def _message_lines(run: Sequence[Mapping[str, Any]]) -> Iterable[Text]:
    first, is_gone, is_new = run[0], run[0]["leaves_at"] is None, run[0]["at"] is None
    before, after, kept, gone = (sum(one[name] or 0 for one in run) for name in ("before", "after", "kept", "gone"))
    who = f"{len(run)} messages" if len(run) > 1 else terminal_text(f"{first['role']} {first['tool'] or ''}".rstrip())
    if first["text"] is None and not is_gone:
        yield _one_line(f"{who}, {thousands(before)} tokens: {first['words']}")
        return
    tokens = f"{thousands(after)} tokens" if is_new else f"{thousands(before)} → {thousands(after)} tokens"
    remedy = f"{first['remedy']}: " if first["remedy"] else ""
    yield Text(f"{remedy}{who}, {tokens}", style="bold")
    if len(run) == 1:
        yield _one_line(f"was: {first['words']}" if is_gone else first["words"])
    if first["reason"]:
        stays = min([one["stays"] for one in run if one["stays"] is not None], default=None)
        yield Text(
            first["reason"] + (f"; the next like it that stays: messages[{stays}]" if stays else ""), style="dim"
        )
    named = [terminal_text(value) for one in run for value in one["values_gone"]][:_MOST_NAMED]
    rest = [f"and {thousands(gone - len(named))} more"] if gone > len(named) else []
    lost = f", {thousands(gone)} gone{': ' if named else ''}{', '.join([*named, *rest])}" if not is_new else ""
    yield Text(f"values: {thousands(kept)}{'' if is_new else ' kept'}{lost}", style="dim")


def _one_line(text: str) -> Text:
    return Text(terminal_text(text), no_wrap=True, overflow="ellipsis")


def _component_table(rows: Iterable[tuple[str, int, int, int | None]]) -> Table:
    kept = [row for row in rows if row[1] or row[2] or row[3]]
    cells = [(name, thousands(before), thousands(after), thousands(room)) for name, before, after, room in kept]
    total = ("all", thousands(sum(row[1] for row in kept)), thousands(sum(row[2] for row in kept)), "")
    return table(("component", ">before", ">after", ">room"), cells, last=total)


def _share_table(components: Mapping[str, Mapping[str, Any]]) -> Table:
    """Lay out what each component asked for and got, and whether its share decided that."""
    kept = {name: one for name, one in components.items() if one["before"] or one["after"] or one["room"]}
    cells = [
        (name, thousands(one["before"]), thousands(one["after"]), thousands(one["room"]), _bound(one))
        for name, one in kept.items()
    ]
    sums = [thousands(sum(one[when] for one in kept.values())) for when in ("before", "after")]
    return table(("component", ">before", ">after", ">room", "share"), cells, last=("all", *sums, "", ""))


def _bound(one: Mapping[str, Any]) -> str:
    """Say of a share whether it bound."""
    if one["bound"] is None:
        return f"{one['share']}, not asked"
    return (
        f"{one['share']}, bound: {thousands(one['before'] - one['room'])} over" if one["bound"] else f"{one['share']}"
    )


def _edit_table(rows: Iterable[tuple[str, str, str, int, int, str]]) -> Table:
    kept = list(rows)
    cells = [
        (at, remedy, tool, thousands(before), thousands(after), why) for at, remedy, tool, before, after, why in kept
    ]
    if any(row[5] for row in kept):
        return table(("edit", "remedy", "tool", ">before", ">after", "reason"), cells)
    return table(("edit", "remedy", "tool", ">before", ">after"), [row[:5] for row in cells])


def _edited_table(edited: Mapping[str, Sequence[int]]) -> Table:
    cells = [
        (remedy, thousands(messages), _at(first, first), thousands(before), thousands(after))
        for remedy, (messages, before, after, first) in edited.items()
    ]
    return table(("remedy", ">messages", "from", ">before", ">after"), cells)


def _attempt_table(attempts: Iterable[AttemptRow]) -> Table:
    cells = [
        (str(n), one.deployment, str(one.status or "-"), one.error or "", thousands(one.ms))
        for n, one in enumerate(attempts, start=1)
    ]
    return table((">attempt", "deployment", ">status", "error", ">ms"), cells)


def _at(first: object, last: object) -> str:
    if not isinstance(first, int):
        return str(first)
    return f"messages[{first}]" if last == first else f"messages[{first}–{last}]"


def refusal_text(refusal: RefusalReason, why: str = "the message to the client says why") -> str:
    """Say why a request does not fit: what is too big, by how much, and where; of one that came illegal, `why`."""
    if refusal.illegal:
        return f"it does not fit and came illegal, at {refusal.at}: {why}"
    return f"{refusal.component} needs {thousands(refusal.tokens)}, room {thousands(refusal.room)}, at {refusal.at}"


def _dry_refusal(refusal: Mapping[str, Any]) -> str:
    return refusal_text(RefusalReason.read(refusal), str(refusal.get("illegal")))


def _mode(run: Mapping[str, Any]) -> str:
    match run["mode"]:
        case "off":
            return "off: nothing is done, the original is sent; below is what enforce would do"
        case "observe":
            return "observe: below is what would be done; the original is sent"
    return str(run["mode"])


def _dollars(nanousd: int | None) -> str:
    return "unpriced" if nanousd is None else amounts.dollars(nanousd)


# ---------------------------------------------------------------- the request as text


def as_text(run: Mapping[str, Any]) -> str:
    """Write the request as the model would receive it, message by message, to be read in a terminal."""
    refusal, tools = run.get("refusal"), run["components"]["tools"]["after"]
    if refusal:
        return f"refused: {_dry_refusal(refusal)}\n"
    before, after = run["tokens"]
    sizes = f"{thousands(before)} → {thousands(after)} of {thousands(run['budget'])} tokens"
    head = [f"{run['policy']}, {run['model']}: {sizes}"]
    head += [LEVELS[run["level"]], *([_mode(run)] if run["mode"] != "enforce" else [])]
    head += [f"tools: {thousands(tools)} tokens of definitions"] if tools else []
    blocks = ["\n".join(head), *(_message_text(place, one) for place, one in enumerate(run["sent"]))]
    return "\n\n".join(blocks) + "\n"


def _message_text(place: int, one: Mapping[str, Any]) -> str:
    who = " ".join(filter(None, [one["role"], one["name"]]))
    marks = ["put in by the gateway"] if one["at"] is None else []
    marks += [f"was [{one['at']}]"] if one["at"] not in (None, place) else []
    marks += ["not as it came"] if one["changed"] else []
    marks += [f"answers {one['answers']}"] if one["answers"] else []
    title = ", ".join([f"── [{place}] {who}", *marks, f"{thousands(one['tokens'])} tokens"])
    lines = [
        terminal_text(title),
        *map(terminal_text, one["text"].replace("\t", "    ").split("\n") if one["text"] else []),
    ]
    lines += [terminal_text(f"→ {call['name']}({call['arguments']})  {call['id']}".rstrip()) for call in one["calls"]]
    return "\n".join([*lines, *(terminal_text(f"▪ {part}") for part in one["media"])])


def keys_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table for people."""
    table = Table(box=None, header_style="")
    for heading in ("key", "team", "status", "models", "paths", "expires", "last used"):
        table.add_column(heading)
    for row in rows:
        cells = (row["name"], row["team"], row["status"], _all_or(row["models"]), _all_or(row["paths"]))
        table.add_row(*(terminal_text(one) for one in (*cells, row["expires"] or "never", row["last_used"] or "-")))
    return table


def _all_or(names: Sequence[str] | None) -> str:
    return "all" if names is None else ", ".join(names)

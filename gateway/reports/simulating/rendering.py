"""Results of a simulation, for people at a terminal and as JSON. Pure: values in, renderables out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from gateway.config.problems import Problem
from gateway.reports.simulating.judging import Loss, ReplayCost, Simulation, Verdict
from gateway.reports.simulating.picture import Lengths, highest, panel, png
from gateway.reports.tables import facts_grid, table, thousands

_PANEL_ROWS = 7
_LABEL = 9
_WIDEST = 80
_STYLES = ("blue", "red", "green", "magenta", "yellow", "cyan")


# ---------------------------------------------------------------- JSON


def as_json(found: Simulation, problems: Sequence[Problem]) -> dict[str, Any]:
    """Give everything as JSON has it."""
    pictured, came = _pictured(found)
    return {
        "requests": found.requests,
        "conversations": found.conversations,
        "answers": found.answers,
        "timed": found.timed,
        "problems": [str(problem) for problem in problems],
        "prices": {
            name: {
                "read": rule.read,
                "write": rule.write,
                "least": rule.least if rule.read < 1 else None,
                "step": rule.step,
                "lifetime": rule.lifetime if rule.read < 1 else None,
            }
            for name, rule in found.rules.items()
        },
        "as_it_came": {
            "tokens": found.as_it_came.tokens_after,
            "carried_values": found.as_it_came.carried,
            "prices": {name: _bill(bill) for name, bill in found.as_it_came.bills.items()},
        },
        "policies": [_verdict(found, verdict) for verdict in found.verdicts],
        "turns": {
            "conversation": pictured,
            "as_it_came": list(came),
            "policies": {verdict.policy: list(_lengths(verdict, pictured)) for verdict in found.verdicts},
        },
    }


def _verdict(found: Simulation, verdict: Verdict) -> dict[str, Any]:
    return {
        "policy": verdict.policy,
        "mode": verdict.mode,
        "requests": verdict.requests,
        "touched": verdict.touched,
        "refused": verdict.refusals,
        "refusals": [
            {
                "why": one.why,
                "count": one.count,
                "largest": {
                    "tokens": one.tokens,
                    "room": one.room,
                    "at": one.at,
                    "conversation": one.conversation,
                },
            }
            for one in verdict.refused.values()
        ],
        "unbounded": verdict.unbounded,
        "left_out": sorted(verdict.left_out),
        "tokens_before": verdict.tokens_before,
        "tokens_after": verdict.tokens_after,
        "prices": {
            name: {
                **_bill(verdict.bills[name]),
                "as_it_came": _bill(verdict.as_it_came[name]),
                "relative": verdict.relative(name),
            }
            for name in found.rules
        },
        "values": {
            "carried": verdict.carried,
            "carried_when_touched": verdict.carried_when_touched,
            "lost": verdict.lost,
            "examples": [_loss(loss) for loss in verdict.examples],
        },
    }


def _bill(bill: ReplayCost) -> dict[str, Any]:
    return {"cached_tokens": bill.cached, "cached_share": bill.cached_share, "cost": round(bill.cost, 1)}


def _loss(loss: Loss) -> dict[str, Any]:
    one = loss.carried
    return {
        "conversation": loss.conversation,
        "value": one.value,
        "stood_at": one.at,
        "tool": one.tool,
        "used_at": loss.turn,
        "used_by": one.used_by,
    }


# ---------------------------------------------------------------- tables


def tables(found: Simulation, source: str, width: int) -> RenderableType:
    """Give everything as tables and pictures, at most `width` characters wide."""
    blocks: list[RenderableType] = [facts_grid(_facts(found, source)), "", _policies(found), "", _prices(found)]
    blocks += _refusals(found)
    if any(verdict.examples for verdict in found.verdicts):
        blocks += ["", _losses(found)]
    blocks += _notes(found)
    blocks += ["", *_pictures(found, min(width, _WIDEST))]
    return Group(*blocks)


def _facts(found: Simulation, source: str) -> list[tuple[str, object]]:
    times = "each request's own" if found.timed else "unknown; turns are taken to follow while the cache lives"
    return [
        (
            "traffic",
            f"{source}: {thousands(found.requests)} requests of {thousands(found.conversations)} conversations",
        ),
        ("times", times),
        ("cost", "in plain prompt tokens; relative to the same requests as they came"),
        ("caches", "they keep every prompt; markers of a policy are not simulated"),
    ]


def _policies(found: Simulation) -> RenderableType:
    came = found.as_it_came
    rows = [("as it came", "", "", "", thousands(came.tokens_after), f"of {thousands(came.carried)}")]
    rows += [
        (
            _name(verdict),
            thousands(verdict.touched),
            thousands(verdict.refusals),
            thousands(verdict.tokens_before),
            thousands(verdict.tokens_after),
            f"{thousands(verdict.lost)} of {thousands(verdict.carried_when_touched)}",
        )
        for verdict in found.verdicts
    ]
    return table(("policy", ">touched", ">refused", ">tokens before", ">after", ">values lost"), rows)


def _prices(found: Simulation) -> RenderableType:
    rows: list[tuple[str, str, str, str, str]] = []
    for name in found.rules:
        bill = found.as_it_came.bills[name]
        rows.append((name, "as it came", f"{bill.cached_share:.0%}", thousands(round(bill.cost)), "1.00"))
        for verdict in found.verdicts:
            bill, relative = verdict.bills[name], verdict.relative(name)
            shown = "-" if relative is None else f"{relative:.2f}"
            rows.append(("", _name(verdict), f"{bill.cached_share:.0%}", thousands(round(bill.cost)), shown))
    return table(("prices", "policy", ">cached", ">cost", ">relative"), rows)


def _refusals(found: Simulation) -> Iterator[Text]:
    for verdict in found.verdicts:
        for one in verdict.refused.values():
            sizes = f"{thousands(one.tokens)} of {thousands(one.room)} tokens"
            largest = f"{sizes}, {one.at} of {_shortened(one.conversation, 30)}"
            told = f"{_name(verdict)} refuses {thousands(one.count)}: {_printable(one.why)}"
            yield Text(f"{told}; the largest: {largest}" if one.conversation else told)


def _losses(found: Simulation) -> RenderableType:
    rows = [
        (
            _name(verdict),
            _shortened(loss.conversation, 14),
            _shortened(loss.carried.value, 19),
            f"{loss.carried.at} {_shortened(loss.carried.tool, 10)}",
            f"{loss.turn} {_shortened(loss.carried.used_by, 10)}",
        )
        for verdict in found.verdicts
        for loss in verdict.examples
    ]
    return table(("policy", "conversation", "value lost", "told in", "used in"), rows)


def _notes(found: Simulation) -> Iterator[Text]:
    for verdict in found.verdicts:
        if verdict.unbounded:
            told = "neither the policy nor the model says how large they may be. Give --window."
            yield Text(f"{_name(verdict)}: nothing bounds {thousands(verdict.unbounded)} requests; {told}")
        if verdict.left_out:
            told = "what they do rests on live traffic. The policy is simulated without."
            yield Text(f"{_name(verdict)}: left out: {', '.join(sorted(verdict.left_out))}; {told}")
        if verdict.mode != "enforce":
            yield Text(f"{_name(verdict)} is in mode {verdict.mode}: this is what enforce would do.")
    if not found.answers:
        yield Text("No request shows its answer, so no value can be told to be lost.")


def _name(verdict: Verdict) -> str:
    """Name a policy without its digest: a simulation has each name once."""
    return _shortened(verdict.policy.partition("@")[0], 20)


def _shortened(text: str, most: int) -> str:
    """Leave out the middle of what is too long: names differ at their ends."""
    shown = _printable(text)
    half = (most - 1) // 2
    return shown if len(shown) <= most else f"{shown[: most - 1 - half]}…{shown[-half:]}"


def _printable(text: str) -> str:
    """Show what somebody else wrote without control characters."""
    return "".join(char if char.isprintable() else "�" for char in text)


# ---------------------------------------------------------------- pictures


def picture(found: Simulation) -> bytes:
    """Draw prompt length over turns as a PNG."""
    pictured, came = _pictured(found)
    policies = [(_name(verdict), _lengths(verdict, pictured)) for verdict in found.verdicts]
    return png(pictured or "all requests", came, policies)


def _pictured(found: Simulation) -> tuple[str | None, Lengths]:
    """Choose what is drawn: of the conversations of several turns the one that grew largest, one that a policy touches
    and none refuses before others; without any, all requests in order.
    """
    lengths = found.as_it_came.lengths
    grown = [name for name, turns in lengths.items() if len(turns) > 1]
    if not grown:
        return None, [length for turns in lengths.values() for length in turns]

    def telling(name: str) -> tuple[bool, bool, int]:
        each = [verdict.lengths[name] for verdict in found.verdicts]
        touched = any(turns != lengths[name] for turns in each)
        return touched, all(None not in turns for turns in each), highest(lengths[name])

    largest = max(grown, key=telling)
    return largest, lengths[largest]


def _lengths(verdict: Verdict, conversation: str | None) -> Lengths:
    if conversation is not None:
        return verdict.lengths[conversation]
    return [length for turns in verdict.lengths.values() for length in turns]


def _pictures(found: Simulation, width: int) -> Iterator[Text]:
    pictured, came = _pictured(found)
    what = "each request" if pictured is None else f"each turn of {_shortened(pictured, 40)}"
    yield Text(f"Prompt tokens of {what}, 1 to {len(came)}", style="bold")
    yield Text("filled: as it leaves; the line: as it came", style="dim")
    columns, top = max(20, width - _LABEL - 1), highest(came)
    for place, verdict in enumerate(found.verdicts):
        yield Text(f"{'':{_LABEL}} {_name(verdict)}", style=_STYLES[place % len(_STYLES)])
        drawn = panel(_lengths(verdict, pictured), came, columns, _PANEL_ROWS, top)
        for label, row in zip(drawn.labels, drawn.rows, strict=True):
            yield Text.assemble((f"{label:>{_LABEL}} ", "dim"), (row, _STYLES[place % len(_STYLES)]))

"""`gateway report`: who spent what."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.opening import DEFAULT_CONFIG, FILE, FOLDER, NotThere, config_of, example, ledgers_of, terminal

DIMENSIONS = ("user", "team", "key", "model", "policy", "operation", "tag", "day")


@example("""\
gateway report --config config.yaml --by team --since 2026-03-01
gateway report --ledger host-1/ledger --ledger host-2/ledger --by user --format csv""")
@click.command(short_help="Tell who spent what.")
@click.option("--config", "path", type=FILE, help="The configuration, for its ledger.")
@click.option("--ledger", "ledgers", type=FOLDER, multiple=True, help="A ledger's folder, instead; several as well.")
@click.option("--by", type=click.Choice(DIMENSIONS), default="team", show_default=True, help="A row for each.")
@click.option("--since", help="From this moment on: 2026-03-01, 2026-03-01T09:30, today, yesterday, 7d, 12h (UTC).")
@click.option("--until", help="Until this moment; a day is meant whole (UTC).")
@click.option("--utilization", is_flag=True, help="Add how far each component fills its room.")
@click.option("--retention", is_flag=True, help="Add what rewriting removed, and how often an answer missed it.")
@click.option("--caching", is_flag=True, help="Add what prompt caches gave, and why they gave less than they could.")
@click.option("--saving", is_flag=True, help="Add what the gateway saved, net, by team and policy.")
@click.option(
    "--budgets", is_flag=True, help="Add what is spent of budgets now, and a forecast to their windows' ends."
)
@click.option("--format", "style", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def report(
    *,
    path: Path | None,
    ledgers: Sequence[Path],
    by: Any,
    since: str | None,
    until: str | None,
    utilization: bool,
    retention: bool,
    caching: bool,
    saving: bool,
    budgets: bool,
    style: str,
) -> None:
    """Tell who spent what, from the ledger: requests, tokens before and after, cached, cost, unsettled."""
    from gateway.reports import spend
    from gateway.reports.figures import terminal_text

    asked = {"--utilization": utilization, "--retention": retention, "--caching": caching, "--saving": saving}
    asked["--budgets"] = budgets
    several = [option for option, is_given in asked.items() if is_given]
    if style == "csv" and len(several) > 1:
        raise click.UsageError(f"a csv is one table: give one of {', '.join(several)}, or --format json for all")
    if budgets and ledgers:
        raise click.UsageError(
            "--budgets needs the configuration that declares them: give --config in place of --ledger"
        )
    now = datetime.now(UTC)
    try:
        first = None if since is None else spend.parse_moment(since, now)
        last = None if until is None else spend.parse_moment(until, now, is_end=True)
        found = spend.spend_report(
            ledgers_of(path, ledgers),
            by,
            first,
            last,
            utilization=utilization,
            retention=retention,
            caching=caching,
            saving=saving,
            targets=_targets(path) if utilization and not ledgers else None,
            budgets=_budgets(path, now.timestamp()) if budgets else None,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except FileNotFoundError as error:
        raise NotThere(str(error)) from error
    if style == "table":
        from gateway.reports.tables import report_tables

        console = terminal()
        for number, one in enumerate(report_tables(found, console.width)):
            if number:
                console.print()
            console.print(one)
        breaks = _breaks(path) if caching and not ledgers else []
        if breaks:
            console.print("", *map(terminal_text, breaks), sep="\n", markup=False)
    else:
        click.echo(found.csv() if style == "csv" else found.json(), nl=False)


def _targets(path: Path | None) -> dict[str, dict[str, tuple[float, float]]]:
    """Read how full the rooms of each policy should be, its profiles' too."""
    policies = config_of(path or DEFAULT_CONFIG, to_serve=False).policies.values()
    variants = [variant for one in policies for variant in one.variants]
    return {variant.label: targets for variant in variants if (targets := variant.utilization.targets)}


def _budgets(path: Path | None, now: float) -> Any:
    """Ask for what a configuration limits."""
    from gateway.config.wildcards import is_pattern
    from gateway.money.limits import Limits
    from gateway.reports.budgets import BudgetQuestion

    config = config_of(path or DEFAULT_CONFIG, to_serve=False)
    models = sorted({one.model_name for one in config.models if not is_pattern(one.model_name)})
    return BudgetQuestion(config, Limits.of(config), models, now)


def _breaks(path: Path | None) -> list[str]:
    """Tell what breaks prefixes, as far as the state knows."""
    from gateway.config import ConfigErrors, state_place
    from gateway.prompt_cache.system_text_sharing import stored_suggestions
    from gateway.state import StateUnavailable, open_state

    try:
        state = open_state(state_place(path or DEFAULT_CONFIG, os.environ))
    except (ConfigErrors, StateUnavailable) as error:
        return [f"What breaks prefixes is not known: {error}."]
    try:
        return [str(one) for one in stored_suggestions(state)]
    except StateUnavailable as error:
        return [f"What breaks prefixes is not known: {error}."]
    finally:
        state.close()

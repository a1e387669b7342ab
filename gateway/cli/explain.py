"""`gateway explain`: what was done to a request, or what would be."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.opening import (
    DEFAULT_CONFIG,
    FILE,
    FOLDER,
    NotThere,
    config_of,
    example,
    facts_of_models,
    ledgers_of,
    named,
    shipped,
    terminal,
)

if TYPE_CHECKING:
    from gateway.money.ledger.lookup import LedgerRecord


@example("""\
gateway explain gw_01J9ZC3V5T8Q4M7X2N6R0K1B9D --config config.yaml
gateway explain --request request.json --policy support --format text
gateway explain --request request.json --policy support --format json""")
@click.command(short_help="Tell what was done to a request, or what would be.")
@click.argument("request_id", metavar="ID", required=False)
@click.option("--config", "path", type=FILE, help="The configuration, for its ledger, policies and models.")
@click.option("--ledger", "ledgers", type=FOLDER, multiple=True, help="A ledger's folder, instead; several as well.")
@click.option("--request", "request_file", type=click.File("rb"), help="A request body to try, - = standard input.")
@click.option("--policy", help="With --request: the policy to try, by name.  [default: default_policy]")
@click.option("--window", type=click.IntRange(min=1), help="With --request: the context window to assume, in tokens.")
@click.option("--model", help="With --request: the model to assume instead of the request's own.")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "text", "json"]),
    default="table",
    show_default=True,
    help="text: with --request, the messages as the model would receive them.",
)
def explain(
    *,
    request_id: str | None,
    path: Path | None,
    ledgers: Sequence[Path],
    request_file: Any,
    policy: str | None,
    window: int | None,
    model: str | None,
    style: str,
) -> None:
    """Tell what was done to a past request, or what a policy would do to the one in a file."""
    if (request_id is None) == (request_file is None):
        raise click.UsageError("give either the ID of a past request or --request FILE")
    if request_file is None and style == "text":
        raise click.UsageError("--format text needs --request FILE: the ledger has no messages")
    from gateway.reports import tables

    if request_file is None:
        record = _past_request(str(request_id), ledgers_of(path, ledgers))
        shown, drawn = record.members, partial(tables.request_tables, record)
    else:
        shown = _dry_run(request_file.read(), path, policy, window, model, as_sent=style == "text")
        drawn = partial(tables.dry_run_tables, shown)
    match style:
        case "json":
            click.echo(json.dumps(shown, indent=2))
        case "text":
            click.echo(tables.as_text(shown), nl=False)
        case _:
            terminal().print(drawn())


def _past_request(request_id: str, folders: Sequence[Path]) -> LedgerRecord:
    from gateway.money.ledger import lookup

    record = lookup.find(folders, request_id)
    if record is None:
        raise NotThere(f"no request {request_id} in {', '.join(map(str, folders))}")
    return record


def _dry_run(
    body: bytes, path: Path | None, policy: str | None, window: int | None, model: str | None, *, as_sent: bool
) -> dict[str, Any]:
    """Plan a request that is not sent, with a configuration's models and policies or with the shipped ones."""
    from gateway.budget.tokens import Counters
    from gateway.reports.explain import dry_run
    from gateway.wire.errors import GatewayError
    from gateway.wire.memo import Memo
    from gateway.wire.shape import OWN

    try:
        name = model or OWN.read(body, Memo()).model
        if path is None and DEFAULT_CONFIG.exists():
            path = DEFAULT_CONFIG
        config = shipped(name) if path is None else config_of(path, to_serve=False)
        wanted = named("policy", policy or config.default_policy, config.policies)
        facts = named("model", name, facts_of_models(config, [name]))
        facts = facts if window is None else replace(facts, window=window)
        return dry_run(body, wanted, facts, Counters().for_encoding(facts.encoding), as_sent=as_sent)
    except GatewayError as error:
        raise NotThere(error.message) from error

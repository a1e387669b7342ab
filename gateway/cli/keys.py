"""`gateway keys`: virtual keys are made."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import json

import click

from gateway.cli.opening import example


def _not_empty(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse a name of nothing: no report could tell whose it is."""
    if not value.strip():
        raise click.BadParameter("must not be empty")
    return value


@example("gateway keys new --name support-bot --team support")
@click.group()
def keys() -> None:
    """Make virtual keys."""


@example("gateway keys new --name support-bot --team support")
@keys.command()
@click.option("--name", required=True, callback=_not_empty, help="What the key is called in the ledger.")
@click.option(
    "--team", required=True, callback=_not_empty, help="Whose policy it has, and under whose name it is entered."
)
def new(name: str, team: str) -> None:
    """Print a new key, once, and the line for `keys:` in the configuration, which holds only its digest."""
    from gateway.money.keys import new_key

    key, digest = new_key()
    click.echo(f"The key, shown only now:\n\n{key}\n\nIts line under `keys:` in config.yaml:\n")
    click.echo(f"  - {{name: {json.dumps(name)}, sha256: {digest}, team: {json.dumps(team)}}}")

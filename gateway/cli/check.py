"""`gateway check`: every mistake of a configuration, else what its policies come to."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli.opening import DEFAULT_CONFIG, FILE, Refused, config_of, deployments_of, example, refuse_problems


@example("""\
gateway check --config config.yaml
gateway check --no-environment
gateway check --connect
gateway check --schema policy > policy.schema.json""")
@click.command(short_help="Check the configuration and its policies.")
@click.option("--config", "path", type=FILE, default=DEFAULT_CONFIG, show_default=True, help="The configuration.")
@click.option("--schema", type=click.Choice(["policy", "config"]), help="Print a JSON Schema for editors instead.")
@click.option("--no-environment", is_flag=True, help="Read no environment variable: for CI, where no key is.")
@click.option("--connect", is_flag=True, help="Try Redis and each api_base too, with a call that costs nothing.")
def check(path: Path, schema: str | None, no_environment: bool, connect: bool) -> None:
    """Check the configuration and its policies; print every mistake, else each policy in absolute tokens."""
    if schema is not None:
        from gateway.config import check_schema

        click.echo(json.dumps(check_schema(schema), indent=2))
        return
    if no_environment and connect:
        raise click.UsageError("--connect needs the keys that --no-environment leaves out")

    from gateway.budget.calibration import EXACT, UNKNOWN
    from gateway.cli.trying import too_slow
    from gateway.config.startup import exposed, network_problems
    from gateway.reports import check as checks
    from gateway.routing.catalogue.warnings import notes, warnings

    config = config_of(path, to_serve=not no_environment, environ={} if no_environment else None)
    deployments = [deployment for group in deployments_of(config).values() for deployment in group]
    refuse_problems([*network_problems(config)])
    known = [
        checks.DeploymentFacts(
            one.name, one.facts.window, one.facts.shared, EXACT if one.facts.exact else UNKNOWN, one.facts.max_output
        )
        for one in deployments
        if one.is_chat
    ]
    if slow := list(too_slow(config.policies.values())):
        raise Refused("\n".join(slow))
    used = config.policies_in_use()
    click.echo(checks.render(used, known), nl=False)
    others = ", ".join(sorted(config.policies.keys() - {policy.name for policy in used}))
    if others:
        click.echo(f"\nalso there, used by nobody: {others}")
    click.echo("\n" + checks.access(config), nl=False)
    now = datetime.now(UTC)
    told_of = (*notes(config, deployments), *warnings(config, deployments, now, environment=not no_environment))
    for told in (*told_of, *exposed(config)):
        click.echo(told, err=True)
    if connect:
        from gateway.cli.connecting import tried

        found = asyncio.run(tried(config, deployments))
        click.echo("\n" + "".join(f"{one}\n" for one in found), nl=False)
        if any(one.failed for one in found):
            raise Refused("not everybody who is named could be reached")

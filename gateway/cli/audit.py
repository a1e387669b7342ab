"""`gateway audit`: the counters of limits beside the ledger."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.opening import DEFAULT_CONFIG, FILE, Refused, config_of, example


@example("gateway audit --config config.yaml\ngateway audit --repair")
@click.command(short_help="Compare the counters of limits with the ledger.")
@click.option("--config", "path", type=FILE, default=DEFAULT_CONFIG, show_default=True, help="The configuration.")
@click.option("--repair", is_flag=True, help="Put the ledger's sums in the place of the counters'.")
def audit(path: Path, repair: bool) -> None:
    """Compare what the counters of limits hold with what the ledger says; 1 where they differ.

    Requests under way may differ for a moment: ask while nobody is served.
    """
    import time

    from gateway.money.amounts import dollars
    from gateway.money.audit import recounted
    from gateway.money.limits import Limits
    from gateway.state import StateUnavailable, open_counters
    from gateway.state.counters import Booked, Recount
    from gateway.state.counting_owner import CountingOwner

    config = config_of(path, to_serve=False)
    ledger = dict(recounted(Limits.of(config), config.ledger.dir, time.time()).amounts)
    store, source = open_counters(config.state), CountingOwner(config.ledger.dir).source
    try:
        [found] = store.run([Booked()], source)
        counters = dict(found) if isinstance(found, dict) else {}
        differences = sorted(key for key in ledger.keys() | counters.keys() if ledger.get(key) != counters.get(key))
        differences = [key for key in differences if key in ledger or key[1] >= _oldest(ledger, key[0])]
        if repair and differences:
            store.run([Recount(ledger)], source)
    except StateUnavailable as error:
        raise Refused(str(error)) from error
    finally:
        store.close()
    for account, bucket in differences:
        said, held = ledger.get((account, bucket), 0), counters.get((account, bucket), 0)
        click.echo(f"{account[1:]} from {bucket}: ledger {dollars(said)}, counters {dollars(held)}")
    click.echo(f"{len(ledger)} sums, {len(differences)} differ{', repaired' if repair and differences else ''}")
    if differences and not repair:
        raise SystemExit(1)


def _oldest(ledger: dict[tuple[str, int], int], account: str) -> int:
    """Return the oldest bucket of an account that the ledger was counted for."""
    return min((bucket for name, bucket in ledger if name == account), default=0)

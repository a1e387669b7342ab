"""`gateway reload`: a program that serves takes in its configuration anew."""

# ruff: noqa: PLC0415  # each command loads only what it needs, when it runs

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.cli.opening import DEFAULT_CONFIG, FILE, NotThere, Refused, example


@example("gateway reload --config config.yaml")
@click.command(short_help="Have the gateway that runs take in its configuration anew.")
@click.option("--config", "path", type=FILE, default=DEFAULT_CONFIG, show_default=True, help="Its configuration.")
@click.option("--port", type=click.IntRange(1, 65535), help="The one on this port; else all of this configuration.")
def reload(path: Path, port: int | None) -> None:
    """Return once every process serves under the configuration as it is now, or say why none does (exit code 2)."""
    from gateway.config import ConfigErrors, Server, control_folder
    from gateway.server import control, reloads

    try:
        folder = control_folder(path)
    except ConfigErrors:  # the program that runs says why it is not to be read; it lies where most do
        folder = path.parent / Server().control
    results = list(control.reload_all(folder, port))
    if not results:
        where = "" if port is None else f" on port {port}"
        raise NotThere(f"no gateway of {path} runs on this machine{where}: nothing answers in {folder}")
    refusals = []
    for name, result in results:
        if isinstance(result, reloads.NotReloaded):
            refusals.append(result.reason)
            continue
        workers = "1 process" if result.processes == 1 else f"{result.processes} processes"
        click.echo(f"port {name}: {workers} serve under {result.digest}")
        for key in result.need_restart:
            click.echo(f"port {name}: {key} was changed and takes a restart", file=sys.stderr)
    if refusals:
        told = "\n".join(dict.fromkeys(refusals))
        raise Refused(f"{told}\nnot reloaded; what ran before runs on")
